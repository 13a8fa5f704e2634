//! The page's results of surroundings, sweeps and single deletions.

use crate::protocol::{Event, Request};
use crate::terms::{
    Calibration, Deletion, DeletionReport, Evaluation, FailureKind, ModelRef, Pruning, Replacement, SaveOrder, SurroundingsReport,
    SweepPoint,
};
use crate::ui::state::part::Part;
use crate::ui::state::queue::Running;

/// Quantiles of a layer's loss proxies that single deletions are drawn from, as in the authors' code.
pub(super) const N_QUANTILES: usize = 8;

/// The part of the state behind the section "Compare", and the halo of a core in the section "Weigh".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ComparisonState {
    /// Surroundings of the core of one layer or several.
    pub surroundings: Option<SurroundingsReport>,
    /// Removals that were measured with the current scores, whichever comparison requested them.
    pub sweep: Vec<SweepPoint>,
    /// Length of `sweep` when the current sweep began.
    sweep_begins_at: usize,
    /// Channels removed one at a time, as their results arrive.
    pub deletions: Vec<Deletion>,
    pub deletion_report: Option<DeletionReport>,
    /// Seed of the draw of `deletions`, and the value that replaced each channel.
    deletion_seed: u64,
    deletion_replacement: Replacement,
}

impl ComparisonState {
    /// Drops every result, because it was measured with outdated scores.
    pub(crate) fn forget(&mut self) {
        (self.surroundings, self.sweep, self.deletions, self.deletion_report) = Default::default();
    }

    /// Returns `true` if a removal was measured with the current scores.
    pub(crate) fn is_measured(&self, pruning: &Pruning) -> bool {
        self.sweep.iter().any(|point| point.pruned.pruning == *pruning)
    }

    /// The single deletions in the command's form, including those of a stopped measurement.
    pub(crate) fn deletions_as_report(
        &self,
        model: ModelRef,
        calibration: Option<Calibration>,
        intact: Evaluation,
    ) -> Option<DeletionReport> {
        let report = self.deletion_report.clone().or_else(|| {
            Some(DeletionReport {
                model,
                calibration: calibration?,
                intact,
                n_quantiles: N_QUANTILES,
                seed: self.deletion_seed,
                replacement: self.deletion_replacement,
                deletions: self.deletions.clone(),
                correlations: Vec::new(),
            })
        });
        report.filter(|report| !report.deletions.is_empty())
    }
}

impl Part for ComparisonState {
    fn reduce(&mut self, event: &Event) {
        match event {
            Event::Surrounded(report) => self.surroundings = Some(report.clone()),
            Event::SweepPoint(point) => self.sweep.push(point.clone()),
            Event::Deletion(deletion) => self.deletions.push(*deletion),
            Event::Deleted(report) => {
                self.deletions.clone_from(&report.deletions);
                self.deletion_report = Some(report.clone());
            }
            _ => {}
        }
    }

    /// Clears earlier results when a measurement begins, not when it is requested, because a waiting request may be
    /// stopped.
    fn begins(&mut self, request: &Request) {
        match *request {
            Request::Sweep { .. } => self.sweep_begins_at = self.sweep.len(),
            Request::Delete { seed, replacement, .. } => {
                self.deletions.clear();
                (self.deletion_report, self.deletion_seed, self.deletion_replacement) = (None, seed, replacement);
            }
            _ => {}
        }
    }

    /// Drops the figures of a faulty device, but keeps those of earlier requests.
    fn fails(&mut self, over: &Running, kind: FailureKind) {
        match over.request {
            _ if kind != FailureKind::Device => {}
            Request::Sweep { .. } => self.sweep.truncate(self.sweep_begins_at),
            Request::Delete { .. } => self.deletions.clear(),
            _ => {}
        }
    }

    fn forget_model(&mut self) {
        self.forget();
    }
}

/// Returns `true` for requests that pick channels by scores, which the engine refuses without scores.
pub(crate) fn needs_scores(request: &Request) -> bool {
    match request {
        Request::Apply { ablation } | Request::Save(SaveOrder { ablation, .. }) => ablation.pruning.is_some(),
        Request::Surround { .. } | Request::Sweep { .. } | Request::Delete { .. } => true,
        _ => false,
    }
}

/// Returns `true` if two scorings used the same tokens, whatever number of sequences was requested.
pub(crate) fn is_same(a: &Calibration, b: &Calibration) -> bool {
    a.convention == b.convention && a.text_digest == b.text_digest && (a.length, a.n_sequences) == (b.length, b.n_sequences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{Comparison, Pruned};
    use crate::ui::state::samples::{answer, failure, loaded, tell};
    use crate::ui::state::scores::tests::{calibration, report};

    fn point(pruning: Pruning) -> SweepPoint {
        let evaluation = Evaluation { loss_nats: 3.0, perplexity: 20.0, stopword_mass: 0.1, n_tokens: 9, convention: "h".into() };
        SweepPoint { pruned: Pruned::of(pruning, calibration(1), &[]), evaluation }
    }

    #[test]
    fn comparison_goes_on_where_it_was_stopped() {
        let mut state = loaded();
        state.scores.engine_calibration = Some(calibration(1));
        let all = Comparison::Removal.prunings(Replacement::Zero);
        for pruning in &all[..5] {
            tell(&mut state, Event::SweepPoint(point(*pruning)));
        }
        state.compare(Comparison::Removal, Replacement::Zero);
        let asked = state.next_message().unwrap().request;
        assert_eq!(asked, Request::Sweep { prunings: all[5..].to_vec() });
    }

    #[test]
    fn requests_that_pick_by_scores_wait_for_them() {
        let mut state = loaded();
        state.delete_channels(8, Replacement::Zero);
        assert!(matches!(state.next_message().unwrap().request, Request::Score { .. }));
    }

    fn scored(n_sequences: usize) -> Event {
        Event::Scored(report(calibration(n_sequences)))
    }

    #[test]
    fn other_scores_begin_other_comparisons() {
        let mut state = loaded();
        tell(&mut state, scored(2));
        tell(&mut state, Event::SweepPoint(point(Comparison::Pruning.prunings(Replacement::Zero)[0])));
        tell(&mut state, scored(2));
        assert_eq!(state.comparisons.sweep.len(), 1, "the same scores");
        tell(&mut state, scored(3));
        assert_eq!(state.comparisons.sweep.len(), 0, "other scores");
    }

    #[test]
    fn removals_to_measure_are_decided_when_their_turn_comes() {
        let mut state = loaded();
        tell(&mut state, scored(2));
        let all = Comparison::Removal.prunings(Replacement::Zero);
        state.comparisons.sweep.push(point(all[0]));
        // A new engine has no scores, and its scores will differ, so the point is dropped and measured again.
        state.scores.engine_calibration = None;
        state.compare(Comparison::Removal, Replacement::Zero);
        assert!(matches!(state.next_message().unwrap().request, Request::Score { .. }));
        answer(&mut state, scored(3));
        answer(&mut state, Event::Done);
        assert_eq!(state.next_message().unwrap().request, Request::Sweep { prunings: all });
    }

    #[test]
    fn single_deletions_stay_until_others_begin_and_keep_their_seed() {
        let mut state = loaded();
        tell(&mut state, scored(2));
        state.panes.intact_evaluation = Some(point(Comparison::Removal.prunings(Replacement::Zero)[0]).evaluation);
        let deletion = Deletion { layer: 0, channel: 1, loss_proxy: 0.5, quantile: 0, delta_nats: 0.1 };
        state.panes.sampling.seed = 5;
        state.delete_channels(2, Replacement::Zero);
        state.next_message().unwrap();
        tell(&mut state, Event::Deletion(deletion));
        state.panes.sampling.seed = 6;
        state.delete_channels(4, Replacement::Mean);
        let (_, kept) = state.comparison_reports();
        assert_eq!(kept.map(|report| (report.seed, report.deletions)), Some((5, vec![deletion])));
        state.queue.finish(None);
        state.next_message().unwrap();
        assert_eq!((state.comparisons.deletions.len(), state.comparisons.deletion_seed), (0, 6));
    }

    #[test]
    fn faulty_device_takes_only_its_own_figures() {
        let mut state = loaded();
        state.scores.engine_calibration = Some(calibration(1));
        let all = Comparison::Removal.prunings(Replacement::Zero);
        state.comparisons.sweep.push(point(all[0]));
        state.compare(Comparison::Removal, Replacement::Zero);
        state.next_message().unwrap();
        answer(&mut state, Event::SweepPoint(point(all[1])));
        assert_eq!(state.comparisons.sweep.len(), 2);
        answer(&mut state, Event::Failed(failure(FailureKind::Device)));
        assert_eq!(state.comparisons.sweep.len(), 1);
    }
}
