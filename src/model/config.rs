//! Reads `config.json` of Hugging Face transformers, by its own keys, and checks it before anything is loaded.
//!
//! This file reads the keys that most families share; each family's file reads its own keys ([`super::families`]).
//! Every key that is there has its type and its range ([`keys`]), or the model is refused by the key's name.

pub mod keys;
mod rope;
mod windows;

use serde_json::Value;

use super::{ModelError, families, python_json};
use crate::terms::PerLayer;
pub(super) use keys::Keys;
use keys::config as fault;
pub use keys::token_ids;
pub(super) use rope::RopeKeys;

pub use super::python_json::{as_json, is_python_number};

/// The activation between a feed-forward block's two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// `x/2 (1 + erf(x/√2))`.
    Gelu,
    /// The tanh form that GPT-2 was trained with (`gelu_new`).
    GeluTanh,
}

/// The way in which positions enter the attention.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// A table added to the embeddings (GPT-2's `wpe`).
    Learned,
    /// Queries and keys are rotated by angles; one [`Rope`] for each layer.
    Rotary(Vec<Rope>),
}

/// Rotary angles of the first `dim` dimensions of a head; the others stay as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    pub dim: usize,
    pub theta: f64,
    pub scaling: RopeScaling,
}

/// The scaling of rotary frequencies, for contexts longer than in pre-training.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
    /// Llama 3.1 and later: low frequencies divided by `factor`, high ones kept, a ramp in between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: f64,
    },
    /// Every frequency divided by its own factor, cosines and sines multiplied (Phi-3's `longrope`).
    Each {
        factors: Vec<f64>,
        magnitude: f64,
    },
}

/// The configuration that the forward pass needs, under transformers' names.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub model_type: &'static str,
    /// The key of `config.json` that holds [`Self::intermediate_size`].
    pub width_key: &'static str,
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Feed-forward channels of a layer.
    pub intermediate_size: PerLayer,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    pub norm_eps: f64,
    pub activation: Activation,
    pub positions: Positions,
    pub tie_word_embeddings: bool,
    pub attention_bias: bool,
    pub mlp_bias: bool,
    /// For each layer, the number of last positions that it attends to; all if `None`.
    pub sliding_window: Vec<Option<usize>>,
    /// The scores are divided by the square root of this number; `None` means `head_dim`.
    pub query_pre_attn_scalar: Option<f64>,
    /// Bound of the magnitudes of queries, keys and values (OLMo).
    pub clip_qkv: Option<f64>,
    /// `true` if attention and feed-forward block read the same residual stream (GPT-NeoX).
    pub use_parallel_residual: bool,
    pub bos_token_id: Option<u32>,
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] naming the key, [`ModelError::UnknownArchitecture`] or [`ModelError::Unsupported`].
    pub fn from_json(json: &[u8]) -> Result<Self, ModelError> {
        let json = python_json::as_json(json);
        let value: Value = serde_json::from_slice(&json).map_err(|error| fault("config.json", error.to_string()))?;
        let object = value.as_object().ok_or_else(|| fault("config.json", "is no object"))?;
        let model_type = match object.get("model_type") {
            None | Some(Value::Null) => "(none)",
            Some(named) => named.as_str().ok_or_else(|| fault("model_type", format!("is {named}, expected {}", keys::Kind::Text)))?,
        };
        if let Some((method, key)) = quantisation(object) {
            return Err(ModelError::Quantised { method, key });
        }
        families::check_known(model_type)?;
        let keys = Keys::checked(object)?;
        // Overrides of single layers change results, and no family here reads them.
        for key in ["per_layer_config", "block_configs", "layer_inter_size", "layer_head_num"] {
            keys.refuse(key, |value| !is_empty(value))?;
        }
        let config = families::read_config(model_type, &keys)?;
        config.check()?;
        Ok(config)
    }

    /// Reads the keys that most families have, with their most common names and defaults: no biases, no windows, an
    /// untied head, and rotary positions of whole heads. A family changes the fields in which it differs.
    pub(super) fn shared(model_type: &'static str, keys: &Keys<'_>) -> Result<Self, ModelError> {
        let hidden_size = keys.required("hidden_size")?;
        let num_attention_heads = keys.required("num_attention_heads")?;
        let num_hidden_layers = keys.required("num_hidden_layers")?;
        let width_key = "intermediate_size";
        Ok(Self {
            model_type,
            width_key,
            vocab_size: keys.required("vocab_size")?,
            hidden_size,
            intermediate_size: keys.required(width_key)?.into(),
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: keys.whole("num_key_value_heads").unwrap_or(num_attention_heads),
            head_dim: keys.whole("head_dim").unwrap_or(hidden_size / num_attention_heads),
            max_position_embeddings: keys.required("max_position_embeddings")?,
            norm_eps: keys.number("rms_norm_eps").unwrap_or(1e-6),
            activation: keys.activation("hidden_act", Activation::Silu)?,
            positions: Positions::Learned,
            tie_word_embeddings: keys.flag("tie_word_embeddings").unwrap_or(false),
            attention_bias: keys.flag("attention_bias").unwrap_or(false),
            mlp_bias: keys.flag("mlp_bias").unwrap_or(false),
            sliding_window: vec![None; num_hidden_layers],
            query_pre_attn_scalar: None,
            clip_qkv: None,
            use_parallel_residual: false,
            bos_token_id: keys.token_ids("bos_token_id").first().copied(),
            eos_token_ids: keys.token_ids("eos_token_id"),
        })
    }

    /// Rotary positions with equal angles in every layer.
    pub(super) fn rotary(&self, rope: Rope) -> Positions {
        Positions::Rotary(vec![rope; self.num_hidden_layers])
    }

    /// The angles of a layer; `None` if positions are learned.
    pub fn rope(&self, layer: usize) -> Option<&Rope> {
        match &self.positions {
            Positions::Rotary(ropes) => ropes.get(layer),
            Positions::Learned => None,
        }
    }

    /// The factor of the attention scores.
    pub fn attention_scale(&self) -> f64 {
        self.query_pre_attn_scalar.unwrap_or(self.head_dim as f64).powf(-0.5)
    }

    /// Checks the sizes against each other.
    fn check(&self) -> Result<(), ModelError> {
        if self.head_dim == 0 {
            let (width, heads) = (self.hidden_size, self.num_attention_heads);
            return Err(fault("num_attention_heads", format!("is {heads}, expected at most hidden_size, which is {width}")));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let why = format!("is {}, which does not divide num_attention_heads {}", self.num_key_value_heads, self.num_attention_heads);
            return Err(fault("num_key_value_heads", why));
        }
        for dim in (0..self.num_hidden_layers).filter_map(|layer| self.rope(layer)).map(|rope| rope.dim) {
            if dim == 0 || dim > self.head_dim || !dim.is_multiple_of(2) {
                let why = format!("is {}, of which {dim} would turn: rotary positions need an even number of them", self.head_dim);
                return Err(fault("head_dim", why));
            }
        }
        Ok(())
    }

    /// Checks that the heads fill the model's width, which is required if one matrix makes queries, keys and values.
    pub(super) fn check_heads_fill_width(&self) -> Result<(), ModelError> {
        if self.num_attention_heads * self.head_dim == self.hidden_size {
            return Ok(());
        }
        let why = format!("is {}, which times {} heads is not hidden_size {}", self.head_dim, self.num_attention_heads, self.hidden_size);
        Err(fault("head_dim", why))
    }
}

/// The method with which a checkpoint is quantised, and the key that says so. Weights that stand for others, or that
/// transformers would round while it loads them, are not the model's.
fn quantisation(keys: &serde_json::Map<String, Value>) -> Option<(String, &'static str)> {
    // `compression_config` is of compressed-tensors before its merge, `quantization` of MLX.
    let keys = ["quantization_config", "compression_config", "quantization", "quant_config"]
        .into_iter()
        .filter_map(|key| Some((key, keys.get(key)?)));
    let (key, value) = keys.into_iter().find(|(_, value)| !is_empty(value) && **value != Value::Bool(false))?;
    let named =
        ["quant_method", "quantization_method", "quant_algo", "format", "mode"].into_iter().find_map(|name| value.get(name)?.as_str());
    let by_load = || ["load_in_4bit", "load_in_8bit"].into_iter().find(|name| value.get(name) == Some(&Value::Bool(true)));
    let bits = value.get("bits").and_then(Value::as_u64).map_or_else(String::new, |bits| format!(", {bits} bits"));
    let method = named.or_else(by_load).unwrap_or("no method named");
    Some((format!("{}{bits}", method.chars().take(40).collect::<String>()), key))
}

/// `true` for null, and for a list or dictionary without entries.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}
