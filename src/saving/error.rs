//! The error of saving a model with its edits.

use serde::Serialize;
use thiserror::Error;

use crate::job::Stopped;
use crate::loading::LoadingError;
use crate::model::ModelError;
use crate::platform::PlatformError;
use crate::terms::LimitError;
use crate::weights::WeightsError;

/// A model cannot be saved with these edits, or saving was stopped.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum SavingError {
    #[error("there is no edit to save")]
    NoEdit,
    #[error("the ablation changes activations of a run, which no weight can hold")]
    Interventions,
    #[error(
        "the mean of a channel of layer {layer} would have to become a bias of its down_proj, but models of the family {architecture} \
         have none there"
    )]
    NoBias { layer: usize, architecture: String },
    #[error(
        "layer {layer} keeps all of its {width} channels, and transformers has one width for all layers, so nothing would become smaller"
    )]
    NothingToCut { layer: usize, width: usize },
    #[error("no channel would remain in any layer")]
    NoChannelLeft,
    #[error("value {index} of tensor {name} would become {value}, which {dtype} cannot hold")]
    TooLarge { name: String, index: u64, value: f32, dtype: String },
    #[error("{name} was read back with the SHA-256 {got}, but {expected} was written")]
    ReadBack { name: String, expected: String, got: String },
    #[error("config.json cannot be changed for the new width: {why}")]
    ConfigChange { why: String },
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    #[serde(untagged)]
    Loading(#[from] LoadingError),
    #[error(transparent)]
    #[serde(untagged)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    #[serde(untagged)]
    Model(#[from] ModelError),
    #[error(transparent)]
    #[serde(untagged)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    #[serde(untagged)]
    Platform(#[from] PlatformError),
}
