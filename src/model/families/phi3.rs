//! Phi-3: Llama with one matrix for queries, keys and values and one for gate and up, a window, and, in some
//! configurations, rotary positions of a part of each head (`transformers.models.phi3.modeling_phi3`).

use super::parts::TABLES;
use super::{Family, parts};
use crate::model::attention::{Attention, QkvProj};
use crate::model::config::{Keys, ModelConfig, Rope, RopeKeys, RopeScaling};
use crate::model::layers::Layout;
use crate::model::mlp::{Hidden, Mlp};
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model, ModelError};
use crate::terms::Matrix;
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "phi3", tables: TABLES, config, build };

fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let config = ModelConfig::shared(FAMILY.model_type, keys)?;
    let dim = (config.head_dim as f64 * keys.rotary_share().unwrap_or(1.0)) as usize;
    let theta = keys.number("rope_theta").unwrap_or(10_000.0);
    let of = keys.rope_keys();
    let (rope, longest) = match of.kind() {
        // The first checkpoints used all of these names.
        Some("longrope" | "su" | "yarn") => longrope(keys, &of, &config, Rope { dim, theta, scaling: RopeScaling::None })?,
        _ => (keys.rope_of(&of, theta, dim)?, config.max_position_embeddings),
    };
    Ok(ModelConfig {
        norm_eps: keys.number("rms_norm_eps").unwrap_or(1e-5),
        positions: config.rotary(rope),
        max_position_embeddings: longest,
        sliding_window: vec![keys.whole("sliding_window"); config.num_hidden_layers],
        ..config
    })
}

/// Reads the angles of a model with a stretched context, and returns the context's length here: its length in
/// pre-training. Up to there the model has one set of factors. Beyond, transformers uses another set for all
/// positions at once, even for keys that are already computed.
fn longrope(keys: &Keys<'_>, of: &RopeKeys, config: &ModelConfig, plain: Rope) -> Result<(Rope, usize), ModelError> {
    let original = keys.whole("original_max_position_embeddings").unwrap_or(4096);
    let expected = plain.dim / 2;
    for key in ["short_factor", "long_factor"] {
        let n = of.numbers(key).map(|factors| factors.len());
        // Only the short ones are read.
        if n.is_some_and(|n| n != expected) || (n.is_none() && key == "short_factor") {
            return Err(of.fault(key, format!("has {} numbers, expected {expected}", n.unwrap_or(0))));
        }
    }
    let factors = of.numbers("short_factor").unwrap_or_default();
    let stretch = of.number("factor").unwrap_or(config.max_position_embeddings as f64 / original as f64);
    let by_length = if stretch > 1.0 { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() } else { 1.0 };
    let magnitude = of.number("attention_factor").unwrap_or(by_length);
    let theta = of.number("rope_theta").unwrap_or(plain.theta);
    let rope = Rope { theta, scaling: RopeScaling::Each { factors, magnitude }, ..plain };
    Ok((rope, config.max_position_embeddings.min(original)))
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    let norm = parts::rms_norm(config, weights, "model.norm", config.hidden_size)?;
    parts::model(config, weights, TABLES, norm, |weights, layer| decoder_layer(config, weights, layer))
}

fn decoder_layer(config: &ModelConfig, weights: &mut Weights, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let path = format!("model.layers.{layer}");
    let mut norm = |name| parts::layer_rms_norm(config, weights, layer, name);
    Ok(DecoderLayer {
        input_layernorm: Some(norm("input_layernorm")?),
        post_attention_layernorm: None,
        pre_feedforward_layernorm: Some(norm("post_attention_layernorm")?),
        post_feedforward_layernorm: None,
        self_attn: attention(config, weights, layer, &path)?,
        mlp: mlp(config, weights, layer, &path)?,
        is_parallel: false,
    })
}

fn attention(config: &ModelConfig, weights: &mut Weights, layer: usize, path: &str) -> Result<Attention, WeightsError> {
    let hidden = config.hidden_size;
    let [q, kv] = [config.num_attention_heads, config.num_key_value_heads].map(|heads| heads * config.head_dim);
    let parts = [(Matrix::QProj, q), (Matrix::KProj, kv), (Matrix::VProj, kv)];
    let [q_proj, k_proj, v_proj] = weights.fused(layer, parts, 1, &format!("{path}.self_attn.qkv_proj"), hidden, false)?;
    let o_proj = weights.linear((layer, Matrix::OProj), &format!("{path}.self_attn.o_proj"), [hidden, q], Layout::OutIn, false)?;
    Ok(parts::attention(config, QkvProj::Separate { q_proj, k_proj, v_proj }, o_proj))
}

fn mlp(config: &ModelConfig, weights: &mut Weights, layer: usize, path: &str) -> Result<Mlp, WeightsError> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size.at(layer));
    let parts = [Matrix::GateProj, Matrix::UpProj].map(|matrix| (matrix, intermediate));
    let [gate_proj, up_proj] = weights.fused(layer, parts, 1, &format!("{path}.mlp.gate_up_proj"), hidden, false)?;
    let down_proj =
        weights.linear((layer, Matrix::DownProj), &format!("{path}.mlp.down_proj"), [hidden, intermediate], Layout::OutIn, false)?;
    Ok(Mlp { hidden: Hidden::Gated { gate_proj, up_proj }, down_proj, activation: config.activation })
}
