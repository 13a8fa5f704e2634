//! How much each feed-forward channel matters to the loss, and how that is spread (arXiv:2604.23475).
//!
//! | word | meaning |
//! |---|---|
//! | loss proxy (LP) | `1/2 mean_t (u_i dL/du_i)²` of channel `i`, with `u` the input of `down_proj` |
//! | supernode | a channel among the top ρ of its layer by loss proxy (ρ = 1 % unless said), never across layers |
//! | core | the supernodes of a layer |

use serde::{Deserialize, Serialize};

use super::{ModelRef, WeightCoord, text_digest};

/// The sizes of a core that are reported: shares of a layer's channels.
pub const RHOS: [f64; 4] = [0.005, 0.01, 0.02, 0.05];

/// Text to score channels over, in place of the bundled one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationText {
    /// Printed with every result.
    pub name: String,
    pub text: String,
}

impl CalibrationText {
    /// [`Calibration::text_digest`] of the bundled text.
    pub const BUNDLED_DIGEST: &str = "1f0fb13533b89c91";
    /// Bytes of a text that are looked at, 1 MiB: a tokenizer takes seconds for more. [`Calibration::convention`] says so.
    pub const MAX_BYTES: usize = 1 << 20;

    /// What of a text is scored: its beginning, with one character at a line's end.
    pub fn scored(text: &str) -> String {
        text[..text.floor_char_boundary(Self::MAX_BYTES)].replace("\r\n", "\n")
    }

    /// [`Calibration::text_digest`] of this text.
    pub fn digest(&self) -> String {
        text_digest(&Self::scored(&self.text))
    }
}

/// What a channel can be ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    LossProxy,
    ActivationPower,
    PeakActivation,
    Curvature,
    Taylor,
    DownNorm,
    GateNorm,
    UpNorm,
    Wanda,
}

impl Metric {
    pub const ALL: [Self; 9] = [
        Self::LossProxy,
        Self::ActivationPower,
        Self::PeakActivation,
        Self::Curvature,
        Self::Taylor,
        Self::DownNorm,
        Self::GateNorm,
        Self::UpNorm,
        Self::Wanda,
    ];
}

/// Every channel of one layer, in the channels' own order.
///
/// Means are over all tokens of all sequences, the last token of each too, whose gradient is zero. `u` is the input of
/// `down_proj`, `g` the gradient of `L` with regard to it, and `L` the **mean** next-token cross-entropy of one sequence
/// in nats, as in the authors' code. So `g` carries 1/T for sequences of T tokens, and the loss proxy 1/T²: ranks and
/// shares compare between models and texts, values do not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelScores {
    pub layer: usize,
    /// `1/2 mean (u g)²`, nats². The joint moment: not `1/2 mean u² · mean g²`.
    pub loss_proxy: Vec<f32>,
    /// `mean u`, which a mean-ablation puts in the channel's place.
    pub mean_activation: Vec<f32>,
    /// `mean u²`.
    pub activation_power: Vec<f32>,
    /// `mean u² - (mean u)²`, of sums that are f32 within a sequence and f64 between sequences: the two means beside it, in
    /// f32, have too few digits for a channel that hardly changes. Empty in reports that were made before it was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variance: Vec<f32>,
    /// `max |u|`: what an activation outlier is read from.
    pub peak_activation: Vec<f32>,
    /// `mean g²`.
    pub curvature: Vec<f32>,
    /// `mean |u g|`.
    pub taylor: Vec<f32>,
    /// `‖down_proj.weight[:, i]‖₂`.
    pub down_norm: Vec<f32>,
    /// `‖gate_proj.weight[i, :]‖₂`; empty where there is no gate (GPT-2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gate_norm: Vec<f32>,
    /// `‖up_proj.weight[i, :]‖₂` (GPT-2: of `c_fc`).
    pub up_norm: Vec<f32>,
    /// `Σ_j (|gate_proj[i, j]| + |up_proj[i, j]|) X_j + Σ_h |down_proj[h, i]| U_i`, with `X_j` and `U_i` the root over sequences'
    /// mean of the sum over tokens of `x_j²` and `u_i²`, and `x` the input of `gate_proj` and `up_proj` (GPT-2: of `c_fc`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanda: Vec<f32>,
}

impl ChannelScores {
    /// Empty if this model has no such thing.
    pub fn by(&self, metric: Metric) -> &[f32] {
        match metric {
            Metric::LossProxy => &self.loss_proxy,
            Metric::ActivationPower => &self.activation_power,
            Metric::PeakActivation => &self.peak_activation,
            Metric::Curvature => &self.curvature,
            Metric::Taylor => &self.taylor,
            Metric::DownNorm => &self.down_norm,
            Metric::GateNorm => &self.gate_norm,
            Metric::UpNorm => &self.up_norm,
            Metric::Wanda => &self.wanda,
        }
    }
}

/// How a layer's loss proxy is spread over its channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concentration {
    pub layer: usize,
    /// The share of the layer's loss proxy in its core, for each of [`RHOS`].
    pub shares: Vec<f32>,
    /// Channels from the largest on: `[share of channels, share of loss proxy]` after each of a few numbers of channels,
    /// narrow at the beginning and wide at the end; from `[0, 0]` to `[1, 1]`. The Lorenz curve is the same turned round:
    /// `[1 - x, 1 - y]`.
    pub curve: Vec<[f32; 2]>,
}

/// The share of loss proxy in the cores of one size, over all layers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShareSummary {
    pub rho: f64,
    pub median: f32,
    pub smallest: f32,
    pub largest: f32,
}

/// The first channels of a layer by loss proxy, the largest first, as many as the largest of [`RHOS`] takes; of equals
/// the lower channel first. A smaller core is a beginning of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supernodes {
    pub layer: usize,
    pub channels: Vec<usize>,
}

/// How far another metric agrees with the loss proxy in one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    pub layer: usize,
    pub metric: Metric,
    /// `|A ∩ B| / |A ∪ B|` of the core and as many channels of largest `metric`, for each of [`RHOS`].
    pub jaccard: Vec<f32>,
    /// Spearman's rank correlation over all channels; absent where one of the two is constant.
    pub spearman: Option<f32>,
}

/// Where the channel of a super weight stands in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SuperWeightRank {
    pub at: WeightCoord,
    /// By loss proxy, 0 the largest. It is in the core of ρ if this is below `core_sizes`.
    pub rank: usize,
    /// Of the layer's loss proxy.
    pub share: f32,
}

/// Over what channels were scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Names the text and how it was cut.
    pub convention: String,
    /// First 16 hex digits of the SHA-256 of the text, as [`CalibrationText::scored`] has it.
    #[serde(default)]
    pub text_digest: String,
    /// Tokens of a sequence, the BOS included.
    pub length: usize,
    pub n_sequences: usize,
    /// As many as were asked for, or as the text has; fewer were scored if somebody stopped it, or one overflowed.
    pub n_requested: usize,
    pub n_tokens: usize,
    /// Mean over sequences of their mean next-token cross-entropy.
    pub loss_nats: f32,
}

/// What is known after one more sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreProgress {
    pub calibration: Calibration,
    pub concentration: Vec<Concentration>,
}

/// Every channel of every layer scored, and what the scores say. Lists by layer are in the layers' order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreReport {
    pub model: ModelRef,
    pub calibration: Calibration,
    /// [`RHOS`], so that a reader needs nothing but the report.
    pub rhos: Vec<f64>,
    /// Channels in a core, for each of `rhos`: `max(1, ⌊ρ m⌋)`.
    pub core_sizes: Vec<usize>,
    pub concentration: Vec<Concentration>,
    pub summary: Vec<ShareSummary>,
    pub supernodes: Vec<Supernodes>,
    /// Every layer with every [`Metric`] but the loss proxy that it has.
    pub overlaps: Vec<Overlap>,
    /// The scalars that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub super_weights: Vec<SuperWeightRank>,
    pub channels: Vec<ChannelScores>,
}

/// Of an even number, the mean of the middle two; 0 of nothing. In f64, which f32 comes back from.
pub fn median<T: Into<f64>>(values: impl IntoIterator<Item = T>) -> f64 {
    let mut sorted = values.into_iter().map(Into::into).collect::<Vec<f64>>();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!((median([3.0_f32, -1.0, 2.0]), median([4.0, -1.0]), median([0.0_f32; 0])), (2.0, 1.5, 0.0));
    }
}
