//! The Hugging Face Hub's addresses and listings: `/api/models/{repo}/revision/{revision}` and
//! `/{repo}/resolve/{revision}/{file}`, as its own clients use them (huggingface_hub, hf-hub). A mirror or a server in a
//! classroom that answers the second is enough; the first also tells sizes and digests.

use serde::{Deserialize, Serialize};

use super::PlatformError;
use crate::terms::{HubSource, KnownFile};
use crate::words::is_hex;

/// Longest listing that is read, bytes. Repositories with thousands of files exist; those of a model have dozens.
pub const MAX_LISTING_BYTES: u64 = 16 << 20;

/// The files of a repository at one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub commit: Option<String>,
    pub files: Vec<KnownFile>,
}

/// The parts of the Hub's answer that concern us.
#[derive(Deserialize)]
struct RawListing {
    sha: Option<String>,
    siblings: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<RawLfs>,
}

#[derive(Deserialize)]
struct RawLfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads the answer to [`listing_url`]. Files in folders are left out: a model's lie at the top.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the answer.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let raw: RawListing = serde_json::from_slice(json).map_err(|error| format!("its listing cannot be read: {error}"))?;
        let at_top = raw.siblings.into_iter().filter(|file| is_plain_name(&file.rfilename));
        let files = at_top.map(|file| {
            let lfs = file.lfs.unwrap_or(RawLfs { sha256: None, size: None });
            let sha256 = lfs.sha256.filter(|digest| is_hex(digest, 64)).map(|digest| digest.to_ascii_lowercase());
            KnownFile { name: file.rfilename, size: lfs.size.or(file.size).filter(|size| *size < 1 << 42), sha256 }
        });
        Ok(Self { commit: raw.sha.filter(|sha| is_hex(sha, 40)), files: files.collect() })
    }

    pub fn find(&self, name: &str) -> Option<&KnownFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Adds the sizes and digests that a catalogue knows; where both sides give one, they have to agree.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Changed`].
    pub fn join(&mut self, known: &[KnownFile]) -> Result<(), PlatformError> {
        for known in known {
            let Some(file) = self.files.iter_mut().find(|file| file.name == known.name) else {
                self.files.push(known.clone());
                continue;
            };
            let disagrees = |ours: Option<&String>, theirs: Option<&String>| ours.zip(theirs).is_some_and(|(a, b)| a != b);
            if disagrees(known.sha256.as_ref(), file.sha256.as_ref()) || known.size.zip(file.size).is_some_and(|(a, b)| a != b) {
                let why = "the server lists another size or SHA-256 than the catalogue has on record".into();
                return Err(PlatformError::Changed { name: file.name.clone(), why });
            }
            file.size = file.size.or(known.size);
            file.sha256 = file.sha256.take().or_else(|| known.sha256.clone());
        }
        Ok(())
    }
}

/// The address of a repository's listing.
pub fn listing_url(source: &HubSource) -> String {
    let HubSource { endpoint, repo, revision, .. } = source;
    format!("{}/api/models/{repo}/revision/{}?blobs=true", endpoint.trim_end_matches('/'), encoded(revision))
}

/// The beginning of the addresses of a repository's files, with a slash at its end.
pub fn base_url(source: &HubSource, revision: &str) -> String {
    format!("{}/{}/resolve/{}/", source.endpoint.trim_end_matches('/'), source.repo, encoded(revision))
}

/// The name of a model's folder in a store: every character that is not a letter, a digit, `.` or `-` becomes `_`, and
/// a digest tells apart names that become alike.
pub fn store_key(origin: &str, commit: &str) -> String {
    let readable = format!("{origin}@{}", &commit[..commit.len().min(12)]);
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let digest = crate::terms::text_digest(&format!("{origin}@{commit}"));
    format!("{}-{}", readable.chars().map(plain).take(100).collect::<String>(), &digest[..8])
}

/// Checks that the addresses of a source's files can be made of what it says.
///
/// # Errors
///
/// [`PlatformError::Address`].
pub fn check(source: &HubSource) -> Result<(), PlatformError> {
    let wrong = |what: &str, expected: &str| Err(PlatformError::Address { what: what.into(), expected: expected.into() });
    if !is_web_address(&source.endpoint) {
        return wrong(&source.endpoint, "an address that begins with https:// or http://");
    }
    let is_part = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.len() <= 96 && part.chars().all(is_name_char)
    };
    if !matches!(source.repo.split('/').collect::<Vec<_>>().as_slice(), [owner, name] if is_part(owner) && is_part(name)) {
        return wrong(&source.repo, "a repository as owner/name");
    }
    let is_revision_char = |c: char| is_name_char(c) || c == '/';
    if source.revision.is_empty()
        || source.revision.len() > 200
        || source.revision.contains("..")
        || !source.revision.chars().all(is_revision_char)
    {
        return wrong(&source.revision, "a commit, branch or tag");
    }
    Ok(())
}

/// True if `url` is an address of the web, without a name, a password, a query or a fragment in it.
pub fn is_web_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && !url.contains(char::is_whitespace) && !url.contains(['?', '#'])
    })
}

/// True if `name` can be the name of a file at the top of a folder.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.len() <= 200 && name.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

fn encoded(revision: &str) -> String {
    revision.replace('/', "%2F")
}

/// The first byte and the whole length in a `Content-Range: bytes 0-7/100`. The length may be missing.
pub fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> HubSource {
        HubSource {
            endpoint: "https://huggingface.co/".into(),
            repo: "HuggingFaceTB/SmolLM2-135M".into(),
            revision: "main".into(),
            token: None,
            known: Vec::new(),
        }
    }

    #[test]
    fn addresses_are_the_hubs() {
        let mut source = source();
        assert_eq!(listing_url(&source), "https://huggingface.co/api/models/HuggingFaceTB/SmolLM2-135M/revision/main?blobs=true");
        source.revision = "refs/pr/1".into();
        assert!(listing_url(&source).ends_with("/revision/refs%2Fpr%2F1?blobs=true"));
        assert_eq!(base_url(&source, "ab12"), "https://huggingface.co/HuggingFaceTB/SmolLM2-135M/resolve/ab12/");
        assert_eq!(source.origin(), "huggingface.co/HuggingFaceTB/SmolLM2-135M");
    }

    #[test]
    fn only_what_an_address_is_made_of_is_taken() {
        assert!(check(&source()).is_ok());
        for endpoint in
            ["javascript:alert(1)", "https://", "https://user:pass@host", "//host", "https://host?x", "ftp://host", "https://a b"]
        {
            assert!(check(&HubSource { endpoint: endpoint.into(), ..source() }).is_err(), "{endpoint}");
        }
        for repo in ["", "gpt2", "a/b/c", "../b", "a/..", "a/b?c", "a/ b", "a/é"] {
            assert!(check(&HubSource { repo: repo.into(), ..source() }).is_err(), "{repo}");
        }
        for revision in ["", "a b", "main?", "ä", "..", "a/../b"] {
            assert!(check(&HubSource { revision: revision.into(), ..source() }).is_err(), "{revision}");
        }
    }

    #[test]
    fn a_listing_tells_sizes_and_digests() {
        let digest = "A".repeat(64);
        let json = format!(
            r#"{{"id": "a/b", "sha": "{}", "siblings": [
                {{"rfilename": "config.json", "size": 700, "blobId": "x"}},
                {{"rfilename": "onnx/model.safetensors", "size": 1}},
                {{"rfilename": "model.safetensors", "size": 5, "lfs": {{"sha256": "{digest}", "size": 5, "pointerSize": 1}}}}]}}"#,
            "c".repeat(40)
        );
        let listing = Listing::parse(json.as_bytes()).unwrap();
        assert_eq!(listing.commit, Some("c".repeat(40)));
        assert_eq!(listing.files.len(), 2, "files in folders are not a model's");
        assert_eq!(listing.find("config.json").unwrap().size, Some(700));
        assert_eq!(listing.find("model.safetensors").unwrap().sha256, Some("a".repeat(64)));
        assert!(Listing::parse(b"<html>").unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_catalogue_and_the_server_have_to_agree() {
        let file = |sha: Option<&str>, size| KnownFile { name: "model.safetensors".into(), size, sha256: sha.map(|sha| sha.repeat(64)) };
        let mut listing = Listing { commit: None, files: vec![file(None, Some(5))] };
        listing.join(&[file(Some("a"), Some(5))]).unwrap();
        assert_eq!(listing.files, [file(Some("a"), Some(5))]);
        assert!(listing.join(&[file(Some("b"), None)]).is_err());
        assert!(listing.join(&[file(None, Some(6))]).is_err());
    }

    #[test]
    fn stored_models_have_folders_of_their_own() {
        let key = store_key("huggingface.co/a/b", &"0".repeat(40));
        assert!(key.starts_with("huggingface.co_a_b_000000000000-"), "{key}");
        assert_ne!(key, store_key("huggingface.co/a_b", &"0".repeat(40)));
        assert!(is_plain_name(&key));
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 8-15/100"), Some((8, Some(100))));
        assert_eq!(content_range("bytes 8-15/*"), Some((8, None)));
        assert_eq!(content_range("items 8-15/100"), None);
    }
}
