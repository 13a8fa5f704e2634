use super::*;
use crate::terms::{Ablation, Failure, Pick, Problem, Pruned, Pruning, Ranking, ScanReport, Selection};
use crate::ui::state::AppState;
use crate::ui::state::edits::check_pruning;
use crate::ui::state::samples::{answer, candidate, failure, info, loaded, other_info, pull, run, source, starts};

pub(crate) fn pruning() -> Pruning {
    let pick = Pick::Lowest { by: Ranking::Protected, share: 0.2 };
    Pruning { selection: Selection::new(pick), replacement: Default::default() }
}

pub(crate) fn calibration(n_sequences: usize) -> Calibration {
    Calibration {
        convention: "c".into(),
        text_digest: "00112233445566aa".into(),
        length: 512,
        n_sequences,
        n_requested: 64,
        n_tokens: 512 * n_sequences,
        loss_nats: 3.5,
    }
}

pub(crate) fn report(calibration: Calibration) -> ScoreReport {
    ScoreReport {
        model: info().model,
        calibration,
        rhos: Vec::new(),
        core_sizes: Vec::new(),
        concentration: Vec::new(),
        summary: Vec::new(),
        supernodes: Vec::new(),
        overlaps: Vec::new(),
        super_weights: Vec::new(),
        channels: Vec::new(),
    }
}

/// The engine's answer to the pruning of [`pruning`].
pub(crate) fn applied(ablation: Ablation, calibration: Calibration, channels: &[Vec<usize>]) -> Event {
    let pruned = ablation.pruning.map(|pruning| Pruned::of(pruning, calibration, channels));
    Event::Applied { ablation, took_ms: 1.0, pruned }
}

fn next(state: &mut AppState) -> Request {
    state.next_message().unwrap().request
}

fn is_score(request: &Request) -> bool {
    matches!(request, Request::Score { .. })
}

/// The visitor switches a pruning on, or off.
fn switch(state: &mut AppState, pruning: Option<Pruning>) {
    state.edits.pruning = pruning;
    state.edits_changed();
}

/// A state whose engine has scored and pruned.
fn pruned() -> AppState {
    let mut state = loaded();
    switch(&mut state, Some(pruning()));
    assert!(is_score(&next(&mut state)));
    answer(&mut state, Event::Scored(report(calibration(64))));
    answer(&mut state, Event::Done);
    apply(&mut state, &[vec![1, 2]]);
    state
}

/// Runs the next pruning, which picks these channels.
fn apply(state: &mut AppState, channels: &[Vec<usize>]) {
    let Request::Apply { ablation } = next(state) else { panic!("{:?}", state.queue) };
    let calibration = state.scores.engine_calibration.clone().unwrap();
    answer(state, applied(ablation, calibration, channels));
    answer(state, Event::Done);
}

#[test]
fn pruning_waits_for_scores_and_text_for_both() {
    let mut state = loaded();
    state.edits.pruning = Some(pruning());
    state.generate();
    let Request::Score { text: None, sequences: 64, length: 512, resume: true, .. } = next(&mut state) else { panic!() };
    answer(&mut state, Event::ScoreProgress(ScoreProgress { calibration: calibration(1), concentration: Vec::new() }));
    assert!(state.scores.progress.is_some());
    answer(&mut state, Event::Scored(report(calibration(64))));
    assert_eq!((state.scores.progress.is_some(), &state.scores.engine_calibration), (false, &Some(calibration(64))));
    answer(&mut state, Event::Done);
    apply(&mut state, &[vec![5]]);
    assert_eq!(state.edits.pruned.as_ref().map(|pruned| pruned.n_channels), Some(1));
    assert!(matches!(next(&mut state), Request::Generate { .. }));
}

#[test]
fn edits_alone_need_no_scores() {
    let mut state = loaded();
    pull(&mut state);
    assert!(matches!(next(&mut state), Request::Apply { .. }));
}

#[test]
fn edits_in_place_are_not_asked_for_again_until_the_scores_change() {
    let mut state = pruned();
    state.apply_edits();
    assert_eq!(state.next_message(), None);
    state.score(false);
    next(&mut state);
    answer(&mut state, Event::Scored(report(calibration(8))));
    answer(&mut state, Event::Done);
    apply(&mut state, &[vec![3]]);
    assert_eq!(state.next_message(), None);
}

#[test]
fn stopped_scoring_leaves_nothing_that_fails_behind_it() {
    let mut state = loaded();
    state.edits.pruning = Some(pruning());
    state.generate();
    assert!(is_score(&next(&mut state)));
    state.stop();
    answer(&mut state, Event::Stopped);
    assert_eq!(state.next_message(), None, "not a pruning without scores");
    state.generate();
    assert!(is_score(&next(&mut state)), "asked again, it is scored again");
    state.stop();
    answer(&mut state, Event::Scored(report(calibration(3))));
    answer(&mut state, Event::Stopped);
    assert_eq!(state.next_message(), None);
    assert_eq!(state.scores.engine_calibration, Some(calibration(3)));
    state.generate();
    apply(&mut state, &[vec![5]]);
}

#[test]
fn pruning_asked_for_while_a_scoring_ends_still_gets_scores() {
    let mut state = loaded();
    state.score(false);
    next(&mut state);
    state.stop();
    switch(&mut state, Some(pruning()));
    answer(&mut state, Event::Stopped);
    assert!(is_score(&next(&mut state)));
}

#[test]
fn failed_scoring_takes_the_pruning_with_it() {
    let mut state = loaded();
    state.edits.pruning = Some(pruning());
    state.generate();
    next(&mut state);
    answer(&mut state, Event::ScoreProgress(ScoreProgress { calibration: calibration(1), concentration: Vec::new() }));
    answer(&mut state, Event::Failed(failure(FailureKind::Input)));
    assert_eq!((state.next_message(), &state.scores.progress), (None, &None));
    assert_eq!(state.failure, Some(failure(FailureKind::Input)));
}

#[test]
fn scores_that_a_failure_may_have_taken_are_not_counted_on() {
    for (kind, kept) in [(FailureKind::Input, true), (FailureKind::Internal, false)] {
        let mut state = pruned();
        state.score(true);
        next(&mut state);
        answer(&mut state, Event::Failed(failure(kind)));
        assert_eq!((state.scores.engine_calibration.is_some(), state.scores.report.is_some()), (kept, true));
    }
}

#[test]
fn restart_keeps_the_scores_on_the_page_and_makes_them_again_for_the_engine() {
    let mut state = pruned();
    state.engine_died(Failure::new(Problem::EngineStopped, "it was killed"));
    assert!(state.scores.report.is_some() && state.edits.pruned.is_none() && state.scores.engine_calibration.is_none());
    state.engine_restarts();
    starts(&mut state);
    assert!(matches!(next(&mut state), Request::Load { .. }));
    answer(&mut state, Event::Loaded(info()));
    answer(&mut state, Event::Done);
    assert!(is_score(&next(&mut state)));
    assert_eq!(state.edits.pruning, Some(pruning()));
}

#[test]
fn another_model_has_neither_scores_nor_pruning() {
    let mut state = pruned();
    state.load(source("other"));
    next(&mut state);
    answer(&mut state, Event::Loaded(other_info()));
    answer(&mut state, Event::Done);
    assert!(state.scores.report.is_none() && state.edits.pruning.is_none() && state.scores.engine_calibration.is_none());
    assert_eq!(state.next_message(), None);
}

#[test]
fn text_and_figures_of_other_channels_are_of_before() {
    let mut state = pruned();
    let of_now = || {
        let mut run = run(&[1], &[2]);
        run.setup.ablation = Ablation::pruning(pruning());
        run.pruned = Some(Pruned::of(pruning(), calibration(64), &[vec![1, 2]]));
        run
    };
    state.queue.push(Request::Evaluate);
    next(&mut state);
    let evaluation = crate::terms::Evaluation { loss_nats: 3.0, perplexity: 20.0, stopword_mass: 0.4, n_tokens: 9, convention: "c".into() };
    answer(&mut state, Event::Evaluated { pane: crate::terms::Pane::Ablated, evaluation });
    answer(&mut state, Event::Done);
    assert!(state.edits.is_current(&of_now()) && state.current_ablated_evaluation().is_some());
    switch(&mut state, None);
    assert!(!state.edits.is_current(&of_now()) && state.current_ablated_evaluation().is_none());
    apply_none(&mut state);
    switch(&mut state, Some(pruning()));
    apply(&mut state, &[vec![1, 3]]);
    assert!(!state.edits.is_current(&of_now()) && state.current_ablated_evaluation().is_none(), "the same rule, other channels");
}

fn apply_none(state: &mut AppState) {
    assert_eq!(next(state), Request::Apply { ablation: Ablation::default() });
    answer(state, Event::Applied { ablation: Ablation::default(), took_ms: 1.0, pruned: None });
    answer(state, Event::Done);
}

#[test]
fn candidates_of_the_scan_are_looked_up_in_the_scores() {
    let mut state = loaded();
    state.scan.report = Some(ScanReport {
        model: info().model,
        prompt: "p".into(),
        tokens: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        candidates: vec![candidate(2, 12, 86)],
        stopped: "no_spike_left".into(),
        outputs_after: Vec::new(),
    });
    state.score(false);
    let Request::Score { super_weights, resume: false, .. } = next(&mut state) else { panic!() };
    assert_eq!(super_weights, [candidate(2, 12, 86).at]);
}

#[test]
fn pruning_is_checked_against_the_model() {
    let with = |change: fn(&mut Selection)| {
        let mut pruning = pruning();
        change(&mut pruning.selection);
        check_pruning(&pruning, &info())
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|selection| selection.layer = Some(20)), Err("This model's layers run from 0 to 19; 20 is not one of them.".into()));
    assert_eq!(with(|selection| selection.support = Some(256)), Ok(()));
    assert!(with(|selection| selection.support = Some(257)).is_err());
    let refused = "The write support K must be from 1 to 256 residual channels; 0 is not.";
    assert_eq!(with(|selection| selection.support = Some(0)), Err(refused.into()));
    assert!(with(|selection| selection.rho = 0.0).is_err());
    assert!(with(|selection| selection.eta = f64::NAN).is_err());
    assert!(with(|selection| selection.pick = Pick::Highest { by: Ranking::Wanda, share: 1.5 }).is_err());
}
