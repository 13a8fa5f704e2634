//! Figures computed from a channel's weights alone: norms, and sums of magnitudes. They are computed on the device in
//! blocks of rows, so that a packed matrix is never completely unpacked.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::error::AnalysisError;
use crate::model::Model;
use crate::model::layers::{Layout, Linear};
use crate::model::mlp::{Hidden, Mlp};
use crate::tensors::Transaction;

/// Scalars that are processed at once.
pub(super) const BLOCK: usize = 1 << 22;
/// Scalars that are processed at once on the CPU: a block fits into its cache. Larger blocks take several times as
/// long.
const BLOCK_ON_CPU: usize = 1 << 16;

/// The number of scalars to process at once on a model's device.
pub(super) fn block_of(model: &Model) -> usize {
    if model.largest_buffer().is_some() { BLOCK } else { BLOCK_ON_CPU }
}

/// Norms of each channel's weights in one layer.
#[derive(Debug, Clone)]
pub struct Norms {
    /// `‖down_proj.weight[:, i]‖₂`.
    pub down: Vec<f32>,
    /// `Σ_h |down_proj.weight[h, i]|`.
    pub down_magnitude: Vec<f32>,
    /// `‖gate_proj.weight[i, :]‖₂`; empty for a block without a gate.
    pub gate: Vec<f32>,
    /// `‖up_proj.weight[i, :]‖₂` (`c_fc` for GPT-2).
    pub up: Vec<f32>,
}

impl Norms {
    /// Computes the norms of one feed-forward block.
    ///
    /// # Errors
    ///
    /// A failing device.
    pub async fn of(mlp: &Mlp) -> Result<Self, AnalysisError> {
        let norms = |linear, side| sums(linear, side, BLOCK, |block, _| block.clone() * block).sqrt();
        let (gate, up) = reading(&mlp.hidden);
        let down_magnitude = sums(&mlp.down_proj, Side::In, BLOCK, |block, _| block.abs());
        let mut vectors = vec![norms(&mlp.down_proj, Side::In), down_magnitude, norms(up, Side::Out)];
        vectors.extend(gate.map(|gate| norms(gate, Side::Out)));
        let mut vectors = read(vectors).await?.into_iter();
        let mut next = || vectors.next().unwrap_or_default();
        Ok(Self { down: next(), down_magnitude: next(), up: next(), gate: next() })
    }
}

/// Returns `Σ_j (|gate_proj[i, j]| + |up_proj[i, j]|) x_j` of each channel (`c_fc` for GPT-2); `x` has `hidden_size`
/// scalars.
///
/// # Errors
///
/// A failing device.
pub async fn reading_magnitudes(mlp: &Mlp, x: &[f32]) -> Result<Vec<f32>, AnalysisError> {
    let (gate, up) = reading(&mlp.hidden);
    let x = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [x.len(), 1]), &up.weight.device());
    let total = gate.into_iter().fold(weighted(up, &x, BLOCK), |sum, gate| sum + weighted(gate, &x, BLOCK));
    Ok(read(vec![total]).await?.pop().unwrap_or_default())
}

/// Returns `Σ_j |weight[i, j]| x_j` of each output `i`; `x` is `[inputs, 1]`.
fn weighted(linear: &Linear, x: &Tensor<2>, block: usize) -> Tensor<1> {
    sums(linear, Side::Out, block, |block, inputs| {
        let x = x.clone().slice([inputs, 0..1]);
        block.abs() * if linear.layout == Layout::OutIn { x.transpose() } else { x }
    })
}

/// The matrices that a block's channels read with: the gate, if there is one, and the up projection.
pub(super) fn reading(hidden: &Hidden) -> (Option<&Linear>, &Linear) {
    match hidden {
        Hidden::Gated { gate_proj, up_proj } => (Some(gate_proj), up_proj),
        Hidden::Plain { c_fc } => (None, c_fc),
    }
}

async fn read(vectors: Vec<Tensor<1>>) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let transaction = vectors.into_iter().fold(Transaction::default(), Transaction::register);
    let read = transaction.execute_async().await?;
    Ok(read.into_iter().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()).collect())
}

/// The side of a linear map whose scalars belong to channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    In,
    Out,
}

/// Applies `of` to the scalars of each channel and sums them per channel; see [`by_blocks`].
pub(super) fn sums(linear: &Linear, side: Side, block: usize, of: impl Fn(Tensor<2>, Range<usize>) -> Tensor<2>) -> Tensor<1> {
    by_blocks(linear, side, block, of, |values, dim| values.sum_dim(dim))
}

/// The largest magnitude among the scalars of each channel.
pub(super) fn largest(linear: &Linear, side: Side, block: usize) -> Tensor<1> {
    by_blocks(linear, side, block, |block, _| block.abs(), |values, dim| values.max_dim(dim))
}

/// Applies `of` to the scalars of each channel and reduces them per channel. `of` gets whole rows of the stored matrix
/// (at most `block` scalars, or one row) and the range of the other side that these rows span. `reduce` gets a
/// dimension, and may be applied to its own results.
fn by_blocks(
    linear: &Linear,
    side: Side,
    block: usize,
    of: impl Fn(Tensor<2>, Range<usize>) -> Tensor<2>,
    reduce: impl Fn(Tensor<2>, usize) -> Tensor<2>,
) -> Tensor<1> {
    let [rows, cols] = linear.weight.dims();
    let by_row = (side == Side::Out) == (linear.layout == Layout::OutIn);
    let step = (block / cols.max(1)).max(1);
    let of_block = |first: usize| {
        let rows = first..(first + step).min(rows);
        let block = linear.weight.block(rows.clone(), 0..cols);
        reduce(of(block, if by_row { 0..cols } else { rows }), usize::from(by_row))
    };
    let blocks = (0..rows).step_by(step).map(of_block).collect::<Vec<_>>();
    // Blocks of rows follow one another; partial results of columns are reduced once more.
    let reduced = if by_row { Tensor::cat(blocks, 0) } else { reduce(Tensor::cat(blocks, 0), 0) };
    let [a, b] = reduced.dims();
    reduced.reshape([a * b])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::tensors::Weight;

    /// A map of two inputs to three outputs: `[[1, -2], [-3, 4], [5, -6]]`.
    fn linear(layout: Layout) -> Linear {
        let weight = Tensor::<2>::from_data([[1.0, -2.0], [-3.0, 4.0], [5.0, -6.0]], &Device::flex());
        let weight = if layout == Layout::OutIn { weight } else { weight.transpose() };
        Linear { weight: Weight::F32(weight), bias: None, layout, input_rounding: None }
    }

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn sums_are_the_same_in_any_layout_and_blocks() {
        let x = Tensor::<2>::from_data([[10.0], [100.0]], &Device::flex());
        for layout in [Layout::OutIn, Layout::InOut] {
            let linear = linear(layout);
            // Blocks of one row, of two of the three rows, and of the whole matrix.
            for block in [1, 4, 100] {
                let magnitudes = |side| values(sums(&linear, side, block, |block, _| block.abs()));
                assert_eq!((magnitudes(Side::Out), magnitudes(Side::In)), (vec![3.0, 7.0, 11.0], vec![9.0, 12.0]), "{layout:?} {block}");
                let largest = |side| values(largest(&linear, side, block));
                assert_eq!((largest(Side::Out), largest(Side::In)), (vec![2.0, 4.0, 6.0], vec![5.0, 6.0]), "{layout:?} {block}");
                assert_eq!(values(weighted(&linear, &x, block)), [210.0, 430.0, 650.0], "{layout:?} {block}");
            }
        }
    }
}
