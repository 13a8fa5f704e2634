//! A file during its download: the part from an earlier download, then the Hub's bytes, which are appended to it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write, sink};
use std::path::Path;
use std::rc::Rc;

use ureq::BodyReader;

use super::client::{Client, Remote};
use crate::platform::PlatformError;

/// The most bytes that are read at once.
const SLAB_BYTES: usize = 1 << 20;

pub struct Download {
    client: Rc<Client>,
    commit: String,
    name: String,
    len: u64,
    /// The part on disk: it is read up to `kept`, then written to.
    part: File,
    /// Bytes from an earlier download.
    kept: u64,
    /// Bytes read.
    at: u64,
    /// The Hub's answer, after the first request.
    body: Option<BodyReader<'static>>,
    slab: Vec<u8>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {} of {}", self.name, self.at, self.len)
    }
}

impl Download {
    /// Opens the part on disk, or starts a new one. A part that does not start with `begin`, the bytes already known,
    /// belongs to another file and is replaced.
    pub fn open(
        client: Rc<Client>,
        commit: &str,
        name: &str,
        remote: &Remote,
        (part, begin): (&Path, &[u8]),
    ) -> Result<Self, PlatformError> {
        let failed = |error| PlatformError::cache(part, &error);
        if let Some(blobs) = part.parent() {
            fs::create_dir_all(blobs).map_err(failed)?;
        }
        let file = OpenOptions::new().create(true).read(true).append(true).open(part).map_err(failed)?;
        let mut kept = file.metadata().map_err(failed)?.len();
        let mut first = Vec::new();
        File::open(part).and_then(|file| file.take(begin.len() as u64).read_to_end(&mut first)).map_err(failed)?;
        if kept > remote.bytes || !begin.starts_with(&first) {
            file.set_len(0).map_err(failed)?;
            kept = 0;
        }
        let (commit, name, slab) = (commit.into(), name.into(), vec![0; SLAB_BYTES]);
        Ok(Self { client, commit, name, len: remote.bytes, part: file, kept, at: 0, body: None, slab })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// The next bytes that are available; empty at the end of the file.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Cut`], and the errors of requests to the Hub and of writing to the disk.
    pub fn read(&mut self) -> Result<&[u8], PlatformError> {
        let (is_kept, end) = if self.at < self.kept { (true, self.kept) } else { (false, self.len) };
        let most = usize::try_from(end - self.at).unwrap_or(SLAB_BYTES).min(SLAB_BYTES);
        if most == 0 {
            return Ok(&[]);
        }
        if !is_kept && self.body.is_none() {
            self.body = Some(self.ask()?);
        }
        let slab = &mut self.slab[..most];
        let read = match &mut self.body {
            Some(body) => body.read(slab),
            None => self.part.read(slab),
        };
        let n = match read {
            Ok(0) => return Err(self.cut("the connection was closed")),
            Ok(n) => n,
            Err(error) => return Err(self.cut(&error.to_string())),
        };
        if !is_kept {
            self.part
                .write_all(&self.slab[..n])
                .map_err(|error| PlatformError::Cache { what: self.name.clone(), why: error.to_string() })?;
        }
        self.at += n as u64;
        Ok(&self.slab[..n])
    }

    /// Requests the rest of the file. If the server sends the whole file again, the known beginning is skipped.
    fn ask(&self) -> Result<BodyReader<'static>, PlatformError> {
        let (first, mut body) = self.client.get(&self.commit, &self.name, self.at, None)?;
        let skipped = std::io::copy(&mut body.by_ref().take(self.at - first), &mut sink());
        match skipped {
            Ok(n) if n == self.at - first => Ok(body),
            Ok(_) => Err(self.cut("the server sent less than before")),
            Err(error) => Err(self.cut(&error.to_string())),
        }
    }

    fn cut(&self, why: &str) -> PlatformError {
        let (at, len) = (self.at, self.len);
        PlatformError::Cut { name: self.name.clone(), why: format!("after {at} of {len} bytes, {why}") }
    }
}
