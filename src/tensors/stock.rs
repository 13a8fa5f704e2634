//! What each operation is, in Burn's own operations. The CPU runs these, and the kernels are held to them.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, read_sync};
use burn::tensor::{DType, IndexingUpdateOp, IntDType, Shape, TensorData};

use super::ops::Orientation;

pub(super) fn product<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, transposed: bool) -> FloatTensor<B> {
    let weight = if transposed { B::float_transpose(weight) } else { weight };
    B::float_matmul(x, weight)
}

/// Reads back and widens on the host: only a GPU has packed weights, and it has a kernel.
pub(super) fn unpack_bf16<B: Backend>(words: IntTensor<B>) -> FloatTensor<B> {
    let device = words.device();
    let shape = words.shape();
    let bytes = read_sync(B::int_into_data(words)).map(|data| data.bytes().to_vec()).unwrap_or_default();
    let data = TensorData::from_bytes_vec(bytes, Shape::new([shape[0], 2 * shape[1]]), DType::BF16);
    B::float_from_data(data.convert::<f32>(), &device)
}

pub(super) fn batch_matmul<B: Backend>(a: FloatTensor<B>, b: FloatTensor<B>, orientation: Orientation) -> FloatTensor<B> {
    match orientation {
        Orientation::Plain => B::float_matmul(a, b),
        Orientation::SecondTransposed => B::float_matmul(a, B::float_transpose(b)),
        Orientation::FirstTransposed => B::float_matmul(B::float_transpose(a), b),
    }
}

/// A vector with as many dimensions as `x`, the last of them its own.
fn along<B: Backend>(vector: FloatTensor<B>, x: &FloatTensor<B>) -> FloatTensor<B> {
    let mut dims = vec![1; x.rank()];
    dims[x.rank() - 1] = vector.shape()[0];
    B::float_reshape(vector, Shape::from(dims))
}

/// `√(mean(x²) + eps)` of the last dimension, which is kept.
fn root_mean_square<B: Backend>(x: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let last = x.rank() - 1;
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x), last);
    B::float_sqrt(B::float_add_scalar(mean, eps.into()))
}

pub(super) fn rms_norm<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let weight = along::<B>(weight, &x);
    B::float_mul(B::float_div(x.clone(), root_mean_square::<B>(x, eps)), weight)
}

/// With `r = √(mean(x²) + eps)` and `g = grad · weight`: `g / r - x mean(g x) / r³`.
pub(super) fn rms_norm_backward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, grad: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let last = x.rank() - 1;
    let g = B::float_mul(grad, along::<B>(weight, &x));
    let root = root_mean_square::<B>(x.clone(), eps);
    let normed = B::float_div(x, root.clone());
    let mean = B::float_mean_dim(B::float_mul(g.clone(), normed.clone()), last);
    B::float_div(B::float_sub(g, B::float_mul(normed, mean)), root)
}

pub(super) fn rotate<B: Backend>(x: FloatTensor<B>, cos: FloatTensor<B>, signed_sin: FloatTensor<B>, sign: f32) -> FloatTensor<B> {
    let [heads, seq, head_dim] = x.shape().dims();
    let half = head_dim / 2;
    let part = |from: usize, to: usize| B::float_slice(x.clone(), &[(0..heads).into(), (0..seq).into(), (from..to).into()]);
    let swapped = B::float_cat(vec![part(half, head_dim), part(0, half)], 2);
    let turned = B::float_mul(swapped, signed_sin);
    let turned = if sign < 0.0 { B::float_neg(turned) } else { turned };
    B::float_add(B::float_mul(x, cos), turned)
}

pub(super) fn attention_weights<B: Backend>(scores: FloatTensor<B>, mask: FloatTensor<B>, scale: f64) -> FloatTensor<B> {
    let [_, rows, total] = scores.shape().dims();
    let group = rows / mask.shape()[0];
    let mask = B::float_reshape(B::float_repeat_dim(mask, 0, group), Shape::new([1, rows, total]));
    B::softmax(B::float_add(B::float_mul_scalar(scores, scale.into()), mask), 2)
}

/// `p (grad - Σ grad p) scale`.
pub(super) fn attention_weights_backward<B: Backend>(weights: FloatTensor<B>, grad: FloatTensor<B>, scale: f64) -> FloatTensor<B> {
    let sum = B::float_sum_dim(B::float_mul(grad.clone(), weights.clone()), 2);
    B::float_mul_scalar(B::float_mul(weights, B::float_sub(grad, sum)), scale.into())
}

pub(super) fn silu_gate<B: Backend>(gate: FloatTensor<B>, up: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mul(B::float_mul(gate.clone(), B::sigmoid(gate)), up)
}

/// With `σ = sigmoid(gate)`: `grad up σ (1 + gate (1 - σ))`, and `grad gate σ`.
pub(super) fn silu_gate_backward<B: Backend>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let sigmoid = B::sigmoid(gate.clone());
    let one_minus = B::float_add_scalar(B::float_neg(sigmoid.clone()), 1.0.into());
    let slope = B::float_mul(sigmoid.clone(), B::float_add_scalar(B::float_mul(gate.clone(), one_minus), 1.0.into()));
    let of_gate = B::float_mul(B::float_mul(grad.clone(), up), slope);
    (of_gate, B::float_mul(grad, B::float_mul(gate, sigmoid)))
}

/// Targets as the indices of a gather along each row.
fn as_column<B: Backend>(targets: IntTensor<B>) -> IntTensor<B> {
    let rows = targets.shape()[0];
    B::int_reshape(targets, Shape::new([rows, 1]))
}

pub(super) fn cross_entropy<B: Backend>(logits: FloatTensor<B>, targets: IntTensor<B>) -> FloatTensor<B> {
    B::float_neg(B::float_gather(1, B::log_softmax(logits, 1), as_column::<B>(targets)))
}

/// `(softmax(logits) - onehot(targets)) · grad`.
pub(super) fn cross_entropy_backward<B: Backend>(logits: FloatTensor<B>, targets: IntTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let scaled = B::float_mul(B::softmax(logits, 1), grad.clone());
    B::float_scatter(1, scaled, as_column::<B>(targets), B::float_neg(grad), IndexingUpdateOp::Add)
}

pub(super) fn softmax_mass<B: Backend>(logits: FloatTensor<B>, mask: FloatTensor<B>) -> FloatTensor<B> {
    let mask = along::<B>(mask, &logits);
    B::float_sum_dim(B::float_mul(B::softmax(logits, 1), mask), 1)
}

pub(super) fn peaks<B: Backend>(x: FloatTensor<B>) -> (FloatTensor<B>, IntTensor<B>) {
    let columns = B::float_argmax(B::float_abs(x.clone()), 1, IntDType::I32);
    (B::float_gather(1, x, columns.clone()), columns)
}
