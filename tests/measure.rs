//! The engine's own figures of speed: they exist; their values are not tested.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use linchpin::engine::Engine;
use linchpin::job::control::Control;
use linchpin::protocol::{BackendChoice, Event, Request};
use linchpin::terms::ModelSource;

use crate::support::{Session, files_in, fixture};
use crate::the_event;

#[test]
fn every_figure_is_there_and_positive() {
    for name in ["llama", "gpt2"] {
        let mut session = Session::with_model(&fixture(name));
        let figures = the_event!(session.ask(Request::Measure).unwrap(), Event::Measured { figures } => figures);
        let names = figures.iter().map(|figure| figure.name.as_str()).collect::<Vec<_>>();
        let expected = ["prefill", "prefill_with_peaks", "forward_backward", "decode_at_128", "decode_both_at_128", "apply_edit"];
        assert_eq!(names, [&expected[..], &["gate_proj", "down_proj"]].concat(), "{name}");
        for figure in figures {
            assert!(figure.value.is_some_and(|value| value > 0.0 && value.is_finite()), "{name}: {figure:?}");
        }
    }
}

#[test]
fn measuring_leaves_the_model_alone() {
    let mut session = Session::with_model(&fixture("llama"));
    let loss =
        |session: &mut Session| the_event!(session.ask(Request::Evaluate).unwrap(), Event::Evaluated { evaluation, .. } => evaluation);
    let before = loss(&mut session);
    session.ask(Request::Measure).unwrap();
    // With another cut the loss is computed again.
    let text = include_str!("../public/held-out.txt").to_owned();
    session.ask(Request::UseText { name: "held-out passages 1".into(), text, max_tokens: 128 }).unwrap();
    assert_eq!(loss(&mut session), before);
    session.ask(Request::UseText { name: "mine".into(), text: "The old man slept.".into(), max_tokens: 128 }).unwrap();
    assert_eq!(loss(&mut session).convention.text("text"), "mine");
    session.ask(Request::UseBundledText).unwrap();
    assert_eq!(loss(&mut session), before);
}

#[test]
fn stop_ends_measuring() {
    let own = Rc::new(RefCell::new(None::<Control>));
    let last = Rc::new(Cell::new(None));
    let (of_sink, ended) = (own.clone(), last.clone());
    // The user presses stop as soon as there is something to see.
    let control = Control::new(move |event| {
        if let (Event::Progress(_), Some(control)) = (&event, of_sink.borrow().as_ref()) {
            control.request_stop();
        }
        ended.set(Some(event));
    });
    let mut engine = Engine::new(control.clone());
    let load = Request::Load {
        id: "test".into(),
        source: ModelSource::Files(files_in(&fixture("llama"))),
        backend: BackendChoice::Cpu,
        bos: false,
    };
    pollster::block_on(engine.handle(load));
    assert_eq!(last.take(), Some(Event::Done));
    *own.borrow_mut() = Some(control);
    // Progress is reported at most ten times a second, and loading has just reported some.
    std::thread::sleep(Duration::from_millis(150));
    pollster::block_on(engine.handle(Request::Measure));
    assert_eq!(last.take(), Some(Event::Stopped));
}
