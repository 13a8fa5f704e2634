//! The error of an experiment.

use burn::tensor::ExecutionError;
use thiserror::Error;

use crate::analysis::AnalysisError;
use crate::job::{SettingError, Stopped};
use crate::model::ModelError;
use crate::tensors::DeviceError;
use crate::tokenizer::TokenizerError;

/// The experiment cannot run, or was stopped.
#[derive(Debug, Error)]
pub enum ExperimentError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("the experiment {experiment} removes super weights, but none are named")]
    NoSuperWeights { experiment: &'static str },
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Bounds(#[from] crate::terms::SettingError),
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl From<ExecutionError> for ExperimentError {
    fn from(error: ExecutionError) -> Self {
        Self::Device(error.into())
    }
}
