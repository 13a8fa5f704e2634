//! The nouns of Linchpin: plain data that the page, the worker, the command and the library share.
//!
//! | word | meaning |
//! |---|---|
//! | channel | one hidden unit of a feed-forward block: a row of `gate_proj`/`up_proj` and a column of `down_proj` |
//! | spike | the largest-magnitude value of a `down_proj` input (per channel) or output (per residual dimension) in one forward pass |
//! | super activation | a spike of the output that persists through the residual stream |
//! | super weight | the scalar `down_proj.weight[row, col]` whose removal collapses the model, as confirmed against controls (arXiv:2411.07191) |
//! | loss proxy (LP), supernode, core | a channel's importance to the loss, and the channels with the largest: [`ChannelScores`] (arXiv:2604.23475) |
//! | selection, pruning | a rule that picks channels, and their removal: [`Selection`], [`Pruning`] |
//! | ablation | a list of edits, each of one unit of one layer, and a pruning |
//! | experiment, outcome | one of the super-weight paper's measurements and its tables: [`Experiment`], [`Outcome`] |
//! | run | model revision, ablation, prompt, sampling and seed, and the texts that came out |
//!
//! Layers count from 0. Coordinates are Hugging Face's `[out, in]`: `row` is a residual channel, `col` a feed-forward
//! channel. (The caption of the paper's Figure 3 swaps the two words, and GPT-2 stores its matrices `[in, out]`;
//! neither reaches this module.)

mod cell;
mod confirm;
mod core_size;
mod csv;
mod data;
mod digest;
mod edit;
mod experiment;
mod failure;
mod halo;
mod helper;
mod json;
mod limits;
mod matrix;
mod message;
mod per_layer;
mod place;
mod plan;
mod save;
mod scores;
mod selection;
mod sizes;
mod source;
mod sweep;
mod training;

pub use cell::*;
pub use confirm::*;
pub use core_size::*;
pub use data::*;
pub use digest::*;
pub use edit::*;
pub use experiment::*;
pub use failure::*;
pub use halo::*;
pub use helper::*;
pub use json::*;
pub use limits::*;
pub use matrix::*;
pub use message::*;
pub use per_layer::*;
pub use place::*;
pub use plan::*;
pub use save::*;
pub use scores::*;
pub use selection::*;
use serde::{Deserialize, Serialize};
pub use sizes::*;
pub use source::*;
pub use sweep::*;
pub use training::*;

/// Everything that is changed about a model for one run. Empty means intact.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ablation {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weight_edits: Vec<WeightEdit>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
    /// Channels that are removed before the weights are edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruning: Option<Pruning>,
}

impl Ablation {
    /// The ablation that removes these scalars together.
    pub fn zeroing(coords: impl IntoIterator<Item = WeightCoord>) -> Self {
        let weight_edits = coords.into_iter().map(|at| WeightEdit { target: at.into(), scale: 0.0 }).collect();
        Self { weight_edits, ..Self::default() }
    }

    /// The ablation that removes the channels of a selection.
    pub fn pruning(pruning: Pruning) -> Self {
        Self { pruning: Some(pruning), ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.weight_edits.is_empty() && self.interventions.is_empty() && self.pruning.is_none()
    }
}

/// The rule by which the next token is drawn. `temperature == 0` is greedy; then `top_k`, `top_p` and `seed` have no
/// effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub temperature: f32,
    /// Keep the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Then keep the likeliest tokens whose probabilities first add up to `top_p`; 1 keeps all.
    pub top_p: f32,
    pub seed: u64,
    pub max_new_tokens: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 1.0, seed: 1, max_new_tokens: 80 }
    }
}

/// The exact identity of a model. `revision` is the first 16 hex digits of the SHA-256 of its weights file, or, for
/// several files, of their SHA-256 digests in hexadecimal, concatenated in the order of the file names. So a link
/// never silently opens other weights of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    pub id: String,
    pub revision: String,
    /// The BOS that was put before every text by request, because tokenizer.json adds none. With it every figure and
    /// every text of a model is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bos: Option<u32>,
}

impl ModelRef {
    /// A model that reads texts as its tokenizer.json says.
    pub fn new(id: impl Into<String>, revision: impl Into<String>) -> Self {
        Self { id: id.into(), revision: revision.into(), added_bos: None }
    }

    /// Returns `true` if both have the same weights and put the same before a text, under any name.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.revision == other.revision && self.added_bos == other.added_bos
    }

    /// The revision, and the BOS if one was added: `0123456789abcdef`, or `0123456789abcdef+bos1`.
    pub fn reading(&self) -> String {
        let bos = self.added_bos.map_or(String::new(), |bos| format!("+bos{bos}"));
        format!("{}{bos}", self.revision)
    }
}

/// Everything that decides the text of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSetup {
    pub model: ModelRef,
    pub prompt: String,
    pub sampling: Sampling,
    pub ablation: Ablation,
}

/// The largest-magnitude value at one site of one layer in one forward pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    pub layer: usize,
    /// Position of the token, 0 is the first (usually BOS).
    pub token: usize,
    /// The token as text, for people.
    pub token_text: String,
    pub channel: usize,
    /// Signed activation.
    pub value: f32,
    /// `|value|` over the median of `|value|` across layers at the same site.
    pub ratio: f32,
}

/// A scalar that one forward pass points at; not yet a super weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub at: WeightCoord,
    /// The weight itself.
    pub weight: f32,
    /// The `down_proj` input in channel `at.col` at the token.
    pub input: f32,
    /// The `down_proj` output in channel `at.row` at the token.
    pub output: f32,
    pub token: usize,
    /// `|output|` over the median of the layers' largest `|output|`.
    pub ratio: f32,
    /// `weight · input / output`: how much of the output this one product explains.
    pub share: f32,
    /// The mean change of the model's next-token probabilities over the searched part of the prompt ([`MAX_SEARCHED`]),
    /// at its last positions without the first, with this scalar zeroed: the KL divergence from the model of this
    /// iteration, which lacks the candidates of earlier ones, nats. `None` in exports of before it was measured.
    #[serde(default)]
    pub effect_nats: Option<f32>,
    /// The iteration of the search that found it, from 0. The candidates of earlier iterations were removed first.
    pub iteration: usize,
}

/// The device that the model runs on, and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendInfo {
    /// `webgpu`, `vulkan`, `cuda` or `cpu`.
    pub kind: String,
    /// The adapter's name, or a description of the CPU path.
    pub name: String,
    /// The reason for this device: a sentence for people.
    pub reason: String,
}

/// Facts about a loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    pub model: ModelRef,
    pub architecture: String,
    pub num_parameters: u64,
    pub num_hidden_layers: usize,
    pub hidden_size: usize,
    /// Feed-forward channels of a layer.
    pub intermediate_size: PerLayer,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    /// Bytes that the weights take on the device.
    pub weight_bytes: u64,
    pub backend: BackendInfo,
    /// The model's own sampling, from `generation_config.json`, or the defaults of [`Sampling`].
    pub sampling: Sampling,
    /// The BOS that texts are expected to begin with, but are read without, because tokenizer.json adds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out_bos: Option<u32>,
    #[serde(default)]
    pub provenance: Provenance,
}

/// One forward pass over a prompt: the spikes of every layer, and the candidates that the iterated search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanReport {
    pub model: ModelRef,
    pub prompt: String,
    pub tokens: Vec<String>,
    /// One per layer: the largest `|down_proj input|`.
    pub inputs: Vec<Spike>,
    /// One per layer: the largest `|down_proj output|`.
    pub outputs: Vec<Spike>,
    pub candidates: Vec<Candidate>,
    /// The reason why the search stopped.
    pub stopped: Message,
    /// The output spikes that remain with every candidate removed, one per layer.
    pub outputs_after: Vec<Spike>,
}

/// The kind of one arm of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmKind {
    /// Nothing changed.
    Intact,
    /// One candidate zeroed alone.
    Candidate,
    /// All candidates zeroed together.
    Jointly,
    /// Random scalars of the candidates' matrices zeroed together: a control for all candidates. (One scalar, for one
    /// candidate, in earlier exports.)
    RandomScalar,
    /// The largest-magnitude scalars of the model zeroed with the candidates kept: a control.
    LargestWeights,
    /// The candidate's whole feed-forward channel removed.
    Channel,
    /// The candidate's feed-forward channel held at its mean.
    ChannelMean,
    /// The scalars of the candidate's column of `down_proj` zeroed, without the candidate: its channel's other outputs.
    ChannelRest,
    /// One whole output row of `down_proj` zeroed.
    Row,
    /// A row that follows the tested row in its layer zeroed: a control.
    NextRow,
}

/// Held-out loss with one thing changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmArm {
    pub kind: ArmKind,
    /// The change: `scalar` with its place, `random_scalars`, `jointly`, `largest_weights`, `channel`, `channel_mean`,
    /// `channel_rest`, `row`.
    pub label: Message,
    /// The candidate that the arm belongs to, if any.
    pub at: Option<WeightCoord>,
    /// Number of scalars set to zero.
    pub n_zeroed: usize,
    /// Mean next-token cross-entropy, nats.
    pub loss_nats: f32,
    /// Change against intact, nats.
    pub delta_nats: f32,
}

/// The decision on whether a candidate is a super weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub at: WeightCoord,
    pub confirmed: bool,
    /// The figures that decided: code `cost` with `delta` and `control` (nats); the cost of all candidates together
    /// (`jointly`) if that is critical where the scalar alone is not; and, if the scalar or its channel is critical, the
    /// costs of the whole channel (`channel`) and of the channel without the scalar (`rest`).
    pub because: Message,
}

/// Causal confirmation of candidates against controls on held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfirmReport {
    pub model: ModelRef,
    pub convention: Message,
    pub n_tokens: usize,
    pub arms: Vec<ConfirmArm>,
    pub verdicts: Vec<Verdict>,
    /// Verdicts on the requested rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowVerdict>,
}

/// The quality of a model's predictions on held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean next-token cross-entropy, nats.
    pub loss_nats: f32,
    /// `exp(loss_nats)`. Never compare across conventions.
    pub perplexity: f32,
    /// Mean next-token probability on our list of stopwords and punctuation.
    pub stopword_mass: f32,
    /// Predicted positions.
    pub n_tokens: usize,
    /// Name of the text and of how it was cut.
    pub convention: Message,
}

impl Evaluation {
    /// JSON has no infinity; this value stands for it.
    pub const OVERFLOW: f32 = f32::MAX;
}

/// One of the two runs that are shown side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pane {
    Intact,
    Ablated,
}

/// The output of one pane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// New tokens only, without the prompt.
    pub token_ids: Vec<u32>,
    pub text: String,
    /// Share of 4-grams that occurred before, `0..=1` (rep-4).
    pub repetition: f32,
    /// Mean over steps of the next-token probability on our list of stopwords and punctuation.
    pub stopword_mass: f32,
    pub tokens_per_sec: f32,
    pub finish: Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// `max_new_tokens` reached.
    Length,
    /// The end-of-sequence token was drawn.
    Eos,
    Stopped,
    /// The model's context is full.
    Context,
}

/// A whole run: its setup and the texts of both panes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub setup: RunSetup,
    pub backend: BackendInfo,
    pub intact: Generated,
    pub ablated: Generated,
    /// Index of the first new token that differs between the panes.
    pub first_difference: Option<usize>,
    /// The outcome of the ablation's pruning in this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// [`outcome_digest`] of both panes' token ids.
    pub digest: String,
}
