//! Loss proxies of models with real vocabularies and a massive activation, compared with float64.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use linchpin::analysis::concentration::ranked;
use linchpin::analysis::score::Scores;
use linchpin::model::Model;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::support::{Copy, model_in, on_vulkan};

/// The sizes in `tests/golden/vocabulary.py`, which describes the models.
const HIDDEN: usize = 64;
const CHANNELS: usize = 160;
const LAYERS: usize = 4;
const KV_WIDTH: usize = 32;
const LENGTH: usize = 48;
const EMBEDDINGS: &str = "model.embed_tokens.weight";
/// The share of a layer's root mean square within which every loss proxy is.
const TOLERANCE: f64 = 1e-3;

/// Number `i` of a tensor's scalars before it is scaled, in [-1/2, 1/2).
fn hashed(name: &str, n: usize) -> impl Iterator<Item = f64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (0..n as u64).map(move |i| {
        let z = i.wrapping_add(seed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24) - 0.5
    })
}

/// The tensors of a model, with their shapes.
fn tensors(vocab_size: usize) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut shapes = vec![(EMBEDDINGS.to_owned(), vec![vocab_size, HIDDEN]), ("model.norm.weight".into(), vec![HIDDEN])];
    for layer in 0..LAYERS {
        let matrices = [
            ("self_attn.q_proj", [HIDDEN, HIDDEN]),
            ("self_attn.k_proj", [KV_WIDTH, HIDDEN]),
            ("self_attn.v_proj", [KV_WIDTH, HIDDEN]),
            ("self_attn.o_proj", [HIDDEN, HIDDEN]),
            ("mlp.gate_proj", [CHANNELS, HIDDEN]),
            ("mlp.up_proj", [CHANNELS, HIDDEN]),
            ("mlp.down_proj", [HIDDEN, CHANNELS]),
        ];
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        shapes.extend(matrices.map(|(part, shape)| (name(part), shape.to_vec())));
        shapes.extend(["input_layernorm", "post_attention_layernorm"].map(|part| (name(part), vec![HIDDEN])));
    }
    let fill = |(name, shape): (String, Vec<usize>)| {
        let n = shape.iter().product();
        let scale = if name == EMBEDDINGS { 1.0 } else { 0.5 };
        let values = if name.contains("norm") { vec![1.0; n] } else { hashed(&name, n).map(|value| (value * scale) as f32).collect() };
        (name, (shape, values))
    };
    let mut tensors = shapes.into_iter().map(fill).collect::<BTreeMap<_, _>>();
    plant(&mut tensors);
    tensors
}

/// Plants a massive activation at the first token.
fn plant(tensors: &mut BTreeMap<String, (Vec<usize>, Vec<f32>)>) {
    const ROW: usize = 5;
    const COL: usize = 17;
    let first = &mut tensors.get_mut(EMBEDDINGS).unwrap().1[HIDDEN..2 * HIDDEN];
    first.iter_mut().for_each(|value| *value *= 4.0);
    let norm = first.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let direction = first.iter().map(|value| (f64::from(*value) / norm) as f32).collect::<Vec<_>>();
    let mut write = |part: &str, at: usize, new: &[f32]| {
        let (_, values) = tensors.get_mut(&format!("model.layers.1.mlp.{part}.weight")).unwrap();
        values[at..at + new.len()].copy_from_slice(new);
    };
    for (part, factor) in [("gate_proj", 8.0), ("up_proj", 6.0)] {
        write(part, COL * HIDDEN, &direction.iter().map(|value| factor * value).collect::<Vec<_>>());
    }
    write("down_proj", ROW * CHANNELS + COL, &[40.0]);
}

fn write(dir: &Path, vocab_size: usize) {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": CHANNELS,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": vocab_size,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": true, "hidden_act": "silu",
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let bytes = tensors(vocab_size).into_iter().map(|(name, (shape, values))| {
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>();
        (name, shape, bytes)
    });
    let bytes = bytes.collect::<Vec<_>>();
    let views = bytes.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(dir.join("model.safetensors"), serialize(views, None).unwrap()).unwrap();
}

fn check(model: &Model, golden: &serde_json::Value, what: &str) {
    let vocab_size = model.config.vocab_size;
    let others = hashed("ids", LENGTH - 1).map(|value| 3 + ((value + 0.5) * (vocab_size - 3) as f64) as u32);
    let ids = [1].into_iter().chain(others).collect::<Vec<u32>>();
    let mut scores = pollster::block_on(Scores::new(model)).unwrap();
    pollster::block_on(scores.add(model, &ids)).unwrap();
    let loss = golden["loss_nats"].as_f64().unwrap();
    assert!((f64::from(scores.loss_nats()) - loss).abs() < 2e-6 * loss, "{what}: {} is not {loss}", scores.loss_nats());
    let expected: Vec<Vec<f64>> = serde_json::from_value(golden["loss_proxy"].clone()).unwrap();
    let ours = scores.loss_proxies();
    assert_eq!(ours.len(), expected.len());
    for (layer, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
        let rms = (expected.iter().map(|value| value * value).sum::<f64>() / expected.len() as f64).sqrt();
        let apart = ours.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs() / rms).fold(0.0, f64::max);
        assert!(apart <= TOLERANCE, "{what}, layer {layer}: {apart:e} of a layer's root mean square");
        // The core: the first hundredth, rounded up.
        let core = |scores: &[f32]| ranked(scores)[..2].iter().copied().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(core(ours), core(&expected.iter().map(|value| *value as f32).collect::<Vec<_>>()), "{what}, layer {layer}");
    }
}

fn check_on(device: &Device, what: &str) {
    let golden = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/vocabulary.json")).unwrap();
    let golden: BTreeMap<usize, serde_json::Value> = serde_json::from_slice(&golden).unwrap();
    assert_eq!(golden.len(), 3);
    for (vocab_size, golden) in golden {
        let copy = Copy::of("llama", &format!("vocabulary-{what}-{vocab_size}"));
        write(copy.dir(), vocab_size);
        check(&model_in(copy.dir(), device), &golden, &format!("{what}, {vocab_size} tokens"));
    }
}

#[test]
fn loss_proxies_of_real_vocabularies_are_those_of_float64() {
    check_on(&Device::flex(), "cpu");
}

#[test]
fn loss_proxies_of_real_vocabularies_on_a_gpu_are_those_of_float64() {
    on_vulkan(|gpu| check_on(gpu, "gpu"));
}
