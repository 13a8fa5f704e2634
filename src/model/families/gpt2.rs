//! GPT-2: LayerNorm, learned positions, GELU, and matrices stored `[in, out]` (`Conv1D`). The negative control: no
//! single scalar of it is critical (`transformers.models.gpt2.modeling_gpt2`).

use crate::model::attention::{Attention, QkvProj};
use crate::model::config::ModelConfig;
use crate::model::edit::Matrix;
use crate::model::layers::{Layout, LmHead, Norm};
use crate::model::mlp::{Hidden, Mlp};
use crate::model::{DecoderLayer, Model};
use crate::weights::{Weights, WeightsError};

pub(super) fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    // The Hub's own gpt2 has no prefix, what transformers saves today has one.
    let root = if weights.contains("wte.weight") { "" } else { "transformer." };
    let hidden = config.hidden_size;
    let embed_tokens = weights.table(&format!("{root}wte.weight"), config.vocab_size, hidden)?;
    let embed_positions = weights.table(&format!("{root}wpe.weight"), config.max_position_embeddings, hidden)?;
    let layers = (0..config.num_hidden_layers).map(|layer| block(config, weights, root, layer)).collect::<Result<_, _>>()?;
    let norm = layer_norm(weights, &format!("{root}ln_f"), config)?;
    let head = match config.tie_word_embeddings {
        true => embed_tokens.clone(),
        false => weights.table("lm_head.weight", config.vocab_size, hidden)?,
    };
    Ok(Model {
        config: config.clone(),
        device: weights.device().clone(),
        embed_tokens,
        embed_positions: Some(embed_positions),
        rotary_emb: None,
        layers,
        norm,
        lm_head: LmHead { weight: head, bias: None },
    })
}

fn block(config: &ModelConfig, weights: &mut Weights, root: &str, layer: usize) -> Result<DecoderLayer, WeightsError> {
    let path = format!("{root}h.{layer}");
    let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
    let mut conv1d =
        |matrix, name: &str, out, input| weights.linear((layer, matrix), &format!("{path}.{name}"), [out, input], Layout::InOut, true);
    let c_attn = conv1d(Matrix::Query, "attn.c_attn", 3 * hidden, hidden)?;
    let attn_c_proj = conv1d(Matrix::Output, "attn.c_proj", hidden, hidden)?;
    let c_fc = conv1d(Matrix::Up, "mlp.c_fc", intermediate, hidden)?;
    let mlp_c_proj = conv1d(Matrix::Down, "mlp.c_proj", hidden, intermediate)?;
    Ok(DecoderLayer {
        input_layernorm: layer_norm(weights, &format!("{path}.ln_1"), config)?,
        self_attn: Attention {
            qkv_proj: QkvProj::Fused(c_attn),
            qk_norm: None,
            o_proj: attn_c_proj,
            num_heads: config.num_attention_heads,
            num_kv_heads: config.num_attention_heads,
            head_dim: config.head_dim,
        },
        post_attention_layernorm: layer_norm(weights, &format!("{path}.ln_2"), config)?,
        mlp: Mlp { hidden: Hidden::Plain { c_fc }, down_proj: mlp_c_proj, activation: config.activation },
    })
}

fn layer_norm(weights: &mut Weights, path: &str, config: &ModelConfig) -> Result<Norm, WeightsError> {
    let mut vector = |name: &str| weights.vector(&format!("{path}.{name}"), config.hidden_size);
    Ok(Norm::Layer { weight: vector("weight")?, bias: vector("bias")?, eps: config.norm_eps })
}
