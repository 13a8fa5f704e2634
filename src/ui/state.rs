//! Everything the page knows, as plain data, and the one place where an event of the engine changes it.
//!
//! Results live here and not in the worker: when it has to be killed, nothing that was computed is lost.

use super::edits::{EditList, Origin};
use super::queue::Queue;
use crate::protocol::{
    BackendChoice, Envelope, Event, EventEnvelope, Failure, FailureKind, ModelFile, PROTOCOL_VERSION, Progress, Request,
};
use crate::share::{Recomputed, ShareLink};
use crate::terms::{Ablation, ConfirmArm, ConfirmReport, Evaluation, Generated, ModelInfo, Pane, RunRecord, Sampling, ScanReport};

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

/// Which model was asked for; enough to ask again after a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub id: String,
    pub title: String,
    pub files: Vec<ModelFile>,
    pub backend: BackendChoice,
}

/// One pane's new tokens as they arrive.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PaneText {
    pub ids: Vec<u32>,
    /// What each token adds to the text.
    pub pieces: Vec<String>,
    pub done: Option<Generated>,
}

/// A link that the page was opened with.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum LinkState {
    #[default]
    None,
    Refused(String),
    Held {
        link: Box<ShareLink>,
        stage: LinkStage,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum LinkStage {
    /// Nothing was loaded for it: the reader has not pressed yet.
    Waiting,
    Loading,
    Restored,
    /// It cannot be restored here, and why.
    Mismatch(String),
    Recomputing,
    Verdict(Recomputed),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppState {
    pub engine: EngineStatus,
    pub source: Option<Source>,
    pub info: Option<ModelInfo>,
    pub progress: Option<Progress>,
    pub queue: Queue,
    pub scan_prompt: String,
    pub scan: Option<ScanReport>,
    pub arms: Vec<ConfirmArm>,
    pub confirm: Option<ConfirmReport>,
    pub edits: EditList,
    /// What the engine says is in place, and how long that took it.
    pub applied: Option<(Ablation, f64)>,
    pub intact_evaluation: Option<Evaluation>,
    /// With the ablation that it was measured under.
    pub ablated_evaluation: Option<(Ablation, Evaluation)>,
    pub prompt: String,
    pub sampling: Sampling,
    /// The prompt of what the panes show.
    pub shown_prompt: String,
    pub intact: PaneText,
    pub ablated: PaneText,
    pub run: Option<RunRecord>,
    /// Generate again whenever an edit changes, once there is text.
    pub live: bool,
    pub link: LinkState,
    pub failure: Option<Failure>,
}

impl AppState {
    /// Asks for a model; nothing of the one before is dropped until this one is there.
    pub fn load(&mut self, source: Source) {
        self.queue.clear_waiting();
        self.queue.push(Request::Load { id: source.id.clone(), files: source.files.clone(), backend: source.backend });
        self.source = Some(source);
        self.failure = None;
    }

    /// Whether a model is there, and an engine to work with it.
    pub fn is_live(&self) -> bool {
        self.info.is_some() && self.engine == EngineStatus::Ready && !self.queue.any(|request| matches!(request, Request::Load { .. }))
    }

    pub fn scan(&mut self) {
        self.failure = None;
        self.queue.push(Request::Scan { prompt: self.scan_prompt.clone() });
    }

    pub fn confirm(&mut self) {
        let Some(scan) = &self.scan else { return };
        let candidates = scan.candidates.iter().map(|candidate| candidate.at).collect();
        (self.arms, self.confirm, self.failure) = (Vec::new(), None, None);
        self.queue.push(Request::Confirm { candidates, seed: self.sampling.seed });
    }

    /// Asks the engine for the listed edits, unless they are what it has.
    pub fn apply_edits(&mut self) {
        let ablation = self.edits.ablation();
        if self.info.is_some() && (self.in_place() != ablation || self.queue.any(|request| matches!(request, Request::Apply { .. }))) {
            self.queue.push(Request::Apply { ablation });
        }
    }

    pub fn generate(&mut self) {
        self.failure = None;
        self.apply_edits();
        self.queue.push(Request::Generate { prompt: self.prompt.clone(), sampling: self.sampling });
    }

    /// Runs what the link holds, exactly.
    pub fn recompute(&mut self) {
        let LinkState::Held { link, stage } = &mut self.link else { return };
        *stage = LinkStage::Recomputing;
        let link = link.clone();
        self.restore(&link);
        self.generate();
    }

    /// The edits changed: what the engine computes under the old ones is of no use.
    pub fn edits_changed(&mut self) -> Option<Envelope> {
        let stale = |request: &Request| matches!(request, Request::Generate { .. } | Request::Evaluate);
        let stop = if self.queue.runs(stale) { self.queue.stop() } else { None };
        self.apply_edits();
        if self.live && !self.shown_prompt.is_empty() && self.info.is_some() {
            self.generate();
        }
        stop
    }

    /// The next message for the worker, if it can take one.
    pub fn next_message(&mut self) -> Option<Envelope> {
        if self.engine != EngineStatus::Ready {
            return None;
        }
        let message = self.queue.next()?;
        if let Request::Generate { prompt, .. } = &message.request {
            // Both panes are emptied together, and only when the new text is really coming.
            (self.intact, self.ablated, self.run) = Default::default();
            self.shown_prompt.clone_from(prompt);
        }
        Some(message)
    }

    /// The ablation that the engine has.
    fn in_place(&self) -> Ablation {
        self.applied.as_ref().map(|(ablation, _)| ablation.clone()).unwrap_or_default()
    }

    /// The evaluation of the pane on the right, if it is still of the edits in the list.
    pub fn current_ablated_evaluation(&self) -> Option<&Evaluation> {
        self.ablated_evaluation.as_ref().filter(|(of, _)| *of == self.edits.ablation()).map(|(_, evaluation)| evaluation)
    }

    /// The worker is gone: what it was asked is forgotten, what it found stays.
    pub fn engine_died(&mut self, what: &str, why: &str) {
        self.engine = EngineStatus::Dead;
        self.queue.clear();
        (self.progress, self.applied) = (None, None);
        self.leave_link_stage();
        self.failure = Some(Failure {
            kind: FailureKind::Internal,
            what: what.into(),
            why: why.into(),
            next_step:
                "Everything computed so far is still on the page. Press “Restart engine” to start a new one and load the model again."
                    .into(),
        });
    }

    /// A fresh worker is starting; the model is asked for again.
    pub fn engine_restarts(&mut self) {
        self.engine = EngineStatus::Starting;
        self.queue.clear();
        (self.progress, self.applied) = (None, None);
        if let Some(source) = self.source.clone() {
            self.load(source);
        }
    }

    /// The reducer: every message of the engine ends here.
    pub fn apply(&mut self, EventEnvelope { id, event }: EventEnvelope) {
        match event {
            Event::Ready { protocol_version } => self.ready(protocol_version),
            Event::Progress(progress) => self.progress = Some(progress),
            Event::Loaded(info) => self.loaded(info),
            Event::Scanned(scan) => {
                if let Some(info) = &self.info {
                    self.edits.offer(&scan.candidates, info);
                }
                (self.arms, self.confirm) = (Vec::new(), None);
                self.scan = Some(scan);
            }
            Event::Arm { arm } => self.arms.push(arm),
            Event::Confirmed(report) => {
                self.arms.clone_from(&report.arms);
                self.confirm = Some(report);
            }
            Event::Applied { ablation, took_ms } => self.applied = Some((ablation, took_ms)),
            Event::Evaluated { pane: Pane::Intact, evaluation } => self.intact_evaluation = Some(evaluation),
            Event::Evaluated { pane: Pane::Ablated, evaluation } => self.ablated_evaluation = Some((self.in_place(), evaluation)),
            Event::Token { pane, index, token_id, text } => self.token(pane, index, token_id, text),
            Event::PaneDone { pane, generated } => self.pane_mut(pane).done = Some(generated),
            Event::Generated(run) => self.generated(run),
            Event::Done | Event::Stopped => self.finished(id),
            Event::Failed(failure) => {
                self.queue.clear_waiting();
                let request = self.queue.finish(id);
                if failure.kind == FailureKind::Device {
                    self.disown(request);
                }
                self.leave_link_stage();
                self.progress = None;
                self.failure = Some(failure);
            }
            // Answers to what only tests and the command ask.
            _ => {}
        }
    }

    /// What a faulty device had computed of a request is no finding, so it is not shown as one.
    fn disown(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Generate { .. }) => (self.intact, self.ablated, self.shown_prompt) = Default::default(),
            Some(Request::Confirm { .. }) => self.arms.clear(),
            Some(Request::Evaluate) => (self.intact_evaluation, self.ablated_evaluation) = (None, None),
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
            // Results of another model would be read as this one's.
            (self.scan, self.confirm, self.run) = (None, None, None);
            (self.intact_evaluation, self.ablated_evaluation) = (None, None);
            (self.intact, self.ablated) = Default::default();
            self.arms.clear();
            self.edits = EditList::default();
            self.shown_prompt.clear();
            self.sampling = info.sampling;
        }
        self.applied = None;
        self.info = Some(info);
        self.restore_loading_link();
        self.apply_edits();
    }

    /// A link that waited for its model: is this the one?
    fn restore_loading_link(&mut self) {
        let LinkState::Held { link, stage } = &mut self.link else { return };
        if *stage != LinkStage::Loading && !matches!(stage, LinkStage::Mismatch(_)) {
            return;
        }
        let (Some(info), link) = (&self.info, link.clone()) else { return };
        let (want, have) = (&link.setup.model, &info.model);
        if want.id != have.id {
            *stage = LinkStage::Mismatch(format!(
                "The link is about the model “{}”, and “{}” is loaded. Open the files of “{}” above to restore it.",
                want.id, have.id, want.id
            ));
        } else if want.revision != have.revision {
            *stage = LinkStage::Mismatch(format!(
                "The link was made with revision {} of “{}”, and the one here is {}: other weights, so other text. Nothing was restored.",
                want.revision, want.id, have.revision
            ));
        } else {
            *stage = LinkStage::Restored;
            self.restore(&link);
        }
    }

    /// Puts prompt, sampling and edits of a link into the page's controls.
    fn restore(&mut self, link: &ShareLink) {
        let Some(info) = &self.info else { return };
        self.prompt.clone_from(&link.setup.prompt);
        self.sampling = link.setup.sampling;
        let mut edits = EditList::default();
        for edit in &link.setup.ablation.weight_edits {
            if let Err(why) = edits.add(edit.target, edit.scale, true, Origin::Link, info) {
                if let LinkState::Held { stage, .. } = &mut self.link {
                    *stage = LinkStage::Mismatch(format!("The link changes {}, which this model does not have. {why}", edit.target));
                }
                return;
            }
        }
        self.edits = edits;
    }

    fn token(&mut self, pane: Pane, index: usize, token_id: u32, text: String) {
        let pane = self.pane_mut(pane);
        // Tokens come in order; one that does not belongs to a run whose panes were cleared since.
        if index == pane.ids.len() {
            pane.ids.push(token_id);
            pane.pieces.push(text);
        }
    }

    fn generated(&mut self, run: RunRecord) {
        if let LinkState::Held { link, stage } = &mut self.link {
            if *stage == LinkStage::Recomputing {
                *stage = LinkStage::Verdict(link.compare(&run.intact.token_ids, &run.ablated.token_ids));
            }
        }
        self.run = Some(run);
    }

    fn finished(&mut self, id: Option<u32>) {
        let Some(request) = self.queue.finish(id) else { return };
        self.progress = None;
        self.leave_link_stage();
        let measured = self.intact_evaluation.is_some() && self.current_ablated_evaluation().is_some();
        if matches!(request, Request::Generate { .. }) && !measured {
            self.queue.push(Request::Evaluate);
        }
    }

    /// A recomputation or a load that ended without a result can be asked for again.
    fn leave_link_stage(&mut self) {
        let LinkState::Held { stage, .. } = &mut self.link else { return };
        let still = |is: fn(&Request) -> bool| self.queue.any(is);
        if *stage == LinkStage::Recomputing && !still(|request| matches!(request, Request::Generate { .. })) {
            *stage = LinkStage::Restored;
        }
        if *stage == LinkStage::Loading && !still(|request| matches!(request, Request::Load { .. })) {
            *stage = LinkStage::Waiting;
        }
    }

    pub fn pane(&self, pane: Pane) -> &PaneText {
        match pane {
            Pane::Intact => &self.intact,
            Pane::Ablated => &self.ablated,
        }
    }

    fn pane_mut(&mut self, pane: Pane) -> &mut PaneText {
        match pane {
            Pane::Intact => &mut self.intact,
            Pane::Ablated => &mut self.ablated,
        }
    }

    /// Index of the first new token that differs, as far as both panes have come.
    pub fn first_difference(&self) -> Option<usize> {
        let (a, b) = (&self.intact, &self.ablated);
        if a.done.is_some() && b.done.is_some() {
            return crate::terms::first_difference(&a.ids, &b.ids);
        }
        a.ids.iter().zip(&b.ids).position(|(x, y)| x != y)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
