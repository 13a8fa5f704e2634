//! Chooses the next token from the logits on the GPU, like [`crate::sampling::Sampler`].
//!
//! | kernel | reads | writes | grid |
//! |---|---|---|---|
//! | scan | logits | found: largest, stopword mass, NaN | 64 parts |
//! | pick (greedy) | found | the token | 1 |
//! | narrow, several times | logits, bins of the one before | bins | vocabulary |
//! | draw | the last bins | the token | 1 |
//!
//! A draw is up to three searches for a place in the order of falling logits: the end of `top_k`, the end of `top_p`,
//! and the place of the random number. Each takes a dispatch for every 8 bits of a logit; the first dispatch serves
//! all three.

use burn::tensor::wgpu::wgpu;
use wgpu::BufferUsages as Usage;

use super::batch::MAX_BATCH;
use super::gpu::{DecodeGpu, Step};
use super::grid::WORKGROUP;
use super::kernels::{Access, Kernel};
use super::read::to_bytes;
use crate::terms::Sampling;

/// Number of workgroups of `scan`, and of its partial results, which the other kernels combine.
const SCAN_PARTS: usize = 64;
/// Tokens that a workgroup of `narrow` counts. With a smaller number, a large vocabulary has more workgroups, each of
/// which repeats the search; with a larger one, a small vocabulary leaves the GPU idle.
const COUNTED: usize = 4 * WORKGROUP;
/// Number of digits of a key, of 8 bits each.
const LEVELS: usize = 4;
/// The most dispatches with bins: the first, and three for each of three searches. One more slot is for the bins that
/// `narrow` clears in advance.
const SLOTS: usize = 1 + 3 * (LEVELS - 1) + 1;
/// Words of a dispatch's bins; `SEARCH` is the number of words of a search.
const BINS: usize = 4 * 256;
const SEARCH: usize = 10;

/// The place that a search looks for in the order of falling logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    TopK = 0,
    Nucleus = 1,
    Draw = 2,
}

/// The logits, and the buffers for choosing from them.
pub(super) struct Chooser {
    gpu: DecodeGpu,
    vocab_size: usize,
    pub logits: wgpu::Buffer,
    pub drawn: wgpu::Buffer,
    stopwords: wgpu::Buffer,
    found: wgpu::Buffer,
    /// Random numbers of a batch, as fractions of 2^32.
    uniforms: wgpu::Buffer,
    bins: wgpu::Buffer,
    searches: wgpu::Buffer,
}

impl Chooser {
    pub fn new(gpu: &DecodeGpu, vocab_size: usize, stopword_ids: &[u32]) -> Self {
        let mut stopwords = vec![0_u32; vocab_size.div_ceil(32)];
        for id in stopword_ids.iter().map(|id| *id as usize).filter(|id| *id < vocab_size) {
            stopwords[id / 32] |= 1 << (id % 32);
        }
        let storage = |label, words: usize| gpu.storage(label, words as u64);
        Self {
            gpu: gpu.clone(),
            vocab_size,
            logits: storage("logits", vocab_size),
            drawn: storage("drawn", 4 * MAX_BATCH),
            stopwords: gpu.filled("stopwords", &to_bytes(stopwords), Usage::STORAGE),
            found: storage("found", 8 * SCAN_PARTS),
            uniforms: storage("uniforms", MAX_BATCH),
            bins: storage("bins", SLOTS * BINS),
            searches: storage("searches", SLOTS * SEARCH),
        }
    }

    /// Passes in the random numbers of the next tokens, 0 to 1.
    pub fn set_uniforms(&self, uniforms: &[f64]) {
        let uniforms = to_bytes(uniforms.iter().map(|uniform| fraction(*uniform)));
        self.gpu.queue.write_buffer(&self.uniforms, 0, &uniforms);
    }

    /// The dispatches that put the next token into `state`.
    pub fn steps(&self, state: &wgpu::Buffer, sampling: Sampling) -> Vec<Step> {
        let Self { gpu, logits, stopwords, found, drawn, uniforms, bins, searches, .. } = self;
        let bindings = |buffers: &[&wgpu::Buffer], kernel: &Kernel, grid: usize| {
            let resources = buffers.iter().map(|buffer| buffer.as_entire_binding()).collect::<Vec<_>>();
            gpu.step(kernel, &resources, [grid as u32, 1, 1])
        };
        let mut steps = vec![bindings(&[logits, stopwords, found], &self.scan(), SCAN_PARTS)];
        if sampling.temperature <= 0.0 {
            steps.push(bindings(&[state, found, drawn], &pick(), 1));
            return steps;
        }
        let stages = self.stages(sampling);
        let (narrow, draw) = (self.narrow(), self.draw());
        let n_narrow = stages.len() - 1;
        for (slot, (level, goal)) in stages.into_iter().enumerate() {
            let Sampling { top_k, top_p, temperature, .. } = sampling;
            let words = [slot as u32, level as u32, goal as u32, top_k as u32, fraction(f64::from(top_p)), temperature.to_bits()];
            let stage = &gpu.filled("stage", &to_bytes(words), Usage::UNIFORM);
            steps.push(if slot < n_narrow {
                bindings(&[stage, state, uniforms, logits, bins, searches, found], &narrow, self.n_counting())
            } else {
                bindings(&[stage, state, uniforms, logits, bins, searches, found, drawn], &draw, 1)
            });
        }
        steps
    }

    /// Digit and search of every dispatch after the scan. The last dispatch draws.
    fn stages(&self, Sampling { top_k, top_p, .. }: Sampling) -> Vec<(usize, Goal)> {
        let mut goals = vec![Goal::Draw];
        if top_p < 1.0 {
            goals.insert(0, Goal::Nucleus);
        }
        if (1..self.vocab_size).contains(&top_k) {
            goals.insert(0, Goal::TopK);
        }
        let digits = goals.iter().flat_map(|goal| (1..LEVELS).map(|level| (level, *goal)));
        [(0, goals[0])].into_iter().chain(digits).chain([(LEVELS, Goal::Draw)]).collect()
    }

    /// Workgroups of `narrow`.
    fn n_counting(&self) -> usize {
        self.vocab_size.div_ceil(COUNTED)
    }

    /// Bindings: logits, stopwords, found.
    fn scan(&self) -> Kernel {
        Kernel::new("scan")
            .read("logits", "array<f32>")
            .read("stopwords", "array<u32>")
            .write("found", "array<vec4<u32>>")
            .constant("VOCAB", self.vocab_size)
            .constant("PARTS", SCAN_PARTS)
            .text(include_str!("wgsl/scan.wgsl"))
    }

    /// Bindings: stage, state, uniforms, logits, bins, searches, found.
    fn narrow(&self) -> Kernel {
        self.search(Kernel::new("narrow"), Access::Read)
            .read("found", "array<vec4<u32>>")
            .constant("PARTS", SCAN_PARTS)
            .constant("COUNTING", self.n_counting())
            .text(include_str!("wgsl/narrow.wgsl"))
    }

    /// Bindings: stage, state, uniforms, logits, bins, searches, found, drawn.
    fn draw(&self) -> Kernel {
        summary(self.search(Kernel::new("draw"), Access::ReadWrite)).text(include_str!("wgsl/draw.wgsl"))
    }

    fn search(&self, kernel: Kernel, state: Access) -> Kernel {
        // `ONE` is chosen so that the masses of the whole vocabulary add up to less than 2^64.
        let one = 1 << (31 - self.vocab_size.next_power_of_two().ilog2());
        kernel
            .bind(Access::Uniform, "stage", "Stage")
            .state(state)
            .read("uniforms", "array<u32>")
            .read("logits", "array<f32>")
            .write("bins", "array<atomic<u32>>")
            .write("searches", "array<Search>")
            .constant("VOCAB", self.vocab_size)
            .constant("ONE", one)
            .constant("TOP_K", Goal::TopK as usize)
            .constant("NUCLEUS", Goal::Nucleus as usize)
            .text(include_str!("wgsl/search.wgsl"))
    }
}

/// Bindings: state, found, drawn.
fn pick() -> Kernel {
    summary(Kernel::new("pick").state(Access::ReadWrite)).text(include_str!("wgsl/pick.wgsl"))
}

fn summary(kernel: Kernel) -> Kernel {
    kernel
        .read("found", "array<vec4<u32>>")
        .write("drawn", "array<vec4<u32>>")
        .constant("PARTS", SCAN_PARTS)
        .text(include_str!("wgsl/summary.wgsl"))
}

/// A value from 0 to 1 as a fraction of 2^32, rounded down; 1, which would overflow, becomes the largest fraction.
fn fraction(value: f64) -> u32 {
    (value * 2_f64.powi(32)) as u32
}

#[cfg(all(test, feature = "cli"))]
#[path = "choose_tests.rs"]
mod tests;
