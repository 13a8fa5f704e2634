//! The patterns of a tokenizer. Natively, Oniguruma reads them, for which they were written; in a browser, `fancy_regex`
//! reads their translation ([`super::patterns`]).
//!
//! The crate `tokenizers` has both readers too, but natively its reader panics when a search takes too many steps, and in
//! a browser it leaves the rest of the text as it is without an error. Here such a search is an error.

use tokenizers::pattern::Pattern as FindMatches;
use tokenizers::{Offsets, Result};

use super::refused::Part;
use super::{TokenizerError, patterns};
use crate::platform::{IN_BROWSER, Regex};

/// The most bytes of a pattern. The longest published one has 5,000.
const MAX_PATTERN_BYTES: usize = 32 << 10;
/// The most groups inside each other.
const MAX_DEPTH: usize = 64;
/// The largest product of a pattern's intervals: `{1,3}` repeats what it is of in the reader's memory.
const MAX_REPEATS: usize = 10_000;

/// A pattern, compiled.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern as Oniguruma reads it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] if it is no pattern, or one that could take too much memory; [`TokenizerError::Pattern`]
    /// if the reader of a browser takes it otherwise.
    pub fn new(part: Part, pattern: &str) -> std::result::Result<Self, TokenizerError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(part.refused(format!("it has a pattern of {} bytes; at most {MAX_PATTERN_BYTES} are possible", pattern.len())));
        }
        if depth(pattern) > MAX_DEPTH || repeats(pattern) > MAX_REPEATS {
            return Err(part.refused(format!("its pattern {pattern:?} is nested too deeply, or repeats too often")));
        }
        let regex = if IN_BROWSER { Regex::new(&patterns::translate(pattern)?) } else { Regex::new(pattern) };
        let regex = regex.map_err(|why| part.refused(format!("its pattern {pattern:?} cannot be read: {why}")))?;
        Ok(Self { regex })
    }
}

/// The most groups and classes that may be inside each other: escapes are not told apart, so it is never too low.
fn depth(pattern: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in pattern.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The product of the larger numbers of all intervals.
fn repeats(pattern: &str) -> usize {
    let of = |interval: &str| -> Option<usize> {
        let numbers = interval.split_once('}')?.0;
        let mut parts = numbers.split(',').map(|n| if n.is_empty() { Some(1) } else { n.trim().parse::<usize>().ok() });
        let (first, second) = (parts.next()??, parts.next().map_or(Some(1), |n| n)?);
        parts.next().is_none().then_some(first.max(second).max(1))
    };
    // A number that does not fit is a large one.
    let too_large =
        |interval: &str| interval.split_once('}').is_some_and(|(n, _)| n.len() > 9 && n.chars().all(|c| c.is_ascii_digit() || c == ','));
    let intervals = pattern.split('{').skip(1);
    intervals.map(|rest| if too_large(rest) { usize::MAX } else { of(rest).unwrap_or(1) }).fold(1, usize::saturating_mul)
}

/// The parts of a text, in its order: each is a match (`true`), or what is between two.
impl FindMatches for &Pattern {
    fn find_matches(&self, text: &str) -> Result<Vec<(Offsets, bool)>> {
        if text.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let (mut done, mut parts) = (0, Vec::new());
        for (start, end) in self.regex.find_all(text)? {
            // With `\K`, a match may begin after its end.
            if start < done || end < start || !text.is_char_boundary(start) || !text.is_char_boundary(end) {
                return Err("a pattern's matches overlap".into());
            }
            if done < start {
                parts.push(((done, start), false));
            }
            parts.push(((start, end), true));
            done = end;
        }
        if done < text.len() {
            parts.push(((done, text.len()), false));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_counted_whatever_is_around_them() {
        for (pattern, n) in [
            (r"\p{N}{1,3}", 3),
            (r"(?:a{10}){20,}b{3}", 600),
            (r"a{,5}", 5),
            (r"\p{Lu}\x{41}x{a}", 41),
            ("a{99999999999999999999}", usize::MAX),
            ("a{", 1),
            ("", 1),
        ] {
            assert_eq!(repeats(pattern), n, "{pattern}");
        }
        assert_eq!(depth("((a)[b[c]])"), 3);
    }

    #[test]
    fn pattern_that_needs_too_much_memory_is_refused_before_it_is_compiled() {
        for pattern in ["(?:(?:(?:a{1000}){1000}){1000}){1000}", &"(".repeat(100_000), &"a|".repeat(30_000), "a{2000000000}"] {
            let error = Pattern::new(Part::Normalizer, pattern).unwrap_err();
            assert!(matches!(error, TokenizerError::Part { part: "normalizer", .. }), "{error}");
        }
        assert!(Pattern::new(Part::PreTokenizer, "(a").unwrap_err().to_string().contains("pre_tokenizer"));
    }

    #[test]
    fn search_that_takes_too_long_is_an_error_and_not_a_panic() {
        let pattern = Pattern::new(Part::PreTokenizer, "(x+x+)+$").unwrap();
        let text = "x".repeat(64) + "!";
        assert!((&pattern).find_matches(&text).is_err());
    }

    #[test]
    fn matches_are_those_of_oniguruma() {
        for pattern in [r"\d*", r"\s+(?!\S)|\s+", r"\b", "b|(?=,)", "", "é"] {
            let ours = (&Pattern::new(Part::PreTokenizer, pattern).unwrap()).find_matches("a1 bé2,  ,b").unwrap();
            let found = ours.iter().filter(|(_, is_match)| *is_match).map(|(at, _)| *at).collect::<Vec<_>>();
            assert_eq!(found, onig::Regex::new(pattern).unwrap().find_iter("a1 bé2,  ,b").collect::<Vec<_>>(), "{pattern}");
        }
    }
}
