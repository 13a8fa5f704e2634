//! Rotary angles, as transformers 4 and 5 write them.

use serde_json::{Map, Value};

use super::super::ModelError;
use super::keys::{Keys, config, is_falsy};
use super::{Rope, RopeScaling};

/// A checked dictionary of rotary angles; empty if the configuration has none.
#[derive(Debug, Clone, Default)]
pub(in crate::model) struct RopeKeys {
    /// The key that holds it.
    path: String,
    entries: Map<String, Value>,
}

impl RopeKeys {
    fn given(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).filter(|value| !value.is_null())
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.given(key)?.as_f64()
    }

    /// # Errors
    ///
    /// [`ModelError::Config`] if the entry is missing.
    fn required(&self, key: &str) -> Result<f64, ModelError> {
        self.number(key).ok_or_else(|| self.fault(key, "is missing"))
    }

    pub fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        Some(self.given(key)?.as_array()?.iter().filter_map(Value::as_f64).collect())
    }

    /// The kind of scaling.
    pub fn kind(&self) -> Option<&str> {
        self.given("rope_type").or_else(|| self.given("type"))?.as_str()
    }

    /// A fault of an entry.
    pub fn fault(&self, key: &str, why: impl Into<String>) -> ModelError {
        config(if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }, why)
    }
}

impl Keys<'_> {
    /// The dictionary of the angles. As in transformers 5, an old key wins over a new one: somebody has added it.
    pub fn rope_keys(&self) -> RopeKeys {
        let of = |path: &'static str| {
            let entries = self.value(path).filter(|value| !is_falsy(value))?.as_object()?.clone();
            Some(RopeKeys { path: path.into(), entries })
        };
        of("rope_scaling").or_else(|| of("rope_parameters")).unwrap_or_default()
    }

    /// The dictionary of one kind of layer in `rope_parameters`, with the entries of `rope_scaling` over it if `is_scaled`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] for a dictionary that is not by kind of layer.
    pub fn rope_keys_of(&self, kind: &str, is_scaled: bool) -> Result<RopeKeys, ModelError> {
        let parameters = self.value("rope_parameters").and_then(Value::as_object);
        if let Some(other) = parameters.into_iter().flatten().map(|(key, _)| key).find(|key| !key.ends_with("_attention")) {
            return Err(config(
                format!("rope_parameters.{other}"),
                "is not inside full_attention or sliding_attention, as this family has it",
            ));
        }
        let of_kind = parameters.and_then(|parameters| parameters.get(kind)).and_then(Value::as_object);
        let mut found = RopeKeys { path: format!("rope_parameters.{kind}"), entries: of_kind.cloned().unwrap_or_default() };
        if let Some(scaling) = self.value("rope_scaling").and_then(Value::as_object).filter(|scaling| is_scaled && !scaling.is_empty()) {
            found.path = "rope_scaling".into();
            found.entries.extend(scaling.clone());
        }
        Ok(found)
    }

    /// Reads the angles of whole heads. transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5
    /// `rope_parameters` with both inside.
    pub fn rope(&self, head_dim: usize) -> Result<Rope, ModelError> {
        match self.rotary_share() {
            None | Some(1.0) => self.rope_of(&self.rope_keys(), self.number("rope_theta").unwrap_or(10_000.0), head_dim),
            Some(share) => Err(ModelError::Unsupported { what: format!("partial_rotary_factor: {share}") }),
        }
    }

    /// Angles of the first `dim` dimensions; `theta` is used if the dictionary has none. The context of a stretched
    /// model's pre-training is, as in transformers, that of the configuration's own key, that of the dictionary, or the
    /// model's.
    pub fn rope_of(&self, of: &RopeKeys, theta: f64, dim: usize) -> Result<Rope, ModelError> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let original = || self.number(ORIGINAL).or(of.number(ORIGINAL)).or(self.number("max_position_embeddings"));
        let scaling = match of.kind().unwrap_or("default") {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: of.required("factor")? },
            "llama3" => {
                let [factor, low, high] = ["factor", "low_freq_factor", "high_freq_factor"].map(|key| of.required(key));
                let (factor, low_freq_factor, high_freq_factor) = (factor?, low?, high?);
                if high_freq_factor <= low_freq_factor {
                    let why = format!("is {high_freq_factor}, expected more than low_freq_factor, which is {low_freq_factor}");
                    return Err(of.fault("high_freq_factor", why));
                }
                let original_max_position_embeddings = original().ok_or_else(|| of.fault(ORIGINAL, "is missing"))?;
                RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }
            }
            other => return Err(ModelError::Unsupported { what: format!("rope_type {other:?}") }),
        };
        Ok(Rope { dim, theta: of.number("rope_theta").unwrap_or(theta), scaling })
    }

    /// The rotated share of a head's dimensions, if given.
    pub fn rotary_share(&self) -> Option<f64> {
        self.rope_keys().number("partial_rotary_factor").or(self.number("partial_rotary_factor"))
    }
}
