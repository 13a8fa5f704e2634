//! The experiments of the super-weight paper (arXiv:2411.07191): the request, as one flat document that reproduces it,
//! and the result, as tables with pictures drawn from them.
//!
//! | word | meaning |
//! |---|---|
//! | experiment | everything that decides the figures: kind, scalars, text, tasks, settings, seed |
//! | arm | one model of an experiment: intact, or with one thing changed |
//! | outcome | an experiment with its tables, plots and findings in words |
//!
//! Every kind has the same fields, so that one reader serves them all; [`ExperimentKind`] says which fields a kind reads, and
//! [`Experiment::of`] fills them as the paper has it.

use serde::{Deserialize, Deserializer, Serialize};

use super::{BackendInfo, DataPlot, DataTable, ModelRef, WeightCoord};

/// The quantity that is measured, and the fields of [`Experiment`] that it reads beside `super_weights`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentKind {
    /// Table 1: the cost of removing the super weights, beside that of removing the largest other weights, and of
    /// restoring or replacing the super activation. Reads `text`, `block`, `bos`, `n_blocks`, `n_calibration`, `seed`,
    /// `tasks`, `limit`, `item_seed`, `log_samples`.
    Importance,
    /// Figure 4: the super activation through every layer's residual stream. Reads `prompt`.
    Propagation,
    /// Figures 6 and 8: loss and accuracy over the super weights' scale. Reads `factors` and the fields of
    /// [`Self::Importance`] except `n_calibration`.
    Scaling,
    /// Figures 5 and 11: shifts of the next token's probabilities. Reads `n_prompts` and, if there are any, the prompts
    /// of `tasks`.
    TokenShift,
    /// Table 3: W8A8, naive, with the super activation held out, and SmoothQuant. Reads `text`, `block`, `bos`, `n_blocks`, `bits`
    /// (the first), `alpha`, `n_calibration`.
    ActivationQuantisation,
    /// Figure 7: weights rounded in blocks, with and without the super weights held out and clipping. Reads `bits`,
    /// `block_sizes`, `clips` and the fields of [`Self::Scaling`] except `factors`.
    WeightQuantisation,
    /// Candidates from the weights alone, before any forward pass, beside `super_weights`.
    WeightsOnly,
    /// Massive activations of every layer and attention sinks of every head, intact and without the super weights.
    /// Reads `prompt`.
    Sinks,
}

impl ExperimentKind {
    pub const ALL: [Self; 8] = [
        Self::Importance,
        Self::Propagation,
        Self::Scaling,
        Self::TokenShift,
        Self::ActivationQuantisation,
        Self::WeightQuantisation,
        Self::WeightsOnly,
        Self::Sinks,
    ];

    /// The kind's name in JSON, in file names and as a subcommand (there with hyphens).
    pub fn name(self) -> &'static str {
        match self {
            Self::Importance => "importance",
            Self::Propagation => "propagation",
            Self::Scaling => "scaling",
            Self::TokenShift => "token_shift",
            Self::ActivationQuantisation => "activation_quantisation",
            Self::WeightQuantisation => "weight_quantisation",
            Self::WeightsOnly => "weights_only",
            Self::Sinks => "sinks",
        }
    }

    /// The table or figure of the paper, for people.
    pub fn source(self) -> &'static str {
        match self {
            Self::Importance => "Table 1",
            Self::Propagation => "Figure 4",
            Self::Scaling => "Figures 6 and 8",
            Self::TokenShift => "Figures 5 and 11",
            Self::ActivationQuantisation => "Table 3",
            Self::WeightQuantisation => "Figure 7",
            Self::WeightsOnly => "not in the paper",
            Self::Sinks => "appendix A.5",
        }
    }

    /// Returns `true` if the kind measures loss on a text.
    pub fn reads_text(self) -> bool {
        matches!(self, Self::Importance | Self::Scaling | Self::ActivationQuantisation | Self::WeightQuantisation)
    }

    /// Returns `true` if the kind measures accuracy on tasks, where some are given.
    pub fn reads_tasks(self) -> bool {
        matches!(self, Self::Importance | Self::Scaling | Self::WeightQuantisation | Self::TokenShift)
    }

    /// Returns `true` if the kind reads [`Experiment::bos`].
    pub fn reads_bos(self) -> bool {
        self.reads_text()
    }

    /// Returns `true` if the kind measures nothing without a super weight. [`Self::Importance`] then has the largest
    /// other weights.
    pub fn needs_super_weights(self) -> bool {
        matches!(self, Self::Propagation | Self::Scaling | Self::TokenShift | Self::Sinks)
    }

    /// Returns `true` if the kind runs on a single prompt.
    pub fn reads_prompt(self) -> bool {
        matches!(self, Self::Propagation | Self::Sinks)
    }
}

/// The name and [`super::text_digest`] of a text or a task's file that an experiment was measured on, without its
/// content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRef {
    pub name: String,
    /// The digest; empty in a request, where the name alone decides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// The settings of one experiment (see the module's documentation). Fields that a kind does not read are empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    pub kind: ExperimentKind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub super_weights: Vec<WeightCoord>,
    /// Text that loss is measured on. `None` in a request stands for the text in use, which the outcome names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextRef>,
    /// Tokens of each block that the text is cut into, at most the model's context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// Puts the special tokens that the tokenizer adds before a text (its BOS) before each block. GPTQ's protocol has
    /// them before the whole text only; models that never saw a text without a BOS are broken by that alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bos: bool,
    /// Number of blocks used, from the first on; all if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_blocks: Option<usize>,
    /// Tasks, from those of [`crate::protocol::Request::UseTasks`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TextRef>,
    /// Number of items of each task; all if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The outcome holds a row for every choice of every item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_samples: bool,
    /// Seed that draws those items; if `None`, they are the first ones, as in lm-evaluation-harness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_seed: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The largest number of prompts, all if `None`; in an outcome, the number that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_prompts: Option<usize>,
    /// Factors that multiply all super weights together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<f32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bits: Vec<u32>,
    /// Consecutive scalars that share a scale; 0 is the whole matrix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_sizes: Vec<usize>,
    /// Clipping thresholds z: weights are clipped at `mean|w| + z std|w|` of their block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clips: Vec<f32>,
    /// SmoothQuant's exponent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
    /// Number of sequences of the bundled calibration text, each of [`Experiment::CALIBRATION_LENGTH`] tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_calibration: Option<usize>,
    /// Seed of the random control of [`ExperimentKind::Importance`]; other controls are the largest weights.
    #[serde(default)]
    pub seed: u64,
}

impl Experiment {
    /// Tokens of a block in GPTQ's protocol, which the paper follows.
    pub const BLOCK: usize = 2048;
    pub const CALIBRATION_LENGTH: usize = 512;
    pub const PROMPT: &str = "It was a dark evening, and the old man";

    /// An experiment with the settings of the paper, or ours where it has none.
    pub fn of(kind: ExperimentKind, super_weights: Vec<WeightCoord>) -> Self {
        let bare = Self {
            kind,
            super_weights,
            text: None,
            block: kind.reads_text().then_some(Self::BLOCK),
            bos: false,
            n_blocks: None,
            tasks: Vec::new(),
            limit: None,
            log_samples: false,
            item_seed: None,
            prompt: if kind.reads_prompt() { Self::PROMPT.into() } else { String::new() },
            n_prompts: None,
            factors: Vec::new(),
            bits: Vec::new(),
            block_sizes: Vec::new(),
            clips: Vec::new(),
            alpha: None,
            n_calibration: None,
            seed: 1,
        };
        match kind {
            ExperimentKind::Scaling => {
                let factors = vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0, 2.5, 3.0];
                Self { factors, ..bare }
            }
            ExperimentKind::TokenShift => Self { n_prompts: Some(500), ..bare },
            ExperimentKind::ActivationQuantisation => Self { bits: vec![8], alpha: Some(0.85), n_calibration: Some(32), ..bare },
            ExperimentKind::WeightQuantisation => {
                // The paper's blocks are 128² to 1024² consecutive scalars; small models need smaller ones.
                let block_sizes = vec![64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 0];
                Self { bits: vec![8, 4, 3], block_sizes, clips: vec![9.0], ..bare }
            }
            ExperimentKind::Importance => Self { n_calibration: Some(32), ..bare },
            _ => bare,
        }
    }
}

/// The result of an experiment, complete with all that it takes to repeat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The experiment as it ran: with the text, the tasks and their digests.
    pub experiment: Experiment,
    pub model: ModelRef,
    pub backend: BackendInfo,
    /// Versions of Linchpin and Burn: "linchpin 0.1.0, burn 0.22.1".
    #[serde(default)]
    pub software: String,
    /// Name of the text and of how it was cut, where a loss was measured. The first word is the convention's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub convention: String,
    /// The findings, sentence by sentence, for people.
    #[serde(default)]
    pub findings: Vec<String>,
    /// The few figures that a link carries, and that a recomputation is compared by.
    #[serde(default)]
    pub headline: Vec<Headline>,
    #[serde(default)]
    pub tables: Vec<DataTable>,
    #[serde(default)]
    pub plots: Vec<DataPlot>,
    /// Some arms are missing: the experiment is still running, or was stopped.
    #[serde(default)]
    pub is_partial: bool,
}

/// One figure with its name: "perplexity, Prune SW".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    pub name: String,
    #[serde(deserialize_with = "number_or_nan")]
    pub value: f64,
}

impl Outcome {
    pub fn table(&self, name: &str) -> Option<&DataTable> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// Reads `null` as NaN: JSON has no NaN, so a figure that is not a number is written as `null`.
fn number_or_nan<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// A task's file: lines of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFile {
    /// Name of the task: `lambada_openai`, `arc_easy`, … (`analysis::tasks` lists them).
    pub name: String,
    pub jsonl: String,
}

#[cfg(test)]
#[path = "experiment_tests.rs"]
mod tests;
