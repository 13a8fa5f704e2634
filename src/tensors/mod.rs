//! The few tensor operations that decide a model's speed, and matrices in a checkpoint's layout.
//!
//! Each operation is defined once in stock Burn operations ([`stock`]), which the CPU runs. On a GPU that takes WGSL
//! it is one kernel of our own (`wgsl/`) instead of several stock ones, because in a browser every operation has a
//! fixed cost, and stock matrix products are slow (docs/benchmarks.md). Gradients are written by hand, once for both
//! ([`autodiff`]).
//!
//! The operations use Burn's extension mechanism ([`ops::ModelOps`]); tensors, devices and autodiff remain Burn's.

mod attention;
mod autodiff;
mod cube;
mod device;
mod error;
mod kernel;
mod ops;
mod product;
mod rounding;
mod stock;
mod table;
mod tile;
mod upload;
mod weight;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

pub use device::{Transaction, moved_to};
pub use error::DeviceError;
use ops::ModelOps;
pub use rounding::{clipped_rows, rounded_rows, row_sums};
pub use table::{CHUNK_UNIT, Table, chunk_rows};
pub use upload::{Flat, Upload, resource_of};
pub use weight::{Packed, Weight, largest_buffer, packs};

/// `x / √(mean(x²) + eps) · weight` over the last dimension.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: &Tensor<1>, eps: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.clone().into_dispatch(), eps))
}

/// Rotates the first `dim` of the last dimension: `x · cos + swap(x) · signed_sin`, where `swap` exchanges the halves
/// of those `dim`. The rest stays as it is.
///
/// # Shapes
///
/// `x` is `[heads, seq, head_dim]` and so is the result; the angles are `[1, seq, dim]`.
pub fn rotate(x: Tensor<3>, cos: &Tensor<3>, signed_sin: &Tensor<3>) -> Tensor<3> {
    let (cos, signed_sin) = (cos.clone().into_dispatch(), signed_sin.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::rotate(x.into_dispatch(), cos, signed_sin, 1.0))
}

/// Attention: `softmax(query keyᵀ · scale + mask) value`, the heads side by side.
///
/// # Shapes
///
/// `query` is `[heads, seq, head_dim]`, `key` and `value` `[kv_heads, total, head_dim]` (each serves `heads / kv_heads`
/// query heads), `mask` `[seq, total]`; the result is `[seq, heads * head_dim]`.
pub fn attention(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, mask: &Tensor<2>, scale: f64) -> Tensor<2> {
    attention_and_weights(query, key, value, mask, scale).0
}

/// [`attention`], and its softmax, `[heads, seq, total]`, without gradients.
pub fn attention_and_weights(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, mask: &Tensor<2>, scale: f64) -> (Tensor<2>, Tensor<3>) {
    let (query, key, value) = (query.into_dispatch(), key.into_dispatch(), value.into_dispatch());
    let (out, weights) = Dispatch::attend(query, key, value, mask.clone().into_dispatch(), scale);
    (Tensor::from_dispatch(out), Tensor::from_dispatch(weights))
}

/// The weights of the values in [`attention`]: `softmax(query keyᵀ · scale + mask)`, `[heads, seq, total]`.
pub fn attention_weights(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, mask: &Tensor<2>, scale: f64) -> Tensor<3> {
    let (query, key, value) = (query.into_dispatch(), key.into_dispatch(), value.into_dispatch());
    let (_out, weights) = Dispatch::attend(query, key, value, mask.clone().into_dispatch(), scale);
    Tensor::from_dispatch(weights)
}

/// `silu(gate) · up`.
pub fn silu_gate(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::silu_gate(gate.into_dispatch(), up.into_dispatch()))
}

/// `-log softmax(logits)[target]` of each row, in nats. A target beyond the vocabulary counts as its last token.
///
/// # Shapes
///
/// `[rows, vocab_size]` and `[rows]` to `[rows, 1]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::cross_entropy(logits.into_dispatch(), targets.into_dispatch()))
}

/// `Σ softmax(logits) · mask` of each row; without gradients.
///
/// # Shapes
///
/// `[rows, vocab_size]` and `[vocab_size]` to `[rows, 1]`.
pub fn softmax_mass(logits: Tensor<2>, mask: &Tensor<1>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::softmax_mass(logits.into_dispatch(), mask.clone().into_dispatch()))
}

/// Each row's value of largest magnitude, signed, and its column. In a tie the first is taken. On a GPU, NaN is
/// larger than any number.
///
/// # Shapes
///
/// `[rows, width]` to two of `[rows, 1]`.
pub fn peaks(x: Tensor<2>) -> (Tensor<2>, Tensor<2, Int>) {
    let (values, columns) = Dispatch::peaks(x.into_dispatch());
    (Tensor::from_dispatch(values), Tensor::from_dispatch(columns))
}

/// Rows of [`channel_sums`].
pub const N_CHANNEL_SUMS: usize = 6;

/// The sums over tokens for the scores of feed-forward channels: rows `Σ u`, `Σ u²`, `max |u|`, `Σ g²`, `Σ |u g|`,
/// `Σ (u g)²`, with `g` the gradient of `u`. The last squares each token's product, so it is not the product of the
/// second and the fourth.
///
/// # Shapes
///
/// Two of `[tokens, channels]` to `[6, channels]`.
pub fn channel_sums(u: Tensor<2>, grad: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::channel_sums(u.into_dispatch(), grad.into_dispatch()))
}

/// Returns `u` unchanged; a backward pass through it leaves `channel_sums(u, dL/du)` as the gradient of `sink`. So
/// only six numbers for each channel outlive the step back through a layer, instead of a gradient of `u`'s size.
///
/// # Shapes
///
/// `u` is `[tokens, channels]`, `sink` a leaf of `[6, channels]` whose value does not matter.
pub fn tap(u: Tensor<2>, sink: &Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::tap(u.into_dispatch(), sink.clone().into_dispatch()))
}
