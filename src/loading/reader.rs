//! Reads one file of weights from front to back, whatever is done with its bytes: a model is loaded, or copied with
//! changes.

use sha2::{Digest, Sha256};

use super::error::LoadingError;
use super::shard::Shard;
use crate::job::control::Control;
use crate::platform::{ByteStream, Files, PlatformError};
use crate::terms::{FileProof, Message, hex};
use crate::weights::WeightsError;

/// The most bytes that are read and hashed between two checks of the stop flag.
pub const PIECE_BYTES: u64 = 4 << 20;

/// One pass over all files of a model, and its progress.
pub struct Pass<'a> {
    pub control: &'a Control,
    pub doing: Message,
    /// Bytes of the files before the current one; `total` counts all files.
    pub before: u64,
    pub total: u64,
}

/// A file of weights that is being read, and the digest of its bytes so far.
pub struct Reader<'a> {
    files: &'a Files,
    pub shard: &'a Shard,
    /// `None` only while the file is opened again.
    stream: Option<ByteStream>,
    /// The digest of a file whose every slab a browser's store compares with a digest of its own.
    known: Option<String>,
    hasher: Option<Sha256>,
    /// Bytes that were returned.
    at: u64,
    is_second: bool,
}

impl<'a> Reader<'a> {
    async fn open(files: &'a Files, shard: &'a Shard, is_second: bool) -> Result<Self, LoadingError> {
        let stream = files.open(&shard.name).await?.ok_or_else(|| missing(shard))?;
        let known = stream.known_sha256();
        let hasher = known.is_none().then(Sha256::new);
        Ok(Self { files, shard, stream: Some(stream), known, hasher, at: 0, is_second })
    }

    fn stream(&mut self) -> Result<&mut ByteStream, LoadingError> {
        Ok(self.stream.as_mut().ok_or_else(|| missing(self.shard))?)
    }

    /// Ends the reading. Returns the file as it was read, and `true` if all of it is in the store.
    ///
    /// # Errors
    ///
    /// A digest that is not the published one.
    pub fn finish(mut self) -> Result<(FileProof, bool), LoadingError> {
        let hashed = self.hasher.take().map(|hasher| hex(&hasher.finalize()));
        let sha256 = self.known.take().or(hashed).unwrap_or_default();
        let (files, shard) = (self.files, self.shard);
        let stream = self.stream()?;
        let verified = stream.finish(&sha256)?;
        let is_kept = files.is_kept(stream);
        Ok((FileProof { name: shard.name.clone(), size: shard.len, sha256, verified }, is_kept))
    }
}

fn missing(shard: &Shard) -> WeightsError {
    WeightsError::MissingFile { name: shard.name.clone() }
}

impl Pass<'_> {
    /// Opens a file, and reads up to its tensors' data.
    ///
    /// # Errors
    ///
    /// A file that is missing, or whose header is not the one that was read before.
    pub async fn open<'a>(&self, files: &'a Files, shard: &'a Shard) -> Result<Reader<'a>, LoadingError> {
        let mut reader = Reader::open(files, shard, false).await?;
        // The bytes before the data were read earlier and decide the tensors' places, so they must be the same now.
        let mut left = shard.begin.as_slice();
        while !left.is_empty() {
            let piece = self.next(&mut reader, left.len() as u64).await?;
            left = left.strip_prefix(piece).ok_or_else(|| {
                let why = "its header is not the one from before".into();
                PlatformError::Changed { name: shard.name.clone(), why }
            })?;
        }
        Ok(reader)
    }

    /// The next bytes of a file: `n` of them, or fewer, in whole values. While waiting, reports progress and obeys a
    /// stop.
    ///
    /// # Errors
    ///
    /// An error of the source, a file that ends early, or a stop.
    pub async fn next<'s>(&self, reader: &'s mut Reader<'_>, n: u64) -> Result<&'s [u8], LoadingError> {
        let n = n.min(PIECE_BYTES) as usize;
        while !self.wait(reader, n).await? {}
        let (shard, got) = (reader.shard, reader.at);
        let Reader { stream, hasher, at, .. } = reader;
        let piece = stream.as_mut().ok_or_else(|| missing(shard))?.next(n).await?;
        if piece.is_empty() {
            return Err(WeightsError::Truncated { file: shard.name.clone(), expected: shard.len, got }.into());
        }
        if let Some(hasher) = hasher {
            hasher.update(piece);
        }
        *at += piece.len() as u64;
        Ok(piece)
    }

    /// Waits a moment for the next `n` bytes, and returns `true` once they are there.
    async fn wait(&self, reader: &mut Reader<'_>, n: usize) -> Result<bool, LoadingError> {
        let is_there = match reader.stream()?.wait(n).await {
            Err(PlatformError::Damaged { .. }) if !reader.is_second => {
                self.again(reader).await?;
                return Ok(false);
            }
            waited => waited?,
        };
        let stream = reader.stream()?;
        let (waiting_for, arrived) = (stream.waiting_for(), stream.arrived());
        let doing = match waiting_for {
            Some(why) => Message::new("waiting_for_file").with("file", reader.shard.name.as_str()).with("why", why),
            None => self.doing.clone(),
        };
        self.control.progress(doing, (self.before + arrived) as f64, self.total as f64, "bytes");
        self.control.checkpoint().await?;
        Ok(is_there)
    }

    /// Opens a file again because a part of it in the browser's store is damaged, and reads up to the same byte. On this
    /// attempt the part is downloaded, and the whole file is hashed.
    async fn again(&self, reader: &mut Reader<'_>) -> Result<(), LoadingError> {
        let at = reader.at;
        // The store lends a file to one reader at a time.
        reader.stream = None;
        *reader = Reader::open(reader.files, reader.shard, true).await?;
        while reader.at < at {
            let left = at - reader.at;
            Box::pin(self.next(reader, left)).await?;
        }
        Ok(())
    }
}
