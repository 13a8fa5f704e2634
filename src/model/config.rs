//! Reads `config.json` of Hugging Face transformers, by its own keys, and checks it before anything is loaded.
//!
//! This file reads the keys that most families share; each family's file reads its own keys ([`super::families`]).

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ModelError, families, python_json};
use crate::terms::PerLayer;

pub use super::python_json::as_json;

const MAX_LAYERS: usize = 1 << 10;

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
        let broken = |why: String| ModelError::Config { key: "config.json", why };
        let json = python_json::as_json(json);
        let value: Value = serde_json::from_slice(&json).map_err(|error| broken(error.to_string()))?;
        let keys = Keys(&value);
        if !value.is_object() {
            return Err(broken("is no object".into()));
        }
        // Overrides of single layers change results, and no family here reads them.
        for key in ["per_layer_config", "block_configs", "layer_inter_size", "layer_head_num"] {
            keys.refuse::<Value>(key, |value| !is_empty(value))?;
        }
        if let Some((method, key)) = quantisation(&keys) {
            return Err(ModelError::Quantised { method, key });
        }
        let model_type = keys.get::<String>("model_type")?.unwrap_or_else(|| "(none)".into());
        let config = families::read_config(&model_type, &keys)?;
        config.check()?;
        Ok(config)
    }

    /// Reads the keys that most families have, with their most common names and defaults: no biases, no windows, an
    /// untied head, and rotary positions of whole heads. A family changes the fields in which it differs.
    pub(super) fn shared(model_type: &'static str, keys: &Keys<'_>) -> Result<Self, ModelError> {
        let hidden_size = keys.required("hidden_size")?;
        let num_attention_heads = keys.required("num_attention_heads")?;
        if num_attention_heads == 0 {
            return Err(ModelError::Config { key: "num_attention_heads", why: "is 0".into() });
        }
        let num_hidden_layers = keys.layers("num_hidden_layers")?;
        let head_dim = keys.get("head_dim")?.unwrap_or(hidden_size / num_attention_heads);
        let width_key = "intermediate_size";
        Ok(Self {
            model_type,
            width_key,
            vocab_size: keys.required("vocab_size")?,
            hidden_size,
            intermediate_size: keys.required(width_key)?.into(),
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: keys.get("num_key_value_heads")?.unwrap_or(num_attention_heads),
            head_dim,
            max_position_embeddings: keys.required("max_position_embeddings")?,
            norm_eps: keys.get("rms_norm_eps")?.unwrap_or(1e-6),
            activation: keys.activation("hidden_act", Activation::Silu)?,
            positions: Positions::Learned,
            tie_word_embeddings: keys.get("tie_word_embeddings")?.unwrap_or(false),
            attention_bias: keys.get("attention_bias")?.unwrap_or(false),
            mlp_bias: keys.get("mlp_bias")?.unwrap_or(false),
            sliding_window: vec![None; num_hidden_layers],
            query_pre_attn_scalar: None,
            clip_qkv: None,
            use_parallel_residual: false,
            bos_token_id: token_ids(keys.value("bos_token_id")).first().copied(),
            eos_token_ids: token_ids(keys.value("eos_token_id")),
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

    fn check(&self) -> Result<(), ModelError> {
        let (narrowest, widest) = self.intermediate_size.range();
        let limits = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", narrowest, 1 << 20),
            ("intermediate_size", widest, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("num_attention_heads", self.num_attention_heads, 1 << 12),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 26),
        ];
        for (key, value, limit) in limits {
            if value == 0 || value > limit {
                return Err(ModelError::Config { key, why: format!("is {value}, expected 1 to {limit}") });
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let why = format!("{} does not divide num_attention_heads {}", self.num_key_value_heads, self.num_attention_heads);
            return Err(ModelError::Config { key: "num_key_value_heads", why });
        }
        for dim in (0..self.num_hidden_layers).filter_map(|layer| self.rope(layer)).map(|rope| rope.dim) {
            if dim == 0 || dim > self.head_dim || !dim.is_multiple_of(2) {
                let why = format!("is {}, of which {dim} would turn: rotary positions need an even number of them", self.head_dim);
                return Err(ModelError::Config { key: "head_dim", why });
            }
        }
        let positive =
            [("rms_norm_eps", Some(self.norm_eps)), ("query_pre_attn_scalar", self.query_pre_attn_scalar), ("clip_qkv", self.clip_qkv)];
        for (key, value) in positive {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(ModelError::Config { key, why: format!("is {value}") });
            }
        }
        Ok(())
    }

    /// Checks that the heads fill the model's width, which is required if one matrix makes queries, keys and values.
    pub(super) fn check_heads_fill_width(&self) -> Result<(), ModelError> {
        if self.num_attention_heads * self.head_dim == self.hidden_size {
            return Ok(());
        }
        let why = format!("{} times {} heads is not hidden_size {}", self.head_dim, self.num_attention_heads, self.hidden_size);
        Err(ModelError::Config { key: "head_dim", why })
    }
}

/// The keys in the file's form.
pub(super) struct Keys<'a>(&'a Value);

impl Keys<'_> {
    /// The value of a key, including `null`.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Reads a key; `None` if it is missing or `null`.
    pub fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, ModelError> {
        match self.value(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| ModelError::Config { key, why: error.to_string() }),
        }
    }

    pub fn required(&self, key: &'static str) -> Result<usize, ModelError> {
        self.get(key)?.ok_or_else(|| ModelError::Config { key, why: "is missing".into() })
    }

    /// Reads a number of layers, and refuses one so large that a list of them would exhaust the memory.
    pub fn layers(&self, key: &'static str) -> Result<usize, ModelError> {
        match self.required(key)? {
            n if n > MAX_LAYERS => Err(ModelError::Config { key, why: format!("is {n}, expected 1 to {MAX_LAYERS}") }),
            n => Ok(n),
        }
    }

    /// Refuses a key that would change the results, but that the family does not read.
    pub fn refuse<T: DeserializeOwned>(&self, key: &'static str, is_set: impl Fn(&T) -> bool) -> Result<(), ModelError> {
        match self.get::<T>(key)?.filter(is_set) {
            Some(_) => Err(ModelError::Unsupported { what: format!("{key}: {}", self.0[key]) }),
            None => Ok(()),
        }
    }

    pub fn activation(&self, key: &'static str, default: Activation) -> Result<Activation, ModelError> {
        match self.get::<String>(key)?.as_deref() {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            // The same formula under four names.
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate") => Ok(Activation::GeluTanh),
            Some(other) => Err(ModelError::Unsupported { what: format!("{key} {other:?}") }),
        }
    }

    /// `true` for each layer with a window: by `layer_types`, or by `otherwise` if that key is missing.
    pub fn sliding_layers(&self, num_hidden_layers: usize, otherwise: impl Fn(usize) -> bool) -> Result<Vec<bool>, ModelError> {
        let types = self.get::<Vec<String>>("layer_types")?;
        let known = ["full_attention", "sliding_attention"];
        if let Some(other) = types.iter().flatten().find(|kind| !known.contains(&kind.as_str())) {
            return Err(ModelError::Unsupported { what: format!("layer_types: {other:?}") });
        }
        if let Some(n) = types.as_ref().map(Vec::len).filter(|n| *n != num_hidden_layers) {
            return Err(ModelError::Config { key: "layer_types", why: format!("names {n} layers of {num_hidden_layers}") });
        }
        let is_sliding = |layer: usize| match &types {
            Some(types) => types.get(layer).is_some_and(|kind| kind == "sliding_attention"),
            None => otherwise(layer),
        };
        Ok((0..num_hidden_layers).map(is_sliding).collect())
    }

    /// Reads the angles of whole heads. transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5
    /// `rope_parameters` with both inside.
    pub fn rope(&self, head_dim: usize) -> Result<Rope, ModelError> {
        match self.rotary_share()? {
            None | Some(1.0) => self.rope_of(self.rope_parameters(), self.get("rope_theta")?.unwrap_or(10_000.0), head_dim),
            Some(share) => Err(ModelError::Unsupported { what: format!("partial_rotary_factor: {share}") }),
        }
    }

    /// Angles of the first `dim` dimensions, from a dictionary of transformers; `theta` is used if it has none. The
    /// context of a stretched model's pre-training is, as in transformers, that of the configuration's own key, that of
    /// the dictionary, or the model's.
    pub fn rope_of(&self, parameters: Option<&Value>, theta: f64, dim: usize) -> Result<Rope, ModelError> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let inside = parameters.and_then(|parameters| parameters.get(ORIGINAL)).filter(|value| !value.is_null());
        let original = match (self.get::<f64>(ORIGINAL)?, inside) {
            (Some(original), _) => Some(original),
            (None, Some(original)) => original.as_f64(),
            (None, None) => self.get("max_position_embeddings")?,
        };
        rope(parameters, theta, dim, original)
    }

    /// The dictionary of the angles. As in transformers 5, an old key wins over a new one: somebody has added it.
    pub fn rope_parameters(&self) -> Option<&Value> {
        let given = |key| self.value(key).filter(|value| !is_empty(value));
        given("rope_scaling").or_else(|| given("rope_parameters"))
    }

    /// The rotated share of a head's dimensions, if given.
    pub fn rotary_share(&self) -> Result<Option<f64>, ModelError> {
        match self.rope_parameters().and_then(|parameters| parameters.get("partial_rotary_factor")).and_then(Value::as_f64) {
            Some(share) => Ok(Some(share)),
            None => self.get("partial_rotary_factor"),
        }
    }
}

/// The method with which a checkpoint is quantised, and the key that says so. Weights that stand for others, or that
/// transformers would round while it loads them, are not the model's.
fn quantisation(keys: &Keys<'_>) -> Option<(String, &'static str)> {
    // `compression_config` is of compressed-tensors before its merge, `quantization` of MLX.
    let keys = ["quantization_config", "compression_config", "quantization", "quant_config"]
        .into_iter()
        .filter_map(|key| Some((key, keys.value(key)?)));
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

fn rope(parameters: Option<&Value>, theta: f64, dim: usize, original: Option<f64>) -> Result<Rope, ModelError> {
    let positive = |key: &'static str, value: Option<f64>| {
        value.filter(|v| v.is_finite() && *v > 0.0).ok_or(ModelError::Config { key, why: "is missing or no positive number".into() })
    };
    let number = |key: &'static str| positive(key, parameters.and_then(|p| p.get(key)).and_then(Value::as_f64));
    let theta = if parameters.is_some_and(|p| p.get("rope_theta").is_some()) { number("rope_theta")? } else { theta };
    let kind = parameters.and_then(|p| p.get("rope_type").or_else(|| p.get("type"))).and_then(Value::as_str).unwrap_or("default");
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: positive("original_max_position_embeddings", original)?,
        },
        other => return Err(ModelError::Unsupported { what: format!("rope_type {other:?}") }),
    };
    Ok(Rope { dim, theta, scaling })
}

/// Reads one token id, or a list of them.
pub fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}
