//! The pre-tokenizer: how a text is cut into words, which the model reads one by one.

use serde::Deserialize;
use tokenizers::pattern::{Invert, Pattern as _};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::delimiter::CharDelimiterSplit;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::fixed_length::FixedLength;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::split::Split;
use tokenizers::pre_tokenizers::unicode_scripts::UnicodeScripts;
use tokenizers::pre_tokenizers::whitespace::{Whitespace, WhitespaceSplit};
use tokenizers::{PreTokenizedString, SplitDelimiterBehavior};

use super::TokenizerError;
use super::normalizer::Needle;
use super::pattern::Pattern;
use super::refused::{Growth, Part};

/// The words of GPT-2 (its encoder.py), which the kind `ByteLevel` finds with `use_regex`.
const GPT2_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// A pre-tokenizer as tokenizer.json describes it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Described {
    BertPreTokenizer,
    ByteLevel {
        add_prefix_space: bool,
        #[serde(default = "yes")]
        use_regex: bool,
    },
    CharDelimiterSplit {
        delimiter: char,
    },
    Metaspace(DescribedMetaspace),
    Whitespace,
    Sequence {
        pretokenizers: Vec<Self>,
    },
    Split {
        pattern: Needle,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    Punctuation {
        #[serde(default = "isolated")]
        behavior: SplitDelimiterBehavior,
    },
    WhitespaceSplit,
    Digits {
        individual_digits: bool,
    },
    UnicodeScripts,
    FixedLength {
        #[serde(default = "five")]
        length: usize,
    },
}

/// Spaces as a character of their own. Decoders have the same kind.
#[derive(Debug, Deserialize)]
pub(super) struct DescribedMetaspace {
    replacement: char,
    add_prefix_space: Option<bool>,
    #[serde(default = "always")]
    prepend_scheme: PrependScheme,
    split: Option<bool>,
}

impl DescribedMetaspace {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] if its two settings of a space before the text contradict each other.
    pub fn built(&self, part: Part) -> Result<Metaspace, TokenizerError> {
        if self.add_prefix_space == Some(false) && self.prepend_scheme != PrependScheme::Never {
            return Err(part.refused("its Metaspace has an add_prefix_space that contradicts its prepend_scheme"));
        }
        Ok(Metaspace::new(self.replacement, self.prepend_scheme, self.split.unwrap_or(true)))
    }
}

fn yes() -> bool {
    true
}

fn five() -> usize {
    5
}

fn isolated() -> SplitDelimiterBehavior {
    SplitDelimiterBehavior::Isolated
}

fn always() -> PrependScheme {
    PrependScheme::Always
}

/// A pre-tokenizer, built.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Known(PreTokenizerWrapper),
    Words { pattern: Pattern, behavior: SplitDelimiterBehavior, invert: bool, with_space: bool },
}

impl PreTokenizer {
    /// Builds a pre-tokenizer.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] or [`TokenizerError::Pattern`].
    pub fn new(described: Described) -> Result<Self, TokenizerError> {
        let (mut steps, mut growth) = (Vec::new(), Growth::of(Part::PreTokenizer));
        add(described, &mut steps, &mut growth)?;
        Ok(Self { steps })
    }
}

impl tokenizers::PreTokenizer for PreTokenizer {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        for step in &self.steps {
            match step {
                Step::Known(known) => known.pre_tokenize(text)?,
                Step::Words { pattern, behavior, invert, with_space } => text.split(|_, mut part| {
                    if *with_space && !part.get().starts_with(' ') {
                        part.prepend(" ");
                    }
                    if *invert { part.split(Invert(pattern), *behavior) } else { part.split(pattern, *behavior) }
                })?,
            }
        }
        Ok(())
    }
}

fn add(described: Described, steps: &mut Vec<Step>, growth: &mut Growth) -> Result<(), TokenizerError> {
    let (factor, known): (_, PreTokenizerWrapper) = match described {
        Described::Sequence { pretokenizers } => {
            growth.step(1)?;
            return pretokenizers.into_iter().try_for_each(|one| add(one, steps, growth));
        }
        Described::Split { pattern: Needle::Regex(pattern), behavior, invert } => {
            growth.step(1)?;
            steps.push(Step::Words { pattern: Pattern::new(Part::PreTokenizer, &pattern)?, behavior, invert, with_space: false });
            return Ok(());
        }
        Described::Split { pattern: Needle::String(text), behavior, invert } => {
            (1, Split::new(text, behavior, invert).map_err(|error| Part::PreTokenizer.refused(error.to_string()))?.into())
        }
        Described::ByteLevel { add_prefix_space, use_regex: true } => {
            let pattern = Pattern::new(Part::PreTokenizer, GPT2_WORDS)?;
            steps.push(Step::Words { pattern, behavior: isolated(), invert: false, with_space: add_prefix_space });
            (2, ByteLevel::new(false, true, false).into())
        }
        Described::ByteLevel { add_prefix_space, use_regex: false } => (2, ByteLevel::new(add_prefix_space, true, false).into()),
        Described::Metaspace(metaspace) => (metaspace.replacement.len_utf8(), metaspace.built(Part::PreTokenizer)?.into()),
        Described::FixedLength { length: 0 } => return Err(Part::PreTokenizer.refused("its words have the fixed length 0")),
        Described::FixedLength { length } => (1, PreTokenizerWrapper::FixedLength(FixedLength::new(length))),
        Described::BertPreTokenizer => (1, BertPreTokenizer.into()),
        Described::CharDelimiterSplit { delimiter } => (1, CharDelimiterSplit::new(delimiter).into()),
        Described::Whitespace => (1, Whitespace.into()),
        Described::WhitespaceSplit => (1, WhitespaceSplit.into()),
        Described::Punctuation { behavior } => (1, Punctuation::new(behavior).into()),
        Described::Digits { individual_digits } => (1, Digits::new(individual_digits).into()),
        Described::UnicodeScripts => (1, UnicodeScripts::new().into()),
    };
    growth.step(factor)?;
    steps.push(Step::Known(known));
    Ok(())
}

/// Alternatives of published patterns that are more than a run of characters of one class. Each matches one run of
/// characters of one kind, with at most one other before it or a run of line ends behind it, and looks at most one
/// character further: see [`super::cuts`].
const LOCAL: [&str; 37] = [
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
    "'(?i:[sdmt]|ll|ve|re)",
    r" ?\p{L}+",
    r" ?\p{N}+",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r" ?[^\s\p{L}\p{N}]++[\r\n]*",
    r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
    r"\s+(?!\S)",
    r"\s+",
    r"\s",
    r"\s++$",
    r"\s+$",
    r"\s*[\r\n]+",
    r"\s*[\r\n]",
    r"\p{N}",
    r"\p{N}{1,3}",
    r"\p{N}{1,3}+",
    r"[^\r\n\p{L}\p{N}]?\p{L}+",
    r"[^\r\n\p{L}\p{N}]?+\p{L}+",
    r"[^\r\n\p{L}\p{N}]?+\p{L}++",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+",
    " ?[\\p{P}\\p{S}]+[\r\n]*",
];

/// `true` for one character of a class, or for a run of one class without white space, with at most one space before it.
fn is_run(pattern: &str) -> bool {
    let class = pattern.strip_prefix(" ?").or_else(|| pattern.strip_prefix(r"\s?")).unwrap_or(pattern);
    let class = class.strip_suffix('+').unwrap_or(class);
    let inner = class.strip_prefix('[').and_then(|class| class.strip_suffix(']'));
    let is_one = inner.is_some_and(|inner| !inner.replace(r"\\", "").replace(r"\[", "").replace(r"\]", "").contains(['[', ']']));
    let has_space = || {
        let compiled = Pattern::new(Part::PreTokenizer, class).ok();
        let found = compiled.and_then(|class| (&class).find_matches(" \n\t\r\u{3000}").ok());
        found.is_none_or(|found| found.iter().any(|(_, is_match)| *is_match))
    };
    is_one && (class == pattern || !has_space())
}

impl Described {
    /// `true` if where a text is cut depends on the neighbourhood of that place only: see [`super::cuts`].
    pub fn is_local(&self) -> bool {
        match self {
            Self::Sequence { pretokenizers } => pretokenizers.iter().all(Self::is_local),
            Self::Split { pattern: Needle::Regex(pattern), invert, .. } => {
                !invert && alternatives(pattern).iter().all(|one| LOCAL.contains(one) || is_run(one))
            }
            Self::Split { pattern: Needle::String(text), .. } => text.chars().count() == 1,
            Self::FixedLength { .. } | Self::UnicodeScripts => false,
            _ => true,
        }
    }
}

/// The alternatives of a pattern that are in no group.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut depth, mut is_escaped, mut start, mut found) = (0_usize, false, 0, Vec::new());
    for (at, c) in pattern.char_indices() {
        match c {
            _ if is_escaped => {
                is_escaped = false;
                continue;
            }
            '\\' => is_escaped = true,
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                found.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&pattern[start..]);
    found
}
