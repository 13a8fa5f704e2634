//! The search and the confirmation: on a planted super weight, and on the bundled models.

use linchpin::protocol::{Event, Request};
use linchpin::terms::{ArmKind, ConfirmReport, WeightCoord};

use crate::support::{Session, bundled, fixture};
use crate::the_event;

const PROMPT: &str = "It was a dark evening, and the old man";

#[test]
fn planted_super_weight_is_found_and_nothing_else() {
    let planted: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture("llama").join("planted.json")).unwrap()).unwrap();
    let number = |key: &str| planted[key].as_f64().unwrap();
    let mut session = Session::with_model(&fixture("llama"));
    let scan = the_event!(session.ask(Request::Scan { prompt: PROMPT.into() }).unwrap(), Event::Scanned(scan) => scan);
    let found = scan.candidates.iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    let at = WeightCoord::new(number("layer") as usize, number("row") as usize, number("col") as usize);
    assert_eq!(found, [at]);
    let candidate = &scan.candidates[0];
    assert!((f64::from(candidate.weight) - number("weight")).abs() < 1e-4);
    assert_eq!(candidate.token, 0);
    assert!((f64::from(candidate.share) - number("share")).abs() < 1e-2, "{candidate:?}");
    assert!(scan.outputs_after[at.layer].value.abs() < 0.1 * scan.outputs[at.layer].value.abs());
}

#[test]
fn super_weight_of_linchpin_13m_is_found_and_confirmed() {
    let at = WeightCoord::new(2, 12, 86);
    let (candidates, confirm) = scan_and_confirm("linchpin-13m");
    assert_eq!(candidates[0], at);
    assert!(worst(&confirm, ArmKind::Candidate) > 2.0, "{confirm:#?}");
    assert!(worst(&confirm, ArmKind::RandomScalar) < 0.01, "{confirm:#?}");
    assert!(worst(&confirm, ArmKind::LargestWeights) < 0.5, "{confirm:#?}");
    for verdict in &confirm.verdicts {
        assert_eq!(verdict.confirmed, verdict.at == at, "{verdict:?}");
    }
}

#[test]
fn twins_candidates_are_refused_alone_though_together_they_are_critical() {
    let at = WeightCoord::new(0, 162, 150);
    let (candidates, confirm) = scan_and_confirm("linchpin-11m-twin");
    assert_eq!(candidates[0], at);
    assert!(candidates.iter().all(|candidate| candidate.col == at.col), "one channel: {candidates:?}");
    assert!(worst(&confirm, ArmKind::Candidate) < 0.1, "{confirm:#?}");
    assert!(worst(&confirm, ArmKind::Jointly) > 2.0, "{confirm:#?}");
    assert!(worst(&confirm, ArmKind::Channel) > 2.0, "{confirm:#?}");
    for verdict in &confirm.verdicts {
        assert!(!verdict.confirmed, "{verdict:?}");
        assert!(verdict.because.number("jointly") > 2.0, "{verdict:?}");
    }
    assert!(confirm.verdicts[0].because.number("channel") > 2.0, "{confirm:#?}");
}

/// The largest change of the loss among the arms of a kind.
fn worst(confirm: &ConfirmReport, kind: ArmKind) -> f32 {
    confirm.arms.iter().filter(|arm| arm.kind == kind).map(|arm| arm.delta_nats.abs()).fold(f32::NAN, f32::max)
}

fn scan_and_confirm(id: &str) -> (Vec<WeightCoord>, ConfirmReport) {
    let mut session = Session::with_model(&bundled(id));
    let scan = the_event!(session.ask(Request::Scan { prompt: PROMPT.into() }).unwrap(), Event::Scanned(scan) => scan);
    let candidates = scan.candidates.iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    let events = session.ask(Request::Confirm { candidates: candidates.clone(), rows: Vec::new(), seed: 1 }).unwrap();
    (candidates, the_event!(events, Event::Confirmed(report) => report))
}
