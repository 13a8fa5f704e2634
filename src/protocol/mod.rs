//! Everything that crosses the boundary between the page and the engine's worker, and what the command prints.
//!
//! The page sends an [`Envelope`] and gets [`Event`]s that carry the same `id`, the last of them [`Event::Done`],
//! [`Event::Stopped`] or [`Event::Failed`]. One request runs at a time; [`Request::Stop`] ends it within one token. A
//! stopped [`Request::Generate`] still tells what was written, and ends with [`Event::Done`].

#[cfg(any(feature = "ui", feature = "worker", feature = "boundary"))]
pub mod boundary;
#[cfg(any(test, feature = "boundary"))]
pub mod samples;

use serde::{Deserialize, Serialize};

use crate::terms::{
    Ablation, CalibrationText, Checkpoint, ConfirmArm, ConfirmReport, Deletion, DeletionReport, Evaluation, Experiment, Generated,
    Inspection, ModelFile, ModelInfo, ModelRef, ModelSource, Outcome, Pane, Pruned, Pruning, Replacement, RowCoord, RunRecord, Sampling,
    ScanReport, ScoreProgress, ScoreReport, StoredModel, SurroundingsReport, SweepPoint, SweepReport, TaskFile, WeightCoord,
};

/// Raised whenever a message changes its meaning; page and worker refuse to talk across versions.
///
/// Messages carry their kind outside (`{"load": {...}}`, `"done"`), which serde reads without an intermediate copy.
pub const PROTOCOL_VERSION: u32 = 5;

/// A request with the number that its events will carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub id: u32,
    pub request: Request,
}

/// Which device to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendChoice {
    /// WebGPU (natively: Vulkan) where there is an adapter that fits, else the CPU.
    #[default]
    Auto,
    Gpu,
    Cpu,
    /// NVIDIA's own path, for the command built with the feature `cuda`.
    Cuda,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Load a model; replaces the one before once it is complete.
    /// Sends an [`Event::Inspected`] before its weights are fetched, and fails there if it cannot run; and an [`Event::Outcome`] of
    /// what the weights alone point at ([`crate::terms::ExperimentKind::WeightsOnly`]) before [`Event::Loaded`], or none if their
    /// norms overflow.
    Load { id: String, source: ModelSource, backend: BackendChoice },
    /// Whether a model fits, without fetching its weights: [`Event::Inspected`].
    Inspect { id: String, source: ModelSource, backend: BackendChoice },
    /// Lists what this browser's storage holds: [`Event::Stored`].
    Stored,
    /// Deletes a stored model by its key (all without), then lists what is left.
    Forget { key: Option<String> },
    /// Spikes of every layer, and candidates (iterated).
    Scan { prompt: String },
    /// Zero candidates alone and jointly beside controls, and whole rows beside those that follow them.
    Confirm {
        candidates: Vec<WeightCoord>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rows: Vec<RowCoord>,
        seed: u64,
    },
    /// Set the ablation of the right-hand pane; checked against the model, applied to resident weights. A pruning picks
    /// its channels by the scores of the last [`Request::Score`], and is refused without any.
    Apply { ablation: Ablation },
    /// Use another text for `Confirm`, `Evaluate` and `Experiment` from now on: passages between empty lines, each cut to
    /// `max_tokens`, or all of it cut into blocks by an experiment. `name` is printed with every figure.
    UseText { name: String, text: String, max_tokens: usize },
    /// Use the bundled text again.
    UseBundledText,
    /// Use these tasks for `Experiment` from now on; what is named twice is replaced.
    UseTasks { tasks: Vec<TaskFile> },
    /// Measures one of the super-weight paper's experiments on the intact model. Each arm sends an [`Event::Outcome`] of what
    /// there is so far, so that a stop loses nothing.
    Experiment(Experiment),
    /// Held-out loss of the intact model and of the one with the applied ablation.
    Evaluate,
    /// Both panes from the same prompt and seed, with the applied ablation on the right.
    Generate { prompt: String, sampling: Sampling },
    /// Compares a forward and a backward pass of the loaded model with golden values in a safetensors file
    /// (`tests/fixtures/README.md` lists its tensors).
    Verify { golden: ModelFile },
    /// Times the loaded model, intact, on synthetic tokens: see [`Figure`]. Takes minutes on a large model.
    Measure,
    /// Scores every feed-forward channel of the intact model by gradients, over `sequences` of `length` tokens of a text
    /// (the bundled one without); each sequence sends an [`Event::ScoreProgress`]. `super_weights` are looked up in the
    /// scores. With `resume`, sequences that the last request scored are not scored again, where it had the same text and length.
    /// A stop still sends the report of what was scored, and so does a sequence whose scores overflow, before the failure.
    Score { text: Option<CalibrationText>, sequences: usize, length: usize, super_weights: Vec<WeightCoord>, resume: bool },
    /// Core, halo and write directions of a layer, or of all, by the scores of the last [`Request::Score`]. `support` is `K`,
    /// the authors' share of the width without; with `redundancy`, gradients are taken for the halo's.
    Surround { rho: f64, eta: f64, support: Option<usize>, layer: Option<usize>, redundancy: bool },
    /// Measures the intact model on the held-out text ([`Event::Evaluated`]), then each of these prunings; each sends an
    /// [`Event::SweepPoint`], so that a stop loses nothing. The applied ablation stays what it is.
    Sweep { prunings: Vec<Pruning> },
    /// Removes channels one at a time: `per_layer` of a layer, or of all layers, drawn evenly from `n_quantiles` quantiles
    /// of the layer's loss proxies; the intact model is told as for a sweep, and each channel sends an [`Event::Deletion`].
    Delete {
        per_layer: usize,
        n_quantiles: usize,
        layer: Option<usize>,
        seed: u64,
        #[serde(default)]
        replacement: Replacement,
    },
    /// Ends the running request.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventEnvelope {
    /// The request it answers; none for [`Event::Ready`].
    pub id: Option<u32>,
    pub event: Event,
}

/// What a progress bar shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// "downloading weights", "held-out text, arm 3 of 7"
    pub doing: String,
    pub done: f64,
    /// Same unit as `done`.
    pub total: f64,
    /// `bytes`, `steps`, `tokens` or `sequences`.
    pub unit: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The worker listens. Sent once, before any request.
    Ready {
        protocol_version: u32,
    },
    Progress(Progress),
    Inspected(Inspection),
    Loaded(ModelInfo),
    Stored {
        models: Vec<StoredModel>,
    },
    Scanned(ScanReport),
    /// One more arm is known; the whole report follows as [`Event::Confirmed`].
    Arm {
        arm: ConfirmArm,
    },
    Confirmed(ConfirmReport),
    /// The ablation is in place; `took_ms` is the engine's own time.
    Applied {
        ablation: Ablation,
        took_ms: f64,
        /// What its pruning came to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pruned: Option<Pruned>,
    },
    Evaluated {
        pane: Pane,
        evaluation: Evaluation,
    },
    /// One new token of one pane. `text` is what it adds to the pane (may be empty while a character is incomplete).
    Token {
        pane: Pane,
        index: usize,
        token_id: u32,
        text: String,
    },
    PaneDone {
        pane: Pane,
        generated: Generated,
    },
    Generated(RunRecord),
    Verified {
        compared: Vec<TensorError>,
    },
    Measured {
        figures: Vec<Figure>,
    },
    ScoreProgress(ScoreProgress),
    Scored(ScoreReport),
    Surrounded(SurroundingsReport),
    SweepPoint(SweepPoint),
    Swept(SweepReport),
    Deletion(Deletion),
    Deleted(DeletionReport),
    Outcome(Outcome),
    /// The request is complete.
    Done,
    /// The request ended because of [`Request::Stop`]; what it had sent stays valid.
    Stopped,
    Failed(Failure),
}

/// How far a tensor is from its golden value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    pub name: String,
    /// The largest, over rows, of `max |ours - golden| / rms(golden)`.
    pub relative: f32,
}

/// One figure of speed: the median of several rounds after a warm-up, each waited for to its end.
///
/// | name | unit | |
/// |---|---|---|
/// | `prefill` | ms | a prompt into an empty cache, until the logits of its last position are read |
/// | `prefill_with_peaks` | ms | the same tokens with the peaks of both sides of every `down_proj`, read: a pass of a scan |
/// | `forward_backward` | ms | a loss, its gradient at every `down_proj` input, and the sums of it that scores are made of, read: what scoring a sequence costs |
/// | `decode_at_N` | tokens/s | greedy, as a run does it, after a context of N tokens |
/// | `decode_both_at_N` | tokens/s | the same of the intact model and an edited one side by side, tokens of both counted |
/// | `dispatches` | dispatches | that a greedy token takes |
/// | `paths_apart` | of the largest logit | distance of the decode plan's logits from those of plain operations, the largest over some forced tokens |
/// | `paths_disagree` | tokens | of those, how many have another likeliest successor though it leads by 1e-3 of the largest logit |
/// | `apply_edit` | ms | one scalar set to zero, until it can be read back |
/// | `gate_proj`, `down_proj` | TFLOP/s | the first layer's products (`c_fc` where there is no gate), many queued and one read |
/// | `score` | ms | a whole scoring, of the command and `benches/engine-page.js` only |
/// | `experiment` | ms | one of the super-weight paper's, of the command only; `of` is its kind |
/// | `load`, `first_token` | ms | from the engine's start, of the command only; a page counts from its worker's (`benches/engine-page.js`) |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    /// Absent if there is none; [`Self::missing`] says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    pub unit: String,
    /// What was measured, with its sizes: "128 tokens after 1024".
    pub of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// What went wrong, in words for the person in front of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// What happened.
    pub what: String,
    /// Why, with the figures.
    pub why: String,
    /// What to do next.
    pub next_step: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Something the visitor typed or opened.
    Input,
    /// The model's files.
    Model,
    /// Network or disk.
    Transport,
    /// The GPU: missing, too small, lost, out of memory. Nothing it computed since is shown as a finding.
    Device,
    /// A bug of ours.
    Internal,
}

/// Head of every JSON export, of the page's and the command's alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// Always `linchpin-export`.
    pub format: String,
    /// Version of the schema, documented in docs/export.md.
    pub version: u32,
    pub model: ModelRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<ModelInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<ScanReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<ConfirmReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunRecord>,
    /// Intact first, then ablated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<(Pane, Evaluation)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Figure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<ScoreReport>,
    /// What the ablation's pruning came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<SurroundingsReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletions: Option<DeletionReport>,
    /// One model at several points of its training; `model` is the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<Checkpoint>,
    /// Of experiments, each complete with what it takes to repeat it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
}

impl Export {
    pub const FORMAT: &str = "linchpin-export";
    pub const VERSION: u32 = 1;

    pub fn new(model: ModelRef) -> Self {
        Self {
            format: Self::FORMAT.into(),
            version: Self::VERSION,
            model,
            info: None,
            scan: None,
            confirm: None,
            run: None,
            evaluations: Vec::new(),
            measured: Vec::new(),
            scores: None,
            pruned: None,
            surroundings: None,
            sweep: None,
            deletions: None,
            checkpoints: Vec::new(),
            outcomes: Vec::new(),
        }
    }
}
