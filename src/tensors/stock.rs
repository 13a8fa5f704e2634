//! The definition of each operation, in Burn's own operations. The CPU runs these, and the kernels are tested against
//! them.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{IndexingUpdateOp, IntDType, Shape};

pub(super) fn product<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, transposed: bool) -> FloatTensor<B> {
    let weight = if transposed { B::float_transpose(weight) } else { weight };
    B::float_matmul(x, weight)
}

/// Reshapes a vector to as many dimensions as `x`, along the last of them.
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

/// The gradient `g / r - x mean(g x) / r³`, with `r = √(mean(x²) + eps)` and `g = grad · weight`.
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
    let scores = B::float_matmul(grouped::<B>(query, kv_heads), B::float_transpose(key));
    let scores = B::float_reshape(B::float_mul_scalar(scores, scale.into()), Shape::new([heads, seq, total]));
    let weights = B::softmax(B::float_add(scores, B::float_reshape(mask, Shape::new([1, seq, total]))), 2);
    let out = B::float_matmul(grouped::<B>(weights.clone(), kv_heads), value);
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
    let of_weights = B::float_matmul(grad.clone(), B::float_transpose(value));
    let sum = B::float_sum_dim(B::float_mul(of_weights.clone(), weights.clone()), 2);
    let of_scores = B::float_mul_scalar(B::float_mul(weights.clone(), B::float_sub(of_weights, sum)), scale.into());
    let of_query = B::float_reshape(B::float_matmul(of_scores.clone(), key), Shape::new([heads, seq, head_dim]));
    let of_key = B::float_matmul(B::float_transpose(of_scores), grouped::<B>(query, kv_heads));
    (of_query, of_key, B::float_matmul(B::float_transpose(weights), grad))
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

pub(super) fn channel_sums<B: Backend>(u: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let sum = |x: FloatTensor<B>| B::float_sum_dim(x, 0);
    let square = |x: FloatTensor<B>| B::float_mul(x.clone(), x);
    let product = B::float_mul(u.clone(), grad.clone());
    let largest = B::float_max_dim(B::float_abs(u.clone()), 0);
    let of_u = [sum(u.clone()), sum(square(u)), largest];
    let of_grad = [sum(square(grad)), sum(B::float_abs(product.clone())), sum(square(product))];
    B::float_cat(of_u.into_iter().chain(of_grad).collect(), 0)
}
