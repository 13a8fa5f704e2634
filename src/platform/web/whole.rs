//! A file from a server without ranges, or next to the page: one stream, restarted after an interruption.

use std::cell::Cell;

use js_sys::Uint8Array;
use web_sys::{ReadableStreamDefaultReader, Response};

use super::http::{Remote, Trouble, reader_of};
use super::js;
use crate::platform::PlatformError;

/// A file that arrives as one stream.
#[derive(Default)]
pub struct Whole {
    reader: Option<ReadableStreamDefaultReader>,
    /// The position of the next byte of `rest` or of the reader.
    at: u64,
    /// The part of a chunk that was not needed yet.
    rest: Option<Uint8Array>,
}

impl Whole {
    pub(super) fn of(remote: &Remote, response: &Response) -> Result<Self, PlatformError> {
        let header = |name| response.headers().get(name).ok().flatten();
        // For a compressed answer the header gives the compressed length, not the file's.
        let length = header("content-length").filter(|_| header("content-encoding").is_none()).and_then(|text| text.parse().ok());
        remote.agree(length, None)?;
        Ok(Self { reader: Some(reader_of(remote, response)?), ..Self::default() })
    }

    /// Cancels the stream, which is not needed after all.
    pub(super) fn leave(&mut self) {
        if let Some(reader) = self.reader.take() {
            js::forget(reader.cancel());
        }
    }

    /// Reads to the end, for servers that do not give the length; at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn to_end(&mut self, remote: &Remote, limit: u64) -> Result<Vec<Uint8Array>, PlatformError> {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        loop {
            match self.next(remote).await {
                Ok(Some(chunk)) => {
                    bytes += u64::from(chunk.length());
                    chunks.push(chunk);
                    if bytes > limit {
                        self.leave();
                        return Err(PlatformError::TooLarge { name: remote.name.clone(), got: bytes, limit });
                    }
                }
                Ok(None) => break,
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing { why, .. }) => return Err(PlatformError::Cut { name: remote.name.clone(), why }),
            }
        }
        remote.set_size(bytes);
        Ok(chunks)
    }

    async fn next(&mut self, remote: &Remote) -> Result<Option<Uint8Array>, Trouble> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        let Some(reader) = &self.reader else { return Ok(None) };
        remote.chunk(reader).await
    }

    /// Makes one attempt to fill the rest of a slab. After an interruption the stream restarts, and the known bytes
    /// are skipped.
    pub(super) async fn fill(&mut self, remote: &Remote, start: u64, into: &Uint8Array, got: &Cell<u32>) -> Result<(), Trouble> {
        let wanted = start + u64::from(got.get());
        if self.reader.is_none() || self.at > wanted {
            let response = remote.send(None).await?.ok_or_else(|| remote.changed("it is gone"))?;
            *self = Self::of(remote, &response)?;
        }
        while got.get() < into.length() {
            let chunk = match self.next(remote).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    self.reader = None;
                    return Err(Trouble::Passing { why: "the connection was cut".into(), wait_ms: None });
                }
                Err(trouble) => {
                    self.leave();
                    return Err(trouble);
                }
            };
            self.take_from(&chunk, start, into, got);
        }
        Ok(())
    }

    fn take_from(&mut self, chunk: &Uint8Array, start: u64, into: &Uint8Array, got: &Cell<u32>) {
        let wanted = start + u64::from(got.get());
        let skipped = (wanted - self.at).min(u64::from(chunk.length())) as u32;
        let taken = (chunk.length() - skipped).min(into.length() - got.get());
        into.set(&chunk.subarray(skipped, skipped + taken), got.get());
        got.set(got.get() + taken);
        self.at += u64::from(skipped + taken);
        if skipped + taken < chunk.length() {
            self.rest = Some(chunk.subarray(skipped + taken, chunk.length()));
        }
    }
}
