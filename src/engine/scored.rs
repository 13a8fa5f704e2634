//! The kept scores of the loaded model's channels, and the surroundings of the cores that they define.

use crate::analysis::calibration::Sequences;
use crate::analysis::prune::Around;
use crate::analysis::score::Scores;
use crate::terms::{Calibration, ChannelScores};

/// The last scores of the loaded model, for later requests that need them.
pub(super) struct Scored {
    pub scores: Scores,
    /// The scores of each layer's channels; empty until they are computed.
    pub(super) channels: Vec<ChannelScores>,
    /// The requested sequences; the first `scores.n_sequences` are summed.
    pub(super) sequences: Sequences,
    /// The surroundings of the cores that these scores define.
    pub(super) surroundings: Option<Surroundings>,
}

/// The surroundings of the cores of one size, kept for the next selection.
pub(super) struct Surroundings {
    pub(super) rho: f64,
    pub(super) eta: f64,
    pub(super) n_support: usize,
    pub(super) layers: Vec<Around>,
}

impl Scored {
    /// The mean activation of every channel of every layer.
    pub(super) fn means(&self) -> Option<Vec<Vec<f32>>> {
        Some(self.channels.iter().map(|layer| layer.mean_activation.clone()).collect())
    }

    pub(super) fn calibration(&self) -> Calibration {
        Calibration {
            convention: self.sequences.convention.clone(),
            text_digest: self.sequences.text_digest.clone(),
            length: self.sequences.length,
            n_sequences: self.scores.n_sequences,
            n_requested: self.sequences.ids.len(),
            n_tokens: self.scores.n_tokens,
            loss_nats: self.scores.loss_nats(),
        }
    }
}
