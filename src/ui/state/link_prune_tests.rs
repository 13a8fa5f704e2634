//! Links with removed channels.

use super::*;
use crate::terms::{CalibrationText, FailureKind, Pruned};
use crate::ui::state::AppState;
use crate::ui::state::samples::{answer, failure, loaded, run};
use crate::ui::state::scores::tests::{applied, calibration, pruning, report};

const CHANNELS: &[&[usize]] = &[&[1, 2], &[7]];

/// The calibration that the link's channels were scored with.
fn scored(text_digest: &str) -> Calibration {
    Calibration { text_digest: text_digest.into(), length: 256, ..calibration(16) }
}

/// The run of the link.
fn its(calibration: Calibration, channels: &[&[usize]]) -> RunRecord {
    let channels = channels.iter().map(|of| of.to_vec()).collect::<Vec<_>>();
    let mut run = run(&[1], &[2]);
    run.setup.ablation = Ablation::pruning(pruning());
    run.pruned = Some(Pruned::of(pruning(), calibration, &channels));
    run
}

fn link(text_digest: &str) -> Box<ShareLink> {
    Box::new(ShareLink::from_run(&its(scored(text_digest), CHANNELS)).unwrap())
}

/// A state that a link opened and whose reader pressed "Load and restore".
fn opened(link: Box<ShareLink>) -> AppState {
    let mut state = loaded();
    state.link = LinkState::Held { link, stage: LinkStage::Waiting };
    assert!(state.restore_link());
    state
}

fn bundled() -> AppState {
    opened(link(CalibrationText::BUNDLED_DIGEST))
}

fn stage(state: &AppState) -> &LinkStage {
    match &state.link {
        LinkState::Held { stage, .. } => stage,
        other => panic!("{other:?}"),
    }
}

/// Answers every waiting request, with these scores and channels, and returns the names of the requests.
fn work(state: &mut AppState, calibration: &Calibration, channels: &[&[usize]]) -> Vec<&'static str> {
    let of = channels.iter().map(|of| of.to_vec()).collect::<Vec<_>>();
    let mut asked = Vec::new();
    while let Some(message) = state.next_message() {
        let (name, event) = match message.request {
            Request::Score { sequences, length, .. } => {
                assert_eq!((sequences, length), (16, 256));
                ("score", Event::Scored(report(calibration.clone())))
            }
            Request::Apply { ablation } => ("apply", applied(ablation, state.scores.engine_calibration.clone().unwrap(), &of)),
            Request::Generate { .. } => ("generate", Event::Generated(its(state.scores.engine_calibration.clone().unwrap(), channels))),
            Request::Evaluate => (
                "evaluate",
                Event::Progress(crate::protocol::Progress { doing: "evaluating".into(), done: 0.0, total: 1.0, unit: "tokens".into() }),
            ),
            other => panic!("{other:?}"),
        };
        answer(state, event);
        answer(state, Event::Done);
        asked.push(name);
    }
    asked
}

#[test]
fn pruning_is_restored_with_its_scoring_and_recomputed_by_the_same_scores() {
    let mut state = bundled();
    let calibration = scored(CalibrationText::BUNDLED_DIGEST);
    assert_eq!((stage(&state), state.edits.pruning), (&LinkStage::Restored, Some(pruning())));
    assert_eq!(work(&mut state, &calibration, CHANNELS), ["score", "apply"]);
    state.recompute();
    assert_eq!(work(&mut state, &calibration, CHANNELS), ["generate", "evaluate"]);
    assert_eq!(*stage(&state), LinkStage::Verdict { text: Recomputed::Same, picked: None });
}

#[test]
fn recomputation_scores_again_when_the_engine_was_scored_otherwise() {
    let mut state = bundled();
    let its = scored(CalibrationText::BUNDLED_DIGEST);
    work(&mut state, &its, CHANNELS);
    state.scores.engine_calibration = Some(calibration(64));
    state.scores.setup.sequences = 64;
    state.recompute();
    assert_eq!(work(&mut state, &its, CHANNELS), ["score", "apply", "generate", "evaluate"]);
    assert_eq!(*stage(&state), LinkStage::Verdict { text: Recomputed::Same, picked: None });
}

#[test]
fn recomputation_during_another_scoring_goes_by_its_own() {
    let mut state = bundled();
    let its = scored(CalibrationText::BUNDLED_DIGEST);
    work(&mut state, &its, CHANNELS);
    state.scores.setup.sequences = 64;
    state.score(false);
    assert!(matches!(state.next_message().unwrap().request, Request::Score { sequences: 64, .. }));
    state.recompute();
    answer(&mut state, Event::Scored(report(calibration(64))));
    answer(&mut state, Event::Done);
    assert_eq!(work(&mut state, &its, CHANNELS), ["score", "apply", "generate", "evaluate"]);
    assert_eq!(*stage(&state), LinkStage::Verdict { text: Recomputed::Same, picked: None });
}

#[test]
fn other_channels_by_the_same_rule_are_told() {
    let mut state = bundled();
    state.recompute();
    work(&mut state, &scored(CalibrationText::BUNDLED_DIGEST), &[&[1, 3], &[7]]);
    let LinkStage::Verdict { text: Recomputed::Same, picked: Some(picked) } = stage(&state) else { panic!("{:?}", stage(&state)) };
    assert_ne!(picked.here, picked.there);
    assert_eq!(picked.there, its(calibration(1), CHANNELS).pruned.unwrap().digest);
}

#[test]
fn scores_over_other_tokens_give_no_verdict() {
    let mut state = bundled();
    state.recompute();
    let short = Calibration { n_sequences: 9, ..scored(CalibrationText::BUNDLED_DIGEST) };
    work(&mut state, &short, CHANNELS);
    assert!(matches!(stage(&state), LinkStage::Unjudged(why) if why.contains("over 9 sequences")), "{:?}", stage(&state));
}

#[test]
fn text_of_the_senders_own_has_to_be_chosen_first() {
    let text = CalibrationText { name: "mine".into(), text: "Once\r\nupon a time".into() };
    let mut state = opened(link(&text.digest()));
    assert!(matches!(stage(&state), LinkStage::Unjudged(why) if why.contains(&text.digest())));
    assert_eq!(state.edits.pruning, Some(pruning()));
    assert_eq!(state.next_message(), None, "nothing is scored over another text");
    state.recompute();
    assert!(matches!(stage(&state), LinkStage::Unjudged(_)));
    assert_eq!(state.next_message(), None);
    state.scores.setup.text = Some(text.clone());
    state.recompute();
    assert!(state.queue.any(|request| matches!(request, Request::Score { text: Some(over), .. } if *over == text)));
    assert_eq!(work(&mut state, &scored(&text.digest()), CHANNELS), ["score", "apply", "generate", "evaluate"]);
    assert_eq!(*stage(&state), LinkStage::Verdict { text: Recomputed::Same, picked: None });
}

#[test]
fn bundled_text_takes_the_place_of_one_that_was_chosen() {
    let mut state = loaded();
    state.scores.setup.text = Some(CalibrationText { name: "mine".into(), text: "Once upon a time".into() });
    state.link = LinkState::Held { link: link(CalibrationText::BUNDLED_DIGEST), stage: LinkStage::Waiting };
    state.restore_link();
    assert_eq!(state.scores.setup.text, None);
}

#[test]
fn recomputation_whose_scoring_fails_or_is_stopped_can_be_asked_for_again() {
    let mut state = bundled();
    state.recompute();
    state.next_message();
    answer(&mut state, Event::Failed(failure(FailureKind::Internal)));
    assert_eq!((state.next_message(), stage(&state)), (None, &LinkStage::Restored));
    state.recompute();
    state.next_message();
    state.stop();
    answer(&mut state, Event::Scored(report(scored(CalibrationText::BUNDLED_DIGEST))));
    answer(&mut state, Event::Stopped);
    assert_eq!((state.next_message(), stage(&state)), (None, &LinkStage::Restored));
}

#[test]
fn pruning_that_is_switched_off_during_a_recomputation_ends_it_without_a_verdict() {
    let mut state = bundled();
    state.recompute();
    state.next_message();
    state.edits.pruning = None;
    state.edits_changed();
    answer(&mut state, Event::Scored(report(scored(CalibrationText::BUNDLED_DIGEST))));
    answer(&mut state, Event::Done);
    assert_eq!(*stage(&state), LinkStage::Restored);
}

#[test]
fn pruning_of_another_models_layers_restores_nothing() {
    let mut hostile = link(CalibrationText::BUNDLED_DIGEST);
    hostile.setup.ablation.pruning.as_mut().unwrap().selection.layer = Some(900);
    let state = opened(hostile);
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("900 is not one of them")));
    assert_eq!((state.edits.pruning, state.scores.setup.sequences), (None, 64));
}

#[test]
fn link_without_a_pruning_switches_one_off() {
    let mut state = loaded();
    state.edits.pruning = Some(pruning());
    let plain = ShareLink::from_run(&run(&[1], &[2])).unwrap();
    state.link = LinkState::Held { link: Box::new(plain), stage: LinkStage::Waiting };
    state.restore_link();
    assert_eq!((stage(&state), state.edits.pruning), (&LinkStage::Restored, None));
}
