//! The parts of `tokenizer.json` by name, for errors.

use super::TokenizerError;

/// A part of `tokenizer.json`, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    AddedTokens,
    Normalizer,
    PreTokenizer,
    PostProcessor,
    Decoder,
    Model,
}

impl Part {
    fn key(self) -> &'static str {
        match self {
            Self::AddedTokens => "added_tokens",
            Self::Normalizer => "normalizer",
            Self::PreTokenizer => "pre_tokenizer",
            Self::PostProcessor => "post_processor",
            Self::Decoder => "decoder",
            Self::Model => "model",
        }
    }

    /// The error of a part that cannot be used.
    pub fn refused(self, why: impl Into<String>) -> TokenizerError {
        TokenizerError::Part { part: self.key(), why: short(why.into()) }
    }
}

/// A reason without most of a long text that the file has in it.
pub(super) fn short(why: String) -> String {
    const MAX: usize = 400;
    if why.len() <= MAX {
        return why;
    }
    let (start, end) = (why.floor_char_boundary(MAX / 2), why.ceil_char_boundary(why.len() - MAX / 2));
    format!("{} … {}", &why[..start], &why[end..])
}

/// The most bytes that one byte of text may become in a part: every byte takes 17 bytes of memory while it is read.
const MAX_GROWTH: usize = 4096;
/// The most bytes of a text that a part inserts.
pub(super) const MAX_INSERTED_BYTES: usize = 256;
/// The most steps of a part, at all depths.
const MAX_STEPS: usize = 64;

/// The growth of a text over the steps of a part.
#[derive(Debug)]
pub(super) struct Growth {
    part: Part,
    factor: usize,
    n_steps: usize,
}

impl Growth {
    pub fn of(part: Part) -> Self {
        Self { part, factor: 1, n_steps: 0 }
    }

    /// Counts a step in which one byte becomes at most `factor` bytes.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] if a text could become too long.
    pub fn step(&mut self, factor: usize) -> Result<(), TokenizerError> {
        self.n_steps += 1;
        self.factor = self.factor.saturating_mul(factor.max(1));
        if self.n_steps > MAX_STEPS {
            return Err(self.part.refused(format!("it has more than {MAX_STEPS} steps")));
        }
        if self.factor > MAX_GROWTH {
            return Err(self
                .part
                .refused(format!("one byte of a text could become {} bytes; at most {MAX_GROWTH} are possible", self.factor)));
        }
        Ok(())
    }

    /// Counts a step that inserts this text.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] if it is too long, or if a text could become too long.
    pub fn inserts(&mut self, text: &str) -> Result<(), TokenizerError> {
        if text.len() > MAX_INSERTED_BYTES {
            return Err(self.part.refused(format!("it inserts a text of {} bytes; at most {MAX_INSERTED_BYTES} are possible", text.len())));
        }
        self.step(text.len())
    }
}
