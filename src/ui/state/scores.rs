//! Scores of channels: the latest, the partial ones, and those that the engine holds.

use crate::protocol::{Event, Request};
use crate::terms::{Calibration, CalibrationText, FailureKind, ScoreProgress, ScoreReport};
use crate::ui::state::part::Part;
use crate::ui::state::queue::Running;

/// The text on which channels are to be scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreSetup {
    pub sequences: usize,
    /// Tokens of a sequence, limited by the model's context.
    pub length: usize,
    /// Text to score on; the bundled text if `None`.
    pub text: Option<CalibrationText>,
}

impl Default for ScoreSetup {
    fn default() -> Self {
        Self { sequences: 64, length: 512, text: None }
    }
}

/// The part of the state behind the section "Weigh".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScoreState {
    /// The values of the controls in the scoring section.
    pub setup: ScoreSetup,
    /// The latest scores of this model; they stay when the engine is lost.
    pub report: Option<ScoreReport>,
    /// Partial scores while channels are scored. Empty from the start of a scoring to its first sequence, and after
    /// its report.
    pub progress: Option<ScoreProgress>,
    /// Calibration of the scores that the engine holds. If `None`, as for a new engine, a pruning waits for scores.
    pub engine_calibration: Option<Calibration>,
}

impl Part for ScoreState {
    fn reduce(&mut self, event: &Event) {
        match event {
            Event::ScoreProgress(progress) => self.progress = Some(progress.clone()),
            Event::Scored(report) => {
                self.progress = None;
                self.engine_calibration = Some(report.calibration.clone());
                self.report = Some(report.clone());
            }
            _ => {}
        }
    }

    fn begins(&mut self, request: &Request) {
        self.progress.take_if(|_| matches!(request, Request::Score { .. }));
    }

    fn fails(&mut self, over: &Running, kind: FailureKind) {
        if let Request::Score { .. } = over.request {
            self.progress = None;
            // The scores that a resumed scoring started from are lost, unless it was refused before it started.
            self.engine_calibration.take_if(|_| kind != FailureKind::Input);
        }
    }

    fn forget_model(&mut self) {
        (self.report, self.progress) = (None, None);
    }

    fn forget_engine(&mut self) {
        self.engine_calibration = None;
    }
}

#[cfg(test)]
#[path = "scores_tests.rs"]
pub(crate) mod tests;
