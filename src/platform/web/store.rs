//! Models in the browser's own file system (OPFS): one folder a model, and for each file its bytes and a journal.
//!
//! A file is kept in slabs, in whatever order they come. Its journal is a head of JSON padded to [`HEAD_BYTES`], then a
//! record for each slab: how many of its bytes are there, and their XXH3, which is checked whenever they are read. So a
//! download goes on at the very byte where it was cut, and what a disk has damaged is fetched again. (Who could change these
//! files on purpose could change this page's program. The file's SHA-256 was checked when it came; doing so at each load
//! takes a browser three times as long as all else.)

use std::cell::RefCell;

use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use xxhash_rust::xxh3::xxh3_64;

use super::js::{self, Directory, FileHandle, SyncHandle, call, get, object, reason};
use super::scope;
use crate::platform::hub::Listing;
use crate::terms::StoredModel;

/// Bytes that are fetched, checked and written at once.
pub const SLAB_BYTES: u64 = 8 << 20;
const HEAD_BYTES: u64 = 4096;
const RECORD_BYTES: u64 = 16;
const MAX_FILE_BYTES: u64 = 1 << 42;
const MAX_JOURNAL_BYTES: f64 = 16e6;
/// The folder that holds all models.
const ROOT: &str = "linchpin-models";
/// In each model's folder: where it came from.
const ABOUT: &str = "about.json";
const JOURNAL: &str = ".journal";

/// What a model's folder says of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    pub origin: String,
    pub listing: Listing,
}

/// The head of a journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub size: u64,
    pub etag: Option<String>,
    /// Of the whole file, once it is complete.
    pub sha256: Option<String>,
    /// Whether somebody else says so, too.
    pub verified: bool,
}

/// How much of a slab is there.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    len: u32,
    xxh3: u64,
}

/// A model's folder.
pub struct Store {
    folder: Directory,
}

async fn root() -> Result<Directory, String> {
    let storage = get(&scope().navigator(), "storage");
    if get(&storage, "getDirectory").is_undefined() {
        return Err("this browser keeps no files for pages (that takes https, or localhost)".into());
    }
    let top: Directory = call(&storage, "getDirectory", &[]).await.map_err(|error| reason(&error))?.unchecked_into();
    let root = top.directory(ROOT, &create()).await.map_err(|error| reason(&error))?;
    Ok(root.unchecked_into())
}

fn create() -> JsValue {
    object(&[("create", true.into())])
}

fn at(position: u64) -> JsValue {
    object(&[("at", (position as f64).into())])
}

/// Bytes that this page may still store.
pub async fn free_bytes() -> Option<u64> {
    let storage = get(&scope().navigator(), "storage");
    let estimate = call(&storage, "estimate", &[]).await.ok()?;
    let bytes = |name| get(&estimate, name).as_f64();
    Some((bytes("quota")? - bytes("usage")?).max(0.0) as u64)
}

impl Store {
    /// # Errors
    ///
    /// Why this browser stores nothing, as a sentence.
    pub async fn open(key: &str) -> Result<Self, String> {
        let folder = root().await?.directory(key, &create()).await.map_err(|error| reason(&error))?;
        Ok(Self { folder: folder.unchecked_into() })
    }

    /// A stored model of this origin, at a commit if that is given.
    pub async fn about_any(origin: &str, commit: Option<&str>) -> Option<About> {
        let root = root().await.ok()?;
        let mut found = None;
        for key in keys(&root).await {
            let folder: Directory = root.directory(&key, &JsValue::UNDEFINED).await.ok()?.unchecked_into();
            let about = Self { folder }.about().await;
            let is_wanted =
                |about: &About| about.origin == origin && commit.is_none_or(|commit| about.listing.commit.as_deref() == Some(commit));
            found = about.filter(is_wanted).filter(|about| !about.listing.files.is_empty()).or(found);
        }
        found
    }

    pub async fn about(&self) -> Option<About> {
        serde_json::from_slice(&read_whole(&self.folder, ABOUT).await?).ok()
    }

    /// Writes down what the folder holds.
    ///
    /// # Errors
    ///
    /// Why it cannot be written, as a sentence.
    pub async fn write_about(&self, about: &About) -> Result<(), String> {
        let json = serde_json::to_vec(about).map_err(|error| error.to_string())?;
        let handle = open_handle(&self.folder, ABOUT, true).await.map_err(|error| reason(&error))?;
        let written = handle.truncate(0.0).and_then(|()| handle.write(&json, &at(0)));
        handle.close();
        written.map(drop).map_err(|error| reason(&error))
    }

    /// A file of the model, with what is there of it; a complete one can be opened by several tabs at a time.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened, as a sentence.
    pub async fn file(&self, name: &str) -> Result<StoredFile, String> {
        let failed = |error: JsValue| match js::error_name(&error).as_str() {
            "NoModificationAllowedError" => "another tab is storing this model".to_string(),
            _ => reason(&error),
        };
        if let Some(file) = self.complete(name).await {
            return Ok(file);
        }
        let journal = open_handle(&self.folder, &format!("{name}{JOURNAL}"), true).await.map_err(failed)?;
        let journal = Guard(journal);
        let data = Guard(open_handle(&self.folder, name, true).await.map_err(failed)?);
        Ok(StoredFile::read(data, journal))
    }

    async fn complete(&self, name: &str) -> Option<StoredFile> {
        let journal = Guard(open_handle(&self.folder, &format!("{name}{JOURNAL}"), false).await.ok()?);
        let data = Guard(open_handle(&self.folder, name, false).await.ok()?);
        let file = StoredFile::read(data, journal);
        file.is_complete().then_some(file)
    }

    /// Deletes a file and its journal.
    pub async fn delete(&self, name: &str) {
        // Whatever cannot be deleted is overwritten the next time.
        let _ = self.folder.remove(name, &JsValue::UNDEFINED).await;
        let _ = self.folder.remove(&format!("{name}{JOURNAL}"), &JsValue::UNDEFINED).await;
    }
}

/// Every stored model.
pub async fn list() -> Vec<StoredModel> {
    let Ok(root) = root().await else { return Vec::new() };
    let mut models = Vec::new();
    for key in keys(&root).await {
        if let Ok(folder) = root.directory(&key, &JsValue::UNDEFINED).await {
            models.push(describe(folder.unchecked_into(), key).await);
        }
    }
    models
}

async fn describe(folder: Directory, key: String) -> StoredModel {
    let about = Store { folder: folder.clone() }.about().await;
    let (mut bytes, mut total) = (0, 0);
    for name in keys(&folder).await {
        let Some(file) = name.strip_suffix(JOURNAL) else { continue };
        let Some(journal) = read_whole(&folder, &name).await else { continue };
        let head = head_of(&journal);
        bytes += records_of(&journal, head.size).iter().map(|record| u64::from(record.len)).sum::<u64>();
        total += head.size.max(about.as_ref().and_then(|about| about.listing.find(file)?.size).unwrap_or(0));
    }
    let (origin, commit) = about.map_or((key.clone(), None), |about| (about.origin, about.listing.commit));
    StoredModel { key, origin, commit, bytes, total }
}

/// Deletes a model, or all of them.
///
/// # Errors
///
/// Why it is still there, as a sentence.
pub async fn forget(key: Option<&str>) -> Result<(), String> {
    let root = root().await?;
    let wanted = match key {
        Some(key) => vec![key.to_string()],
        None => keys(&root).await,
    };
    let recursive = object(&[("recursive", true.into())]);
    for key in wanted {
        match root.remove(&key, &recursive).await {
            Err(error) if js::error_name(&error) != "NotFoundError" => return Err(reason(&error)),
            _ => {}
        }
    }
    Ok(())
}

/// The names in a folder.
async fn keys(folder: &Directory) -> Vec<String> {
    let (iterator, mut names) = (folder.keys(), Vec::new());
    while let Ok(next) = call(&iterator, "next", &[]).await {
        let Some(name) = get(&next, "value").as_string() else { break };
        names.push(name);
    }
    names
}

async fn open_handle(folder: &Directory, name: &str, writes: bool) -> Result<SyncHandle, JsValue> {
    let options = if writes { create() } else { JsValue::UNDEFINED };
    let file: FileHandle = folder.file(name, &options).await?.unchecked_into();
    let mode = if writes { JsValue::UNDEFINED } else { object(&[("mode", "read-only".into())]) };
    Ok(file.open(&mode).await?.unchecked_into())
}

async fn read_whole(folder: &Directory, name: &str) -> Option<Vec<u8>> {
    // Not through a handle, which another tab may hold.
    let file = folder.file(name, &JsValue::UNDEFINED).await.ok()?;
    let file = call(&file, "getFile", &[]).await.ok()?;
    Some(Uint8Array::new(&call(&file, "arrayBuffer", &[]).await.ok()?).to_vec())
}

/// Closes what it holds.
struct Guard(SyncHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Guard {
    /// Fills `into`, all of it or not at all.
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
    /// Why nothing more is stored.
    broken: RefCell<Option<String>>,
}

impl StoredFile {
    fn read(data: Guard, journal: Guard) -> Self {
        let size = journal.0.size().unwrap_or(0.0).min(MAX_JOURNAL_BYTES);
        let mut bytes = vec![0; size as usize];
        if journal.read(0, &mut bytes).is_none() {
            bytes.clear();
        }
        let head = head_of(&bytes);
        let records = RefCell::new(records_of(&bytes, head.size));
        Self { data, journal, head: RefCell::new(head), records, broken: RefCell::new(None) }
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

    /// Why nothing more is stored, if that is so.
    pub fn trouble(&self) -> Option<String> {
        self.broken.borrow().clone()
    }

    /// Begins, or goes on if what is there is of the same file.
    pub fn prepare(&self, size: u64, etag: Option<String>) {
        let known = self.head();
        if known.size == size && (known.etag == etag || known.etag.is_none() || etag.is_none()) {
            return;
        }
        self.head.replace(Head { size, etag, ..Head::default() });
        self.records.replace(vec![Record::default(); size.div_ceil(SLAB_BYTES) as usize]);
        let cleared = self.data.0.truncate(0.0).and_then(|()| self.journal.0.truncate(0.0)).map_err(|error| reason(&error));
        self.note(cleared.and_then(|()| self.write_head()));
    }

    /// Whether a slab of so many bytes is there, as far as the journal tells.
    pub fn has(&self, index: usize, len: u32) -> bool {
        self.records.borrow().get(index).is_some_and(|record| record.len == len)
    }

    /// Puts what is there of a slab into `into`, if it is still what was written; else nothing.
    pub fn read_slab(&self, index: usize, into: &mut Vec<u8>) {
        let record = self.records.borrow().get(index).copied().unwrap_or_default();
        // Its zeros are written once, not for every slab.
        into.resize(record.len as usize, 0);
        let is_there = self.data.read(SLAB_BYTES * index as u64, into).is_some() && checksum(into) == record.xxh3;
        if !is_there {
            into.clear();
            if let Some(record) = self.records.borrow_mut().get_mut(index) {
                *record = Record::default();
            }
        }
    }

    /// Keeps what is there of a slab; after a disk has failed, nothing.
    pub fn keep(&self, index: usize, bytes: &[u8]) {
        if bytes.is_empty() || self.broken.borrow().is_some() {
            return;
        }
        let record = Record { len: bytes.len() as u32, xxh3: checksum(bytes) };
        let written = self.data.write(SLAB_BYTES * index as u64, bytes).and_then(|()| self.write_record(index, &record));
        if written.is_ok() {
            self.records.borrow_mut()[index] = record;
        }
        self.note(written);
    }

    /// The file is complete, and this is its digest.
    pub fn finish(&self, sha256: String, verified: bool) {
        {
            let mut head = self.head.borrow_mut();
            (head.sha256, head.verified) = (Some(sha256), verified);
        }
        if self.broken.borrow().is_none() {
            let flushed = self.data.0.flush().map_err(|error| reason(&error));
            self.note(flushed.and_then(|()| self.write_head()));
        }
    }

    /// Drops what is there.
    pub fn clear(&self) {
        self.records.borrow_mut().fill(Record::default());
        // If even this fails, the digests do not fit what is there.
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
        let Err(why) = written else { return };
        if self.broken.borrow().is_none() {
            self.broken.replace(Some(why));
            // What cannot be completed would only take the place of something that can.
            self.clear();
        }
    }
}

/// A function of its own: a browser runs what is new to it slowly, and compiles small functions well long before large ones.
#[inline(never)]
fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

fn head_of(journal: &[u8]) -> Head {
    let head = journal.get(..HEAD_BYTES as usize).and_then(|head| serde_json::from_slice(head).ok());
    // A damaged one must not have memory set aside for its claims.
    head.filter(|head: &Head| head.size < MAX_FILE_BYTES).unwrap_or_default()
}

fn records_of(journal: &[u8], size: u64) -> Vec<Record> {
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
