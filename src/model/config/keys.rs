//! The keys of `config.json` that Linchpin reads: one table of their types and ranges, which every configuration is
//! checked against before any key is used. `docs/models.md` has the same table for people.

use std::fmt;

use serde_json::{Map, Value};

use super::super::ModelError;
use super::{Activation, is_python_number};

/// The most layers of a model, so that a list of them cannot exhaust the memory.
pub const MAX_LAYERS: i64 = 1 << 10;
/// The most positions of a context or a window.
const MAX_POSITIONS: i64 = 1 << 26;

/// The type of a key's value, with its range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Whole(i64, i64),
    Number(f64, f64),
    Numbers(f64, f64),
    Flag,
    Text,
    Texts,
    /// One whole number, or a list of them. Numbers that are no token's id name no token, as in transformers.
    Tokens,
    /// A dictionary of rotary angles, whose entries are [`ROPE_KEYS`]; or one of such dictionaries by kind of layer.
    Rope,
}

const CHANNELS: Kind = Kind::Whole(1, 1 << 20);
const WIDTH: Kind = Kind::Whole(1, 1 << 17);
const HEADS: Kind = Kind::Whole(1, 1 << 12);
const LAYERS: Kind = Kind::Whole(1, MAX_LAYERS);
const POSITIONS: Kind = Kind::Whole(1, MAX_POSITIONS);
/// The context of pre-training. Its logarithm divides, so that one position is too few.
const ORIGINAL: Kind = Kind::Whole(2, MAX_POSITIONS);
const EPSILON: Kind = Kind::Number(1e-20, 1.0);
const THETA: Kind = Kind::Number(1.0, 1e12);
const SHARE: Kind = Kind::Number(1e-4, 1.0);
const SOFTCAP: Kind = Kind::Number(0.0, 1e6);
/// The factor of a single frequency. LongRoPE's are also a little below 1.
const OF_FREQUENCY: Kind = Kind::Numbers(1e-3, 1e6);

/// Every key of the outermost object, in any family.
pub const KEYS: [(&str, Kind); 45] = [
    ("model_type", Kind::Text),
    ("vocab_size", Kind::Whole(1, 1 << 24)),
    ("hidden_size", WIDTH),
    ("n_embd", WIDTH),
    ("intermediate_size", CHANNELS),
    ("n_inner", CHANNELS),
    ("num_hidden_layers", LAYERS),
    ("n_layer", LAYERS),
    ("num_attention_heads", HEADS),
    ("n_head", HEADS),
    ("num_key_value_heads", HEADS),
    ("head_dim", HEADS),
    ("max_position_embeddings", POSITIONS),
    ("n_positions", POSITIONS),
    ("original_max_position_embeddings", ORIGINAL),
    ("rms_norm_eps", EPSILON),
    ("layer_norm_eps", EPSILON),
    ("layer_norm_epsilon", EPSILON),
    ("hidden_act", Kind::Text),
    ("hidden_activation", Kind::Text),
    ("activation_function", Kind::Text),
    ("tie_word_embeddings", Kind::Flag),
    ("attention_bias", Kind::Flag),
    ("mlp_bias", Kind::Flag),
    ("use_parallel_residual", Kind::Flag),
    ("use_bidirectional_attention", Kind::Flag),
    ("scale_attn_weights", Kind::Flag),
    ("scale_attn_by_inverse_layer_idx", Kind::Flag),
    ("use_sliding_window", Kind::Flag),
    ("sliding_window", POSITIONS),
    ("max_window_layers", Kind::Whole(0, MAX_LAYERS)),
    ("sliding_window_pattern", LAYERS),
    ("_sliding_window_pattern", LAYERS),
    ("layer_types", Kind::Texts),
    ("query_pre_attn_scalar", Kind::Number(1.0, 1e6)),
    ("clip_qkv", Kind::Number(1e-6, 1e6)),
    ("final_logit_softcapping", SOFTCAP),
    ("attn_logit_softcapping", SOFTCAP),
    ("rope_theta", THETA),
    ("rotary_emb_base", THETA),
    ("rope_local_base_freq", THETA),
    ("partial_rotary_factor", SHARE),
    ("rotary_pct", SHARE),
    ("bos_token_id", Kind::Tokens),
    ("eos_token_id", Kind::Tokens),
];

/// The keys whose value is a dictionary of rotary angles, as transformers 4 and 5 name them.
pub const ROPES: [&str; 2] = ["rope_scaling", "rope_parameters"];

/// The entries of a dictionary of rotary angles.
pub const ROPE_KEYS: [(&str, Kind); 13] = [
    ("rope_type", Kind::Text),
    ("type", Kind::Text),
    ("rope_theta", THETA),
    ("factor", Kind::Number(1.0, 1e6)),
    ("low_freq_factor", Kind::Number(1e-3, 1e6)),
    ("high_freq_factor", Kind::Number(1e-3, 1e6)),
    ("original_max_position_embeddings", ORIGINAL),
    ("attention_factor", Kind::Number(1e-3, 1e3)),
    ("partial_rotary_factor", SHARE),
    ("short_factor", OF_FREQUENCY),
    ("long_factor", OF_FREQUENCY),
    ("full_attention", Kind::Rope),
    ("sliding_attention", Kind::Rope),
];

impl Kind {
    /// Checks the type and the range of a value that is not `null`.
    ///
    /// # Errors
    ///
    /// The rest of a sentence that begins with the key: `is 0, expected a whole number from 1 to 1024`.
    pub fn check(self, value: &Value) -> Result<(), String> {
        let within = |value: &Value, low: f64, high: f64| value.as_f64().is_some_and(|number| (low..=high).contains(&number));
        let each = |is: &dyn Fn(&Value) -> bool| value.as_array().is_some_and(|values| values.iter().all(is));
        let is_good = match self {
            Self::Whole(low, high) => value.as_i64().is_some_and(|number| (low..=high).contains(&number)),
            Self::Number(low, high) => within(value, low, high),
            Self::Numbers(low, high) => each(&|value| within(value, low, high)),
            Self::Flag => value.is_boolean(),
            Self::Text => value.is_string() && !is_python_number(value),
            Self::Texts => each(&Value::is_string),
            Self::Tokens => value.is_i64() || value.is_u64() || each(&|value| value.is_i64() || value.is_u64()),
            Self::Rope => value.is_object(),
        };
        if is_good { Ok(()) } else { Err(format!("is {}, expected {self}", shown(value))) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Number(low, high) => write!(f, "a number from {} to {}", short(*low), short(*high)),
            Self::Numbers(low, high) => write!(f, "a list of numbers from {} to {}", short(*low), short(*high)),
            Self::Flag => f.write_str("true or false"),
            Self::Text => f.write_str("a text"),
            Self::Texts => f.write_str("a list of texts"),
            Self::Tokens => f.write_str("a token's id or a list of them"),
            Self::Rope => f.write_str("a dictionary"),
        }
    }
}

fn short(number: f64) -> String {
    if number != 0.0 && !(1e-3..1e7).contains(&number.abs()) { format!("{number:e}") } else { number.to_string() }
}

/// A value as the file has it, cut to a readable length.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = if is_python_number(value) { value.as_str().unwrap_or_default().to_owned() } else { value.to_string() };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The keys of a configuration, each of its type and within its range.
pub(in crate::model) struct Keys<'a>(&'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// Checks every key that is there. A key that is `null` counts as absent, as in transformers.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] with the name of the first key that has another type or is out of its range.
    pub fn checked(keys: &'a Map<String, Value>) -> Result<Self, ModelError> {
        check_all(keys, &KEYS, "")?;
        for name in ROPES {
            // transformers passes over an old dictionary that Python takes for false, but not over a new one.
            match keys.get(name).filter(|value| !(value.is_null() || name == "rope_scaling" && is_falsy(value))) {
                Some(Value::Object(entries)) => check_rope(entries, name)?,
                Some(other) => Kind::Rope.check(other).map_err(|why| config(name, why))?,
                None => {}
            }
        }
        Ok(Self(keys))
    }

    /// The value of a key, including `null`.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }

    /// The value of a key; `None` if it is missing or `null`.
    fn given(&self, key: &str) -> Option<&'a Value> {
        debug_assert!(KEYS.iter().any(|(known, _)| *known == key), "{key} has no type");
        self.value(key).filter(|value| !value.is_null())
    }

    pub fn whole(&self, key: &str) -> Option<usize> {
        self.given(key)?.as_u64().and_then(|number| usize::try_from(number).ok())
    }

    /// # Errors
    ///
    /// [`ModelError::Config`] if the key is missing.
    pub fn required(&self, key: &str) -> Result<usize, ModelError> {
        self.whole(key).ok_or_else(|| config(key, "is missing"))
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.given(key)?.as_f64()
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        self.given(key)?.as_bool()
    }

    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.given(key)?.as_str()
    }

    pub fn texts(&self, key: &str) -> Option<Vec<&'a str>> {
        Some(self.given(key)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }

    pub fn token_ids(&self, key: &str) -> Vec<u32> {
        token_ids(self.given(key))
    }

    /// Refuses a key that would change the results, but that the family does not read.
    ///
    /// # Errors
    ///
    /// [`ModelError::Unsupported`].
    pub fn refuse(&self, key: &str, is_set: impl Fn(&Value) -> bool) -> Result<(), ModelError> {
        match self.value(key).filter(|value| is_set(value)) {
            Some(value) => Err(ModelError::Unsupported { what: format!("{key}: {}", shown(value)) }),
            None => Ok(()),
        }
    }

    /// # Errors
    ///
    /// [`ModelError::Unsupported`].
    pub fn activation(&self, key: &str, default: Activation) -> Result<Activation, ModelError> {
        match self.text(key) {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            // The same formula under four names.
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate") => Ok(Activation::GeluTanh),
            Some(other) => Err(ModelError::Unsupported { what: format!("{key} {other:?}") }),
        }
    }
}

/// A fault of a key.
pub(in crate::model) fn config(key: impl Into<String>, why: impl Into<String>) -> ModelError {
    ModelError::Config { key: key.into(), why: why.into() }
}

fn check_all(keys: &Map<String, Value>, table: &[(&str, Kind)], path: &str) -> Result<(), ModelError> {
    table.iter().filter(|(_, kind)| *kind != Kind::Rope).try_for_each(|(key, kind)| match keys.get(*key) {
        None | Some(Value::Null) => Ok(()),
        Some(value) => kind.check(value).map_err(|why| config(format!("{path}{key}"), why)),
    })
}

/// Checks a dictionary of rotary angles, and those inside it by kind of layer.
fn check_rope(entries: &Map<String, Value>, path: &str) -> Result<(), ModelError> {
    check_all(entries, &ROPE_KEYS, &format!("{path}."))?;
    for (name, _) in ROPE_KEYS.iter().filter(|(_, kind)| *kind == Kind::Rope) {
        let path = format!("{path}.{name}");
        match entries.get(*name) {
            None | Some(Value::Null) => {}
            Some(Value::Object(inner)) => check_rope(inner, &path)?,
            Some(other) => Kind::Rope.check(other).map_err(|why| config(path, why))?,
        }
    }
    Ok(())
}

/// `true` for what Python's `or` passes over.
pub(super) fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(true) => false,
    }
}

/// Reads one token id, or a list of them. Other numbers name no token.
pub fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}
