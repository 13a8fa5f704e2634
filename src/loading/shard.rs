//! One file of a checkpoint's weights: its header, and the tensors that the model takes from it.

use std::collections::{BTreeMap, BTreeSet};

use super::error::LoadingError;
use super::names::Names;
use crate::model::weights::Weights;
use crate::platform::{Files, POINTER_BYTES, check_contents};
use crate::weights::WeightsError;
use crate::weights::safetensors::{Dtype, Header, TensorEntry, header_len, parse_header};

/// A file of weights.
#[derive(Debug)]
pub struct Shard {
    pub name: String,
    pub header: Header,
    /// The bytes before the tensors' data.
    pub begin: Vec<u8>,
    pub len: u64,
    pub to_fetch: u64,
    /// Tensors that the index places in another file.
    pub superseded: BTreeSet<String>,
    /// Names in the file of the tensors that the family names otherwise.
    in_file: BTreeMap<String, String>,
}

impl Shard {
    /// Reads a file's header.
    ///
    /// # Errors
    ///
    /// A file that is missing, no safetensors file, or one whose header is wrong.
    pub async fn read(files: &Files, name: &str) -> Result<Self, LoadingError> {
        let missing = || WeightsError::MissingFile { name: name.into() };
        let prefix = files.peek(name, 8).await?.ok_or_else(missing)?;
        let truncated = |expected: u64| WeightsError::Truncated { file: name.into(), expected, got: prefix.len };
        if prefix.bytes.starts_with(b"version ") {
            let begin = files.peek(name, POINTER_BYTES).await?.ok_or_else(missing)?;
            check_contents(name, &begin.bytes)?;
        }
        let length: [u8; 8] = prefix.bytes.as_slice().try_into().map_err(|_short| truncated(8))?;
        let data_begin = 8 + header_len(&length, prefix.len)?;
        let n = usize::try_from(data_begin).map_err(|_overflow| truncated(data_begin))?;
        let begin = files.peek(name, n).await?.ok_or_else(missing)?;
        let header = begin.bytes.get(8..n).ok_or_else(|| truncated(data_begin))?;
        let header = parse_header(header, prefix.len)?;
        let mut bytes = begin.bytes;
        bytes.truncate(n);
        let (superseded, in_file) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self { name: name.into(), header, begin: bytes, len: prefix.len, to_fetch: begin.to_fetch, superseded, in_file })
    }

    /// Gives every tensor the family's name for it.
    pub fn rename(&mut self, names: &Names) {
        for entry in std::mem::take(&mut self.header.tensors).into_values() {
            let name = names.canonical(&entry.name).to_owned();
            if name != entry.name {
                self.in_file.insert(name.clone(), entry.name.clone());
            }
            self.header.tensors.insert(name.clone(), TensorEntry { name, ..entry });
        }
    }

    /// The name that a tensor has in the file.
    pub fn name_in_file<'a>(&'a self, name: &'a str) -> &'a str {
        self.in_file.get(name).map_or(name, String::as_str)
    }

    /// `true` if the model takes the tensor of this name from this file.
    pub fn has_wanted(&self, plan: &Weights, name: &str) -> bool {
        plan.wanted.contains_key(name) && !self.superseded.contains(name)
    }

    /// Checks that every wanted tensor in this file has the shape that the configuration implies, and a type that can
    /// be widened to f32.
    pub fn check(&self, plan: &Weights) -> Result<(), WeightsError> {
        for (name, entry) in &self.header.tensors {
            let Some(expected) = plan.wanted.get(name).filter(|_| self.has_wanted(plan, name)) else { continue };
            if entry.n_bytes() == 0 {
                return Err(WeightsError::Empty { name: name.clone() });
            }
            if entry.shape != *expected {
                return Err(WeightsError::Shape { name: name.clone(), expected: expected.clone(), got: entry.shape.clone() });
            }
            if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(WeightsError::UnsupportedDtype { name: name.clone(), dtype: entry.dtype });
            }
        }
        Ok(())
    }
}
