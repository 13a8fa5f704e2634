//! GPT-NeoX and Pythia: attention and feed-forward block in parallel on one residual stream, LayerNorm, biases, and
//! rotary positions of a part of each head (`transformers.models.gpt_neox.modeling_gpt_neox`).

use super::{Family, parts};
use crate::model::attention::{Attention, QkvProj};
use crate::model::config::{Activation, Keys, ModelConfig};
use crate::model::layers::Layout;
use crate::model::mlp::{Hidden, Mlp};
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model, ModelError};
use crate::terms::Matrix;
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "gpt_neox", tables: TABLES, config, build };

/// The names of the embeddings and of the head.
const TABLES: [&str; 2] = ["gpt_neox.embed_in.weight", "embed_out.weight"];

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    // transformers 4 has other names for base and share.
    let theta = keys.number("rotary_emb_base").unwrap_or(10_000.0);
    let share = keys.rotary_share().or(keys.number("rotary_pct")).unwrap_or(0.25);
    let dim = (config.head_dim as f64 * share) as usize;
    let config = ModelConfig {
        norm_eps: keys.number("layer_norm_eps").unwrap_or(1e-5),
        activation: keys.activation("hidden_act", Activation::Gelu)?,
        positions: config.rotary(keys.rope_of(&keys.rope_keys(), theta, dim)?),
        attention_bias: keys.flag("attention_bias").unwrap_or(true),
        mlp_bias: true,
        use_parallel_residual: keys.flag("use_parallel_residual").unwrap_or(true),
        ..config
    };
    config.check_heads_fill_width()?;
    Ok(config)
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    let norm = parts::layer_norm(config, weights, "gpt_neox.final_layer_norm")?;
    parts::model(config, weights, TABLES, norm, |weights, layer| decoder_layer(config, weights, layer))
}

fn decoder_layer(config: &ModelConfig, weights: &mut Weights, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let path = format!("gpt_neox.layers.{layer}");
    Ok(DecoderLayer {
        input_layernorm: Some(parts::layer_norm(config, weights, &format!("{path}.input_layernorm"))?),
        self_attn: attention(config, weights, layer, &path)?,
        post_attention_layernorm: None,
        pre_feedforward_layernorm: Some(parts::layer_norm(config, weights, &format!("{path}.post_attention_layernorm"))?),
        mlp: mlp(config, weights, layer, &path)?,
        post_feedforward_layernorm: None,
        is_parallel: config.use_parallel_residual,
    })
}

/// Builds a layer's attention. Queries, keys and values are one matrix, `[heads, 3, head_dim]` rows.
fn attention(config: &ModelConfig, weights: &mut Weights, layer: usize, path: &str) -> Result<Attention, WeightsError> {
    let (hidden, bias) = (config.hidden_size, config.attention_bias);
    let parts = [Matrix::QProj, Matrix::KProj, Matrix::VProj].map(|matrix| (matrix, config.head_dim));
    let path = format!("{path}.attention");
    let fused = weights.fused(layer, parts, config.num_attention_heads, &format!("{path}.query_key_value"), hidden, bias)?;
    let [q_proj, k_proj, v_proj] = fused;
    let dense = weights.linear((layer, Matrix::OProj), &format!("{path}.dense"), [hidden, hidden], Layout::OutIn, bias)?;
    Ok(parts::attention(config, QkvProj::Separate { q_proj, k_proj, v_proj }, dense))
}

fn mlp(config: &ModelConfig, weights: &mut Weights, layer: usize, path: &str) -> Result<Mlp, WeightsError> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size.at(layer));
    let mut linear = |matrix, name: &str, shape| weights.linear((layer, matrix), &format!("{path}.mlp.{name}"), shape, Layout::OutIn, true);
    let c_fc = linear(Matrix::UpProj, "dense_h_to_4h", [intermediate, hidden])?;
    let down_proj = linear(Matrix::DownProj, "dense_4h_to_h", [hidden, intermediate])?;
    Ok(Mlp { hidden: Hidden::Plain { c_fc }, down_proj, activation: config.activation })
}
