//! Causal self-attention with grouped keys and values.

use burn::tensor::Tensor;

use super::layers::{Linear, Norm};
use super::rotary::Rotation;
use super::rounding;
use crate::tensors;

/// The projection of queries, keys and values.
#[derive(Debug, Clone)]
pub enum QkvProj {
    Separate {
        q_proj: Linear,
        k_proj: Linear,
        v_proj: Linear,
    },
    /// One matrix for the three, in that order (GPT-2's `c_attn`).
    Fused(Linear),
}

#[derive(Debug, Clone)]
pub struct Attention {
    pub qkv_proj: QkvProj,
    /// Bound of the magnitudes of queries, keys and values (OLMo).
    pub clip_qkv: Option<f64>,
    pub qk_norm: Option<QkNorm>,
    pub o_proj: Linear,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    /// Factor of the scores: `1 / √head_dim` in most families.
    pub scale: f64,
    /// Bits to which queries, keys, values and probabilities are rounded before they are multiplied
    /// ([`rounding::attention`]); `None` in a loaded model.
    pub product_bits: Option<u32>,
}

/// RMSNorm of queries and keys.
#[derive(Debug, Clone)]
pub struct QkNorm {
    pub q_norm: Norm,
    pub k_norm: Norm,
    /// `true` if each norm is over all heads of a token together (OLMo-2), `false` if it is head by head (Qwen3).
    pub whole: bool,
}

/// Keys and values of the positions seen so far in one layer, each `[num_kv_heads, cache_len, head_dim]`.
#[derive(Debug, Clone, Default)]
pub struct LayerCache {
    key_value: Option<(Tensor<3>, Tensor<3>)>,
}

impl LayerCache {
    pub fn key_value(&self) -> Option<(&Tensor<3>, &Tensor<3>)> {
        self.key_value.as_ref().map(|(key, value)| (key, value))
    }

    /// Appends this chunk's keys and values, and returns all of them.
    fn extend(&mut self, key: Tensor<3>, value: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let all = match self.key_value.take() {
            Some((keys, values)) => (Tensor::cat(vec![keys, key], 1), Tensor::cat(vec![values, value], 1)),
            None => (key, value),
        };
        self.key_value = Some(all.clone());
        all
    }
}

impl Attention {
    /// `softmax(Q Kᵀ · scale + mask) V`, projected back.
    ///
    /// # Shapes
    ///
    /// `x` is `[seq, hidden_size]` and so is the result; `mask` is `[seq, cache_len + seq]` and is added. `see` gets
    /// the softmax, `[num_heads, seq, cache_len + seq]`, at no extra cost; it is not called if products are rounded.
    pub fn forward(
        &self,
        x: Tensor<2>,
        rotation: Option<&Rotation>,
        mask: &Tensor<2>,
        cache: Option<&mut LayerCache>,
        see: impl FnOnce(Tensor<3>),
    ) -> Tensor<2> {
        let (mut query, mut key, value) = self.project(x);
        if let Some(QkNorm { q_norm, k_norm, whole: false }) = &self.qk_norm {
            (query, key) = (q_norm.forward(query), k_norm.forward(key));
        }
        if let Some(rotation) = rotation {
            (query, key) = (rotation.apply(query), rotation.apply(key));
        }
        let value = match self.product_bits {
            Some(bits) => {
                (query, key) = (rounding::by_token(query, bits), rounding::by_token(key, bits));
                rounding::by_token(value, bits)
            }
            None => value,
        };
        let (key, value) = match cache {
            Some(cache) => cache.extend(key, value),
            None => (key, value),
        };

        let mixed = match self.product_bits {
            Some(bits) => rounding::attention(query, key, value, mask, self.scale, bits),
            None => {
                let (mixed, weights) = tensors::attention_and_weights(query, key, value, mask, self.scale);
                see(weights);
                mixed
            }
        };
        self.o_proj.forward(mixed)
    }

    /// Projects `x` to queries, keys and values, each `[heads, seq, head_dim]`.
    fn project(&self, x: Tensor<2>) -> (Tensor<3>, Tensor<3>, Tensor<3>) {
        let [seq, _] = x.dims();
        let (query, key, value) = match &self.qkv_proj {
            QkvProj::Separate { q_proj, k_proj, v_proj } => (q_proj.forward(x.clone()), k_proj.forward(x.clone()), v_proj.forward(x)),
            QkvProj::Fused(qkv) => {
                let qkv = qkv.forward(x);
                let (q, kv) = (self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim);
                let part = |start, width| qkv.clone().slice([0..seq, start..start + width]);
                (part(0, q), part(q, kv), part(q + kv, kv))
            }
        };
        let clip = |x: Tensor<2>| match self.clip_qkv {
            Some(bound) => x.clamp(-bound, bound),
            None => x,
        };
        let (mut query, mut key, value) = (clip(query), clip(key), clip(value));
        if let Some(QkNorm { q_norm, k_norm, whole: true }) = &self.qk_norm {
            (query, key) = (q_norm.forward(query), k_norm.forward(key));
        }
        let split = |x: Tensor<2>, heads| x.reshape([seq, heads, self.head_dim]).swap_dims(0, 1);
        (split(query, self.num_heads), split(key, self.num_kv_heads), split(value, self.num_kv_heads))
    }
}
