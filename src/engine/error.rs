//! Every error that can end a request early.

use thiserror::Error;

use crate::decode::error::DecodeError;
use crate::model::ModelError;
use crate::platform::PlatformError;
use crate::terms::LimitError;
use crate::tokenizer::TokenizerError;
use crate::weights::WeightsError;

#[derive(Debug, Error)]
pub enum EngineError {
    /// The user pressed stop, which is no failure.
    #[error("stopped")]
    Stopped,
    #[error("no model is loaded")]
    NotLoaded,
    #[error("which channels to remove is decided by their scores, and there are none")]
    NotScored,
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("the text has no passage of two tokens")]
    EmptyText,
    #[error("the experiment was made on {asked}, and {used} is in use")]
    OtherText { asked: String, used: String },
    #[error("there is no task {name:?}; known are {known}")]
    UnknownTask { name: String, known: String },
    #[error("the task {name} was not given; there is {given}")]
    NoTask { name: String, given: String },
    #[error("line {line} of the task {task} {why}")]
    TaskLine { task: &'static str, line: usize, why: String },
    #[error("the file of the task {task} has no line")]
    EmptyTask { task: &'static str },
    #[error("the prompt is {got} tokens long, and the model's context ends at {limit}")]
    PromptTooLong { got: usize, limit: usize },
    #[error("the experiment {experiment} removes super weights, and none are named")]
    NoSuperWeights { experiment: &'static str },
    #[error("one layer's attention over {tokens} tokens takes {needed} bytes, and {limit} fit at once here: {fits} tokens at most")]
    TooLong { tokens: usize, needed: u64, limit: u64, fits: u64 },
    #[error("{key} is {got}, expected {expected}")]
    Setting { key: &'static str, got: String, expected: &'static str },
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("the GPU's largest buffer is {limit} bytes, and this model needs one of {needed}")]
    GpuTooSmall { needed: u64, limit: u64 },
    #[error("the weights take {needed} bytes as f32, and {limit} fit into a page's memory")]
    MemoryTooSmall { needed: u64, limit: u64 },
    #[error("no GPU: {why}")]
    NoGpu { why: String },
    #[error("the GPU failed: {why}")]
    Gpu { why: String },
    #[error("the self-check failed: {why}")]
    SelfCheck { why: String },
    #[error("the device failed: {why}")]
    Execution { why: String },
    #[error("{what} came out as NaN or infinite")]
    NonFinite { what: &'static str },
}

impl From<DecodeError> for EngineError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NonFinite => Self::NonFinite { what: "the next token's scores" },
            other => Self::Execution { why: other.to_string() },
        }
    }
}

impl EngineError {
    /// True if another device might succeed.
    pub fn is_of_device(&self) -> bool {
        matches!(
            self,
            Self::Gpu { .. } | Self::GpuTooSmall { .. } | Self::Execution { .. } | Self::SelfCheck { .. } | Self::NonFinite { .. }
        )
    }
}

impl From<burn::tensor::ExecutionError> for EngineError {
    fn from(error: burn::tensor::ExecutionError) -> Self {
        Self::Execution { why: error.to_string() }
    }
}
