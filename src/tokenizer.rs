//! `tokenizer.json`, through Hugging Face's own crate.

pub mod patterns;

use std::collections::HashSet;

use serde::Serialize;
use thiserror::Error;
use tokenizers::Tokenizer as HfTokenizer;

#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum TokenizerError {
    #[error("tokenizer.json could not be read: {why}")]
    Parse { why: String },
    #[error("tokenizer_config.json: {key} {why}")]
    Config { key: &'static str, why: String },
    #[error(
        "the pattern {pattern:?} of tokenizer.json cannot be used in a browser, whose reader may take {part:?} otherwise than Oniguruma"
    )]
    Pattern { pattern: String, part: String },
    #[error("tokenizer.json has token ids up to {largest}, but the model's vocabulary has {vocab_size}: it belongs to another model")]
    OtherVocabulary { largest: u32, vocab_size: usize },
    #[error("{token:?} is token {id}, but the model's vocabulary has {vocab_size}: the model does not know it")]
    NoSuchToken { token: String, id: u32, vocab_size: usize },
    #[error("the text could not be turned into tokens: {why}")]
    Encode { why: String },
    #[error("token {id} could not be turned into text: {why}")]
    Decode { id: u32, why: String },
}

/// Converts text to token ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    inner: HfTokenizer,
    vocab_size: usize,
    /// A BOS that is put before a text, although tokenizer.json does not say so.
    bos: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and checks that its ids fit the model. Added tokens may be outside the vocabulary:
    /// Gemma 3 has one for images, which its text-only models lack.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Parse`] or [`TokenizerError::OtherVocabulary`].
    pub fn from_json(json: &[u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        let mut inner = HfTokenizer::from_bytes(json).map_err(|error| TokenizerError::Parse { why: error.to_string() })?;
        // Prompts are never truncated or padded silently.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| TokenizerError::Parse { why: error.to_string() })?;
        let largest = inner.get_vocab(false).into_values().max().unwrap_or(0);
        if largest as usize >= vocab_size {
            return Err(TokenizerError::OtherVocabulary { largest, vocab_size });
        }
        Ok(Self { inner, vocab_size, bos: None })
    }

    /// Puts this token before every text that does not begin with it.
    pub fn begin_with(&mut self, bos: u32) {
        self.bos = Some(bos);
    }

    /// The id of a token; `None` if there is no such token.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// `true` if both the tokenizer and the model have this token.
    pub fn knows(&self, id: u32) -> bool {
        (id as usize) < self.vocab_size && self.inner.id_to_token(id).is_some()
    }

    /// Token ids of a text, with the special tokens that the model expects around it (its BOS).
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`], or [`TokenizerError::NoSuchToken`] if the text contains a token that the model
    /// lacks.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, true).map_err(|error| TokenizerError::Encode { why: error.to_string() })?;
        let bos = self.bos.filter(|bos| encoding.get_ids().first() != Some(bos));
        let ids = bos.into_iter().chain(encoding.get_ids().iter().copied()).collect::<Vec<_>>();
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            Some(id) => Err(TokenizerError::NoSuchToken { token: self.token_text(*id), id: *id, vocab_size: self.vocab_size }),
            None => Ok(ids),
        }
    }

    /// The special tokens that the model expects before a text, and the text's own ids.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`].
    pub fn encode_apart(&self, text: &str) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
        let plain = self.inner.encode_fast(text, false).map_err(|error| TokenizerError::Encode { why: error.to_string() })?;
        let (plain, whole) = (plain.get_ids().to_vec(), self.encode(text)?);
        let before = (0..=whole.len().saturating_sub(plain.len())).find(|start| whole[*start..].starts_with(&plain)).unwrap_or(0);
        Ok((whole[..before].to_vec(), plain))
    }

    /// One token as text for people, including special tokens.
    pub fn token_text(&self, id: u32) -> String {
        match self.inner.decode(&[id], false) {
            Ok(text) if !text.is_empty() => text,
            _ => self.inner.id_to_token(id).unwrap_or_else(|| format!("#{id}")),
        }
    }

    /// Text of a whole sequence, without special tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Decode`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let id = ids.first().copied().unwrap_or(0);
        self.inner.decode(ids, true).map_err(|error| TokenizerError::Decode { id, why: error.to_string() })
    }

    /// Text that `ids` add after `context`. They are not decoded alone, because some tokenizers drop the space before
    /// the first word of a text.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Decode`].
    pub fn decode_after(&self, context: &[u32], ids: &[u32]) -> Result<String, TokenizerError> {
        let before = self.decode(context)?;
        let after = self.decode(&[context, ids].concat())?;
        match after.strip_prefix(before.as_str()) {
            Some(added) => Ok(added.to_owned()),
            None => self.decode(ids),
        }
    }

    /// Ids whose text, without surrounding space and in lower case, is one of `words`.
    pub fn ids_of_words(&self, words: &HashSet<&str>) -> Vec<u32> {
        let is_word = |id: &u32| self.inner.decode(&[*id], true).is_ok_and(|text| words.contains(text.trim().to_lowercase().as_str()));
        let ids = self.inner.get_vocab(true).into_values().filter(|id| (*id as usize) < self.vocab_size);
        let mut ids = ids.filter(is_word).collect::<Vec<_>>();
        ids.sort_unstable();
        ids
    }
}

/// Text of a growing sequence, piece by piece. A character whose bytes are spread over tokens is returned when it is
/// complete.
#[derive(Debug, Default)]
pub struct StreamingText {
    ids: Vec<u32>,
    /// The tokens before this one only give context to the next piece.
    prefix: usize,
    read: usize,
}

impl StreamingText {
    /// A text that continues after these ids.
    pub fn after(context: &[u32]) -> Self {
        Self { ids: context.to_vec(), prefix: 0, read: context.len() }
    }

    /// Appends `id`, and returns the text that it adds; empty while a character is incomplete.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Decode`].
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let before = tokenizer.decode(&self.ids[self.prefix..self.read])?;
        let after = tokenizer.decode(&self.ids[self.prefix..])?;
        if after.len() <= before.len() || after.ends_with('\u{fffd}') {
            return Ok(String::new());
        }
        (self.prefix, self.read) = (self.read, self.ids.len());
        Ok(after.get(before.len()..).unwrap_or_default().to_owned())
    }
}
