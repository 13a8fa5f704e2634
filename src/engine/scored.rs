//! The kept scores of the loaded model's channels, and what was found around the cores that they make.

use crate::analysis::calibration::Sequences;
use crate::analysis::prune::Around;
use crate::analysis::score::Scores;
use crate::terms::{Calibration, ChannelScores};

/// The last scores of the loaded model, for whatever goes by them later.
pub(super) struct Scored {
    pub scores: Scores,
    /// The scores of each layer's channels; empty until they are computed.
    pub(super) channels: Vec<ChannelScores>,
    /// The sequences that were asked for; the first `scores.n_sequences` are summed.
    pub(super) sequences: Sequences,
    /// What was found around the cores that these scores make.
    pub(super) surroundings: Option<Surroundings>,
}

/// What was found around the cores of one size, for the next selection.
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
