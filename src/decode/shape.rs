//! The properties of a model that the kernels are specialised to.

use super::error::DecodeError;
use super::grid::WORKGROUP;
use crate::model::attention::QkvProj;
use crate::model::config::{Activation, Positions};
use crate::model::layers::{Layout, Linear, Norm};
use crate::model::mlp::Hidden;
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
    /// `true` for LayerNorm, `false` for RMSNorm.
    pub centred: bool,
    pub qk_norm: QkNorm,
    /// Factor of the scores.
    pub scale: f64,
    pub embed_scale: f64,
    pub learned_positions: bool,
    /// The layers' distinct rotary embeddings.
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
    /// activations, or layers of different kinds.
    pub fn of(model: &Model) -> Result<Self, DecodeError> {
        let config = &model.config;
        // The only place that requires a single width, because every kernel is made for it.
        let intermediate_size = config.intermediate_size.uniform().ok_or_else(|| unsupported("layers of several widths"))?;
        let layer = model.layers.first().ok_or_else(|| unsupported("a model without layers"))?;
        let attention = &layer.self_attn;
        let query_width = attention.num_heads * attention.head_dim;
        for (what, width) in
            [("hidden_size", config.hidden_size), ("intermediate_size", intermediate_size), ("the heads' width", query_width)]
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
        if model.layers.iter().map(DecoderLayer::device).chain([model.lm_head.device()]).any(|device| device != model.device()) {
            return Err(unsupported("a model on several devices"));
        }
        if !are_norms_alike(model) {
            return Err(unsupported("norms that are not alike"));
        }
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

    /// Rotated dimensions of a head; all of them if positions are not rotary.
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

/// Norms before attention and feed-forward block, and after them.
fn norms_of(layer: &DecoderLayer) -> [Option<&Norm>; 4] {
    [&layer.input_layernorm, &layer.pre_feedforward_layernorm, &layer.post_attention_layernorm, &layer.post_feedforward_layernorm]
        .map(Option::as_ref)
}

/// `true` if all norms of the residual stream are of one kind, those of queries and keys are RMSNorms, and all have
/// the configuration's epsilon.
fn are_norms_alike(model: &Model) -> bool {
    let kind = |norm: &Norm| match *norm {
        Norm::Rms { eps, .. } => (false, eps),
        Norm::Layer { eps, .. } => (true, eps),
    };
    let (eps, (is_centred, _)) = (model.config.norm_eps, kind(&model.norm));
    let mut of_stream = model.layers.iter().flat_map(norms_of).flatten().chain([&model.norm]);
    let of_heads = model.layers.iter().filter_map(|layer| layer.self_attn.qk_norm.as_ref());
    of_stream.all(|norm| kind(norm) == (is_centred, eps))
        && of_heads.flat_map(|norms| [&norms.q_norm, &norms.k_norm]).all(|norm| kind(norm) == (false, eps))
}

/// The properties of a matrix that its kernel depends on.
#[derive(PartialEq)]
struct LinearBuild {
    shape: [usize; 2],
    layout: Layout,
    has_bias: bool,
}

impl LinearBuild {
    fn of(linear: &Linear) -> Self {
        Self { shape: linear.shape(), layout: linear.layout, has_bias: linear.bias.is_some() }
    }
}

/// The properties of a layer that its kernels depend on.
#[derive(PartialEq)]
struct Build {
    norms: [bool; 4],
    is_parallel: bool,
    heads: [usize; 3],
    qk_norm: QkNorm,
    clip_qkv: Option<f64>,
    scale: f64,
    activation: Activation,
    is_gated: bool,
    /// The products of queries, keys and values, then the others, so that the number distinguishes fused from
    /// separate ones.
    linears: Vec<LinearBuild>,
}

impl Build {
    fn of(layer: &DecoderLayer) -> Self {
        let (attention, mlp) = (&layer.self_attn, &layer.mlp);
        let mut linears = match &attention.qkv_proj {
            QkvProj::Separate { q_proj, k_proj, v_proj } => vec![q_proj, k_proj, v_proj],
            QkvProj::Fused(qkv) => vec![qkv],
        };
        let is_gated = matches!(mlp.hidden, Hidden::Gated { .. });
        match &mlp.hidden {
            Hidden::Gated { gate_proj, up_proj } => linears.extend([gate_proj, up_proj]),
            Hidden::Plain { c_fc } => linears.push(c_fc),
        }
        linears.extend([&attention.o_proj, &mlp.down_proj]);
        Self {
            norms: norms_of(layer).map(|norm| norm.is_some()),
            is_parallel: layer.is_parallel,
            heads: [attention.num_heads, attention.num_kv_heads, attention.head_dim],
            qk_norm: qk_norm(layer),
            clip_qkv: attention.clip_qkv,
            scale: attention.scale,
            activation: mlp.activation,
            is_gated,
            linears: linears.into_iter().map(LinearBuild::of).collect(),
        }
    }
}

pub(super) fn unsupported(what: &str) -> DecodeError {
    DecodeError::Unsupported { what: what.into() }
}
