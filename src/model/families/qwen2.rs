//! Qwen2 and Qwen2.5: Llama with biases on queries, keys and values (`transformers.models.qwen2.modeling_qwen2`).

use super::llama::{Variant, build_variant};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::weights::{Weights, WeightsError};

pub(super) fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    build_variant(config, weights, Variant { qkv_bias: true, o_bias: false, qk_norm: false })
}
