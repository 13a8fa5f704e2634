//! The answers of a Hub, its storage and a server of plain folders.
//!
//! The behaviour is taken from public captures of huggingface.co's answers (2025 and 2026), as far as a client can
//! see it:
//! - `/{id}/resolve/{revision}/{file}` only answers with redirects: for a small file to a second address of the Hub
//!   itself (307, relative), for a large one to another origin (302), newly signed each time. A page that follows sees
//!   only the headers of the last answer, so neither `X-Repo-Commit` nor `X-Linked-ETag` of a large file, and the
//!   storage's ETag is not the file's SHA-256. Revision, size and SHA-256 come from
//!   `/api/models/{id}/revision/{revision}?blobs=true`.
//! - The Hub allows the requesting origin by name, and lets it read the headers in [`EXPOSED`]; `Retry-After` is not
//!   among them. The storage answers `*` for both.
//! - A request without a token for a missing model gets 401, as for a private one; with a token, it gets 404.
//! - The listing of a gated model is public; its files are not. Without a token, or with an unknown one: 401; with a
//!   token without access: 403. For a public model a wrong token is ignored.
//!
//! A browser sends `Range: bytes=1-2` or `bytes=1-` without a preflight; for `Authorization`, `If-Range` and
//! `If-None-Match` it first sends OPTIONS. The storage refuses a preflight, which is stricter than the Hub, because
//! nobody guarantees one.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED, LOCATION, ORIGIN, VARY,
    WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::answer::Exchange;
use crate::files::{Files, Published, sha256_of};
use crate::hub::{OUTSIDER, State, TOKEN};
use crate::log::locked;
use crate::wire::Wire;
use crate::{Answer, Failure};

/// The headers of the Hub's answers that a page of another origin may read.
const EXPOSED: &str = "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,\
                       X-Linked-Size,X-Linked-ETag,X-Xet-Hash";

const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");

/// The requested file of a model, or the requested model.
struct Wanted {
    on: &'static str,
    id: String,
    revision: String,
    name: String,
}

/// The meaning of an address.
enum Route {
    Model(Wanted),
    Folder { folder: String, name: String },
}

impl Route {
    fn of(path: &str) -> Self {
        let segments: Vec<String> = path.split('/').skip(1).map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let model = |on, owner: &str, name: &str, revision: &str, file: &[&str]| {
            Self::Model(Wanted { on, id: format!("{owner}/{name}"), revision: revision.to_owned(), name: file.join("/") })
        };
        match segments[..] {
            ["folder", folder, ref name @ ..] => Self::Folder { folder: folder.to_owned(), name: name.join("/") },
            ["api", "resolve-cache", "models", owner, name, revision, ref file @ ..] => model("cache", owner, name, revision, file),
            ["api", "models", owner, name] => model("api", owner, name, "main", &[]),
            ["api", "models", owner, name, "revision", revision] => model("api", owner, name, revision, &[]),
            [owner, name, "resolve", revision, ref file @ ..] => model("resolve", owner, name, revision, file),
            _ => Self::Model(Wanted { on: "api", id: path.to_owned(), revision: "main".into(), name: String::new() }),
        }
    }
}

/// A commit of a model.
struct Found {
    revision: String,
    files: Files,
    gated: Option<String>,
    names_alone: bool,
}

/// A status, a code and a sentence.
type Refusal = (StatusCode, Option<&'static str>, String);

impl State {
    fn exchange(&self, request: Parts, wire: Wire, (on, file): (&'static str, String), cors: Vec<(HeaderName, String)>) -> Exchange {
        let entry = self.log.add(on, file, &request);
        Exchange { request, entry, wire, cors, faults: self.faults.clone() }
    }

    pub async fn answer_as_hub(self, request: Request<Incoming>, wire: Wire) -> Result<Answer, Failure> {
        let (request, _) = request.into_parts();
        let wanted = match Route::of(request.uri.path()) {
            Route::Folder { folder, name } => return self.answer_as_folder(request, wire, &folder, &name).await,
            Route::Model(wanted) => wanted,
        };
        let origin = request.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or("https://huggingface.co");
        let cors = [(ACCESS_CONTROL_ALLOW_ORIGIN, origin), (ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED), (VARY, "Origin")];
        let cors = cors.map(|(name, value)| (name, value.to_owned())).into();
        let file = if wanted.name.is_empty() { format!("/{}", wanted.id) } else { format!("/{}/{}", wanted.id, wanted.name) };
        let exchange = self.exchange(request, wire, (wanted.on, file), cors);
        if let Some(answer) = wrong_method(&exchange, true) {
            return Ok(answer);
        }
        match exchange.failure().await {
            Some(failure) => failure,
            None => self.send_of_model(&exchange, &wanted).await,
        }
    }

    async fn send_of_model(&self, exchange: &Exchange, wanted: &Wanted) -> Result<Answer, Failure> {
        let Found { revision, files, gated, names_alone } = match self.find(&exchange.request, wanted) {
            Ok(found) => found,
            Err((status, code, message)) => return Ok(say_error(exchange, status, code, &message, None)),
        };
        if wanted.on == "api" {
            let asks_for_blobs = exchange.request.uri.query().is_some_and(|query| query.split('&').any(|part| part == "blobs=true"));
            let siblings = files.values().map(|file| file.sibling(asks_for_blobs && !names_alone)).collect::<io::Result<Vec<_>>>()?;
            let info = json!({
                "id": wanted.id, "modelId": wanted.id, "author": wanted.id.split('/').next(), "sha": revision, "private": false,
                "gated": gated.map_or(json!(false), |gated| json!(gated)), "disabled": false, "downloads": 0, "likes": 0, "tags": [],
                "library_name": "transformers", "lastModified": "2026-01-01T00:00:00.000Z", "siblings": siblings,
            });
            return Ok(exchange.say(StatusCode::OK, [(CONTENT_TYPE, "application/json; charset=utf-8".to_owned())], &info.to_string()));
        }
        let Some(file) = files.get(&wanted.name) else {
            return Ok(say_error(exchange, StatusCode::NOT_FOUND, Some("EntryNotFound"), "Entry not found", Some(revision)));
        };
        if wanted.on == "cache" {
            let etag = format!("\"{}\"", file.digests()?.blob_id);
            let headers = vec![(ETAG, etag), (COMMIT, revision), (LAST_MODIFIED, String::new())];
            return exchange.send(file, headers, true).await;
        }
        self.redirect(exchange, wanted, revision, file)
    }

    /// Finds the requested commit.
    fn find(&self, request: &Parts, wanted: &Wanted) -> Result<Found, Refusal> {
        let Wanted { on, id, revision, .. } = wanted;
        let token = request.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
        let is_known = token == Some(TOKEN) || token == Some(OUTSIDER);
        let content = locked(&self.content);
        let Some(model) = content.models.get(id) else {
            return Err(match is_known {
                true => (StatusCode::NOT_FOUND, Some("RepoNotFound"), "Repository not found".into()),
                false => (StatusCode::UNAUTHORIZED, None, "Invalid username or password.".into()),
            });
        };
        if model.gated.is_some() && *on != "api" && token != Some(TOKEN) {
            let start = format!("Access to model {id} is restricted");
            return Err(match is_known {
                true => (StatusCode::FORBIDDEN, Some("GatedRepo"), format!("{start} and you are not in the authorized list.")),
                false => (StatusCode::UNAUTHORIZED, Some("GatedRepo"), format!("{start}. Please log in.")),
            });
        }
        let revision = model.names.get(revision).unwrap_or(revision);
        let Some(files) = model.commits.get(revision).cloned() else {
            return Err((StatusCode::NOT_FOUND, Some("RevisionNotFound"), format!("Invalid rev id: {revision}")));
        };
        Ok(Found { revision: revision.clone(), files, gated: model.gated.clone(), names_alone: model.names_alone })
    }

    fn redirect(&self, exchange: &Exchange, wanted: &Wanted, revision: String, file: &Arc<Published>) -> Result<Answer, Failure> {
        let digests = file.digests()?;
        let Wanted { id, name, .. } = wanted;
        let mut headers = vec![(COMMIT, revision.clone()), (ACCEPT_RANGES, "bytes".to_owned())];
        if !file.is_large {
            headers.push((LOCATION, format!("/api/resolve-cache/models/{id}/{revision}/{name}?etag=%22{}%22", digests.blob_id)));
            return Ok(exchange.say(StatusCode::TEMPORARY_REDIRECT, headers, "Temporary Redirect\n"));
        }
        let key = sha256_of(&format!("stored {}", digests.sha256));
        let signature = locked(&self.faults).fresh();
        let mut content = locked(&self.content);
        headers.push((HeaderName::from_static("x-linked-size"), file.size.to_string()));
        headers.push((HeaderName::from_static("x-linked-etag"), format!("\"{}\"", digests.sha256)));
        headers.push((LOCATION, format!("{}/xet-bridge-local/{key}?Signature={signature}", content.storage)));
        content.stored.insert(key, (file.clone(), format!("/{id}/{name}")));
        Ok(exchange.say(StatusCode::FOUND, headers, "Found\n"))
    }

    pub async fn answer_as_storage(self, request: Request<Incoming>, wire: Wire) -> Result<Answer, Failure> {
        let (request, _) = request.into_parts();
        let key = request.uri.path().split('/').nth(2).unwrap_or_default().to_owned();
        let stored = locked(&self.content).stored.get(&key).cloned();
        let cors = [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS].map(|name| (name, "*".to_owned())).into();
        let file = stored.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
        let exchange = self.exchange(request, wire, ("cdn", file), cors);
        if let Some(answer) = wrong_method(&exchange, false) {
            return Ok(answer);
        }
        if let Some(failure) = exchange.failure().await {
            return failure;
        }
        let Some((file, _)) = stored else { return Ok(exchange.say(StatusCode::FORBIDDEN, [], "AccessDenied")) };
        let kind = (CONTENT_TYPE, "application/octet-stream".to_owned());
        exchange.send(&file, vec![kind, (ETAG, format!("\"{key}\"")), (LAST_MODIFIED, String::new())], true).await
    }

    async fn answer_as_folder(self, request: Parts, wire: Wire, folder: &str, name: &str) -> Result<Answer, Failure> {
        let found = locked(&self.content).folders.get(folder).map(|(files, folder)| (files.get(name).cloned(), folder.ranges, folder.cors));
        let (file, has_ranges, has_cors) = found.unwrap_or((None, true, true));
        let cors = has_cors.then(|| (ACCESS_CONTROL_ALLOW_ORIGIN, "*".to_owned())).into_iter().collect();
        let exchange = self.exchange(request, wire, ("folder", format!("/folder/{folder}/{name}")), cors);
        if let Some(answer) = wrong_method(&exchange, false) {
            return Ok(answer);
        }
        if let Some(failure) = exchange.failure().await {
            return failure;
        }
        match file {
            Some(file) => exchange.send(&file, Vec::new(), has_ranges).await,
            None => Ok(exchange.say(StatusCode::NOT_FOUND, [], "Not found\n")),
        }
    }
}

/// Answers methods other than GET and HEAD.
fn wrong_method(exchange: &Exchange, allows_any_header: bool) -> Option<Answer> {
    let Parts { method, headers, .. } = &exchange.request;
    if method == Method::GET || method == Method::HEAD {
        return None;
    }
    if method != Method::OPTIONS || !allows_any_header {
        let status = if method == Method::OPTIONS { StatusCode::FORBIDDEN } else { StatusCode::METHOD_NOT_ALLOWED };
        return Some(exchange.say(status, [(ALLOW, "GET, HEAD".to_owned())], ""));
    }
    let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|wanted| wanted.to_str().ok()).unwrap_or_default();
    let allowed = [(ACCESS_CONTROL_ALLOW_METHODS, "GET,HEAD,OPTIONS"), (ACCESS_CONTROL_ALLOW_HEADERS, wanted)];
    Some(exchange.say(StatusCode::NO_CONTENT, allowed.map(|(name, value)| (name, value.to_owned())), ""))
}

fn say_error(exchange: &Exchange, status: StatusCode, code: Option<&str>, message: &str, commit: Option<String>) -> Answer {
    let is_api = exchange.entry.now().on == "api";
    let mut headers = vec![(ERROR_MESSAGE, message.to_owned())];
    headers.extend(code.map(|code| (ERROR_CODE, code.to_owned())));
    headers.extend(commit.map(|commit| (COMMIT, commit)));
    if status == StatusCode::UNAUTHORIZED {
        headers.push((WWW_AUTHENTICATE, "Bearer realm=\"Authentication required\", charset=\"UTF-8\"".to_owned()));
    }
    if !is_api {
        return exchange.say(status, headers, message);
    }
    headers.push((CONTENT_TYPE, "application/json; charset=utf-8".to_owned()));
    exchange.say(status, headers, &json!({ "error": message }).to_string())
}
