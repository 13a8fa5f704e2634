//! The error of loading a model's weights.

use thiserror::Error;

use crate::job::Stopped;
use crate::platform::PlatformError;
use crate::tensors::DeviceError;
use crate::weights::WeightsError;

/// The weights of a model cannot be loaded, or loading was stopped.
#[derive(Debug, Error)]
pub enum LoadingError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}
