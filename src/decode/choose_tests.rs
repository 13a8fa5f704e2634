//! The GPU's choice compared with the sampler's, on difficult logits.

use std::sync::{Mutex, PoisonError};

use super::super::read::{Reading, words};
use super::*;
use crate::platform::open_gpu;
use crate::sampling::Sampler;

/// Random numbers this close to the boundary between two tokens may fall on either side, because the GPU's `exp` is
/// f32.
const BOUNDARY: f64 = 4e-6;
const PROMISE: &str = "these tests need a Vulkan device: install mesa-vulkan-drivers and libvulkan1";

/// The GPU's record of a choice: token, stopword mass, a flag for broken scores.
type Record = [u32; 4];

struct Choices {
    gpu: DecodeGpu,
    chooser: Chooser,
    state: wgpu::Buffer,
}

impl Choices {
    fn new(gpu: &DecodeGpu, logits: &[f32]) -> Self {
        let chooser = Chooser::new(gpu, logits.len(), &[]);
        gpu.queue.write_buffer(&chooser.logits, 0, &to_bytes(logits.iter().map(|logit| logit.to_bits())));
        Self { gpu: gpu.clone(), chooser, state: gpu.storage("state", 4) }
    }

    /// A choice for every random number, at most [`MAX_BATCH`], from the same logits.
    fn make(&self, sampling: Sampling, uniforms: &[f64]) -> Vec<Record> {
        self.chooser.set_uniforms(uniforms);
        self.gpu.queue.write_buffer(&self.state, 0, &to_bytes([0; 4]));
        let steps = self.chooser.steps(&self.state, sampling);
        let mut encoder = self.gpu.encoder();
        for _ in uniforms {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            steps.iter().for_each(|step| step.encode(&mut pass));
        }
        let bytes = 16 * uniforms.len() as u64;
        let staging = self.gpu.buffer("staging", bytes, Usage::MAP_READ | Usage::COPY_DST);
        encoder.copy_buffer_to_buffer(&self.chooser.drawn, 0, &staging, 0, bytes);
        self.gpu.queue.submit([encoder.finish()]);
        let read = pollster::block_on(Reading::start(&self.gpu, staging).bytes()).expect("what was drawn");
        words(&read).as_chunks().0.to_vec()
    }
}

/// These tests take turns, because they share one device.
static TURN: Mutex<()> = Mutex::new(());

fn on_gpu(test: impl FnOnce(&DecodeGpu)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = pollster::block_on(open_gpu()).expect(PROMISE);
    test(&DecodeGpu::new(gpu.handles));
    assert_eq!(gpu.health.error(), None);
}

fn sampling(temperature: f32, top_k: usize, top_p: f32) -> Sampling {
    Sampling { temperature, top_k, top_p, seed: 1, max_new_tokens: 1 }
}

fn uniforms(seed: u64, n: usize) -> Vec<f64> {
    let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() });
    (0..n).map(|_| sampler.uniform()).collect()
}

/// Logits without a pattern, in the range of a model's.
fn plausible(n: usize) -> Vec<f32> {
    uniforms(3, 10 * n).chunks(10).map(|ten| (4.0 * (ten.iter().sum::<f64>() - 5.0)) as f32).collect()
}

#[track_caller]
fn check(name: &str, gpu: &DecodeGpu, logits: &[f32], settings: &[Sampling]) {
    let choices = Choices::new(gpu, logits);
    for (index, sampling) in settings.iter().enumerate() {
        let sampler = Sampler::new(*sampling);
        let mut uniforms = uniforms(index as u64, MAX_BATCH);
        uniforms[0] = 0.0;
        for (uniform, [token, _, is_broken, _]) in uniforms.iter().zip(choices.make(*sampling, &uniforms)) {
            let near = [*uniform, uniform - BOUNDARY, uniform + BOUNDARY].map(|uniform| sampler.choose(logits, uniform));
            assert_eq!(is_broken, 0, "{name}, {sampling:?}");
            assert!(near.contains(&Some(token)), "{name}, {sampling:?}, {uniform}: {token}, not {near:?}");
        }
    }
}

/// Settings of seeded draws; greedy ones are compared with golden tokens elsewhere.
fn all_settings() -> Vec<Sampling> {
    let mut all = Vec::new();
    for temperature in [0.1, 0.8, 5.0] {
        for top_k in [0, 1, 5, 40, 256, 300, 1_000_000] {
            all.extend([0.0, 0.3, 0.95, 1.0].map(|top_p| sampling(temperature, top_k, top_p)));
        }
    }
    all
}

#[test]
fn gpu_chooses_the_tokens_of_the_sampler() {
    on_gpu(|gpu| {
        let mut scattered = vec![f32::NEG_INFINITY; 900];
        (0..40).for_each(|i| scattered[i * 21 + 7] = (i % 11) as f32 * 0.5);
        let equal_ahead = (0..700).map(|i| if i % 9 == 4 { (i % 5) as f32 - 6.0 } else { 1.5 });
        let equal_behind = (0..2500).map(|i| if i % 100 == 4 { (i % 7) as f32 } else { -2.0 });
        let huge = [3e38, -3e38, 2.9e38, 0.0, 1e-40, -1e-40, -0.0, f32::MAX, f32::MIN, f32::MAX];
        let cases = [
            ("one token", vec![0.3]),
            ("signed zeros", vec![-0.0, 0.0, -0.0, 0.0, -1.0]),
            ("a few values", (0..300).map(|i| ((i * 7919) % 7) as f32 * 0.3 - 1.0).collect()),
            ("all equal", vec![0.25; 601]),
            ("all equal and far below", vec![-1e30; 256]),
            ("hundreds equal and ahead", equal_ahead.collect()),
            ("thousands equal and behind", equal_behind.collect()),
            ("mostly minus infinity", scattered),
            ("a huge range", huge.to_vec()),
            ("neighbouring floats", (0..500).map(|i| f32::from_bits(0x4140_0000 + (i * 37) % 500)).collect()),
            ("plausible", plausible(3000)),
        ];
        // Every case is tested with every third setting; all combinations would take minutes.
        for (case, (name, logits)) in cases.into_iter().enumerate() {
            let settings = all_settings().into_iter().skip(case % 3).step_by(3).collect::<Vec<_>>();
            check(name, gpu, &logits, &settings);
        }
    });
}

/// A vocabulary divided among many workgroups.
#[test]
fn large_vocabulary_gives_the_same_choices() {
    on_gpu(|gpu| {
        let mut logits = plausible(50_000);
        let third = logits[3];
        logits[49_000..].fill(third);
        let settings = [(0.8, 40, 1.0), (0.8, 0, 0.95), (1.0, 0, 1.0), (5.0, 300, 0.95), (5.0, 0, 1.0), (5.0, 20_000, 0.3)];
        check("large", gpu, &logits, &settings.map(|(temperature, top_k, top_p)| sampling(temperature, top_k, top_p)));
    });
}

#[test]
fn broken_scores_are_reported() {
    on_gpu(|gpu| {
        for logits in [vec![f32::NAN; 300], vec![0.0, f32::NAN, 1.0], vec![0.0, f32::INFINITY], vec![f32::NEG_INFINITY; 9]] {
            let choices = Choices::new(gpu, &logits);
            for sampling in [sampling(0.0, 0, 1.0), sampling(0.8, 2, 0.9), sampling(0.8, 0, 1.0)] {
                let records = choices.make(sampling, &[0.1, 0.9]);
                assert!(records.iter().all(|[_, _, is_broken, _]| *is_broken == 1), "{logits:?}: {records:?}");
            }
        }
    });
}

#[test]
fn draw_takes_six_dispatches_and_three_for_each_search() {
    on_gpu(|gpu| {
        let choices = Choices::new(gpu, &[0.0; 300]);
        for (settings, expected) in
            [((0.8, 0, 1.0), 6), ((0.8, 40, 1.0), 9), ((0.8, 300, 0.9), 9), ((0.8, 40, 0.9), 12), ((0.0, 40, 0.9), 2)]
        {
            let (temperature, top_k, top_p) = settings;
            assert_eq!(choices.chooser.steps(&choices.state, sampling(temperature, top_k, top_p)).len(), expected, "{settings:?}");
        }
    });
}
