//! The error of loading a model's weights.

use serde::Serialize;
use thiserror::Error;

use crate::job::Stopped;
use crate::platform::PlatformError;
use crate::tensors::DeviceError;
use crate::weights::WeightsError;

/// The weights of a model cannot be loaded, or loading was stopped.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum LoadingError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    #[serde(untagged)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    #[serde(untagged)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    #[serde(untagged)]
    Device(#[from] DeviceError),
}
