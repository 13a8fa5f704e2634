//! Many removals measured one by one: by rules, and channel by channel.

use std::cell::RefCell;
use std::rc::Rc;

use linchpin::engine::Engine;
use linchpin::engine::control::Control;
use linchpin::protocol::{BackendChoice, Event, FailureKind, Request};
use linchpin::terms::{
    Ablation, Evaluation, Pane, Pick, Pruned, Pruning, Ranking, Replacement, Selection, SweepPoint, SweepReport, WeightCoord,
};

use crate::support::{Session, files_in, fixture};
use crate::the_event;

fn score() -> Request {
    Request::Score { text: None, sequences: 2, length: 24, super_weights: Vec::new(), resume: false }
}

fn scored(name: &str) -> Session {
    let mut session = Session::with_model(&fixture(name));
    session.ask(score()).unwrap();
    session
}

fn zero(pick: Pick) -> Pruning {
    Pruning { selection: Selection::new(pick), replacement: Replacement::Zero }
}

fn some_prunings() -> Vec<Pruning> {
    let half = zero(Pick::Lowest { by: Ranking::Connected, share: 0.5 });
    vec![
        zero(Pick::Core),
        Pruning { replacement: Replacement::Mean, ..half },
        half,
        zero(Pick::Lowest { by: Ranking::Taylor, share: 0.0 }),
        Pruning { selection: Selection { eta: 0.2, layer: Some(1), ..Selection::new(Pick::Halo) }, replacement: Replacement::Mean },
        zero(Pick::Highest { by: Ranking::LossProxy, share: 0.02 }),
    ]
}

fn is_point(event: &Event) -> Option<SweepPoint> {
    if let Event::SweepPoint(point) = event { Some(point.clone()) } else { None }
}

fn swept(session: &mut Session, prunings: Vec<Pruning>) -> SweepReport {
    let events = session.ask(Request::Sweep { prunings }).unwrap();
    let points = events.iter().filter_map(is_point).collect::<Vec<_>>();
    let report = the_event!(events, Event::Swept(report) => report);
    assert_eq!(report.points, points, "the report is what was sent before");
    report
}

fn evaluations(session: &mut Session) -> (Evaluation, Evaluation) {
    let events = session.ask(Request::Evaluate).unwrap();
    let of = |wanted| {
        let found = events.iter().find_map(|event| match event {
            Event::Evaluated { pane, evaluation } if *pane == wanted => Some(evaluation.clone()),
            _ => None,
        });
        found.unwrap()
    };
    (of(Pane::Intact), of(Pane::Ablated))
}

fn applied(session: &mut Session, ablation: Ablation) -> (Option<Pruned>, Evaluation, Evaluation) {
    let pruned = the_event!(session.ask(Request::Apply { ablation }).unwrap(), Event::Applied { pruned, .. } => pruned);
    let (intact, after) = evaluations(session);
    (pruned, intact, after)
}

#[test]
fn a_point_is_what_applying_it_gives() {
    for name in ["llama", "gpt2"] {
        let mut session = scored(name);
        let found = swept(&mut session, some_prunings());
        assert_eq!(found.points.len(), some_prunings().len());
        for (point, pruning) in found.points.iter().zip(some_prunings()) {
            let (pruned, intact, after) = applied(&mut session, Ablation::pruning(pruning));
            assert_eq!((Some(&point.pruned), &point.evaluation), (pruned.as_ref(), &after), "{name}");
            assert_eq!(found.intact, intact, "{name}");
        }
        // Another rule that picks the core is the core; nothing removed is the intact model.
        assert_eq!(found.points[0].pruned.digest, found.points[5].pruned.digest, "{name}");
        assert_eq!(found.points[0].evaluation, found.points[5].evaluation, "{name}");
        assert_eq!(found.points[3].evaluation, found.intact, "{name}");
        assert_ne!(found.points[1].evaluation, found.points[2].evaluation, "{name}");
        assert_eq!(found.points[4].pruned.by_layer[0], 0, "{name}");
    }
}

#[test]
fn the_applied_ablation_stays_what_it_is() {
    let mut session = scored("llama");
    let (_, intact, after) = applied(&mut session, Ablation::zeroing([WeightCoord { layer: 1, row: 5, col: 17 }]));
    assert_ne!(intact, after);
    swept(&mut session, some_prunings());
    assert_eq!(evaluations(&mut session), (intact, after));
}

/// An engine that is told to stop as soon as it has sent an event of a kind, and what it sent.
fn stopped_after(is_enough: impl Fn(&Event) -> bool + 'static, requests: Vec<Request>) -> Vec<Event> {
    let (events, own) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(None::<Control>)));
    let (basket, of_sink) = (events.clone(), own.clone());
    let control = Control::new(move |event| {
        if let (true, Some(control)) = (is_enough(&event), of_sink.borrow().as_ref()) {
            control.request_stop();
        }
        basket.borrow_mut().push(event);
    });
    *own.borrow_mut() = Some(control.clone());
    let mut engine = Engine::new(control);
    let load = Request::Load { id: "test".into(), files: files_in(&fixture("llama")), backend: BackendChoice::Cpu };
    for request in [load, score()].into_iter().chain(requests) {
        events.borrow_mut().clear();
        pollster::block_on(engine.handle(request));
    }
    events.take()
}

#[test]
fn a_stop_keeps_what_was_measured() {
    let events = stopped_after(|event| matches!(event, Event::SweepPoint(_)), vec![Request::Sweep { prunings: some_prunings() }]);
    assert_eq!(events.last(), Some(&Event::Stopped));
    let points = events.iter().filter_map(is_point).collect::<Vec<_>>();
    assert_eq!(points, swept(&mut scored("llama"), some_prunings()).points[..1]);
    assert!(!events.iter().any(|event| matches!(event, Event::Swept(_))));
}

#[test]
fn sweeps_that_make_no_sense_are_refused() {
    let mut session = Session::with_model(&fixture("llama"));
    let refused = session.ask(Request::Sweep { prunings: some_prunings() }).unwrap_err();
    assert_eq!((refused.kind, refused.what.as_str()), (FailureKind::Input, "No channel was scored yet"));
    session.ask(score()).unwrap();
    let wrong = zero(Pick::Lowest { by: Ranking::Random, share: 1.5 });
    let refused = [Request::Sweep { prunings: vec![zero(Pick::Core); 10_001] }, Request::Sweep { prunings: vec![zero(Pick::Core), wrong] }];
    for request in refused {
        assert_eq!(session.ask(request.clone()).unwrap_err().kind, FailureKind::Input, "{request:?}");
    }
    assert_eq!(swept(&mut session, Vec::new()).points, []);
}
