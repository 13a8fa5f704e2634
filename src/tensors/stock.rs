//! The definition of each operation, in Burn's own operations. The CPU runs these, and the kernels are tested against
//! them.
//!
//! # Rounding
//!
//! Gradients go through a few cancellations that plain f32 does not survive on real models, whose massive activations
//! hold all but a ten-thousandth of a token's norm in one channel. Therefore
//!
//! - sums of more than [`LONG`] terms are added up in blocks of [`BLOCK`], and the blocks pairwise
//!   ([`matmul`], [`sum_dim`]). A head's backward pass has as many terms as the vocabulary has tokens;
//! - the gradients of a norm and of a softmax, which are projections, are projected twice ([`rms_norm_backward`],
//!   [`softmax_backward`]): the second time removes the rounding of the first.
//!
//! docs/benchmarks.md has the errors against float64, beside PyTorch's float32.

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{IndexingUpdateOp, IntDType, Shape};

pub(super) fn product<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, transposed: bool) -> FloatTensor<B> {
    let weight = if transposed { B::float_transpose(weight) } else { weight };
    matmul::<B>(x, weight)
}

/// The most terms that are added one after the other.
const LONG: usize = 512;
/// Number of terms in a block of a longer sum.
const BLOCK: usize = 256;

/// Cuts `0..n` into blocks of at most [`BLOCK`].
fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(BLOCK).map(move |first| first..(first + BLOCK).min(n))
}

/// Adds tensors pairwise: the sums of two, of four, of eight, with at most one of each kept.
fn add_pairwise<B: Backend>(parts: impl Iterator<Item = FloatTensor<B>>) -> Option<FloatTensor<B>> {
    let mut sums: Vec<(u32, FloatTensor<B>)> = Vec::new();
    for part in parts {
        let mut sum = (0, part);
        while let Some((_, equal)) = sums.pop_if(|(level, _)| *level == sum.0) {
            sum = (sum.0 + 1, B::float_add(equal, sum.1));
        }
        sums.push(sum);
    }
    sums.into_iter().map(|(_, sum)| sum).rev().reduce(B::float_add)
}

/// A range of one dimension, the others whole.
fn slice_dim<B: Backend>(x: FloatTensor<B>, dim: usize, range: Range<usize>) -> FloatTensor<B> {
    let shape = x.shape();
    let slices = (0..shape.num_dims()).map(|d| if d == dim { range.clone().into() } else { (0..shape[d]).into() });
    B::float_slice(x, &slices.collect::<Vec<_>>())
}

/// `a b`, summed in blocks.
fn matmul<B: Backend>(a: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
    let (of_a, of_b) = (a.rank() - 1, b.rank() - 2);
    let k = a.shape()[of_a];
    if k <= LONG {
        return B::float_matmul(a, b);
    }
    let part =
        |range: Range<usize>| B::float_matmul(slice_dim::<B>(a.clone(), of_a, range.clone()), slice_dim::<B>(b.clone(), of_b, range));
    add_pairwise::<B>(blocks(k).map(part)).expect("k is above 0")
}

/// Sums over a dimension, which is kept, in blocks.
fn sum_dim<B: Backend>(x: FloatTensor<B>, dim: usize) -> FloatTensor<B> {
    let n = x.shape()[dim];
    if n <= LONG {
        return B::float_sum_dim(x, dim);
    }
    let part = |range: Range<usize>| B::float_sum_dim(slice_dim::<B>(x.clone(), dim, range), dim);
    add_pairwise::<B>(blocks(n).map(part)).expect("n is above 0")
}

/// The mean of the last dimension, which is kept.
fn mean_last<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let last = x.rank() - 1;
    let n = x.shape()[last];
    B::float_div_scalar(sum_dim::<B>(x, last), (n as f64).into())
}

/// Reshapes a vector to as many dimensions as `x`, along the last of them.
fn along<B: Backend>(vector: FloatTensor<B>, x: &FloatTensor<B>) -> FloatTensor<B> {
    let mut dims = vec![1; x.rank()];
    dims[x.rank() - 1] = vector.shape()[0];
    B::float_reshape(vector, Shape::from(dims))
}

/// `√(mean(x²) + eps)` of the last dimension, which is kept.
fn root_mean_square<B: Backend>(x: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    B::float_sqrt(B::float_add_scalar(mean_last::<B>(B::float_mul(x.clone(), x)), eps.into()))
}

pub(super) fn rms_norm<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let weight = along::<B>(weight, &x);
    B::float_mul(B::float_div(x.clone(), root_mean_square::<B>(x, eps)), weight)
}

/// The gradient `(g - n mean(g n)) / r`, with `r = √(mean(x²) + eps)`, `n = x / r` and `g = grad · weight`.
///
/// Where one channel c holds nearly all of x, n_c² is nearly the width, and the difference nearly cancels in c: what is
/// left has the rounding of g. As `mean(n y) = mean(g n) eps / r²` for the exact difference y, whatever of `mean(n y)`
/// exceeds that is rounding, and is taken away along n.
pub(super) fn rms_norm_backward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, grad: FloatTensor<B>, eps: f64) -> FloatTensor<B> {
    let g = B::float_mul(grad, along::<B>(weight, &x));
    let root = root_mean_square::<B>(x.clone(), eps);
    let normed = B::float_div(x, root.clone());
    let along_normed = |y: FloatTensor<B>| mean_last::<B>(B::float_mul(y, normed.clone()));
    let mean = along_normed(g.clone());
    let y = B::float_sub(g, B::float_mul(normed.clone(), mean.clone()));
    let expected = B::float_div(B::float_mul_scalar(mean, eps.into()), B::float_mul(root.clone(), root.clone()));
    let excess = B::float_sub(along_normed(y.clone()), expected);
    B::float_div(B::float_sub(y, B::float_mul(normed, excess)), root)
}

pub(super) fn rotate<B: Backend>(x: FloatTensor<B>, cos: FloatTensor<B>, signed_sin: FloatTensor<B>, sign: f32) -> FloatTensor<B> {
    let [heads, seq, head_dim] = x.shape().dims();
    let dim = cos.shape()[2];
    let half = dim / 2;
    let part = |from: usize, to: usize| B::float_slice(x.clone(), &[(0..heads).into(), (0..seq).into(), (from..to).into()]);
    let swapped = B::float_cat(vec![part(half, dim), part(0, half)], 2);
    let turned = B::float_mul(swapped, signed_sin);
    let turned = if sign < 0.0 { B::float_neg(turned) } else { turned };
    if dim == head_dim {
        return B::float_add(B::float_mul(x, cos), turned);
    }
    B::float_cat(vec![B::float_add(B::float_mul(part(0, dim), cos), turned), part(dim, head_dim)], 2)
}

/// Puts query heads with the same key head side by side: `[heads, seq, width]` as `[kv_heads, group * seq, width]`.
fn grouped<B: Backend>(x: FloatTensor<B>, kv_heads: usize) -> FloatTensor<B> {
    let [heads, seq, width] = x.shape().dims();
    B::float_reshape(x, Shape::new([kv_heads, heads / kv_heads * seq, width]))
}

/// The attention `p value`, the heads side by side, and its weights `p = softmax(query keyᵀ · scale + mask)`.
pub(super) fn attention<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    mask: FloatTensor<B>,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [heads, seq, head_dim] = query.shape().dims();
    let [kv_heads, total, _] = key.shape().dims();
    let scores = matmul::<B>(grouped::<B>(query, kv_heads), B::float_transpose(key));
    let scores = B::float_reshape(B::float_mul_scalar(scores, scale.into()), Shape::new([heads, seq, total]));
    let weights = B::softmax(B::float_add(scores, B::float_reshape(mask, Shape::new([1, seq, total]))), 2);
    let out = matmul::<B>(grouped::<B>(weights.clone(), kv_heads), value);
    let out = B::float_swap_dims(B::float_reshape(out, Shape::new([heads, seq, head_dim])), 0, 1);
    (B::float_reshape(out, Shape::new([seq, heads * head_dim])), weights)
}

/// The gradients `ds key`, `dsᵀ query`, `pᵀ grad`, with `dp = grad valueᵀ` and `ds = p (dp - Σ dp p) scale`.
pub(super) fn attention_backward<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    weights: FloatTensor<B>,
    grad: FloatTensor<B>,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let [heads, seq, head_dim] = query.shape().dims();
    let kv_heads = key.shape()[0];
    let grad = B::float_swap_dims(B::float_reshape(grad, Shape::new([seq, heads, head_dim])), 0, 1);
    let grad = grouped::<B>(grad, kv_heads);
    let weights = grouped::<B>(weights, kv_heads);
    let of_weights = matmul::<B>(grad.clone(), B::float_transpose(value));
    let of_scores = B::float_mul_scalar(softmax_backward::<B>(weights.clone(), of_weights), scale.into());
    let of_query = B::float_reshape(matmul::<B>(of_scores.clone(), key), Shape::new([heads, seq, head_dim]));
    let of_key = matmul::<B>(B::float_transpose(of_scores), grouped::<B>(query, kv_heads));
    (of_query, of_key, matmul::<B>(B::float_transpose(weights), grad))
}

/// The gradient `p (dp - Σ dp p)` of a softmax p over the last dimension.
///
/// Where one p is nearly 1, as at an attention sink, the difference nearly cancels. As `Σ p = 1`, a constant may be
/// taken from dp; after that of the first round, the second sums only what is left.
fn softmax_backward<B: Backend>(p: FloatTensor<B>, dp: FloatTensor<B>) -> FloatTensor<B> {
    let last = p.rank() - 1;
    let less_mean = |dp: FloatTensor<B>| {
        let mean = sum_dim::<B>(B::float_mul(dp.clone(), p.clone()), last);
        B::float_sub(dp, mean)
    };
    let left = less_mean(less_mean(dp));
    B::float_mul(p, left)
}

pub(super) fn silu_gate<B: Backend>(gate: FloatTensor<B>, up: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mul(B::float_mul(gate.clone(), B::sigmoid(gate)), up)
}

/// The gradients `grad up σ (1 + gate (1 - σ))` and `grad gate σ`, with `σ = sigmoid(gate)`.
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

/// `x - max(x)` of each row, and the sum of its `exp`.
fn shifted_and_sum<B: Backend>(logits: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let shifted = B::float_sub(logits.clone(), B::float_max_dim(logits, 1));
    (shifted.clone(), sum_dim::<B>(B::float_exp(shifted), 1))
}

fn softmax_rows<B: Backend>(logits: FloatTensor<B>) -> FloatTensor<B> {
    let exps = B::float_exp(B::float_sub(logits.clone(), B::float_max_dim(logits, 1)));
    let sum = sum_dim::<B>(exps.clone(), 1);
    B::float_div(exps, sum)
}

pub(super) fn cross_entropy<B: Backend>(logits: FloatTensor<B>, targets: IntTensor<B>) -> FloatTensor<B> {
    let (shifted, sum) = shifted_and_sum::<B>(logits);
    B::float_sub(B::float_log(sum), B::float_gather(1, shifted, as_column::<B>(targets)))
}

/// `(softmax(logits) - onehot(targets)) · grad`.
pub(super) fn cross_entropy_backward<B: Backend>(logits: FloatTensor<B>, targets: IntTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let scaled = B::float_mul(softmax_rows::<B>(logits), grad.clone());
    B::float_scatter(1, scaled, as_column::<B>(targets), B::float_neg(grad), IndexingUpdateOp::Add)
}

pub(super) fn softmax_mass<B: Backend>(logits: FloatTensor<B>, mask: FloatTensor<B>) -> FloatTensor<B> {
    let mask = along::<B>(mask, &logits);
    sum_dim::<B>(B::float_mul(softmax_rows::<B>(logits), mask), 1)
}

pub(super) fn peaks<B: Backend>(x: FloatTensor<B>) -> (FloatTensor<B>, IntTensor<B>) {
    let columns = B::float_argmax(B::float_abs(x.clone()), 1, IntDType::I32);
    (B::float_gather(1, x, columns.clone()), columns)
}

pub(super) fn channel_sums<B: Backend>(u: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let sum = |x: FloatTensor<B>| sum_dim::<B>(x, 0);
    let square = |x: FloatTensor<B>| B::float_mul(x.clone(), x);
    let product = B::float_mul(u.clone(), grad.clone());
    let largest = B::float_max_dim(B::float_abs(u.clone()), 0);
    let of_u = [sum(u.clone()), sum(square(u)), largest];
    let of_grad = [sum(square(grad)), sum(B::float_abs(product.clone())), sum(square(product))];
    B::float_cat(of_u.into_iter().chain(of_grad).collect(), 0)
}
