//! The engine's own figures of speed: that they are there, not what they are.

use linchpin::protocol::{Event, Request};

use crate::support::{Session, fixture};
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
    // Another cut has the loss computed anew.
    let text = include_str!("../public/held-out.txt").to_owned();
    session.ask(Request::UseText { name: "held-out passages 1".into(), text, max_tokens: 128 }).unwrap();
    assert_eq!(loss(&mut session), before);
}
