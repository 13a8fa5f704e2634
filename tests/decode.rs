//! Path B against Path A, on a Vulkan device (lavapipe will do: `mesa-vulkan-drivers`).

use linchpin::decode::{DecodeGpu, DecodePlan, submit};
use linchpin::model::probe::Probe;
use linchpin::model::{KvCache, Model, Positions};
use linchpin::platform::open_gpu;
use linchpin::terms::{Ablation, WeightCoord};

use crate::support::{FIXTURES, model_on};

/// Path B rounds in another order; the largest logit is what errors are measured by.
const TOLERANCE: f32 = 1e-3;
/// Below this lead either of two tokens may come out first.
const SAFE_MARGIN: f32 = 1e-3;

/// Opened once: Burn registers one runtime for it. Tests of this module take turns.
struct Vulkan {
    gpu: DecodeGpu,
    device: burn::tensor::Device,
}

thread_local! {
    static VULKAN: Vulkan = {
        let gpu = pollster::block_on(open_gpu()).expect("a Vulkan device; install mesa-vulkan-drivers and libvulkan1");
        Vulkan { gpu: DecodeGpu::new(gpu.handles), device: gpu.device }
    };
}

fn on_gpu(test: impl FnOnce(&Vulkan)) {
    VULKAN.with(test);
}

/// Path A's logits after each of `ids[from..]`, fed one by one.
fn path_a(model: &Model, ids: &[u32], from: usize) -> (KvCache, Vec<Vec<f32>>) {
    let mut cache = KvCache::default();
    model.forward(&ids[..from], Some(&mut cache), Positions::Last, &mut Probe::empty());
    let start = cache.clone();
    let feed = |id: &u32| {
        let logits = model.forward(&[*id], Some(&mut cache), Positions::Last, &mut Probe::empty());
        logits.into_data().try_into_vec::<f32>().unwrap()
    };
    (start, ids[from..].iter().map(feed).collect())
}

#[track_caller]
fn assert_same(name: &str, a: &[f32], b: &[f32]) {
    let largest = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let furthest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0_f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    assert_eq!(a.len(), b.len());
    assert!(furthest <= TOLERANCE * largest, "{name}: off by {furthest} of {largest}");
    let mut order = (0..a.len()).collect::<Vec<_>>();
    order.sort_by(|i, j| a[*j].total_cmp(&a[*i]));
    let first_of = |row: &[f32]| (0..row.len()).max_by(|i, j| row[*i].total_cmp(&row[*j]));
    if a[order[0]] - a[order[1]] > SAFE_MARGIN {
        assert_eq!(first_of(a), first_of(b), "{name}");
    }
}

fn check_forced(name: &str, vulkan: &Vulkan, model: &Model, ids: &[u32], from: usize) {
    let (cache, expected) = path_a(model, ids, from);
    let mut plan = DecodePlan::new(&vulkan.gpu, model, &[], ids.len()).unwrap();
    plan.start(&cache).unwrap();
    for (id, expected) in ids[from..].iter().zip(&expected) {
        let got = pollster::block_on(plan.logits(*id).unwrap().read()).unwrap();
        assert_same(name, expected, &got);
    }
}

fn ids_of(model: &Model, n: usize) -> Vec<u32> {
    let n = n.min(model.config.max_position_embeddings);
    (0..n).map(|i| ((i * 7919 + 13) % model.config.vocab_size) as u32).collect()
}

#[test]
fn every_family_decodes_what_path_a_computes() {
    on_gpu(|vulkan| {
        for name in FIXTURES {
            let model = model_on(name, &vulkan.device);
            check_forced(name, vulkan, &model, &ids_of(&model, 40), 9);
        }
    });
}
