//! A class of characters: `[^\r\n\p{L}]`, with nested classes and intersections.

use super::cursor::{Escape, Refused, Translator};
use super::names::BRACKETS;

/// Characters with a meaning of their own in a class.
const META: [char; 5] = ['[', ']', '\\', '^', '-'];

/// The member of a class that was read last.
enum Last {
    /// None, or an operator.
    Nothing,
    /// A character, which may begin a range, and its place in the translation.
    Char(char, usize),
    /// A range or a set.
    Set,
}

impl Translator<'_> {
    /// Translates a class, after its `[`.
    pub(super) fn class(&mut self) -> Result<(), Refused> {
        let start = self.at - 1;
        self.deepen()?;
        self.out.push('[');
        let is_negated = self.take('^');
        if is_negated {
            // Without regard to case, Oniguruma also compares characters with several others at once.
            self.refuse_if(self.flags.ignores_case, start)?;
            self.out.push('^');
        }
        self.refuse_if(self.peek() == Some(']'), start)?;
        let mut last = Last::Nothing;
        loop {
            let at = self.at;
            let Some(c) = self.next() else { return self.refuse(start) };
            match c {
                ']' => break,
                '[' if self.peek() == Some(':') => {
                    self.bracket(at)?;
                    last = Last::Set;
                }
                '[' => {
                    self.class()?;
                    last = Last::Set;
                }
                '&' if self.take('&') => {
                    self.refuse_if(matches!(last, Last::Nothing) || matches!(self.peek(), Some(']' | '-' | '&' | '^')), at)?;
                    self.out.push_str("&&");
                    last = Last::Nothing;
                }
                '-' => last = self.dash(at, last)?,
                _ => last = self.member(at, c)?,
            }
        }
        self.refuse_if(matches!(last, Last::Nothing), start)?;
        self.out.push(']');
        self.depth -= 1;
        Ok(())
    }

    /// Translates a `-`: the middle of a range, or, at either end of the class, itself.
    fn dash(&mut self, at: usize, last: Last) -> Result<Last, Refused> {
        let is_at_end = self.peek() == Some(']');
        match last {
            Last::Char(from, place) if !is_at_end => {
                let end = self.at;
                let Some(c) = self.next().filter(|c| !matches!(c, '[' | '-' | '&')) else { return self.refuse(at) };
                let begin = self.out[place..].to_owned();
                let to_place = self.out.len();
                let Last::Char(to, _) = self.member(end, c)? else { return self.refuse(at) };
                self.refuse_if(from > to, at)?;
                let end = self.out.split_off(to_place);
                self.out.truncate(place);
                self.out.push_str(&format!("{begin}-{end}"));
                Ok(Last::Set)
            }
            Last::Set if !is_at_end => self.refuse(at),
            // Before another `-` it would begin a range in one reader, and an operator in the other.
            _ if self.peek() == Some('-') => self.refuse(at),
            _ => {
                self.out.push('-');
                Ok(Last::Set)
            }
        }
    }

    /// Translates a character or an escape.
    fn member(&mut self, at: usize, c: char) -> Result<Last, Refused> {
        let place = self.out.len();
        let character = match c {
            '\\' => match self.escape(at, true)? {
                Escape::Char(c) => c,
                Escape::Set { is_negated, members } => {
                    let caret = if is_negated { "^" } else { "" };
                    self.out.push_str(&format!("[{caret}{members}]"));
                    // \s and \d have no cases.
                    return Ok(Last::Set);
                }
                Escape::Verbatim => {
                    let is_without_case = matches!(&self.out[place..], r"\s" | r"\d");
                    self.refuse_if(self.flags.ignores_case && !is_without_case, at)?;
                    return Ok(Last::Set);
                }
                Escape::Assertion => return self.refuse(at),
            },
            c => c,
        };
        self.refuse_if(self.flags.ignores_case && !character.is_ascii(), at)?;
        // Twice in a row, these are operators of `fancy_regex`.
        let is_operator = matches!(character, '&' | '~') && self.out.ends_with(character);
        self.write(at, character, if is_operator { &['&', '~'] } else { &META });
        Ok(Last::Char(character, place))
    }

    /// Translates a POSIX bracket, after its `[`.
    fn bracket(&mut self, at: usize) -> Result<(), Refused> {
        self.next();
        let is_negated = self.take('^');
        let name = self.until(":]", at)?;
        let Some((_, members)) = BRACKETS.iter().find(|(known, _)| *known == name) else { return self.refuse(at) };
        self.refuse_if(self.flags.ignores_case, at)?;
        let caret = if is_negated { "^" } else { "" };
        self.out.push_str(&format!("[{caret}{members}]"));
        Ok(())
    }
}
