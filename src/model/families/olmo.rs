//! OLMo: Llama with LayerNorms without parameters, and clipped queries, keys and values
//! (`transformers.models.olmo.modeling_olmo`).

use super::parts::TABLES;
use super::{Family, parts};
use crate::model::config::{Keys, ModelConfig};
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model, ModelError};
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "olmo", tables: TABLES, config, build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    // The norms' epsilon is not a key of OLMo's configuration.
    Ok(ModelConfig { norm_eps: 1e-5, positions: config.rotary(keys.rope(config.head_dim)?), clip_qkv: keys.number("clip_qkv"), ..config })
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    let norm = parts::bare_layer_norm(config, weights);
    parts::model(config, weights, TABLES, norm.clone(), |weights, layer| {
        Ok(DecoderLayer {
            input_layernorm: Some(norm.clone()),
            self_attn: parts::self_attn(config, weights, layer, config.attention_bias, config.attention_bias)?,
            post_attention_layernorm: None,
            pre_feedforward_layernorm: Some(norm.clone()),
            mlp: parts::gated_mlp(config, weights, layer)?,
            post_feedforward_layernorm: None,
            is_parallel: false,
        })
    })
}
