//! Errors on the way from a model's name to its files, in words for the person who typed the name.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::weights::WeightsError;

#[derive(Debug, Error)]
pub enum HubError {
    #[error(
        "there is no model {repo} on the Hub, or it is private: look at https://huggingface.co/{repo}, and set HF_TOKEN if it is yours"
    )]
    NoRepo { repo: String },
    #[error("{repo} has no revision {revision}: https://huggingface.co/{repo}/refs lists them")]
    NoRevision { repo: String, revision: String },
    #[error(
        "{repo} is gated: accept its licence at https://huggingface.co/{repo}, and set HF_TOKEN to a token of that account \
        (https://huggingface.co/settings/tokens)"
    )]
    Gated { repo: String },
    #[error("{repo} has no file {name}, without which it cannot be run")]
    MissingFile { repo: String, name: String },
    #[error("{repo} has no weights in safetensors, only in another format")]
    NoSafetensors { repo: String },
    #[error("the Hub cannot be reached ({why})")]
    Unreachable { why: String },
    #[error("{repo} at {revision} is not in the cache whole, and the Hub could not be asked: {why}")]
    NotCached { repo: String, revision: String, why: String },
    #[error("the Hub answered with status {status} to {url}")]
    Status { url: String, status: u16 },
    #[error("the Hub's answer to {url} cannot be used: {why}")]
    Answer { url: String, why: String },
    #[error("the download of {name} was interrupted after {got} of {expected} bytes ({why}); the same command goes on from there")]
    Interrupted { name: String, got: u64, expected: u64, why: String },
    #[error("{name} is not the file that it should be: its SHA-256 is {got}, expected {expected}; remove {path} and try again")]
    Damaged { name: String, path: PathBuf, expected: String, got: String },
    #[error("{path}: {why}")]
    Io { path: PathBuf, why: String },
    #[error("model.safetensors.index.json: {0}")]
    Index(#[from] WeightsError),
}

impl HubError {
    pub(super) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io { path: path.into(), why: error.to_string() }
    }
}
