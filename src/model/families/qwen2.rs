//! Qwen2 and Qwen2.5: Llama with biases on queries, keys and values, and a window that is never enabled
//! (`transformers.models.qwen2.modeling_qwen2`).

use super::Family;
use super::llama::{Variant, build_variant};
use crate::model::config::{Keys, ModelConfig};
use crate::model::weights::Weights;
use crate::model::{Model, ModelError};
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "qwen2", config, build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    Ok(ModelConfig {
        sliding_window: windows(keys, config.num_hidden_layers)?,
        positions: config.rotary(keys.rope(config.head_dim)?),
        ..config
    })
}

/// Windows from layer `max_window_layers` on, if `use_sliding_window` is set.
pub(super) fn windows(keys: &Keys<'_>, num_hidden_layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = keys.get::<usize>("sliding_window")?;
    let first = match keys.get("use_sliding_window")? {
        Some(true) => keys.get::<usize>("max_window_layers")?,
        _ => None,
    };
    let is_sliding = keys.sliding_layers(num_hidden_layers, |layer| first.is_some_and(|first| layer >= first))?;
    Ok(is_sliding.into_iter().map(|is_sliding| window.filter(|_| is_sliding)).collect())
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    build_variant(config, weights, Variant { qkv_bias: true, o_bias: false, qk_norm: false })
}
