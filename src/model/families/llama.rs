//! Llama 1 to 3, SmolLM2, TinyLlama and Mistral: RMSNorm before each block, rotary positions, SwiGLU
//! (`transformers.models.llama.modeling_llama`). Qwen2 and Qwen3 are the same but for [`Variant`].

use crate::model::attention::{Attention, QkvProj};
use crate::model::config::{ModelConfig, Positions};
use crate::model::edit::Matrix;
use crate::model::layers::{Layout, LmHead, Norm};
use crate::model::mlp::{Hidden, Mlp};
use crate::model::rotary::RotaryEmbedding;
use crate::model::{DecoderLayer, Model};
use crate::weights::{Weights, WeightsError};

/// What the relatives of Llama do differently.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub qkv_bias: bool,
    pub o_bias: bool,
    /// RMSNorm on each head's queries and keys.
    pub qk_norm: bool,
}

pub(super) fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    build_variant(config, weights, Variant { qkv_bias: config.attention_bias, o_bias: config.attention_bias, qk_norm: false })
}

pub(super) fn build_variant(config: &ModelConfig, weights: &mut Weights, variant: Variant) -> Result<Model, WeightsError> {
    let embed_tokens = weights.table("model.embed_tokens.weight", config.vocab_size, config.hidden_size)?;
    let layers = (0..config.num_hidden_layers).map(|layer| decoder_layer(config, weights, variant, layer)).collect::<Result<_, _>>()?;
    let norm = rms_norm(weights, "model.norm.weight", config.hidden_size, config)?;
    let head = match config.tie_word_embeddings {
        true => embed_tokens.clone(),
        false => weights.table("lm_head.weight", config.vocab_size, config.hidden_size)?,
    };
    let rotary_emb = match &config.positions {
        Positions::Rotary { theta, scaling } => Some(RotaryEmbedding::new(config.head_dim, *theta, scaling)),
        Positions::Learned => None,
    };
    Ok(Model {
        config: config.clone(),
        device: weights.device().clone(),
        embed_tokens,
        embed_positions: None,
        rotary_emb,
        layers,
        norm,
        lm_head: LmHead { weight: head, bias: None },
    })
}

fn decoder_layer(config: &ModelConfig, weights: &mut Weights, variant: Variant, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let path = format!("model.layers.{layer}");
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim);
    let mut linear = |matrix, name: &str, out, input, bias| {
        weights.linear((layer, matrix), &format!("{path}.{name}"), [out, input], Layout::OutIn, bias)
    };
    let qkv_proj = QkvProj::Separate {
        q_proj: linear(Matrix::Query, "self_attn.q_proj", q, hidden, variant.qkv_bias)?,
        k_proj: linear(Matrix::Key, "self_attn.k_proj", kv, hidden, variant.qkv_bias)?,
        v_proj: linear(Matrix::Value, "self_attn.v_proj", kv, hidden, variant.qkv_bias)?,
    };
    let o_proj = linear(Matrix::Output, "self_attn.o_proj", hidden, q, variant.o_bias)?;
    let gate_proj = linear(Matrix::Gate, "mlp.gate_proj", intermediate, hidden, config.mlp_bias)?;
    let up_proj = linear(Matrix::Up, "mlp.up_proj", intermediate, hidden, config.mlp_bias)?;
    let down_proj = linear(Matrix::Down, "mlp.down_proj", hidden, intermediate, config.mlp_bias)?;
    let qk_norm = match variant.qk_norm {
        true => Some((
            rms_norm(weights, &format!("{path}.self_attn.q_norm.weight"), config.head_dim, config)?,
            rms_norm(weights, &format!("{path}.self_attn.k_norm.weight"), config.head_dim, config)?,
        )),
        false => None,
    };
    Ok(DecoderLayer {
        input_layernorm: rms_norm(weights, &format!("{path}.input_layernorm.weight"), hidden, config)?,
        self_attn: Attention {
            qkv_proj,
            qk_norm,
            o_proj,
            num_heads: config.num_attention_heads,
            num_kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
        },
        post_attention_layernorm: rms_norm(weights, &format!("{path}.post_attention_layernorm.weight"), hidden, config)?,
        mlp: Mlp { hidden: Hidden::Gated { gate_proj, up_proj }, down_proj, activation: config.activation },
    })
}

fn rms_norm(weights: &mut Weights, name: &str, width: usize, config: &ModelConfig) -> Result<Norm, WeightsError> {
    Ok(Norm::Rms { weight: weights.vector(name, width)?, eps: config.norm_eps })
}
