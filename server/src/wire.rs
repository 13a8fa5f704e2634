//! A connection that reports the bytes that have left this program.
//!
//! hyper takes pieces of a body, writes them, and flushes the connection once its buffer is empty. So a flush after a
//! piece was taken means that the operating system has the piece.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::channel::Channel;
use hyper::body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::Failure;

/// The state of one connection.
#[derive(Clone, Default)]
pub struct Wire(Arc<State>);

struct State {
    /// Bytes of bodies that hyper has taken, and one for the head of each answer.
    taken: AtomicU64,
    /// The number of them that have left; `None` once the connection is closed.
    left: watch::Sender<Option<u64>>,
    resets: AtomicBool,
}

impl Default for State {
    fn default() -> Self {
        Self { taken: AtomicU64::new(0), left: watch::Sender::new(Some(0)), resets: AtomicBool::new(false) }
    }
}

/// The connection was closed.
pub struct Closed;

impl Wire {
    pub fn taken(&self) -> u64 {
        self.0.taken.load(Ordering::SeqCst)
    }

    /// Waits until the first `n` taken bytes have left.
    pub async fn left(&self, n: u64) -> Result<(), Closed> {
        let mut left = self.0.left.subscribe();
        match left.wait_for(|left| left.is_none_or(|left| left >= n)).await {
            Ok(left) if left.is_some() => Ok(()),
            _ => Err(Closed),
        }
    }

    /// Waits until the connection is closed.
    pub async fn closed(&self) {
        let _ = self.left(u64::MAX).await;
    }

    /// Ends the connection with a reset, which may lose bytes that were already sent.
    pub fn reset(&self) {
        self.0.resets.store(true, Ordering::SeqCst);
    }

    fn take(&self, n: u64) {
        self.0.taken.fetch_add(n, Ordering::SeqCst);
    }
}

/// A body whose pieces are counted when they are taken.
pub struct Counted {
    pieces: Channel<Bytes, Failure>,
    wire: Wire,
    has_begun: bool,
}

impl Counted {
    pub fn new(pieces: Channel<Bytes, Failure>, wire: Wire) -> Self {
        Self { pieces, wire, has_begun: false }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if !self.has_begun {
            self.has_begun = true;
            self.wire.take(1);
        }
        let frame = ready!(Pin::new(&mut self.pieces).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.wire.take(data.len() as u64);
        }
        Poll::Ready(frame)
    }
}

/// A connection that reports its events to its [`Wire`].
pub struct Observed {
    stream: TcpStream,
    wire: Wire,
}

impl Observed {
    pub fn new(stream: TcpStream, wire: Wire) -> Self {
        Self { stream, wire }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if self.wire.0.resets.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
        self.wire.0.left.send_replace(None);
    }
}

impl AsyncRead for Observed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let taken = self.wire.taken();
        self.wire.0.left.send_if_modified(|left| left.replace(taken) != Some(taken));
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
