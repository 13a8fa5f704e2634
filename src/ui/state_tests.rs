use super::*;
use crate::terms::{BackendInfo, Candidate, EditTarget, Finish, ModelRef, RunSetup, WeightCoord, outcome_digest};

pub(crate) fn info() -> ModelInfo {
    ModelInfo {
        model: ModelRef { id: "linchpin-13m".into(), revision: "0123456789abcdef".into() },
        architecture: "LlamaForCausalLM".into(),
        num_parameters: 13_180_000,
        num_hidden_layers: 20,
        hidden_size: 256,
        intermediate_size: 448,
        vocab_size: 4096,
        max_position_embeddings: 512,
        weight_bytes: 26_000_000,
        backend: BackendInfo { kind: "cpu".into(), name: "flex".into(), reason: "no adapter".into() },
        sampling: Sampling::default(),
    }
}

pub(crate) fn candidate(layer: usize, row: usize, col: usize) -> Candidate {
    Candidate {
        at: WeightCoord { layer, row, col },
        weight: 0.3,
        input: 80.0,
        output: 24.0,
        token: 0,
        ratio: 50.0,
        share: 1.0,
        iteration: 0,
    }
}

fn generated(ids: &[u32]) -> Generated {
    Generated {
        token_ids: ids.to_vec(),
        text: String::new(),
        repetition: 0.0,
        stopword_mass: 0.3,
        tokens_per_sec: 9.0,
        finish: Finish::Length,
    }
}

fn run(intact: &[u32], ablated: &[u32]) -> RunRecord {
    RunRecord {
        setup: RunSetup { model: info().model, prompt: "p".into(), sampling: Sampling::default(), ablation: Ablation::default() },
        backend: info().backend,
        intact: generated(intact),
        ablated: generated(ablated),
        first_difference: None,
        digest: outcome_digest(intact, ablated),
    }
}

fn evaluation(loss_nats: f32) -> Evaluation {
    Evaluation { loss_nats, perplexity: loss_nats.exp(), stopword_mass: 0.4, n_tokens: 100, convention: "c".into() }
}

/// Hands the engine's answer to whatever it is working on.
fn answer(state: &mut AppState, event: Event) {
    let id = state.queue.running.as_ref().map(|running| running.id);
    state.apply(EventEnvelope { id, event });
}

fn loaded() -> AppState {
    let mut state = AppState::default();
    state.load(Source { id: "linchpin-13m".into(), title: "t".into(), files: Vec::new(), backend: BackendChoice::Auto });
    assert_eq!(state.next_message(), None, "the worker is not ready");
    state.apply(EventEnvelope { id: None, event: Event::Ready { protocol_version: PROTOCOL_VERSION } });
    assert!(matches!(state.next_message().unwrap().request, Request::Load { .. }));
    answer(&mut state, Event::Loaded(info()));
    answer(&mut state, Event::Done);
    state
}

fn pull(state: &mut AppState) -> Option<Envelope> {
    state.edits.add(EditTarget::Scalar { layer: 2, row: 12, col: 86 }, 0.0, true, Origin::Hand, &info()).unwrap();
    state.edits_changed()
}

#[test]
fn edits_are_in_place_before_text_is_made() {
    let mut state = loaded();
    pull(&mut state);
    state.generate();
    let Request::Apply { ablation } = state.next_message().unwrap().request else { panic!() };
    answer(&mut state, Event::Applied { ablation, took_ms: 1.0 });
    answer(&mut state, Event::Done);
    assert!(matches!(state.next_message().unwrap().request, Request::Generate { .. }));
}

#[test]
fn an_edit_stops_the_text_made_without_it() {
    let mut state = loaded();
    state.generate();
    state.next_message();
    assert_eq!(pull(&mut state).unwrap().request, Request::Stop);
    assert_eq!(state.next_message(), None, "until the engine says that it stopped");
    answer(&mut state, Event::Stopped);
    assert!(matches!(state.next_message().unwrap().request, Request::Apply { .. }));
}

#[test]
fn perplexity_is_measured_after_text_and_forgotten_with_the_edits() {
    let mut state = loaded();
    state.generate();
    state.next_message();
    answer(&mut state, Event::Done);
    assert_eq!(state.next_message().unwrap().request, Request::Evaluate);
    answer(&mut state, Event::Evaluated { pane: Pane::Intact, evaluation: evaluation(3.3) });
    answer(&mut state, Event::Evaluated { pane: Pane::Ablated, evaluation: evaluation(3.3) });
    answer(&mut state, Event::Done);
    assert!(state.current_ablated_evaluation().is_some());
    pull(&mut state);
    assert!(state.current_ablated_evaluation().is_none(), "it was of other edits");
    assert!(state.intact_evaluation.is_some());
}

#[test]
fn tokens_go_to_their_panes_and_the_first_difference_is_seen_while_they_come() {
    let mut state = loaded();
    state.generate();
    state.next_message();
    let token = |state: &mut AppState, pane, index, token_id| {
        answer(state, Event::Token { pane, index, token_id, text: format!(" {token_id}") });
    };
    token(&mut state, Pane::Intact, 0, 5);
    token(&mut state, Pane::Ablated, 0, 5);
    token(&mut state, Pane::Intact, 1, 6);
    assert_eq!(state.first_difference(), None, "one pane being ahead is no difference");
    token(&mut state, Pane::Ablated, 1, 7);
    token(&mut state, Pane::Ablated, 9, 7);
    assert_eq!((state.first_difference(), state.ablated.ids.len()), (Some(1), 2));
    assert_eq!(state.intact.pieces.concat(), " 5 6");
}

#[test]
fn a_crash_keeps_every_result_and_a_restart_loads_the_model_again() {
    let mut state = loaded();
    pull(&mut state);
    let Request::Apply { ablation } = state.next_message().unwrap().request else { panic!() };
    answer(&mut state, Event::Applied { ablation, took_ms: 1.0 });
    answer(&mut state, Event::Done);
    answer(&mut state, Event::Generated(run(&[1], &[2])));
    state.engine_died("The engine stopped", "it was killed");
    assert!(state.run.is_some() && state.failure.is_some());
    assert_eq!(state.next_message(), None);
    state.engine_restarts();
    state.apply(EventEnvelope { id: None, event: Event::Ready { protocol_version: PROTOCOL_VERSION } });
    assert!(matches!(state.next_message().unwrap().request, Request::Load { .. }));
    answer(&mut state, Event::Loaded(info()));
    answer(&mut state, Event::Done);
    assert!(state.run.is_some() && state.edits.rows.len() == 1);
    assert!(matches!(state.next_message().unwrap().request, Request::Apply { .. }), "the edits are put back");
}

#[test]
fn another_model_brings_no_old_results() {
    let mut state = loaded();
    pull(&mut state);
    state.apply(EventEnvelope { id: None, event: Event::Generated(run(&[1], &[2])) });
    let mut other = info();
    other.model.revision = "ffffffffffffffff".into();
    answer(&mut state, Event::Loaded(other));
    assert!(state.run.is_none() && state.edits.rows.is_empty());
}

#[test]
fn an_engine_of_another_version_is_refused() {
    let mut state = AppState::default();
    state.apply(EventEnvelope { id: None, event: Event::Ready { protocol_version: PROTOCOL_VERSION + 1 } });
    assert_eq!(state.engine, EngineStatus::Dead);
    assert!(state.failure.unwrap().next_step.starts_with("Reload the page"));
}

fn link(ids: &[u32], revision: &str) -> Box<ShareLink> {
    let mut run = run(ids, ids);
    run.setup.model.revision = revision.into();
    run.setup.ablation = Ablation::zeroing([WeightCoord { layer: 2, row: 12, col: 86 }]);
    Box::new(ShareLink::from_run(&run))
}

/// A state that a link opened and whose reader pressed "Load and restore".
fn opened(link: Box<ShareLink>) -> AppState {
    let mut state = loaded();
    state.link = LinkState::Held { link, stage: LinkStage::Loading };
    answer(&mut state, Event::Loaded(info()));
    state
}

fn stage(state: &AppState) -> &LinkStage {
    match &state.link {
        LinkState::Held { stage, .. } => stage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_link_is_restored_and_recomputed_only_when_asked() {
    let mut state = opened(link(&[1, 2], "0123456789abcdef"));
    assert_eq!(*stage(&state), LinkStage::Restored);
    assert_eq!(state.edits.rows.len(), 1);
    assert!(!state.queue.any(|request| matches!(request, Request::Generate { .. })));
    state.recompute();
    assert!(state.queue.any(|request| matches!(request, Request::Generate { .. })));
    state.apply(EventEnvelope { id: None, event: Event::Generated(run(&[1, 2], &[1, 3])) });
    assert_eq!(*stage(&state), LinkStage::Verdict(Recomputed::Differs { pane: Pane::Ablated, index: 1 }));
}

#[test]
fn a_link_of_other_weights_restores_nothing() {
    let state = opened(link(&[1, 2], "ffffffffffffffff"));
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("other weights")));
    assert!(state.edits.rows.is_empty());
}

#[test]
fn a_link_with_impossible_coordinates_restores_no_edit() {
    let mut hostile = link(&[1], "0123456789abcdef");
    hostile.setup.ablation = Ablation::zeroing([WeightCoord { layer: 900, row: 0, col: 0 }]);
    let state = opened(hostile);
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("layer 900")));
    assert!(state.edits.rows.is_empty());
}

#[test]
fn a_failed_request_leaves_the_page_usable() {
    let mut state = loaded();
    state.scan();
    state.next_message();
    let failure = Failure { kind: FailureKind::Input, what: "w".into(), why: "y".into(), next_step: "n".into() };
    answer(&mut state, Event::Failed(failure.clone()));
    assert_eq!(state.failure, Some(failure));
    state.scan();
    assert!(state.next_message().is_some());
}

#[test]
fn what_a_faulty_device_wrote_is_not_shown() {
    let mut state = loaded();
    state.generate();
    state.next_message();
    answer(&mut state, Event::Token { pane: Pane::Intact, index: 0, token_id: 5, text: " garbage".into() });
    let failure = Failure { kind: FailureKind::Device, what: "w".into(), why: "y".into(), next_step: "n".into() };
    answer(&mut state, Event::Failed(failure));
    assert_eq!((&state.intact, state.shown_prompt.as_str()), (&PaneText::default(), ""));
}
