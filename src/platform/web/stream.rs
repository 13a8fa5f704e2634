//! Reads a file from front to back, from the store as far as it is stored, otherwise from the network, a few slabs
//! ahead of its reader.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::Uint8Array;

use super::http::Remote;
use super::js::{Task, within};
use super::stored_file::{SLAB_BYTES, StoredFile};
use super::whole::Whole;
use crate::platform::PlatformError;

/// Slabs under way at the same time, so that the network is busy while one is processed.
const AHEAD: usize = 3;
/// Milliseconds that a reader waits before it checks again if it should go on.
const PATIENCE_MS: u32 = 100;

/// Bytes of the widest value in a file, and of the unit in which a GPU's memory is written.
const ALIGNMENT: usize = 8;

/// The way in which a server delivers a file.
#[derive(Clone)]
pub enum Serving {
    Ranges,
    Whole(Rc<RefCell<Whole>>),
}

/// A slab under way, and the number of its bytes that have arrived.
struct Coming {
    slab: Task<Result<Uint8Array, PlatformError>>,
    got: Rc<Cell<u32>>,
}

pub struct ByteStream {
    remote: Rc<Remote>,
    stored: Option<Rc<StoredFile>>,
    serving: Serving,
    len: u64,
    /// SHA-256 of the whole file according to the catalogue or the server, 64 hex digits.
    expected: Option<String>,
    /// Bytes returned so far.
    at: u64,
    /// Chunks from the network that were not returned yet: a byte is copied into the wasm once.
    ready: VecDeque<Uint8Array>,
    /// The slab read last from the store, and how many of its bytes were returned. All slabs use the same memory.
    stored_slab: (Vec<u8>, usize),
    pending: usize,
    /// Memory for joining bytes from several chunks.
    scratch: Vec<u8>,
    coming: VecDeque<Coming>,
    next_slab: usize,
    notes: Rc<RefCell<Vec<String>>>,
}

impl std::fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} of {}", self.remote.name, self.at, self.len)
    }
}

impl Drop for ByteStream {
    fn drop(&mut self) {
        self.remote.abort();
    }
}

impl ByteStream {
    pub(super) fn new(
        remote: Rc<Remote>,
        stored: Option<Rc<StoredFile>>,
        serving: Serving,
        len: u64,
        expected: Option<String>,
        notes: Rc<RefCell<Vec<String>>>,
    ) -> Self {
        Self {
            remote,
            stored,
            serving,
            len,
            expected,
            at: 0,
            ready: VecDeque::new(),
            stored_slab: (Vec::new(), 0),
            pending: 0,
            scratch: Vec::new(),
            coming: VecDeque::new(),
            next_slab: 0,
            notes,
        }
    }

    /// A stream of a file whose bytes are all here.
    pub(super) fn of_chunks(remote: Rc<Remote>, chunks: Vec<Uint8Array>, notes: Rc<RefCell<Vec<String>>>) -> Self {
        let pending = chunks.iter().map(|chunk| chunk.length() as usize).sum::<usize>();
        let len = pending as u64;
        let mut stream = Self::new(remote, None, Serving::Ranges, len, None, notes);
        (stream.ready, stream.pending, stream.next_slab) = (chunks.into(), pending, usize::MAX);
        stream
    }

    /// Length of the whole file, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the file that must still be downloaded.
    pub fn to_fetch(&self) -> u64 {
        self.len - self.stored.as_ref().map_or(0, |stored| stored.stored_bytes()).min(self.len)
    }

    /// Bytes that have arrived, returned or not.
    pub fn arrived(&self) -> u64 {
        self.at + self.pending as u64 + self.coming.iter().map(|coming| u64::from(coming.got.get())).sum::<u64>()
    }

    /// The reason for the current wait, for people, if there is one.
    pub fn waiting_for(&self) -> Option<String> {
        self.remote.waiting.borrow().clone()
    }

    /// SHA-256 of the whole file, if all of it is stored; each of its slabs is then compared with its own digest.
    pub fn known_sha256(&self) -> Option<String> {
        self.stored.as_ref().filter(|stored| stored.is_complete())?.head().sha256
    }

    /// Waits a moment for the bytes that [`Self::next`] would return. Returns `false` if they have not arrived yet.
    ///
    /// # Errors
    ///
    /// [`PlatformError`]. The bytes received so far are stored, if there is a store.
    pub async fn wait(&mut self, n: usize) -> Result<bool, PlatformError> {
        loop {
            if self.pending >= n || self.in_store_slab() >= ALIGNMENT {
                return Ok(true);
            }
            if self.take_stored()? {
                continue;
            }
            self.ask_ahead(AHEAD);
            let Some(first) = self.coming.front_mut() else { return Ok(true) };
            let Some(slab) = within(PATIENCE_MS, &mut first.slab).await else { return Ok(false) };
            self.coming.pop_front();
            self.take(slab?);
        }
    }

    /// The next `n` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::wait`].
    pub async fn read(&mut self, n: usize) -> Result<Vec<u8>, PlatformError> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes, n).await?;
        Ok(bytes)
    }

    /// The next bytes, if possible without a copy: `n` of them, or fewer if the available bytes end earlier, and then
    /// a multiple of [`ALIGNMENT`]. Empty only at the end of the file.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::wait`].
    pub async fn next(&mut self, n: usize) -> Result<&[u8], PlatformError> {
        while !self.wait(n).await? {}
        let here = self.in_store_slab();
        if here < ALIGNMENT {
            let mut scratch = std::mem::take(&mut self.scratch);
            self.read_into(&mut scratch, n).await?;
            self.scratch = scratch;
            return Ok(&self.scratch);
        }
        let n = if here < n { here / ALIGNMENT * ALIGNMENT } else { n };
        let begin = self.stored_slab.1;
        self.stored_slab.1 += n;
        self.pending -= n;
        self.at += n as u64;
        Ok(&self.stored_slab.0[begin..begin + n])
    }

    /// Bytes of the store's slab that were not returned yet.
    fn in_store_slab(&self) -> usize {
        self.stored_slab.0.len() - self.stored_slab.1
    }

    async fn read_into(&mut self, bytes: &mut Vec<u8>, n: usize) -> Result<(), PlatformError> {
        while self.pending < n {
            if !self.take_stored()? {
                self.ask_ahead(AHEAD);
                let Some(first) = self.coming.pop_front() else { break };
                self.take(first.slab.await?);
            }
        }
        // The memory is cleared once, not for every piece.
        bytes.resize(n.min(self.pending), 0);
        let (slab, at) = &mut self.stored_slab;
        let mut filled = bytes.len().min(slab.len() - *at);
        bytes[..filled].copy_from_slice(&slab[*at..*at + filled]);
        *at += filled;
        while filled < bytes.len() {
            let Some(chunk) = self.ready.pop_front() else { break };
            let taken = (chunk.length() as usize).min(bytes.len() - filled);
            chunk.subarray(0, taken as u32).copy_to(&mut bytes[filled..filled + taken]);
            if taken < chunk.length() as usize {
                self.ready.push_front(chunk.subarray(taken as u32, chunk.length()));
            }
            filled += taken;
        }
        self.pending -= bytes.len();
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// The first `n` bytes, before anything is read, without downloading the rest.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::wait`].
    pub(super) async fn peek(&mut self, n: usize) -> Result<Vec<u8>, PlatformError> {
        let n = n.min(usize::try_from(self.len).unwrap_or(usize::MAX));
        let is_stored = self.stored.as_ref().is_some_and(|stored| stored.stored_bytes() > 0);
        if matches!(self.serving, Serving::Ranges) && !is_stored && self.next_slab == 0 {
            let bytes = Uint8Array::new_with_length(n as u32);
            self.remote.range(0, &bytes, &Cell::new(0)).await?;
            return Ok(bytes.to_vec());
        }
        while self.pending < n {
            if self.take_stored()? {
                continue;
            }
            self.ask_ahead(1);
            let Some(first) = self.coming.pop_front() else { break };
            self.take(first.slab.await?);
        }
        let (slab, at) = &self.stored_slab;
        let mut bytes = slab[*at..].iter().copied().take(n).collect::<Vec<_>>();
        for chunk in &self.ready {
            let wanted = (n - bytes.len()).min(chunk.length() as usize);
            bytes.extend_from_slice(&chunk.subarray(0, wanted as u32).to_vec());
        }
        Ok(bytes)
    }

    /// Ends the reading of the file, whose SHA-256 is given (64 hex digits). Returns `true` if the catalogue or the
    /// server has the same digest, `false` if neither has one.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Corrupt`] if the digests differ; the stored bytes are then dropped.
    pub fn finish(&self, sha256: &str) -> Result<bool, PlatformError> {
        let verified = match &self.expected {
            Some(expected) if expected != sha256 => {
                self.stored.iter().for_each(|stored| stored.clear());
                let (expected, got) = (expected.clone(), sha256.to_string());
                return Err(PlatformError::Corrupt { name: self.remote.name.clone(), expected, got });
            }
            expected => expected.is_some(),
        };
        if let Some(stored) = &self.stored {
            if !stored.is_complete() {
                stored.finish(sha256.into());
            }
            if let Some(why) = stored.trouble() {
                // An incomplete file would only take space from one that can be completed.
                stored.clear();
                self.notes.borrow_mut().push(format!("{} could not be kept in this browser's storage: {why}", self.remote.name));
            }
        }
        Ok(verified)
    }

    /// Stores nothing more of the file.
    pub(super) fn freeze(&self) {
        self.stored.iter().for_each(|stored| stored.freeze());
    }

    pub(super) fn is_stored(&self) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.trouble().is_none() && stored.is_complete())
    }

    fn take(&mut self, slab: Uint8Array) {
        self.pending += slab.length() as usize;
        self.ready.push_back(slab);
    }

    /// Takes the next slab from the store, if it is complete and no other bytes come first.
    fn take_stored(&mut self) -> Result<bool, PlatformError> {
        let is_next = self.ready.is_empty() && self.coming.is_empty();
        let Some(stored) = self.stored.as_ref().filter(|_| is_next) else { return Ok(false) };
        let start = SLAB_BYTES * self.next_slab as u64;
        let size = SLAB_BYTES.min(self.len.saturating_sub(start)) as u32;
        if size == 0 || !stored.has(self.next_slab, size) {
            return Ok(false);
        }
        let is_known = stored.is_complete();
        let (slabs, at) = &mut self.stored_slab;
        let kept = slabs.len() - *at;
        slabs.copy_within(std::mem::take(at).., 0);
        let is_there = stored.read_slab(self.next_slab, slabs, kept);
        self.pending = slabs.len();
        self.next_slab += usize::from(is_there);
        if is_known && !is_there {
            // The digest of the whole file was trusted, so the replacement of this slab would never be compared with
            // it.
            stored.distrust();
            return Err(PlatformError::Damaged { name: self.remote.name.clone() });
        }
        Ok(is_there)
    }

    fn ask_ahead(&mut self, n: usize) {
        let n = if matches!(self.serving, Serving::Whole(_)) { 1 } else { n };
        let n_slabs = usize::try_from(self.len.div_ceil(SLAB_BYTES)).unwrap_or(usize::MAX);
        while self.coming.len() < n && self.next_slab < n_slabs {
            let got = Rc::new(Cell::new(0));
            let (remote, stored, serving) = (self.remote.clone(), self.stored.clone(), self.serving.clone());
            let slab = Task::spawn(slab(remote, stored, serving, (self.next_slab, self.len), got.clone()));
            self.coming.push_back(Coming { slab, got });
            self.next_slab += 1;
        }
    }
}

/// Gets one slab of a file of `len` bytes, from the store as far as it is stored, otherwise from the network.
/// Downloaded bytes are stored even if the slab is incomplete.
async fn slab(
    remote: Rc<Remote>,
    stored: Option<Rc<StoredFile>>,
    serving: Serving,
    (index, len): (usize, u64),
    got: Rc<Cell<u32>>,
) -> Result<Uint8Array, PlatformError> {
    let start = SLAB_BYTES * index as u64;
    let size = SLAB_BYTES.min(len - start) as u32;
    let bytes = Uint8Array::new_with_length(size);
    let mut known = Vec::new();
    if let Some(stored) = &stored {
        stored.read_slab(index, &mut known, 0);
        bytes.subarray(0, known.len() as u32).copy_from(&known);
    }
    let known = known.len() as u32;
    got.set(known);
    let fetched = match &serving {
        Serving::Ranges => remote.range(start, &bytes, &got).await,
        Serving::Whole(whole) => remote.next_of(whole, start, &bytes, &got).await,
    };
    if let Some(stored) = stored.filter(|_| got.get() > known) {
        stored.keep(index, &bytes.subarray(0, got.get()).to_vec());
    }
    fetched.map(|()| bytes)
}
