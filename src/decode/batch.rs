//! Requests tokens from the GPU, several at a time and for several plans at once.

use burn::tensor::wgpu::wgpu::BufferUsages as Usage;

use super::DecodePlan;
use super::error::DecodeError;
use super::read::{Reading, to_bytes, words};

/// The most tokens between two reads.
pub const MAX_BATCH: usize = 8;
/// Bytes of a drawn token's record: id, stopword mass, a flag for broken scores, unused.
const RECORD_BYTES: u64 = 16;
/// Offset of `n_drawn` in the state, in bytes.
const N_DRAWN_OFFSET: u64 = 8;

/// A token that the GPU chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawn {
    pub token_id: u32,
    /// Probability of a stopword at this token, before the draw.
    pub stopword_mass: f32,
}

/// The logits after a fed token, while they are being read.
pub struct Logits {
    reading: Reading,
    vocab_size: usize,
}

impl Logits {
    pub(super) fn new(reading: Reading, vocab_size: usize) -> Self {
        Self { reading, vocab_size }
    }

    /// # Errors
    ///
    /// [`DecodeError::Read`].
    pub async fn read(self) -> Result<Vec<f32>, DecodeError> {
        let mut logits = words(&self.reading.bytes().await?).into_iter().map(f32::from_bits).collect::<Vec<_>>();
        logits.truncate(self.vocab_size);
        Ok(logits)
    }
}

/// Tokens that the GPU is still choosing: the same number for each plan.
pub struct Batch {
    readings: Vec<Reading>,
    n: usize,
}

/// Chooses `n` tokens in each plan, with one submission for each token, and starts to read them. Further batches may
/// be submitted before this one is read. Each plan comes with its random numbers (0 to 1, without 1), one for each
/// token; greedy plans need none.
///
/// # Errors
///
/// [`DecodeError`] if a cache cannot grow.
///
/// # Panics
///
/// If `n` is 0 or larger than [`MAX_BATCH`].
pub fn submit(plans: &mut [(&mut DecodePlan, Vec<f64>)], n: usize) -> Result<Batch, DecodeError> {
    assert!((1..=MAX_BATCH).contains(&n), "a batch of {n}");
    // All caches grow before any plan continues, so that no plan gets ahead of the others.
    for (plan, _) in plans.iter_mut() {
        plan.reserve(plan.position + n)?;
    }
    for (plan, uniforms) in plans.iter_mut() {
        plan.chooser.set_uniforms(&uniforms[..n.min(uniforms.len())]);
        plan.position += n;
        plan.gpu.queue.write_buffer(&plan.scratch.state, N_DRAWN_OFFSET, &to_bytes([0]));
    }
    let Some(gpu) = plans.first().map(|(plan, _)| plan.gpu.clone()) else { return Ok(Batch { readings: Vec::new(), n }) };
    for _ in 0..n {
        let mut encoder = gpu.encoder();
        for (plan, _) in plans.iter() {
            plan.encode(&mut encoder, &[&plan.forward, &plan.choose]);
        }
        gpu.queue.submit([encoder.finish()]);
    }
    let mut encoder = gpu.encoder();
    let bytes = RECORD_BYTES * n as u64;
    let copies = plans.iter().map(|(plan, _)| {
        let staging = gpu.buffer("staging", bytes, Usage::MAP_READ | Usage::COPY_DST);
        encoder.copy_buffer_to_buffer(&plan.chooser.drawn, 0, &staging, 0, bytes);
        staging
    });
    let stagings = copies.collect::<Vec<_>>();
    gpu.queue.submit([encoder.finish()]);
    Ok(Batch { readings: stagings.into_iter().map(|staging| Reading::start(&gpu, staging)).collect(), n })
}

impl Batch {
    /// Number of tokens of each plan.
    #[allow(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.n
    }

    /// The tokens that each plan drew, in the plans' order.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Read`], [`DecodeError::NonFinite`].
    pub async fn read(self) -> Result<Vec<Vec<Drawn>>, DecodeError> {
        let mut all = Vec::new();
        for reading in self.readings {
            let words = words(&reading.bytes().await?);
            let drawn = words.as_chunks().0.iter().take(self.n).map(|[token_id, mass, is_broken, _]| match is_broken {
                0 => Ok(Drawn { token_id: *token_id, stopword_mass: f32::from_bits(*mass) }),
                _ => Err(DecodeError::NonFinite),
            });
            all.push(drawn.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(all)
    }
}
