//! A checkpoint's tensors, wanted and arrived, under the names that the checkpoint gives them.

pub mod dtype;
pub mod error;
pub mod safetensors;

pub use error::WeightsError;
