//! The contract between the whole state and each of its parts.

use crate::protocol::{Event, Request};
use crate::terms::FailureKind;
use crate::ui::state::queue::Running;

/// A part of the state: the data of one section of the page.
///
/// A part cannot see the others. A rule that needs several parts is in [`across`](super::across).
pub(crate) trait Part {
    /// Processes an event of the engine.
    fn reduce(&mut self, event: &Event);

    /// Notes that a request is sent to the engine.
    fn begins(&mut self, _request: &Request) {}

    /// Notes that a request failed. After [`FailureKind::Device`], the request's results so far come from a faulty
    /// device, and are dropped.
    fn fails(&mut self, _over: &Running, _kind: FailureKind) {}

    /// Drops the previous model's results, which would look like the new one's.
    fn forget_model(&mut self) {}

    /// Drops facts about the engine: it is lost, or a model was just loaded into it.
    fn forget_engine(&mut self) {}
}
