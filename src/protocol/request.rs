//! The page's requests to the engine.

use serde::{Deserialize, Serialize};

use crate::terms::{
    Ablation, CalibrationText, Experiment, Help, ModelFile, ModelSource, Pruning, Replacement, RowCoord, Sampling, SaveOrder, TaskFile,
    WeightCoord,
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
    /// WebGPU (natively: Vulkan) if there is an adapter that the model fits on, else the CPU.
    #[default]
    Auto,
    Gpu,
    Cpu,
    /// NVIDIA's CUDA, for a command built with the feature `cuda`.
    Cuda,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Loads a model, which replaces the previous one once it is complete. Sends an
    /// [`Event::Inspected`](super::Event::Inspected) before the weights are downloaded, and fails then if the model
    /// cannot run. Before [`Event::Loaded`](super::Event::Loaded) it sends an
    /// [`Event::Outcome`](super::Event::Outcome) with the candidates from the weights alone
    /// ([`crate::terms::ExperimentKind::WeightsOnly`]), unless their norms overflow. With `bos`, the BOS that the
    /// model's configuration names is put before every text, even if its tokenizer adds none.
    Load {
        id: String,
        source: ModelSource,
        backend: BackendChoice,
        #[serde(default)]
        bos: bool,
    },
    /// Checks if a model fits, without downloading its weights: [`Event::Inspected`](super::Event::Inspected).
    Inspect { id: String, source: ModelSource, backend: BackendChoice },
    /// Lists the models in this browser's storage: [`Event::Stored`](super::Event::Stored).
    Stored,
    /// Deletes a stored model by its key (all if `None`), then lists the remaining ones.
    Forget { key: Option<String> },
    /// Finds the spikes of every layer, and candidates by an iterated search.
    Scan { prompt: String },
    /// Zeroes candidates alone, jointly and against controls, and whole rows against the rows that follow them.
    Confirm {
        candidates: Vec<WeightCoord>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rows: Vec<RowCoord>,
        seed: u64,
    },
    /// Sets the ablation of the right-hand pane: checks it against the model, and applies it to the resident weights.
    /// A pruning picks its channels by the scores of the last [`Request::Score`], and is refused if there are none.
    Apply { ablation: Ablation },
    /// Uses another text for `Confirm`, `Evaluate` and `Experiment` from now on. The text is split into passages at
    /// empty lines, each cut to `max_tokens`; an experiment cuts the whole text into blocks. `name` is printed with
    /// every figure.
    UseText { name: String, text: String, max_tokens: usize },
    /// Uses the bundled text again.
    UseBundledText,
    /// Uses these tasks for `Experiment` from now on. A task replaces a task of the same name.
    UseTasks { tasks: Vec<TaskFile> },
    /// Measures one of the super-weight paper's experiments on the intact model. Each arm sends an
    /// [`Event::Outcome`](super::Event::Outcome) of the results so far, so that a stop loses nothing.
    Experiment(Experiment),
    /// Measures the held-out loss of the intact model and of the model with the applied ablation.
    Evaluate,
    /// Generates both panes from the same prompt and seed, with the applied ablation on the right.
    Generate { prompt: String, sampling: Sampling },
    /// Compares a forward and a backward pass of the loaded model with the golden values of a safetensors file
    /// (`tests/fixtures/README.md` lists its tensors).
    Verify { golden: ModelFile },
    /// Times the loaded model, intact, on synthetic tokens: see [`Figure`](super::Figure). Takes minutes on a large
    /// model.
    Measure,
    /// Scores every feed-forward channel of the intact model by gradients, over `sequences` of `length` tokens of a
    /// text (the bundled one if `None`). Each sequence sends an
    /// [`Event::ScoreProgress`](super::Event::ScoreProgress). The report ranks the channels of `super_weights`. With
    /// `resume`, sequences scored by the last request are reused if its text and length were the same. After a stop,
    /// or before the failure when a sequence overflows, the report of the sequences scored so far is still sent.
    Score { text: Option<CalibrationText>, sequences: usize, length: usize, super_weights: Vec<WeightCoord>, resume: bool },
    /// Finds the core, halo and write directions of a layer, or of all layers, by the scores of the last
    /// [`Request::Score`]. `support` is `K`, or the authors' share of the width if `None`. With `redundancy`, the
    /// halo's redundancy is computed from gradients.
    Surround { rho: f64, eta: f64, support: Option<usize>, layer: Option<usize>, redundancy: bool },
    /// Measures the intact model on the held-out text ([`Event::Evaluated`](super::Event::Evaluated)), then each of
    /// these prunings. Each sends an [`Event::SweepPoint`](super::Event::SweepPoint), so that a stop loses nothing.
    /// The applied ablation stays as it is.
    Sweep { prunings: Vec<Pruning> },
    /// Removes channels one at a time: `per_layer` of one layer, or of each layer, drawn evenly from `n_quantiles`
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
    /// Saves a model with its edits: [`Event::Saved`](super::Event::Saved). The loaded model and its applied ablation
    /// stay as they are. Files of an earlier order are freed.
    Save(SaveOrder),
    /// Sets the number of workers that share the arms of a confirmation, a sweep or deletions, this engine's own
    /// included: [`Event::Sharing`](super::Event::Sharing). Only a page's engine on the CPU has others.
    UseWorkers { workers: usize },
    /// Work for another engine of the same browser, which asks for it; a page never does. Each piece is answered by an
    /// [`Event::Helped`](super::Event::Helped).
    Help(Help),
    /// Ends the running request, and drops waiting pieces of [`Request::Help`].
    Stop,
}
