use super::*;
use crate::protocol::{Envelope, PROTOCOL_VERSION, Request};
use crate::terms::{Evaluation, Failure, FailureKind, Pane, Problem, RunRecord, Sharing};
use crate::ui::state::panes::PaneText;
pub(crate) use crate::ui::state::samples::*;

fn evaluation(loss_nats: f32) -> Evaluation {
    Evaluation { loss_nats, perplexity: loss_nats.exp(), stopword_mass: 0.4, n_tokens: 100, convention: "c".into() }
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
fn edit_stops_the_text_made_without_it() {
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
    assert!(state.panes.intact_evaluation.is_some());
}

#[test]
fn tokens_go_to_their_panes_and_the_first_difference_is_seen_while_they_come() {
    let mut state = loaded();
    state.generate();
    state.next_message();
    token(&mut state, Pane::Intact, 0, 5);
    token(&mut state, Pane::Ablated, 0, 5);
    token(&mut state, Pane::Intact, 1, 6);
    assert_eq!(state.panes.first_difference(), None, "one pane being ahead is no difference");
    token(&mut state, Pane::Ablated, 1, 7);
    token(&mut state, Pane::Ablated, 9, 7);
    assert_eq!((state.panes.first_difference(), state.panes.ablated.ids.len()), (Some(1), 2));
    assert_eq!(state.panes.intact.pieces.concat(), " 5 6");
}

/// A state whose edit is in place, and whose run is over.
fn pulled_and_run() -> AppState {
    let mut state = loaded();
    pull(&mut state);
    let Request::Apply { ablation } = state.next_message().unwrap().request else { panic!() };
    answer(&mut state, Event::Applied { ablation, took_ms: 1.0, pruned: None });
    answer(&mut state, Event::Done);
    answer(&mut state, Event::Generated(run(&[1], &[2])));
    state
}

#[test]
fn crash_keeps_every_result_and_a_restart_loads_the_model_again() {
    let mut state = pulled_and_run();
    state.engine_died(Failure::new(Problem::EngineStopped, "it was killed"));
    assert!(state.panes.run.is_some() && state.failure.is_some());
    assert_eq!(state.next_message(), None);
    state.engine_restarts();
    starts(&mut state);
    assert!(matches!(state.next_message().unwrap().request, Request::Load { .. }));
    answer(&mut state, Event::Loaded(info()));
    answer(&mut state, Event::Done);
    assert!(state.panes.run.is_some() && state.edits.rows.len() == 1);
    assert!(matches!(state.next_message().unwrap().request, Request::Apply { .. }), "the edits are put back");
}

#[test]
fn another_model_brings_no_old_results() {
    let mut state = loaded();
    pull(&mut state);
    tell(&mut state, Event::Generated(run(&[1], &[2])));
    answer(&mut state, Event::Loaded(other_info()));
    assert!(state.panes.run.is_none() && state.edits.rows.is_empty());
}

#[test]
fn engine_of_another_version_is_refused() {
    let mut state = AppState::default();
    tell(&mut state, Event::Ready { protocol_version: PROTOCOL_VERSION + 1, lock: None });
    assert_eq!(state.engine, EngineStatus::Dead);
    assert_eq!(state.failure.unwrap().problem, Problem::OtherVersion);
}

#[test]
fn failed_request_leaves_the_page_usable() {
    let mut state = loaded();
    state.scan();
    state.next_message();
    answer(&mut state, Event::Failed(failure(FailureKind::Input)));
    assert_eq!(state.failure, Some(failure(FailureKind::Input)));
    state.scan();
    assert!(state.next_message().is_some());
}

#[test]
fn text_of_a_faulty_device_is_not_shown() {
    let mut state = loaded();
    state.generate();
    state.next_message();
    answer(&mut state, Event::Token { pane: Pane::Intact, index: 0, token_id: 5, text: " garbage".into() });
    answer(&mut state, Event::Failed(failure(FailureKind::Device)));
    assert_eq!((&state.panes.intact, state.panes.shown_prompt.as_str()), (&PaneText::default(), ""));
}

/// The engine's report that the running generation ended.
fn ends(state: &mut AppState, run: RunRecord) {
    answer(state, Event::PaneDone { pane: Pane::Intact, generated: run.intact.clone() });
    answer(state, Event::PaneDone { pane: Pane::Ablated, generated: run.ablated.clone() });
    answer(state, Event::Generated(run));
    answer(state, Event::Done);
}

#[test]
fn stopped_text_starts_no_measurement() {
    let mut state = writing();
    assert_eq!(state.stop().unwrap().request, Request::Stop);
    ends(&mut state, stopped(run(&[5], &[5])));
    assert_eq!(state.next_message(), None);
}

#[test]
fn pane_that_was_stopped_a_token_earlier_is_no_difference() {
    let mut state = writing();
    token(&mut state, Pane::Intact, 1, 6);
    state.stop();
    ends(&mut state, stopped(run(&[5, 6], &[5])));
    assert_eq!((state.panes.first_difference(), state.panes.is_whole()), (None, false));
    let mut state = writing();
    token(&mut state, Pane::Intact, 1, 6);
    ends(&mut state, run(&[5, 6], &[5]));
    assert_eq!(state.panes.first_difference(), Some(1), "one that ended by itself is");
}

#[test]
fn refused_request_leaves_the_text_before_it() {
    let mut state = writing();
    ends(&mut state, run(&[5], &[5]));
    let before = (state.panes.intact.clone(), state.panes.ablated.clone(), state.panes.run.clone(), state.panes.shown_prompt.clone());
    assert_eq!((before.0.ids.len(), before.3.as_str()), (1, "Once"));
    answer(&mut state, Event::Done);
    state.queue.clear_waiting();
    for kind in [FailureKind::Input, FailureKind::Device] {
        state.panes.prompt = "Twice".into();
        state.generate();
        assert!(matches!(state.next_message().unwrap().request, Request::Generate { .. }));
        answer(&mut state, Event::Failed(failure(kind)));
        assert_eq!(
            (&state.panes.intact, &state.panes.ablated, &state.panes.run, &state.panes.shown_prompt),
            (&before.0, &before.1, &before.2, &before.3)
        );
    }
    state.generate();
    state.next_message();
    token(&mut state, Pane::Ablated, 0, 9);
    assert_eq!(
        (state.panes.shown_prompt.as_str(), state.panes.intact.ids.len(), &state.panes.ablated.ids[..], &state.panes.run),
        ("Twice", 0, &[9][..], &None)
    );
}

#[test]
fn edit_before_the_first_token_does_not_lose_the_text() {
    let mut state = loaded();
    state.panes.live = true;
    state.panes.prompt = "Once".into();
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
fn model_that_fails_to_load_does_not_take_the_place_of_the_one_that_works() {
    let mut state = loaded();
    assert_eq!(state.model.source, Some(source("linchpin-13m")));
    state.load(source("broken"));
    assert_eq!(asked_for(&mut state), "broken");
    answer(&mut state, Event::Failed(failure(FailureKind::Model)));
    assert_eq!(state.model.source, Some(source("linchpin-13m")));
    state.engine_restarts();
    starts(&mut state);
    assert_eq!(asked_for(&mut state), "linchpin-13m");
}

#[test]
fn restart_without_a_model_that_works_asks_again_for_the_one_that_was_wanted() {
    let mut state = AppState::default();
    state.load(source("first"));
    state.engine_died(Failure::new(Problem::EngineStopped, "why"));
    state.engine_restarts();
    starts(&mut state);
    assert_eq!(asked_for(&mut state), "first");
}

#[test]
fn model_that_came_although_another_was_chosen_since_has_its_own_name() {
    let mut state = loaded();
    state.load(source("linchpin-11m-twin"));
    state.next_message();
    state.load(source("third"));
    answer(&mut state, Event::Loaded(info()));
    assert_eq!(state.model.source.as_ref().map(|source| source.id.as_str()), Some("linchpin-11m-twin"));
    answer(&mut state, Event::Done);
    assert_eq!(asked_for(&mut state), "third");
}

#[test]
fn reason_of_a_panic_outlives_the_trap_behind_it() {
    let mut state = writing();
    let panic = Failure::new(Problem::EngineCrashed, "index out of bounds");
    tell(&mut state, Event::Failed(panic));
    state.engine_died(Failure::new(Problem::EngineStopped, "RuntimeError: unreachable"));
    assert_eq!(state.failure, Some(Failure::new(Problem::EngineCrashed, "index out of bounds")));
    state.failure = Some(failure(FailureKind::Input));
    state.engine_died(Failure::new(Problem::EngineStopped, "it was killed"));
    assert_eq!(state.failure.unwrap().detail, "it was killed", "a prompt that was refused has not killed it");
}

/// Nothing in a browser survives a file that makes its reader panic, as a tokenizer may.
#[test]
fn model_that_ends_the_engine_costs_no_result_of_the_one_before() {
    let mut state = pulled_and_run();
    answer(&mut state, Event::Evaluated { pane: Pane::Intact, evaluation: evaluation(3.3) });
    answer(&mut state, Event::Evaluated { pane: Pane::Ablated, evaluation: evaluation(4.4) });
    answer(&mut state, Event::Done);
    let measured = (state.panes.clone(), state.edits.rows.clone());
    state.load(source("hostile"));
    assert_eq!(asked_for(&mut state), "hostile");
    tell(&mut state, Event::Failed(Failure::new(Problem::EngineCrashed, "bad split")));
    state.engine_died(Failure::new(Problem::EngineStopped, "RuntimeError: unreachable"));
    assert_eq!(state.failure.as_ref().map(|failure| failure.problem), Some(Problem::EngineCrashed));
    state.engine_restarts();
    starts(&mut state);
    assert_eq!(asked_for(&mut state), "linchpin-13m", "the one that works, not the one that ended the engine");
    answer(&mut state, Event::Loaded(info()));
    answer(&mut state, Event::Done);
    assert!(matches!(state.next_message().unwrap().request, Request::Apply { .. }), "the edits are put back");
    assert_eq!((state.panes.run, state.panes.intact_evaluation), (measured.0.run, measured.0.intact_evaluation));
    assert_eq!(state.edits.rows, measured.1);
}

#[test]
fn failure_or_stop_leaves_the_model_that_was_just_chosen() {
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
fn dead_engine_is_started_for_a_model_that_is_asked_for() {
    let mut state = loaded();
    state.engine_died(Failure::new(Problem::EngineStopped, "why"));
    assert!(state.engine.needs_start() && EngineStatus::Off.needs_start());
    assert!(!EngineStatus::Starting.needs_start() && !EngineStatus::Ready.needs_start());
    state.engine = EngineStatus::Starting;
    state.load(source("linchpin-13m"));
    starts(&mut state);
    assert_eq!((asked_for(&mut state).as_str(), &state.failure), ("linchpin-13m", &None));
}

#[test]
fn chosen_number_of_workers_is_kept_for_the_next_model_and_the_next_engine() {
    let sharing = |workers| Sharing { workers, most: 4, helper_bytes: 1, lost: 0 };
    let mut state = loaded();
    answer(&mut state, Event::Sharing(sharing(2)));
    assert_eq!(state.next_message(), None, "nothing was chosen");
    state.use_workers(9);
    assert_eq!(state.next_message().unwrap().request, Request::UseWorkers { workers: 9 });
    answer(&mut state, Event::Sharing(sharing(4)));
    answer(&mut state, Event::Done);
    assert_eq!(state.next_message(), None, "more than there are is the most");
    // Another engine begins with its own number.
    answer(&mut state, Event::Sharing(sharing(2)));
    assert_eq!(state.next_message().unwrap().request, Request::UseWorkers { workers: 9 });
    state.engine_restarts();
    assert_eq!(state.model.sharing, None);
}
