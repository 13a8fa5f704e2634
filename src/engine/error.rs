//! Every error that can end a request early.

use burn::tensor::ExecutionError;
use serde::Serialize;
use thiserror::Error;

use crate::analysis::AnalysisError;
use crate::decode::error::DecodeError;
use crate::experiments::ExperimentError;
use crate::job::{SettingError, Stopped};
use crate::loading::LoadingError;
use crate::model::ModelError;
use crate::platform::PlatformError;
use crate::protocol::RangeError;
use crate::saving::SavingError;
use crate::tensors::DeviceError;
use crate::terms::LimitError;
use crate::tokenizer::TokenizerError;
use crate::weights::WeightsError;

/// A request was refused, failed or was stopped. Sizes are in bytes.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum EngineError {
    #[error("no model is loaded")]
    NotLoaded,
    #[error("a pruning picks channels by their scores, and the channels have not been scored yet")]
    NotScored,
    #[error("neither config.json nor tokenizer_config.json names a BOS, and tokenizer.json adds none")]
    NoBos,
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("the experiment was measured on {asked}, but the current text is {used}")]
    OtherText { asked: String, used: String },
    #[error("the task {name} is missing; the given tasks are {given}")]
    NoTask { name: String, given: String },
    #[error("the prompt has {got} tokens, but the model's context has {limit}")]
    PromptTooLong { got: usize, limit: usize },
    #[error("the prompt has {got} bytes, and at most {limit} are read")]
    PromptTooLarge { got: usize, limit: usize },
    #[error("{name} has {got} bytes, and at most {limit} are read")]
    TextTooLarge { name: String, got: usize, limit: usize },
    #[error(
        "one layer's attention over {tokens} tokens takes {needed} bytes, but at most {limit} are possible here: {fits} tokens at most"
    )]
    TooLong { tokens: usize, needed: u64, limit: u64, fits: u64 },
    #[error("the weights take {needed} bytes as f32, but only {limit} fit into a page's memory")]
    MemoryTooSmall { needed: u64, limit: u64 },
    #[error("no GPU: {why}")]
    NoGpu { why: String },
    #[error("the self-check failed: {why}")]
    SelfCheck { why: String },
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    #[serde(untagged)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    #[serde(untagged)]
    Experiment(#[from] ExperimentError),
    #[error(transparent)]
    #[serde(untagged)]
    Loading(#[from] LoadingError),
    #[error(transparent)]
    #[serde(untagged)]
    Saving(#[from] SavingError),
    #[error(transparent)]
    #[serde(untagged)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    #[serde(untagged)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    #[serde(untagged)]
    Model(#[from] ModelError),
    #[error(transparent)]
    #[serde(untagged)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    #[serde(untagged)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    #[serde(untagged)]
    Device(#[from] DeviceError),
}

impl EngineError {
    /// `true` if a stop was requested, which is not a failure.
    pub fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Stopped(_)
                | Self::Loading(LoadingError::Stopped(_))
                | Self::Saving(SavingError::Stopped(_) | SavingError::Loading(LoadingError::Stopped(_)))
                | Self::Analysis(AnalysisError::Stopped(_))
                | Self::Experiment(ExperimentError::Stopped(_) | ExperimentError::Analysis(AnalysisError::Stopped(_)))
        )
    }

    /// `true` if a value was NaN or infinite.
    pub fn is_overflow(&self) -> bool {
        matches!(self.device(), Some(DeviceError::NonFinite { .. }))
    }

    /// `true` if another device might succeed.
    pub fn is_of_device(&self) -> bool {
        matches!(self, Self::SelfCheck { .. }) || self.device().is_some()
    }

    /// The error of the device, whichever room noticed it.
    fn device(&self) -> Option<&DeviceError> {
        match self {
            Self::Device(error)
            | Self::Loading(LoadingError::Device(error))
            | Self::Analysis(AnalysisError::Device(error))
            | Self::Experiment(ExperimentError::Device(error) | ExperimentError::Analysis(AnalysisError::Device(error))) => Some(error),
            _ => None,
        }
    }
}

impl From<RangeError> for EngineError {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::Limit(error) => error.into(),
            RangeError::Setting(error) => ExperimentError::Bounds(error).into(),
        }
    }
}

impl From<ExecutionError> for EngineError {
    fn from(error: ExecutionError) -> Self {
        Self::Device(error.into())
    }
}

impl From<DecodeError> for EngineError {
    fn from(error: DecodeError) -> Self {
        Self::Device(match error {
            DecodeError::NonFinite => DeviceError::NonFinite { what: "the next token's scores" },
            other => DeviceError::Execution { why: other.to_string() },
        })
    }
}
