//! Reads a file from front to back, from a disk, or from the Hub during its download.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::hub::{Download, Expected};
use crate::platform::PlatformError;

const NOT_A_FILE: &str = "it is a folder, a pipe or a device, not a file";

#[derive(Debug)]
pub struct ByteStream {
    len: u64,
    /// Bytes returned so far.
    at: u64,
    /// The bytes read last, and how many of them were returned.
    piece: Vec<u8>,
    taken: usize,
    from: From,
    /// The known facts about a file of the Hub, and its destination.
    expected: Option<Expected>,
}

#[derive(Debug)]
enum From {
    Disk { name: String, file: File },
    Hub(Download),
}

impl ByteStream {
    /// Opens a file on a disk; `None` if it does not exist.
    pub(super) fn on_disk(path: &Path) -> Result<Option<Self>, PlatformError> {
        let failed = |error: std::io::Error| PlatformError::Read { name: path.display().to_string(), why: error.to_string() };
        // Opening a pipe would wait for a writer, so that this is asked before.
        match std::fs::metadata(path)
            .and_then(|about| if about.is_file() { File::open(path) } else { Err(std::io::Error::other(NOT_A_FILE)) })
        {
            Ok(file) => {
                let len = file.metadata().map_err(failed)?.len();
                Ok(Some(Self::new(len, From::Disk { name: path.display().to_string(), file })))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// A file whose bytes, or some of them, must still arrive.
    pub(super) fn of_download(download: Download) -> Self {
        Self::new(download.len(), From::Hub(download))
    }

    fn new(len: u64, from: From) -> Self {
        Self { len, at: 0, piece: Vec::new(), taken: 0, from, expected: None }
    }

    /// Sets the facts that [`Self::finish`] compares the file with.
    #[must_use]
    pub(super) fn expecting(mut self, expected: Expected) -> Self {
        self.expected = Some(expected);
        self
    }

    /// Length of the whole file, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `n` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn read(&mut self, n: usize) -> Result<Vec<u8>, PlatformError> {
        Ok(self.next(n).await?.to_vec())
    }

    /// The next bytes without a copy: `n` of them, or fewer at the end of the file.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::read`].
    pub async fn next(&mut self, n: usize) -> Result<&[u8], PlatformError> {
        if let From::Disk { name, file } = &mut self.from {
            self.piece.clear();
            self.taken = 0;
            let read = file.take(n as u64).read_to_end(&mut self.piece);
            read.map_err(|error| PlatformError::Read { name: name.clone(), why: error.to_string() })?;
        }
        while !self.wait(n).await? {}
        let begin = self.taken;
        self.taken += n.min(self.at_hand());
        self.at += (self.taken - begin) as u64;
        Ok(&self.piece[begin..self.taken])
    }

    /// Bytes that have arrived, returned or not.
    pub fn arrived(&self) -> u64 {
        self.at + self.at_hand() as u64
    }

    pub fn waiting_for(&self) -> Option<String> {
        None
    }

    pub fn known_sha256(&self) -> Option<String> {
        None
    }

    /// Waits a moment for the bytes that [`Self::next`] would return. Returns `false` if they have not arrived yet. A
    /// disk needs no wait.
    ///
    /// # Errors
    ///
    /// [`PlatformError`]. The bytes received so far are in the cache, and a later call continues from there.
    pub async fn wait(&mut self, n: usize) -> Result<bool, PlatformError> {
        let From::Hub(download) = &mut self.from else { return Ok(true) };
        let is_there = |at_hand: usize, at: u64| at_hand >= n || at + at_hand as u64 >= self.len;
        if !is_there(self.piece.len() - self.taken, self.at) {
            self.piece.drain(..std::mem::take(&mut self.taken));
            self.piece.extend_from_slice(download.read()?);
        }
        Ok(is_there(self.piece.len() - self.taken, self.at))
    }

    fn at_hand(&self) -> usize {
        self.piece.len() - self.taken
    }

    /// Ends the reading of the file, whose SHA-256 is given (64 hex digits), and moves a file of the Hub into the
    /// cache. Returns `true` if the catalogue or the Hub has the same digest, `false` if neither has one, as for the
    /// visitor's own files.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Corrupt`] or [`PlatformError::Altered`] if the digests differ, and [`PlatformError::Cache`].
    pub fn finish(&self, sha256: &str) -> Result<bool, PlatformError> {
        self.expected.as_ref().map_or(Ok(false), |expected| expected.finish(sha256))
    }
}
