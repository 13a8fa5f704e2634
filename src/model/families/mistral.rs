//! Mistral: Llama with a window (`transformers.models.mistral.modeling_mistral`).

use super::parts::TABLES;
use super::{Family, llama};
use crate::model::ModelError;
use crate::model::config::{Keys, ModelConfig};

pub(super) static FAMILY: Family = Family { model_type: "mistral", tables: TABLES, config, build: llama::build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    // If the key is missing, as in the first configurations, the window is 4,096; `null` means none.
    let window = if keys.value("sliding_window").is_none() { Some(4096) } else { keys.get("sliding_window")? };
    let is_sliding = keys.sliding_layers(config.num_hidden_layers, |_| true)?;
    Ok(ModelConfig {
        sliding_window: is_sliding.into_iter().map(|is_sliding| window.filter(|_| is_sliding)).collect(),
        positions: config.rotary(keys.rope(config.head_dim)?),
        ..config
    })
}
