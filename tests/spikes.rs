//! The search and the confirmation: on a planted super weight, and on the bundled models.

use linchpin::protocol::{Event, Request};
use linchpin::terms::{ArmKind, WeightCoord};

use crate::support::{Session, bundled, fixture};
use crate::the_event;

const PROMPT: &str = "It was a dark evening, and the old man";

#[test]
fn the_planted_super_weight_is_found_and_nothing_else() {
    let planted: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture("llama").join("planted.json")).unwrap()).unwrap();
    let number = |key: &str| planted[key].as_f64().unwrap();
    let mut session = Session::with_model(&fixture("llama"));
    let scan = the_event!(session.ask(Request::Scan { prompt: PROMPT.into() }).unwrap(), Event::Scanned(scan) => scan);
    let found = scan.candidates.iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    let at = WeightCoord { layer: number("layer") as usize, row: number("row") as usize, col: number("col") as usize };
    assert_eq!(found, [at]);
    let candidate = &scan.candidates[0];
    assert!((f64::from(candidate.weight) - number("weight")).abs() < 1e-4);
    assert_eq!(candidate.token, 0);
    assert!((f64::from(candidate.share) - number("share")).abs() < 1e-2, "{candidate:?}");
    assert!(scan.outputs_after[at.layer].value.abs() < 0.1 * scan.outputs[at.layer].value.abs());
}

#[test]
fn the_super_weight_of_linchpin_13m_is_found_and_confirmed() {
    let at = WeightCoord { layer: 2, row: 12, col: 86 };
    let (candidates, confirm) = scan_and_confirm("linchpin-13m");
    assert_eq!(candidates, [at]);
    let delta = |kind| confirm.arms.iter().filter(|arm| arm.kind == kind).map(|arm| arm.delta_nats).fold(f32::NAN, f32::max);
    assert!(delta(ArmKind::Candidate) > 2.0, "{confirm:#?}");
    assert!(delta(ArmKind::RandomScalar).abs() < 0.01, "{confirm:#?}");
    assert!(delta(ArmKind::LargestWeights) < delta(ArmKind::Candidate) / 2.0, "{confirm:#?}");
    assert!(confirm.verdicts[0].confirmed, "{confirm:#?}");
}

#[test]
fn the_twins_candidate_is_found_and_refused_but_its_channel_is_critical() {
    let at = WeightCoord { layer: 0, row: 162, col: 150 };
    let (candidates, confirm) = scan_and_confirm("linchpin-11m-twin");
    assert!(candidates.contains(&at), "{candidates:?}");
    assert!(confirm.verdicts.iter().all(|verdict| !verdict.confirmed), "{confirm:#?}");
    let channel = confirm.arms.iter().find(|arm| arm.kind == ArmKind::Channel && arm.at == Some(at)).unwrap();
    assert!(channel.delta_nats > 2.0, "{confirm:#?}");
}

fn scan_and_confirm(id: &str) -> (Vec<WeightCoord>, linchpin::terms::ConfirmReport) {
    let mut session = Session::with_model(&bundled(id));
    let scan = the_event!(session.ask(Request::Scan { prompt: PROMPT.into() }).unwrap(), Event::Scanned(scan) => scan);
    let candidates = scan.candidates.iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    let events = session.ask(Request::Confirm { candidates: candidates.clone(), seed: 1 }).unwrap();
    (candidates, the_event!(events, Event::Confirmed(report) => report))
}
