//! A job is long work on request: it reports progress, and it can be stopped.

pub mod control;

use serde::Serialize;
use thiserror::Error;

/// The job ended early because a stop was requested. It is not a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Error)]
#[error("stopped")]
pub struct Stopped;

/// A setting of a job is outside its range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Error)]
#[error("{key} is {got}, expected {expected}")]
pub struct SettingError {
    pub key: &'static str,
    pub got: String,
    /// The range in words, such as "1 or more".
    pub expected: &'static str,
}
