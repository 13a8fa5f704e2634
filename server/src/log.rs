//! The log of a Hub's requests and answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::{AUTHORIZATION, HeaderName, ORIGIN, RANGE};
use hyper::http::request::Parts;
use serde::Serialize;

use crate::faults::Kind;

/// One request and its answer so far.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The part of the Hub: `api`, `resolve`, `cache`, `cdn` or `folder`.
    pub on: &'static str,
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The file by its own name, `/{id}/{file}` or `/folder/{name}/{file}`, as far as the address tells.
    pub file: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub origin: Option<String>,
    pub status: Option<u16>,
    /// The bytes of the body that were passed to the operating system.
    pub bytes_sent: u64,
    /// The end of the answer: `whole`, `client left`, or the name of the fault.
    pub ended: Option<&'static str>,
    pub faults: Vec<Kind>,
}

/// An entry of the log, which its answer updates.
#[derive(Clone)]
pub struct Entry(Arc<Mutex<Asked>>);

impl Entry {
    pub fn now(&self) -> MutexGuard<'_, Asked> {
        locked(&self.0)
    }

    /// Records the end of the answer, once.
    pub fn end(&self, how: &'static str) {
        self.now().ended.get_or_insert(how);
    }
}

#[derive(Default)]
pub struct Log(Mutex<Vec<Entry>>);

impl Log {
    /// Adds a request.
    pub fn add(&self, on: &'static str, file: String, request: &Parts) -> Entry {
        let header = |name: HeaderName| Some(request.headers.get(name)?.to_str().ok()?.to_owned());
        let asked = Asked {
            on,
            file,
            method: request.method.to_string(),
            path: request.uri.to_string(),
            range: header(RANGE),
            authorization: header(AUTHORIZATION),
            origin: header(ORIGIN),
            status: None,
            bytes_sent: 0,
            ended: None,
            faults: Vec::new(),
        };
        let entry = Entry(Arc::new(Mutex::new(asked)));
        locked(&self.0).push(entry.clone());
        entry
    }

    /// Every request since the log was last emptied, in its current state.
    pub fn all(&self) -> Vec<Asked> {
        locked(&self.0).iter().map(|entry| entry.now().clone()).collect()
    }

    pub fn empty(&self) {
        locked(&self.0).clear();
    }
}

/// Locks a mutex. A panic of another holder is ignored, because no operation here can be left half done.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
