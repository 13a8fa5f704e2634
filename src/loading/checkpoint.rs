//! Reads a checkpoint's headers, before any of its weights is downloaded.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Device;

use super::error::LoadingError;
use super::names::Names;
pub use super::shard::Shard;
use super::sink::{bytes_of, bytes_per_value};
use super::unread;
use crate::model::config::ModelConfig;
use crate::model::families;
use crate::model::weights::Weights;
use crate::platform::{Files, GpuHandles, GpuHealth};
use crate::tensors::{self, CHUNK_UNIT, DeviceError};
use crate::weights::safetensors::{INDEX_FILE, SINGLE_FILE, TensorEntry, parse_index};

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
    /// The files of weights, in the order of their names.
    pub shards: Vec<Shard>,
    /// The tensors that the configuration requires, and their places.
    pub plan: Weights,
    /// Sentences about the checkpoint for the reader.
    pub notes: Vec<String>,
}

impl Checkpoint {
    /// Reads the headers of all files.
    ///
    /// # Errors
    ///
    /// Any error in the headers, found without reading further.
    pub async fn inspect(files: &Files, config: &ModelConfig, onto: &Onto) -> Result<Self, LoadingError> {
        let found = Found::in_files(files).await?;
        let mut shards = Vec::<Shard>::new();
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
        let tables = families::tables(config);
        let names = Names::of(&shards.iter().flat_map(|shard| shard.header.tensors.keys().cloned()).collect(), tables);
        shards.iter_mut().for_each(|shard| shard.rename(&names));
        let index = found.index.iter().map(|(name, file)| (names.canonical(name).to_owned(), file.clone())).collect();
        let known = unread::counting(&mut shards, &index);
        unread::check_form(&known)?;
        let mut plan = Weights::plan(&onto.device, known.clone());
        plan.largest_buffer = onto.largest_buffer;
        families::build(config, &mut plan).map_err(|fault| unread::explained(fault, &known, &index))?;
        unread::check_places(&shards, &plan)?;
        shards.iter().try_for_each(|shard| shard.check(&plan))?;
        let notes = names.note().into_iter().chain(unread::notes(&shards, &plan)).collect();
        Ok(Self { shards, plan, notes })
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
        self.shards.iter().flat_map(|shard| shard.header.tensors.values().filter(|entry| shard.has_wanted(&self.plan, &entry.name)))
    }
}

/// The files that hold the weights, and for a sharded checkpoint the file of each tensor.
struct Found {
    files: Vec<String>,
    index: BTreeMap<String, String>,
}

impl Found {
    async fn in_files(files: &Files) -> Result<Self, LoadingError> {
        // As in transformers, the single file has precedence.
        let is_sharded = !files.contains(SINGLE_FILE).await?;
        if is_sharded && let Some(index) = files.read(INDEX_FILE).await? {
            let map = parse_index(&index)?;
            let shards = map.values().cloned().collect::<BTreeSet<_>>();
            return Ok(Self { files: shards.into_iter().collect(), index: map });
        }
        Ok(Self { files: vec![SINGLE_FILE.into()], index: BTreeMap::new() })
    }
}
