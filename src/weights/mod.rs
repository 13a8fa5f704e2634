//! A checkpoint's tensors, requested and loaded, under the checkpoint's names.

pub mod dtype;
pub mod error;
pub mod safetensors;

pub use error::WeightsError;
