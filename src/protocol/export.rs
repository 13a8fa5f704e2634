//! The document with which page and command save their measurements.

use serde::{Deserialize, Serialize};

use super::Figure;
use crate::terms::{
    Checkpoint, ConfirmReport, DeletionReport, Evaluation, ModelInfo, ModelRef, Outcome, Pane, Pruned, RunRecord, Saved, ScanReport,
    ScoreReport, SurroundingsReport, SweepReport,
};

/// The top level of every JSON export, from the page and from the command.
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
    /// The outcome of the ablation's pruning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surroundings: Option<SurroundingsReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletions: Option<DeletionReport>,
    /// One model at several points of its training, in order; `model` is the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<Checkpoint>,
    /// Outcomes of experiments, each with everything needed to repeat it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
    /// The edited model that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Saved>,
}

impl Export {
    pub const FORMAT: &str = "linchpin-export";
    /// The current version. Version 1 had English sentences and names in its outcomes instead of codes, version 2 in
    /// conventions, verdicts and titles.
    pub const VERSION: u32 = 3;

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
            saved: None,
        }
    }
}
