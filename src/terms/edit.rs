//! The changes that a run makes: to weights, or to activations in the forward pass.

use serde::{Deserialize, Serialize};

use super::EditTarget;

/// Multiplies a unit of the weights by `scale`: 0 removes it, 1 leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WeightEdit {
    #[serde(flatten)]
    pub target: EditTarget,
    pub scale: f32,
}

/// The sites where [`Intervention`]s act and captures read. Widths are those of one token.
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
    fn edit_is_flat_and_names_its_unit() {
        for (target, json) in [
            (EditTarget::scalar(2, 12, 86), r#"{"unit":"scalar","layer":2,"row":12,"col":86,"scale":0.1}"#),
            (EditTarget::row(0, 1), r#"{"unit":"row","layer":0,"row":1,"scale":0.1}"#),
            (EditTarget::column(0, 1), r#"{"unit":"column","layer":0,"col":1,"scale":0.1}"#),
            (EditTarget::channel(3, 9), r#"{"unit":"channel","layer":3,"channel":9,"scale":0.1}"#),
            (EditTarget::channel_mean(3, 9), r#"{"unit":"channel_mean","layer":3,"channel":9,"scale":0.1}"#),
        ] {
            let edit = WeightEdit { target, scale: 0.1 };
            assert_eq!(serde_json::to_string(&edit).unwrap(), json);
            assert_eq!(serde_json::from_str::<WeightEdit>(json).unwrap(), edit);
        }
    }

    #[test]
    fn edit_without_all_its_parts_is_refused() {
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
    fn intervention_is_flat_and_names_its_action() {
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
