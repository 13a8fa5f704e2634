//! What can go wrong with an answer, when a test asks for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::log::Asked;

/// A kind of fault. Offsets (`at`) are those of the whole file, whatever range was asked for, and only an answer that has that
/// byte fails. Faults of different kinds combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Instead of an answer: the connection is closed without a word.
    Drop,
    /// Instead of an answer: nothing is ever said.
    Silence,
    /// Instead of an answer: `status` (503) with `retry_after` and `body`.
    Status,
    /// Instead of an answer: 302 to the same address, again and again.
    RedirectLoop,
    /// Instead of an answer: a page of HTML, with `status` (200).
    Html,
    /// The headers that let other origins read the answer are missing.
    NoCors,
    /// Every answer has another ETag and X-Linked-ETag, or the one in `etag`.
    Etag,
    /// The `headers` are set, or left out where their value is null.
    Headers,
    /// The connection is closed after exactly `bytes` of the body or before the byte `at`; Content-Length promises all. A browser
    /// drops what it has not handed out when a connection breaks: `after_ms` leaves it time to do so. `reset` closes it with a
    /// reset, which may take bytes that were sent along.
    Cut,
    /// Nothing more comes after `bytes` (0) of the body or before the byte `at`.
    Stall,
    /// The body comes at `bytes_per_second`.
    Slow,
    /// The lowest bit of the byte `at` is flipped.
    Flip,
    /// The body is `bytes` (1) shorter than was asked for, and the headers say so.
    Short,
    /// The body is `bytes` (1) longer than was asked for. Content-Length says so, Content-Range does not.
    Long,
    /// Content-Length is off by `by` (1); the body is right.
    WrongLength,
    /// The size in Content-Range is off by `by` (1).
    WrongTotal,
    /// Content-Range says that the range begins and ends `by` (1) later than it does.
    WrongStart,
    /// A range is ignored, and 200 answers with everything.
    NoRange,
    /// The body is compressed on the way, as some hosts do with text: without Content-Length.
    Gzip,
}

/// A fault that is to happen, and to which answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    pub kind: Kind,
    /// A part of the address, or of the file's own name.
    #[serde(default)]
    pub path: String,
    /// The part of the Hub (see [`Asked::on`]); any, unless it is given.
    pub on: Option<String>,
    /// So many answers are spared first.
    #[serde(default)]
    pub after: u64,
    /// It happens so many times.
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
    /// A fault of a kind with its defaults: it happens once, to whatever is asked for next.
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

/// The faults that were asked for, each with how often it is still to happen.
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

    /// A number that never came before.
    pub fn fresh(&mut self) -> u64 {
        self.n_numbers += 1;
        self.n_numbers
    }

    /// The first fault of a kind that is to happen to this answer; it has happened then.
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
