//! The properties of a model that the kernels are specialised to.

use super::error::DecodeError;
use super::grid::WORKGROUP;
use crate::model::config::Positions;
use crate::model::layers::Norm;
use crate::model::rotary::RotaryEmbedding;
use crate::model::{DecoderLayer, Model};

#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub hidden_size: usize,
    pub vocab_size: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub norm_eps: f64,
    /// True for LayerNorm, false for RMSNorm.
    pub centred: bool,
    pub qk_norm: QkNorm,
    /// Factor of the scores.
    pub scale: f64,
    pub embed_scale: f64,
    pub learned_positions: bool,
    /// Rotary embeddings that layers have, each once.
    pub ropes: Vec<RotaryEmbedding>,
    pub is_parallel: bool,
    pub max_position_embeddings: usize,
}

/// The heads over which queries and keys are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QkNorm {
    None,
    EachHead,
    AllHeads,
}

impl Shape {
    /// # Errors
    ///
    /// [`DecodeError::Unsupported`] for widths that do not divide into vec4s, heads wider than a workgroup, rounded
    /// activations, or layers that are not built alike.
    pub fn of(model: &Model) -> Result<Self, DecodeError> {
        let config = &model.config;
        let layer = model.layers.first().ok_or_else(|| unsupported("a model without layers"))?;
        let attention = &layer.self_attn;
        let query_width = attention.num_heads * attention.head_dim;
        for (what, width) in
            [("hidden_size", config.hidden_size), ("intermediate_size", config.intermediate_size), ("the heads' width", query_width)]
        {
            if !width.is_multiple_of(4) {
                return Err(unsupported(&format!("{what} {width}, which 4 does not divide")));
            }
        }
        if attention.head_dim > WORKGROUP {
            return Err(unsupported(&format!("head_dim {}", attention.head_dim)));
        }
        if model.rounds_activations() {
            return Err(unsupported("rounded activations"));
        }
        if model.lm_head.bias.is_some() {
            return Err(unsupported("a bias on lm_head"));
        }
        let mut ropes = Vec::<RotaryEmbedding>::new();
        for rope in &model.rotary_emb {
            if !ropes.contains(rope) {
                ropes.push(rope.clone());
            }
        }
        let is_alike = |other: &DecoderLayer| Build::of(other) == Build::of(layer);
        if !model.layers.iter().all(is_alike) || ropes.iter().any(|rope| rope.dim() != ropes[0].dim()) {
            return Err(unsupported("layers that are not built alike"));
        }
        Ok(Self {
            hidden_size: config.hidden_size,
            vocab_size: config.vocab_size,
            num_heads: attention.num_heads,
            num_kv_heads: attention.num_kv_heads,
            head_dim: attention.head_dim,
            norm_eps: config.norm_eps,
            centred: matches!(model.norm, Norm::Layer { .. }),
            qk_norm: qk_norm(layer),
            scale: attention.scale,
            embed_scale: model.embed_scale.unwrap_or(1.0),
            learned_positions: config.positions == Positions::Learned,
            ropes,
            is_parallel: layer.is_parallel,
            max_position_embeddings: config.max_position_embeddings,
        })
    }

    /// vec4s that a head takes in the cache; the last may be padded.
    pub fn head4(&self) -> usize {
        self.head_dim.div_ceil(4)
    }

    /// Floats that a position takes in a layer's cache: keys, then values.
    pub fn cache_width(&self) -> usize {
        2 * self.num_kv_heads * 4 * self.head4()
    }

    /// Dimensions of a head that turn; all of them where none do.
    pub fn rotary_dim(&self) -> usize {
        self.ropes.first().map_or(self.head_dim, RotaryEmbedding::dim)
    }
}

fn qk_norm(layer: &DecoderLayer) -> QkNorm {
    match &layer.self_attn.qk_norm {
        None => QkNorm::None,
        Some(norms) if norms.whole => QkNorm::AllHeads,
        Some(_) => QkNorm::EachHead,
    }
}

/// The properties of a layer that its kernels are made for, beside its widths.
#[derive(PartialEq)]
struct Build {
    norms: [bool; 4],
    is_parallel: bool,
    qk_norm: QkNorm,
    clip_qkv: Option<f64>,
    scale: f64,
}

impl Build {
    fn of(layer: &DecoderLayer) -> Self {
        let in_front = [&layer.input_layernorm, &layer.pre_feedforward_layernorm];
        let behind = [&layer.post_attention_layernorm, &layer.post_feedforward_layernorm];
        let [a, b] = in_front.map(Option::is_some);
        let [c, d] = behind.map(Option::is_some);
        let attention = &layer.self_attn;
        Self {
            norms: [a, b, c, d],
            is_parallel: layer.is_parallel,
            qk_norm: qk_norm(layer),
            clip_qkv: attention.clip_qkv,
            scale: attention.scale,
        }
    }
}

pub(super) fn unsupported(what: &str) -> DecodeError {
    DecodeError::Unsupported { what: what.into() }
}
