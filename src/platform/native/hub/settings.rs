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
    /// `HF_HUB_CACHE`, or by its earlier name `HUGGINGFACE_HUB_CACHE`, or `hub` in `HF_HOME`.
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
        let folder = |name| var(name).map(|path| expanded(&path, &var));
        let home = folder("HF_HOME").or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")));
        let home = match home {
            Some(home) => home,
            None => Cache::default().path().parent().map_or_else(PathBuf::new, PathBuf::from),
        };
        let token_path = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_path).ok());
        Self {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| HUB.into()).trim_end_matches('/').into(),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            is_offline: var("HF_HUB_OFFLINE").is_some_and(|value| matches!(&*value.to_ascii_uppercase(), "1" | "ON" | "YES" | "TRUE")),
        }
    }
}

/// Puts the home for a leading `~`, and then the value for `$NAME` and `${NAME}`, as Python does (`expanduser`,
/// `expandvars`): an environment file or a service has no shell that would do it. Unknown names stay.
fn expanded(path: &str, var: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let home = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(['/', '\\']));
    let home = home.and_then(|rest| Some(var("HOME").or_else(|| var("USERPROFILE"))? + rest));
    let (mut left, mut out) = (home.as_deref().unwrap_or(path), String::new());
    while let Some((before, after)) = left.split_once('$') {
        out.push_str(before);
        let (name, rest) = match after.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some(in_braces) => in_braces,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        match var(name).filter(|_| !name.is_empty()) {
            Some(value) => {
                out.push_str(&value);
                left = rest;
            }
            None => {
                out.push('$');
                left = after;
            }
        }
    }
    PathBuf::from(out + left)
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
        assert_eq!(of(&[("HF_HOME", "there"), ("HUGGINGFACE_HUB_CACHE", "earlier")]).cache, PathBuf::from("earlier"));
    }

    #[test]
    fn folders_are_expanded_as_in_python() {
        let cache = |name: &'static str, value: &'static str| {
            let known = move |key: &str| {
                [(name, value), ("HOME", "C:/me"), ("DISK", "D:/$HOME"), ("", "x")]
                    .iter()
                    .find(|(of, _)| *of == key)
                    .map(|(_, value)| (*value).to_owned())
            };
            HubSettings::new(known).cache.display().to_string()
        };
        for (value, expected) in [
            ("~", "C:/me"),
            ("~/hf", "C:/me/hf"),
            ("~else/hf", "~else/hf"),
            ("a/~/b", "a/~/b"),
            ("$DISK/hf", "D:/$HOME/hf"),
            ("${DISK}hf", "D:/$HOMEhf"),
            ("~/$DISK_2/$", "C:/me/$DISK_2/$"),
            ("${DISK", "${DISK"),
            ("$$DISK", "$D:/$HOME"),
            ("${}", "${}"),
        ] {
            assert_eq!(cache("HF_HUB_CACHE", value), expected, "{value}");
            let of_home = PathBuf::from(expected).join("hub").display().to_string();
            assert_eq!(cache("HF_HOME", value), of_home, "{value}");
        }
        assert_eq!(cache("XDG_CACHE_HOME", "~/c"), "C:/me/c/huggingface/hub");
    }
}
