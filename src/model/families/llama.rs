//! Llama 1 to 3, SmolLM2 and TinyLlama: RMSNorm before each block, rotary positions, SwiGLU
//! (`transformers.models.llama.modeling_llama`). Mistral, Qwen2 and Qwen3 differ only by a [`Variant`].

use super::parts::TABLES;
use super::{Family, parts};
use crate::model::config::{Keys, ModelConfig};
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model, ModelError};
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "llama", tables: TABLES, config, build };

/// The differences between Llama and its relatives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub qkv_bias: bool,
    pub o_bias: bool,
    /// RMSNorm on each head's queries and keys.
    pub qk_norm: bool,
}

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    Ok(ModelConfig { positions: config.rotary(keys.rope(config.head_dim)?), ..config })
}

pub(super) fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    build_variant(config, weights, Variant { qkv_bias: config.attention_bias, o_bias: config.attention_bias, qk_norm: false })
}

pub(super) fn build_variant(config: &ModelConfig, weights: &mut Weights, variant: Variant) -> Result<Model, WeightsError> {
    let norm = parts::rms_norm(config, weights, "model.norm", config.hidden_size)?;
    parts::model(config, weights, TABLES, norm, |weights, layer| decoder_layer(config, weights, variant, layer))
}

fn decoder_layer(config: &ModelConfig, weights: &mut Weights, variant: Variant, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let mut self_attn = parts::self_attn(config, weights, layer, variant.qkv_bias, variant.o_bias)?;
    if variant.qk_norm {
        self_attn.qk_norm = parts::qk_norm(config, weights, layer, false)?;
    }
    let mut norm = |name| parts::layer_rms_norm(config, weights, layer, name);
    Ok(DecoderLayer {
        input_layernorm: Some(norm("input_layernorm")?),
        self_attn,
        post_attention_layernorm: None,
        pre_feedforward_layernorm: Some(norm("post_attention_layernorm")?),
        mlp: parts::gated_mlp(config, weights, layer)?,
        post_feedforward_layernorm: None,
        is_parallel: false,
    })
}
