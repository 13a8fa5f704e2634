//! A checkpoint that others trained, SmolLM2-135M-Instruct, against float64 (tests/real/golden.py).
//!
//! `cargo xtask test` makes its folder, and `cargo xtask real-model` alone.

use std::path::{Path, PathBuf};

use linchpin::analysis::concentration::ranked;
use linchpin::analysis::score::Scores;
use linchpin::model::Model;
use linchpin::protocol::{Event, Request};
use linchpin::terms::{Ablation, EditTarget, Pane, Sampling, Spike, WeightCoord, WeightEdit, core_size};

use crate::spikes::check_candidates;
use crate::support::{Session, model_in, on_vulkan};
use crate::the_event;

/// The share of a layer's root mean square within which every loss proxy is.
const TOLERANCE: f64 = 1e-3;

/// The model's folder.
fn real() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let folder = target.join("real-model/SmolLM2-135M-Instruct");
    assert!(folder.join("model.safetensors").is_file(), "there is no {}: run `cargo xtask real-model`", folder.display());
    folder
}

fn golden() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/golden.json")).unwrap()).unwrap()
}

/// The loss proxies of each layer.
fn golden_proxies(n_layers: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/golden.safetensors")).unwrap();
    let tensors = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let layer = |layer: usize| {
        let tensor = tensors.tensor(&format!("loss_proxy.{layer}")).unwrap();
        tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    (0..n_layers).map(layer).collect()
}

fn number(value: &serde_json::Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} of {value}"))
}

fn index(value: &serde_json::Value, key: &str) -> usize {
    number(value, key) as usize
}

fn check_spikes(ours: &[Spike], golden: &serde_json::Value, site: &str) {
    let expected = golden["spikes"][site].as_array().unwrap();
    assert_eq!(ours.len(), expected.len());
    for (ours, expected) in ours.iter().zip(expected) {
        let apart = (f64::from(ours.value) / number(expected, "value") - 1.0).abs();
        assert_eq!((ours.token, ours.channel), (index(expected, "token"), index(expected, "channel")), "{site}, layer {}", ours.layer);
        assert!(apart < 1e-4, "{site}, layer {}: {} is not {}", ours.layer, ours.value, number(expected, "value"));
    }
}

#[test]
fn real_model_has_the_spikes_the_text_and_the_losses_of_float64() {
    let golden = golden();
    let mut session = Session::with_model(&real());
    let prompt = golden["prompt"].as_str().unwrap().to_owned();
    let scan = the_event!(session.ask(Request::Scan { prompt: prompt.clone() }).unwrap(), Event::Scanned(scan) => scan);
    check_spikes(&scan.inputs, &golden, "inputs");
    check_spikes(&scan.outputs, &golden, "outputs");
    let found = scan.candidates.iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    check_candidates("SmolLM2-135M-Instruct", &found);
    assert_eq!(scan.candidates[0].at, WeightCoord::new(11, 507, 1229));
    assert_eq!(scan.stopped.code, "only_echoes");

    let greedy: Vec<u32> = serde_json::from_value(golden["greedy_ids"].clone()).unwrap();
    let sampling = Sampling { temperature: 0.0, max_new_tokens: greedy.len(), ..Default::default() };
    let record = the_event!(session.ask(Request::Generate { prompt, sampling }).unwrap(), Event::Generated(record) => record);
    assert_eq!(record.intact.token_ids, greedy);

    let scalars = golden["zeroed"].as_array().unwrap().iter().map(|at| {
        let target = EditTarget::scalar(index(at, "layer"), index(at, "row"), index(at, "col"));
        (target, number(at, "loss_nats"))
    });
    let channels = golden["channels"].as_array().unwrap().iter();
    let channels = channels.map(|at| (EditTarget::channel(index(at, "layer"), index(at, "channel")), number(at, "loss_nats")));
    for (target, expected) in scalars.chain(channels) {
        let ablation = Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() };
        session.ask(Request::Apply { ablation }).unwrap();
        let events = session.ask(Request::Evaluate).unwrap();
        let loss = |pane: Pane| {
            let found = events.iter().find_map(|event| match event {
                Event::Evaluated { pane: of, evaluation } if *of == pane => Some(f64::from(evaluation.loss_nats)),
                _ => None,
            });
            found.unwrap()
        };
        let intact = number(&golden, "loss_nats");
        assert!((loss(Pane::Intact) - intact).abs() < 2e-6, "{} is not {intact}", loss(Pane::Intact));
        assert!((loss(Pane::Ablated) - expected).abs() < 2e-5, "{target}: {} is not {expected}", loss(Pane::Ablated));
    }
}

/// Returns the largest distance of a loss proxy, in units of its layer's root mean square.
fn check_scores(model: &Model) -> f64 {
    let ids: Vec<u32> = serde_json::from_value(golden()["scored_ids"].clone()).unwrap();
    let mut scores = pollster::block_on(Scores::new(model)).unwrap();
    pollster::block_on(scores.add(model, &ids)).unwrap();
    let mut furthest = 0.0_f64;
    for (layer, (ours, expected)) in scores.loss_proxies().iter().zip(&golden_proxies(model.layers.len())).enumerate() {
        let rms = (expected.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / expected.len() as f64).sqrt();
        let apart = ours.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()) / rms).fold(0.0, f64::max);
        let core =
            |scores: &[f32]| ranked(scores)[..core_size(0.01, scores.len())].iter().copied().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(core(ours), core(expected), "the core of layer {layer}");
        furthest = furthest.max(apart);
    }
    furthest
}

#[test]
fn real_models_loss_proxies_are_those_of_float64() {
    let furthest = check_scores(&model_in(&real(), &burn::tensor::Device::flex()));
    assert!(furthest <= TOLERANCE, "{furthest:e}");
}

#[test]
fn real_models_loss_proxies_on_a_gpu_are_those_of_float64() {
    on_vulkan(|gpu| {
        let furthest = check_scores(&model_in(&real(), gpu));
        assert!(furthest <= TOLERANCE, "{furthest:e}");
    });
}
