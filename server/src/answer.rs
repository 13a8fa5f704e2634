//! Answers, with the requested faults.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty, Full};
use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, LOCATION, RANGE, RETRY_AFTER,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tower_http::services::ServeFile;

use crate::faults::{Faults, Kind, Rule};
use crate::files::Published;
use crate::log::{Entry, locked};
use crate::sending::{End, Plan, Sending};
use crate::wire::{Counted, Wire};
use crate::{Answer, Body, Failure, never};

const PAGE: &str = "<!DOCTYPE html><html><head><title>Sorry</title></head><body><h1>We will be back soon</h1></body></html>\n";

/// One request, and the parts of its answer.
pub struct Exchange {
    pub request: Parts,
    pub entry: Entry,
    pub wire: Wire,
    /// Headers for other origins.
    pub cors: Vec<(HeaderName, String)>,
    pub faults: Arc<Mutex<Faults>>,
}

impl Exchange {
    fn take(&self, kind: Kind) -> Option<Rule> {
        self.take_if(kind, |_| true)
    }

    fn take_if(&self, kind: Kind, applies: impl Fn(&Rule) -> bool) -> Option<Rule> {
        locked(&self.faults).take(kind, &mut self.entry.now(), applies)
    }

    /// The requested failure that replaces the whole answer, if there is one.
    pub async fn failure(&self) -> Option<Result<Answer, Failure>> {
        if self.take(Kind::Drop).is_some() {
            self.entry.end("dropped");
            return Some(Err("dropped".into()));
        }
        if self.take(Kind::Silence).is_some() {
            self.entry.end("silent");
            self.wire.closed().await;
            return Some(Err("silent".into()));
        }
        if let Some(Rule { status, retry_after, body, .. }) = self.take(Kind::Status) {
            let status = StatusCode::from_u16(status.unwrap_or(503)).unwrap_or_default();
            let headers = retry_after.map(|seconds| (RETRY_AFTER, seconds.to_string()));
            return Some(Ok(self.say(status, headers, &body.unwrap_or_else(|| format!("{status}\n")))));
        }
        if self.take(Kind::RedirectLoop).is_some() {
            return Some(Ok(self.say(StatusCode::FOUND, [(LOCATION, self.request.uri.to_string())], "")));
        }
        let Rule { status, .. } = self.take(Kind::Html)?;
        let status = StatusCode::from_u16(status.unwrap_or(200)).unwrap_or_default();
        Some(Ok(self.say(status, [(CONTENT_TYPE, "text/html; charset=utf-8".to_owned())], PAGE)))
    }

    /// A text: a redirect or an error, to which the faults of bodies do not apply.
    pub fn say(&self, status: StatusCode, headers: impl IntoIterator<Item = (HeaderName, String)>, text: &str) -> Answer {
        let mut map = HeaderMap::new();
        set(&mut map, CONTENT_TYPE, "text/plain; charset=utf-8");
        for (name, value) in headers {
            set(&mut map, name, &value);
        }
        let text = Bytes::copy_from_slice(text.as_bytes());
        let size = text.len() as u64;
        if status != StatusCode::NO_CONTENT {
            set(&mut map, CONTENT_LENGTH, size.to_string());
        }
        self.answer(status, map, Full::new(text).map_err(never), Plan::whole(size))
    }

    /// A file or a part of it, with the faults of its body.
    pub async fn send(&self, file: &Published, headers: Vec<(HeaderName, String)>, has_ranges: bool) -> Result<Answer, Failure> {
        let has_ranges = has_ranges && self.take(Kind::NoRange).is_none();
        let mut request = Request::builder().method(self.request.method.clone()).uri("/").body(Empty::<Bytes>::new())?;
        let range = self.request.headers.get(RANGE).filter(|_| has_ranges).cloned();
        request.headers_mut().extend(range.map(|range| (RANGE, range)));
        let (parts, body) = ServeFile::new(&file.path).try_call(request).await?.into_parts();
        let mut map = parts.headers;
        if !has_ranges {
            map.remove(ACCEPT_RANGES);
        }
        for (name, value) in headers {
            if value.is_empty() {
                map.remove(name);
            } else {
                set(&mut map, name, &value);
            }
        }
        if !parts.status.is_success() {
            return Ok(self.answer(parts.status, map, body, Plan::whole(0)));
        }
        let plan = self.plan(&mut map, file.size);
        let accepts_gzip = self.request.headers.get(ACCEPT_ENCODING).is_some_and(|value| value.as_bytes().windows(4).any(|w| w == b"gzip"));
        if accepts_gzip && self.take(Kind::Gzip).is_some() {
            let zipped = gzipped(&body.collect().await?.to_bytes())?;
            map.remove(CONTENT_LENGTH);
            map.remove(ACCEPT_RANGES);
            set(&mut map, CONTENT_ENCODING, "gzip");
            return Ok(self.answer(parts.status, map, Full::new(zipped).map_err(never), Plan { n_bytes: u64::MAX, ..plan }));
        }
        Ok(self.answer(parts.status, map, body, plan))
    }

    /// Plans the bytes of a body, and writes the headers for it, with their faults.
    fn plan(&self, headers: &mut HeaderMap, size: u64) -> Plan {
        let range = headers.get(CONTENT_RANGE).and_then(|value| {
            let (first, last) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?.0.split_once('-')?;
            Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()? + 1))
        });
        let (start, asked) = range.unwrap_or((0, size));
        let n = |kind| self.take(kind).map_or(0, |rule| rule.bytes.unwrap_or(1));
        let by = |kind| self.take(kind).map_or(0, |rule| rule.by.unwrap_or(1));
        let end = asked.saturating_sub(n(Kind::Short)).max(start);
        let extra = n(Kind::Long);
        let promised = (end - start + extra).saturating_add_signed(by(Kind::WrongLength));
        set(headers, CONTENT_LENGTH, promised.to_string());
        if range.is_some() {
            let (shift, total) = (by(Kind::WrongStart), size.saturating_add_signed(by(Kind::WrongTotal)));
            let (first, last) = (start.saturating_add_signed(shift), (end.max(1) - 1).saturating_add_signed(shift));
            set(headers, CONTENT_RANGE, format!("bytes {first}-{last}/{total}"));
        }
        let n_bytes = end - start + extra;
        let has = |rule: &Rule| rule.at.is_some_and(|at| (start..end).contains(&at));
        let up_to = |rule: &Rule| rule.at.map_or(rule.bytes.unwrap_or(0), |at| at - start);
        let stops = |rule: &Rule| if rule.at.is_some() { has(rule) } else { rule.bytes.unwrap_or(0) < n_bytes };
        let mut plan = Plan::whole(n_bytes);
        plan.extra = extra;
        plan.bytes_per_second = self.take(Kind::Slow).and_then(|rule| rule.bytes_per_second);
        plan.flip = self.take_if(Kind::Flip, has).and_then(|rule| Some(rule.at? - start));
        if let Some(rule) = self.take_if(Kind::Cut, stops) {
            plan.n_bytes = up_to(&rule);
            plan.end = End::Cut { after: Duration::from_millis(rule.after_ms), reset: rule.reset };
        } else if let Some(rule) = self.take_if(Kind::Stall, stops) {
            plan.n_bytes = up_to(&rule);
            plan.end = End::Stall;
        }
        plan
    }

    /// Status, headers with their faults, and a body that is sent as planned.
    fn answer<B>(&self, status: StatusCode, mut headers: HeaderMap, body: B, plan: Plan) -> Answer
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<Failure>> + Send + 'static,
    {
        if self.take(Kind::NoCors).is_none() {
            for (name, value) in &self.cors {
                set(&mut headers, name.clone(), value);
            }
        }
        if let Some(rule) = self.take(Kind::Etag) {
            let etag = rule.etag.unwrap_or_else(|| format!("\"another-{}\"", locked(&self.faults).fresh()));
            for name in [ETAG, HeaderName::from_static("x-linked-etag")] {
                if headers.contains_key(&name) {
                    set(&mut headers, name, &etag);
                }
            }
        }
        for (name, value) in self.take(Kind::Headers).map(|rule| rule.headers).unwrap_or_default() {
            let Ok(name) = HeaderName::try_from(name) else { continue };
            match value {
                Some(value) => set(&mut headers, name, value),
                None => drop(headers.remove(name)),
            }
        }
        self.entry.now().status = Some(status.as_u16());
        let mut answer = Response::new(self.body(body, plan));
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        answer
    }

    fn body<B>(&self, body: B, plan: Plan) -> Body
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<Failure>> + Send + 'static,
    {
        let has_none = plan.n_bytes == 0 && matches!(plan.end, End::Whole);
        if has_none || self.request.method == Method::HEAD {
            self.entry.end("whole");
            return Empty::new().map_err(never).boxed_unsync();
        }
        let (out, pieces) = Channel::new(1);
        let sending = Sending::new(out, self.wire.clone(), self.entry.clone());
        tokio::spawn(sending.run(body.map_err(Into::into).boxed_unsync(), plan));
        Counted::new(pieces, self.wire.clone()).boxed_unsync()
    }
}

fn gzipped(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish().map(Bytes::from)
}

/// Sets a header if the value is valid.
fn set(headers: &mut HeaderMap, name: HeaderName, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        headers.insert(name, value);
    }
}
