//! Oniguruma, for which the patterns of published tokenizers were written.

/// A pattern, compiled.
#[derive(Debug)]
pub struct Regex(onig::Regex);

/// Entries of the stack of one search: a run of as many characters can be matched.
const MAX_STACK: u32 = 8 << 20;
/// Steps back of one search.
const MAX_RETRIES: u32 = 10_000_000;

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// The reader's own words on a text that is no pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        onig::Regex::new(pattern).map(Self).map_err(|error| error.to_string())
    }

    /// The start and the end of each match in bytes, from left to right.
    ///
    /// # Errors
    ///
    /// A search that takes too many steps or too much memory.
    pub fn find_all(&self, text: &str) -> Result<Vec<(usize, usize)>, String> {
        let (mut region, mut from, mut found) = (onig::Region::new(), 0, Vec::<(usize, usize)>::new());
        while from <= text.len() {
            region.clear();
            let mut limits = onig::MatchParam::default();
            limits.set_match_stack_limit(MAX_STACK);
            limits.set_retry_limit_in_match(MAX_RETRIES);
            let options = onig::SearchOptions::SEARCH_OPTION_NONE;
            let at = self.0.search_with_param(text, from, text.len(), options, Some(&mut region), limits);
            if at.map_err(|error| error.to_string())?.is_none() {
                break;
            }
            let Some((start, end)) = region.pos(0) else { break };
            // An empty match right after a match is none.
            if start == end && found.last().is_some_and(|last| last.1 == end) {
                from += text.get(from..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
            } else {
                from = end;
                found.push((start, end));
            }
        }
        Ok(found)
    }
}
