//! The importance of each feed-forward channel to the loss, and its spread over channels (arXiv:2604.23475).
//!
//! | word | meaning |
//! |---|---|
//! | loss proxy (LP) | `1/2 mean_t (u_i dL/du_i)²` of channel `i`, with `u` the input of `down_proj` |
//! | supernode | a channel among the top ρ of its layer by loss proxy (ρ = 1 % unless said), never across layers |
//! | core | the supernodes of a layer |

use serde::{Deserialize, Serialize};

use super::{Message, ModelRef, PerLayer, WeightCoord, text_digest};

/// The reported sizes of a core, as shares of a layer's channels.
pub const RHOS: [f64; 4] = [0.005, 0.01, 0.02, 0.05];

/// Text to score channels on, in place of the bundled one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationText {
    /// Name of the text, printed with every result.
    pub name: String,
    pub text: String,
}

impl CalibrationText {
    /// [`Calibration::text_digest`] of the bundled text.
    pub const BUNDLED_DIGEST: &str = "1f0fb13533b89c91";
    /// The most bytes read of a text, 1 MiB: a longer text takes a tokenizer seconds. [`Calibration::convention`]
    /// mentions the limit.
    pub const MAX_BYTES: usize = 1 << 20;

    /// The part of a text that is scored: its beginning, with `\n` line ends.
    pub fn scored(text: &str) -> String {
        text[..text.floor_char_boundary(Self::MAX_BYTES)].replace("\r\n", "\n")
    }

    /// [`Calibration::text_digest`] of this text.
    pub fn digest(&self) -> String {
        text_digest(&Self::scored(&self.text))
    }
}

/// A score that channels can be ranked by.
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

/// Scores of every channel of one layer, in the channels' own order.
///
/// Means are over all tokens of all sequences, including the last token of each, whose gradient is zero. `u` is the
/// input of `down_proj`, `g` the gradient of `L` with regard to it, and `L` the **mean** next-token cross-entropy of
/// one sequence in nats, as in the authors' code. So `g` contains 1/T for sequences of T tokens, and the loss proxy
/// 1/T²: across models and texts, compare ranks and shares, not values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelScores {
    pub layer: usize,
    /// `1/2 mean (u g)²`, nats²: the mean of the product, not `1/2 mean u² · mean g²`.
    pub loss_proxy: Vec<f32>,
    /// `mean u`, the value that replaces the channel in a mean-ablation.
    pub mean_activation: Vec<f32>,
    /// `mean u²`.
    pub activation_power: Vec<f32>,
    /// `mean u² - (mean u)²`, from sums that are f32 within a sequence and f64 between sequences, because the two
    /// means above, in f32, have too few digits for a channel that hardly changes. Empty in older reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variance: Vec<f32>,
    /// `max |u|`: large for an activation outlier.
    pub peak_activation: Vec<f32>,
    /// `mean g²`.
    pub curvature: Vec<f32>,
    /// `mean |u g|`.
    pub taylor: Vec<f32>,
    /// `‖down_proj.weight[:, i]‖₂`.
    pub down_norm: Vec<f32>,
    /// `‖gate_proj.weight[i, :]‖₂`; empty if there is no gate (GPT-2).
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
    /// The scores of this metric, by channel; empty if the model has none.
    pub fn get(&self, metric: Metric) -> &[f32] {
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

/// The spread of a layer's loss proxy over its channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concentration {
    pub layer: usize,
    /// The share of the layer's loss proxy in its core, for each of [`RHOS`].
    pub shares: Vec<f32>,
    /// Points `[share of channels, share of loss proxy]`, from `[0, 0]` to `[1, 1]`, with the channels in descending
    /// order. The points are dense at the beginning and sparse at the end. The Lorenz curve is `[1 - x, 1 - y]`.
    pub curve: Vec<[f32; 2]>,
}

/// The shares of loss proxy in the cores of one size, summarised over all layers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShareSummary {
    pub rho: f64,
    pub median: f32,
    pub smallest: f32,
    pub largest: f32,
}

/// The channels of a layer with the largest loss proxy, in descending order, as many as the largest of [`RHOS`]
/// takes. Ties are in ascending order of channel. A smaller core is a prefix of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supernodes {
    pub layer: usize,
    pub channels: Vec<usize>,
}

/// The agreement of another metric with the loss proxy in one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    pub layer: usize,
    pub metric: Metric,
    /// `|A ∩ B| / |A ∪ B|` of the core and the same number of channels with the largest `metric`, for each of [`RHOS`].
    pub jaccard: Vec<f32>,
    /// Spearman's rank correlation over all channels; `None` if one of the two is constant.
    pub spearman: Option<f32>,
}

/// The rank of a super weight's channel in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SuperWeightRank {
    pub at: WeightCoord,
    /// Rank by loss proxy, 0 is the largest. The channel is in the core of ρ if its rank is below the entry of
    /// `core_sizes` for ρ.
    pub rank: usize,
    /// Share of the layer's loss proxy.
    pub share: f32,
}

/// The text that channels were scored on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Name of the text and of how it was cut.
    pub convention: Message,
    /// First 16 hex digits of the SHA-256 of [`CalibrationText::scored`].
    #[serde(default)]
    pub text_digest: String,
    /// Tokens of a sequence, the BOS included.
    pub length: usize,
    pub n_sequences: usize,
    /// Number of sequences that were requested, or that the text has. Fewer were scored if the scoring was stopped,
    /// or if one overflowed.
    pub n_requested: usize,
    pub n_tokens: usize,
    /// Mean over sequences of their mean next-token cross-entropy, nats.
    pub loss_nats: f32,
}

/// The scores after one more sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreProgress {
    pub calibration: Calibration,
    pub concentration: Vec<Concentration>,
}

/// Scores of every channel of every layer, and their statistics. Lists by layer are in the layers' order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreReport {
    pub model: ModelRef,
    pub calibration: Calibration,
    /// [`RHOS`], so that the report is complete on its own.
    pub rhos: Vec<f64>,
    /// Channels in a layer's core, for each of `rhos`: `max(1, ⌊ρ m⌋)`.
    pub core_sizes: Vec<PerLayer>,
    pub concentration: Vec<Concentration>,
    pub summary: Vec<ShareSummary>,
    pub supernodes: Vec<Supernodes>,
    /// Overlaps of every layer, for every [`Metric`] that the model has except the loss proxy.
    pub overlaps: Vec<Overlap>,
    /// Ranks of the requested scalars.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub super_weights: Vec<SuperWeightRank>,
    pub channels: Vec<ChannelScores>,
}

/// The median, computed in f64: the mean of the middle two for an even number of values, and 0 for none.
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
    fn median_is_in_the_middle() {
        assert_eq!((median([3.0_f32, -1.0, 2.0]), median([4.0, -1.0]), median([0.0_f32; 0])), (2.0, 1.5, 0.0));
    }
}
