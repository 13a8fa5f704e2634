//! Qwen3: Llama with an RMSNorm on each head's queries and keys (`transformers.models.qwen3.modeling_qwen3`).

use super::llama::{Variant, build_variant};
use super::parts::TABLES;
use super::{Family, qwen2};
use crate::model::config::{Keys, ModelConfig};
use crate::model::weights::Weights;
use crate::model::{Model, ModelError};
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "qwen3", tables: TABLES, config, build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    let head_dim = keys.whole("head_dim").unwrap_or(128);
    Ok(ModelConfig {
        head_dim,
        sliding_window: qwen2::windows(keys, config.num_hidden_layers)?,
        positions: config.rotary(keys.rope(head_dim)?),
        ..config
    })
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    build_variant(config, weights, Variant { qkv_bias: config.attention_bias, o_bias: config.attention_bias, qk_norm: true })
}
