//! The operations as Burn's backends implement them.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

use super::stock;

/// The operations of [`super`], where they are documented; [`stock`] defines them. There are no gradients with regard
/// to weights, norms, angles and masks, because nothing here is trained.
#[backend_extension(Cube, Flex, Autodiff)]
pub trait ModelOps: Backend {
    /// `x weightᵀ` if `transposed`, else `x weight`; `x` is `[rows, in]`.
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        stock::product::<Self>(x, weight, transposed)
    }

    /// [`Self::product`] with bf16 weights, two in each word.
    fn product_bf16(x: FloatTensor<Self>, words: IntTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        stock::product::<Self>(x, Self::unpack_bf16(words), transposed)
    }

    /// bf16 values, `[rows, width / 2]` words of two, as `[rows, width]` floats. Exact.
    ///
    /// # Panics
    ///
    /// On a device that does not pack ([`super::packs`]), because it has neither a kernel for this nor packed
    /// weights.
    fn unpack_bf16(words: IntTensor<Self>) -> FloatTensor<Self> {
        unreachable!("{words:?} is packed where nothing is")
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        stock::rms_norm::<Self>(x, weight, eps)
    }

    fn rms_norm_backward(x: FloatTensor<Self>, weight: FloatTensor<Self>, grad: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        stock::rms_norm_backward::<Self>(x, weight, grad, eps)
    }

    /// `x · cos + sign · swap(x) · signed_sin`; with a sign of -1 it is the inverse, which is the gradient.
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, signed_sin: FloatTensor<Self>, sign: f32) -> FloatTensor<Self> {
        stock::rotate::<Self>(x, cos, signed_sin, sign)
    }

    /// The attention, `[seq, heads * head_dim]`, and its weights, `[heads, seq, total]`, for the backward pass.
    fn attend(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        stock::attention::<Self>(query, key, value, mask, scale)
    }

    /// Gradients with regard to query, key and value.
    fn attend_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        stock::attention_backward::<Self>(query, key, value, weights, grad, scale)
    }

    fn silu_gate(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        stock::silu_gate::<Self>(gate, up)
    }

    /// Gradients with regard to `gate` and `up`.
    fn silu_gate_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        stock::silu_gate_backward::<Self>(gate, up, grad)
    }

    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        stock::cross_entropy::<Self>(logits, targets)
    }

    /// `grad` is `[rows, 1]`.
    fn cross_entropy_backward(logits: FloatTensor<Self>, targets: IntTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        stock::cross_entropy_backward::<Self>(logits, targets, grad)
    }

    fn softmax_mass(logits: FloatTensor<Self>, mask: FloatTensor<Self>) -> FloatTensor<Self> {
        stock::softmax_mass::<Self>(logits, mask)
    }

    fn peaks(x: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        stock::peaks::<Self>(x)
    }

    /// [`super::channel_sums`], without gradients.
    fn channel_sums(u: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        stock::channel_sums::<Self>(u, grad)
    }

    /// Returns `u`. In the backward pass, the gradient passes on to `u`, and `sink` gets the channel sums instead of
    /// its own gradient.
    fn tap(u: FloatTensor<Self>, _sink: FloatTensor<Self>) -> FloatTensor<Self> {
        u
    }
}

impl ModelOps for burn::backend::Flex {}
