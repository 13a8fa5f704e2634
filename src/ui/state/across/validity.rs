//! Results of one part that depend on another part.

use crate::protocol::Event;
use crate::terms::{Ablation, Calibration, DeletionReport, Evaluation, Pane, SweepReport};
use crate::ui::state::AppState;
use crate::ui::state::comparisons::is_same;
use crate::ui::state::panes::Measured;

impl AppState {
    /// Tells each part the consequences of an event that depend on another part, before any part processes the event.
    pub(in crate::ui::state) fn relate(&mut self, id: Option<u32>, event: &Event) {
        match event {
            Event::Token { .. } | Event::PaneDone { .. } | Event::Generated(_) => self.panes.begin_text(id, self.queue.running.as_ref()),
            Event::Scanned(scan) => {
                if let Some(info) = &self.model.info {
                    self.edits.offer(&scan.candidates, info);
                }
            }
            Event::Scored(report) => self.forget_comparisons_of_others(&report.calibration),
            Event::Evaluated { pane: Pane::Ablated, evaluation } => {
                let selection = self.edits.pruned.as_ref().map(|pruned| pruned.digest.clone());
                self.panes.ablated_evaluation = Some(Measured { of: self.edits.in_place(), selection, evaluation: evaluation.clone() });
            }
            _ => {}
        }
    }

    /// Drops results measured with other scores, because they cannot be compared with new ones.
    fn forget_comparisons_of_others(&mut self, calibration: &Calibration) {
        if self.scores.report.as_ref().is_some_and(|scores| !is_same(&scores.calibration, calibration)) {
            self.comparisons.forget();
        }
    }

    /// Returns `true` if the engine has this ablation, with its channels picked by the current scores.
    pub(super) fn is_in_place(&self, ablation: &Ablation) -> bool {
        let picked_by = self.edits.pruned.as_ref().map(|pruned| &pruned.calibration);
        self.edits.in_place() == *ablation && (ablation.pruning.is_none() || picked_by == self.scores.engine_calibration.as_ref())
    }

    /// The evaluation of the right-hand pane, if it belongs to the listed edits.
    pub fn current_ablated_evaluation(&self) -> Option<&Evaluation> {
        let measured = self.panes.ablated_evaluation.as_ref()?;
        let is_current = measured.of == self.edits.ablation() && self.edits.picks(measured.selection.as_deref());
        is_current.then_some(&measured.evaluation)
    }

    /// The measured removals in the command's form, including those of a stopped measurement. They need the loss of
    /// the intact model, and are `None` without it.
    pub fn comparison_reports(&self) -> (Option<SweepReport>, Option<DeletionReport>) {
        let (Some(info), Some(intact)) = (&self.model.info, &self.panes.intact_evaluation) else { return (None, None) };
        let sweep = SweepReport { model: info.model.clone(), intact: intact.clone(), points: self.comparisons.sweep.clone() };
        let calibration = self.scores.report.as_ref().map(|scores| scores.calibration.clone());
        let deletions = self.comparisons.deletions_as_report(info.model.clone(), calibration, intact.clone());
        (Some(sweep).filter(|sweep| !sweep.points.is_empty()), deletions)
    }
}
