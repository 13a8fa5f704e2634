//! OLMo-2: Llama with norms after the blocks instead of before them, and RMSNorms over all queries and all keys of a
//! token (`transformers.models.olmo2.modeling_olmo2`).

use super::parts::TABLES;
use super::{Family, parts};
use crate::model::config::{Keys, ModelConfig};
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model, ModelError};
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "olmo2", tables: TABLES, config, build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    let norm_eps = keys.number("rms_norm_eps").unwrap_or(1e-5);
    Ok(ModelConfig { norm_eps, positions: config.rotary(keys.rope(config.head_dim)?), ..config })
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    let norm = parts::rms_norm(config, weights, "model.norm", config.hidden_size)?;
    parts::model(config, weights, TABLES, norm, |weights, layer| decoder_layer(config, weights, layer))
}

fn decoder_layer(config: &ModelConfig, weights: &mut Weights, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let mut self_attn = parts::self_attn(config, weights, layer, config.attention_bias, config.attention_bias)?;
    self_attn.qk_norm = parts::qk_norm(config, weights, layer, true)?;
    let mut norm = |name| parts::layer_rms_norm(config, weights, layer, name);
    Ok(DecoderLayer {
        input_layernorm: None,
        self_attn,
        post_attention_layernorm: Some(norm("post_attention_layernorm")?),
        pre_feedforward_layernorm: None,
        post_feedforward_layernorm: Some(norm("post_feedforward_layernorm")?),
        mlp: parts::gated_mlp(config, weights, layer)?,
        is_parallel: false,
    })
}
