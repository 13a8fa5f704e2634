//! What the page asks about removals: surroundings, sweeps and single deletions, and what it keeps of them.

use super::compare_plan::Experiment;
use super::state::AppState;
use crate::protocol::Request;
use crate::terms::{Calibration, Replacement, Selection};

/// Quantiles of a layer's loss proxies that single deletions are drawn from, as the authors do.
const N_QUANTILES: usize = 8;

impl AppState {
    /// Looks around the core of a layer, sized as in this selection.
    pub fn surround(&mut self, selection: &Selection, layer: usize, redundancy: bool) {
        self.failure = None;
        let Selection { rho, eta, support, .. } = *selection;
        self.queue.push(Request::Surround { rho, eta, support, layer: Some(layer), redundancy });
    }

    /// Measures what of an experiment is not known yet.
    pub fn compare(&mut self, experiment: Experiment, replacement: Replacement) {
        self.failure = None;
        let mut prunings = experiment.prunings(replacement);
        prunings.retain(|pruning| !self.sweep.iter().any(|point| point.pruned.pruning == *pruning));
        if !prunings.is_empty() {
            self.queue.push(Request::Sweep { prunings });
        }
    }

    /// Removes single channels, `per_layer` of every layer.
    pub fn delete_channels(&mut self, per_layer: usize) {
        (self.failure, self.deletion_report) = (None, None);
        self.deletions.clear();
        self.queue.push(Request::Delete { per_layer, n_quantiles: N_QUANTILES, layer: None, seed: self.sampling.seed });
    }

    /// What was measured with other scores does not stand beside what these will give.
    pub(super) fn forget_comparisons_of_others(&mut self, calibration: &Calibration) {
        if self.scores.as_ref().is_some_and(|scores| scores.calibration != *calibration) {
            self.forget_comparisons();
        }
    }

    pub(super) fn forget_comparisons(&mut self) {
        (self.surroundings, self.sweep, self.deletions, self.deletion_report) = Default::default();
    }
}

/// Requests that pick channels by scores, and are refused without.
pub(super) fn needs_scores(request: &Request) -> bool {
    match request {
        Request::Apply { ablation } => ablation.pruning.is_some(),
        Request::Surround { .. } | Request::Sweep { .. } | Request::Delete { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::loaded;
    use super::*;
    use crate::protocol::{Event, EventEnvelope};
    use crate::terms::{Evaluation, Pruned, Pruning, SweepPoint};

    fn calibration(n_sequences: usize) -> Calibration {
        Calibration {
            convention: "c".into(),
            text_digest: String::new(),
            length: 8,
            n_sequences,
            n_requested: n_sequences,
            n_tokens: 8 * n_sequences,
            loss_nats: 3.0,
        }
    }

    fn point(pruning: Pruning) -> SweepPoint {
        let evaluation = Evaluation { loss_nats: 3.0, perplexity: 20.0, stopword_mass: 0.1, n_tokens: 9, convention: "h".into() };
        SweepPoint { pruned: Pruned::of(pruning, calibration(1), &[]), evaluation }
    }

    #[test]
    fn an_experiment_goes_on_where_it_was_stopped() {
        let mut state = loaded();
        state.engine_calibration = Some(calibration(1));
        let all = Experiment::Removal.prunings(Replacement::Zero);
        for pruning in &all[..5] {
            state.apply(EventEnvelope { id: Some(7), event: Event::SweepPoint(point(*pruning)) });
        }
        state.compare(Experiment::Removal, Replacement::Zero);
        let asked = state.next_message().unwrap().request;
        assert_eq!(asked, Request::Sweep { prunings: all[5..].to_vec() });
    }

    #[test]
    fn whatever_picks_by_scores_waits_for_them() {
        let mut state = loaded();
        state.delete_channels(8);
        assert!(matches!(state.next_message().unwrap().request, Request::Score { .. }));
    }

    #[test]
    fn other_scores_begin_other_comparisons() {
        let mut state = loaded();
        state.sweep.push(point(Experiment::Pruning.prunings(Replacement::Zero)[0]));
        state.forget_comparisons_of_others(&calibration(1));
        assert_eq!(state.sweep.len(), 1, "there were no scores that it could be of");
    }
}
