//! The changes that a run makes: to weights, or to activations in the forward pass.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::WeightCoord;

/// The unit of the weights that a [`WeightEdit`] changes. It is always named: zeroing a scalar and zeroing the row that
/// holds it are different experiments with different results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "unit", rename_all = "snake_case")]
pub enum EditTarget {
    /// `down_proj.weight[row, col]`.
    Scalar { layer: usize, row: usize, col: usize },
    /// `down_proj.weight[row, :]`: everything the block writes to one residual channel (a bias is left alone).
    Row { layer: usize, row: usize },
    /// `down_proj.weight[:, col]`: everything one feed-forward channel writes.
    Column { layer: usize, col: usize },
    /// A whole feed-forward channel: its `down_proj` column is scaled, and at scale 0 its `gate_proj` and `up_proj`
    /// rows (GPT-2: its `c_fc` column and bias) go too.
    Channel { layer: usize, channel: usize },
    /// A feed-forward channel drawn towards its mean `m` over the bundled calibration text: `u = m + scale (u - m)`. At
    /// scale 0 the channel is constant: the model loses the information it carried, but not its mean.
    ChannelMean { layer: usize, channel: usize },
}

impl EditTarget {
    pub fn layer(&self) -> usize {
        match *self {
            Self::Scalar { layer, .. }
            | Self::Row { layer, .. }
            | Self::Column { layer, .. }
            | Self::Channel { layer, .. }
            | Self::ChannelMean { layer, .. } => layer,
        }
    }

    /// The coordinate of a scalar target; `None` for other units.
    pub fn as_scalar(&self) -> Option<WeightCoord> {
        match *self {
            Self::Scalar { layer, row, col } => Some(WeightCoord { layer, row, col }),
            _ => None,
        }
    }

    /// The coordinate of a whole-row target; `None` for other units.
    pub fn as_row(&self) -> Option<RowCoord> {
        match *self {
            Self::Row { layer, row } => Some(RowCoord { layer, row }),
            _ => None,
        }
    }
}

impl From<WeightCoord> for EditTarget {
    fn from(WeightCoord { layer, row, col }: WeightCoord) -> Self {
        Self::Scalar { layer, row, col }
    }
}

impl fmt::Display for EditTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar { layer, row, col } => write!(f, "layer {layer}, [{row}, {col}]"),
            Self::Row { layer, row } => write!(f, "layer {layer}, row {row}"),
            Self::Column { layer, col } => write!(f, "layer {layer}, column {col}"),
            Self::Channel { layer, channel } => write!(f, "layer {layer}, channel {channel}"),
            Self::ChannelMean { layer, channel } => write!(f, "layer {layer}, channel {channel} at its mean"),
        }
    }
}

/// One output row of a `down_proj` matrix: `model.layers[layer].mlp.down_proj.weight[row, :]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCoord {
    pub layer: usize,
    /// A residual channel, `0..hidden_size`.
    pub row: usize,
}

impl From<RowCoord> for EditTarget {
    fn from(RowCoord { layer, row }: RowCoord) -> Self {
        Self::Row { layer, row }
    }
}

impl fmt::Display for RowCoord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EditTarget::from(*self).fmt(f)
    }
}

/// Multiplies a unit of the weights by `scale`: 0 removes it, 1 leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightEdit {
    #[serde(flatten)]
    pub target: EditTarget,
    pub scale: f32,
}

/// The places where [`Intervention`]s act and captures read. Widths are those of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// Residual stream entering a block, `hidden_size` (TransformerLens `resid_pre`).
    ResidPre,
    /// Input of `down_proj`, `intermediate_size` (TransformerLens `mlp.hook_post`; not pyvene's `mlp_activation`).
    DownProjInput,
    /// Output of `down_proj`, `hidden_size` (TransformerLens `mlp_out`).
    DownProjOutput,
    /// Residual stream leaving a block, `hidden_size` (TransformerLens `resid_post`).
    ResidPost,
}

/// The change that an [`Intervention`] makes to its activation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", content = "value", rename_all = "snake_case")]
pub enum Action {
    Scale(f32),
    Set(f32),
}

/// Changes one activation during a run (weights stay as they are).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intervention {
    pub site: Site,
    pub layer: usize,
    /// Position in the whole sequence, counted from 0 (the BOS), not in the current chunk.
    pub token: usize,
    pub channel: usize,
    #[serde(flatten)]
    pub action: Action,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_flat_and_names_its_unit() {
        for (target, json) in [
            (EditTarget::Scalar { layer: 2, row: 12, col: 86 }, r#"{"unit":"scalar","layer":2,"row":12,"col":86,"scale":0.1}"#),
            (EditTarget::Row { layer: 0, row: 1 }, r#"{"unit":"row","layer":0,"row":1,"scale":0.1}"#),
            (EditTarget::Column { layer: 0, col: 1 }, r#"{"unit":"column","layer":0,"col":1,"scale":0.1}"#),
            (EditTarget::Channel { layer: 3, channel: 9 }, r#"{"unit":"channel","layer":3,"channel":9,"scale":0.1}"#),
            (EditTarget::ChannelMean { layer: 3, channel: 9 }, r#"{"unit":"channel_mean","layer":3,"channel":9,"scale":0.1}"#),
        ] {
            let edit = WeightEdit { target, scale: 0.1 };
            assert_eq!(serde_json::to_string(&edit).unwrap(), json);
            assert_eq!(serde_json::from_str::<WeightEdit>(json).unwrap(), edit);
        }
    }

    #[test]
    fn an_edit_without_all_its_parts_is_refused() {
        for json in [
            r#"{"unit":"scalar","layer":2,"row":12,"scale":0}"#,
            r#"{"unit":"scalar","layer":2,"row":12,"col":null,"scale":0}"#,
            r#"{"unit":"column","layer":2,"row":12,"scale":0}"#,
            r#"{"unit":"channel","layer":2,"col":12,"scale":0}"#,
            r#"{"unit":"row","row":12,"scale":0}"#,
            r#"{"unit":"row","layer":2,"row":12}"#,
            r#"{"unit":"head","layer":2,"row":12,"scale":0}"#,
            r#"{"layer":2,"row":12,"scale":0}"#,
        ] {
            assert!(serde_json::from_str::<WeightEdit>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn an_intervention_is_flat_and_names_its_action() {
        for (action, end) in
            [(Action::Scale(0.5), r#""action":"scale","value":0.5}"#), (Action::Set(-2.0), r#""action":"set","value":-2.0}"#)]
        {
            let intervention = Intervention { site: Site::DownProjInput, layer: 1, token: 0, channel: 7, action };
            let json = format!(r#"{{"site":"down_proj_input","layer":1,"token":0,"channel":7,{end}"#);
            assert_eq!(serde_json::to_string(&intervention).unwrap(), json);
            assert_eq!(serde_json::from_str::<Intervention>(&json).unwrap(), intervention);
        }
        assert!(serde_json::from_str::<Intervention>(r#"{"site":"resid_pre","layer":1,"token":0,"channel":7,"action":"set"}"#).is_err());
    }
}
