//! Findings as codes with arguments. Codes are compared; the room `language` turns them into sentences.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Cell, Coordinate, EditTarget, Unit};

/// A code and its arguments: `collapse` with `threshold` and `cost`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    pub fn at(self, at: impl Into<EditTarget>) -> Self {
        let place = at.into().place();
        let layer = self.with("layer", place.layer);
        let numbers = place.coordinates().fold(layer, |message, (of, number)| message.with(argument(of), number));
        match place.expert {
            Some(expert) => numbers.with("expert", usize::from(expert)),
            None => numbers,
        }
    }

    /// The place that [`Self::at`] added; `None` if a coordinate of the unit is missing.
    pub fn place(&self, unit: Unit) -> Option<EditTarget> {
        let number = |name: &str| self.args.get(name).and_then(Cell::number).map(|number| number as usize);
        let numbers = unit.coordinates().iter().filter_map(|of| number(argument(*of))).collect::<Vec<_>>();
        let expert = number("expert").and_then(|expert| u16::try_from(expert).ok());
        unit.target(number("layer")?, expert, &numbers)
    }

    /// Code and arguments on one line, for CSV files, the same in every language: `concat block=512 text=mine`.
    pub fn id(&self) -> String {
        let value = |cell: &Cell| match cell {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.clone(),
            Cell::Nothing => String::new(),
        };
        let args = self.args.iter().map(|(name, cell)| format!(" {name}={}", value(cell)));
        if self.code == Self::SAID { self.text("text").into() } else { args.fold(self.code.clone(), |id, arg| id + &arg) }
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

/// The name of a coordinate as an argument, as in JSON.
fn argument(of: Coordinate) -> &'static str {
    if of == Coordinate::Column { "col" } else { of.name() }
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
    use crate::terms::{ChannelCoord, WeightCoord};

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
        assert_eq!(message.id(), "rank col=86 layer=2 row=12");
        assert_eq!(Message::new(Message::SAID).with("text", "mine, whole").id(), "mine, whole");
        assert_eq!(["layer", "row", "col"].map(|name| message.number(name)), [2.0, 12.0, 86.0]);
        assert_eq!(message.place(Unit::Scalar), Some(EditTarget::scalar(2, 12, 86)));
        let channel = ChannelCoord { layer: 3, expert: Some(5), channel: 7 };
        let message_of = Message::new("channel").at(EditTarget::Channel(channel));
        assert_eq!((message_of.place(Unit::Channel), message_of.place(Unit::Row)), (Some(EditTarget::Channel(channel)), None));
        assert!(message.number("none").is_nan() && message.text("layer").is_empty());
    }
}
