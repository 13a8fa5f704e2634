//! The Hugging Face Hub, for browser and command alike: its addresses and listings, the valid names and revisions,
//! and the digests of files.
//!
//! The addresses are `/api/models/{repo}/revision/{revision}` and `/{repo}/resolve/{revision}/{file}`, as in the
//! Hub's own clients (huggingface_hub, hf-hub). In a browser, a mirror or a classroom's server only needs the second;
//! the first adds sizes and digests.

mod address;
mod listing;

pub use address::{base_url, content_range, listing_url, store_key};
pub use listing::{Listing, MAX_LISTING_BYTES};

use std::fmt::Display;

use super::PlatformError;
use crate::terms::HubSource;
use crate::words::is_lower_hex;

/// Checks that a source's repository and revision are safe in addresses and in paths of a cache.
///
/// # Errors
///
/// [`PlatformError::Address`].
pub fn check(source: &HubSource) -> Result<(), PlatformError> {
    let wrong = |what: &str, expected: &str| Err(PlatformError::Address { what: what.into(), expected: expected.into() });
    if !is_web_address(&source.endpoint) {
        return wrong(&source.endpoint, "an address that begins with https:// or http://");
    }
    if !is_repo(&source.repo) {
        return wrong(&source.repo, "a repository as owner/name");
    }
    if !is_revision(&source.revision) {
        return wrong(&source.revision, "a commit, branch or tag");
    }
    Ok(())
}

/// `true` if a text can be the name of a repository, `owner/name`. Like the Hub, it allows neither `--` nor `..`.
pub fn is_repo(text: &str) -> bool {
    let is_part = |part: &str| (1..=96).contains(&part.len()) && !part.starts_with(['.', '-']) && part.chars().all(is_name_char);
    text.split('/').count() == 2 && text.split('/').all(is_part) && !text.contains("..") && !text.contains("--")
}

/// `true` if a text can be a commit, a branch or a tag, which becomes part of an address and of a path.
pub fn is_revision(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(is_name_char);
    text.len() <= 255 && text.split('/').all(is_part)
}

/// `true` if a text is a full commit, whose files never change.
pub fn is_commit(text: &str) -> bool {
    is_lower_hex(text, 40)
}

/// `true` if a text is a SHA-256 in the Hub's notation.
pub fn is_sha256(text: &str) -> bool {
    is_lower_hex(text, 64)
}

/// The expected size or SHA-256 of a file, from the one on record and the one that the server gives, which must
/// agree.
///
/// # Errors
///
/// [`PlatformError::Changed`], with both values.
pub fn agreed<T: Display + PartialEq>(name: &str, on_record: Option<T>, served: Option<T>) -> Result<Option<T>, PlatformError> {
    match (on_record, served) {
        (Some(ours), Some(theirs)) if ours != theirs => {
            let why = format!("the server lists another size or SHA-256 than the catalogue has on record: {theirs}, not {ours}");
            Err(PlatformError::Changed { name: name.into(), why })
        }
        (ours, theirs) => Ok(ours.or(theirs)),
    }
}

/// The error for the Hub's `X-Error-Code`, if it concerns a whole repository.
pub fn refusal(source: &HubSource, code: Option<&str>) -> Option<PlatformError> {
    match code? {
        "RepoNotFound" => Some(PlatformError::NoRepository { origin: source.origin() }),
        "RevisionNotFound" => Some(PlatformError::NoRevision { origin: source.origin(), revision: source.revision.clone() }),
        _ => None,
    }
}

/// `true` if `url` is a web address without a user name, a password, a query or a fragment.
pub fn is_web_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && !url.contains(char::is_whitespace) && !url.contains(['?', '#'])
    })
}

/// `true` if `name` can be the name of a file at the top of a folder.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.len() <= 200 && name.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// A source for tests.
#[cfg(test)]
fn example() -> HubSource {
    HubSource {
        endpoint: "https://huggingface.co/".into(),
        repo: "HuggingFaceTB/SmolLM2-135M".into(),
        revision: "main".into(),
        token: None,
        known: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_taken_only_if_addresses_and_paths_can_be_made_of_it() {
        assert!(check(&example()).is_ok());
        for endpoint in
            ["javascript:alert(1)", "https://", "https://user:pass@host", "//host", "https://host?x", "ftp://host", "https://a b"]
        {
            assert!(check(&HubSource { endpoint: endpoint.into(), ..example() }).is_err(), "{endpoint}");
        }
        for repo in ["", "gpt2", "a/b/c", "../b", "a/..", "a/b?c", "a/ b", "a/é", "a--b/c", "-a/b", "./models", "/models", "org/"] {
            assert!(check(&HubSource { repo: repo.into(), ..example() }).is_err(), "{repo}");
        }
        for revision in ["", "a b", "main?", "ä", "..", "a/../b", "/main", "a//b", "a/.git"] {
            assert!(check(&HubSource { revision: revision.into(), ..example() }).is_err(), "{revision}");
        }
        for revision in ["main", "refs/pr/1", "step1000-tokens4B", "v1.0_a"] {
            assert!(check(&HubSource { revision: revision.into(), ..example() }).is_ok(), "{revision}");
        }
    }

    #[test]
    fn commits_and_digests_are_whole_and_in_small_letters() {
        let [commit, digest] = [40, 64].map(|n| "0a".repeat(n / 2));
        assert!(is_commit(&commit) && is_sha256(&digest));
        for other in [&commit[1..], &commit.to_uppercase(), "main", ""] {
            assert!(!is_commit(other), "{other}");
        }
        assert!(!is_sha256(&commit) && !is_sha256(&digest.to_uppercase()));
    }

    #[test]
    fn digests_that_disagree_are_told_both() {
        let [a, b] = ["a", "b"].map(|digit| digit.repeat(64));
        let of = |ours: Option<&String>, theirs: Option<&String>| {
            agreed("model.safetensors", ours.cloned(), theirs.cloned()).map_err(|error| error.to_string())
        };
        assert_eq!(of(None, None), Ok(None));
        for (ours, theirs) in [(Some(&a), None), (None, Some(&a)), (Some(&a), Some(&a))] {
            assert_eq!(of(ours, theirs), Ok(Some(a.clone())));
        }
        let told = of(Some(&a), Some(&b)).unwrap_err();
        assert!(told.starts_with("model.safetensors") && told.contains(&a) && told.contains(&b), "{told}");
    }
}
