//! The result of an experiment.

use serde::{Deserialize, Deserializer, Serialize};

use super::Experiment;
use crate::terms::{BackendInfo, DataPlot, DataTable, Message, ModelRef};

/// The result of an experiment, with everything needed to repeat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The experiment as it ran, including the text, the tasks and their digests.
    pub experiment: Experiment,
    pub model: ModelRef,
    pub backend: BackendInfo,
    /// Versions of Linchpin and Burn: "linchpin 0.1.0, burn 0.22.1".
    #[serde(default)]
    pub software: String,
    /// The text and how it was cut, where a loss was measured; with the calibration text, where one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convention: Option<Message>,
    #[serde(default)]
    pub findings: Vec<Message>,
    /// The few figures that a link carries, and that a recomputation compares.
    #[serde(default)]
    pub headline: Vec<Headline>,
    #[serde(default)]
    pub tables: Vec<DataTable>,
    #[serde(default)]
    pub plots: Vec<DataPlot>,
    /// `true` if arms are missing, because the experiment is still running or was stopped.
    #[serde(default)]
    pub is_partial: bool,
}

/// One figure with its name: `perplexity.prune_sw`. The name is a code; the parts after the first are an arm's code,
/// or distinguish the figure from others of its kind.
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
