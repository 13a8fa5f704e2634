//! Findings as codes with arguments. Codes are compared; the room `language` turns them into sentences.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Cell, WeightCoord};

/// A code and its arguments: `collapse` with `threshold` and `cost`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    pub code: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Cell>,
}

impl Message {
    /// The code of a finished sentence, as in documents of version 1. Its argument is `text`.
    pub const SAID: &str = "said";

    pub fn new(code: &str) -> Self {
        Self { code: code.into(), args: BTreeMap::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Cell>) -> Self {
        self.args.insert(name.into(), value.into());
        self
    }

    /// Adds a scalar of a `down_proj` matrix as the arguments `layer`, `row`, `col` and, for an expert's matrix,
    /// `expert`.
    #[must_use]
    pub fn at(self, at: WeightCoord) -> Self {
        let placed = self.with("layer", at.layer).with("row", at.row).with("col", at.col);
        match at.expert {
            Some(expert) => placed.with("expert", usize::from(expert)),
            None => placed,
        }
    }

    /// The argument of this name as a number; NaN if it is missing or not a number.
    pub fn number(&self, name: &str) -> f64 {
        self.args.get(name).and_then(Cell::number).unwrap_or(f64::NAN)
    }

    /// The argument of this name as a text; empty if it is missing or not a text.
    pub fn text(&self, name: &str) -> &str {
        self.args.get(name).and_then(Cell::text).unwrap_or_default()
    }
}

/// A message without arguments.
impl From<&str> for Message {
    fn from(code: &str) -> Self {
        Self::new(code)
    }
}

/// Reads a message, or a sentence from a document of version 1.
impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Sentence(String),
            Message {
                code: String,
                #[serde(default)]
                args: BTreeMap<String, Cell>,
            },
        }
        Ok(match Written::deserialize(from)? {
            Written::Sentence(text) => Self::new(Self::SAID).with("text", text),
            Written::Message { code, args } => Self { code, args },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written_and_sentences_of_version_1_too() {
        let message = Message::new("collapse").with("threshold", 0.25_f64).with("arm", "prune_sw");
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(json, r#"{"code":"collapse","args":{"arm":"prune_sw","threshold":0.25}}"#);
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
        let bare = Message::new("no_gate");
        assert_eq!(serde_json::to_string(&bare).unwrap(), r#"{"code":"no_gate"}"#);
        assert_eq!(serde_json::from_str::<Message>(r#"{"code":"no_gate"}"#).unwrap(), bare);
        let old = serde_json::from_str::<Message>("\"It collapses.\"").unwrap();
        assert_eq!((old.code.as_str(), old.text("text")), (Message::SAID, "It collapses."));
        assert!(serde_json::from_str::<Message>("7").is_err());
    }

    #[test]
    fn arguments_that_are_missing_are_no_number_and_no_text() {
        let message = Message::new("rank").at(WeightCoord::new(2, 12, 86));
        assert_eq!(["layer", "row", "col"].map(|name| message.number(name)), [2.0, 12.0, 86.0]);
        assert!(message.number("none").is_nan() && message.text("layer").is_empty());
    }
}
