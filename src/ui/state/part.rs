//! The contract between the whole state and each of its parts.

use crate::protocol::{Event, Request};
use crate::terms::FailureKind;
use crate::ui::state::queue::Running;

/// A part of the state: what one section of the page knows.
///
/// A part sees nothing of the others. A rule that needs several parts is in [`across`](super::across).
pub(crate) trait Part {
    /// Takes what an event of the engine tells this part.
    fn reduce(&mut self, event: &Event);

    /// Notes that a request is handed to the engine.
    fn begins(&mut self, _request: &Request) {}

    /// Notes that a request failed. After [`FailureKind::Device`], the results that the request had so far are those of
    /// a faulty device, and are dropped.
    fn fails(&mut self, _over: &Running, _kind: FailureKind) {}

    /// Drops the results of the model before, which would be taken for those of the new one.
    fn forget_model(&mut self) {}

    /// Drops what describes the engine: it is lost, or a model was just loaded into it.
    fn forget_engine(&mut self) {}
}
