//! The state of the worker as the page sees it, and the model that was requested.

use crate::protocol::BackendChoice;
use crate::terms::ModelSource;

/// The state of the worker, as the page sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineStatus {
    /// No request was made yet.
    #[default]
    Off,
    /// The worker's program is being fetched and started.
    Starting,
    Ready,
    /// The worker crashed, hung or speaks another protocol; only a restart helps.
    Dead,
}

impl EngineStatus {
    /// Returns `true` if a worker has to be started before it can take a request.
    pub fn needs_start(self) -> bool {
        matches!(self, Self::Off | Self::Dead)
    }
}

/// The model that was requested; enough to request it again after a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub id: String,
    pub title: String,
    pub from: ModelSource,
    pub backend: BackendChoice,
}
