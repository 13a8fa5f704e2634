//! The error of an experiment.

use burn::tensor::ExecutionError;
use serde::Serialize;
use thiserror::Error;

use crate::analysis::AnalysisError;
use crate::job::{SettingError, Stopped};
use crate::model::ModelError;
use crate::tensors::DeviceError;
use crate::tokenizer::TokenizerError;

/// The experiment cannot run, or was stopped.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ExperimentError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("the experiment {experiment} removes super weights, but none are named")]
    NoSuperWeights { experiment: &'static str },
    #[error(transparent)]
    #[serde(untagged)]
    Bounds(#[from] crate::terms::SettingError),
    #[error(transparent)]
    #[serde(untagged)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    #[serde(untagged)]
    Model(#[from] ModelError),
    #[error(transparent)]
    #[serde(untagged)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    #[serde(untagged)]
    Device(#[from] DeviceError),
}

impl From<ExecutionError> for ExperimentError {
    fn from(error: ExecutionError) -> Self {
        Self::Device(error.into())
    }
}
