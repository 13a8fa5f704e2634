//! The visitor's requests, built from the values of several parts.

use crate::protocol::{Envelope, Request};
use crate::terms::{Comparison, EditTarget, Replacement, RowCoord, SaveOrder, Selection, WeightCoord};
use crate::ui::state::comparisons::N_QUANTILES;
use crate::ui::state::entry::Entry;
use crate::ui::state::scores::ScoreSetup;
use crate::ui::state::{AppState, Source};

impl AppState {
    /// Chooses another model. The storage is listed only if an engine is already running.
    pub fn choose(&mut self, picked: &str) {
        self.model.choose(picked);
        if self.model.choice.is_of_hub() && self.model.stored.is_none() && !self.engine.needs_start() {
            self.queue.push(Request::Stored);
        }
    }

    /// Requests an inspection of a model, without downloading its weights.
    pub fn inspect(&mut self, source: Source) {
        (self.model.fit, self.failure) = (None, None);
        self.queue.push(Request::Inspect { id: source.id, source: source.from, backend: source.backend });
    }

    /// Requests a model. The previous results are kept until it is loaded.
    pub fn load(&mut self, source: Source) {
        self.queue.clear_waiting();
        let Source { id, from, backend, bos, .. } = source.clone();
        self.queue.push(Request::Load { id, source: from, backend, bos });
        if self.model.choice.entry().is_some() && Entry::find(&source.id).is_some() {
            self.model.choice.picked.clone_from(&source.id);
        }
        self.model.requested = Some(source);
        (self.failure, self.model.fit) = (None, None);
    }

    pub fn scan(&mut self) {
        self.failure = None;
        self.queue.push(Request::Scan { prompt: self.scan.prompt.clone() });
    }

    pub fn confirm(&mut self) {
        let Some(scan) = &self.scan.report else { return };
        self.confirm_these(scan.candidates.iter().map(|candidate| candidate.at).collect(), Vec::new());
    }

    /// Tests the targets of published findings on the loaded model, with controls.
    pub fn confirm_published(&mut self) {
        let Some(entry) = self.model.entry() else { return };
        let candidates = entry.published().filter_map(EditTarget::as_scalar).collect();
        self.confirm_these(candidates, entry.published().filter_map(EditTarget::as_row).collect());
    }

    fn confirm_these(&mut self, candidates: Vec<WeightCoord>, rows: Vec<RowCoord>) {
        (self.scan.arms, self.scan.confirm, self.failure) = (Vec::new(), None, None);
        self.queue.push(Request::Confirm { candidates, rows, seed: self.panes.sampling.seed });
    }

    /// Chooses the number of workers that share the arms of a measurement, for this visit.
    pub fn use_workers(&mut self, workers: usize) {
        self.model.workers = Some(workers);
        self.queue.push(Request::UseWorkers { workers });
    }

    /// Requests scores for the chosen setup. With `resume`, sequences that were scored before are not scored again.
    pub fn score(&mut self, resume: bool) {
        self.failure = None;
        let request = self.score_request(resume);
        self.queue.push(request);
    }

    /// A request for scores, which also ranks the scan's candidates.
    pub(super) fn score_request(&self, resume: bool) -> Request {
        let ScoreSetup { sequences, length, text } = self.scores.setup.clone();
        let super_weights = self.scan.report.iter().flat_map(|scan| &scan.candidates).map(|candidate| candidate.at).collect();
        Request::Score { text, sequences, length, super_weights, resume }
    }

    /// Requests the surroundings of a layer's core, sized as in this selection.
    pub fn surround(&mut self, selection: &Selection, layer: usize, redundancy: bool) {
        self.failure = None;
        let Selection { rho, eta, support, .. } = *selection;
        self.queue.push(Request::Surround { rho, eta, support, layer: Some(layer), redundancy });
    }

    /// Requests the removals of a comparison. Those already measured when its turn comes are skipped.
    pub fn compare(&mut self, comparison: Comparison, replacement: Replacement) {
        self.failure = None;
        self.queue.push(Request::Sweep { prunings: comparison.prunings(replacement) });
    }

    /// Removes single channels, `per_layer` of every layer.
    pub fn delete_channels(&mut self, per_layer: usize, replacement: Replacement) {
        self.failure = None;
        let seed = self.panes.sampling.seed;
        self.queue.push(Request::Delete { per_layer, n_quantiles: N_QUANTILES, layer: None, seed, replacement });
    }

    /// Requests the listed edits and the pruning, unless they are applied. Missing scores are requested first.
    pub fn apply_edits(&mut self) {
        let ablation = self.edits.ablation();
        let changes = |request: &Request| match request {
            Request::Apply { .. } => true,
            Request::Score { .. } => ablation.pruning.is_some(),
            _ => false,
        };
        if self.model.info.is_some() && (!self.is_in_place(&ablation) || self.queue.any(changes)) {
            self.queue.push(Request::Apply { ablation });
        }
    }

    pub fn generate(&mut self) {
        self.failure = None;
        self.apply_edits();
        self.queue.push(Request::Generate { prompt: self.panes.prompt.clone(), sampling: self.panes.sampling });
    }

    /// Saves the model with the listed edits; removed channels are cut out, or zeroed. Missing scores are requested first.
    pub fn save_edited(&mut self, cut: bool) {
        self.failure = None;
        self.apply_edits();
        self.queue.push(Request::Save(SaveOrder { source: None, ablation: self.edits.ablation(), cut, folder: None }));
    }

    /// Stops the running request and drops waiting ones, when the visitor presses "Stop". A newly chosen model still
    /// loads.
    pub fn stop(&mut self) -> Option<Envelope> {
        self.queue.keep_loads();
        self.queue.stop()
    }

    /// Stops computations under the old ablation, after the edits or the pruning changed.
    pub fn edits_changed(&mut self) -> Option<Envelope> {
        let stale = |request: &Request| matches!(request, Request::Generate { .. } | Request::Evaluate);
        let has_text = !self.panes.shown_prompt.is_empty() || self.queue.any(|request| matches!(request, Request::Generate { .. }));
        let stop = if self.queue.runs(stale) { self.queue.stop() } else { None };
        self.apply_edits();
        if self.panes.live && has_text && self.model.info.is_some() {
            self.generate();
        }
        stop
    }
}
