//! One model at several points of its training.

use serde::{Deserialize, Serialize};

use super::{Calibration, Evaluation, ModelRef, ShareSummary, WeightCoord};

/// A model's held-out loss at one point of its training, and the concentration of its loss proxy there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Path of the checkpoint's folder below the training's folder: `seed-3/step-000500`.
    pub name: String,
    /// The number in the folder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    pub model: ModelRef,
    pub calibration: Calibration,
    /// The cores' shares of loss proxy over the layers, for each of [`super::RHOS`].
    pub summary: Vec<ShareSummary>,
    /// Evaluation on held-out text.
    pub evaluation: Evaluation,
    /// The loss with one scalar removed, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zeroed: Option<Zeroed>,
}

/// Held-out loss with one scalar set to zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Zeroed {
    pub at: WeightCoord,
    pub loss_nats: f32,
    /// Change against the intact checkpoint, nats.
    pub delta_nats: f32,
}
