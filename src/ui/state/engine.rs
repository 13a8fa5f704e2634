//! The state of the worker from the page's view, and the requested model.

use crate::protocol::BackendChoice;
use crate::terms::ModelSource;

/// The state of the worker from the page's view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineStatus {
    /// No request was made yet.
    #[default]
    Off,
    /// The worker's program is being downloaded and started.
    Starting,
    Ready,
    /// The worker crashed, hung, or has another protocol version; only a restart helps.
    Dead,
}

impl EngineStatus {
    /// Returns `true` if a worker must be started before it can take a request.
    pub fn needs_start(self) -> bool {
        matches!(self, Self::Off | Self::Dead)
    }
}

/// The requested model, with everything needed to request it again after a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub id: String,
    pub title: String,
    pub from: ModelSource,
    pub backend: BackendChoice,
    /// `true` to put the BOS that the configuration names before every text, even if tokenizer.json does not.
    pub bos: bool,
}
