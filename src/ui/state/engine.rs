//! The worker as the page sees it, and the model that it was asked for.

use crate::protocol::BackendChoice;
use crate::terms::ModelSource;

/// The worker, as the page sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineStatus {
    /// Nothing was asked of it yet.
    #[default]
    Off,
    /// Its program is being fetched and started.
    Starting,
    Ready,
    /// It crashed, hung or speaks another protocol; only a restart helps.
    Dead,
}

impl EngineStatus {
    /// Whether a worker has to be started before it can be asked for anything.
    pub fn needs_start(self) -> bool {
        matches!(self, Self::Off | Self::Dead)
    }
}

/// Which model was asked for; enough to ask again after a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub id: String,
    pub title: String,
    pub from: ModelSource,
    pub backend: BackendChoice,
}
