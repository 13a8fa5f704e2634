//! A cell of a table, or an argument of a message.

use serde::{Deserialize, Serialize, Serializer};

/// A number, a text or nothing, written as such in JSON. A number that is not finite is written as nothing; an
/// overflow is [`super::Evaluation::OVERFLOW`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    Number(f64),
    Text(String),
    Nothing,
}

impl Cell {
    pub fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::Nothing }
    }
}

/// The number with the fewest digits that identify this `f32`: 0.1 stays 0.1.
impl From<f32> for Cell {
    fn from(number: f32) -> Self {
        number.to_string().parse::<f64>().map_or(Self::Nothing, Self::from)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

/// A number, or a text if `f64` cannot hold all digits.
impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        let as_float = number as f64;
        if as_float < 9e15 { Self::Number(as_float) } else { Self::Text(number.to_string()) }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            // Whole numbers are written without a decimal point, up to the largest that f64 holds exactly.
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => serializer.serialize_i64(*number as i64),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Nothing => serializer.serialize_unit(),
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_plain_in_json() {
        let row: Vec<Cell> = vec![1.0_f64.into(), 0.1_f32.into(), f64::NAN.into(), "a \"b\"".into(), None::<f32>.into(), 2048_usize.into()];
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(json, r#"[1,0.1,null,"a \"b\"",null,2048]"#);
        assert_eq!(serde_json::from_str::<Vec<Cell>>(&json).unwrap(), row);
        assert_eq!(serde_json::from_str::<Cell>("-1.5e-3").unwrap(), Cell::Number(-0.0015));
        assert!(serde_json::from_str::<Cell>("[]").is_err());
        assert!(serde_json::from_str::<Cell>("true").is_err());
    }
}
