//! Errors in a checkpoint's files.

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::dtype::Dtype;

/// The reason why a checkpoint cannot be loaded. Sizes and positions are in bytes.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum WeightsError {
    // Files.
    #[error("there is no file {name}")]
    MissingFile { name: String },
    #[error("{file} ends after {got} of {expected} bytes")]
    Truncated { file: String, expected: u64, got: u64 },

    // The safetensors header as a whole.
    #[error("the file has {got} bytes, but its header requires {expected}")]
    TooShort { expected: u64, got: u64 },
    #[error("the file has {got} bytes, but its header describes only {expected}")]
    TooLong { expected: u64, got: u64 },
    #[error("the header claims {got} bytes; at most {max} are allowed")]
    HeaderTooLong { got: u64, max: u64 },
    #[error("the header starts with byte {got:#04x} where '{{' is expected: not a safetensors file")]
    HeaderStart { got: u8 },
    #[error("the header is not UTF-8 from its byte {position}")]
    HeaderUtf8 { position: usize },
    #[error("the header cannot be read: {source}")]
    HeaderJson {
        #[serde(serialize_with = "in_words")]
        source: serde_json::Error,
    },
    #[error("the header lists {got} tensors; at most {max} are allowed")]
    TooManyTensors { got: usize, max: usize },
    #[error("a name in the header has {got} bytes, more than the {max} that are allowed")]
    NameTooLong { got: usize, max: usize },
    #[error("the header lists {name} twice")]
    DuplicateName { name: String },

    // One entry of the header.
    #[error("unknown dtype {got:?} of tensor {name}")]
    UnknownDtype { name: String, got: String },
    #[error("tensor {name} has {got} dimensions; at most {max} are allowed")]
    TooManyDims { name: String, got: usize, max: usize },
    #[error("the shape {shape:?} of tensor {name} is too large")]
    ShapeOverflow { name: String, shape: Vec<u64> },
    #[error("{bits} bits are not a whole number of bytes, in tensor {name}")]
    PartialByte { name: String, bits: u64 },
    #[error("the data ends at {end}, before its begin at {begin}, in tensor {name}")]
    ReversedOffsets { name: String, begin: u64, end: u64 },
    #[error("the data ends at {end}, beyond any file, in tensor {name}")]
    OffsetOverflow { name: String, end: u64 },
    #[error("shape and dtype make {expected} bytes, the offsets {got}, in tensor {name}")]
    Size { name: String, expected: u64, got: u64 },
    #[error("the data begins at {got}, inside the tensor before it, which ends at {expected}: tensor {name}")]
    Overlap { name: String, expected: u64, got: u64 },
    #[error("the data begins at {got}, leaving a hole after {expected}: tensor {name}")]
    Hole { name: String, expected: u64, got: u64 },

    // The index of a sharded checkpoint.
    #[error("the index is too large: {got} bytes, more than the {max} that are allowed")]
    IndexTooLong { got: usize, max: usize },
    #[error("the index cannot be read: {source}")]
    IndexJson {
        #[serde(serialize_with = "in_words")]
        source: serde_json::Error,
    },
    #[error("the index lists no tensors")]
    EmptyIndex,
    #[error("the index names {file:?}, which is not the plain name of a safetensors file, for tensor {name}")]
    ShardName { name: String, file: String },

    #[error("the index says that tensor {name} is in {file}, but it is not there")]
    NotInShard { name: String, file: String },
    #[error("tensor {name} is both in {file} and in {other}, and the index does not say which of them counts")]
    InTwoShards { name: String, file: String, other: String },

    // The tensors that the model asks for.
    #[error("there is no tensor {name}{}", listed(.others))]
    MissingTensor {
        name: String,
        /// Some names that there are.
        #[serde(skip_serializing_if = "String::is_empty")]
        others: String,
    },
    #[error("the file has no values for tensor {name}: it was saved by one of several processes that shared it (ZeRO-3)")]
    Empty { name: String },
    #[error("tensor {name} is of a quantised checkpoint")]
    Quantised { name: String },
    #[error("tensor {name} is of an adapter beside the weights that it changes: merge it into the model first (merge_and_unload in PEFT)")]
    Adapter { name: String },
    #[error("shape {got:?} where the configuration says {expected:?}, in tensor {name}")]
    Shape { name: String, expected: Vec<usize>, got: Vec<usize> },
    #[error("weights of type {dtype} cannot be used, in tensor {name}")]
    UnsupportedDtype { name: String, dtype: Dtype },
    #[error("value {index} is NaN or infinite, in tensor {name}")]
    NonFinite { name: String, index: usize },
}

impl WeightsError {
    pub fn missing_tensor(name: &str) -> Self {
        Self::MissingTensor { name: name.into(), others: String::new() }
    }
}

fn listed(others: &str) -> String {
    if others.is_empty() { String::new() } else { format!("; there are {others}") }
}

fn in_words<S: Serializer>(source: &serde_json::Error, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(source)
}
