//! The engine's progress on the running request.

use crate::protocol::Progress;
use crate::ui::state::rate::Rate;

/// The progress, and the time for measuring its rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    pub progress: Option<Progress>,
    /// Rate at which the bytes of `progress` arrive.
    pub rate: Rate,
    /// Arrival time of the current events, in milliseconds.
    pub now_ms: f64,
}

impl Work {
    pub(crate) fn progressed(&mut self, progress: Progress) {
        if progress.unit == "bytes" {
            self.rate.see(self.now_ms, progress.done);
        } else {
            self.rate = Rate::default();
        }
        self.progress = Some(progress);
    }

    /// Notes that the request is over.
    pub(crate) fn ended(&mut self) {
        (self.progress, self.rate) = Default::default();
    }
}
