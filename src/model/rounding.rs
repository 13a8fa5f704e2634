//! Rounding of activations before they are multiplied. It is part of a model's value, like an ablation; a loaded
//! model rounds nothing. `analysis::w8a8` creates rounded models, which are only measured: a decode plan refuses
//! them.

use burn::tensor::Tensor;

use super::Model;
use super::attention::QkvProj;
use super::layers::Linear;
use super::mlp::Hidden;
use crate::tensors::{self, Weight};

/// Rounding of a linear map's input: each token between its own least and largest value.
#[derive(Debug, Clone)]
pub struct InputRounding {
    pub bits: u32,
    /// Divisors of the channels before they are rounded, `[1, in]`. The matrix has already been multiplied by them.
    pub smoothing: Option<Tensor<2>>,
    /// Channels whose value of largest magnitude over the tokens of the pass stays unrounded, and is excluded from
    /// its token's range.
    pub held_out: Vec<usize>,
}

impl InputRounding {
    /// # Shapes
    ///
    /// `[seq, in]` to the same.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.smoothing {
            Some(smoothing) => x / smoothing.clone(),
            None => x,
        };
        let [seq, width] = x.dims();
        let column = |x: &Tensor<2>, channel: usize| x.clone().slice([0..seq, channel..channel + 1]);
        let Some(other) = (0..width).find(|channel| !self.held_out.contains(channel)) else { return x };
        // Any value within the range of the others leaves that range unchanged, so another channel's value replaces
        // it.
        let mut replaced = x.clone();
        for channel in &self.held_out {
            let new = column(&x, *channel).mask_where(is_largest(column(&x, *channel)), column(&x, other));
            replaced = replaced.slice_assign([0..seq, *channel..channel + 1], new);
        }
        let mut rounded = tensors::rounded_rows(replaced, self.bits);
        for channel in &self.held_out {
            let restored = column(&rounded, *channel).mask_where(is_largest(column(&x, *channel)), column(&x, *channel));
            rounded = rounded.slice_assign([0..seq, *channel..channel + 1], restored);
        }
        rounded
    }
}

/// `true` where a column `[seq, 1]` has its largest magnitude.
fn is_largest(column: Tensor<2>) -> Tensor<2, burn::tensor::Bool> {
    let magnitude = column.abs();
    let largest = magnitude.clone().max_dim(0).expand(magnitude.dims());
    magnitude.equal(largest)
}

/// Rounds queries, keys or values, each token over all its heads together.
///
/// # Shapes
///
/// `[heads, seq, head_dim]` to the same.
pub(super) fn by_token(x: Tensor<3>, bits: u32) -> Tensor<3> {
    let [heads, seq, head_dim] = x.dims();
    let rows = x.swap_dims(0, 1).reshape([seq, heads * head_dim]);
    tensors::rounded_rows(rows, bits).reshape([seq, heads, head_dim]).swap_dims(0, 1)
}

/// [`tensors::attention`] with the probabilities also rounded, query by query in each head.
pub(super) fn attention(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, mask: &Tensor<2>, scale: f64, bits: u32) -> Tensor<2> {
    let [heads, seq, head_dim] = query.dims();
    let [kv_heads, total, _] = key.dims();
    let group = heads / kv_heads;
    let weights = tensors::attention_weights(query, key, value.clone(), mask, scale);
    let weights = tensors::rounded_rows(weights.reshape([heads * seq, total]), bits);
    let of_head = |head: usize| {
        let rows = group * seq;
        let weights = weights.clone().slice([head * rows..(head + 1) * rows, 0..total]);
        let value = value.clone().slice([head..head + 1, 0..total, 0..head_dim]).reshape([total, head_dim]);
        Weight::F32(value).product(weights, false)
    };
    let out = Tensor::cat((0..kv_heads).map(of_head).collect(), 0);
    out.reshape([heads, seq, head_dim]).swap_dims(0, 1).reshape([seq, heads * head_dim])
}

impl Model {
    /// `true` if any activation is rounded.
    pub fn rounds_activations(&self) -> bool {
        let rounds = |linear: &Linear| linear.input_rounding.is_some();
        self.layers.iter().any(|layer| {
            let attention = &layer.self_attn;
            let qkv = match &attention.qkv_proj {
                QkvProj::Separate { q_proj, k_proj, v_proj } => rounds(q_proj) || rounds(k_proj) || rounds(v_proj),
                QkvProj::Fused(qkv) => rounds(qkv),
            };
            let hidden = match &layer.mlp.hidden {
                Hidden::Gated { gate_proj, up_proj } => rounds(gate_proj) || rounds(up_proj),
                Hidden::Plain { c_fc } => rounds(c_fc),
            };
            qkv || hidden || rounds(&attention.o_proj) || rounds(&layer.mlp.down_proj) || attention.product_bits.is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn tensor(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn single_value_of_a_channel_is_held_out_where_it_is_largest() {
        let x = tensor(&[0.0, 1.4, 3.0, 50.0, 0.0, 1.4, 3.0, -90.5], [2, 4]);
        let rounding = InputRounding { bits: 2, smoothing: None, held_out: vec![3] };
        // The first token's own largest value is in its range; the second's is not.
        let rounded = values(rounding.apply(x.clone()));
        assert_eq!(rounded[4..], [0.0, 1.0, 3.0, -90.5]);
        assert!((rounded[1] - 0.0).abs() < 1e-6 && rounded[3] == 50.0, "{rounded:?}");
        // The result is the same with the others' median in its place.
        let median = InputRounding { held_out: Vec::new(), ..rounding }.apply(tensor(&[0.0, 1.4, 3.0, 1.4], [1, 4]));
        assert_eq!(values(median)[..3], rounded[4..7]);
    }

    #[test]
    fn channels_are_divided_before_they_are_rounded() {
        let rounding = InputRounding { bits: 2, smoothing: Some(tensor(&[1.0, 10.0, 1.0], [1, 3])), held_out: Vec::new() };
        assert_eq!(values(rounding.apply(tensor(&[0.0, 30.0, 1.4], [1, 3]))), [0.0, 3.0, 1.0]);
    }

    #[test]
    fn with_many_bits_attention_is_what_it_is_without() {
        let of = |heads: usize, seed: f32| {
            let values = (0..heads * 5 * 4).map(|i| ((i as f32 + seed) * 1.7).sin()).collect::<Vec<_>>();
            Tensor::<3>::from_data(TensorData::new(values, [heads, 5, 4]), &Device::flex())
        };
        let (query, key, value) = (of(4, 0.0), of(2, 0.3), of(2, 0.6));
        let mask = (0..25).map(|i| if i % 5 > i / 5 { -1e9 } else { 0.0 }).collect::<Vec<_>>();
        let mask = tensor(&mask, [5, 5]);
        let exact = values(tensors::attention(query.clone(), key.clone(), value.clone(), &mask, 0.5));
        let close = |bits: u32| {
            let rounded = attention(query.clone(), key.clone(), value.clone(), &mask, 0.5, bits);
            exact.iter().zip(values(rounded)).fold(0.0_f32, |furthest, (a, b)| furthest.max((a - b).abs()))
        };
        assert!(close(16) < 1e-4, "{}", close(16));
        assert!(close(3) > 1e-2, "{}", close(3));
        let furthest = values(query.clone()).iter().zip(values(by_token(query, 16))).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-4, "{furthest}");
    }
}
