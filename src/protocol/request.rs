//! What the page asks of the engine.

use serde::{Deserialize, Serialize};

use crate::terms::{
    Ablation, CalibrationText, Experiment, ModelFile, ModelSource, Pruning, Replacement, RowCoord, Sampling, TaskFile, WeightCoord,
};

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
    /// Sends an [`Event::Inspected`](super::Event::Inspected) before its weights are fetched, and fails there if it cannot run; and an [`Event::Outcome`](super::Event::Outcome) of
    /// what the weights alone point at ([`crate::terms::ExperimentKind::WeightsOnly`]) before [`Event::Loaded`](super::Event::Loaded), or none if their
    /// norms overflow.
    Load { id: String, source: ModelSource, backend: BackendChoice },
    /// Whether a model fits, without fetching its weights: [`Event::Inspected`](super::Event::Inspected).
    Inspect { id: String, source: ModelSource, backend: BackendChoice },
    /// Lists what this browser's storage holds: [`Event::Stored`](super::Event::Stored).
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
    /// Measures one of the super-weight paper's experiments on the intact model. Each arm sends an [`Event::Outcome`](super::Event::Outcome) of what
    /// there is so far, so that a stop loses nothing.
    Experiment(Experiment),
    /// Held-out loss of the intact model and of the one with the applied ablation.
    Evaluate,
    /// Both panes from the same prompt and seed, with the applied ablation on the right.
    Generate { prompt: String, sampling: Sampling },
    /// Compares a forward and a backward pass of the loaded model with golden values in a safetensors file
    /// (`tests/fixtures/README.md` lists its tensors).
    Verify { golden: ModelFile },
    /// Times the loaded model, intact, on synthetic tokens: see [`Figure`](super::Figure). Takes minutes on a large model.
    Measure,
    /// Scores every feed-forward channel of the intact model by gradients, over `sequences` of `length` tokens of a text
    /// (the bundled one without); each sequence sends an [`Event::ScoreProgress`](super::Event::ScoreProgress). `super_weights` are looked up in the
    /// scores. With `resume`, sequences that the last request scored are not scored again, where it had the same text and length.
    /// A stop still sends the report of what was scored, and so does a sequence whose scores overflow, before the failure.
    Score { text: Option<CalibrationText>, sequences: usize, length: usize, super_weights: Vec<WeightCoord>, resume: bool },
    /// Core, halo and write directions of a layer, or of all, by the scores of the last [`Request::Score`]. `support` is `K`,
    /// the authors' share of the width without; with `redundancy`, gradients are taken for the halo's.
    Surround { rho: f64, eta: f64, support: Option<usize>, layer: Option<usize>, redundancy: bool },
    /// Measures the intact model on the held-out text ([`Event::Evaluated`](super::Event::Evaluated)), then each of these prunings; each sends an
    /// [`Event::SweepPoint`](super::Event::SweepPoint), so that a stop loses nothing. The applied ablation stays what it is.
    Sweep { prunings: Vec<Pruning> },
    /// Removes channels one at a time: `per_layer` of a layer, or of all layers, drawn evenly from `n_quantiles` quantiles
    /// of the layer's loss proxies; the intact model is told as for a sweep, and each channel sends an [`Event::Deletion`](super::Event::Deletion).
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
