//! The places of weights: coordinates in the matrices of a layer, and the units that an edit changes.
//!
//! [`Unit`] and [`EditTarget::place`] are the only definitions of a unit's properties:
//!
//! | unit | coordinates, as JSON names them | typed as | block of `down_proj.weight` |
//! |---|---|---|---|
//! | `scalar` | `layer`, `row`, `col` | `2,12,86` | `[row, col]` |
//! | `row` | `layer`, `row` | `2,12` | `[row, :]` |
//! | `column` | `layer`, `col` | `2,86` | `[:, col]` |
//! | `channel`, `channel_mean` | `layer`, `channel` | `2,86` | `[:, channel]` |
//!
//! In a mixture of experts a coordinate may also name the expert whose matrix is meant: in JSON as `expert`, and
//! typed with a dot after the layer (`2.5,12,86` is layer 2, expert 5). Row and column count inside that expert's
//! matrix.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Matrix;

/// The name of a coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinate {
    Layer,
    Expert,
    Row,
    Column,
    Channel,
    Token,
}

impl Coordinate {
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Expert => "expert",
            Self::Row => "row",
            Self::Column => "column",
            Self::Channel => "channel",
            Self::Token => "token",
        }
    }
}

/// One scalar of a `down_proj` matrix: `model.layers[layer].mlp.down_proj.weight[row, col]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WeightCoord {
    pub layer: usize,
    /// The expert that the matrix belongs to, in a mixture of experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert: Option<u16>,
    /// Output: a residual channel, `0..hidden_size`.
    pub row: usize,
    /// Input: a feed-forward channel, `0..intermediate_size`.
    pub col: usize,
}

/// One output row of a `down_proj` matrix: `model.layers[layer].mlp.down_proj.weight[row, :]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowCoord {
    pub layer: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert: Option<u16>,
    /// A residual channel, `0..hidden_size`.
    pub row: usize,
}

/// One input column of a `down_proj` matrix: `model.layers[layer].mlp.down_proj.weight[:, col]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnCoord {
    pub layer: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert: Option<u16>,
    /// A feed-forward channel, `0..intermediate_size`.
    pub col: usize,
}

/// One feed-forward channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelCoord {
    pub layer: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expert: Option<u16>,
    /// `0..intermediate_size`.
    pub channel: usize,
}

impl WeightCoord {
    /// A scalar in a layer without experts.
    pub const fn new(layer: usize, row: usize, col: usize) -> Self {
        Self { layer, expert: None, row, col }
    }

    /// The feed-forward channel whose output the scalar multiplies.
    pub const fn channel(self) -> ChannelCoord {
        ChannelCoord { layer: self.layer, expert: self.expert, channel: self.col }
    }
}

impl RowCoord {
    /// A row in a layer without experts.
    pub const fn new(layer: usize, row: usize) -> Self {
        Self { layer, expert: None, row }
    }
}

/// The unit of the weights that a [`super::WeightEdit`] changes. It is always explicit, because zeroing a scalar and
/// zeroing its row are different experiments with different results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "unit", rename_all = "snake_case")]
pub enum EditTarget {
    /// `down_proj.weight[row, col]`.
    Scalar(WeightCoord),
    /// `down_proj.weight[row, :]`: everything the block writes to one residual channel. A bias stays as it is.
    Row(RowCoord),
    /// `down_proj.weight[:, col]`: everything one feed-forward channel writes.
    Column(ColumnCoord),
    /// A whole feed-forward channel: its `down_proj` column is scaled, and at scale 0 its `gate_proj` and `up_proj`
    /// rows (GPT-2: its `c_fc` column and bias) are zeroed, too.
    Channel(ChannelCoord),
    /// A feed-forward channel moved towards its mean `m` over the bundled calibration text: `u = m + scale (u - m)`.
    /// At scale 0 the channel is constant: the model loses the channel's information, but keeps its mean.
    ChannelMean(ChannelCoord),
}

/// The kind of an [`EditTarget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Scalar,
    Row,
    Column,
    Channel,
    ChannelMean,
}

impl Unit {
    /// The coordinates inside a layer, in the order of typing.
    pub const fn coordinates(self) -> &'static [Coordinate] {
        match self {
            Self::Scalar => &[Coordinate::Row, Coordinate::Column],
            Self::Row => &[Coordinate::Row],
            Self::Column => &[Coordinate::Column],
            Self::Channel | Self::ChannelMean => &[Coordinate::Channel],
        }
    }

    /// The unit in a layer with these numbers as its [`Self::coordinates`]; `None` if there are too few or too many.
    pub fn target(self, layer: usize, expert: Option<u16>, numbers: &[usize]) -> Option<EditTarget> {
        Some(match (self, numbers) {
            (Self::Scalar, &[row, col]) => EditTarget::Scalar(WeightCoord { layer, expert, row, col }),
            (Self::Row, &[row]) => EditTarget::Row(RowCoord { layer, expert, row }),
            (Self::Column, &[col]) => EditTarget::Column(ColumnCoord { layer, expert, col }),
            (Self::Channel, &[channel]) => EditTarget::Channel(ChannelCoord { layer, expert, channel }),
            (Self::ChannelMean, &[channel]) => EditTarget::ChannelMean(ChannelCoord { layer, expert, channel }),
            _ => return None,
        })
    }
}

/// The place of a unit: a block of one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub unit: Unit,
    pub matrix: Matrix,
    pub layer: usize,
    pub expert: Option<u16>,
    /// The row of the block, in `[out, in]`; `None` for all rows.
    pub row: Option<usize>,
    /// The column of the block; `None` for all columns.
    pub col: Option<usize>,
}

impl Place {
    /// The [`Unit::coordinates`] with their numbers.
    pub fn coordinates(self) -> impl Iterator<Item = (Coordinate, usize)> {
        let number = move |what: &Coordinate| Some((*what, if *what == Coordinate::Row { self.row } else { self.col }?));
        self.unit.coordinates().iter().filter_map(number)
    }

    /// The place in typed form: `2,12,86`, or `2.5,12,86` in expert 5.
    pub fn typed(self) -> String {
        let layer = self.expert.map_or(self.layer.to_string(), |expert| format!("{}.{expert}", self.layer));
        self.coordinates().fold(layer, |text, (_, number)| format!("{text},{number}"))
    }
}

/// Reads a layer in typed form: `LAYER`, or `LAYER.EXPERT`.
pub fn parse_layer(text: &str) -> Option<(usize, Option<u16>)> {
    let (layer, expert) = text.trim().split_once('.').map_or((text.trim(), None), |(layer, expert)| (layer, Some(expert)));
    Some((layer.parse().ok()?, expert.map(str::parse).transpose().ok()?))
}

impl EditTarget {
    pub const fn scalar(layer: usize, row: usize, col: usize) -> Self {
        Self::Scalar(WeightCoord::new(layer, row, col))
    }

    pub const fn row(layer: usize, row: usize) -> Self {
        Self::Row(RowCoord::new(layer, row))
    }

    pub const fn column(layer: usize, col: usize) -> Self {
        Self::Column(ColumnCoord { layer, expert: None, col })
    }

    pub const fn channel(layer: usize, channel: usize) -> Self {
        Self::Channel(ChannelCoord { layer, expert: None, channel })
    }

    pub const fn channel_mean(layer: usize, channel: usize) -> Self {
        Self::ChannelMean(ChannelCoord { layer, expert: None, channel })
    }

    pub fn place(&self) -> Place {
        let (unit, layer, expert, row, col) = match *self {
            Self::Scalar(WeightCoord { layer, expert, row, col }) => (Unit::Scalar, layer, expert, Some(row), Some(col)),
            Self::Row(RowCoord { layer, expert, row }) => (Unit::Row, layer, expert, Some(row), None),
            Self::Column(ColumnCoord { layer, expert, col }) => (Unit::Column, layer, expert, None, Some(col)),
            Self::Channel(ChannelCoord { layer, expert, channel }) => (Unit::Channel, layer, expert, None, Some(channel)),
            Self::ChannelMean(ChannelCoord { layer, expert, channel }) => (Unit::ChannelMean, layer, expert, None, Some(channel)),
        };
        Place { unit, matrix: Matrix::DownProj, layer, expert, row, col }
    }

    pub fn layer(&self) -> usize {
        self.place().layer
    }

    /// The coordinate of a scalar target; `None` for other units.
    pub fn as_scalar(&self) -> Option<WeightCoord> {
        if let Self::Scalar(at) = *self { Some(at) } else { None }
    }

    /// The coordinate of a whole-row target; `None` for other units.
    pub fn as_row(&self) -> Option<RowCoord> {
        if let Self::Row(at) = *self { Some(at) } else { None }
    }
}

impl From<WeightCoord> for EditTarget {
    fn from(at: WeightCoord) -> Self {
        Self::Scalar(at)
    }
}

impl From<RowCoord> for EditTarget {
    fn from(at: RowCoord) -> Self {
        Self::Row(at)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {}, ", self.layer)?;
        self.expert.map_or(Ok(()), |expert| write!(f, "expert {expert}, "))?;
        match (self.row, self.col) {
            (Some(row), Some(col)) => write!(f, "[{row}, {col}]")?,
            _ => self.coordinates().try_for_each(|(what, number)| write!(f, "{} {number}", what.name()))?,
        }
        f.write_str(if self.unit == Unit::ChannelMean { " at its mean" } else { "" })
    }
}

impl fmt::Display for EditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place().fmt(f)
    }
}

impl fmt::Display for WeightCoord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EditTarget::from(*self).fmt(f)
    }
}

impl fmt::Display for RowCoord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EditTarget::from(*self).fmt(f)
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
