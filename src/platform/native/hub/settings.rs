//! The environment variables of Hugging Face's own tools.
//!
//! The engine takes the cache from them, and the permission to contact the Hub. Address and token are part of a
//! [`HubSource`], so its creator decides on them.

use std::path::PathBuf;

use hf_hub::Cache;

use crate::terms::{HUB, HubSource, KnownFile};

/// The address of the Hub, the folder of the cache, and the account's token.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, or the contents of `HF_TOKEN_PATH` or of `token` in `HF_HOME`.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`.
    pub is_offline: bool,
}

impl HubSettings {
    /// Reads the environment; an empty variable counts as missing.
    pub fn from_env() -> Self {
        Self::new(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// A repository of this Hub, with this token.
    pub fn source(&self, repo: &str, revision: &str, known: Vec<KnownFile>) -> HubSource {
        let (endpoint, token) = (self.endpoint.clone(), self.token.clone());
        HubSource { endpoint, repo: repo.into(), revision: revision.into(), token, known }
    }

    fn new(var: impl Fn(&str) -> Option<String>) -> Self {
        let home = var("HF_HOME").map(PathBuf::from);
        let home = home.or_else(|| var("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("huggingface")));
        let home = match home {
            Some(home) => home,
            None => Cache::default().path().parent().map_or_else(PathBuf::new, PathBuf::from),
        };
        let token_path = var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_path).ok());
        Self {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| HUB.into()).trim_end_matches('/').into(),
            cache: var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            is_offline: var("HF_HUB_OFFLINE").is_some_and(|value| matches!(&*value.to_ascii_uppercase(), "1" | "ON" | "YES" | "TRUE")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_read_as_python_reads_it() {
        let of = |pairs: &'static [(&str, &str)]| {
            HubSettings::new(move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        let plain = of(&[("HF_HOME", "there")]);
        assert_eq!((plain.endpoint.as_str(), plain.is_offline), ("https://huggingface.co", false));
        assert_eq!((plain.cache, plain.token), (PathBuf::from("there").join("hub"), None));
        let all = of(&[("HF_HUB_CACHE", "cache"), ("HF_TOKEN", "key\n"), ("HF_ENDPOINT", "http://host/"), ("HF_HUB_OFFLINE", "true")]);
        assert_eq!((all.endpoint.as_str(), all.cache, all.token.as_deref()), ("http://host", "cache".into(), Some("key")));
        assert!(all.is_offline);
    }
}
