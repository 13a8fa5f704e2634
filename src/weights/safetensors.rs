//! The header of a safetensors file, checked before its data is used.
//!
//! ```text
//! 8 bytes       length n of the header, little-endian
//! n bytes       JSON: {"name": {"dtype": "BF16", "shape": [256, 448], "data_offsets": [begin, end]}, ..}
//! the rest      the data; offsets count from here, and every byte belongs to exactly one tensor
//! ```
//!
//! Offsets are `u64` throughout, so that a browser (32-bit) can stream files that it could not address; the reference
//! implementation multiplies in `usize`. This parser refuses everything that the reference refuses, and also
//! duplicate names, and headers so large that reading them would exhaust the memory.

mod json;

use std::collections::BTreeMap;

use self::json::{Pairs, RawEntry, RawHeader, RawIndex};
pub use super::dtype::Dtype;
use super::error::WeightsError;

/// The file name of a checkpoint with a single file of weights.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The file of a sharded checkpoint that lists the file of each tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// Longest header read, in bytes. A checkpoint of 1,000 tensors has a header of about 100 KB.
pub const MAX_HEADER_BYTES: u64 = 25_000_000;
/// Most tensors in one file.
pub const MAX_TENSORS: usize = 100_000;
/// Longest name of a tensor, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Most dimensions of a tensor.
pub const MAX_DIMS: usize = 8;
/// Longest index of a sharded checkpoint, in bytes.
pub const MAX_INDEX_BYTES: usize = 25_000_000;

const PREFIX_BYTES: u64 = 8;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub begin: u64,
    /// One past the last byte.
    pub end: u64,
}

impl TensorEntry {
    /// Bytes in the file.
    pub fn n_bytes(&self) -> u64 {
        self.end - self.begin
    }
}

/// The contents of a file. The tensors, in the order of [`TensorEntry::begin`], cover it from `data_start` to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub tensors: BTreeMap<String, TensorEntry>,
    /// Free text from the writer of the file, under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// First byte after the header.
    pub data_start: u64,
}

/// Length of the JSON that follows the first 8 bytes of a file.
///
/// # Errors
///
/// [`WeightsError::HeaderTooLong`], or [`WeightsError::TooShort`] if the file ends before its header does.
pub fn header_len(prefix: &[u8; 8], file_len: u64) -> Result<u64, WeightsError> {
    let got = u64::from_le_bytes(*prefix);
    if got > MAX_HEADER_BYTES {
        return Err(WeightsError::HeaderTooLong { got, max: MAX_HEADER_BYTES });
    }
    let expected = PREFIX_BYTES + got;
    if expected > file_len {
        return Err(WeightsError::TooShort { expected, got: file_len });
    }
    Ok(got)
}

/// Reads the JSON of a header and checks everything that can be checked without the data.
///
/// # Errors
///
/// One of the header's variants of [`WeightsError`].
pub fn parse_header(json: &[u8], file_len: u64) -> Result<Header, WeightsError> {
    let len = json.len() as u64;
    if len > MAX_HEADER_BYTES {
        return Err(WeightsError::HeaderTooLong { got: len, max: MAX_HEADER_BYTES });
    }
    let raw = read_json(json)?;
    check_count(&raw.tensors)?;
    check_count(&raw.metadata)?;
    let metadata = unique(raw.metadata)?;
    let data_start = PREFIX_BYTES + len;
    let mut tensors = BTreeMap::new();
    for (name, entry) in raw.tensors.kept {
        let entry = check_entry(&name, entry, data_start)?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(WeightsError::DuplicateName { name });
        }
    }
    check_coverage(&tensors, data_start, file_len)?;
    Ok(Header { tensors, metadata, data_start })
}

/// Reads `model.safetensors.index.json`, which lists the file of each tensor in a sharded checkpoint.
///
/// The file names come from an untrusted source and are opened next, so only plain ones are accepted: letters,
/// digits, `-`, `_` and `.`, ending in `.safetensors`.
///
/// # Errors
///
/// One of the index's variants of [`WeightsError`].
pub fn parse_index(json: &[u8]) -> Result<BTreeMap<String, String>, WeightsError> {
    if json.len() > MAX_INDEX_BYTES {
        return Err(WeightsError::IndexTooLong { got: json.len(), max: MAX_INDEX_BYTES });
    }
    let raw: RawIndex = serde_json::from_slice(json).map_err(|source| WeightsError::IndexJson { source })?;
    check_count(&raw.weight_map)?;
    let map = unique(raw.weight_map)?;
    if let Some((name, file)) = map.iter().find(|(_, file)| !is_plain_shard_name(file)) {
        return Err(WeightsError::ShardName { name: name.clone(), file: start_of(file) });
    }
    if map.is_empty() {
        return Err(WeightsError::EmptyIndex);
    }
    Ok(map)
}

fn is_plain_shard_name(file: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    file.len() <= 255 && file.ends_with(".safetensors") && !file.starts_with('.') && !file.contains("..") && file.chars().all(is_plain)
}

fn read_json(json: &[u8]) -> Result<RawHeader, WeightsError> {
    match json.first() {
        Some(b'{') => {}
        Some(&got) => return Err(WeightsError::HeaderStart { got }),
        None => return Err(WeightsError::TooShort { expected: PREFIX_BYTES + 2, got: PREFIX_BYTES }),
    }
    // UTF-8 is checked in the whole header, because the JSON reader does not check strings that it skips.
    let text = std::str::from_utf8(json).map_err(|error| WeightsError::HeaderUtf8 { position: error.valid_up_to() })?;
    serde_json::from_str(text).map_err(|source| WeightsError::HeaderJson { source })
}

fn check_count<T>(pairs: &Pairs<T>) -> Result<(), WeightsError> {
    if pairs.n > MAX_TENSORS {
        return Err(WeightsError::TooManyTensors { got: pairs.n, max: MAX_TENSORS });
    }
    match pairs.kept.iter().map(|(name, _)| name.len()).find(|len| *len > MAX_NAME_BYTES) {
        Some(got) => Err(WeightsError::NameTooLong { got, max: MAX_NAME_BYTES }),
        None => Ok(()),
    }
}

fn unique<T>(pairs: Pairs<T>) -> Result<BTreeMap<String, T>, WeightsError> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs.kept {
        if map.insert(name.clone(), value).is_some() {
            return Err(WeightsError::DuplicateName { name });
        }
    }
    Ok(map)
}

/// Checks that the header's facts about one tensor are consistent, and makes its offsets count from the file's start.
fn check_entry(name: &str, raw: RawEntry, data_start: u64) -> Result<TensorEntry, WeightsError> {
    let name = || name.to_owned();
    let dtype = Dtype::from_name(&raw.dtype).ok_or_else(|| WeightsError::UnknownDtype { name: name(), got: start_of(&raw.dtype) })?;
    if raw.shape.n > MAX_DIMS {
        return Err(WeightsError::TooManyDims { name: name(), got: raw.shape.n, max: MAX_DIMS });
    }
    let (begin, end) = raw.data_offsets;
    let got = end.checked_sub(begin).ok_or_else(|| WeightsError::ReversedOffsets { name: name(), begin, end })?;
    let dims = raw.shape.kept;
    let overflow = || WeightsError::ShapeOverflow { name: name(), shape: dims.clone() };
    let n_elements = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim)).ok_or_else(overflow)?;
    let bits = n_elements.checked_mul(dtype.size_bits()).ok_or_else(overflow)?;
    if bits % 8 != 0 {
        return Err(WeightsError::PartialByte { name: name(), bits });
    }
    if bits / 8 != got {
        return Err(WeightsError::Size { name: name(), expected: bits / 8, got });
    }
    let shape = dims.iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>().map_err(|_too_large| overflow())?;
    let end = end.checked_add(data_start).ok_or_else(|| WeightsError::OffsetOverflow { name: name(), end })?;
    Ok(TensorEntry { name: name(), dtype, shape, begin: begin + data_start, end })
}

/// Checks that the tensors cover the data without gaps or overlaps, up to the end of the file.
fn check_coverage(tensors: &BTreeMap<String, TensorEntry>, data_start: u64, file_len: u64) -> Result<(), WeightsError> {
    let mut in_order = tensors.values().collect::<Vec<_>>();
    in_order.sort_by_key(|entry| (entry.begin, entry.end));
    let mut expected = data_start;
    for entry in in_order {
        // Positions in errors count from the start of the data, like those in the header.
        let name = || entry.name.clone();
        let (wanted, got) = (expected - data_start, entry.begin - data_start);
        if got < wanted {
            return Err(WeightsError::Overlap { name: name(), expected: wanted, got });
        }
        if got > wanted {
            return Err(WeightsError::Hole { name: name(), expected: wanted, got });
        }
        expected = entry.end;
    }
    if expected > file_len {
        return Err(WeightsError::TooShort { expected, got: file_len });
    }
    if expected < file_len {
        return Err(WeightsError::TooLong { expected, got: file_len });
    }
    Ok(())
}

/// The first 40 characters of an untrusted text, for a message.
fn start_of(text: &str) -> String {
    text.chars().take(40).collect()
}
