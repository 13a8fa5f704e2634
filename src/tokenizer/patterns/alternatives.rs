//! Alternatives, repetitions and groups.

use super::cursor::{Escape, Refused, Translator};

/// The largest number in an interval: every repetition takes memory.
const MAX_REPEAT: usize = 1000;
/// Pairs of letters that are one character when case is ignored (ß, ﬀ, ﬁ, ﬂ, ﬆ). Only Oniguruma compares those.
const ONE_IN_OTHER_CASES: [[char; 2]; 5] = [['s', 's'], ['f', 'f'], ['f', 'i'], ['f', 'l'], ['s', 't']];

/// Characters with a meaning of their own, outside a class.
const META: [char; 14] = ['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$'];

/// A part that may be repeated.
#[derive(Clone, Copy, Default)]
struct Atom {
    /// A place between characters, which cannot be repeated.
    is_assertion: bool,
    /// It may match without any character. The readers end a repetition of such matches differently.
    may_be_empty: bool,
    /// One repetition alone, which Oniguruma merges with a second one; `true` inside if it is lazy.
    repeated: Option<bool>,
}

impl Atom {
    const ASSERTION: Self = Self { is_assertion: true, may_be_empty: true, repeated: None };
}

impl<'a> Translator<'a> {
    /// Translates a whole pattern; refuses it with the part that may have another meaning.
    pub fn translate(pattern: &'a str) -> Result<String, Refused> {
        let mut translator = Self::new(pattern);
        translator.alternatives()?;
        if translator.at < pattern.len() { translator.refuse(translator.at) } else { Ok(translator.out) }
    }

    /// Translates up to the end of the group or of the pattern.
    fn alternatives(&mut self) -> Result<Atom, Refused> {
        let (mut n, mut last) = (0, Atom::default());
        // Of the current alternative, and of those before it.
        let (mut is_empty, mut may_be_empty) = (true, false);
        while let Some(c) = self.peek().filter(|c| *c != ')') {
            let start = self.at;
            self.next();
            if c == '|' {
                // `fancy_regex` looks behind by a fixed number of characters.
                self.refuse_if(self.flags.in_lookbehind, start)?;
                self.letter = None;
                self.out.push('|');
                n += 2;
                may_be_empty |= std::mem::replace(&mut is_empty, true);
                continue;
            }
            if c == '(' && self.is_isolated_option() {
                // In Oniguruma, everything that follows in the group is a group of its own, with all its alternatives.
                let before = self.flags;
                self.option(start)?;
                is_empty &= self.alternatives()?.may_be_empty;
                self.out.push(')');
                self.flags = before;
                n += 2;
                break;
            }
            let written = self.out.len();
            let atom = self.atom(start, c)?;
            self.refuse_if(self.flags.in_lookbehind && atom.is_assertion, start)?;
            last = self.repetitions(start, written, atom)?;
            is_empty &= last.may_be_empty;
            n += 1;
        }
        may_be_empty |= is_empty;
        let is_alone = n == 1;
        Ok(Atom { is_assertion: is_alone && last.is_assertion, may_be_empty, repeated: last.repeated.filter(|_| is_alone) })
    }

    /// `true` for `(?i)`, after the parenthesis: an option that is not of a group.
    fn is_isolated_option(&self) -> bool {
        let rest = self.pattern[self.at..].strip_prefix('?');
        rest.is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-').starts_with(')'))
    }

    fn atom(&mut self, start: usize, c: char) -> Result<Atom, Refused> {
        match c {
            '(' => return self.group(start),
            '[' => {
                self.class()?;
                self.letter = None;
            }
            '.' => self.out.push_str(if self.flags.dot_is_any { "(?s:.)" } else { "." }),
            // A line begins after every newline but the last character, and ends before each.
            '^' => self.out.push_str(r"(?:\A|(?<=\n)(?!\z))"),
            '$' => self.out.push_str(r"(?=\n|\z)"),
            '\\' => match self.escape(start, false)? {
                Escape::Char(c) => self.literal(start, c)?,
                Escape::Set { is_negated, members } => {
                    let caret = if is_negated { "^" } else { "" };
                    self.out.push_str(&format!("[{caret}{members}]"));
                }
                Escape::Verbatim => {
                    let is_without_case =
                        matches!(self.pattern.get(start..start + 2), Some(r"\s" | r"\d" | r"\S" | r"\D" | r"\R" | r"\N" | r"\O"));
                    self.refuse_if(self.flags.ignores_case && !is_without_case, start)?;
                    self.refuse_if(self.flags.in_lookbehind && self.pattern[start..].starts_with(r"\R"), start)?;
                }
                Escape::Assertion => return Ok(Atom::ASSERTION),
            },
            '*' | '+' | '?' => return self.refuse(start),
            '{' => {
                let is_interval = {
                    let at = self.at;
                    let found = self.interval();
                    self.at = at;
                    found.is_some()
                };
                self.refuse_if(is_interval, start)?;
                self.literal(start, c)?;
            }
            c => self.literal(start, c)?,
        }
        Ok(if matches!(c, '^' | '$') { Atom::ASSERTION } else { Atom::default() })
    }

    /// Writes one character.
    fn literal(&mut self, start: usize, c: char) -> Result<(), Refused> {
        if self.flags.ignores_case {
            let lower = c.to_ascii_lowercase();
            let is_pair = self.letter.is_some_and(|before| ONE_IN_OTHER_CASES.contains(&[before, lower]));
            self.refuse_if(!c.is_ascii() || is_pair, start)?;
            self.letter = Some(lower);
        } else {
            self.letter = None;
        }
        self.write(start, c, &META);
        Ok(())
    }

    fn group(&mut self, start: usize) -> Result<Atom, Refused> {
        self.deepen()?;
        let before = self.flags;
        let openings = ["(?:", "(?>", "(?=", "(?!", "(?<=", "(?<!"];
        let opening = openings.iter().find(|opening| self.pattern[start..].starts_with(**opening));
        let mut is_assertion = false;
        match opening {
            Some(opening) => {
                self.at = start + opening.len();
                self.out.push_str(opening);
                is_assertion = !matches!(*opening, "(?:" | "(?>");
                self.flags.in_lookbehind |= opening.starts_with("(?<");
            }
            None if self.take_text("?<") => {
                let name = self.until(">", start)?;
                self.refuse_if(name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_'), start)?;
                self.out.push_str("(?:");
            }
            None if self.peek() == Some('?') => self.option(start)?,
            // A callout.
            None if self.peek() == Some('*') => return self.refuse(start),
            None => self.out.push('('),
        }
        let inner = self.alternatives()?;
        if !self.take(')') {
            return self.refuse(start);
        }
        self.out.push(')');
        self.flags = before;
        self.depth -= 1;
        let is_atomic = opening == Some(&"(?>");
        Ok(match is_assertion {
            true => Atom::ASSERTION,
            false => Atom { repeated: inner.repeated.filter(|_| !is_atomic), ..inner },
        })
    }

    /// Translates options, after their parenthesis: `?i:` or `?i)`. Either opens a group.
    fn option(&mut self, start: usize) -> Result<(), Refused> {
        self.next();
        let mut is_on = true;
        let before = self.flags.ignores_case;
        loop {
            match self.next() {
                Some('-') if is_on => is_on = false,
                Some('i') => self.flags.ignores_case = is_on,
                Some('m') => self.flags.dot_is_any = is_on,
                Some(':' | ')') => break,
                _ => return self.refuse(start),
            }
        }
        self.out.push_str(match (before, self.flags.ignores_case) {
            (false, true) => "(?i:",
            (true, false) => "(?-i:",
            _ => "(?:",
        });
        Ok(())
    }

    /// Translates the repetitions of a part, which was written from `written` on.
    fn repetitions(&mut self, start: usize, written: usize, mut atom: Atom) -> Result<Atom, Refused> {
        for n in 0.. {
            let at = self.at;
            let simple = self.peek().filter(|c| matches!(c, '*' | '+' | '?'));
            let (least, most) = match simple {
                Some(c) => {
                    self.next();
                    (usize::from(c == '+'), (c == '?').then_some(1))
                }
                None => match self.interval() {
                    Some(interval) => interval,
                    None => break,
                },
            };
            self.refuse_if(most.unwrap_or(least) < least || most.unwrap_or(least) > MAX_REPEAT, at)?;
            self.refuse_if(atom.is_assertion || (atom.may_be_empty && most != Some(1)), start)?;
            let is_fixed = simple.is_none() && most == Some(least);
            self.refuse_if(self.flags.in_lookbehind && !is_fixed, start)?;
            // In Oniguruma, `a{2}?` is an optional `aa`, and `a{1,2}+` is `(?:a{1,2})+`.
            let is_lazy = !is_fixed && self.take('?');
            let is_possessive = !is_lazy && simple.is_some() && self.take('+');
            self.refuse_if(atom.repeated.is_some_and(|was_lazy| is_lazy || was_lazy), start)?;
            if n > 0 {
                self.out.insert_str(written, "(?:");
                self.out.push(')');
            }
            match (simple, most) {
                (Some(c), _) => self.out.push(c),
                (None, Some(_)) if is_fixed => self.out.push_str(&format!("{{{least}}}")),
                (None, Some(most)) => self.out.push_str(&format!("{{{least},{most}}}")),
                (None, None) => self.out.push_str(&format!("{{{least},}}")),
            }
            self.out.push_str(if is_lazy {
                "?"
            } else if is_possessive {
                "+"
            } else {
                ""
            });
            atom = Atom { is_assertion: false, may_be_empty: atom.may_be_empty || least == 0, repeated: Some(is_lazy) };
            self.letter = None;
        }
        Ok(atom)
    }

    /// Takes `{n}`, `{n,}`, `{n,m}` or `{,m}`, and returns both numbers. Anything else in braces is text.
    fn interval(&mut self) -> Option<(usize, Option<usize>)> {
        let inside = self.pattern[self.at..].strip_prefix('{')?.split_once('}')?.0;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().unwrap_or(usize::MAX));
        let found = match inside.split_once(',') {
            None if inside.is_empty() => return None,
            None => (number(inside)?, Some(number(inside)?)),
            Some(("", "")) => return None,
            Some(("", most)) => (0, Some(number(most)?)),
            Some((least, "")) => (number(least)?, None),
            Some((least, most)) => (number(least)?, Some(number(most)?)),
        };
        self.at += inside.len() + 2;
        Some(found)
    }
}
