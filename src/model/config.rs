//! `config.json` of Hugging Face transformers, read with its own keys, checked before anything is loaded.

use serde::Deserialize;
use serde_json::Value;

use super::ModelError;

/// Architectures that [`crate::model::families`] can build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gpt2,
}

impl Architecture {
    pub const ALL: [(&'static str, Self); 5] =
        [("llama", Self::Llama), ("mistral", Self::Mistral), ("qwen2", Self::Qwen2), ("qwen3", Self::Qwen3), ("gpt2", Self::Gpt2)];

    fn from_model_type(model_type: &str) -> Result<Self, ModelError> {
        Self::ALL.iter().find(|(name, _)| *name == model_type).map(|(_, architecture)| *architecture).ok_or_else(|| {
            ModelError::UnknownArchitecture { model_type: model_type.into(), known: Self::ALL.map(|(name, _)| name).join(", ") }
        })
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, architecture)| *architecture == self).map_or("unknown", |(name, _)| name)
    }
}

/// The activation between a feed-forward block's two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// `x/2 (1 + erf(x/√2))`.
    Gelu,
    /// The tanh form that GPT-2 was trained with (`gelu_new`).
    GeluTanh,
}

/// How positions enter the attention.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// A table added to the embeddings (GPT-2's `wpe`).
    Learned,
    Rotary {
        theta: f64,
        scaling: RopeScaling,
    },
}

/// How rotary frequencies are stretched for contexts longer than those of pre-training.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
    /// Llama 3.1 and later: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: f64,
    },
}

/// What the forward pass needs to know, under transformers' names.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
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
    /// Per layer: attend to this many of the latest positions only.
    pub sliding_window: Vec<Option<usize>>,
    pub eos_token_ids: Vec<u32>,
}

/// The keys as they stand in the file. GPT-2 has names of its own.
#[derive(Deserialize)]
struct Raw {
    model_type: Option<String>,
    vocab_size: Option<usize>,
    #[serde(alias = "n_embd")]
    hidden_size: Option<usize>,
    #[serde(alias = "n_inner")]
    intermediate_size: Option<usize>,
    #[serde(alias = "n_layer")]
    num_hidden_layers: Option<usize>,
    #[serde(alias = "n_head")]
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(alias = "n_positions")]
    max_position_embeddings: Option<usize>,
    #[serde(alias = "layer_norm_epsilon")]
    rms_norm_eps: Option<f64>,
    #[serde(alias = "activation_function")]
    hidden_act: Option<String>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    sliding_window: Option<Option<usize>>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    eos_token_id: Option<Value>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    scale_attn_weights: Option<bool>,
    partial_rotary_factor: Option<f64>,
}

/// Tells a key that is left out from one that is `null`.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl ModelConfig {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] naming the key, [`ModelError::UnknownArchitecture`] or [`ModelError::Unsupported`].
    pub fn from_json(json: &[u8]) -> Result<Self, ModelError> {
        let raw: Raw = serde_json::from_slice(json).map_err(|error| ModelError::Config { key: "config.json", why: error.to_string() })?;
        let architecture = Architecture::from_model_type(raw.model_type.as_deref().unwrap_or("(none)"))?;
        let config = Self::from_raw(architecture, &raw)?;
        config.check()?;
        Ok(config)
    }

    fn from_raw(architecture: Architecture, raw: &Raw) -> Result<Self, ModelError> {
        let is_gpt2 = architecture == Architecture::Gpt2;
        let hidden_size = required("hidden_size", raw.hidden_size)?;
        let num_attention_heads = required("num_attention_heads", raw.num_attention_heads)?;
        if num_attention_heads == 0 {
            return Err(ModelError::Config { key: "num_attention_heads", why: "is 0".into() });
        }
        let num_hidden_layers = required("num_hidden_layers", raw.num_hidden_layers)?;
        let intermediate_size = match raw.intermediate_size {
            None if is_gpt2 => 4 * hidden_size,
            other => required("intermediate_size", other)?,
        };
        raw.refuse_what_is_not_read()?;
        Ok(Self {
            architecture,
            vocab_size: required("vocab_size", raw.vocab_size)?,
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: raw.num_key_value_heads.unwrap_or(num_attention_heads),
            head_dim: raw.head_dim.unwrap_or(if architecture == Architecture::Qwen3 { 128 } else { hidden_size / num_attention_heads }),
            max_position_embeddings: required("max_position_embeddings", raw.max_position_embeddings)?,
            norm_eps: raw.rms_norm_eps.unwrap_or(if is_gpt2 { 1e-5 } else { 1e-6 }),
            activation: activation(raw.hidden_act.as_deref().unwrap_or(if is_gpt2 { "gelu_new" } else { "silu" }))?,
            positions: if is_gpt2 { Positions::Learned } else { rotary(raw)? },
            // transformers' defaults where the key is left out: GPT-2 ties, the others do not.
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(is_gpt2),
            attention_bias: raw.attention_bias.unwrap_or(false),
            mlp_bias: raw.mlp_bias.unwrap_or(false),
            sliding_window: sliding_windows(architecture, raw, num_hidden_layers),
            eos_token_ids: token_ids(raw.eos_token_id.as_ref()),
        })
    }

    fn check(&self) -> Result<(), ModelError> {
        let limits = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
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
        // GPT-2's one matrix for queries, keys and values is three times as wide as the model.
        if self.architecture == Architecture::Gpt2 && self.num_attention_heads * self.head_dim != self.hidden_size {
            let why = format!("times {} heads is not hidden_size {}", self.num_attention_heads, self.hidden_size);
            return Err(ModelError::Config { key: "head_dim", why: format!("{} {why}", self.head_dim) });
        }
        if matches!(self.positions, Positions::Rotary { .. }) && !self.head_dim.is_multiple_of(2) {
            return Err(ModelError::Config { key: "head_dim", why: format!("is {}, rotary positions need an even one", self.head_dim) });
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return Err(ModelError::Config { key: "rms_norm_eps", why: format!("is {}", self.norm_eps) });
        }
        Ok(())
    }
}

impl Raw {
    /// Keys that would change the numbers, and that no family here reads.
    fn refuse_what_is_not_read(&self) -> Result<(), ModelError> {
        let unread = [
            ("scale_attn_by_inverse_layer_idx", self.scale_attn_by_inverse_layer_idx == Some(true)),
            ("scale_attn_weights: false", self.scale_attn_weights == Some(false)),
            ("partial_rotary_factor", self.partial_rotary_factor.is_some_and(|factor| factor != 1.0)),
        ];
        match unread.iter().find(|(_, is_set)| *is_set) {
            Some((what, _)) => Err(ModelError::Unsupported { what: (*what).into() }),
            None => Ok(()),
        }
    }
}

fn required(key: &'static str, value: Option<usize>) -> Result<usize, ModelError> {
    value.ok_or_else(|| ModelError::Config { key, why: "is missing".into() })
}

fn activation(name: &str) -> Result<Activation, ModelError> {
    match name {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => Err(ModelError::Unsupported { what: format!("hidden_act {other:?}") }),
    }
}

/// transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 `rope_parameters` with both inside.
fn rotary(raw: &Raw) -> Result<Positions, ModelError> {
    let parameters = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref()).filter(|value| !value.is_null());
    let number = |key: &'static str| {
        let value = parameters.and_then(|p| p.get(key)).and_then(Value::as_f64);
        value.filter(|v| v.is_finite() && *v > 0.0).ok_or(ModelError::Config { key, why: "is missing or no positive number".into() })
    };
    let theta = match raw.rope_theta {
        Some(theta) => theta,
        None if parameters.is_some_and(|p| p.get("rope_theta").is_some()) => number("rope_theta")?,
        None => 10_000.0,
    };
    let kind = parameters.and_then(|p| p.get("rope_type").or_else(|| p.get("type"))).and_then(Value::as_str).unwrap_or("default");
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: number("original_max_position_embeddings")?,
        },
        other => return Err(ModelError::Unsupported { what: format!("rope_type {other:?}") }),
    };
    Ok(Positions::Rotary { theta, scaling })
}

fn sliding_windows(architecture: Architecture, raw: &Raw, num_hidden_layers: usize) -> Vec<Option<usize>> {
    let is_sliding = |layer: usize| match (&raw.layer_types, architecture) {
        (Some(types), _) => types.get(layer).is_some_and(|kind| kind == "sliding_attention"),
        (None, Architecture::Mistral) => true,
        (None, Architecture::Qwen2 | Architecture::Qwen3) => {
            raw.use_sliding_window == Some(true) && raw.max_window_layers.is_some_and(|first| layer >= first)
        }
        (None, _) => false,
    };
    // Mistral's first configurations leave the key out and mean 4,096; `null` means none.
    let default = (architecture == Architecture::Mistral).then_some(4096);
    let window = raw.sliding_window.unwrap_or(default);
    (0..num_hidden_layers).map(|layer| window.filter(|_| is_sliding(layer))).collect()
}

/// One id, or a list of them.
pub fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}
