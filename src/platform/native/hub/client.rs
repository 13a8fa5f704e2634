//! The Hub over HTTP: the files of a revision, the ETag of a file, and the file itself.

use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body, BodyReader, RequestBuilder};

use crate::platform::PlatformError;
use crate::platform::hub::{self, Listing, MAX_LISTING_BYTES};
use crate::terms::HubSource;

const MAX_REDIRECTS: usize = 5;

/// An HTTP client for one repository.
#[derive(Debug)]
pub struct Client {
    /// Follows redirects, but sends the token to no other host.
    agent: Agent,
    /// Does not follow redirects, because the Hub describes a file before it redirects to its storage.
    direct: Agent,
    source: HubSource,
}

/// The Hub's description of a file, before its download.
#[derive(Debug)]
pub struct Remote {
    /// The file's ETag: the SHA-256 of a large file, or git's name for the contents of a small one.
    pub etag: String,
    pub bytes: u64,
}

impl Client {
    pub fn new(source: &HubSource) -> Self {
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
            source: source.clone(),
        }
    }

    /// Requests the commit and the files of the source's revision.
    ///
    /// # Errors
    ///
    /// No such repository or revision, no access, no answer, or an unusable one.
    pub fn listing(&self) -> Result<Listing, PlatformError> {
        let url = hub::listing_url(&self.source);
        let answer = self.answered(&url, self.with_token(self.agent.get(&url)).call())?;
        let json = answer.into_body().into_with_config().limit(MAX_LISTING_BYTES).read_to_vec();
        let listing = Listing::parse(&json.map_err(|error| self.unreachable(&error))?).map_err(|why| unusable(&url, &why))?;
        // The commit becomes part of a path, so it must be there.
        if listing.commit.is_some() { Ok(listing) } else { Err(unusable(&url, "it has no commit")) }
    }

    /// Requests a file's ETag and length, from the first answer that is not a redirect within the Hub.
    pub fn head(&self, commit: &str, name: &str) -> Result<Remote, PlatformError> {
        let mut url = self.url(commit, name);
        for _ in 0..MAX_REDIRECTS {
            let request = self.with_token(self.direct.head(&url)).header("Accept-Encoding", "identity");
            let answer = self.answered(&url, request.call())?;
            let header = |key: &str| answer.headers().get(key).and_then(|value| value.to_str().ok());
            match header("Location").filter(|to| answer.status().is_redirection() && to.starts_with('/')) {
                Some(to) => url = within(&url, to)?,
                None => return remote(&url, &header),
            }
        }
        Err(unusable(&url, "it redirects too often"))
    }

    /// Requests a file from byte `start` on, and at most `n` bytes of it if given. Returns the first byte of the
    /// answer, which is 0 if the server sends the whole file instead.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::listing`].
    pub fn get(&self, commit: &str, name: &str, start: u64, n: Option<u64>) -> Result<(u64, BodyReader<'static>), PlatformError> {
        let url = self.url(commit, name);
        let request = self.with_token(self.agent.get(&url)).header("Accept-Encoding", "identity");
        let last = n.map_or_else(String::new, |n| (start + n).saturating_sub(1).to_string());
        let is_part = start > 0 || n.is_some();
        let request = if is_part { request.header("Range", format!("bytes={start}-{last}")) } else { request };
        let answer = self.answered(&url, request.call())?;
        let range = answer.headers().get("Content-Range").and_then(|range| hub::content_range(range.to_str().ok()?));
        let first = match (answer.status().as_u16(), range) {
            (206, Some((first, _))) if first != start => return Err(unusable(&url, "it is another part than was asked for")),
            (206, _) => start,
            _ => 0,
        };
        Ok((first, answer.into_body().into_reader()))
    }

    fn url(&self, commit: &str, name: &str) -> String {
        hub::base_url(&self.source, commit) + name
    }

    fn with_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.source.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Turns a refusal into an error. The Hub gives its reason in a header. For a mirror without this header, the
    /// status decides.
    fn answered(&self, url: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, PlatformError> {
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        let code = answer.headers().get("X-Error-Code").and_then(|code| code.to_str().ok());
        if let Some(refusal) = hub::refusal(&self.source, code) {
            return Err(refusal);
        }
        let repo = &self.source.repo;
        Err(match (status.as_u16(), code) {
            (status, Some("EntryNotFound")) => unusable(url, &format!("its status is {status}")),
            (_, Some("GatedRepo")) | (401 | 403, _) => {
                let why = format!("the model is gated: accept its licence at https://huggingface.co/{repo}");
                PlatformError::Denied { name: repo.clone(), why }
            }
            (404, _) => PlatformError::NoRepository { origin: self.source.origin() },
            (status, _) => unusable(url, &format!("its status is {status}")),
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> PlatformError {
        PlatformError::Unreachable { name: self.source.origin(), why: error.to_string() }
    }
}

fn unusable(url: &str, why: &str) -> PlatformError {
    PlatformError::Read { name: url.into(), why: format!("the Hub's answer cannot be used: {why}") }
}

fn remote<'a>(url: &str, header: &impl Fn(&str) -> Option<&'a str>) -> Result<Remote, PlatformError> {
    let etag = header("X-Linked-Etag").or_else(|| header("ETag")).map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    // The ETag becomes the name of a file.
    let is_plain = |etag: &&str| (1..=128).contains(&etag.len()) && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let etag = etag.filter(is_plain).ok_or_else(|| unusable(url, "it names no contents"))?;
    let bytes = header("X-Linked-Size").or_else(|| header("Content-Length")).and_then(|bytes| bytes.parse().ok());
    let bytes = bytes.ok_or_else(|| unusable(url, "it tells no length"))?;
    Ok(Remote { etag: etag.into(), bytes })
}

/// The address of another path on the same host.
fn within(url: &str, path: &str) -> Result<String, PlatformError> {
    let refused = || unusable(url, &format!("it redirects to {path}"));
    let from = url.parse::<Uri>().map_err(|_| refused())?;
    let (scheme, host) = (from.scheme_str().ok_or_else(refused)?, from.authority().ok_or_else(refused)?);
    Ok(format!("{scheme}://{host}{path}"))
}
