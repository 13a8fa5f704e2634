//! The error of a device that holds tensors.

use burn::tensor::ExecutionError;
use serde::Serialize;
use thiserror::Error;

use crate::platform::GpuHealth;

/// The device cannot hold the required data, or its results are wrong. Sizes are in bytes.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum DeviceError {
    #[error("the GPU's largest buffer has {limit} bytes, but this model needs {needed}")]
    GpuTooSmall { needed: u64, limit: u64 },
    #[error("the GPU failed: {why}")]
    Gpu { why: String },
    #[error("the device failed: {why}")]
    Execution { why: String },
    #[error("{what} became NaN or infinite")]
    NonFinite { what: &'static str },
}

impl DeviceError {
    /// Checks that the GPU, if the work runs on one, has not reported an error.
    ///
    /// # Errors
    ///
    /// [`Self::Gpu`] once the GPU has reported an error, because its later results may be wrong.
    pub fn check_health(health: Option<&GpuHealth>) -> Result<(), Self> {
        match health.and_then(GpuHealth::error) {
            Some(why) => Err(Self::Gpu { why }),
            None => Ok(()),
        }
    }
}

impl From<ExecutionError> for DeviceError {
    fn from(error: ExecutionError) -> Self {
        Self::Execution { why: error.to_string() }
    }
}
