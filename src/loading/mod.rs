//! Brings the weights of a checkpoint to a device, and builds the model from them.

pub mod checkpoint;
pub mod error;
pub mod hand_over;
mod largest;
pub mod load;
mod names;
pub mod reader;
mod shard;
mod sink;
mod unread;

pub use error::LoadingError;
