//! Escapes: a backslash and what follows it.

use super::cursor::{Escape, Refused, Translator};
use super::names::{HEX, PROPERTIES, WORD, WORD_IN_CLASS};

impl Translator<'_> {
    /// Reads an escape, after its backslash.
    pub fn escape(&mut self, start: usize, in_class: bool) -> Result<Escape, Refused> {
        let Some(c) = self.next() else { return self.refuse(start) };
        let word = |is_inside: bool| format!("(?{}[{WORD}])", if is_inside { "<=" } else { "=" });
        let no_word = |is_inside: bool| format!("(?{}[{WORD}])", if is_inside { "<!" } else { "!" });
        let text: String = match c {
            't' => return Ok(Escape::Char('\t')),
            'n' => return Ok(Escape::Char('\n')),
            'r' => return Ok(Escape::Char('\r')),
            'f' => return Ok(Escape::Char('\x0C')),
            'v' => return Ok(Escape::Char('\x0B')),
            'a' => return Ok(Escape::Char('\x07')),
            'e' => return Ok(Escape::Char('\x1B')),
            'b' if in_class => return Ok(Escape::Char('\x08')),
            'x' | 'u' => return self.code_point(start, c).map(Escape::Char),
            'w' | 'W' => return Ok(Escape::Set { is_negated: c == 'W', members: if in_class { WORD_IN_CLASS } else { WORD } }),
            'h' | 'H' => return Ok(Escape::Set { is_negated: c == 'H', members: HEX }),
            'd' | 'D' | 's' | 'S' => format!("\\{c}"),
            'p' | 'P' => self.property(start, c == 'P')?,
            'R' if !in_class => r"(?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}])".into(),
            'N' if !in_class => r"[^\n]".into(),
            'O' if !in_class => "(?s:.)".into(),
            // Oniguruma's search skips some matches of \Z, so that it is refused.
            'A' | 'z' | 'b' | 'B' if !in_class => {
                self.out.push_str(&match c {
                    'b' => format!("(?:{}{}|{}{})", word(true), no_word(false), no_word(true), word(false)),
                    'B' => format!("(?:{}{}|{}{})", word(true), word(false), no_word(true), no_word(false)),
                    c => format!("\\{c}"),
                });
                return Ok(Escape::Assertion);
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(Escape::Char(c)),
            _ => return self.refuse(start),
        };
        self.out.push_str(&text);
        Ok(Escape::Verbatim)
    }

    /// Reads `\xHH`, `\x{H...}` or `\uHHHH`, after the letter.
    fn code_point(&mut self, start: usize, letter: char) -> Result<char, Refused> {
        let in_braces = letter == 'x' && self.take('{');
        let digits = match in_braces {
            true => self.until("}", start)?,
            false => {
                let n = if letter == 'x' { 2 } else { 4 };
                let Some(digits) = self.pattern.get(self.at..self.at + n) else { return self.refuse(start) };
                self.at += n;
                digits
            }
        };
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        // `\x80` and above is one byte of a character.
        let code = code.filter(|code| in_braces || letter == 'u' || *code < 0x80);
        code.and_then(char::from_u32).map_or_else(|| self.refuse(start), Ok)
    }

    /// Reads `{Name}` or `{^Name}`, after `\p` or `\P`.
    fn property(&mut self, start: usize, is_negated: bool) -> Result<String, Refused> {
        if !self.take('{') {
            return self.refuse(start);
        }
        let is_negated = is_negated ^ self.take('^');
        let name = self.until("}", start)?;
        let known = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect::<String>().to_ascii_lowercase();
        self.refuse_if(!PROPERTIES.contains(&known.as_str()), start)?;
        Ok(format!("\\{}{{{name}}}", if is_negated { 'P' } else { 'p' }))
    }
}
