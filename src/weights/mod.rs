//! The files of a checkpoint: the headers of safetensors files, the index of a sharded checkpoint, and what can be wrong with them.

pub mod error;
pub mod safetensors;

pub use error::WeightsError;
