//! Scores and removed channels, as the page knows them: the last scores, those that the engine still holds, and the
//! rule that is switched on.

use crate::protocol::Request;
use crate::terms::{Ablation, CalibrationText, ModelInfo, Pruning, RunRecord, ScoreReport, Sizes};
use crate::ui::state::AppState;
use crate::ui::state::comparison::needs_scores;
use crate::ui::state::edits::in_words;

/// The text on which channels are to be scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreSetup {
    pub sequences: usize,
    /// Tokens of a sequence; the engine takes no more than the model's context.
    pub length: usize,
    /// Text to score on; the bundled text if `None`.
    pub text: Option<CalibrationText>,
}

impl Default for ScoreSetup {
    fn default() -> Self {
        Self { sequences: 64, length: 512, text: None }
    }
}

impl AppState {
    /// The ablation of the page: the edits in the list, and the pruning.
    pub fn ablation(&self) -> Ablation {
        Ablation { pruning: self.pruning, ..self.edits.ablation() }
    }

    /// Requests scores for the chosen setup; with `resume`, sequences that were scored before are not scored again.
    pub fn score(&mut self, resume: bool) {
        self.failure = None;
        let request = self.score_request(resume);
        self.queue.push(request);
    }

    fn score_request(&self, resume: bool) -> Request {
        let ScoreSetup { sequences, length, text } = self.score_setup.clone();
        let super_weights = self.scan.iter().flat_map(|scan| &scan.candidates).map(|candidate| candidate.at).collect();
        Request::Score { text, sequences, length, super_weights, resume }
    }

    /// Requests scores before a pruning if the engine has none. The decision falls when the pruning's turn comes,
    /// because scores may come, or go, while it waits.
    pub(crate) fn score_before_pruning(&mut self) {
        if self.engine_calibration.is_none() && self.queue.upcoming().is_some_and(needs_scores) {
            let request = self.score_request(true);
            self.queue.push_first(request);
        }
    }

    pub(crate) fn scored(&mut self, report: ScoreReport) {
        self.score_progress = None;
        self.engine_calibration = Some(report.calibration.clone());
        self.scores = Some(report);
        // Other scores may pick other channels. After a stop no more work is started.
        if self.queue.running.as_ref().is_some_and(|running| !running.stopping) {
            self.apply_edits();
        }
    }

    /// Returns `true` if the engine has this ablation, its channels picked by the scores that it holds now.
    pub(crate) fn is_in_place(&self, ablation: &Ablation) -> bool {
        let is_by_these_scores = || self.pruned.as_ref().map(|pruned| &pruned.calibration) == self.engine_calibration.as_ref();
        self.in_place() == *ablation && (ablation.pruning.is_none() || is_by_these_scores())
    }

    /// Returns `true` if a run was made with the present edits and channels.
    pub fn is_current(&self, run: &RunRecord) -> bool {
        run.setup.ablation == self.ablation() && self.picks(run.pruned.as_ref().map(|pruned| pruned.digest.as_str()))
    }

    /// Returns `true` if an earlier selection equals the present one, or the present one is unknown.
    pub(crate) fn picks(&self, digest: Option<&str>) -> bool {
        self.pruned.as_ref().zip(digest).is_none_or(|(now, then)| now.digest == then)
    }
}

/// Explains why a pruning is not valid for this model.
pub fn check_pruning(pruning: &Pruning, info: &ModelInfo) -> Result<(), String> {
    Sizes::from(info).check_selection(&pruning.selection).map_err(in_words)
}

#[cfg(test)]
#[path = "channels_tests.rs"]
pub(crate) mod tests;
