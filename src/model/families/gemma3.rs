//! Gemma 3: norms before and after each block, whose weights are stored less 1; an RMSNorm on each head's queries and
//! keys; embeddings multiplied by √hidden_size; a GELU gate; and two kinds of layers, of which those with a window
//! have their own rotary angles (`transformers.models.gemma3.modeling_gemma3`).

use super::parts::TABLES;
use super::{Family, parts};
use crate::model::attention::QkNorm;
use crate::model::config::{Activation, Keys, ModelConfig, Positions, Rope};
use crate::model::layers::Norm;
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model, ModelError};
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "gemma3_text", tables: TABLES, config, build };

/// Gemma 3 with images: its `model_type`, and the text of the refusal.
pub(super) const WITH_IMAGES: (&str, &str) = ("gemma3", "gemma3 with its images; models of text alone (gemma3_text) are");

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    keys.refuse("final_logit_softcapping", |value| !value.is_null())?;
    keys.refuse("attn_logit_softcapping", |value| !value.is_null())?;
    keys.refuse("use_bidirectional_attention", |value| *value == true)?;
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    let head_dim = keys.whole("head_dim").unwrap_or(256);
    // One in every `pattern` layers has no window.
    let pattern = keys.whole("sliding_window_pattern").or(keys.whole("_sliding_window_pattern")).unwrap_or(6);
    let is_sliding = keys.sliding_layers(config.num_hidden_layers, |layer| !(layer + 1).is_multiple_of(pattern))?;
    let sliding_window = keys.windows(&is_sliding, keys.window_or(4096), "sliding_window is null")?;
    let (global, local) = ropes(keys, head_dim)?;
    let rope_of = |is_sliding: &bool| if *is_sliding { local.clone() } else { global.clone() };
    Ok(ModelConfig {
        head_dim,
        num_key_value_heads: keys.whole("num_key_value_heads").unwrap_or(4),
        activation: keys.activation("hidden_activation", Activation::GeluTanh)?,
        positions: Positions::Rotary(is_sliding.iter().map(rope_of).collect()),
        tie_word_embeddings: keys.flag("tie_word_embeddings").unwrap_or(true),
        sliding_window,
        query_pre_attn_scalar: Some(keys.number("query_pre_attn_scalar").unwrap_or(256.0)),
        ..config
    })
}

/// Reads the angles of the layers without a window, and of those with one. transformers 5 writes them by kind of
/// layer; transformers 4 had two bases, and scaled only the first kind.
fn ropes(keys: &Keys<'_>, head_dim: usize) -> Result<(Rope, Rope), ModelError> {
    let [global, local] = [keys.rope_keys_of("full_attention", true)?, keys.rope_keys_of("sliding_attention", false)?];
    let global = keys.rope_of(&global, keys.number("rope_theta").unwrap_or(1_000_000.0), head_dim)?;
    let local = keys.rope_of(&local, keys.number("rope_local_base_freq").unwrap_or(10_000.0), head_dim)?;
    Ok((global, local))
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    let norm = with_one(parts::rms_norm(config, weights, "model.norm", config.hidden_size)?);
    let model = parts::model(config, weights, TABLES, norm, |weights, layer| decoder_layer(config, weights, layer))?;
    Ok(Model { embed_scale: Some((config.hidden_size as f64).sqrt()), ..model })
}

fn decoder_layer(config: &ModelConfig, weights: &mut Weights, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let mut self_attn = parts::self_attn(config, weights, layer, config.attention_bias, config.attention_bias)?;
    let qk_norm = parts::qk_norm(config, weights, layer, false)?;
    self_attn.qk_norm = qk_norm.map(|norms| QkNorm { q_norm: with_one(norms.q_norm), k_norm: with_one(norms.k_norm), ..norms });
    let mut norm = |name| parts::layer_rms_norm(config, weights, layer, name).map(|norm| Some(with_one(norm)));
    Ok(DecoderLayer {
        input_layernorm: norm("input_layernorm")?,
        self_attn,
        post_attention_layernorm: norm("post_attention_layernorm")?,
        pre_feedforward_layernorm: norm("pre_feedforward_layernorm")?,
        post_feedforward_layernorm: norm("post_feedforward_layernorm")?,
        mlp: parts::gated_mlp(config, weights, layer)?,
        is_parallel: false,
    })
}

/// Adds 1 to a norm's weight, because the checkpoint stores it less 1.
fn with_one(norm: Norm) -> Norm {
    match norm {
        Norm::Rms { weight, eps } => Norm::Rms { weight: weight + 1.0, eps },
        layer @ Norm::Layer { .. } => layer,
    }
}
