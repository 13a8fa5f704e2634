//! Simulation of weights rounded to a few bits in blocks: the rounded model is a new [`Model`] in f32.
//!
//! All matrices of all layers are rounded (queries, keys, values, output, gate, up, down; fused ones as one matrix);
//! norms, biases, embeddings and head are not. A **block** is a number of consecutive scalars of a matrix in the
//! checkpoint's flat order: `[out, in]`, or `[in, out]` for GPT-2, as the super-weight paper's code
//! (mengxiayu/LLMSuperWeight) would also take them. If the block size does not divide a matrix, the last block is
//! shorter, whereas that code takes the whole matrix as one block. A block size larger than a matrix means the whole
//! matrix.
//! matrix.

use burn::tensor::Tensor;

use super::error::AnalysisError;
use crate::job::control::Control;
use crate::model::Model;
use crate::tensors::{self, DeviceError, Weight};
use crate::terms::{Matrix, WeightCoord};

/// The handling of super weights and other outlier weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Round-to-nearest: super weights are rounded like all others.
    Nearest,
    /// Super weights are left out of their block's range and restored afterwards. The paper replaces them by the median
    /// first; any value within the range of the other weights gives the same result.
    HeldOut,
    /// Weights are clipped to ±(mean|w| + z std|w|) of their block before its range is taken, and super weights are
    /// restored afterwards. The mean and the unbiased standard deviation are over all weights of the block, as in the
    /// paper's code.
    Clipped(f32),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounding {
    /// Bits of a rounded weight, 1 to 16.
    pub bits: u32,
    /// Scalars of a block; 0 is the whole matrix.
    pub block_size: usize,
    pub method: Method,
}

/// A rounded model and its distance from the intact one.
pub struct Rounded {
    pub model: Model,
    /// Mean of `(w - w')²` over all scalars of all rounded matrices.
    pub mean_squared_error: f64,
}

/// Rounds a model matrix by matrix, so that it takes only one extra model's memory.
///
/// # Errors
///
/// [`DeviceError::GpuTooSmall`] if the GPU cannot hold a matrix in f32, a failing device, or a stop.
pub async fn with_rounded_weights(
    model: &Model,
    rounding: Rounding,
    super_weights: &[WeightCoord],
    control: &Control,
) -> Result<Rounded, AnalysisError> {
    check_fits(model)?;
    let mut rounded = model.clone();
    let (mut errors, mut n_scalars) = (Vec::new(), 0.0);
    for (index, layer) in rounded.layers.iter_mut().enumerate() {
        control.checkpoint().await?;
        for matrix in Matrix::ALL {
            let Some(linear) = layer.matrix_mut(matrix) else { continue };
            let of_matrix = super_weights.iter().filter(|at| matrix == Matrix::DownProj && at.layer == index);
            let held = of_matrix.map(|at| linear.flat_index(at.row, at.col)).collect::<Vec<_>>();
            let exact = linear.weight.to_f32();
            let new = rounded_matrix(exact.clone(), rounding, &held);
            let [rows, cols] = exact.dims();
            let apart = (new.clone() - exact).reshape([1, rows * cols]);
            errors.push(tensors::moved_to(tensors::row_sums(apart.clone() * apart), &model.device()));
            n_scalars += rows as f64 * cols as f64;
            linear.weight = Weight::F32(new);
        }
    }
    let errors = Tensor::cat(errors, 0).into_data_async().await?.convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
    let sum = errors.into_iter().map(f64::from).sum::<f64>();
    Ok(Rounded { model: rounded, mean_squared_error: sum / n_scalars })
}

/// Returns the distinct sizes of a model's matrices in scalars, ascending.
pub fn matrix_sizes(model: &Model) -> Vec<usize> {
    let mut layers = model.layers.clone();
    let matrices = layers.iter_mut().flat_map(|layer| Matrix::ALL.map(|matrix| layer.matrix_mut(matrix).map(|linear| linear.shape())));
    let mut sizes = matrices.flatten().map(|[out, input]| out * input).collect::<Vec<_>>();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Checks that a rounded matrix fits on the device, because it may take twice the size of the packed one.
pub(super) fn check_fits(model: &Model) -> Result<(), AnalysisError> {
    let needed = 4 * matrix_sizes(model).last().map_or(0, |n| *n as u64);
    match model.largest_buffer().filter(|limit| needed > *limit) {
        Some(limit) => Err(DeviceError::GpuTooSmall { needed, limit }.into()),
        None => Ok(()),
    }
}

/// Rounds one matrix; `held` are the flat indices of the super weights in it.
pub fn rounded_matrix(weight: Tensor<2>, rounding: Rounding, held: &[usize]) -> Tensor<2> {
    let [rows, cols] = weight.dims();
    let n = rows * cols;
    let block = if rounding.block_size == 0 { n } else { rounding.block_size.min(n) };
    let exact = weight.reshape([n]);
    let held = if rounding.method == Method::Nearest { &[] } else { held };
    let counted = match rounding.method {
        Method::HeldOut => with_stand_ins(&exact, held, block),
        Method::Nearest | Method::Clipped(_) => exact.clone(),
    };
    let in_blocks = |part: Tensor<1>, block: usize| {
        let len = part.dims()[0];
        let mut blocks = part.reshape([len / block, block]);
        if let Method::Clipped(z) = rounding.method {
            blocks = tensors::clipped_rows(blocks, z);
        }
        tensors::rounded_rows(blocks, rounding.bits).reshape([len])
    };
    let whole = n / block * block;
    let mut rounded = match n - whole {
        0 => in_blocks(counted, block),
        rest => {
            let parts = [(0..whole, block), (whole..n, rest)];
            Tensor::cat(parts.map(|(range, block)| in_blocks(counted.clone().slice([range]), block)).into(), 0)
        }
    };
    for index in held {
        let at = [*index..index + 1];
        rounded = rounded.slice_assign(at.clone(), exact.clone().slice(at));
    }
    rounded.reshape([rows, cols])
}

/// Replaces each super weight by another weight of its block, so that it does not affect the range. In a block of
/// super weights alone the range does not matter, because all of them are restored.
fn with_stand_ins(exact: &Tensor<1>, held: &[usize], block: usize) -> Tensor<1> {
    let n = exact.dims()[0];
    let mut counted = exact.clone();
    for index in held {
        let first = index / block * block;
        if let Some(other) = (first..(first + block).min(n)).find(|other| !held.contains(other)) {
            counted = counted.slice_assign([*index..index + 1], exact.clone().slice([other..other + 1]));
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn rounded(values: &[f32], cols: usize, bits: u32, block_size: usize, method: Method, held: &[usize]) -> Vec<f32> {
        let shape = [values.len() / cols, cols];
        let weight = Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex());
        rounded_matrix(weight, Rounding { bits, block_size, method }, held).into_data().try_into_vec().unwrap()
    }

    #[test]
    fn blocks_run_on_over_rows_and_the_last_may_be_short() {
        // The blocks are [0, 1.4, 3, 1.6] and [0, 14, 30, 16], and a short one, [7, 8].
        let values = [0.0, 1.4, 3.0, 1.6, 0.0, 14.0, 30.0, 16.0, 7.0, 8.0];
        let expected = [0.0, 1.0, 3.0, 2.0, 0.0, 10.0, 30.0, 20.0, 7.0, 8.0];
        assert_eq!(rounded(&values, 5, 2, 4, Method::Nearest, &[]), expected);
    }

    #[test]
    fn block_not_smaller_than_the_matrix_is_all_of_it() {
        let values = [0.0, 1.4, 3.0, 1.6, 0.0, 14.0, 30.0, 16.0];
        let whole = rounded(&values, 4, 3, 0, Method::Nearest, &[]);
        assert_eq!(rounded(&values, 4, 3, 8, Method::Nearest, &[]), whole);
        assert_eq!(rounded(&values, 4, 3, 1000, Method::Nearest, &[]), whole);
        assert_ne!(rounded(&values, 4, 3, 4, Method::Nearest, &[]), whole);
    }

    #[test]
    fn held_out_values_leave_the_range_to_the_others_and_stay() {
        let values = [0.0, 1.4, -123.4, 3.0, 1.6, 0.0, 2.9, 77.7];
        let held = rounded(&values, 4, 2, 0, Method::HeldOut, &[2, 7]);
        assert_eq!(held, [0.0, 1.0, -123.4, 3.0, 2.0, 0.0, 3.0, 77.7]);
        // The median, or any other value within the range of the others, gives the same result.
        for other in [0.0, 1.5, 3.0] {
            let replaced = values.map(|value| if value.abs() > 3.0 { other } else { value });
            let median = rounded(&replaced, 4, 2, 0, Method::Nearest, &[]);
            assert!((0..8).filter(|i| ![2, 7].contains(i)).all(|i| median[i] == held[i]), "{other}: {median:?}");
        }
        let nearest = rounded(&values, 4, 2, 0, Method::Nearest, &[2, 7]);
        assert!((nearest[7] - 77.7).abs() < 1e-4);
        assert_eq!((nearest[0], nearest[1]), (nearest[3], nearest[3]), "all others fall together: {nearest:?}");
    }

    #[test]
    fn blocks_held_out_whole_and_constant_blocks_stay() {
        assert_eq!(rounded(&[5.0, -3.0, 0.5, 0.5], 4, 3, 2, Method::HeldOut, &[0, 1]), [5.0, -3.0, 0.5, 0.5]);
        assert_eq!(rounded(&[0.5, 9.0, 0.25, 0.25], 4, 3, 2, Method::HeldOut, &[1]), [0.5, 9.0, 0.25, 0.25]);
    }

    #[test]
    fn outliers_are_clipped_and_super_weights_come_back() {
        // |w| is 1, 1, 1, 5: mean 2, deviation 2, so that z = 1 bounds at 4: steps of 5/3 from -1.
        let values = [1.0, -1.0, 1.0, 5.0];
        let close = |ours: Vec<f32>, expected: [f32; 4]| ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        let clipped = rounded(&values, 4, 2, 0, Method::Clipped(1.0), &[]);
        assert!(close(clipped.clone(), [2.0 / 3.0, -1.0, 2.0 / 3.0, 4.0]), "{clipped:?}");
        let restored = rounded(&values, 4, 2, 0, Method::Clipped(1.0), &[3]);
        assert!(close(restored.clone(), [2.0 / 3.0, -1.0, 2.0 / 3.0, 5.0]), "{restored:?}");
        // No weight is that far out, so the result is round-to-nearest.
        assert_eq!(rounded(&values, 4, 2, 0, Method::Clipped(9.0), &[]), rounded(&values, 4, 2, 0, Method::Nearest, &[]));
    }
}
