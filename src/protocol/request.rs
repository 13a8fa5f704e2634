//! The page's requests to the engine.

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

/// The device to run on.
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
    /// Loads a model; it replaces the one before once it is complete. Sends an
    /// [`Event::Inspected`](super::Event::Inspected) before its weights are fetched, and fails there if it cannot run.
    /// Before [`Event::Loaded`](super::Event::Loaded) it sends an [`Event::Outcome`](super::Event::Outcome) of the
    /// candidates from the weights alone ([`crate::terms::ExperimentKind::WeightsOnly`]), or none if their norms
    /// overflow.
    Load { id: String, source: ModelSource, backend: BackendChoice },
    /// Checks if a model fits, without fetching its weights: [`Event::Inspected`](super::Event::Inspected).
    Inspect { id: String, source: ModelSource, backend: BackendChoice },
    /// Lists the models in this browser's storage: [`Event::Stored`](super::Event::Stored).
    Stored,
    /// Deletes a stored model by its key (all if `None`), then lists those that are left.
    Forget { key: Option<String> },
    /// Finds the spikes of every layer, and the candidates by an iterated search.
    Scan { prompt: String },
    /// Zeroes candidates alone and jointly beside controls, and whole rows beside those that follow them.
    Confirm {
        candidates: Vec<WeightCoord>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rows: Vec<RowCoord>,
        seed: u64,
    },
    /// Sets the ablation of the right-hand pane: checked against the model, and applied to resident weights. A pruning
    /// picks its channels by the scores of the last [`Request::Score`], and is refused if there are none.
    Apply { ablation: Ablation },
    /// Uses another text for `Confirm`, `Evaluate` and `Experiment` from now on: passages between empty lines, each cut
    /// to `max_tokens`, or for an experiment the whole text cut into blocks. `name` is printed with every figure.
    UseText { name: String, text: String, max_tokens: usize },
    /// Uses the bundled text again.
    UseBundledText,
    /// Uses these tasks for `Experiment` from now on. A task replaces one of the same name.
    UseTasks { tasks: Vec<TaskFile> },
    /// Measures one of the super-weight paper's experiments on the intact model. Each arm sends an
    /// [`Event::Outcome`](super::Event::Outcome) of the results so far, so that a stop loses nothing.
    Experiment(Experiment),
    /// Measures the held-out loss of the intact model and of the model with the applied ablation.
    Evaluate,
    /// Generates both panes from the same prompt and seed, with the applied ablation on the right.
    Generate { prompt: String, sampling: Sampling },
    /// Compares a forward and a backward pass of the loaded model with golden values in a safetensors file
    /// (`tests/fixtures/README.md` lists its tensors).
    Verify { golden: ModelFile },
    /// Times the loaded model, intact, on synthetic tokens: see [`Figure`](super::Figure). Takes minutes on a large
    /// model.
    Measure,
    /// Scores every feed-forward channel of the intact model by gradients, over `sequences` of `length` tokens of a
    /// text (the bundled one if `None`); each sequence sends an [`Event::ScoreProgress`](super::Event::ScoreProgress).
    /// `super_weights` are looked up in the scores. With `resume`, sequences that the last request scored are not
    /// scored again, if it had the same text and length. A stop still sends the report of the sequences scored so far,
    /// and so does a sequence whose scores overflow, before the failure.
    Score { text: Option<CalibrationText>, sequences: usize, length: usize, super_weights: Vec<WeightCoord>, resume: bool },
    /// Finds the core, halo and write directions of a layer, or of all, by the scores of the last [`Request::Score`].
    /// `support` is `K`, or the authors' share of the width if `None`; with `redundancy`, gradients are taken for the
    /// halo's redundancy.
    Surround { rho: f64, eta: f64, support: Option<usize>, layer: Option<usize>, redundancy: bool },
    /// Measures the intact model on the held-out text ([`Event::Evaluated`](super::Event::Evaluated)), then each of
    /// these prunings; each sends an [`Event::SweepPoint`](super::Event::SweepPoint), so that a stop loses nothing. The
    /// applied ablation is left alone.
    Sweep { prunings: Vec<Pruning> },
    /// Removes channels one at a time: `per_layer` of a layer, or of all layers, drawn evenly from `n_quantiles`
    /// quantiles of the layer's loss proxies. The intact model is measured and reported as for a sweep, and each
    /// channel sends an [`Event::Deletion`](super::Event::Deletion).
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
