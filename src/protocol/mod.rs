//! The messages that cross the boundary between the page and the engine's worker. The command prints them, too.
//!
//! The page sends an [`Envelope`] and gets [`Event`]s with the same `id`. The last event is [`Event::Done`],
//! [`Event::Stopped`] or [`Event::Failed`]. One request runs at a time; [`Request::Stop`] ends it within one token. A
//! stopped [`Request::Generate`] still reports the text written so far, and ends with [`Event::Done`].

#[cfg(any(feature = "ui", feature = "worker", feature = "boundary"))]
pub mod boundary;
#[cfg(any(test, feature = "boundary"))]
pub mod samples;

mod check;
mod event;
mod export;
mod request;

pub use check::*;
pub use event::*;
pub use export::*;
pub use request::*;

/// The version, raised when a message changes its meaning; page and worker refuse to talk across versions.
///
/// Messages carry their kind outside (`{"load": {...}}`, `"done"`), which serde reads without an intermediate copy.
pub const PROTOCOL_VERSION: u32 = 10;
