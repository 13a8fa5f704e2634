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

use std::borrow::Cow;

use serde_json::Value;

use super::TokenizerError;
use cursor::Translator;

/// The parts of `tokenizer.json` that have patterns.
const PARTS: [&str; 4] = ["normalizer", "pre_tokenizer", "post_processor", "decoder"];

/// The same parts of a file. Its vocabulary, which is long, is skipped.
#[derive(serde::Deserialize)]
struct WithPatterns {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
}

/// Translates every pattern of a `tokenizer.json` for `fancy_regex`. The file stays as it is if all of its patterns do,
/// or if it cannot be read, which its reader reports.
///
/// # Errors
///
/// [`TokenizerError::Pattern`] with the first pattern that cannot be translated.
pub fn for_fancy_regex(tokenizer: &[u8]) -> Result<Cow<'_, [u8]>, TokenizerError> {
    let Ok(WithPatterns { normalizer, pre_tokenizer, post_processor, decoder }) = serde_json::from_slice(tokenizer) else {
        return Ok(Cow::Borrowed(tokenizer));
    };
    let mut is_changed = false;
    for part in [normalizer, pre_tokenizer, post_processor, decoder].iter_mut().flatten() {
        is_changed |= translate_in(part)?;
    }
    let Some(mut whole) = is_changed.then(|| serde_json::from_slice::<Value>(tokenizer).ok()).flatten() else {
        return Ok(Cow::Borrowed(tokenizer));
    };
    for part in PARTS {
        if let Some(part) = whole.get_mut(part) {
            translate_in(part)?;
        }
    }
    Ok(Cow::Owned(whole.to_string().into_bytes()))
}

/// Translates the patterns in a part, at any depth: a sequence has parts of its own. Returns `true` if one has changed.
fn translate_in(part: &mut Value) -> Result<bool, TokenizerError> {
    let mut is_changed = false;
    match part {
        Value::Object(members) => {
            for (name, value) in members {
                match value.get_mut("Regex").filter(|_| name == "pattern") {
                    Some(Value::String(pattern)) => {
                        let translated = translate(pattern)?;
                        is_changed |= translated != *pattern;
                        *pattern = translated;
                    }
                    _ => is_changed |= translate_in(value)?,
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                is_changed |= translate_in(value)?;
            }
        }
        _ => {}
    }
    Ok(is_changed)
}

/// Writes a pattern of Oniguruma so that `fancy_regex` finds the same matches.
///
/// # Errors
///
/// [`TokenizerError::Pattern`], with the part of the pattern that may have another meaning.
pub fn translate(pattern: &str) -> Result<String, TokenizerError> {
    Translator::translate(pattern).map_err(|part| TokenizerError::Pattern { pattern: pattern.into(), part })
}
