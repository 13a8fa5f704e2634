//! The experiments of the super-weight paper (arXiv:2411.07191): the request, as one document that reproduces it, and the
//! result, as tables with pictures drawn from them.
//!
//! | word | meaning |
//! |---|---|
//! | experiment | everything that decides the figures: the kind with its settings, and the super weights |
//! | kind | one measurement of the paper; its settings are a struct of their own, in `kinds.rs` |
//! | setting | one number, or several, that a person may change: [`SettingId`] |
//! | arm | one model of an experiment: intact, or with one thing changed |
//! | outcome | an experiment with its tables, plots and findings; an arm that is measured later travels as a [`Delta`] |

mod delta;
mod kinds;
mod outcome;
mod setting;

pub use delta::*;
pub use kinds::*;
pub use outcome::*;
use serde::{Deserialize, Serialize};
pub use setting::*;

use super::WeightCoord;

/// The name and [`super::text_digest`] of a text or of a task's file that was measured, without its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRef {
    pub name: String,
    /// The digest; empty in a request, where only the name counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// A task's file: JSON lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFile {
    /// Name of the task: `lambada_openai`, `arc_easy`, … (`analysis::tasks` lists them).
    pub name: String,
    pub jsonl: String,
}

/// One experiment: a kind with its settings, and its super weights. In JSON it is one flat object, in which `kind`
/// names the kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    #[serde(flatten)]
    pub settings: Settings,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub super_weights: Vec<WeightCoord>,
}

impl Experiment {
    /// Tokens of a block in GPTQ's protocol, which the paper follows.
    pub const BLOCK: usize = 2048;
    pub const CALIBRATION_LENGTH: usize = 512;
    pub const PROMPT: &str = "It was a dark evening, and the old man";

    pub fn new(settings: Settings, super_weights: Vec<WeightCoord>) -> Self {
        Self { settings, super_weights }
    }

    /// An experiment with the settings of the paper, or our own if the paper has none.
    pub fn with_defaults(kind: ExperimentKind, super_weights: Vec<WeightCoord>) -> Self {
        Self::new(kind.default_settings(), super_weights)
    }

    pub fn kind(&self) -> ExperimentKind {
        (&self.settings).into()
    }

    /// The text that loss is measured on and how it is cut; `None` for kinds that measure no loss on a text.
    pub fn text(&self) -> Option<OnText> {
        self.settings.clone().parts().text.cloned()
    }

    /// The tasks that accuracy is measured on; `None` for kinds that read no tasks.
    pub fn tasks(&self) -> Option<OnTasks> {
        self.settings.clone().parts().tasks.cloned()
    }

    /// The prompt; `None` for kinds that read none.
    pub fn prompt(&self) -> Option<String> {
        self.settings.clone().parts().prompt.cloned()
    }

    /// The texts and the tasks' files that the experiment names.
    pub fn texts(&self) -> Vec<TextRef> {
        let text = self.text().and_then(|of| of.text);
        text.into_iter().chain(self.tasks().into_iter().flat_map(|of| of.tasks)).collect()
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`SettingError`] for the first value outside its bounds.
    pub fn check(&self) -> Result<(), SettingError> {
        let mut settings = self.settings.clone();
        settings.numbers().into_iter().try_for_each(|(id, value)| id.check(value, &value.get()))?;
        match &self.settings {
            Settings::WeightQuantisation(of) => of.check(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
