//! Mistral: Llama with a window (`transformers.models.mistral.modeling_mistral`).

use super::parts::TABLES;
use super::{Family, llama};
use crate::model::ModelError;
use crate::model::config::{Keys, ModelConfig};

pub(super) static FAMILY: Family = Family { model_type: "mistral", tables: TABLES, config, build: llama::build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    let window = keys.window_or(4096);
    let is_sliding = keys.sliding_layers(config.num_hidden_layers, |_| true)?;
    Ok(ModelConfig {
        sliding_window: is_sliding.into_iter().map(|is_sliding| window.filter(|_| is_sliding)).collect(),
        positions: config.rotary(keys.rope(config.head_dim)?),
        ..config
    })
}
