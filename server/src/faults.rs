//! The faults that a test can request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::log::Asked;

/// A kind of fault. Offsets (`at`) are those of the whole file, for any requested range, and only an answer with that
/// byte fails. Faults of different kinds combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Instead of an answer: the connection is closed.
    Drop,
    /// Instead of an answer: nothing is ever sent.
    Silence,
    /// Instead of an answer: `status` (503) with `retry_after` and `body`.
    Status,
    /// Instead of an answer: 302 to the same address, without end.
    RedirectLoop,
    /// Instead of an answer: a page of HTML, with `status` (200).
    Html,
    /// The headers that let other origins read the answer are missing.
    NoCors,
    /// Every answer has a different ETag and X-Linked-ETag, or the one in `etag`.
    Etag,
    /// The `headers` are set, or left out if their value is null.
    Headers,
    /// The connection is closed after exactly `bytes` of the body or before the byte `at`, although Content-Length
    /// promises the whole body. When a connection breaks, a browser drops bytes that it has not passed on yet;
    /// `after_ms` gives it time to do so. `reset` closes the connection with a reset, which may lose bytes that were
    /// already sent.
    Cut,
    /// Nothing is sent after `bytes` (0) of the body or before the byte `at`.
    Stall,
    /// The body is sent at `bytes_per_second`.
    Slow,
    /// The lowest bit of the byte `at` is flipped.
    Flip,
    /// The body is `bytes` (1) shorter than requested, and the headers say so.
    Short,
    /// The body is `bytes` (1) longer than requested. Content-Length says so, Content-Range does not.
    Long,
    /// Content-Length is off by `by` (1), although the body is right.
    WrongLength,
    /// The size in Content-Range is off by `by` (1).
    WrongTotal,
    /// Content-Range begins and ends `by` (1) later than the range.
    WrongStart,
    /// A range is ignored, and 200 answers with the whole file.
    NoRange,
    /// The body is compressed on the way, as some hosts do with text, and Content-Length is missing.
    Gzip,
}

/// A fault, and the answers that it applies to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    pub kind: Kind,
    /// A part of the address, or of the file's own name.
    #[serde(default)]
    pub path: String,
    /// The part of the Hub (see [`Asked::on`]); any by default.
    pub on: Option<String>,
    /// The number of answers that are spared first.
    #[serde(default)]
    pub after: u64,
    /// The number of times that it happens.
    #[serde(default = "once")]
    pub times: u64,
    pub status: Option<u16>,
    pub retry_after: Option<u64>,
    pub body: Option<String>,
    pub etag: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    pub bytes: Option<u64>,
    pub at: Option<u64>,
    #[serde(default)]
    pub after_ms: u64,
    #[serde(default)]
    pub reset: bool,
    pub bytes_per_second: Option<u64>,
    pub by: Option<i64>,
}

fn once() -> u64 {
    1
}

impl Rule {
    /// A fault of a kind with its defaults: it happens once, to the next answer.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            path: String::new(),
            on: None,
            after: 0,
            times: once(),
            status: None,
            retry_after: None,
            body: None,
            etag: None,
            headers: BTreeMap::new(),
            bytes: None,
            at: None,
            after_ms: 0,
            reset: false,
            bytes_per_second: None,
            by: None,
        }
    }

    fn is_for(&self, asked: &Asked) -> bool {
        let is_here = self.on.as_ref().is_none_or(|on| on == asked.on);
        is_here && (asked.path.contains(&self.path) || asked.file.contains(&self.path))
    }
}

/// The requested faults, each with its remaining number of times.
#[derive(Default)]
pub struct Faults {
    rules: Vec<Rule>,
    n_numbers: u64,
}

impl Faults {
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// A number that was not returned before.
    pub fn fresh(&mut self) -> u64 {
        self.n_numbers += 1;
        self.n_numbers
    }

    /// The first fault of a kind that applies to this answer; it counts as used.
    pub fn take(&mut self, kind: Kind, asked: &mut Asked, applies: impl Fn(&Rule) -> bool) -> Option<Rule> {
        for rule in &mut self.rules {
            if rule.kind != kind || rule.times == 0 || !rule.is_for(asked) || !applies(rule) {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            rule.times -= 1;
            asked.faults.push(kind);
            return Some(rule.clone());
        }
        None
    }
}
