//! Everything the page knows, as plain data, and the one place where an event of the engine changes it.
//!
//! Results live here and not in the worker: nothing that was computed is lost if the worker has to be killed.

pub mod channels;
pub mod comparison;
pub mod edits;
pub mod engine;
pub mod entry;
pub mod experiments;
pub mod link;
pub mod loading;
pub mod panes;
pub mod queue;
pub mod rate;

use crate::protocol::{Envelope, Event, EventEnvelope, Failure, FailureKind, PROTOCOL_VERSION, Progress, Request};
use crate::terms::{
    Ablation, Calibration, ConfirmArm, ConfirmReport, Deletion, DeletionReport, Evaluation, ModelInfo, Pane, Pruned, Pruning, Replacement,
    RowCoord, RunRecord, Sampling, ScanReport, ScoreProgress, ScoreReport, StoredModel, SurroundingsReport, SweepPoint, WeightCoord,
};
pub use engine::{EngineStatus, Source};

use crate::ui::state::channels::ScoreSetup;
use crate::ui::state::edits::EditList;
use crate::ui::state::entry::Entry;
use crate::ui::state::experiments::Experiments;
use crate::ui::state::link::LinkState;
use crate::ui::state::loading::{Choice, Fit};
use crate::ui::state::panes::PaneText;
use crate::ui::state::queue::{Queue, Running};
use crate::ui::state::rate::Rate;

/// An evaluation of the pane on the right, with the ablation it was measured under.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub of: Ablation,
    /// Digest of the channels that the ablation's pruning picked.
    pub selection: Option<String>,
    pub evaluation: Evaluation,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppState {
    pub engine: EngineStatus,
    /// The loaded model.
    pub source: Option<Source>,
    /// The model requested last; it becomes [`AppState::source`] once it is loaded.
    pub requested: Option<Source>,
    pub info: Option<ModelInfo>,
    /// The values of the controls in the section "The model".
    pub choice: Choice,
    /// The fit of the model that was inspected last.
    pub fit: Option<Fit>,
    /// The models in this browser's storage, once they were listed.
    pub stored: Option<Vec<StoredModel>>,
    pub progress: Option<Progress>,
    /// Rate at which the bytes of [`AppState::progress`] arrive.
    pub rate: Rate,
    /// Arrival time of the events that are applied, in milliseconds.
    pub now_ms: f64,
    pub queue: Queue,
    pub scan_prompt: String,
    pub scan: Option<ScanReport>,
    pub arms: Vec<ConfirmArm>,
    pub confirm: Option<ConfirmReport>,
    /// The values of the controls in the scoring section.
    pub score_setup: ScoreSetup,
    /// The last scores of this model; they outlive the engine that made them.
    pub scores: Option<ScoreReport>,
    /// Partial scores while channels are scored. Empty from the beginning of a scoring to its first sequence, and after
    /// its report.
    pub score_progress: Option<ScoreProgress>,
    /// Calibration of the scores that the engine holds. If `None`, a pruning waits for scores: a fresh engine has none.
    pub engine_calibration: Option<Calibration>,
    /// Surroundings of the core of one layer or several.
    pub surroundings: Option<SurroundingsReport>,
    /// Removals that were measured with these scores, whichever experiment requested them.
    pub sweep: Vec<SweepPoint>,
    /// Length of `sweep` when the current sweep began.
    pub sweep_begins_at: usize,
    /// Channels removed one at a time, as their results arrive.
    pub deletions: Vec<Deletion>,
    pub deletion_report: Option<DeletionReport>,
    /// Seed of the draw of `deletions`, and the replacement that stood in place of each.
    pub deletion_seed: u64,
    pub deletion_replacement: Replacement,
    pub edits: EditList,
    /// The removal of channels that is switched on, next to the edits: see [`AppState::ablation`].
    pub pruning: Option<Pruning>,
    /// The ablation that the engine reports as in place, and its time to apply it in milliseconds.
    pub applied: Option<(Ablation, f64)>,
    /// Outcome of the pruning that is in place.
    pub pruned: Option<Pruned>,
    pub intact_evaluation: Option<Evaluation>,
    pub ablated_evaluation: Option<Measured>,
    pub prompt: String,
    pub sampling: Sampling,
    /// Prompt of the text in the panes.
    pub shown_prompt: String,
    /// The request whose text the panes show.
    pub text_of: Option<u32>,
    pub intact: PaneText,
    pub ablated: PaneText,
    pub run: Option<RunRecord>,
    /// Generates again whenever an edit changes, once there is text.
    pub live: bool,
    pub link: LinkState,
    pub experiments: Experiments,
    pub failure: Option<Failure>,
}

impl AppState {
    /// Requests a model; results of the one before are kept until the new one is loaded.
    pub fn load(&mut self, source: Source) {
        self.queue.clear_waiting();
        self.queue.push(Request::Load { id: source.id.clone(), source: source.from.clone(), backend: source.backend });
        if self.choice.entry().is_some() && Entry::find(&source.id).is_some() {
            self.choice.picked.clone_from(&source.id);
        }
        self.requested = Some(source);
        (self.failure, self.fit) = (None, None);
    }

    /// Returns `true` if a model is loaded, and an engine is ready to work with it.
    pub fn is_live(&self) -> bool {
        self.info.is_some() && self.engine == EngineStatus::Ready && !self.queue.any(|request| matches!(request, Request::Load { .. }))
    }

    pub fn scan(&mut self) {
        self.failure = None;
        self.queue.push(Request::Scan { prompt: self.scan_prompt.clone() });
    }

    pub fn confirm(&mut self) {
        let Some(scan) = &self.scan else { return };
        self.confirm_these(scan.candidates.iter().map(|candidate| candidate.at).collect(), Vec::new());
    }

    pub(crate) fn confirm_these(&mut self, candidates: Vec<WeightCoord>, rows: Vec<RowCoord>) {
        (self.arms, self.confirm, self.failure) = (Vec::new(), None, None);
        self.queue.push(Request::Confirm { candidates, rows, seed: self.sampling.seed });
    }

    /// Requests the listed edits and the pruning, unless the engine has them. Missing scores are requested first.
    pub fn apply_edits(&mut self) {
        let ablation = self.ablation();
        let changes = |request: &Request| match request {
            Request::Apply { .. } => true,
            Request::Score { .. } => ablation.pruning.is_some(),
            _ => false,
        };
        if self.info.is_some() && (!self.is_in_place(&ablation) || self.queue.any(changes)) {
            self.queue.push(Request::Apply { ablation });
        }
    }

    pub fn generate(&mut self) {
        self.failure = None;
        self.apply_edits();
        self.queue.push(Request::Generate { prompt: self.prompt.clone(), sampling: self.sampling });
    }

    /// Stops the running request and drops waiting ones, when the visitor presses "Stop". A model that was just chosen
    /// still loads.
    pub fn stop(&mut self) -> Option<Envelope> {
        self.queue.keep_loads();
        self.queue.stop()
    }

    /// Stops computations under the old ablation, after the edits or the pruning changed.
    pub fn edits_changed(&mut self) -> Option<Envelope> {
        let stale = |request: &Request| matches!(request, Request::Generate { .. } | Request::Evaluate);
        let has_text = !self.shown_prompt.is_empty() || self.queue.any(|request| matches!(request, Request::Generate { .. }));
        let stop = if self.queue.runs(stale) { self.queue.stop() } else { None };
        self.apply_edits();
        if self.live && has_text && self.info.is_some() {
            self.generate();
        }
        stop
    }

    /// The next message for the worker, if it can take one.
    pub fn next_message(&mut self) -> Option<Envelope> {
        if self.engine != EngineStatus::Ready {
            return None;
        }
        self.score_before_pruning();
        self.skip_measured();
        let message = self.queue.next()?;
        self.score_progress.take_if(|_| matches!(message.request, Request::Score { .. }));
        self.handed_text(&message.request);
        self.comparison_begins(&message.request);
        Some(message)
    }

    /// The ablation that the engine has.
    pub(crate) fn in_place(&self) -> Ablation {
        self.applied.as_ref().map(|(ablation, _)| ablation.clone()).unwrap_or_default()
    }

    /// The evaluation of the pane on the right, if it matches the edits in the list.
    pub fn current_ablated_evaluation(&self) -> Option<&Evaluation> {
        let measured = self.ablated_evaluation.as_ref()?;
        (measured.of == self.ablation() && self.picks(measured.selection.as_deref())).then_some(&measured.evaluation)
    }

    /// Notes that the worker is gone: its requests are dropped, its results kept.
    pub fn engine_died(&mut self, what: &str, why: &str) {
        self.engine = EngineStatus::Dead;
        self.queue.clear();
        self.forget_engine();
        self.leave_link_stage();
        // After a panic, the earlier failure holds its message; the trap that follows only says "unreachable".
        let said = self.failure.take().filter(|failure| failure.kind == FailureKind::Internal);
        let (what, why) = said.map_or_else(|| (what.into(), why.into()), |failure| (failure.what, failure.why));
        let next_step =
            "Everything computed so far is still on the page. Press “Restart engine” to start a new one and load the model again.";
        self.failure = Some(Failure { kind: FailureKind::Internal, what, why, next_step: next_step.into() });
    }

    /// Drops the state that only the lost engine had.
    fn forget_engine(&mut self) {
        (self.progress, self.applied, self.pruned, self.engine_calibration) = Default::default();
        self.experiments.engine_forgot();
    }

    /// Notes that a fresh worker is starting, and requests the loaded model again, or else the one that was to be
    /// loaded.
    pub fn engine_restarts(&mut self) {
        self.engine = EngineStatus::Starting;
        self.queue.clear();
        self.forget_engine();
        if let Some(source) = self.source.clone().or_else(|| self.requested.clone()) {
            self.load(source);
        }
    }

    /// The reducer: every message of the engine ends here.
    pub fn apply(&mut self, EventEnvelope { id, event }: EventEnvelope) {
        if matches!(event, Event::Token { .. } | Event::PaneDone { .. } | Event::Generated(_)) {
            self.begin_text(id);
        }
        match event {
            Event::Ready { protocol_version } => self.ready(protocol_version),
            Event::Progress(progress) => self.progressed(progress),
            Event::Inspected(inspection) => self.inspected(inspection),
            Event::Stored { models } => self.stored = Some(models),
            Event::Loaded(info) => self.loaded(info),
            Event::Scanned(scan) => {
                if let Some(info) = &self.info {
                    self.edits.offer(&scan.candidates, info);
                }
                (self.arms, self.confirm, self.scan) = (Vec::new(), None, Some(scan));
            }
            Event::Arm { arm } => self.arms.push(arm),
            Event::Confirmed(report) => {
                self.arms.clone_from(&report.arms);
                self.confirm = Some(report);
            }
            Event::ScoreProgress(progress) => self.score_progress = Some(progress),
            Event::Scored(report) => {
                self.forget_comparisons_of_others(&report.calibration);
                self.scored(report);
            }
            Event::Surrounded(report) => self.surroundings = Some(report),
            Event::SweepPoint(point) => self.sweep.push(point),
            Event::Swept(report) => self.intact_evaluation = Some(report.intact),
            Event::Deletion(deletion) => self.deletions.push(deletion),
            Event::Deleted(report) => {
                self.deletions.clone_from(&report.deletions);
                self.deletion_report = Some(report);
            }
            Event::Applied { ablation, took_ms, pruned } => (self.applied, self.pruned) = (Some((ablation, took_ms)), pruned),
            Event::Evaluated { pane: Pane::Intact, evaluation } => self.intact_evaluation = Some(evaluation),
            Event::Evaluated { pane: Pane::Ablated, evaluation } => {
                let selection = self.pruned.as_ref().map(|pruned| pruned.digest.clone());
                self.ablated_evaluation = Some(Measured { of: self.in_place(), selection, evaluation });
            }
            Event::Token { pane, index, token_id, text } => self.token(pane, index, token_id, text),
            Event::PaneDone { pane, generated } => self.pane_mut(pane).done = Some(generated),
            Event::Generated(run) => {
                self.judge(&run);
                self.run = Some(run);
            }
            Event::Outcome(outcome) => self.experiments.take(outcome),
            Event::OutcomeDelta(delta) => self.experiments.grow(delta),
            Event::Done | Event::Stopped => self.finished(id),
            Event::Failed(failure) => self.failed(id, failure),
            // The rest are answers to requests that only tests and the command make.
            _ => {}
        }
    }

    fn failed(&mut self, id: Option<u32>, failure: Failure) {
        self.queue.keep_loads();
        let over = self.queue.finish(id);
        if let Some(Running { request: Request::Score { .. }, .. }) = over {
            self.score_progress = None;
            // The scores that a resumed scoring started from are lost, unless it was refused before it began.
            self.engine_calibration.take_if(|_| failure.kind != FailureKind::Input);
        }
        if let Some(over) = over {
            if failure.kind == FailureKind::Device {
                self.disown(&over);
            }
            self.experiments.refused(&over.request);
            self.look_into_store(&over.request);
        }
        self.leave_link_stage();
        (self.progress, self.rate) = Default::default();
        self.failure = Some(failure);
    }

    /// Drops the results that a faulty device had computed of a request, so that they are not shown as findings.
    fn disown(&mut self, over: &Running) {
        match over.request {
            // If this request wrote no token, the text in the panes was written while the device worked.
            Request::Generate { .. } if self.text_of == Some(over.id) => {
                (self.intact, self.ablated, self.run, self.shown_prompt) = Default::default();
            }
            Request::Confirm { .. } => self.arms.clear(),
            Request::Sweep { .. } | Request::Delete { .. } => self.disown_comparison(&over.request),
            Request::Evaluate => (self.intact_evaluation, self.ablated_evaluation) = (None, None),
            Request::Experiment(ref of) => self.experiments.disown(of),
            _ => {}
        }
    }

    fn ready(&mut self, version: u32) {
        if version == PROTOCOL_VERSION {
            self.engine = EngineStatus::Ready;
            return;
        }
        self.engine_died(
            "The page and its engine are of different versions",
            &format!("The page speaks version {PROTOCOL_VERSION}, the engine version {version}: your browser kept an old file."),
        );
        if let Some(failure) = &mut self.failure {
            failure.next_step = "Reload the page. If this stays, empty the browser's cache for it.".into();
        }
    }

    fn loaded(&mut self, info: ModelInfo) {
        let same = self.info.as_ref().is_some_and(|before| before.model == info.model);
        if !same {
            // Results of another model would be taken for this one's.
            (self.scan, self.confirm, self.run) = (None, None, None);
            (self.intact_evaluation, self.ablated_evaluation) = (None, None);
            (self.intact, self.ablated) = Default::default();
            self.forget_comparisons();
            self.arms.clear();
            (self.scores, self.score_progress, self.pruning) = (None, None, None);
            self.edits = EditList::default();
            self.shown_prompt.clear();
            self.sampling = info.sampling;
        }
        (self.applied, self.pruned, self.engine_calibration) = (None, None, None);
        self.experiments.loaded(&info.model);
        self.info = Some(info);
        self.source = self.loading().or(self.source.take());
        self.restore_loading_link();
        self.put_back();
    }

    /// The model that the engine is loading, which may differ from the one requested last.
    fn loading(&self) -> Option<Source> {
        let Request::Load { id, source, backend } = &self.queue.running.as_ref()?.request else { return None };
        Some(Source { id: id.clone(), title: self.title_of(id, source), from: source.clone(), backend: *backend })
    }

    fn finished(&mut self, id: Option<u32>) {
        let Some(over) = self.queue.finish(id) else { return };
        (self.progress, self.rate) = Default::default();
        self.look_into_store(&over.request);
        self.leave_link_stage();
        let measured = self.intact_evaluation.is_some() && self.current_ablated_evaluation().is_some();
        // A stopped text also ends with "done"; after a stop no more work is started.
        if matches!(over.request, Request::Generate { .. }) && !over.stopping && !measured {
            self.queue.push(Request::Evaluate);
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
