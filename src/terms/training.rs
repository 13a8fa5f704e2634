//! One model at several points of its training.

use serde::{Deserialize, Serialize};

use super::{Calibration, Evaluation, ModelRef, ShareSummary, WeightCoord};

/// How a model did at one point, and how concentrated its loss proxy was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its folder, within the one that holds them all: `seed-3/step-000500`.
    pub name: String,
    /// The number in the folder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    pub model: ModelRef,
    pub calibration: Calibration,
    /// The cores' shares of loss proxy over the layers, for each of [`super::RHOS`].
    pub summary: Vec<ShareSummary>,
    /// On held-out text.
    pub evaluation: Evaluation,
    /// What one scalar holds up, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zeroed: Option<Zeroed>,
}

/// Held-out loss with one scalar set to zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Zeroed {
    pub at: WeightCoord,
    pub loss_nats: f32,
    /// Change against the whole model, nats.
    pub delta_nats: f32,
}
