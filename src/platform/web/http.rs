//! Downloads one file by single ranges, with retries: a connection may break at any byte, and a server may ask to
//! wait, not support ranges, or change the file meanwhile. Never uses `HEAD`, which the Hub's storage refuses across
//! origins.

use std::cell::{Cell, RefCell};

use js_sys::{Date, Promise, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Response};

use super::js::{self, AbortController, get, object, reason, sleep};
use super::scope;
use super::stored_file::MAX_FILE_BYTES;
use super::whole::Whole;
use crate::platform::PlatformError;
use crate::platform::hub::content_range;

/// Attempts without a single new byte before a download is given up.
const MAX_TRIES: u32 = 5;
/// Milliseconds without a byte after which a connection counts as dead.
const STALL_MS: u32 = 20_000;
/// Longest wait that a server may ask for, in milliseconds. Beyond it, the download is given up.
const LONGEST_WAIT_MS: f64 = 60_000.0;

/// A file on a server.
pub struct Remote {
    pub name: String,
    url: String,
    /// The `Authorization` header, for gated repositories.
    authorization: Option<String>,
    /// Bytes of the whole file, once known.
    size: Cell<Option<u64>>,
    /// The file's ETag, or the date of its last change, which every page may read.
    version: RefCell<Option<String>>,
    /// Controllers that abort the requests. `is_over` is set once nothing more is wanted.
    attempts: RefCell<Vec<AbortController>>,
    is_over: Cell<bool>,
    max_tries: u32,
    /// `true` once the server has answered at all.
    is_heard: Cell<bool>,
    /// The server's code for the last error: `RepoNotFound`, `GatedRepo`, ...
    error_code: RefCell<Option<String>>,
    /// The reason for the current wait, for people: "the server asks to wait 5 s".
    pub waiting: RefCell<Option<String>>,
}

/// The reason why an attempt failed.
pub(super) enum Trouble {
    Final(PlatformError),
    /// A failure that justifies another attempt after a while.
    Passing {
        why: String,
        wait_ms: Option<f64>,
    },
}

impl From<PlatformError> for Trouble {
    fn from(error: PlatformError) -> Self {
        Self::Final(error)
    }
}

/// The outcome of the first request.
pub enum Probe {
    Missing,
    /// Single ranges are served, and the size is known.
    Ranges,
    /// Only the whole file is served; this is its beginning.
    Whole(Whole),
}

impl Drop for Remote {
    /// Ends the requests under way, because nobody waits for them any more.
    fn drop(&mut self) {
        self.abort();
    }
}

impl Remote {
    pub fn new(name: &str, url: String, size: Option<u64>, authorization: Option<String>) -> Self {
        Self {
            name: name.into(),
            url,
            authorization,
            size: Cell::new(size),
            version: RefCell::new(None),
            attempts: RefCell::default(),
            is_over: Cell::new(false),
            max_tries: MAX_TRIES,
            is_heard: Cell::new(false),
            error_code: RefCell::new(None),
            waiting: RefCell::new(None),
        }
    }

    /// Sets the number of attempts; fewer are enough if there is an alternative.
    #[must_use]
    pub fn with_tries(mut self, max_tries: u32) -> Self {
        self.max_tries = max_tries;
        self
    }

    pub(super) fn set_size(&self, bytes: u64) {
        self.size.set(Some(bytes));
    }

    pub fn size(&self) -> Option<u64> {
        self.size.get()
    }

    pub fn version(&self) -> Option<String> {
        self.version.borrow().clone()
    }

    /// The server's reason for its last refusal, if it is one of the Hub's.
    pub fn error_code(&self) -> Option<String> {
        self.error_code.borrow().clone()
    }

    /// Ends all requests under way.
    pub fn abort(&self) {
        self.is_over.set(true);
        self.attempts.borrow_mut().drain(..).for_each(|attempt| attempt.abort());
    }

    /// Requests the first bytes, to learn if the file exists, its length, and if ranges are served.
    ///
    /// # Errors
    ///
    /// [`PlatformError`], after several attempts.
    pub async fn probe(&self) -> Result<Probe, PlatformError> {
        let response = self.patiently(|| self.send(Some((0, Some(8))))).await?;
        let Some(response) = response else { return Ok(Probe::Missing) };
        if response.status() != 206 {
            return Ok(Probe::Whole(Whole::of(self, &response)?));
        }
        js::forget(reader_of(self, &response)?.cancel());
        if self.size().is_some() {
            return Ok(Probe::Ranges);
        }
        // A server that hides its Content-Range from other origins still gives the length of the whole file.
        let Some(response) = self.patiently(|| self.send(Some((0, None)))).await? else { return Ok(Probe::Missing) };
        let mut whole = Whole::of(self, &response)?;
        if self.size().is_none() {
            return Ok(Probe::Whole(whole));
        }
        whole.leave();
        Ok(Probe::Ranges)
    }

    /// Requests the whole file as one stream; `None` if there is no such file.
    ///
    /// # Errors
    ///
    /// [`PlatformError`], after several attempts.
    pub async fn whole(&self) -> Result<Option<Whole>, PlatformError> {
        let response = self.patiently(|| self.send(None)).await?;
        response.map(|response| Whole::of(self, &response)).transpose()
    }

    /// Fills `into` with the bytes from `start` on. `got` is the number of bytes already there, and is increased as
    /// more arrive.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Cut`] if several attempts brought nothing more, and every error that another attempt would
    /// not fix.
    pub async fn range(&self, start: u64, into: &Uint8Array, got: &Cell<u32>) -> Result<(), PlatformError> {
        self.until_full(into, got, async || self.part(start, into, got).await).await
    }

    /// Fills `into` as [`Self::range`] does, from a server without ranges.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::range`].
    pub async fn next_of(&self, whole: &RefCell<Whole>, start: u64, into: &Uint8Array, got: &Cell<u32>) -> Result<(), PlatformError> {
        self.until_full(into, got, async || {
            // One reader at a time: the slabs of such a file are requested one after the other.
            let mut stream = whole.take();
            let filled = stream.fill(self, start, into, got).await;
            whole.replace(stream);
            filled
        })
        .await
    }

    async fn until_full(
        &self,
        into: &Uint8Array,
        got: &Cell<u32>,
        attempt: impl AsyncFn() -> Result<(), Trouble>,
    ) -> Result<(), PlatformError> {
        let mut tries = 0;
        while got.get() < into.length() {
            let before = got.get();
            match attempt().await {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing { why, wait_ms }) => {
                    tries = if got.get() > before { 1 } else { tries + 1 };
                    self.pause(tries, why, wait_ms).await?;
                }
            }
        }
        Ok(())
    }

    /// Repeats an attempt after a temporary failure.
    async fn patiently<T>(&self, attempt: impl AsyncFn() -> Result<T, Trouble>) -> Result<T, PlatformError> {
        let mut tries = 0;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing { why, wait_ms }) => {
                    tries += 1;
                    self.pause(tries, why, wait_ms).await?;
                }
            }
        }
    }

    async fn pause(&self, tries: u32, why: String, wait_ms: Option<f64>) -> Result<(), PlatformError> {
        let wait_ms = wait_ms.unwrap_or_else(|| 250.0 * f64::from(1_u32 << tries.min(6)));
        if tries >= self.max_tries || wait_ms > LONGEST_WAIT_MS {
            let name = self.name.clone();
            return Err(if self.is_heard.get() { PlatformError::Cut { name, why } } else { PlatformError::Unreachable { name, why } });
        }
        self.waiting.replace(Some(format!("{why}; trying again in {:.0} s", (wait_ms / 1000.0).ceil())));
        // The wait is in steps, so that a stopped download does not hold its file for a minute.
        let mut left = wait_ms as u32;
        while left > 0 && !self.is_over.get() {
            let step = left.min(100);
            sleep(step).await;
            left -= step;
        }
        self.waiting.replace(None);
        if self.is_over.get() { Err(self.stopped()) } else { Ok(()) }
    }

    fn stopped(&self) -> PlatformError {
        PlatformError::Cut { name: self.name.clone(), why: "stopped".into() }
    }

    /// Sends one request. `range` is a half-open interval of bytes, up to the end of the file if it has no end.
    /// Returns `None` if there is no such file.
    pub(super) async fn send(&self, range: Option<(u64, Option<u64>)>) -> Result<Option<Response>, Trouble> {
        let mut headers = Vec::new();
        if let Some((start, end)) = range {
            let last = end.map_or_else(String::new, |end| (end - 1).to_string());
            headers.push(("Range", JsValue::from(format!("bytes={start}-{last}"))));
        }
        if let Some(authorization) = &self.authorization {
            headers.push(("Authorization", authorization.into()));
        }
        let attempt = AbortController::new();
        let mut options = vec![("headers", object(&headers)), ("signal", attempt.signal()), ("referrerPolicy", "no-referrer".into())];
        self.attempts.borrow_mut().push(attempt.clone());
        if range.is_some() {
            // Firefox aborts large answers on their way into its cache, and our own store keeps the useful ones.
            options.push(("cache", "no-store".into()));
        }
        let fetched = scope().fetch_with_str_and_init(&self.url, object(&options).unchecked_ref());
        let response = match self.answer(fetched).await {
            Ok(response) => response,
            Err(trouble) => {
                // A request that is never answered would keep its connection, of which there are few.
                attempt.abort();
                return Err(trouble);
            }
        };
        let response: Response = response.unchecked_into();
        self.judge(&response, range.map(|(start, _)| start)).map(|found| found.then_some(response))
    }

    /// Waits at most [`STALL_MS`] for a promise of the network, which may never be fulfilled.
    async fn answer(&self, promise: Promise) -> Result<JsValue, Trouble> {
        match js::within(STALL_MS, &mut JsFuture::from(promise)).await {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) if js::error_name(&error) == "AbortError" => Err(self.stopped().into()),
            Some(Err(error)) => Err(Trouble::Passing { why: reason(&error), wait_ms: None }),
            None => Err(Trouble::Passing { why: format!("nothing came for {} seconds", STALL_MS / 1000), wait_ms: None }),
        }
    }

    /// Checks that an answer fits the request. Returns `false` if there is no such file.
    fn judge(&self, response: &Response, start: Option<u64>) -> Result<bool, Trouble> {
        let header = |name: &str| response.headers().get(name).ok().flatten();
        self.is_heard.set(true);
        let version = header("etag").or_else(|| header("last-modified"));
        self.error_code.replace(header("x-error-code"));
        match response.status() {
            200 => self.agree(None, version)?,
            206 => {
                let range = header("content-range").and_then(|text| content_range(&text));
                if range.zip(start).is_some_and(|((first, _), start)| first != start) {
                    return Err(Trouble::Passing { why: "the server sent another part than was asked for".into(), wait_ms: None });
                }
                self.agree(range.and_then(|(_, total)| total), version)?;
            }
            404 | 410 => return Ok(false),
            401 | 403 => {
                let why = header("x-error-message").unwrap_or_else(|| format!("status {}", response.status()));
                return Err(PlatformError::Denied { name: self.name.clone(), why }.into());
            }
            416 => return Err(self.changed("it is shorter than expected").into()),
            status @ (408 | 425 | 429 | 500..) => {
                let why = format!("the server answered {status} {}", response.status_text());
                return Err(Trouble::Passing { why, wait_ms: header("retry-after").and_then(|text| wait_of(&text)) });
            }
            status => {
                let why = format!("the server answered {status} {}", response.status_text());
                return Err(PlatformError::Read { name: self.name.clone(), why }.into());
            }
        }
        Ok(true)
    }

    /// Compares an answer's facts about the whole file with the known ones, and records new ones.
    pub(super) fn agree(&self, total: Option<u64>, version: Option<String>) -> Result<(), PlatformError> {
        if let Some(total) = total {
            if total >= MAX_FILE_BYTES {
                return Err(PlatformError::TooLarge { name: self.name.clone(), got: total, limit: MAX_FILE_BYTES });
            }
            match self.size.get() {
                Some(size) if size != total => {
                    return Err(self.changed(&format!("it has {total} bytes instead of {size}")));
                }
                _ => self.size.set(Some(total)),
            }
        }
        if let Some(version) = version {
            let mut known = self.version.borrow_mut();
            if known.get_or_insert_with(|| version.clone()) != &version {
                return Err(self.changed("it is another version now"));
            }
        }
        Ok(())
    }

    pub(super) fn changed(&self, why: &str) -> PlatformError {
        PlatformError::Changed { name: self.name.clone(), why: why.into() }
    }

    /// Makes one attempt to fetch the missing rest of a range.
    async fn part(&self, start: u64, into: &Uint8Array, got: &Cell<u32>) -> Result<(), Trouble> {
        let (first, end) = (start + u64::from(got.get()), start + u64::from(into.length()));
        let response = self.send(Some((first, Some(end)))).await?.ok_or_else(|| self.changed("it is gone"))?;
        if response.status() != 206 {
            return Err(Trouble::Passing { why: "the server sent the whole file instead of a part".into(), wait_ms: None });
        }
        let reader = reader_of(self, &response)?;
        let filled = self.fill(&reader, into, got).await;
        // Otherwise a dead connection would be kept.
        js::forget(reader.cancel());
        filled
    }

    async fn fill(&self, reader: &ReadableStreamDefaultReader, into: &Uint8Array, got: &Cell<u32>) -> Result<(), Trouble> {
        while got.get() < into.length() {
            let Some(chunk) = self.chunk(reader).await? else {
                return Err(Trouble::Passing { why: "the connection was cut".into(), wait_ms: None });
            };
            // Bytes beyond the range are ignored.
            let taken = chunk.length().min(into.length() - got.get());
            into.set(&chunk.subarray(0, taken), got.get());
            got.set(got.get() + taken);
        }
        Ok(())
    }

    /// The next chunk of a reader; `None` at the end.
    pub(super) async fn chunk(&self, reader: &ReadableStreamDefaultReader) -> Result<Option<Uint8Array>, Trouble> {
        let result = self.answer(reader.read()).await?;
        if get(&result, "done").is_truthy() {
            return Ok(None);
        }
        let chunk: Uint8Array = get(&result, "value").unchecked_into();
        Ok(Some(chunk))
    }
}

pub(super) fn reader_of(remote: &Remote, response: &Response) -> Result<ReadableStreamDefaultReader, PlatformError> {
    let no_body = || PlatformError::Read { name: remote.name.clone(), why: "the server sent no body".into() };
    Ok(response.body().ok_or_else(no_body)?.get_reader().unchecked_into())
}

/// The wait in milliseconds from a `Retry-After`, which holds seconds or a date.
fn wait_of(header: &str) -> Option<f64> {
    let seconds = header.trim().parse::<f64>().ok().map(|seconds| 1e3 * seconds);
    let until = || Date::parse(header) - Date::now();
    Some(seconds.unwrap_or_else(until)).filter(|ms| ms.is_finite()).map(|ms| ms.max(0.0))
}
