//! Reads a checkpoint's headers, before any of its weights is downloaded.

use std::collections::BTreeSet;

use burn::tensor::Device;

use super::error::LoadingError;
use super::sink::{bytes_of, bytes_per_value};
use crate::model::config::ModelConfig;
use crate::model::families;
use crate::model::weights::Weights;
use crate::platform::{Files, GpuHandles, GpuHealth};
use crate::tensors::{self, CHUNK_UNIT, DeviceError};
use crate::weights::WeightsError;
use crate::weights::safetensors::{Dtype, Header, INDEX_FILE, SINGLE_FILE, TensorEntry, header_len, parse_header, parse_index};

/// The destination of a checkpoint's weights.
#[derive(Debug, Clone)]
pub struct Onto {
    pub device: Device,
    /// Handles for sending bytes to the GPU as they arrive. Without them, each tensor is first held on the host as a
    /// whole.
    pub gpu: Option<GpuHandles>,
    /// The GPU's health, checked while weights are loaded.
    pub health: Option<GpuHealth>,
    /// The most bytes of one tensor; `None` on the CPU.
    pub largest_buffer: Option<u64>,
}

impl Onto {
    /// A destination without a limit on the size of a tensor.
    pub fn new(device: &Device, gpu: Option<GpuHandles>) -> Self {
        Self { device: device.clone(), gpu, health: None, largest_buffer: tensors::largest_buffer(device) }
    }
}

/// A checkpoint whose headers have been read and fit the configuration.
#[derive(Debug)]
pub struct Checkpoint {
    pub(super) shards: Vec<Shard>,
    pub(super) plan: Weights,
}

/// A file of weights.
#[derive(Debug)]
pub(super) struct Shard {
    pub name: String,
    pub header: Header,
    /// The bytes before the tensors' data.
    pub begin: Vec<u8>,
    pub len: u64,
    to_fetch: u64,
}

impl Checkpoint {
    /// Reads the headers of all files.
    ///
    /// # Errors
    ///
    /// Any error in the headers, found without reading further.
    pub async fn inspect(files: &Files, config: &ModelConfig, onto: &Onto) -> Result<Self, LoadingError> {
        let found = Found::in_files(files).await?;
        let mut shards = Vec::new();
        for name in &found.files {
            match Shard::read(files, name).await {
                Ok(shard) => shards.push(shard),
                Err(LoadingError::Weights(fault)) => {
                    files.suspect(name).await?;
                    return Err(fault.into());
                }
                Err(error) => return Err(error),
            }
        }
        let in_headers = || shards.iter().flat_map(|shard| shard.header.tensors.keys().cloned()).collect();
        let mut plan = Weights::plan(&onto.device, found.names.unwrap_or_else(in_headers));
        plan.largest_buffer = onto.largest_buffer;
        families::build(config, &mut plan)?;
        shards.iter().try_for_each(|shard| check_header(&shard.header, &plan))?;
        Ok(Self { shards, plan })
    }

    /// Checks that every wanted tensor fits into a buffer of the device, tables in chunks.
    ///
    /// # Errors
    ///
    /// [`DeviceError::GpuTooSmall`].
    pub fn check_sizes(&self) -> Result<(), DeviceError> {
        let (needed, Some(limit)) = (self.largest_bytes(), self.plan.largest_buffer) else { return Ok(()) };
        if needed > limit { Err(DeviceError::GpuTooSmall { needed, limit }) } else { Ok(()) }
    }

    /// Bytes of the largest piece that must fit into one buffer.
    pub fn largest_bytes(&self) -> u64 {
        let device = self.plan.device();
        let bytes = |entry: &TensorEntry| {
            let (bytes, rows) = (bytes_of(entry, device), entry.shape.first().copied().unwrap_or(1).max(1));
            let of_chunk = self.plan.chunk_rows(&entry.name, bytes_per_value(entry, device));
            // A table is measured by its chunks, which have at least `CHUNK_UNIT` rows.
            of_chunk.map_or(bytes, |of_chunk| bytes / rows as u64 * of_chunk.max(CHUNK_UNIT) as u64)
        };
        self.wanted().map(bytes).max().unwrap_or(0)
    }

    /// Bytes that all wanted tensors take on the device.
    pub fn weight_bytes(&self) -> u64 {
        self.wanted().map(|entry| bytes_of(entry, self.plan.device())).sum()
    }

    pub fn num_parameters(&self) -> u64 {
        self.wanted().map(|entry| entry.shape.iter().map(|size| *size as u64).product::<u64>()).sum()
    }

    /// Bytes of the files of weights.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    /// Bytes of the files that must still be downloaded.
    pub fn to_fetch(&self) -> u64 {
        self.shards.iter().map(|shard| shard.to_fetch).sum()
    }

    fn wanted(&self) -> impl Iterator<Item = &TensorEntry> {
        let entries = self.shards.iter().flat_map(|shard| shard.header.tensors.values());
        entries.filter(|entry| self.plan.wanted.contains_key(&entry.name))
    }
}

/// The files that hold the weights, and for a sharded checkpoint the names of its tensors.
struct Found {
    files: Vec<String>,
    names: Option<BTreeSet<String>>,
}

impl Found {
    async fn in_files(files: &Files) -> Result<Self, LoadingError> {
        // As in transformers, the single file has precedence.
        let is_sharded = !files.contains(SINGLE_FILE).await?;
        if is_sharded && let Some(index) = files.read(INDEX_FILE).await? {
            let map = parse_index(&index)?;
            let shards = map.values().cloned().collect::<BTreeSet<_>>();
            return Ok(Self { files: shards.into_iter().collect(), names: Some(map.into_keys().collect()) });
        }
        Ok(Self { files: vec![SINGLE_FILE.into()], names: None })
    }
}

impl Shard {
    async fn read(files: &Files, name: &str) -> Result<Self, LoadingError> {
        let missing = || WeightsError::MissingFile { name: name.into() };
        let prefix = files.peek(name, 8).await?.ok_or_else(missing)?;
        let truncated = |expected: u64| WeightsError::Truncated { file: name.into(), expected, got: prefix.len };
        let length: [u8; 8] = prefix.bytes.as_slice().try_into().map_err(|_short| truncated(8))?;
        let data_begin = 8 + header_len(&length, prefix.len)?;
        let n = usize::try_from(data_begin).map_err(|_overflow| truncated(data_begin))?;
        let begin = files.peek(name, n).await?.ok_or_else(missing)?;
        let header = begin.bytes.get(8..n).ok_or_else(|| truncated(data_begin))?;
        let header = parse_header(header, prefix.len)?;
        let mut bytes = begin.bytes;
        bytes.truncate(n);
        Ok(Self { name: name.into(), header, begin: bytes, len: prefix.len, to_fetch: begin.to_fetch })
    }
}

/// Checks that every wanted tensor in this file has the shape that the configuration implies, and a type that can be
/// widened to f32.
fn check_header(header: &Header, plan: &Weights) -> Result<(), WeightsError> {
    for (name, entry) in &header.tensors {
        let Some(expected) = plan.wanted.get(name) else { continue };
        if entry.shape != *expected {
            return Err(WeightsError::Shape { name: name.clone(), expected: expected.clone(), got: entry.shape.clone() });
        }
        if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(WeightsError::UnsupportedDtype { name: name.clone(), dtype: entry.dtype });
        }
    }
    Ok(())
}
