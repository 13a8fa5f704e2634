//! `tokenizer.json`, through Hugging Face's own crate: [`file`] checks and builds it, [`cuts`] finds where a long text may
//! be cut.

mod built;
mod charsmap;
mod cuts;
mod decoder;
mod file;
mod guard;
mod model;
mod normalizer;
mod pattern;
mod patterns;
mod pre_tokenizer;
mod refused;
mod special;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde::Serialize;
use thiserror::Error;

use self::built::Built;
use self::cuts::{Cuts, PIECE};
use self::file::File;
use self::guard::guarded;
use self::normalizer::Normalizer;
use self::special::Around;
use crate::platform::IN_BROWSER;

#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum TokenizerError {
    #[error("tokenizer.json could not be read: {why}")]
    Parse { why: String },
    #[error("tokenizer_config.json: {key} {why}")]
    Config { key: &'static str, why: String },
    #[error("the part {part} of tokenizer.json cannot be used: {why}")]
    Part { part: &'static str, why: String },
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

/// The most bytes of a text without a place where it may be cut. In a browser, a longer one could take all memory.
const MAX_UNCUT_BYTES: usize = if IN_BROWSER { 4 << 20 } else { 256 << 20 };

/// Converts text to token ids and back.
#[derive(Debug)]
pub struct Tokenizer {
    inner: Built,
    around: Around,
    cuts: Cuts,
    vocab_size: usize,
    /// A BOS that is put before a text, although tokenizer.json does not say so.
    bos: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, checks every part of it, and that its ids fit the model. Added tokens may be outside the
    /// vocabulary: Gemma 3 has one for images, which its text-only models lack.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Parse`], [`TokenizerError::Part`], [`TokenizerError::Pattern`] or
    /// [`TokenizerError::OtherVocabulary`].
    pub fn from_json(json: &[u8], vocab_size: usize) -> Result<Self, TokenizerError> {
        let file = File::read(json)?;
        match file.largest_id() {
            Some(largest) if largest as usize >= vocab_size => return Err(TokenizerError::OtherVocabulary { largest, vocab_size }),
            _ => {}
        }
        let (inner, around, cuts) = guarded(|| file.built()).unwrap_or_else(|why| Err(TokenizerError::Parse { why }))?;
        Ok(Self { inner, around, cuts, vocab_size, bos: None })
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
        self.encode_first(text, usize::MAX)
    }

    /// The first `n` ids of [`Self::encode`]; of a long text, only the beginning is read for them.
    ///
    /// # Errors
    ///
    /// Those of [`Self::encode`], for the part that is read.
    pub fn encode_first(&self, text: &str, n: usize) -> Result<Vec<u32>, TokenizerError> {
        let (mut ids, plain) = self.encode_apart_first(text, n)?;
        ids.extend(plain);
        ids.extend(&self.around.after);
        ids.truncate(n);
        self.check(&ids)?;
        Ok(ids)
    }

    /// The special tokens that the model expects before a text, and the text's own ids.
    ///
    /// # Errors
    ///
    /// Those of [`Self::encode`].
    pub fn encode_apart(&self, text: &str) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
        let (before, plain) = self.encode_apart_first(text, usize::MAX)?;
        self.check(&plain)?;
        Ok((before, plain))
    }

    /// Like [`Self::encode_apart`], with at least the first `n` of the text's own ids, if it has as many: of a long text,
    /// only the beginning is read. Ids that the model lacks are among them.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`].
    pub fn encode_apart_first(&self, text: &str, n: usize) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
        let ids = self.read(text, n, PIECE)?;
        let first = self.around.before.first().or(ids.first()).or(self.around.after.first()).copied();
        let bos = self.bos.filter(|bos| first != Some(*bos));
        Ok((bos.into_iter().chain(self.around.before.iter().copied()).collect(), ids))
    }

    /// At least the first `n` ids of a text, without special tokens around it, read in pieces of `piece` bytes or more.
    fn read(&self, text: &str, n: usize, piece: usize) -> Result<Vec<u32>, TokenizerError> {
        let (mut ids, mut done) = (Vec::new(), 0);
        while done < text.len() && ids.len() < n {
            let end = self.cuts.next(&self.inner, text, done + piece);
            ids.extend(self.encode_piece(&text[done..end], done > 0)?);
            done = end;
        }
        Ok(ids)
    }

    /// The ids of a piece of a text, without special tokens around it.
    fn encode_piece(&self, piece: &str, continues: bool) -> Result<Vec<u32>, TokenizerError> {
        if piece.len() > MAX_UNCUT_BYTES {
            let why =
                format!("it has {} bytes without a place where it may be cut, and at most {MAX_UNCUT_BYTES} are read at once", piece.len());
            return Err(TokenizerError::Encode { why });
        }
        let normalizer = self.inner.get_normalizer();
        let encoded = guarded(|| {
            if let Some(normalizer) = normalizer {
                normalizer.failure();
                normalizer.continue_text(continues);
            }
            let encoded = self.inner.encode_fast(piece, false).map_err(|error| error.to_string())?;
            // A failed normalisation is left out without an error.
            match normalizer.and_then(Normalizer::failure) {
                None => Ok(encoded.get_ids().to_vec()),
                Some(why) => Err(why),
            }
        });
        encoded.unwrap_or_else(Err).map_err(|why| TokenizerError::Encode { why })
    }

    /// Checks that the model has these tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoSuchToken`].
    pub fn check(&self, ids: &[u32]) -> Result<(), TokenizerError> {
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            Some(id) => Err(TokenizerError::NoSuchToken { token: self.token_text(*id), id: *id, vocab_size: self.vocab_size }),
            None => Ok(()),
        }
    }

    /// One token as text for people, including special tokens.
    pub fn token_text(&self, id: u32) -> String {
        match self.decoded(&[id], false) {
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
        self.decoded(ids, true).map_err(|why| TokenizerError::Decode { id: ids.first().copied().unwrap_or(0), why })
    }

    fn decoded(&self, ids: &[u32], without_special: bool) -> Result<String, String> {
        guarded(|| self.inner.decode(ids, without_special).map_err(|error| error.to_string())).unwrap_or_else(Err)
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
        let is_word = |id: &u32| self.decoded(&[*id], true).is_ok_and(|text| words.contains(text.trim().to_lowercase().as_str()));
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
