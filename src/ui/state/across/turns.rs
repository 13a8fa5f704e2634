//! The turn of a request: preparations, dropped results, and next steps.

use crate::protocol::{Envelope, Request};
use crate::terms::Failure;
use crate::ui::state::comparisons::needs_scores;
use crate::ui::state::entry::origin;
use crate::ui::state::{AppState, EngineStatus};

impl AppState {
    /// The next message for the worker, if it can take one.
    pub fn next_message(&mut self) -> Option<Envelope> {
        if self.engine != EngineStatus::Ready {
            return None;
        }
        self.score_before_pruning();
        self.skip_measured();
        let message = self.queue.next()?;
        self.note_sent_text(&message.request);
        self.parts().into_iter().for_each(|part| part.begins(&message.request));
        Some(message)
    }

    /// Requests scores before a pruning if the engine has none. This is decided when the pruning's turn comes,
    /// because scores may appear or vanish while it waits.
    fn score_before_pruning(&mut self) {
        if self.scores.engine_calibration.is_none() && self.queue.upcoming().is_some_and(needs_scores) {
            let request = self.score_request(true);
            self.queue.push_first(request);
        }
    }

    /// Drops removals from the next sweep if they were already measured with the current scores.
    fn skip_measured(&mut self) {
        let Some(Request::Sweep { prunings }) = self.queue.upcoming_mut() else { return };
        prunings.retain(|pruning| !self.comparisons.is_measured(pruning));
        if prunings.is_empty() {
            self.queue.drop_upcoming();
        }
    }

    /// Applies the pruning again after a scoring, because other scores may pick other channels. After a stop, no more
    /// work is started.
    pub(in crate::ui::state) fn scored(&mut self) {
        if self.queue.running.as_ref().is_some_and(|running| !running.stopping) {
            self.apply_edits();
        }
    }

    pub(in crate::ui::state) fn finished(&mut self, id: Option<u32>) {
        let Some(over) = self.queue.finish(id) else { return };
        self.work.ended();
        self.look_into_store(&over.request);
        self.leave_link_stage();
        let measured = self.panes.intact_evaluation.is_some() && self.current_ablated_evaluation().is_some();
        // A stopped text also ends with "done". After a stop, no more work is started.
        if matches!(over.request, Request::Generate { .. }) && !over.stopping && !measured {
            self.queue.push(Request::Evaluate);
        }
    }

    pub(in crate::ui::state) fn failed(&mut self, id: Option<u32>, failure: Failure) {
        self.queue.keep_loads();
        if let Some(over) = self.queue.finish(id) {
            self.parts().into_iter().for_each(|part| part.fails(&over, failure.kind()));
            self.look_into_store(&over.request);
        }
        self.leave_link_stage();
        self.work.ended();
        self.failure = Some(failure);
    }

    /// Lists the storage again after a request that may have stored something.
    fn look_into_store(&mut self, over: &Request) {
        if let Request::Load { source, .. } | Request::Inspect { source, .. } = over
            && origin(source).is_some()
        {
            self.queue.push(Request::Stored);
        }
    }
}
