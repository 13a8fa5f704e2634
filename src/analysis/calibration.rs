//! The text that channels are scored over, cut into sequences.
//!
//! A removal of channels is never judged on this text: the bundled one shares no author with the held-out passages of
//! [`super::eval`] (public/calibration.md).

use super::error::AnalysisError;
use crate::terms::{CalibrationText, Message, text_digest};
use crate::tokenizer::Tokenizer;

pub(super) const BUNDLED: &str = include_str!("../../public/calibration.txt");
const BUNDLED_NAME: &str = "calibration excerpts 1";

/// Sequences of token ids, in the order in which they are scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequences {
    pub ids: Vec<Vec<u32>>,
    pub length: usize,
    /// The name of the text and how it was cut.
    pub convention: Message,
    /// The digest of [`crate::terms::Calibration::text_digest`].
    pub text_digest: String,
}

impl Sequences {
    /// Cuts a text into windows of `length` tokens and takes at most `n` of them. Each window begins with the model's
    /// special tokens (its BOS), which count towards `length`. All have the same length, because the loss proxy
    /// contains 1/T². A remainder is dropped, unless the text is shorter than one window.
    ///
    /// Windows are taken in steps of a golden section of their number: a few windows are spread over the whole text,
    /// and a larger `n` begins with the same windows, so that scoring can be resumed.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer refuses the text, or if the text has nothing to predict.
    pub fn of(
        text: Option<&CalibrationText>,
        n: usize,
        length: usize,
        tokenizer: &Tokenizer,
        max_position_embeddings: usize,
    ) -> Result<Self, AnalysisError> {
        let (name, text) = text.map_or((BUNDLED_NAME, BUNDLED), |given| (given.name.as_str(), given.text.as_str()));
        let is_cut = text.len() > CalibrationText::MAX_BYTES;
        let text = CalibrationText::scored(text);
        let (before, ids) = tokenizer.encode_apart(text.trim())?;
        let length = length.min(max_position_embeddings).min(before.len() + ids.len());
        let room = length.saturating_sub(before.len());
        if length < 2 || room == 0 {
            return Err(AnalysisError::EmptyText);
        }
        let windows = ids.chunks_exact(room).collect::<Vec<_>>();
        let ids = spread(windows.len()).take(n).map(|index| [&before, windows[index]].concat()).collect();
        let convention = Message::new("sequences").with("text", name).with("length", length);
        let convention = if is_cut { convention.with("first_bytes", CalibrationText::MAX_BYTES) } else { convention };
        Ok(Self { ids, length, convention, text_digest: text_digest(&text) })
    }
}

impl Sequences {
    /// The convention of an experiment that was calibrated on these sequences.
    pub fn added_to(&self, convention: Message) -> Message {
        let told = convention.with("calibrated_text", self.convention.text("text")).with("calibrated_digest", self.text_digest.as_str());
        told.with("calibrated_length", self.length).with("calibrated_sequences", self.ids.len())
    }
}

/// Yields every index of `0..n` once, in steps of about 0.618 n.
fn spread(n: usize) -> impl Iterator<Item = usize> {
    let golden = (0.618 * n as f64).round() as usize;
    let step = (golden.max(1)..=n).find(|step| gcd(*step, n) == 1).unwrap_or(1);
    // The product needs 64 bits, and a browser's usize has 32.
    (0..n).map(move |i| (i as u64 * step as u64 % n as u64) as usize)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_comes_once() {
        for n in 0..200 {
            let mut seen = spread(n).collect::<Vec<_>>();
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>(), "{n}");
        }
        let first = spread(79).take(4).collect::<Vec<_>>();
        assert_eq!(first, [0, 49, 19, 68]);
    }

    #[test]
    fn page_knows_the_bundled_text_by_its_digest() {
        let bundled = CalibrationText { name: BUNDLED_NAME.into(), text: BUNDLED.into() };
        assert_eq!(bundled.digest(), CalibrationText::BUNDLED_DIGEST);
    }

    #[test]
    fn nothing_of_the_calibration_text_is_held_out() {
        let letters = |text: &str| text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect::<String>();
        let (calibration, held_out) = (letters(BUNDLED), letters(include_str!("../../public/held-out.txt")));
        assert!(held_out.len() > 5000);
        for start in 0..held_out.len() - 48 {
            let run = &held_out[start..start + 48];
            assert!(!calibration.contains(run), "{run}");
        }
    }
}
