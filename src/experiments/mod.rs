//! The super-weight paper's tables and figures (arXiv:2411.07191). Each is a function from a model and an
//! [`Experiment`](crate::terms::Experiment) to tables, in its own file.
//!
//! This module holds their shared parts: a [`Bench`] to measure on, and a [`Draft`] of the outcome, which is reported
//! as it grows, so that a stop loses nothing.

mod activation_quantisation;
pub mod error;
mod importance;
mod measure;
mod propagation;
mod scaling;
mod sinks;
mod token_shift;
mod weight_quantisation;
pub mod weights_only;

use std::cell::RefCell;

use crate::analysis::eval::HeldOut;
use crate::analysis::prefix::Prefixes;
use crate::analysis::tasks::EncodedTask;
use crate::job::control::Control;
use crate::model::Model;
use crate::platform::GpuHealth;
use crate::protocol::Event;
use crate::tensors::DeviceError;
use crate::terms::{Experiment, Headline, Matrix, Message, ModelInfo, Outcome, Settings};
use crate::tokenizer::Tokenizer;

pub use error::ExperimentError;
use measure::has_overflowed;
pub use measure::{Arm, Measured, Sheet};

/// The model, data and device that an experiment runs on.
pub struct Bench<'a> {
    /// The intact model.
    pub model: &'a Model,
    pub info: &'a ModelInfo,
    pub tokenizer: &'a Tokenizer,
    /// The model's largest scalars, largest first.
    pub largest: &'a [(usize, Matrix, usize)],
    /// The largest scalars of each tensor ([`crate::model::edit::TENSOR_SHARE`]).
    pub largest_by_tensor: &'a [(usize, Matrix, usize)],
    /// The tasks that the experiment names; empty for kinds that read no tasks.
    pub tasks: Vec<EncodedTask>,
    /// The text in blocks; `None` for kinds that read no text.
    pub text: Option<HeldOut>,
    /// The parts of passes over the text that the arms have in common.
    pub prefixes: RefCell<Prefixes>,
    pub health: Option<&'a GpuHealth>,
    pub control: &'a Control,
}

impl Bench<'_> {
    /// Checks that the GPU has reported no error.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Gpu`] once the GPU has reported an error, because its later results may be wrong.
    pub fn check_gpu(&self) -> Result<(), DeviceError> {
        DeviceError::check_health(self.health)
    }
}

/// Versions of the software, stated in every outcome.
const SOFTWARE: &str = concat!("linchpin ", env!("CARGO_PKG_VERSION"), ", burn 0.22.1");

/// An outcome in progress.
pub struct Draft<'a> {
    pub outcome: Outcome,
    /// The outcome that was reported last; the next report is the difference.
    sent: Option<Outcome>,
    control: &'a Control,
}

impl<'a> Draft<'a> {
    pub fn new(experiment: Experiment, info: &ModelInfo, convention: Option<Message>, control: &'a Control) -> Self {
        let outcome = Outcome {
            experiment,
            model: info.model.clone(),
            backend: info.backend.clone(),
            software: SOFTWARE.into(),
            convention,
            findings: Vec::new(),
            headline: Vec::new(),
            tables: Vec::new(),
            plots: Vec::new(),
            is_partial: true,
        };
        Self { outcome, sent: None, control }
    }

    /// Adds a figure; its name is a code ([`Headline`]).
    pub fn headline(&mut self, name: impl Into<String>, value: f64) {
        self.outcome.headline.push(Headline { name: name.into(), value });
    }

    pub fn find(&mut self, finding: Message) {
        self.outcome.findings.push(finding);
    }

    /// Reports the outcome so far: first the whole, then only additions.
    pub fn send(&mut self) {
        match &mut self.sent {
            Some(sent) => {
                let delta = sent.delta_to(&self.outcome);
                sent.apply(delta.clone());
                self.control.emit(Event::OutcomeDelta(delta));
            }
            None => {
                self.sent = Some(self.outcome.clone());
                self.control.emit(Event::Outcome(self.outcome.clone()));
            }
        }
    }

    /// Reports the complete outcome.
    pub fn finish(mut self) {
        self.outcome.is_partial = false;
        self.send();
    }
}

/// Runs the experiment. Its settings must have been checked.
///
/// # Errors
///
/// A failing device, or a stop. The draft stays valid.
pub async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), ExperimentError> {
    match draft.outcome.experiment.settings.clone() {
        Settings::Importance(settings) => importance::run(bench, draft, &settings).await,
        Settings::Scaling(settings) => scaling::run(bench, draft, &settings).await,
        Settings::Propagation(settings) => propagation::run(bench, draft, &settings).await,
        Settings::Sinks(settings) => sinks::run(bench, draft, &settings).await,
        Settings::TokenShift(settings) => token_shift::run(bench, draft, &settings).await,
        Settings::WeightsOnly(_) => weights_only::run(bench, draft).await,
        Settings::ActivationQuantisation(settings) => activation_quantisation::run(bench, draft, &settings).await,
        Settings::WeightQuantisation(settings) => weight_quantisation::run(bench, draft, &settings).await,
    }
}

#[cfg(test)]
mod tests {
    use super::SOFTWARE;

    #[test]
    fn version_of_burn_is_the_one_that_is_built() {
        let (_, burn) = SOFTWARE.split_once("burn ").unwrap();
        assert!(include_str!("../../Cargo.toml").contains(&format!("burn = {{ version = \"={burn}\"")), "{burn}");
    }
}
