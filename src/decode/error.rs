//! Errors of a decode plan that could not be created or failed.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum DecodeError {
    /// Not a failure of the model, which decodes with plain tensor operations instead.
    #[error("the decode plan does not cover {what}")]
    Unsupported { what: String },
    #[error("{name} cannot be bound: {why}")]
    Buffer { name: &'static str, why: String },
    #[error("the GPU's answer could not be read: {why}")]
    Read { why: String },
    #[error("the next token's scores became NaN or infinite")]
    NonFinite,
}
