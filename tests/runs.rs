//! Whole runs: both panes, repeatability, and stopping.

use linchpin::protocol::{Event, Request};
use linchpin::terms::{Ablation, Finish, Pane, RunRecord, Sampling, WeightCoord, outcome_digest};

use crate::support::{Copy, Session, fixture};
use crate::the_event;

fn sampling(temperature: f32, max_new_tokens: usize) -> Sampling {
    Sampling { temperature, top_k: 0, top_p: 1.0, seed: 5, max_new_tokens }
}

fn run(session: &mut Session, sampling: Sampling) -> (Vec<Event>, RunRecord) {
    let events = session.ask(Request::Generate { prompt: "the old man".into(), sampling }).unwrap();
    let record = the_event!(events.clone(), Event::Generated(record) => record);
    (events, record)
}

#[test]
fn run_repeats_itself_and_its_events_add_up_to_its_record() {
    let mut session = Session::with_model(&fixture("llama"));
    session.ask(Request::Apply { ablation: Ablation::zeroing([WeightCoord::new(1, 5, 17)]) }).unwrap();
    let (events, first) = run(&mut session, sampling(1.0, 24));
    let (_, second) = run(&mut session, sampling(1.0, 24));
    assert_eq!((&first.intact.token_ids, &first.ablated.token_ids), (&second.intact.token_ids, &second.ablated.token_ids));
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.digest, outcome_digest(&first.intact.token_ids, &first.ablated.token_ids));
    assert_ne!(first.intact.token_ids, first.ablated.token_ids);
    assert_eq!(first.intact.finish, Finish::Length);
    for (pane, generated) in [(Pane::Intact, &first.intact), (Pane::Ablated, &first.ablated)] {
        let ids = events.iter().filter_map(|event| match event {
            Event::Token { pane: of, token_id, .. } if *of == pane => Some(*token_id),
            _ => None,
        });
        assert_eq!(ids.collect::<Vec<_>>(), generated.token_ids);
    }
}

#[test]
fn another_seed_writes_another_text() {
    let mut session = Session::with_model(&fixture("qwen2"));
    let (_, first) = run(&mut session, sampling(1.0, 24));
    let (_, second) = run(&mut session, Sampling { seed: 6, ..sampling(1.0, 24) });
    assert_ne!(first.intact.token_ids, second.intact.token_ids);
    assert_eq!(first.intact.token_ids, first.ablated.token_ids, "nothing is ablated");
}

/// The context has 48 tokens, and no token of this copy ends a text before that.
#[test]
fn end_of_the_context_ends_a_run() {
    let copy = Copy::of("gpt2-hub", "context");
    for name in ["config.json", "generation_config.json"] {
        copy.edit(name, |bytes| {
            let mut keys: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            assert!(keys.as_object_mut().unwrap().remove("eos_token_id").is_some(), "{name}");
            *bytes = serde_json::to_vec(&keys).unwrap();
        });
    }
    let mut session = Session::with_model(copy.dir());
    let (_, record) = run(&mut session, sampling(1.0, 512));
    assert_eq!(record.intact.finish, Finish::Context);
    assert!((24..48).contains(&record.intact.token_ids.len()), "{} new tokens", record.intact.token_ids.len());
}

#[test]
fn stop_ends_the_next_checkpoint_until_it_is_cleared() {
    let control = linchpin::job::control::Control::silent();
    control.request_stop();
    assert!(pollster::block_on(control.checkpoint()).is_err());
    control.clear_stop();
    assert!(pollster::block_on(control.checkpoint()).is_ok());
}

#[test]
fn applied_ablation_is_told_back() {
    let mut session = Session::with_model(&crate::support::bundled("linchpin-13m"));
    let ablation = Ablation::zeroing([WeightCoord::new(2, 12, 86)]);
    let events = session.ask(Request::Apply { ablation: ablation.clone() }).unwrap();
    assert_eq!(the_event!(events, Event::Applied { ablation, .. } => ablation), ablation);
}
