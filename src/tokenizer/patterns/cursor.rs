//! The place in a pattern, and its translation so far.

/// The part of a pattern that may have another meaning.
pub(super) type Refused = String;

/// The deepest nesting of groups and classes.
const MAX_DEPTH: usize = 40;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// `(?i)`
    pub ignores_case: bool,
    /// `(?m)`, which is `(?s)` elsewhere: a dot is any character.
    pub dot_is_any: bool,
    pub in_lookbehind: bool,
}

/// The meaning of an escape.
pub(super) enum Escape {
    /// One character, which has not been written yet.
    Char(char),
    /// A set of characters, which has not been written yet.
    Set { is_negated: bool, members: &'static str },
    /// A set of characters, written.
    Verbatim,
    /// A place between characters, written.
    Assertion,
}

/// A pattern that is being translated, from left to right.
pub(super) struct Translator<'a> {
    pub pattern: &'a str,
    /// The next byte.
    pub at: usize,
    pub out: String,
    pub depth: usize,
    pub flags: Flags,
    /// The last letter, while case is ignored.
    pub letter: Option<char>,
}

impl<'a> Translator<'a> {
    pub fn new(pattern: &'a str) -> Self {
        Self { pattern, at: 0, out: String::new(), depth: 0, flags: Flags::default(), letter: None }
    }

    pub fn peek(&self) -> Option<char> {
        self.pattern[self.at..].chars().next()
    }

    pub fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Takes this character if it is the next.
    pub fn take(&mut self, c: char) -> bool {
        let is_next = self.peek() == Some(c);
        if is_next {
            self.at += c.len_utf8();
        }
        is_next
    }

    pub fn take_text(&mut self, text: &str) -> bool {
        let is_next = self.pattern[self.at..].starts_with(text);
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// Takes the text before `end`, and `end`; `start` is the beginning of the whole part.
    pub fn until(&mut self, end: &str, start: usize) -> Result<&'a str, Refused> {
        let Some(len) = self.pattern[self.at..].find(end) else { return self.refuse(start) };
        let text = &self.pattern[self.at..self.at + len];
        self.at += len + end.len();
        Ok(text)
    }

    /// Refuses the part that begins at `start`: up to here, and at least one character of it.
    pub fn refuse<T>(&self, start: usize) -> Result<T, Refused> {
        let rest = &self.pattern[start..];
        let end = (self.at - start).max(rest.chars().next().map_or(0, char::len_utf8));
        Err(rest[..end].chars().take(60).collect())
    }

    pub fn refuse_if(&self, is_so: bool, start: usize) -> Result<(), Refused> {
        if is_so { self.refuse(start) } else { Ok(()) }
    }

    pub fn deepen(&mut self) -> Result<(), Refused> {
        self.depth += 1;
        self.refuse_if(self.depth > MAX_DEPTH, self.at)
    }

    /// Writes the character that the pattern has at `start`, in the pattern's own way if both readers take it. Those in
    /// `meta` have another meaning without a backslash.
    pub fn write(&mut self, start: usize, c: char, meta: &[char]) {
        let source = &self.pattern[start..self.at];
        match source {
            r"\t" | r"\n" | r"\r" | r"\f" => self.out.push_str(source),
            _ if meta.contains(&c) => self.out.extend(['\\', c]),
            _ if c.is_control() && source.starts_with('\\') => self.out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
            _ => self.out.push(c),
        }
    }
}
