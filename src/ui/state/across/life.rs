//! The life of the engine and of its model: ready, loaded, lost, restarted.

use crate::protocol::{PROTOCOL_VERSION, Request};
use crate::terms::{Failure, Message, ModelInfo, ModelRef, Problem, Sharing};
use crate::ui::state::{AppState, EngineStatus};

impl AppState {
    /// Returns `true` if a model is loaded and the engine is ready.
    pub fn is_live(&self) -> bool {
        let loads = || self.queue.any(|request| matches!(request, Request::Load { .. }));
        self.model.info.is_some() && self.engine == EngineStatus::Ready && !loads()
    }

    pub(in crate::ui::state) fn ready(&mut self, version: u32) {
        if version == PROTOCOL_VERSION {
            self.engine = EngineStatus::Ready;
            return;
        }
        let cause = Message::new("version").with("page", PROTOCOL_VERSION as usize).with("engine", version as usize);
        self.engine_died(Failure { cause: Some(cause), ..Failure::new(Problem::OtherVersion, "") });
    }

    pub(in crate::ui::state) fn loaded(&mut self, info: ModelInfo) {
        let before = self.model.info.as_ref().map(|before| &before.model);
        if before
            .is_some_and(|before| *before != info.model && ModelRef { added_bos: info.model.added_bos, ..before.clone() } == info.model)
        {
            // With another beginning of its texts, the weights and their edits are the same, and every result is another.
            let (edits, sampling) = (self.edits.clone(), self.panes.sampling);
            self.parts().into_iter().for_each(|part| part.forget_model());
            (self.edits, self.panes.sampling) = (edits, sampling);
        } else if before != Some(&info.model) {
            self.parts().into_iter().for_each(|part| part.forget_model());
            self.panes.sampling = info.sampling;
        }
        self.parts().into_iter().for_each(|part| part.forget_engine());
        self.experiments.loaded(&info.model);
        self.model.loaded(info, self.queue.running.as_ref());
        self.restore_loading_link();
        self.put_back();
    }

    /// Records how the engine shares its work, and requests the number of workers that the visitor chose from an engine
    /// that does not know it.
    pub(in crate::ui::state) fn shared(&mut self, sharing: Sharing) {
        self.model.sharing = Some(sharing);
        let is_waiting = self.queue.any(|request| matches!(request, Request::UseWorkers { .. }));
        let wanted = self.model.workers.filter(|workers| !is_waiting && (*workers).clamp(1, sharing.most) != sharing.workers);
        if let Some(workers) = wanted {
            self.queue.push(Request::UseWorkers { workers });
        }
    }

    /// Records the loss of the worker: its requests are dropped, its results kept.
    pub fn engine_died(&mut self, failure: Failure) {
        self.engine = EngineStatus::Dead;
        self.queue.clear();
        self.forget_engine();
        self.leave_link_stage();
        // After a panic, the earlier failure has the message; the trap that follows only says "unreachable".
        let said = self.failure.take().filter(|failure| failure.problem == Problem::EngineCrashed);
        self.failure = Some(said.unwrap_or(failure));
    }

    /// Drops the state that only the lost engine had.
    fn forget_engine(&mut self) {
        self.work.progress = None;
        self.parts().into_iter().for_each(|part| part.forget_engine());
    }

    /// Records the start of a new worker, and requests the loaded model again, or else the one that was being loaded.
    pub fn engine_restarts(&mut self) {
        self.engine = EngineStatus::Starting;
        self.queue.clear();
        self.forget_engine();
        if let Some(source) = self.model.source.clone().or_else(|| self.model.requested.clone()) {
            self.load(source);
        }
    }
}
