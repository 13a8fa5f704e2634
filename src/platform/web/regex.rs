//! `fancy_regex`, because a browser's build has no C. It reads patterns that were translated for it.

/// A pattern, compiled.
#[derive(Debug)]
pub struct Regex(fancy_regex::Regex);

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// The reader's own words on a text that is no pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        fancy_regex::Regex::new(pattern).map(Self).map_err(|error| error.to_string())
    }

    /// The start and the end of each match in bytes, from left to right.
    ///
    /// # Errors
    ///
    /// A search that takes too many steps or too much memory.
    pub fn find_all(&self, text: &str) -> Result<Vec<(usize, usize)>, String> {
        let found = self.0.find_iter(text).map(|one| one.map(|one| (one.start(), one.end())));
        found.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}
