//! `tokenizer.json` as data of known kinds, checked, and built part by part.
//!
//! The crate `tokenizers` can read the file too. It panics, or ends the process, on some files that are damaged or made
//! to do so (docs/upstream.md); in a browser, nothing survives that.

use serde::Deserialize;
use tokenizers::AddedToken;

use super::TokenizerError;
use super::built::Built;
use super::cuts::Cuts;
use super::decoder::{self, Decoder};
use super::model;
use super::normalizer::{self, Normalizer};
use super::pre_tokenizer::{self, PreTokenizer};
use super::refused::{Part, short};
use super::special::{self, Around};

/// The most added tokens.
const MAX_ADDED_TOKENS: usize = 1 << 20;
/// The most bytes of an added token.
const MAX_ADDED_BYTES: usize = 4 << 10;

#[derive(Debug, Deserialize)]
pub(super) struct File {
    version: Option<String>,
    added_tokens: Option<Vec<Added>>,
    normalizer: Option<normalizer::Described>,
    pre_tokenizer: Option<pre_tokenizer::Described>,
    post_processor: Option<special::Described>,
    decoder: Option<decoder::Described>,
    model: model::Described,
}

#[derive(Debug, Deserialize)]
struct Added {
    id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Parse`].
    pub fn read(json: &[u8]) -> Result<Self, TokenizerError> {
        let file = serde_json::from_slice::<Self>(json).map_err(|error| TokenizerError::Parse { why: short(error.to_string()) })?;
        match file.version.as_deref() {
            None | Some("1.0") => Ok(file),
            Some(other) => Err(TokenizerError::Parse { why: short(format!("it is of version {other:?}, and only 1.0 is known")) }),
        }
    }

    /// The largest id of the vocabulary, without added tokens; `None` if there is no token.
    pub fn largest_id(&self) -> Option<u32> {
        (self.model.vocab.len() > 0).then(|| self.model.vocab.largest())
    }

    /// Builds the tokenizer, and finds the tokens around a text and the places where a text may be cut. Padding and
    /// truncation are left out: no text is changed silently.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] or [`TokenizerError::Pattern`].
    pub fn built(self) -> Result<(Built, Around, Cuts), TokenizerError> {
        let added = self.added_tokens.unwrap_or_default();
        check_added(&added)?;
        let is_local = self.normalizer.as_ref().is_none_or(normalizer::Described::is_local)
            && self.pre_tokenizer.as_ref().is_none_or(pre_tokenizer::Described::is_local);
        // Without a pre-tokenizer, the whole text is one word.
        let pairs = if self.pre_tokenizer.is_none() { self.model.merged_pairs() } else { None };
        let has_words = self.pre_tokenizer.is_some();
        let mut built = Built::new(self.model.built()?);
        let normalizer = self.normalizer.map(Normalizer::new).transpose()?;
        let refused = |error: tokenizers::Error| Part::AddedTokens.refused(error.to_string());
        built.with_normalizer(normalizer).map_err(refused)?;
        built.with_pre_tokenizer(self.pre_tokenizer.map(PreTokenizer::new).transpose()?);
        built.with_decoder(self.decoder.map(Decoder::new).transpose()?);
        let ids = added.iter().map(|token| (token.content.clone(), token.id)).collect::<Vec<_>>();
        built.add_tokens(added.into_iter().map(Added::into_token)).map_err(refused)?;
        if let Some(why) = built.get_normalizer().and_then(Normalizer::failure) {
            return Err(Part::AddedTokens.refused(why));
        }
        for (token, id) in ids.iter().filter(|(token, _)| !token.is_empty()) {
            match built.token_to_id(token) {
                Some(got) if got == *id => {}
                got => {
                    let got = got.map_or_else(|| "none".into(), |got| got.to_string());
                    return Err(
                        Part::AddedTokens.refused(format!("{token:?} has the id {id} there, but its place in the vocabulary is {got}"))
                    );
                }
            }
        }
        let around = Around::of(self.post_processor, |token| built.token_to_id(token))?;
        let cuts = Cuts::new(&built, is_local && (has_words || pairs.is_some()), pairs)?;
        Ok((built, around, cuts))
    }
}

impl Added {
    fn into_token(self) -> AddedToken {
        let token = AddedToken::from(self.content, self.special).single_word(self.single_word).normalized(self.normalized);
        token.lstrip(self.lstrip).rstrip(self.rstrip)
    }
}

fn check_added(added: &[Added]) -> Result<(), TokenizerError> {
    let refused = |why: String| Err(Part::AddedTokens.refused(why));
    if added.len() > MAX_ADDED_TOKENS {
        return refused(format!("there are {} of them; at most {MAX_ADDED_TOKENS} are possible", added.len()));
    }
    if let Some(long) = added.iter().find(|token| token.content.len() > MAX_ADDED_BYTES) {
        return refused(format!("one has {} bytes; at most {MAX_ADDED_BYTES} are possible", long.content.len()));
    }
    // A token that takes the space to its right may take all of a token that is space only, and that one then reaches back.
    let space = added.iter().find(|token| token.lstrip && token.content.chars().all(char::is_whitespace));
    if let (Some(space), Some(strips)) = (space, added.iter().find(|token| token.rstrip)) {
        return refused(format!("{:?} takes the space behind it, of which {:?} consists", strips.content, space.content));
    }
    Ok(())
}
