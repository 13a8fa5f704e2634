//! The normaliser: what is changed in a text before it is cut into words.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokenizers::normalizers::{
    BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, NormalizerWrapper, Precompiled, Prepend, Replace, Strip, StripAccents,
};
use tokenizers::{NormalizedString, Normalizer as _};

use super::TokenizerError;
use super::charsmap;
use super::pattern::Pattern;
use super::refused::{Growth, Part};

/// The most bytes that a character becomes when it is decomposed (ﷺ: 33 of 3).
const DECOMPOSED: usize = 11;

/// A normaliser as tokenizer.json describes it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Described {
    BertNormalizer {
        clean_text: bool,
        handle_chinese_chars: bool,
        strip_accents: Option<bool>,
        lowercase: bool,
    },
    Strip {
        strip_left: bool,
        strip_right: bool,
    },
    StripAccents,
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    Sequence {
        normalizers: Vec<Self>,
    },
    Lowercase,
    Nmt,
    Precompiled {
        precompiled_charsmap: String,
    },
    Replace {
        pattern: Needle,
        content: String,
    },
    Prepend {
        prepend: String,
    },
    ByteLevel,
}

/// A text or a pattern that is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) enum Needle {
    String(String),
    Regex(String),
}

/// A normaliser, built.
#[derive(Debug)]
pub(super) struct Normalizer {
    steps: Vec<Step>,
    /// `true` while the text that is read next continues another one: nothing is put before it.
    continues: AtomicBool,
    /// The first error since it was last taken. The crate that calls a normaliser drops errors.
    failure: Mutex<Option<String>>,
}

#[derive(Debug)]
enum Step {
    Known(NormalizerWrapper),
    Prepend(Prepend),
    Replace { pattern: Pattern, content: String },
}

impl Normalizer {
    /// Builds a normaliser.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] or [`TokenizerError::Pattern`].
    pub fn new(described: Described) -> Result<Self, TokenizerError> {
        let (mut steps, mut growth) = (Vec::new(), Growth::of(Part::Normalizer));
        add(described, &mut steps, &mut growth)?;
        Ok(Self { steps, continues: AtomicBool::new(false), failure: Mutex::new(None) })
    }

    /// Says whether the next text continues the one before.
    pub fn continue_text(&self, continues: bool) {
        self.continues.store(continues, Ordering::Relaxed);
    }

    /// The error of a normalisation since the last call.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().map_or_else(|_| Some("its state was lost".into()), |mut failure| failure.take())
    }

    fn steps(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let continues = self.continues.swap(false, Ordering::Relaxed);
        for step in &self.steps {
            match step {
                Step::Known(known) => known.normalize(text)?,
                Step::Prepend(_) if continues => {}
                Step::Prepend(prepend) => prepend.normalize(text)?,
                Step::Replace { pattern, content } => text.replace(&NonEmpty(pattern), content)?,
            }
        }
        Ok(())
    }
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let done = self.steps(text);
        if let (Err(error), Ok(mut failure)) = (&done, self.failure.lock()) {
            failure.get_or_insert_with(|| error.to_string());
        }
        done
    }
}

/// A pattern whose matches have characters. Where nothing is replaced by something at the beginning of a text, the crate
/// loses count of the characters.
struct NonEmpty<'a>(&'a Pattern);

impl tokenizers::pattern::Pattern for &NonEmpty<'_> {
    fn find_matches(&self, text: &str) -> tokenizers::Result<Vec<(tokenizers::Offsets, bool)>> {
        let found = self.0.find_matches(text)?;
        match text.is_empty() || found.iter().all(|((start, end), _)| start < end) {
            true => Ok(found),
            false => Err("a pattern of the normaliser matches the empty text".into()),
        }
    }
}

fn add(described: Described, steps: &mut Vec<Step>, growth: &mut Growth) -> Result<(), TokenizerError> {
    let (factor, known) = match described {
        Described::Sequence { normalizers } => {
            growth.step(1)?;
            return normalizers.into_iter().try_for_each(|one| add(one, steps, growth));
        }
        Described::Prepend { prepend } => {
            growth.inserts(&prepend)?;
            steps.push(Step::Prepend(Prepend::new(prepend)));
            return Ok(());
        }
        Described::Replace { pattern: Needle::Regex(pattern), content } => {
            growth.inserts(&content)?;
            steps.push(Step::Replace { pattern: Pattern::new(Part::Normalizer, &pattern)?, content });
            return Ok(());
        }
        Described::Replace { pattern: Needle::String(text), content } => {
            growth.inserts(&content)?;
            if text.is_empty() {
                return Err(Part::Normalizer.refused("it replaces the empty text"));
            }
            let replace = Replace::new(text, content).map_err(|error| Part::Normalizer.refused(error.to_string()))?;
            (1, replace.into())
        }
        Described::Precompiled { precompiled_charsmap } => {
            let bytes = STANDARD.decode(precompiled_charsmap);
            let bytes = bytes.map_err(|error| Part::Normalizer.refused(format!("its precompiled_charsmap is no base64: {error}")))?;
            let longest = charsmap::check(&bytes)?;
            let table = Precompiled::from(&bytes).map_err(|error| Part::Normalizer.refused(error.to_string()))?;
            (longest, table.into())
        }
        Described::BertNormalizer { clean_text, handle_chinese_chars, strip_accents, lowercase } => {
            (3, BertNormalizer::new(clean_text, handle_chinese_chars, strip_accents, lowercase).into())
        }
        Described::Strip { strip_left, strip_right } => (1, Strip::new(strip_left, strip_right).into()),
        Described::StripAccents => (1, StripAccents.into()),
        Described::Nfc => (3, NFC.into()),
        Described::Nfd => (3, NFD.into()),
        Described::Nfkc => (DECOMPOSED, NFKC.into()),
        Described::Nfkd => (DECOMPOSED, NFKD.into()),
        Described::Lowercase => (2, Lowercase.into()),
        Described::Nmt => (1, Nmt.into()),
        Described::ByteLevel => (2, ByteLevel::new().into()),
    };
    growth.step(factor)?;
    steps.push(Step::Known(known));
    Ok(())
}

impl Described {
    /// `true` if what a part of a text becomes depends on its neighbourhood only: see [`super::cuts`].
    pub fn is_local(&self) -> bool {
        let mut replaces = false;
        self.is_local_after(&mut replaces)
    }

    /// A step that looks for several characters may find them anywhere once another step has replaced some.
    fn is_local_after(&self, replaces: &mut bool) -> bool {
        match self {
            Self::Sequence { normalizers } => normalizers.iter().all(|one| one.is_local_after(replaces)),
            Self::Replace { pattern, .. } => {
                let is_first = !std::mem::replace(replaces, true);
                match pattern {
                    Needle::String(text) if text.chars().count() == 1 => true,
                    Needle::String(text) => is_first && text.len() <= 16 && !text.contains(char::is_whitespace),
                    // Runs of spaces, as converters of SentencePiece models write them.
                    Needle::Regex(pattern) => is_first && matches!(pattern.as_str(), " {2,}" | " +" | r"\s+" | r"\s"),
                }
            }
            _ => true,
        }
    }
}
