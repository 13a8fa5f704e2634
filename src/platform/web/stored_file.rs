//! One file in the browser's file system: its bytes and their journal.
//!
//! The file is stored in slabs, which may arrive in any order. Its journal is a head of JSON padded to [`HEAD_BYTES`], then a
//! record for each slab: the number of stored bytes and their XXH3, which is checked at every read. So an interrupted
//! download continues at the next byte, and damaged slabs are downloaded again. (XXH3 is enough: anybody who could
//! change these files on purpose could also change this page's program. The file's SHA-256 was checked on arrival;
//! checking it at each load would take a browser three times as long as everything else.)

use std::cell::{Cell, RefCell};

use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use xxhash_rust::xxh3::xxh3_64;

use super::js::{SyncHandle, object, reason};

/// Bytes that are downloaded, checked and written at once.
pub const SLAB_BYTES: u64 = 8 << 20;
const HEAD_BYTES: u64 = 4096;
const RECORD_BYTES: u64 = 16;
pub(super) const MAX_FILE_BYTES: u64 = 1 << 42;
const MAX_JOURNAL_BYTES: f64 = 16e6;

/// The head of a journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub size: u64,
    /// The file's version from the server: an ETag, or the date of the last change.
    pub version: Option<String>,
    /// SHA-256 of the whole file, once it is complete.
    pub sha256: Option<String>,
}

/// The journal's record of a slab: the number of stored bytes and their XXH3.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record {
    pub len: u32,
    xxh3: u64,
}

pub(super) fn at(position: u64) -> JsValue {
    object(&[("at", (position as f64).into())])
}

/// A handle that is closed when it is dropped.
pub(super) struct Guard(pub SyncHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Guard {
    /// Fills `into`; `None` if not all of its bytes could be read.
    fn read(&self, position: u64, into: &mut [u8]) -> Option<()> {
        let len = into.len() as f64;
        (self.0.read(into, &at(position)).ok()? == len).then_some(())
    }

    fn write(&self, position: u64, bytes: &[u8]) -> Result<(), String> {
        let written = self.0.write(bytes, &at(position)).map_err(|error| reason(&error))?;
        if written == bytes.len() as f64 { Ok(()) } else { Err("the disk is full".into()) }
    }
}

/// A file of a model, as far as it is stored.
pub struct StoredFile {
    data: Guard,
    journal: Guard,
    head: RefCell<Head>,
    records: RefCell<Vec<Record>>,
    /// The error that ended the storing.
    broken: RefCell<Option<String>>,
    /// `true` once nothing more is to be stored. Stored bytes stay.
    is_frozen: Cell<bool>,
}

impl StoredFile {
    pub(super) fn read(data: Guard, journal: Guard) -> Self {
        let size = journal.0.size().unwrap_or(0.0).min(MAX_JOURNAL_BYTES);
        let mut bytes = vec![0; size as usize];
        if journal.read(0, &mut bytes).is_none() {
            bytes.clear();
        }
        let head = head_of(&bytes);
        let records = RefCell::new(records_of(&bytes, head.size));
        Self { data, journal, head: RefCell::new(head), records, broken: RefCell::new(None), is_frozen: Cell::new(false) }
    }

    pub fn head(&self) -> Head {
        self.head.borrow().clone()
    }

    pub fn is_complete(&self) -> bool {
        let head = self.head.borrow();
        head.sha256.is_some() && self.stored_bytes() == head.size
    }

    pub fn stored_bytes(&self) -> u64 {
        self.records.borrow().iter().map(|record| u64::from(record.len)).sum()
    }

    /// The error that ended the storing, if any.
    pub fn trouble(&self) -> Option<String> {
        self.broken.borrow().clone()
    }

    /// Stops storing. Stored bytes can still be read.
    pub fn freeze(&self) {
        self.is_frozen.set(true);
    }

    /// Drops the digest of a complete file because a part is damaged. Once that part is downloaded, the whole file
    /// must be hashed again.
    pub fn distrust(&self) {
        self.head.borrow_mut().sha256 = None;
        self.note(self.write_head());
    }

    /// `true` if the stored bytes belong to a file with this size and version. Unless both versions are known, the
    /// bytes count only if a commit or a digest identifies the file (`is_named`).
    pub fn is_of(&self, size: u64, version: Option<&str>, is_named: bool) -> bool {
        let known = self.head.borrow();
        let is_same = match (known.version.as_deref(), version) {
            (Some(known), Some(version)) => known == version,
            _ => is_named,
        };
        known.size == size && is_same
    }

    /// Starts anew, for a file with this size and version.
    pub fn begin(&self, size: u64, version: Option<String>) {
        self.head.replace(Head { size, version, ..Head::default() });
        self.records.replace(vec![Record::default(); size.div_ceil(SLAB_BYTES) as usize]);
        let cleared = self.data.0.truncate(0.0).and_then(|()| self.journal.0.truncate(0.0)).map_err(|error| reason(&error));
        self.note(cleared.and_then(|()| self.write_head()));
    }

    /// `true` if `len` bytes of a slab are stored, according to the journal.
    pub fn has(&self, index: usize, len: u32) -> bool {
        self.records.borrow().get(index).is_some_and(|record| record.len == len)
    }

    /// Puts the stored bytes of a slab after the first `before` bytes of `to`, and returns `true` if there are any.
    /// If their digest is wrong, they are dropped. Existing memory of `to` is reused without clearing it.
    pub fn read_slab(&self, index: usize, to: &mut Vec<u8>, before: usize) -> bool {
        let record = self.records.borrow().get(index).copied().unwrap_or_default();
        to.resize(before + record.len as usize, 0);
        let into = &mut to[before..];
        if self.data.read(SLAB_BYTES * index as u64, into).is_some() && checksum(into) == record.xxh3 {
            return record.len > 0;
        }
        to.truncate(before);
        if let Some(record) = self.records.borrow_mut().get_mut(index) {
            *record = Record::default();
        }
        false
    }

    /// Stores the bytes of a slab; does nothing after a write has failed.
    pub fn keep(&self, index: usize, bytes: &[u8]) {
        if bytes.is_empty() || self.is_frozen.get() || self.broken.borrow().is_some() {
            return;
        }
        let record = Record { len: bytes.len() as u32, xxh3: checksum(bytes) };
        let written = self.data.write(SLAB_BYTES * index as u64, bytes).and_then(|()| self.write_record(index, &record));
        if written.is_ok() {
            self.records.borrow_mut()[index] = record;
        }
        self.note(written);
    }

    /// Marks the file as complete, with its digest.
    pub fn finish(&self, sha256: String) {
        if self.is_frozen.get() {
            return;
        }
        self.head.borrow_mut().sha256 = Some(sha256);
        if self.broken.borrow().is_none() {
            let flushed = self.data.0.flush().map_err(|error| reason(&error));
            self.note(flushed.and_then(|()| self.write_head()));
        }
    }

    /// Drops the stored bytes, because they are wrong.
    pub fn clear(&self) {
        self.head.borrow_mut().sha256 = None;
        self.records.borrow_mut().fill(Record::default());
        // If this fails, too, the digests will not match.
        let _ = self.journal.0.truncate(0.0).and_then(|()| self.data.0.truncate(0.0));
    }

    fn write_head(&self) -> Result<(), String> {
        let mut json = serde_json::to_vec(&*self.head.borrow()).map_err(|error| error.to_string())?;
        json.resize(HEAD_BYTES as usize, b' ');
        self.journal.write(0, &json)
    }

    fn write_record(&self, index: usize, record: &Record) -> Result<(), String> {
        let mut bytes = [0; RECORD_BYTES as usize];
        bytes[..4].copy_from_slice(&record.len.to_le_bytes());
        bytes[8..].copy_from_slice(&record.xxh3.to_le_bytes());
        self.journal.write(HEAD_BYTES + RECORD_BYTES * index as u64, &bytes)
    }

    fn note(&self, written: Result<(), String>) {
        if let Err(why) = written {
            self.broken.borrow_mut().get_or_insert(why);
        }
    }
}

/// Not inlined, because a browser runs new code slowly and optimises small functions long before large ones.
#[inline(never)]
fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

pub(super) fn head_of(journal: &[u8]) -> Head {
    let head = journal.get(..HEAD_BYTES as usize).and_then(|head| serde_json::from_slice(head).ok());
    // The size from a damaged head must not decide how much memory is allocated.
    head.filter(|head: &Head| head.size < MAX_FILE_BYTES).unwrap_or_default()
}

/// The journal's records of all slabs of a file of `size` bytes. An invalid record counts as empty.
pub(super) fn records_of(journal: &[u8], size: u64) -> Vec<Record> {
    let n = size.div_ceil(SLAB_BYTES) as usize;
    let record = |index: usize| {
        let begin = HEAD_BYTES as usize + RECORD_BYTES as usize * index;
        let bytes = journal.get(begin..begin + RECORD_BYTES as usize)?;
        let len = u32::from_le_bytes(bytes[..4].try_into().ok()?);
        let fits = u64::from(len) <= SLAB_BYTES.min(size.saturating_sub(SLAB_BYTES * index as u64));
        fits.then_some(Record { len, xxh3: u64::from_le_bytes(bytes[8..].try_into().ok()?) })
    };
    (0..n).map(|index| record(index).unwrap_or_default()).collect()
}
