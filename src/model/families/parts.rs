//! Parts that are built in the same way in several families.

use burn::tensor::Tensor;

use crate::model::attention::{Attention, QkNorm, QkvProj};
use crate::model::config::{ModelConfig, Positions};
use crate::model::layers::{Layout, Linear, LmHead, Norm};
use crate::model::mlp::{Hidden, Mlp};
use crate::model::rotary::RotaryEmbedding;
use crate::model::weights::Weights;
use crate::model::{DecoderLayer, Model};
use crate::terms::Matrix;
use crate::weights::WeightsError;

type Built<T> = Result<T, WeightsError>;

/// The names of the embeddings and of the head in most families.
pub(super) const TABLES: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

/// Builds a model from its layers and its last norm. `[embeddings, head]` are the names of the tables; a tied head
/// has a table only if the checkpoint has one with other values.
pub(super) fn model(
    config: &ModelConfig,
    weights: &mut Weights,
    [embeddings, head]: [&str; 2],
    norm: Norm,
    layer: impl Fn(&mut Weights, usize) -> Built<DecoderLayer>,
) -> Built<Model> {
    let [embeddings, head] = match config.tie_word_embeddings {
        true => weights.tied(embeddings, head),
        false => [embeddings, head],
    };
    let embed_tokens = weights.table(embeddings, config.vocab_size, config.hidden_size)?;
    let layers = (0..config.num_hidden_layers).map(|index| layer(weights, index)).collect::<Result<Vec<_>, _>>()?;
    let head = match embeddings == head {
        true => embed_tokens.clone(),
        false => weights.table(head, config.vocab_size, config.hidden_size)?,
    };
    Ok(Model {
        config: config.clone(),
        embed_tokens,
        embed_scale: None,
        embed_positions: None,
        rotary_emb: rotary_embeddings(config),
        layers: layers.into(),
        norm,
        lm_head: LmHead { weight: head, bias: None },
    })
}

/// The rotary embedding of each layer; empty if positions are learned.
fn rotary_embeddings(config: &ModelConfig) -> Vec<RotaryEmbedding> {
    match &config.positions {
        Positions::Rotary(ropes) => ropes.iter().map(RotaryEmbedding::new).collect(),
        Positions::Learned => Vec::new(),
    }
}

/// Builds a layer's attention from its projections and the configuration.
pub(super) fn attention(config: &ModelConfig, qkv_proj: QkvProj, o_proj: Linear) -> Attention {
    Attention {
        qkv_proj,
        clip_qkv: config.clip_qkv,
        qk_norm: None,
        o_proj,
        num_heads: config.num_attention_heads,
        num_kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        scale: config.attention_scale(),
        product_bits: None,
    }
}

/// Builds a layer's attention from `q_proj`, `k_proj`, `v_proj` and `o_proj`.
pub(super) fn self_attn(config: &ModelConfig, weights: &mut Weights, layer: usize, qkv_bias: bool, o_bias: bool) -> Built<Attention> {
    let [q, kv] = [config.num_attention_heads, config.num_key_value_heads].map(|heads| heads * config.head_dim);
    let mut linear = |matrix: Matrix, shape, bias| {
        weights.linear((layer, matrix), &format!("model.layers.{layer}.self_attn.{}", matrix.name()), shape, Layout::OutIn, bias)
    };
    let hidden = config.hidden_size;
    let qkv_proj = QkvProj::Separate {
        q_proj: linear(Matrix::QProj, [q, hidden], qkv_bias)?,
        k_proj: linear(Matrix::KProj, [kv, hidden], qkv_bias)?,
        v_proj: linear(Matrix::VProj, [kv, hidden], qkv_bias)?,
    };
    Ok(attention(config, qkv_proj, linear(Matrix::OProj, [hidden, q], o_bias)?))
}

/// Builds `q_norm` and `k_norm`: for each head, or, if `whole`, for all heads together.
pub(super) fn qk_norm(config: &ModelConfig, weights: &mut Weights, layer: usize, whole: bool) -> Built<Option<QkNorm>> {
    let width = |heads: usize| if whole { heads * config.head_dim } else { config.head_dim };
    let mut norm = |name: &str, heads| rms_norm(config, weights, &format!("model.layers.{layer}.self_attn.{name}"), width(heads));
    let (q_norm, k_norm) = (norm("q_norm", config.num_attention_heads)?, norm("k_norm", config.num_key_value_heads)?);
    Ok(Some(QkNorm { q_norm, k_norm, whole }))
}

/// Builds a feed-forward block from `gate_proj`, `up_proj` and `down_proj`.
pub(super) fn gated_mlp(config: &ModelConfig, weights: &mut Weights, layer: usize) -> Built<Mlp> {
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size.at(layer));
    let mut linear = |matrix: Matrix, shape| {
        weights.linear((layer, matrix), &format!("model.layers.{layer}.mlp.{}", matrix.name()), shape, Layout::OutIn, config.mlp_bias)
    };
    let gate_proj = linear(Matrix::GateProj, [intermediate, hidden])?;
    let up_proj = linear(Matrix::UpProj, [intermediate, hidden])?;
    let down_proj = linear(Matrix::DownProj, [hidden, intermediate])?;
    Ok(Mlp { hidden: Hidden::Gated { gate_proj, up_proj }, down_proj, activation: config.activation })
}

/// Builds a norm of the residual stream in one of Llama's layers.
pub(super) fn layer_rms_norm(config: &ModelConfig, weights: &mut Weights, layer: usize, name: &str) -> Built<Norm> {
    rms_norm(config, weights, &format!("model.layers.{layer}.{name}"), config.hidden_size)
}

/// Builds an RMSNorm from `{path}.weight`, `[width]`.
pub(super) fn rms_norm(config: &ModelConfig, weights: &mut Weights, path: &str, width: usize) -> Built<Norm> {
    Ok(Norm::Rms { weight: weights.vector(&format!("{path}.weight"), width)?, eps: config.norm_eps })
}

/// Builds a LayerNorm from `{path}.weight` and `{path}.bias`, `[hidden_size]`.
pub(super) fn layer_norm(config: &ModelConfig, weights: &mut Weights, path: &str) -> Built<Norm> {
    let mut vector = |name: &str| weights.vector(&format!("{path}.{name}"), config.hidden_size);
    Ok(Norm::Layer { weight: vector("weight")?, bias: vector("bias")?, eps: config.norm_eps })
}

/// A LayerNorm without parameters: ones and zeros change nothing.
pub(super) fn bare_layer_norm(config: &ModelConfig, weights: &Weights) -> Norm {
    let shape = [config.hidden_size];
    Norm::Layer { weight: Tensor::ones(shape, weights.device()), bias: Tensor::zeros(shape, weights.device()), eps: config.norm_eps }
}
