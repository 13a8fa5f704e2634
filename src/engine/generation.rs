//! `generation_config.json`: a model's own defaults for sampling. Whatever is wrong in it is ignored and told, because
//! defaults are no reason to refuse a model.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::model::config::{as_json, token_ids};
use crate::terms::Sampling;

const FILE: &str = "generation_config.json";

/// The keys that Linchpin reads.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f32>,
    /// 0 for all tokens; vLLM writes -1.
    top_k: Option<i64>,
    top_p: Option<f32>,
    max_new_tokens: Option<usize>,
    eos_token_id: Option<Value>,
    /// Sentences about what was ignored.
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
        self.do_sample = self.key(keys, "do_sample");
        self.temperature = self.key(keys, "temperature");
        self.top_k = self.key(keys, "top_k");
        self.top_p = self.key(keys, "top_p");
        self.max_new_tokens = self.key(keys, "max_new_tokens");
        self.eos_token_id = self.key(keys, "eos_token_id");
    }

    /// Reads a key; `None` if it is missing or `null`, or of another type, which is noted.
    fn key<T: DeserializeOwned>(&mut self, keys: &Map<String, Value>, key: &str) -> Option<T> {
        let value = keys.get(key).filter(|value| !value.is_null())?;
        let read = T::deserialize(value);
        if read.is_err() {
            self.notes.push(format!("{FILE}: {key} {value} makes no sense and was ignored."));
        }
        read.ok()
    }

    /// Reads the sampling settings as transformers does: `do_sample: false` means greedy, and missing keys have
    /// transformers' defaults (1.0, 50, 1.0). Without `do_sample`, the temperature is the page's own default.
    pub(super) fn sampling(&self) -> Sampling {
        let defaults = Sampling::default();
        let temperature = match self.do_sample {
            Some(true) => self.temperature.unwrap_or(1.0).clamp(0.0, 5.0),
            Some(false) => 0.0,
            None => defaults.temperature,
        };
        Sampling {
            temperature,
            top_k: self.top_k.map_or(50, |top_k| usize::try_from(top_k).unwrap_or(0)),
            top_p: self.top_p.unwrap_or(1.0).clamp(0.0, 1.0),
            max_new_tokens: self.max_new_tokens.unwrap_or(defaults.max_new_tokens).clamp(1, 512),
            ..defaults
        }
    }

    pub(super) fn eos_token_ids(&self) -> Option<Vec<u32>> {
        self.eos_token_id.as_ref().map(|value| token_ids(Some(value)))
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
        assert_eq!(read.notes, ["generation_config.json: temperature \"hot\" makes no sense and was ignored."]);

        let infinite = GenerationConfig::from_json(br#"{"top_p": NaN, "max_length": Infinity, "max_new_tokens": 40}"#);
        assert_eq!((infinite.sampling().top_p, infinite.sampling().max_new_tokens, infinite.notes.len()), (1.0, 40, 1));
    }
}
