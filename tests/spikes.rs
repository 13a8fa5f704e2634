//! The search and the confirmation: on a planted super weight, and on the bundled models.

use linchpin::analysis::effect::Predictions;
use linchpin::analysis::products::{PER_LAYER, largest_products, outputs};
use linchpin::job::control::Control;
use linchpin::model::probe::{Keep, Kept, Probe};
use linchpin::model::{Model, Positions};
use linchpin::protocol::{Event, Request};
use linchpin::terms::{Ablation, ArmKind, ConfirmReport, MAX_SEARCHED, Site, WeightCoord};

use crate::support::{Session, bundled, fixture, fixtures, model, model_on, on_vulkan};
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
    assert!(candidate.effect_nats.is_some_and(|nats| nats > 0.0), "{candidate:?}");
    assert!((f64::from(candidate.weight) - number("weight")).abs() < 1e-4);
    assert_eq!(candidate.token, 0);
    assert!((f64::from(candidate.share) - number("share")).abs() < 1e-2, "{candidate:?}");
    assert!(scan.outputs_after[at.layer].value.abs() < 0.1 * scan.outputs[at.layer].value.abs());
}

#[test]
fn candidates_of_a_long_prompt_are_those_of_its_beginning() {
    let planted = WeightCoord::new(1, 5, 17);
    let mut session = Session::with_model(&fixture("llama"));
    let mut scan = |n_pairs: usize| {
        // Two tokens a pair, after a BOS and a first word.
        let prompt = format!("the{} man", " and the".repeat(n_pairs));
        the_event!(session.ask(Request::Scan { prompt }).unwrap(), Event::Scanned(scan) => scan)
    };
    let (whole, begin) = (scan(50), scan((MAX_SEARCHED - 2) / 2));
    assert!(whole.tokens.len() > begin.tokens.len() && begin.tokens.len() > MAX_SEARCHED, "{}", begin.tokens.len());
    assert_eq!(whole.tokens[..MAX_SEARCHED], begin.tokens[..MAX_SEARCHED]);
    let found = |scan: &linchpin::terms::ScanReport| scan.candidates.iter().map(|found| (found.at, found.effect_nats)).collect::<Vec<_>>();
    assert_eq!(found(&whole), found(&begin));
    assert_eq!(whole.candidates[0].at, planted);
}

/// Every product of a layer by the definition: `|W[j, k]| max_t |u[t, k]|`, the largest first.
fn products_by_definition(model: &Model, ids: &[u32], layer: usize) -> Vec<(WeightCoord, f32)> {
    let values = |tensor: burn::tensor::Tensor<2>| tensor.into_data().convert::<f32>().try_into_vec::<f32>().unwrap();
    let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Everything);
    model.forward(ids, None, Positions::Last, &mut probe);
    let captured = probe.captured.into_iter().find(|captured| captured.layer == layer).unwrap();
    let Kept::Everything(u) = captured.kept else { panic!("everything was asked for") };
    let [_, width] = u.dims();
    let u = values(u);
    let [rows, _] = model.layers[layer].mlp.down_proj.shape();
    let mut all = Vec::new();
    for (row, col) in (0..rows).flat_map(|row| (0..width).map(move |col| (row, col))) {
        let weight = values(model.down_proj_scalar(layer, row, col))[0];
        let largest = u.iter().skip(col).step_by(width).fold(0.0_f32, |most, value| most.max(value.abs()));
        all.push((WeightCoord::new(layer, row, col), weight.abs() * largest));
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

fn check_products(model: &Model, case: &str) {
    let ids = [1, 5, 9, 2, 7, 7, 3];
    let found = pollster::block_on(largest_products(model, &ids, &Control::silent())).unwrap();
    let outputs = pollster::block_on(outputs(model, &ids, &found)).unwrap();
    assert_eq!(outputs.len(), found.len());
    for layer in 0..model.layers.len() {
        let expected = products_by_definition(model, &ids, layer);
        let found = found.iter().filter(|product| product.at.layer == layer).collect::<Vec<_>>();
        assert_eq!(found.len(), PER_LAYER.min(expected.len()), "{case}");
        for (found, (at, size)) in found.iter().zip(&expected) {
            assert!((found.value().abs() - size).abs() <= 1e-4 * size, "{case}: {found:?} is not {at} with {size}");
        }
    }
}

#[test]
fn largest_products_are_those_of_the_definition_in_every_family_and_on_the_gpu() {
    for name in fixtures() {
        check_products(&model(&name), &name);
    }
    on_vulkan(|device| {
        // GPT-2 stores its matrices transposed.
        for name in ["llama", "gpt2"] {
            check_products(&model_on(name, device), name);
        }
    });
}

#[test]
fn effect_is_the_divergence_of_the_predictions() {
    let (model, ids) = (model("llama"), [1, 5, 9, 2, 7]);
    let at = WeightCoord::new(1, 5, 17);
    let rows = |model: &Model| {
        let logits = model.forward(&ids, None, Positions::All, &mut Probe::empty());
        let logits = logits.into_data().convert::<f32>().try_into_vec::<f32>().unwrap();
        let row = |row: &[f32]| {
            let sum = row.iter().map(|value| f64::from(*value).exp()).sum::<f64>();
            row.iter().map(|value| f64::from(*value).exp() / sum).collect::<Vec<_>>()
        };
        logits.chunks(model.config.vocab_size).map(row).collect::<Vec<_>>()
    };
    let changed = model.with_ablation(&Ablation::zeroing([at])).unwrap();
    let divergence = |(p, q): (&Vec<f64>, &Vec<f64>)| p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
    // The first position is left out.
    let (before, after) = (rows(&model), rows(&changed));
    let expected = before[1..].iter().zip(&after[1..]).map(divergence).sum::<f64>() / (ids.len() - 1) as f64;
    let effect = pollster::block_on(Predictions::of(&model, &ids).without([at])).unwrap();
    assert!(expected > 1e-5 && (f64::from(effect) / expected - 1.0).abs() < 1e-2, "{effect} is not {expected}");
}

#[test]
fn super_weight_of_linchpin_13m_is_found_and_confirmed() {
    let at = WeightCoord::new(2, 12, 86);
    let (candidates, confirm) = scan_and_confirm("linchpin-13m");
    // No other scalar among the twenty largest products of a layer costs more than 0.012 nats (tests/costs.json).
    assert_eq!(candidates, [at]);
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
    // Each costs 0.035 nats.
    assert_eq!(candidates, [WeightCoord::new(0, 148, 150), at]);
    assert!(worst(&confirm, ArmKind::Candidate) < 0.1, "{confirm:#?}");
    assert!(worst(&confirm, ArmKind::Jointly) > 2.0, "{confirm:#?}");
    assert!(worst(&confirm, ArmKind::Channel) > 2.0, "{confirm:#?}");
    for verdict in &confirm.verdicts {
        assert!(!verdict.confirmed, "{verdict:?}");
        assert!(verdict.because.number("jointly") > 2.0, "{verdict:?}");
    }
    assert!(confirm.verdicts[0].because.number("channel") > 2.0, "{confirm:#?}");
    // The channel is taken apart: without either scalar, the other one still holds the text up.
    let rests = confirm.arms.iter().filter(|arm| arm.kind == ArmKind::ChannelRest).collect::<Vec<_>>();
    assert_eq!(rests.iter().filter_map(|arm| arm.at).collect::<Vec<_>>(), candidates);
    assert!(rests.iter().all(|arm| arm.delta_nats.abs() < 0.2), "{rests:#?}");
}

/// Checks a search's candidates against the measured costs of all scalars among each layer's largest products: those
/// that cost more than 0.05 nats are found, and at most two others.
pub fn check_candidates(model: &str, found: &[WeightCoord]) {
    let golden: serde_json::Value =
        serde_json::from_slice(&std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/costs.json")).unwrap()).unwrap();
    assert_eq!(golden["prompt"], PROMPT);
    let scalars: Vec<(usize, usize, usize, f64)> = serde_json::from_value(golden["models"][model].clone()).unwrap();
    let costly = scalars.into_iter().filter(|scalar| scalar.3 > 0.05);
    let costly = costly.map(|(layer, row, col, _)| WeightCoord::new(layer, row, col)).collect::<Vec<_>>();
    assert!(costly.iter().all(|at| found.contains(at)), "{model}: {costly:?} are not all among {found:?}");
    let others = found.iter().filter(|at| !costly.contains(at)).collect::<Vec<_>>();
    assert!(others.len() <= 2, "{model}: {others:?}");
}

/// The largest change of the loss among the arms of a kind.
fn worst(confirm: &ConfirmReport, kind: ArmKind) -> f32 {
    confirm.arms.iter().filter(|arm| arm.kind == kind).map(|arm| arm.delta_nats.abs()).fold(f32::NAN, f32::max)
}

fn scan_and_confirm(id: &str) -> (Vec<WeightCoord>, ConfirmReport) {
    let mut session = Session::with_model(&bundled(id));
    let scan = the_event!(session.ask(Request::Scan { prompt: PROMPT.into() }).unwrap(), Event::Scanned(scan) => scan);
    let candidates = scan.candidates.iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    check_candidates(id, &candidates);
    let events = session.ask(Request::Confirm { candidates: candidates.clone(), rows: Vec::new(), seed: 1 }).unwrap();
    (candidates, the_event!(events, Event::Confirmed(report) => report))
}
