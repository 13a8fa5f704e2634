//! Scores of every feed-forward channel, by one forward and one backward pass a sequence (arXiv:2604.23475, section 3, and
//! the authors' `llm_experiments.py`). What the scores are is said at [`ChannelScores`].
//!
//! `u` and its gradient meet where the backward pass crosses a layer's `down_proj`, and only their sums over tokens go
//! on from there ([`crate::tensors::tap`]): in f32 on the device within a sequence, in f64 on the host between
//! sequences. Sequences run one at a time, and each ends with one small read (24 bytes a channel), so memory does not grow
//! with their number. What one sequence takes is told at [`super::backward`].

use burn::tensor::{Tensor, Transaction};

use super::backward::{Limits, sequence_sums};
use crate::engine::error::EngineError;
use crate::model::Model;
use crate::model::layers::{Layout, Linear};
use crate::model::mlp::Hidden;
use crate::terms::ChannelScores;

/// Scalars that are squared at once.
const BLOCK: usize = 1 << 22;

/// Running sums over sequences, and the norms of the weights.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Of each layer, the rows of [`crate::tensors::channel_sums`], one after the other.
    sums: Vec<Vec<f64>>,
    norms: Vec<Norms>,
    loss: f64,
    pub n_sequences: usize,
    pub n_tokens: usize,
}

/// Of each channel's weights, in one layer.
#[derive(Debug, Clone)]
struct Norms {
    down: Vec<f32>,
    /// Empty where there is no gate.
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl Scores {
    /// Nothing summed yet; the weights' norms are read.
    ///
    /// # Errors
    ///
    /// A failing device.
    pub async fn new(model: &Model) -> Result<Self, EngineError> {
        let mut norms = Vec::new();
        for layer in &model.layers {
            norms.push(Norms::of(&layer.mlp.down_proj, &layer.mlp.hidden).await?);
        }
        Ok(Self { sums: vec![Vec::new(); model.layers.len()], norms, loss: 0.0, n_sequences: 0, n_tokens: 0 })
    }

    /// Adds one sequence of at least two tokens.
    ///
    /// # Errors
    ///
    /// A failing device, or a sum that is not finite; what was summed before is left as it was.
    pub async fn add(&mut self, model: &Model, ids: &[u32]) -> Result<(), EngineError> {
        let of_sequence = sequence_sums(model, ids, Limits::default()).await?;
        for (sums, of_layer) in self.sums.iter_mut().zip(&of_sequence.layers) {
            add_to(sums, &of_layer.channels);
        }
        self.loss += f64::from(of_sequence.loss);
        self.n_sequences += 1;
        self.n_tokens += ids.len();
        Ok(())
    }

    /// Mean of the sequences' mean next-token cross-entropies.
    pub fn loss_nats(&self) -> f32 {
        (self.loss / self.n_sequences.max(1) as f64) as f32
    }

    /// Each layer's loss proxy, which is all that a chart needs while more is coming.
    pub fn loss_proxies(&self) -> Vec<Vec<f32>> {
        (0..self.sums.len()).map(|layer| self.loss_proxy(layer)).collect()
    }

    fn loss_proxy(&self, layer: usize) -> Vec<f32> {
        self.mean(layer, Row::ProductSquare).map(|mean| (0.5 * mean) as f32).collect()
    }

    /// Everything, layer by layer.
    pub fn channels(&self) -> Vec<ChannelScores> {
        let of_layer = |(layer, norms): (usize, &Norms)| {
            let mean = |row| self.mean(layer, row).map(|mean| mean as f32).collect();
            ChannelScores {
                layer,
                loss_proxy: self.loss_proxy(layer),
                mean_activation: mean(Row::Value),
                activation_power: mean(Row::Square),
                peak_activation: self.row(layer, Row::Peak).map(|peak| peak as f32).collect(),
                curvature: mean(Row::GradientSquare),
                taylor: mean(Row::Product),
                down_norm: norms.down.clone(),
                gate_norm: norms.gate.clone(),
                up_norm: norms.up.clone(),
                wanda: Vec::new(),
            }
        };
        self.norms.iter().enumerate().map(of_layer).collect()
    }

    fn row(&self, layer: usize, row: Row) -> impl Iterator<Item = f64> {
        let sums = &self.sums[layer];
        let width = sums.len() / Row::ALL.len();
        sums.iter().skip(row as usize * width).take(width).copied()
    }

    fn mean(&self, layer: usize, row: Row) -> impl Iterator<Item = f64> {
        let n = self.n_tokens.max(1) as f64;
        self.row(layer, row).map(move |sum| sum / n)
    }
}

/// Rows of [`crate::tensors::channel_sums`], in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Value,
    Square,
    Peak,
    GradientSquare,
    Product,
    ProductSquare,
}

impl Row {
    const ALL: [Self; crate::tensors::N_CHANNEL_SUMS] =
        [Self::Value, Self::Square, Self::Peak, Self::GradientSquare, Self::Product, Self::ProductSquare];
}

/// Adds a sequence's rows; of the peaks the larger stays.
fn add_to(sums: &mut Vec<f64>, of_sequence: &[f32]) {
    sums.resize(of_sequence.len(), 0.0);
    let width = (of_sequence.len() / Row::ALL.len()).max(1);
    for (row, (sums, added)) in Row::ALL.iter().zip(sums.chunks_mut(width).zip(of_sequence.chunks(width))) {
        for (sum, added) in sums.iter_mut().zip(added.iter().copied().map(f64::from)) {
            *sum = if *row == Row::Peak { sum.max(added) } else { *sum + added };
        }
    }
}

impl Norms {
    async fn of(down_proj: &Linear, hidden: &Hidden) -> Result<Self, EngineError> {
        let (gate, up) = match hidden {
            Hidden::Gated { gate_proj, up_proj } => (Some(gate_proj), up_proj),
            Hidden::Plain { c_fc } => (None, c_fc),
        };
        let mut transaction = Transaction::default().register(norms(down_proj, Side::In)).register(norms(up, Side::Out));
        if let Some(gate) = gate {
            transaction = transaction.register(norms(gate, Side::Out));
        }
        let read = transaction.execute_async().await?;
        let mut vectors = read.into_iter().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default());
        let mut next = || vectors.next().unwrap_or_default();
        Ok(Self { down: next(), up: next(), gate: next() })
    }
}

/// Which side of a linear map the channels are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    In,
    Out,
}

/// The Euclidean norm of what belongs to each channel, in blocks of rows: a packed matrix is never unpacked whole.
fn norms(linear: &Linear, side: Side) -> Tensor<1> {
    let [rows, cols] = linear.weight.dims();
    let by_row = (side == Side::Out) == (linear.layout == Layout::OutIn);
    let step = (BLOCK / cols.max(1)).max(1);
    let squares = |first: usize| {
        let block = linear.weight.block(first..(first + step).min(rows), 0..cols);
        (block.clone() * block).sum_dim(usize::from(by_row))
    };
    let blocks = (0..rows).step_by(step).map(squares).collect::<Vec<_>>();
    // Of rows one after the other, of columns to be added.
    let sums = if by_row { Tensor::cat(blocks, 0) } else { Tensor::cat(blocks, 0).sum_dim(0) };
    let [a, b] = sums.dims();
    sums.sqrt().reshape([a * b])
}
