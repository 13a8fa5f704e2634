//! Loads a model's weights to a device in one pass over their bytes.
//!
//! A file is streamed from front to back and passed on piece by piece, so that with a GPU the host never holds more
//! than a few slabs, whatever the size of a tensor. Every byte is hashed on the way, unless a browser's store already
//! compares each slab with its own digest; the model's revision comes from the files' digests. On a GPU bf16 matrices
//! stay bf16 ([`crate::tensors::Weight`]), 2 bytes a parameter, for every use. Everything else becomes f32, exactly.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::checkpoint::{Checkpoint, Onto};
use super::error::LoadingError;
use super::largest::{Largest, Place};
use super::reader::{Pass, Reader};
use super::shard::Shard;
use super::sink::{Sink, bytes_of, bytes_per_value};
use crate::job::control::Control;
use crate::model::config::ModelConfig;
use crate::model::edit::{N_LARGEST_HARSH, PAPER_SHARE};
use crate::model::weights::{Arrived, Given, Stored, Weights};
use crate::model::{Model, families};
use crate::platform::{self, Files};
use crate::tensors::DeviceError;
use crate::terms::{FileProof, Message, hex, revision_of};
use crate::weights::safetensors::{Dtype, TensorEntry};

/// Bytes passed to a GPU before the host waits for it, because nothing else slows down a faster host.
const UNSETTLED_BYTES: u64 = 256 << 20;
/// Scalars kept in addition to those needed, because controls leave out candidates. There are always fewer
/// candidates.
const SPARE: usize = 24;

/// A loaded model, and the facts gathered while its weights streamed by.
#[derive(Debug)]
pub struct LoadedWeights {
    pub model: Model,
    pub num_parameters: u64,
    /// Bytes on the device.
    pub weight_bytes: u64,
    /// Sentences about the checkpoint for the reader.
    pub notes: Vec<String>,
    /// The model's revision, as [`crate::terms::ModelRef`] defines it.
    pub revision: String,
    /// The scalars of largest magnitude in the layers' matrices, largest first.
    pub largest: Vec<Place>,
    /// The scalars of largest magnitude in each of the checkpoint's tensors: a share of
    /// [`crate::model::edit::TENSOR_SHARE`] of it, so none of a small tensor.
    pub largest_by_tensor: Vec<Place>,
    /// Name, size and digest of each file.
    pub files: Vec<FileProof>,
    /// `true` if all of the files are in the store.
    pub stored: bool,
    /// On the CPU, the tensors under the names of the checkpoint, with their shapes; they share their values with the
    /// model.
    pub tensors: BTreeMap<String, (Vec<usize>, Given)>,
}

/// Reads a checkpoint's headers, and loads it.
///
/// # Errors
///
/// The errors of [`Checkpoint::inspect`], [`Checkpoint::check_sizes`] and [`load_checkpoint`].
pub async fn load_weights(files: &Files, config: &ModelConfig, onto: &Onto, control: &Control) -> Result<LoadedWeights, LoadingError> {
    let checkpoint = Checkpoint::inspect(files, config, onto).await?;
    checkpoint.check_sizes()?;
    load_checkpoint(files, config, checkpoint, onto, control).await
}

/// Loads the weights that `config` requires.
///
/// # Errors
///
/// An error in the files' bytes, or in their source.
pub async fn load_checkpoint(
    files: &Files,
    config: &ModelConfig,
    checkpoint: Checkpoint,
    onto: &Onto,
    control: &Control,
) -> Result<LoadedWeights, LoadingError> {
    let mut weight_bytes = checkpoint.weight_bytes();
    let mut num_parameters = checkpoint.num_parameters();
    let Checkpoint { shards, plan, mut notes } = checkpoint;
    let limit = N_LARGEST_HARSH.max((num_parameters as f64 * PAPER_SHARE).round() as usize) + SPARE;
    let total = shards.iter().map(|shard| shard.len).sum();
    let mut reading = Reading {
        plan: &plan,
        onto,
        tensors: BTreeMap::new(),
        largest: Largest::up_to(limit),
        tied: BTreeMap::new(),
        unsettled: 0,
        pass: Pass { control, doing: "loading_weights".into(), before: 0, total },
    };
    let (mut proofs, mut stored) = (Vec::new(), true);
    for (index, shard) in shards.iter().enumerate() {
        if shards.len() > 1 {
            reading.pass.doing = Message::new("loading_file").with("index", index + 1).with("of", shards.len());
        }
        let (proof, is_kept) = match reading.read(files, shard).await {
            Err(LoadingError::Weights(fault)) => {
                files.suspect(&shard.name).await?;
                return Err(fault.into());
            }
            read => read?,
        };
        stored &= is_kept;
        proofs.push(proof);
    }
    let Reading { mut tensors, largest, tied, .. } = reading;
    if let Some(repeated) = repeated_head(&plan, &tied, &mut notes) {
        tensors.remove(&repeated.name);
        num_parameters -= repeated.num_parameters;
        weight_bytes -= repeated.weight_bytes;
    }
    let mut weights = plan.with_tensors(tensors);
    let model = families::build(config, &mut weights)?;
    let revision = revision_of(proofs.iter().map(|file| file.sha256.as_str()));
    let [largest, largest_by_tensor] =
        <[Vec<Place>; 2]>::from(largest.into_places()).map(|places| places.into_iter().map(|place| weights.place(place)).collect());
    let is_on_cpu = onto.largest_buffer.is_none();
    let given = std::mem::take(&mut weights.given).into_iter().filter(|_| is_on_cpu);
    let tensors = given.filter_map(|(name, given)| Some((name.clone(), (weights.wanted.get(&name)?.clone(), given)))).collect();
    Ok(LoadedWeights { model, num_parameters, weight_bytes, notes, revision, largest, largest_by_tensor, files: proofs, stored, tensors })
}

/// A table as it was read.
#[derive(Debug)]
struct OfTable {
    name: String,
    dtype: Dtype,
    sha256: String,
    num_parameters: u64,
    weight_bytes: u64,
}

/// The head of a model that ties it to its embeddings, if the checkpoint repeats the same values. Other values are noted.
fn repeated_head<'a>(plan: &Weights, tables: &'a BTreeMap<String, OfTable>, notes: &mut Vec<String>) -> Option<&'a OfTable> {
    let [embeddings, head] = plan.tied.as_ref()?;
    let (of_embeddings, of_head) = (tables.get(embeddings)?, tables.get(head)?);
    if (of_embeddings.dtype, &of_embeddings.sha256) == (of_head.dtype, &of_head.sha256) {
        return Some(of_head);
    }
    notes.push(format!(
        "config.json ties the head to the embeddings, but the checkpoint has a {head} with other values than {embeddings}: it is used, as \
         in transformers 5."
    ));
    None
}

/// The state of one pass over the files.
struct Reading<'a> {
    plan: &'a Weights,
    onto: &'a Onto,
    tensors: BTreeMap<String, Arrived>,
    largest: Largest,
    /// The embeddings and the head of a model that ties them, if both are there: to compare them.
    tied: BTreeMap<String, OfTable>,
    /// Bytes that the GPU may not have received yet.
    unsettled: u64,
    pass: Pass<'a>,
}

impl Reading<'_> {
    /// Reads a file to its end. Returns it as it was read, and `true` if all of it is in the store.
    async fn read(&mut self, files: &Files, shard: &Shard) -> Result<(FileProof, bool), LoadingError> {
        let mut reader = self.pass.open(files, shard).await?;
        let mut entries = shard.header.tensors.values().collect::<Vec<_>>();
        // Tensors are read in the order of their bytes; the parser has checked that there are no gaps.
        entries.sort_by_key(|entry| entry.begin);
        for entry in entries {
            self.read_tensor(entry, &mut reader).await?;
        }
        self.pass.before += shard.len;
        self.settle(u64::MAX).await?;
        reader.finish()
    }

    async fn read_tensor(&mut self, entry: &TensorEntry, reader: &mut Reader<'_>) -> Result<(), LoadingError> {
        let shard = reader.shard;
        let gpu = self.onto.gpu.as_ref();
        let is_wanted = shard.has_wanted(self.plan, &entry.name);
        let is_tied = is_wanted && self.plan.tied.as_ref().is_some_and(|tied| tied.contains(&entry.name));
        let mut of_table = is_tied.then(Sha256::new);
        let chunk_rows = self.plan.chunk_rows(&entry.name, bytes_per_value(entry, &self.onto.device));
        let mut sink = is_wanted.then(|| Sink::new(entry, chunk_rows, &self.onto.device, gpu));
        let place = self.plan.stored.get(&entry.name).and_then(Stored::first).filter(|_| is_wanted);
        if place.is_some() {
            self.largest.begin_tensor(entry.shape.iter().product());
        }
        let mut left = entry.end - entry.begin;
        while left > 0 {
            let piece = self.pass.next(reader, left).await?;
            let n = piece.len() as u64;
            if let Some(hasher) = &mut of_table {
                hasher.update(piece);
            }
            if let Some(sink) = &mut sink {
                sink.push(piece, place, &mut self.largest)?;
                self.settle(n).await?;
            }
            left -= n;
        }
        if let Some(hasher) = of_table {
            let (sha256, num_parameters) = (hex(&hasher.finalize()), entry.shape.iter().map(|size| *size as u64).product());
            let name = entry.name.clone();
            let table = OfTable { name, dtype: entry.dtype, sha256, num_parameters, weight_bytes: bytes_of(entry, &self.onto.device) };
            self.tied.insert(entry.name.clone(), table);
        }
        if let Some(sink) = sink {
            self.tensors.insert(entry.name.clone(), sink.finish());
        }
        Ok(())
    }

    /// Waits until the GPU has received its data, once at least [`UNSETTLED_BYTES`] are under way.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Gpu`] once it has failed: nothing more is downloaded for it.
    async fn settle(&mut self, bytes: u64) -> Result<(), LoadingError> {
        self.unsettled = self.unsettled.saturating_add(bytes);
        if let (Some(gpu), true) = (&self.onto.gpu, self.unsettled >= UNSETTLED_BYTES) {
            platform::settle(gpu).await;
            self.unsettled = 0;
        }
        Ok(DeviceError::check_health(self.onto.health.as_ref())?)
    }
}
