use super::*;
use crate::protocol::BackendChoice;
use crate::terms::ModelSource;
use crate::terms::{
    BackendInfo, Candidate, EditTarget, Finish, Generated, ModelFile, ModelRef, Provenance, RunSetup, WeightCoord, outcome_digest,
};
use crate::ui::state::edits::Origin;

pub(crate) fn info() -> ModelInfo {
    ModelInfo {
        model: ModelRef { id: "linchpin-13m".into(), revision: "0123456789abcdef".into() },
        architecture: "LlamaForCausalLM".into(),
        num_parameters: 13_180_000,
        num_hidden_layers: 20,
        hidden_size: 256,
        intermediate_size: 448.into(),
        vocab_size: 4096,
        max_position_embeddings: 512,
        weight_bytes: 26_000_000,
        backend: BackendInfo { kind: "cpu".into(), name: "flex".into(), reason: "no adapter".into() },
        sampling: Sampling::default(),
        provenance: Provenance::default(),
    }
}

pub(crate) fn candidate(layer: usize, row: usize, col: usize) -> Candidate {
    Candidate {
        at: WeightCoord::new(layer, row, col),
        weight: 0.3,
        input: 80.0,
        output: 24.0,
        token: 0,
        ratio: 50.0,
        share: 1.0,
        iteration: 0,
    }
}

pub(crate) fn generated(ids: &[u32]) -> Generated {
    Generated {
        token_ids: ids.to_vec(),
        text: String::new(),
        repetition: 0.0,
        stopword_mass: 0.3,
        tokens_per_sec: 9.0,
        finish: Finish::Length,
    }
}

pub(crate) fn run(intact: &[u32], ablated: &[u32]) -> RunRecord {
    RunRecord {
        setup: RunSetup { model: info().model, prompt: "p".into(), sampling: Sampling::default(), ablation: Ablation::default() },
        backend: info().backend,
        intact: generated(intact),
        ablated: generated(ablated),
        first_difference: None,
        pruned: None,
        digest: outcome_digest(intact, ablated),
    }
}

fn evaluation(loss_nats: f32) -> Evaluation {
    Evaluation { loss_nats, perplexity: loss_nats.exp(), stopword_mass: 0.4, n_tokens: 100, convention: "c".into() }
}

pub(crate) fn source(id: &str) -> Source {
    let files = vec![ModelFile { name: "config.json".into(), url: format!("models/{id}/config.json") }];
    Source { id: id.into(), title: format!("The {id}"), from: ModelSource::Files(files), backend: BackendChoice::Auto }
}

pub(crate) fn failure(kind: FailureKind) -> Failure {
    Failure { kind, what: "w".into(), why: "y".into(), next_step: "n".into() }
}

/// Hands the engine's answer to the running request.
pub(crate) fn answer(state: &mut AppState, event: Event) {
    let id = state.queue.running.as_ref().map(|running| running.id);
    state.apply(EventEnvelope { id, event });
}

pub(crate) fn loaded() -> AppState {
    let mut state = AppState::default();
    state.load(source("linchpin-13m"));
    assert_eq!(state.next_message(), None, "the worker is not ready");
    state.apply(EventEnvelope { id: None, event: Event::Ready { protocol_version: PROTOCOL_VERSION } });
    assert!(matches!(state.next_message().unwrap().request, Request::Load { .. }));
    answer(&mut state, Event::Loaded(info()));
    answer(&mut state, Event::Done);
    state
}

pub(crate) fn pull(state: &mut AppState) -> Option<Envelope> {
    state.edits.add(EditTarget::scalar(2, 12, 86), 0.0, true, Origin::Hand, &info()).unwrap();
    state.edits_changed()
}

#[test]
fn edits_are_in_place_before_text_is_made() {
    let mut state = loaded();
    pull(&mut state);
    state.generate();
    let Request::Apply { ablation } = state.next_message().unwrap().request else { panic!() };
    answer(&mut state, Event::Applied { ablation, took_ms: 1.0, pruned: None });
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
    answer(&mut state, Event::Applied { ablation, took_ms: 1.0, pruned: None });
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

#[test]
fn a_failed_request_leaves_the_page_usable() {
    let mut state = loaded();
    state.scan();
    state.next_message();
    answer(&mut state, Event::Failed(failure(FailureKind::Input)));
    assert_eq!(state.failure, Some(failure(FailureKind::Input)));
    state.scan();
    assert!(state.next_message().is_some());
}

#[test]
fn what_a_faulty_device_wrote_is_not_shown() {
    let mut state = loaded();
    state.generate();
    state.next_message();
    answer(&mut state, Event::Token { pane: Pane::Intact, index: 0, token_id: 5, text: " garbage".into() });
    answer(&mut state, Event::Failed(failure(FailureKind::Device)));
    assert_eq!((&state.intact, state.shown_prompt.as_str()), (&PaneText::default(), ""));
}

/// A state whose engine is generating, with one token in each pane.
pub(crate) fn writing() -> AppState {
    let mut state = loaded();
    state.prompt = "Once".into();
    state.generate();
    state.next_message();
    token(&mut state, Pane::Intact, 0, 5);
    token(&mut state, Pane::Ablated, 0, 5);
    state
}

fn token(state: &mut AppState, pane: Pane, index: usize, token_id: u32) {
    answer(state, Event::Token { pane, index, token_id, text: format!(" {token_id}") });
}

/// The engine's report that the running generation ended.
fn ends(state: &mut AppState, run: RunRecord) {
    answer(state, Event::PaneDone { pane: Pane::Intact, generated: run.intact.clone() });
    answer(state, Event::PaneDone { pane: Pane::Ablated, generated: run.ablated.clone() });
    answer(state, Event::Generated(run));
    answer(state, Event::Done);
}

pub(crate) fn stopped(mut run: RunRecord) -> RunRecord {
    (run.intact.finish, run.ablated.finish) = (Finish::Stopped, Finish::Stopped);
    run
}

#[test]
fn a_stopped_text_starts_no_measurement() {
    let mut state = writing();
    assert_eq!(state.stop().unwrap().request, Request::Stop);
    ends(&mut state, stopped(run(&[5], &[5])));
    assert_eq!(state.next_message(), None);
}

#[test]
fn a_pane_that_was_stopped_a_token_earlier_is_no_difference() {
    let mut state = writing();
    token(&mut state, Pane::Intact, 1, 6);
    state.stop();
    ends(&mut state, stopped(run(&[5, 6], &[5])));
    assert_eq!((state.first_difference(), state.is_whole()), (None, false));
    let mut state = writing();
    token(&mut state, Pane::Intact, 1, 6);
    ends(&mut state, run(&[5, 6], &[5]));
    assert_eq!(state.first_difference(), Some(1), "one that ended by itself is");
}

#[test]
fn a_refused_request_leaves_the_text_before_it() {
    let mut state = writing();
    ends(&mut state, run(&[5], &[5]));
    let before = (state.intact.clone(), state.ablated.clone(), state.run.clone(), state.shown_prompt.clone());
    assert_eq!((before.0.ids.len(), before.3.as_str()), (1, "Once"));
    answer(&mut state, Event::Done);
    state.queue.clear_waiting();
    for kind in [FailureKind::Input, FailureKind::Device] {
        state.prompt = "Twice".into();
        state.generate();
        assert!(matches!(state.next_message().unwrap().request, Request::Generate { .. }));
        answer(&mut state, Event::Failed(failure(kind)));
        assert_eq!((&state.intact, &state.ablated, &state.run, &state.shown_prompt), (&before.0, &before.1, &before.2, &before.3));
    }
    state.generate();
    state.next_message();
    token(&mut state, Pane::Ablated, 0, 9);
    assert_eq!((state.shown_prompt.as_str(), state.intact.ids.len(), &state.ablated.ids[..], &state.run), ("Twice", 0, &[9][..], &None));
}

#[test]
fn an_edit_before_the_first_token_does_not_lose_the_text() {
    let mut state = loaded();
    state.live = true;
    state.prompt = "Once".into();
    state.generate();
    state.next_message();
    assert_eq!(pull(&mut state).unwrap().request, Request::Stop);
    answer(&mut state, Event::Stopped);
    assert!(matches!(state.next_message().unwrap().request, Request::Apply { .. }));
    answer(&mut state, Event::Done);
    assert!(matches!(state.next_message().unwrap().request, Request::Generate { .. }));
}

fn asked_for(state: &mut AppState) -> String {
    let Some(Envelope { request: Request::Load { id, .. }, .. }) = state.next_message() else { panic!() };
    id
}

#[test]
fn a_model_that_fails_to_load_does_not_take_the_place_of_the_one_that_works() {
    let mut state = loaded();
    assert_eq!(state.source, Some(source("linchpin-13m")));
    state.load(source("broken"));
    assert_eq!(asked_for(&mut state), "broken");
    answer(&mut state, Event::Failed(failure(FailureKind::Model)));
    assert_eq!(state.source, Some(source("linchpin-13m")));
    state.engine_restarts();
    state.apply(EventEnvelope { id: None, event: Event::Ready { protocol_version: PROTOCOL_VERSION } });
    assert_eq!(asked_for(&mut state), "linchpin-13m");
}

#[test]
fn without_a_model_that_works_a_restart_asks_again_for_the_one_that_was_wanted() {
    let mut state = AppState::default();
    state.load(source("first"));
    state.engine_died("The engine stopped", "why");
    state.engine_restarts();
    state.apply(EventEnvelope { id: None, event: Event::Ready { protocol_version: PROTOCOL_VERSION } });
    assert_eq!(asked_for(&mut state), "first");
}

#[test]
fn a_model_that_came_although_another_was_chosen_since_has_its_own_name() {
    let mut state = loaded();
    state.load(source("linchpin-11m-twin"));
    state.next_message();
    state.load(source("third"));
    answer(&mut state, Event::Loaded(info()));
    assert_eq!(state.source.as_ref().map(|source| source.id.as_str()), Some("linchpin-11m-twin"));
    answer(&mut state, Event::Done);
    assert_eq!(asked_for(&mut state), "third");
}

#[test]
fn the_reason_of_a_panic_outlives_the_trap_behind_it() {
    let mut state = writing();
    let panic = Failure { why: "index out of bounds".into(), ..failure(FailureKind::Internal) };
    state.apply(EventEnvelope { id: None, event: Event::Failed(panic) });
    state.engine_died("The engine stopped", "RuntimeError: unreachable");
    let shown = state.failure.clone().unwrap();
    assert_eq!((shown.what.as_str(), shown.why.as_str()), ("w", "index out of bounds"));
    assert!(shown.next_step.contains("Restart engine"));
    state.failure = Some(failure(FailureKind::Input));
    state.engine_died("The engine stopped", "it was killed");
    assert_eq!(state.failure.unwrap().why, "it was killed", "a prompt that was refused has not killed it");
}

#[test]
fn a_failure_or_a_stop_leaves_the_model_that_was_just_chosen() {
    let mut state = writing();
    state.load(source("next"));
    state.queue.push(Request::Evaluate);
    answer(&mut state, Event::Failed(failure(FailureKind::Input)));
    assert_eq!(asked_for(&mut state), "next");
    assert_eq!(state.next_message(), None);
    let mut state = writing();
    state.load(source("next"));
    state.stop();
    answer(&mut state, Event::Stopped);
    assert_eq!(asked_for(&mut state), "next");
    answer(&mut state, Event::Done);
    assert_eq!(state.next_message(), None);
}

#[test]
fn a_dead_engine_is_started_for_a_model_that_is_asked_for() {
    let mut state = loaded();
    state.engine_died("The engine stopped", "why");
    assert!(state.engine.needs_start() && EngineStatus::Off.needs_start());
    assert!(!EngineStatus::Starting.needs_start() && !EngineStatus::Ready.needs_start());
    state.engine = EngineStatus::Starting;
    state.load(source("linchpin-13m"));
    state.apply(EventEnvelope { id: None, event: Event::Ready { protocol_version: PROTOCOL_VERSION } });
    assert_eq!((asked_for(&mut state).as_str(), &state.failure), ("linchpin-13m", &None));
}
