//! `generation_config.json`: a model's own defaults for sampling. A key of another type or out of its range is left out
//! and told by its name, because defaults are no reason to refuse a model.

use serde_json::{Map, Value};

use crate::model::config::keys::Kind;
use crate::model::config::{as_json, token_ids};
use crate::terms::Sampling;

const FILE: &str = "generation_config.json";

/// The keys that Linchpin reads. A `top_k` of -1 is vLLM's for all tokens.
const KEYS: [(&str, Kind); 6] = [
    ("do_sample", Kind::Flag),
    ("temperature", Kind::Number(0.0, 5.0)),
    ("top_k", Kind::Whole(-1, 1 << 20)),
    ("top_p", Kind::Number(0.0, 1.0)),
    ("max_new_tokens", Kind::Whole(1, 1 << 26)),
    ("eos_token_id", Kind::Tokens),
];
/// The most new tokens that a model's file can ask for by default.
const MOST_NEW_TOKENS: usize = 512;

/// The keys that are there and can be used.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct GenerationConfig {
    keys: Map<String, Value>,
    /// Sentences about what was left out.
    pub notes: Vec<String>,
}

impl GenerationConfig {
    pub(super) fn from_json(json: &[u8]) -> Self {
        let mut read = Self::default();
        match serde_json::from_slice::<Map<String, Value>>(&as_json(json)) {
            Ok(keys) => read.take(&keys),
            Err(why) => read.notes.push(format!("{FILE} cannot be read ({why}) and was ignored: sampling has its defaults.")),
        }
        read
    }

    fn take(&mut self, keys: &Map<String, Value>) {
        for (key, kind) in KEYS {
            let Some(value) = keys.get(key).filter(|value| !value.is_null()) else { continue };
            match kind.check(value) {
                Ok(()) => drop(self.keys.insert(key.into(), value.clone())),
                Err(why) => self.notes.push(format!("{FILE}: {key} {why}, and was left out.")),
            }
        }
    }

    fn number(&self, key: &str) -> Option<f32> {
        self.keys.get(key)?.as_f64().map(|number| number as f32)
    }

    /// A whole number; a negative one counts as 0.
    fn whole(&self, key: &str) -> Option<usize> {
        self.keys.get(key)?.as_i64().map(|number| usize::try_from(number).unwrap_or(0))
    }

    /// Reads the sampling settings as transformers does: `do_sample: false` means greedy, and missing keys have
    /// transformers' defaults (1.0, 50, 1.0). Without `do_sample`, the temperature is the page's own default.
    pub(super) fn sampling(&self) -> Sampling {
        let defaults = Sampling::default();
        let temperature = match self.keys.get("do_sample").and_then(Value::as_bool) {
            Some(true) => self.number("temperature").unwrap_or(1.0),
            Some(false) => 0.0,
            None => defaults.temperature,
        };
        Sampling {
            temperature,
            top_k: self.whole("top_k").unwrap_or(50),
            top_p: self.number("top_p").unwrap_or(1.0),
            max_new_tokens: self.whole("max_new_tokens").unwrap_or(defaults.max_new_tokens).min(MOST_NEW_TOKENS),
            ..defaults
        }
    }

    pub(super) fn eos_token_ids(&self) -> Option<Vec<u32>> {
        self.keys.get("eos_token_id").map(|value| token_ids(Some(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_that_make_no_sense_are_ignored_and_told() {
        let broken = GenerationConfig::from_json(br#"{"top_k": 3,}"#);
        assert_eq!((broken.sampling(), broken.eos_token_ids()), (GenerationConfig::default().sampling(), None));
        assert!(broken.notes[0].starts_with("generation_config.json cannot be read"), "{:?}", broken.notes);

        let read =
            GenerationConfig::from_json(br#"{"do_sample": true, "temperature": "hot", "top_k": -1, "top_p": 0.5, "eos_token_id": [2, 7]}"#);
        let sampling = read.sampling();
        assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (1.0, 0, 0.5));
        assert_eq!(read.eos_token_ids(), Some(vec![2, 7]));
        assert_eq!(read.notes, ["generation_config.json: temperature is \"hot\", expected a number from 0 to 5, and was left out."]);

        let infinite = GenerationConfig::from_json(br#"{"top_p": NaN, "max_length": Infinity, "max_new_tokens": 40}"#);
        assert_eq!((infinite.sampling().top_p, infinite.sampling().max_new_tokens, infinite.notes.len()), (1.0, 40, 1));
    }
}
