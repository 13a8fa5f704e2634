//! Requests for surroundings, sweeps and single deletions, and the results that the page keeps of them.

use crate::protocol::Request;
use crate::terms::{Calibration, Comparison, DeletionReport, Replacement, Selection, SweepReport};
use crate::ui::state::AppState;

/// Quantiles of a layer's loss proxies that single deletions are drawn from, as the authors do.
const N_QUANTILES: usize = 8;

impl AppState {
    /// Requests the surroundings of a layer's core, sized as in this selection.
    pub fn surround(&mut self, selection: &Selection, layer: usize, redundancy: bool) {
        self.failure = None;
        let Selection { rho, eta, support, .. } = *selection;
        self.queue.push(Request::Surround { rho, eta, support, layer: Some(layer), redundancy });
    }

    /// Measures what of a comparison is not known by then.
    pub fn compare(&mut self, comparison: Comparison, replacement: Replacement) {
        self.failure = None;
        self.queue.push(Request::Sweep { prunings: comparison.prunings(replacement) });
    }

    /// Drops removals from the next sweep if they were measured before with the present scores.
    pub(crate) fn skip_measured(&mut self) {
        let Some(Request::Sweep { prunings }) = self.queue.upcoming_mut() else { return };
        prunings.retain(|pruning| !self.sweep.iter().any(|point| point.pruned.pruning == *pruning));
        if prunings.is_empty() {
            self.queue.drop_upcoming();
        }
    }

    /// Clears earlier results when a measurement begins, not when it is requested, because a waiting request may be
    /// stopped.
    pub(crate) fn comparison_begins(&mut self, request: &Request) {
        match *request {
            Request::Sweep { .. } => self.sweep_begins_at = self.sweep.len(),
            Request::Delete { seed, replacement, .. } => {
                self.deletions.clear();
                (self.deletion_report, self.deletion_seed, self.deletion_replacement) = (None, seed, replacement);
            }
            _ => {}
        }
    }

    /// Removes single channels, `per_layer` of every layer.
    pub fn delete_channels(&mut self, per_layer: usize, replacement: Replacement) {
        self.failure = None;
        self.queue.push(Request::Delete { per_layer, n_quantiles: N_QUANTILES, layer: None, seed: self.sampling.seed, replacement });
    }

    /// Drops results measured with other scores, which cannot stand beside new ones.
    pub(crate) fn forget_comparisons_of_others(&mut self, calibration: &Calibration) {
        if self.scores.as_ref().is_some_and(|scores| !is_same(&scores.calibration, calibration)) {
            self.forget_comparisons();
        }
    }

    /// Drops the figures of a faulty device, and keeps those of earlier requests.
    pub(crate) fn disown_comparison(&mut self, request: &Request) {
        match request {
            Request::Sweep { .. } => self.sweep.truncate(self.sweep_begins_at),
            Request::Delete { .. } => self.deletions.clear(),
            _ => {}
        }
    }

    /// The measured removals as the command would write them, including those of a stopped measurement.
    pub fn comparisons(&self) -> (Option<SweepReport>, Option<DeletionReport>) {
        let (Some(info), Some(intact)) = (&self.info, &self.intact_evaluation) else { return (None, None) };
        let (model, intact) = (info.model.clone(), intact.clone());
        let sweep = SweepReport { model: model.clone(), intact: intact.clone(), points: self.sweep.clone() };
        let deletions = self.deletion_report.clone().or_else(|| {
            let calibration = self.scores.as_ref()?.calibration.clone();
            let (n_quantiles, seed) = (N_QUANTILES, self.deletion_seed);
            Some(DeletionReport {
                model,
                calibration,
                intact,
                n_quantiles,
                seed,
                replacement: self.deletion_replacement,
                deletions: self.deletions.clone(),
                correlations: Vec::new(),
            })
        });
        (Some(sweep).filter(|sweep| !sweep.points.is_empty()), deletions.filter(|report| !report.deletions.is_empty()))
    }

    pub(crate) fn forget_comparisons(&mut self) {
        (self.surroundings, self.sweep, self.deletions, self.deletion_report) = Default::default();
    }
}

/// Returns `true` for requests that pick channels by scores, which the engine refuses without scores.
pub(crate) fn needs_scores(request: &Request) -> bool {
    match request {
        Request::Apply { ablation } => ablation.pruning.is_some(),
        Request::Surround { .. } | Request::Sweep { .. } | Request::Delete { .. } => true,
        _ => false,
    }
}

/// Returns `true` if two scorings are of the same tokens, however many sequences were asked for.
fn is_same(a: &Calibration, b: &Calibration) -> bool {
    a.convention == b.convention && a.text_digest == b.text_digest && (a.length, a.n_sequences) == (b.length, b.n_sequences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Event, EventEnvelope};
    use crate::terms::{Deletion, Evaluation, Pruned, Pruning, SweepPoint};
    use crate::ui::state::channels::tests::{calibration, report};
    use crate::ui::state::tests::loaded;

    fn point(pruning: Pruning) -> SweepPoint {
        let evaluation = Evaluation { loss_nats: 3.0, perplexity: 20.0, stopword_mass: 0.1, n_tokens: 9, convention: "h".into() };
        SweepPoint { pruned: Pruned::of(pruning, calibration(1), &[]), evaluation }
    }

    #[test]
    fn an_experiment_goes_on_where_it_was_stopped() {
        let mut state = loaded();
        state.engine_calibration = Some(calibration(1));
        let all = Comparison::Removal.prunings(Replacement::Zero);
        for pruning in &all[..5] {
            state.apply(EventEnvelope { id: Some(7), event: Event::SweepPoint(point(*pruning)) });
        }
        state.compare(Comparison::Removal, Replacement::Zero);
        let asked = state.next_message().unwrap().request;
        assert_eq!(asked, Request::Sweep { prunings: all[5..].to_vec() });
    }

    #[test]
    fn whatever_picks_by_scores_waits_for_them() {
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
        let tell = |state: &mut AppState, event| state.apply(EventEnvelope { id: None, event });
        tell(&mut state, scored(2));
        tell(&mut state, Event::SweepPoint(point(Comparison::Pruning.prunings(Replacement::Zero)[0])));
        tell(&mut state, scored(2));
        assert_eq!(state.sweep.len(), 1, "the same scores");
        tell(&mut state, scored(3));
        assert_eq!(state.sweep.len(), 0, "other scores");
    }

    #[test]
    fn what_is_measured_is_decided_when_its_turn_comes() {
        let mut state = loaded();
        state.apply(EventEnvelope { id: None, event: scored(2) });
        let all = Comparison::Removal.prunings(Replacement::Zero);
        state.sweep.push(point(all[0]));
        // A fresh engine has no scores, and the new ones differ: the point is dropped, and measured again.
        state.engine_calibration = None;
        state.compare(Comparison::Removal, Replacement::Zero);
        assert!(matches!(state.next_message().unwrap().request, Request::Score { .. }));
        let id = state.queue.running.as_ref().map(|running| running.id);
        state.apply(EventEnvelope { id, event: scored(3) });
        state.apply(EventEnvelope { id, event: Event::Done });
        assert_eq!(state.next_message().unwrap().request, Request::Sweep { prunings: all });
    }

    #[test]
    fn single_deletions_stay_until_others_begin_and_keep_their_seed() {
        let mut state = loaded();
        state.apply(EventEnvelope { id: None, event: scored(2) });
        state.intact_evaluation = Some(point(Comparison::Removal.prunings(Replacement::Zero)[0]).evaluation);
        let deletion = Deletion { layer: 0, channel: 1, loss_proxy: 0.5, quantile: 0, delta_nats: 0.1 };
        state.sampling.seed = 5;
        state.delete_channels(2, Replacement::Zero);
        state.next_message().unwrap();
        state.apply(EventEnvelope { id: None, event: Event::Deletion(deletion) });
        state.sampling.seed = 6;
        state.delete_channels(4, Replacement::Mean);
        let (_, kept) = state.comparisons();
        assert_eq!(kept.map(|report| (report.seed, report.deletions)), Some((5, vec![deletion])));
        state.queue.finish(None);
        state.next_message().unwrap();
        assert_eq!((state.deletions.len(), state.deletion_seed), (0, 6));
    }

    #[test]
    fn a_faulty_device_takes_only_its_own_figures() {
        let mut state = loaded();
        state.engine_calibration = Some(calibration(1));
        let all = Comparison::Removal.prunings(Replacement::Zero);
        state.sweep.push(point(all[0]));
        state.compare(Comparison::Removal, Replacement::Zero);
        let request = state.next_message().unwrap().request;
        state.sweep.push(point(all[1]));
        state.disown_comparison(&request);
        assert_eq!(state.sweep.len(), 1);
    }
}
