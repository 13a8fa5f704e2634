//! JSON as Python writes it: with `NaN`, `Infinity` and `-Infinity`, which no other reader takes.

use std::borrow::Cow;

use serde_json::Value;

const NAMES: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Puts the three names in quotes wherever they are values, so that a JSON reader takes the text. A key that is read as a
/// number then fails by its name, and all other keys stay as unimportant as they were.
pub fn as_json(text: &[u8]) -> Cow<'_, [u8]> {
    let mut changed = Vec::new();
    let (mut copied, mut at, mut is_string) = (0, 0, false);
    while at < text.len() {
        let name = NAMES.iter().find(|name| !is_string && text[at..].starts_with(name.as_bytes()));
        match (name, text[at]) {
            (Some(name), _) => {
                changed.extend_from_slice(&text[copied..at]);
                changed.extend_from_slice(format!("\"{name}\"").as_bytes());
                at += name.len();
                copied = at;
            }
            (None, b'\\') if is_string => at += 2,
            (None, byte) => {
                is_string ^= byte == b'"';
                at += 1;
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    changed.extend_from_slice(&text[copied..]);
    Cow::Owned(changed)
}

/// `true` for a value that [`as_json`] has put in quotes, or that stands there in them.
pub fn is_python_number(value: &Value) -> bool {
    value.as_str().is_some_and(|text| NAMES.contains(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        String::from_utf8(as_json(text.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn names_of_numbers_are_quoted_as_values_only() {
        assert_eq!(read(r#"{"a": [0.0, Infinity, -Infinity], "b":NaN}"#), r#"{"a": [0.0, "Infinity", "-Infinity"], "b":"NaN"}"#);
        for unchanged in [r#"{"NaN": "an Infinity \" NaN"}"#, r#"{"a": "\\", "b": 1}"#, "", r#""open"#, "\"\\"] {
            assert_eq!(read(unchanged), unchanged);
        }
        assert_eq!(read(r#"{"a": "\\", "b": NaN}"#), r#"{"a": "\\", "b": "NaN"}"#);
    }
}
