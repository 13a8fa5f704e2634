//! What a Hub was asked for, and what came of it.

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
    /// The file by its own name, `/{id}/{file}` or `/folder/{name}/{file}`, as far as the address says it.
    pub file: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub origin: Option<String>,
    pub status: Option<u16>,
    /// The bytes of the body that the operating system has.
    pub bytes_sent: u64,
    /// How the answer ended: `whole`, `client left`, or the name of what was done to it.
    pub ended: Option<&'static str>,
    pub faults: Vec<Kind>,
}

/// An entry of the log, which its answer goes on to write.
#[derive(Clone)]
pub struct Entry(Arc<Mutex<Asked>>);

impl Entry {
    pub fn now(&self) -> MutexGuard<'_, Asked> {
        locked(&self.0)
    }

    /// Says how the answer ended, once.
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

    /// Every request since the log was last emptied, as it stands now.
    pub fn all(&self) -> Vec<Asked> {
        locked(&self.0).iter().map(|entry| entry.now().clone()).collect()
    }

    pub fn empty(&self) {
        locked(&self.0).clear();
    }
}

/// A lock whose holder panicked guards nothing that could be half done here.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
