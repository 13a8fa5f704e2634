//! Bodies while they are sent: cut, stalled, slow or damaged as planned, and counted.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Sender;

use crate::log::Entry;
use crate::wire::{Closed, Wire};
use crate::{Body, Failure};

/// The number of pieces per second of a slow body.
const PIECES_PER_SECOND: u64 = 20;

/// The bytes to send as a body.
pub struct Plan {
    pub n_bytes: u64,
    /// The number of zeros appended to the body.
    pub extra: u64,
    pub bytes_per_second: Option<u64>,
    /// The byte of the body whose lowest bit is flipped.
    pub flip: Option<u64>,
    pub end: End,
}

pub enum End {
    Whole,
    Cut { after: Duration, reset: bool },
    Stall,
}

impl Plan {
    pub fn whole(n_bytes: u64) -> Self {
        Self { n_bytes, extra: 0, bytes_per_second: None, flip: None, end: End::Whole }
    }
}

/// A body that is being sent.
pub struct Sending {
    out: Sender<Bytes, Failure>,
    wire: Wire,
    entry: Entry,
    /// The number of bytes that the connection has taken when every piece so far has left.
    goal: u64,
}

impl Sending {
    pub fn new(out: Sender<Bytes, Failure>, wire: Wire, entry: Entry) -> Self {
        let goal = wire.taken() + 1;
        Self { out, wire, entry, goal }
    }

    pub async fn run(mut self, body: Body, plan: Plan) {
        if self.pieces(body, &plan).await.is_err() {
            self.entry.end("client left");
            return;
        }
        match plan.end {
            End::Whole => self.entry.end("whole"),
            End::Cut { after, reset } => {
                tokio::time::sleep(after).await;
                self.entry.end("cut");
                if reset {
                    self.wire.reset();
                }
                self.out.abort("cut".into());
            }
            End::Stall => {
                self.entry.end("stalled");
                self.wire.closed().await;
            }
        }
    }

    async fn pieces(&mut self, mut body: Body, plan: &Plan) -> Result<(), Closed> {
        let pace = plan.bytes_per_second.map(|speed| usize::try_from(speed / PIECES_PER_SECOND).unwrap_or(usize::MAX).max(1));
        let mut at = 0;
        while at < plan.n_bytes {
            let Some(frame) = body.frame().await else { break };
            let Some(mut rest) = frame.ok().and_then(|frame| frame.into_data().ok()) else { return Err(Closed) };
            rest.truncate(usize::try_from(plan.n_bytes - at).unwrap_or(usize::MAX));
            if let Some(flip) = plan.flip.and_then(|flip| usize::try_from(flip.checked_sub(at)?).ok()).filter(|flip| *flip < rest.len()) {
                let mut flipped = rest.to_vec();
                flipped[flip] ^= 1;
                rest = flipped.into();
            }
            at += rest.len() as u64;
            while !rest.is_empty() {
                self.piece(rest.split_to(pace.unwrap_or(rest.len()).min(rest.len()))).await?;
                if pace.is_some() {
                    tokio::time::sleep(Duration::from_millis(1000 / PIECES_PER_SECOND)).await;
                }
            }
        }
        let extra = plan.extra.min(plan.n_bytes.saturating_sub(at));
        if extra > 0 {
            self.piece(vec![0; usize::try_from(extra).unwrap_or(0)].into()).await?;
        }
        // If the body is cut at once, its head is sent first.
        self.wire.left(self.goal).await
    }

    /// Sends a piece, and waits until it has left.
    async fn piece(&mut self, piece: Bytes) -> Result<(), Closed> {
        let n = piece.len() as u64;
        self.goal += n;
        self.out.send_data(piece).await.map_err(|_| Closed)?;
        self.wire.left(self.goal).await?;
        self.entry.now().bytes_sent += n;
        Ok(())
    }
}
