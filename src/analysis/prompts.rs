//! Prompts cut from sentences before their last word, to test how a model continues.

use super::{calibration, eval};

/// Id of the rule of [`bundled`] and its texts.
pub const BUNDLED_NAME: &str = "first_sentences_1";
/// Number of words in a usable sentence.
const WORDS: std::ops::RangeInclusive<usize> = 8..=40;

/// Returns the bundled prompts: from the calibration text and then the held-out text, the first sentence of 8 to 40
/// words of each paragraph, without its last word. A sentence ends at `.`, `!` or `?`, possibly followed by quotation
/// marks or brackets, before a space or the end.
pub fn bundled() -> Vec<String> {
    let paragraphs = [calibration::BUNDLED, eval::HELD_OUT].into_iter().flat_map(|text| text.split("\n\n"));
    paragraphs.filter_map(|paragraph| first_sentence(&paragraph.split_whitespace().collect::<Vec<_>>())).collect()
}

fn first_sentence(words: &[&str]) -> Option<String> {
    let ends = |word: &&str| word.trim_end_matches(['"', '\'', '”', '’', ')', ']', '_']).ends_with(['.', '!', '?']);
    let mut sentences = words.split_inclusive(ends);
    // The unfinished end of a paragraph is not a sentence.
    let sentence = sentences.find(|sentence| WORDS.contains(&sentence.len()) && sentence.last().is_some_and(ends))?;
    Some(sentence[..sentence.len() - 1].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_prompts_and_each_lacks_its_last_word() {
        let prompts = bundled();
        assert!(prompts.len() >= 100, "{}", prompts.len());
        for prompt in &prompts {
            assert!((7..40).contains(&prompt.split(' ').count()), "{prompt}");
        }
        let words = "Too short. \"It was a dark evening, and the old man slept.\" He".split(' ').collect::<Vec<_>>();
        assert_eq!(first_sentence(&words).unwrap(), "\"It was a dark evening, and the old man");
        assert_eq!(first_sentence(&words[2..8]), None);
        assert_eq!(first_sentence(&[]), None);
    }
}
