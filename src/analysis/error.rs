//! The error of a measurement.

use burn::tensor::ExecutionError;
use serde::Serialize;
use thiserror::Error;

use crate::job::Stopped;
use crate::model::ModelError;
use crate::tensors::DeviceError;
use crate::tokenizer::TokenizerError;

/// The measurement is impossible, or was stopped.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
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
    #[serde(untagged)]
    Model(#[from] ModelError),
    #[error(transparent)]
    #[serde(untagged)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    #[serde(untagged)]
    Device(#[from] DeviceError),
}

impl From<ExecutionError> for AnalysisError {
    fn from(error: ExecutionError) -> Self {
        Self::Device(error.into())
    }
}
