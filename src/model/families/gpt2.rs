//! GPT-2: LayerNorm, learned positions, GELU, and matrices stored `[in, out]` (`Conv1D`). GPT-2 is the negative
//! control: no single scalar in it is critical (`transformers.models.gpt2.modeling_gpt2`).

use super::{Family, parts};
use crate::model::attention::QkvProj;
use crate::model::config::{Activation, Keys, ModelConfig, Positions};
use crate::model::layers::Layout;
use crate::model::mlp::{Hidden, Mlp};
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model, ModelError};
use crate::terms::Matrix;
use crate::weights::WeightsError;

pub(super) static FAMILY: Family = Family { model_type: "gpt2", tables: TABLES, config, build };

/// The names of the embeddings and of the head.
const TABLES: [&str; 2] = ["transformer.wte.weight", "lm_head.weight"];

/// GPT-2's own names of keys, each after its general name (`attribute_map` of transformers).
const NAMES: [[&str; 2]; 4] = [
    ["hidden_size", "n_embd"],
    ["num_attention_heads", "n_head"],
    ["num_hidden_layers", "n_layer"],
    ["max_position_embeddings", "n_positions"],
];

/// The name under which a key is read. As in transformers, the general name wins where both are given.
fn name(keys: &Keys<'_>, general: &str) -> &'static str {
    let [general, own] = NAMES.into_iter().find(|names| names[0] == general).unwrap_or(NAMES[0]);
    if keys.value(general).is_some_and(|value| !value.is_null()) { general } else { own }
}

/// Reads GPT-2's keys. The head is tied by default.
fn config(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    keys.refuse("scale_attn_by_inverse_layer_idx", |value| *value == true)?;
    keys.refuse("scale_attn_weights", |value| *value == false)?;
    let (hidden_size, num_attention_heads) = (keys.required(name(keys, "hidden_size"))?, keys.required(name(keys, "num_attention_heads"))?);
    let num_hidden_layers = keys.required(name(keys, "num_hidden_layers"))?;
    let width_key = "n_inner";
    let config = ModelConfig {
        model_type: FAMILY.model_type,
        width_key,
        vocab_size: keys.required("vocab_size")?,
        hidden_size,
        intermediate_size: keys.whole(width_key).unwrap_or(4 * hidden_size).into(),
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: num_attention_heads,
        head_dim: hidden_size / num_attention_heads,
        max_position_embeddings: keys.required(name(keys, "max_position_embeddings"))?,
        norm_eps: keys.number("layer_norm_epsilon").unwrap_or(1e-5),
        activation: keys.activation("activation_function", Activation::GeluTanh)?,
        positions: Positions::Learned,
        tie_word_embeddings: keys.flag("tie_word_embeddings").unwrap_or(true),
        attention_bias: true,
        mlp_bias: true,
        sliding_window: vec![None; num_hidden_layers],
        query_pre_attn_scalar: None,
        clip_qkv: None,
        use_parallel_residual: false,
        bos_token_id: keys.token_ids("bos_token_id").first().copied(),
        eos_token_ids: keys.token_ids("eos_token_id"),
    };
    config.check_heads_fill_width()?;
    Ok(config)
}

fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    let norm = parts::layer_norm(config, weights, "transformer.ln_f")?;
    let embed_positions = weights.table("transformer.wpe.weight", config.max_position_embeddings, config.hidden_size)?;
    let model = parts::model(config, weights, TABLES, norm, |weights, layer| block(config, weights, layer))?;
    Ok(Model { embed_positions: Some(embed_positions), ..model })
}

fn block(config: &ModelConfig, weights: &mut Weights, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let path = format!("transformer.h.{layer}");
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size.at(layer));
    let mut conv1d =
        |matrix, name: &str, out, input| weights.linear((layer, matrix), &format!("{path}.{name}"), [out, input], Layout::InOut, true);
    let c_attn = conv1d(Matrix::QProj, "attn.c_attn", 3 * hidden, hidden)?;
    let attn_c_proj = conv1d(Matrix::OProj, "attn.c_proj", hidden, hidden)?;
    let c_fc = conv1d(Matrix::UpProj, "mlp.c_fc", intermediate, hidden)?;
    let mlp_c_proj = conv1d(Matrix::DownProj, "mlp.c_proj", hidden, intermediate)?;
    Ok(DecoderLayer {
        input_layernorm: Some(parts::layer_norm(config, weights, &format!("{path}.ln_1"))?),
        self_attn: parts::attention(config, QkvProj::Fused(c_attn), attn_c_proj),
        post_attention_layernorm: None,
        pre_feedforward_layernorm: Some(parts::layer_norm(config, weights, &format!("{path}.ln_2"))?),
        mlp: Mlp { hidden: Hidden::Plain { c_fc }, down_proj: mlp_c_proj, activation: config.activation },
        post_feedforward_layernorm: None,
        is_parallel: false,
    })
}
