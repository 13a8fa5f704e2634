//! The patterns of `tokenizer.json`, translated for a browser.
//!
//! Published patterns were written for Oniguruma, which natively reads them. A browser's build has no C, so that
//! `fancy_regex` reads them there, and it takes some of them otherwise, without an error: `\p{N}{1,3}+` is possessive
//! for it, and a repetition of repetitions for Oniguruma. Here a pattern is parsed as Oniguruma parses it (the default
//! syntax in `doc/RE` of its sources), and written so that `fancy_regex` finds the same matches. A pattern is refused if
//! it has a part whose meaning is not known to be the same.

mod alternatives;
mod class;
mod cursor;
mod escape;
mod names;
#[cfg(test)]
mod tests;

use super::TokenizerError;
use cursor::Translator;

/// Writes a pattern of Oniguruma so that `fancy_regex` finds the same matches.
///
/// # Errors
///
/// [`TokenizerError::Pattern`], with the part of the pattern that may have another meaning.
pub fn translate(pattern: &str) -> Result<String, TokenizerError> {
    Translator::translate(pattern).map_err(|part| TokenizerError::Pattern { pattern: pattern.into(), part })
}
