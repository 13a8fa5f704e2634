//! Qwen2 and Qwen2.5: Llama with biases on queries, keys and values, and a window that is never enabled
//! (`transformers.models.qwen2.modeling_qwen2`).

use super::Family;
use super::llama::{Variant, build_variant};
use super::parts::TABLES;
use crate::model::config::{Keys, ModelConfig};
use crate::model::weights::Weights;
use crate::model::{Model, ModelError};
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "qwen2", tables: TABLES, config, build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    Ok(ModelConfig {
        sliding_window: windows(keys, config.num_hidden_layers)?,
        positions: config.rotary(keys.rope(config.head_dim)?),
        ..config
    })
}

/// Windows from layer `max_window_layers` on, if `use_sliding_window` is set; the defaults are transformers'.
pub(super) fn windows(keys: &Keys<'_>, num_hidden_layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = keys.window_or(4096).filter(|_| keys.flag("use_sliding_window").unwrap_or(false));
    let first = keys.whole("max_window_layers").unwrap_or(28);
    let is_sliding = keys.sliding_layers(num_hidden_layers, |layer| window.is_some() && layer >= first)?;
    keys.windows(&is_sliding, window, "use_sliding_window is off, or sliding_window null")
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    build_variant(config, weights, Variant { qkv_bias: true, o_bias: false, qk_norm: false })
}
