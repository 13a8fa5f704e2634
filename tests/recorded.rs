//! The recorded story of the page: the engine still reproduces it.

use linchpin::protocol::{Event, Export, Request};

use crate::support::{Session, bundled};
use crate::the_event;

#[test]
fn recorded_story_is_what_the_engine_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/public/recorded/linchpin-13m.json");
    let recorded: Export = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let run = recorded.run.expect("a run");
    let mut session = Session::with_model(&bundled("linchpin-13m"));
    session.ask(Request::Apply { ablation: run.setup.ablation.clone() }).unwrap();
    let request = Request::Generate { prompt: run.setup.prompt.clone(), sampling: run.setup.sampling };
    let again = the_event!(session.ask(request).unwrap(), Event::Generated(record) => record);
    assert_eq!(again.digest, run.digest, "record it again: README.md, \"The recorded story\"");
    assert_eq!(again.setup.model.revision, recorded.model.revision);
    assert_eq!((again.intact.text, again.ablated.text), (run.intact.text, run.ablated.text));
    let events = session.ask(Request::Evaluate).unwrap();
    let measured = events.into_iter().filter_map(|event| match event {
        Event::Evaluated { pane, evaluation } => Some((pane, evaluation)),
        _ => None,
    });
    let measured = measured.collect::<Vec<_>>();
    assert_eq!((measured.len(), recorded.evaluations.len()), (2, 2));
    for ((pane, ours), (of, theirs)) in measured.iter().zip(&recorded.evaluations) {
        assert_eq!((pane, &ours.convention, ours.n_tokens), (of, &theirs.convention, theirs.n_tokens));
        assert!((ours.loss_nats - theirs.loss_nats).abs() < 1e-3, "{ours:?} is not {theirs:?}");
    }
}
