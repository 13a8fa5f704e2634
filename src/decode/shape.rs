//! What the kernels are specialised to.

use super::error::DecodeError;
use super::kernels::WORKGROUP;
use crate::model::config::Positions;
use crate::model::layers::Norm;
use crate::model::{DecoderLayer, Model};

#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub hidden_size: usize,
    pub vocab_size: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub norm_eps: f64,
    /// LayerNorm instead of RMSNorm.
    pub centred: bool,
    pub qk_norm: bool,
    pub learned_positions: bool,
    pub max_position_embeddings: usize,
}

impl Shape {
    /// # Errors
    ///
    /// [`DecodeError::Unsupported`] for widths that do not divide into vec4s, or heads wider than a workgroup.
    pub fn of(model: &Model) -> Result<Self, DecodeError> {
        let config = &model.config;
        let attention = &model.layers.first().ok_or_else(|| unsupported("a model without layers"))?.self_attn;
        let query_width = attention.num_heads * attention.head_dim;
        for (what, width) in
            [("hidden_size", config.hidden_size), ("intermediate_size", config.intermediate_size), ("the heads' width", query_width)]
        {
            if !width.is_multiple_of(4) {
                return Err(unsupported(&format!("{what} {width}, which 4 does not divide")));
            }
        }
        if let Some(what) = not_yet(model) {
            return Err(unsupported(what));
        }
        if attention.head_dim > WORKGROUP {
            return Err(unsupported(&format!("head_dim {}", attention.head_dim)));
        }
        if model.lm_head.bias.is_some() {
            return Err(unsupported("a bias on lm_head"));
        }
        Ok(Self {
            hidden_size: config.hidden_size,
            vocab_size: config.vocab_size,
            num_heads: attention.num_heads,
            num_kv_heads: attention.num_kv_heads,
            head_dim: attention.head_dim,
            norm_eps: config.norm_eps,
            centred: matches!(model.norm, Norm::Layer { .. }),
            qk_norm: attention.qk_norm.is_some(),
            learned_positions: config.positions == Positions::Learned,
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
}

/// What the kernels do not know.
fn not_yet(model: &Model) -> Option<&'static str> {
    let attentions = || model.layers.iter().map(|layer| &layer.self_attn);
    let behind = |layer: &DecoderLayer| layer.post_attention_layernorm.is_some() || layer.post_feedforward_layernorm.is_some();
    let is_bare = |layer: &DecoderLayer| layer.input_layernorm.is_none() || layer.pre_feedforward_layernorm.is_none();
    let found = [
        (model.layers.iter().any(behind), "norms behind a block"),
        (model.layers.iter().any(is_bare), "a block without a norm in front"),
        (model.layers.iter().any(|layer| layer.is_parallel), "blocks side by side"),
        (attentions().any(|attention| attention.qk_norm.as_ref().is_some_and(|norm| norm.whole)), "a norm over all heads"),
        (attentions().any(|attention| attention.clip_qkv.is_some()), "bounded queries"),
        (attentions().any(|attention| attention.scale != (attention.head_dim as f64).powf(-0.5)), "scores of another scale"),
        (model.rotary_emb.iter().any(|rotary| *rotary != model.rotary_emb[0]), "angles of their own in some layers"),
        (
            model.rotary_emb.iter().zip(attentions()).any(|(rotary, attention)| rotary.dim() != attention.head_dim),
            "angles of a part of a head",
        ),
        (model.embed_scale.is_some(), "scaled embeddings"),
    ];
    found.into_iter().find(|(is_there, _)| *is_there).map(|(_, what)| what)
}

pub(super) fn unsupported(what: &str) -> DecodeError {
    DecodeError::Unsupported { what: what.into() }
}
