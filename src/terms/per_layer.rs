//! A number for each layer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number for each layer, such as the width of its feed-forward block. In JSON it is one number for all layers, or
/// a list, as in Gemma 3n's `intermediate_size`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLayer {
    Same(usize),
    Each(Vec<usize>),
}

impl PerLayer {
    /// The number of a layer; 0 for a layer beyond the list.
    pub fn at(&self, layer: usize) -> usize {
        match self {
            Self::Same(number) => *number,
            Self::Each(numbers) => numbers.get(layer).copied().unwrap_or(0),
        }
    }

    /// The number of all layers; `None` if they differ.
    pub fn uniform(&self) -> Option<usize> {
        let (smallest, largest) = self.range();
        (smallest == largest).then_some(largest)
    }

    /// The smallest and the largest number.
    pub fn range(&self) -> (usize, usize) {
        match self {
            Self::Same(number) => (*number, *number),
            Self::Each(numbers) => (numbers.iter().copied().min().unwrap_or(0), numbers.iter().copied().max().unwrap_or(0)),
        }
    }

    /// The sum over this many layers.
    pub fn total(&self, num_hidden_layers: usize) -> usize {
        (0..num_hidden_layers).map(|layer| self.at(layer)).sum()
    }

    /// Applies a function to the number of each layer.
    #[must_use]
    pub fn map(&self, number: impl Fn(usize) -> usize) -> Self {
        match self {
            Self::Same(same) => Self::Same(number(*same)),
            Self::Each(numbers) => Self::Each(numbers.iter().copied().map(number).collect()),
        }
    }
}

impl From<usize> for PerLayer {
    fn from(number: usize) -> Self {
        Self::Same(number)
    }
}

/// "448", or "448 to 896".
impl fmt::Display for PerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range() {
            (smallest, largest) if smallest == largest => write!(f, "{largest}"),
            (smallest, largest) => write!(f, "{smallest} to {largest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_layers_are_one_or_a_list() {
        let (same, each) = (PerLayer::from(448), PerLayer::Each(vec![8, 12, 8]));
        assert_eq!((serde_json::to_string(&same).unwrap(), serde_json::to_string(&each).unwrap()), ("448".into(), "[8,12,8]".into()));
        assert_eq!(serde_json::from_str::<PerLayer>("448").unwrap(), same);
        assert_eq!(serde_json::from_str::<PerLayer>("[8,12,8]").unwrap(), each);
        assert_eq!([same.at(0), same.at(9), each.at(1), each.at(3)], [448, 448, 12, 0]);
        assert_eq!((same.uniform(), each.uniform(), PerLayer::Each(vec![3, 3]).uniform()), (Some(448), None, Some(3)));
        assert_eq!((same.total(3), each.total(3), each.range()), (1344, 28, (8, 12)));
        assert_eq!(
            (same.to_string(), each.to_string(), each.map(|n| n / 4).to_string()),
            ("448".into(), "8 to 12".into(), "2 to 3".into())
        );
    }
}
