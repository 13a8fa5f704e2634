//! Qwen3: Llama with an RMSNorm on each head's queries and keys (`transformers.models.qwen3.modeling_qwen3`).

use super::llama::{Variant, build_variant};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::weights::{Weights, WeightsError};

pub(super) fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    build_variant(config, weights, Variant { qkv_bias: config.attention_bias, o_bias: config.attention_bias, qk_norm: true })
}
