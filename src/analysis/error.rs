//! The error of a measurement.

use burn::tensor::ExecutionError;
use thiserror::Error;

use crate::job::Stopped;
use crate::model::ModelError;
use crate::tensors::DeviceError;
use crate::tokenizer::TokenizerError;

/// The measurement is impossible, or was stopped.
#[derive(Debug, Error)]
pub enum AnalysisError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("the text has no passage of two tokens")]
    EmptyText,
    #[error("there is no task {name:?}; the tasks are {known}")]
    UnknownTask { name: String, known: String },
    #[error("line {line} of the task {task} {why}")]
    TaskLine { task: &'static str, line: usize, why: String },
    #[error("the file of the task {task} is empty")]
    EmptyTask { task: &'static str },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl From<ExecutionError> for AnalysisError {
    fn from(error: ExecutionError) -> Self {
        Self::Device(error.into())
    }
}
