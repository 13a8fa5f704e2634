//! Many removals, each measured on held-out text: by rules, or one channel at a time.
//!
//! A removal may make the loss overflow. That is a finding, reported as a loss, perplexity or change of
//! [`Evaluation::OVERFLOW`] and a stopword mass of 0. A GPU failure is not a finding: it ends the request.

use serde::{Deserialize, Serialize};

use super::{Calibration, Evaluation, ModelRef, Pruned, Replacement};

/// Held-out loss without the channels that one rule picked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    pub pruned: Pruned,
    pub evaluation: Evaluation,
}

/// Rules measured one by one, in the requested order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepReport {
    pub model: ModelRef,
    pub intact: Evaluation,
    pub points: Vec<SweepPoint>,
}

/// One channel removed alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Deletion {
    pub layer: usize,
    pub channel: usize,
    /// The [`super::ChannelScores::loss_proxy`] that picked it.
    pub loss_proxy: f32,
    /// The quantile of its layer's loss proxies that the channel was drawn from; 0 is the largest.
    pub quantile: usize,
    /// Change of the held-out loss against the intact model, nats. It is a difference of means in f64, because f32
    /// has steps of 2.4e-7 between 2 and 4 nats, and a single channel may change less. [`Evaluation::OVERFLOW`] if
    /// the loss is not finite.
    pub delta_nats: f32,
}

/// The agreement of the loss proxy with the measured cost of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeletionCorrelation {
    /// The layer; all layers together if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    pub n: usize,
    /// Spearman's correlation of loss proxy and change of loss over all deletions; `None` if one is constant.
    pub spearman: Option<f32>,
    /// Number of deletions that raised the loss.
    pub n_positive: usize,
    /// Spearman's correlation over the deletions that raised the loss, as in the paper's code.
    pub spearman_positive: Option<f32>,
}

/// Channels removed one at a time, drawn evenly from the quantiles of their layer's loss proxies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeletionReport {
    pub model: ModelRef,
    pub calibration: Calibration,
    pub intact: Evaluation,
    pub n_quantiles: usize,
    pub seed: u64,
    /// The value that replaced each channel.
    #[serde(default)]
    pub replacement: Replacement,
    pub deletions: Vec<Deletion>,
    /// Correlations over all layers together first, then over each layer.
    pub correlations: Vec<DeletionCorrelation>,
}
