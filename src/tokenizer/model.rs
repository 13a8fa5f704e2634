//! The model: how a word becomes tokens.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;

use super::TokenizerError;
use super::refused::Part;

/// The most bytes of a token.
const MAX_TOKEN_BYTES: usize = 16 << 10;
/// The most bytes of a token of a Unigram model, which keeps one map inside the other for every byte.
const MAX_PIECE_BYTES: usize = 1 << 10;
/// The longest word, in characters, that WordPiece compares with its vocabulary: its time grows with the square.
const MAX_WORD_CHARS: usize = 10_000;

/// A model as tokenizer.json describes it.
#[derive(Debug, Deserialize)]
pub(super) struct Described {
    /// Missing in old files.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    pub vocab: Vocabulary,
    merges: Option<Vec<Merge>>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    unk_id: Option<usize>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    max_input_chars_per_word: Option<usize>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Kind {
    #[serde(rename = "BPE")]
    Bpe,
    WordPiece,
    WordLevel,
    Unigram,
}

/// Tokens with their ids, or in the order of their ids with the logarithms of their probabilities.
#[derive(Debug)]
pub(super) enum Vocabulary {
    Ids(HashMap<String, u32>),
    Scores(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;

        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocabulary;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map of tokens to ids, or a list of tokens with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vocabulary, A::Error> {
                HashMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(Vocabulary::Ids)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vocabulary, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(Vocabulary::Scores)
            }
        }

        deserializer.deserialize_any(Tokens)
    }
}

/// A merge: two tokens, or in old files both in one text with a space between them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

impl Vocabulary {
    pub fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Scores(scores) => scores.len(),
        }
    }

    /// The largest id; 0 if there is none.
    pub fn largest(&self) -> u32 {
        match self {
            Self::Ids(ids) => ids.values().copied().max().unwrap_or(0),
            Self::Scores(scores) => u32::try_from(scores.len().saturating_sub(1)).unwrap_or(u32::MAX),
        }
    }

    /// Checks that tokens are not too long, and that no two have the same id: which of them an id stands for would
    /// change from run to run.
    fn check(&self, longest: usize) -> Result<(), TokenizerError> {
        let too_long = |token: &String| token.len() > longest;
        let (n_long, mut seen) = match self {
            Self::Ids(ids) => (ids.keys().filter(|token| too_long(token)).count(), HashMap::with_capacity(ids.len())),
            Self::Scores(scores) => (scores.iter().filter(|(token, _)| too_long(token)).count(), HashMap::new()),
        };
        if n_long > 0 {
            return Err(Part::Model.refused(format!("{n_long} of its tokens have more than {longest} bytes")));
        }
        let Self::Ids(ids) = self else { return Ok(()) };
        for (token, id) in ids {
            if let Some(other) = seen.insert(*id, token) {
                return Err(Part::Model.refused(format!("{other:?} and {token:?} have the same id {id}")));
            }
        }
        Ok(())
    }
}

impl Described {
    /// Builds the model.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`].
    pub fn built(self) -> Result<ModelWrapper, TokenizerError> {
        let kind = self.kind();
        self.vocab.check(if kind == Kind::Unigram { MAX_PIECE_BYTES } else { MAX_TOKEN_BYTES })?;
        let missing = |what: &str| Part::Model.refused(format!("its {what} is missing, or not of its kind"));
        let failed = |error: tokenizers::Error| Part::Model.refused(error.to_string());
        match (kind, self.vocab) {
            (Kind::Bpe, Vocabulary::Ids(ids)) => {
                if self.dropout.is_some_and(|dropout| dropout != 0.0) {
                    return Err(Part::Model.refused("it has a dropout, so that the tokens of a text would be drawn at random"));
                }
                let prefix = self.continuing_subword_prefix.unwrap_or_default();
                let merges = merges(self.merges.ok_or_else(|| missing("merges"))?, &ids, &prefix)?;
                let mut model = BPE::builder().vocab_and_merges(ids.into_iter().collect::<Vocab>(), merges);
                if !prefix.is_empty() {
                    model = model.continuing_subword_prefix(prefix);
                }
                if let Some(suffix) = self.end_of_word_suffix.filter(|suffix| !suffix.is_empty()) {
                    model = model.end_of_word_suffix(suffix);
                }
                model = model.fuse_unk(self.fuse_unk.unwrap_or(false)).byte_fallback(self.byte_fallback.unwrap_or(false));
                model = model.ignore_merges(self.ignore_merges.unwrap_or(false));
                if let Some(unknown) = self.unk_token {
                    model = model.unk_token(unknown);
                }
                Ok(model.build().map_err(failed)?.into())
            }
            (Kind::WordPiece, Vocabulary::Ids(ids)) => {
                let longest = self.max_input_chars_per_word.ok_or_else(|| missing("max_input_chars_per_word"))?;
                if longest > MAX_WORD_CHARS {
                    return Err(
                        Part::Model.refused(format!("it compares words of {longest} characters; at most {MAX_WORD_CHARS} are possible"))
                    );
                }
                let model = WordPiece::builder().vocab(ids.into_iter().collect::<Vocab>()).max_input_chars_per_word(longest);
                let model = model.unk_token(self.unk_token.ok_or_else(|| missing("unk_token"))?);
                let prefix = self.continuing_subword_prefix.ok_or_else(|| missing("continuing_subword_prefix"))?;
                Ok(model.continuing_subword_prefix(prefix).build().map_err(failed)?.into())
            }
            (Kind::WordLevel, Vocabulary::Ids(ids)) => {
                let model = WordLevel::builder().vocab(ids.into_iter().collect::<Vocab>());
                Ok(model.unk_token(self.unk_token.ok_or_else(|| missing("unk_token"))?).build().map_err(failed)?.into())
            }
            (Kind::Unigram, Vocabulary::Scores(scores)) => {
                Ok(Unigram::from(scores, self.unk_id, self.byte_fallback.unwrap_or(false)).map_err(failed)?.into())
            }
            _ => Err(missing("vocab")),
        }
    }

    /// The kind, which old files do not name.
    fn kind(&self) -> Kind {
        self.kind.unwrap_or(match (&self.vocab, &self.merges, self.max_input_chars_per_word) {
            (Vocabulary::Scores(_), ..) => Kind::Unigram,
            (Vocabulary::Ids(_), Some(_), _) => Kind::Bpe,
            (Vocabulary::Ids(_), None, Some(_)) => Kind::WordPiece,
            (Vocabulary::Ids(_), None, None) => Kind::WordLevel,
        })
    }

    /// The pairs of characters that stand next to each other in a token, and the characters that are tokens: between two
    /// of the latter that are none of the former, no merge can reach from one side to the other. `None` if the model does
    /// not work by merges, or changes the characters at the ends of a word.
    pub fn merged_pairs(&self) -> Option<MergedPairs> {
        let is_empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        let (Kind::Bpe, Vocabulary::Ids(ids)) = (self.kind(), &self.vocab) else { return None };
        if !is_empty(&self.continuing_subword_prefix) || !is_empty(&self.end_of_word_suffix) {
            return None;
        }
        let mut pairs = MergedPairs::default();
        for token in ids.keys() {
            let mut chars = token.chars();
            let Some(mut before) = chars.next() else { continue };
            if token.len() == before.len_utf8() {
                pairs.tokens.insert(before);
            }
            for c in chars {
                pairs.merged.insert((before, c));
                before = c;
            }
        }
        Some(pairs)
    }
}

/// See [`Described::merged_pairs`].
#[derive(Debug, Default)]
pub(super) struct MergedPairs {
    merged: std::collections::HashSet<(char, char)>,
    tokens: std::collections::HashSet<char>,
}

impl MergedPairs {
    /// `true` if no merge can reach over the place between these characters.
    pub fn never_merges(&self, before: char, after: char) -> bool {
        self.tokens.contains(&before) && self.tokens.contains(&after) && !self.merged.contains(&(before, after))
    }
}

/// Checks that both tokens of every merge, and the one that comes out, are in the vocabulary.
fn merges(merges: Vec<Merge>, ids: &HashMap<String, u32>, prefix: &str) -> Result<Vec<(String, String)>, TokenizerError> {
    let mut whole = String::new();
    let mut checked = |merge| {
        let (a, b) = match merge {
            Merge::Pair(a, b) => (a, b),
            Merge::Line(line) => match line.split_once(' ') {
                Some((a, b)) if !b.contains(' ') => (a.to_owned(), b.to_owned()),
                _ => return Err(Part::Model.refused(format!("its merge {line:?} is no pair of tokens"))),
            },
        };
        let Some(rest) = b.strip_prefix(prefix) else {
            return Err(Part::Model.refused(format!("{b:?}, which it merges with {a:?}, does not begin with {prefix:?}")));
        };
        whole.clear();
        whole.extend([a.as_str(), rest]);
        if let Some(unknown) = [&a, &b, &whole].into_iter().find(|token| !ids.contains_key(*token)) {
            return Err(Part::Model.refused(format!("its merge of {a:?} and {b:?} needs {unknown:?}, which is no token")));
        }
        Ok((a, b))
    };
    let lines = merges.into_iter().filter(|merge| !matches!(merge, Merge::Line(line) if line.starts_with("#version")));
    lines.map(&mut checked).collect()
}
