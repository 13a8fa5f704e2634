//! The Hub over HTTP: the files of a revision, the Hub's name for a file's contents, and the file itself.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, RequestBuilder};

use super::{HubError, Settings, cache, is_commit, is_sha256};
use crate::terms::hex;

const SLAB_BYTES: usize = 1 << 20;
const MAX_REDIRECTS: usize = 5;
/// Longest list of a repository's files that is read, in bytes.
const MAX_INFO_BYTES: u64 = 16 << 20;

/// An HTTP client for one repository.
pub struct Client {
    /// Follows redirects, and takes the token to no other host.
    agent: Agent,
    /// Does not follow redirects: the Hub says what a file is before it sends elsewhere for it.
    direct: Agent,
    endpoint: String,
    token: Option<String>,
    repo: String,
}

/// The Hub's description of a revision: its commit, and its files.
#[derive(Debug, Deserialize)]
pub struct Info {
    pub sha: String,
    pub siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
pub struct Sibling {
    pub rfilename: String,
}

/// The Hub's description of a file, before its download.
#[derive(Debug)]
pub struct Remote {
    /// The file's ETag: the SHA-256 of a large file, git's name for the contents of a small one.
    pub etag: String,
    pub bytes: u64,
}

impl Client {
    pub fn new(settings: &Settings, repo: &str) -> Self {
        let config = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .user_agent(concat!("linchpin/", env!("CARGO_PKG_VERSION")))
                .timeout_resolve(Some(Duration::from_secs(15)))
                .timeout_connect(Some(Duration::from_secs(15)))
                .timeout_recv_response(Some(Duration::from_secs(60)))
        };
        Self {
            agent: config().build().into(),
            direct: config().max_redirects(0).max_redirects_will_error(false).build().into(),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            repo: repo.into(),
        }
    }

    /// Asks for the commit and the files of a revision.
    ///
    /// # Errors
    ///
    /// No such repository or revision, no access, no answer, or one that cannot be used.
    pub fn info(&self, revision: &str) -> Result<Info, HubError> {
        let url = format!("{}/api/models/{}/revision/{}", self.endpoint, self.repo, revision.replace('/', "%2F"));
        let answer = self.answered(&url, revision, self.with_token(self.agent.get(&url)).call())?;
        let unusable = |why: String| HubError::Answer { url: url.clone(), why };
        let json = answer.into_body().into_with_config().limit(MAX_INFO_BYTES).read_to_vec();
        let json = json.map_err(|error| HubError::Unreachable { why: error.to_string() })?;
        let info = serde_json::from_slice::<Info>(&json).map_err(|error| unusable(error.to_string()))?;
        // The commit becomes part of a path.
        if is_commit(&info.sha) { Ok(info) } else { Err(unusable("it names no commit".into())) }
    }

    /// Asks for a file's ETag and length. They are those of the first answer that is not a redirect within the Hub.
    pub fn head(&self, commit: &str, name: &str) -> Result<Remote, HubError> {
        let mut url = self.url(commit, name);
        for _ in 0..MAX_REDIRECTS {
            let request = self.with_token(self.direct.head(&url)).header("Accept-Encoding", "identity");
            let answer = self.answered(&url, commit, request.call())?;
            let header = |key: &str| answer.headers().get(key).and_then(|value| value.to_str().ok());
            match header("Location").filter(|to| answer.status().is_redirection() && to.starts_with('/')) {
                Some(to) => url = within(&url, to)?,
                None => return remote(&url, &header),
            }
        }
        Err(HubError::Answer { url, why: "it redirects too often".into() })
    }

    /// Downloads a file beside `blob`, going on where an earlier call was interrupted, and moves it there once it is
    /// whole and what the Hub said. Returns its SHA-256.
    pub fn download(
        &self,
        commit: &str,
        name: &str,
        remote: &Remote,
        blob: &Path,
        tell: &mut dyn FnMut(u64, u64),
    ) -> Result<String, HubError> {
        let part = part_of(blob)?;
        let mut hasher = Sha256::new();
        let mut got = if part.exists() { cache::feed(&part, &mut hasher, &mut |_, _| {})? } else { 0 };
        if got < remote.bytes {
            got = self.receive(commit, name, remote, (&part, got), &mut hasher, tell)?;
        }
        let sha256 = hex(&hasher.finalize());
        if got != remote.bytes || (is_sha256(&remote.etag) && sha256 != remote.etag) {
            // A later call could not go on from this part.
            let _ = fs::remove_file(&part);
            let expected = remote.etag.clone();
            return Err(HubError::Damaged { name: name.into(), path: part, expected, got: sha256 });
        }
        fs::rename(&part, blob).map_err(|error| HubError::io(blob, error))?;
        Ok(sha256)
    }

    /// Receives the missing rest of a file, and returns the file's length.
    fn receive(
        &self,
        commit: &str,
        name: &str,
        remote: &Remote,
        (part, mut got): (&Path, u64),
        hasher: &mut Sha256,
        tell: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, HubError> {
        let url = self.url(commit, name);
        let request = self.with_token(self.agent.get(&url)).header("Accept-Encoding", "identity");
        let request = if got > 0 { request.header("Range", format!("bytes={got}-")) } else { request };
        let answer = self.answered(&url, commit, request.call())?;
        let failed = |error| HubError::io(part, error);
        let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(failed)?;
        if got > 0 && answer.status().as_u16() != 206 {
            // The server sends the whole file once more.
            file.set_len(0).map_err(failed)?;
            (*hasher, got) = (Sha256::new(), 0);
        }
        let mut body = answer.into_body().into_reader();
        let mut slab = vec![0; SLAB_BYTES];
        let interrupted = |got, why| HubError::Interrupted { name: name.into(), got, expected: remote.bytes, why };
        loop {
            let n = body.read(&mut slab).map_err(|error| interrupted(got, error.to_string()))?;
            if n == 0 {
                break;
            }
            file.write_all(&slab[..n]).map_err(failed)?;
            hasher.update(&slab[..n]);
            got += n as u64;
            tell(got, remote.bytes);
        }
        if got < remote.bytes { Err(interrupted(got, "the connection was closed".into())) } else { Ok(got) }
    }

    fn url(&self, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{name}", self.endpoint, self.repo)
    }

    fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Turns a refusal into an error. The Hub gives its reason in a header; for a mirror that gives none, the status
    /// decides.
    fn answered(&self, url: &str, revision: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, HubError> {
        let answer = answer.map_err(|error| HubError::Unreachable { why: error.to_string() })?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        let code = answer.headers().get("X-Error-Code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let repo = self.repo.clone();
        Err(match (status.as_u16(), code) {
            (status, "EntryNotFound") => HubError::Status { url: url.into(), status },
            (_, "RepoNotFound") => HubError::NoRepo { repo },
            (_, "RevisionNotFound") => HubError::NoRevision { repo, revision: revision.into() },
            (_, "GatedRepo") | (401 | 403, _) => HubError::Gated { repo },
            (404, _) => HubError::NoRepo { repo },
            (status, _) => HubError::Status { url: url.into(), status },
        })
    }
}

fn remote<'a>(url: &str, header: &impl Fn(&str) -> Option<&'a str>) -> Result<Remote, HubError> {
    let unusable = |why: &str| HubError::Answer { url: url.into(), why: why.into() };
    let etag = header("X-Linked-Etag").or_else(|| header("ETag")).map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    // The ETag becomes the name of a file.
    let is_plain = |etag: &&str| (1..=128).contains(&etag.len()) && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let etag = etag.filter(is_plain).ok_or_else(|| unusable("it names no contents"))?;
    let bytes = header("X-Linked-Size").or_else(|| header("Content-Length")).and_then(|bytes| bytes.parse().ok());
    let bytes = bytes.ok_or_else(|| unusable("it tells no length"))?;
    Ok(Remote { etag: etag.into(), bytes })
}

/// The address of another path on the same host.
fn within(url: &str, path: &str) -> Result<String, HubError> {
    let unusable = || HubError::Answer { url: url.into(), why: format!("it redirects to {path}") };
    let from = url.parse::<Uri>().map_err(|_| unusable())?;
    let (scheme, host) = (from.scheme_str().ok_or_else(unusable)?, from.authority().ok_or_else(unusable)?);
    Ok(format!("{scheme}://{host}{path}"))
}

/// The path of a file until it is whole, named as the Hub's own tools name it. Makes the folder.
fn part_of(blob: &Path) -> Result<PathBuf, HubError> {
    if let Some(blobs) = blob.parent() {
        fs::create_dir_all(blobs).map_err(|error| HubError::io(blobs, error))?;
    }
    Ok(blob.with_added_extension("incomplete"))
}
