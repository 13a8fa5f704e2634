//! Reads a model's folder: configuration, tokenizer, and the weights in one pass over their bytes.
//!
//! A file is streamed front to back and converted tensor by tensor, so that the host never holds more than one tensor
//! and a slab of its bytes, and any static server will do (no range requests). Every byte is hashed on the way: the digest
//! is the model's revision. On a GPU bf16 matrices stay bf16 ([`crate::tensors::Weight`]): 2 bytes a parameter, for
//! every use there is. Everything else becomes f32, exactly.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use half::{bf16, f16};
use sha2::{Digest, Sha256};

use super::safetensors::{Dtype, Header, TensorEntry, header_len, parse_header, parse_index};
use super::{Arrived, Weights, WeightsError};
use crate::engine::control::Control;
use crate::engine::error::EngineError;
use crate::model::config::{ModelConfig, Positions};
use crate::model::edit::{Matrix, N_LARGEST_HARSH, PAPER_SHARE};
use crate::model::{Model, families};
use crate::platform::{ByteStream, Files};
use crate::tensors;
use crate::terms::hex;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";
/// Bytes read, hashed and converted between two looks at the stop flag.
const SLAB_BYTES: usize = 4 << 20;
/// More than there can be candidates among them, which the controls leave out.
const SPARE: usize = 24;

/// A model and what was learned about its weights while they streamed by.
#[derive(Debug)]
pub struct LoadedWeights {
    pub model: Model,
    pub num_parameters: u64,
    /// Bytes on the device.
    pub weight_bytes: u64,
    /// See [`crate::terms::ModelRef`].
    pub revision: String,
    /// The scalars of largest magnitude in the layers' matrices, largest first.
    pub largest: Vec<(usize, Matrix, usize)>,
}

/// Least bytes that the largest tensor takes on a device, as far as the configuration tells before any header is read:
/// those of bf16. The header says the rest.
pub fn largest_tensor_bytes(config: &ModelConfig) -> u64 {
    let heads = config.num_attention_heads * config.head_dim;
    let learned = if config.positions == Positions::Learned { config.max_position_embeddings } else { 0 };
    let rows = [config.vocab_size, config.intermediate_size, 3 * heads, learned];
    let matrices = rows.map(|rows| (rows, config.hidden_size));
    matrices.iter().map(|(rows, cols)| 2 * *rows as u64 * *cols as u64).max().unwrap_or(0)
}

/// Loads the weights that `config` asks for onto `device`.
///
/// # Errors
///
/// Whatever is wrong with the files, before the body of the file at fault is read where the header tells.
pub async fn load_weights(files: &Files, config: &ModelConfig, device: &Device, control: &Control) -> Result<LoadedWeights, EngineError> {
    let shards = Shards::find(files).await?;
    let mut reading = Reading::new(device);
    let mut plan = None;
    if let Some(names) = &shards.names {
        plan = Some(plan_for(config, device, names.clone())?);
    }
    for (index, name) in shards.files.iter().enumerate() {
        let mut stream = files.open(name).await?.ok_or_else(|| WeightsError::MissingFile { name: name.clone() })?;
        let header = reading.read_header(name, &mut stream).await?;
        let plan = match &plan {
            Some(plan) => plan,
            None => plan.insert(plan_for(config, device, header.tensors.keys().cloned().collect())?),
        };
        check_header(&header, plan)?;
        check_sizes(&header, plan, device)?;
        reading.read_body(name, &mut stream, &header, plan, (index, shards.files.len()), control).await?;
    }
    let plan = plan.ok_or_else(|| WeightsError::MissingFile { name: SINGLE_FILE.into() })?;
    reading.finish(config, plan)
}

/// Which files hold the weights, and for a sharded checkpoint which tensors there are.
struct Shards {
    files: Vec<String>,
    names: Option<BTreeSet<String>>,
}

impl Shards {
    async fn find(files: &Files) -> Result<Self, EngineError> {
        // As transformers does: the single file, where there is one.
        let is_sharded = !files.contains(SINGLE_FILE);
        if let (true, Some(index)) = (is_sharded, files.read(INDEX_FILE).await?) {
            let map = parse_index(&index)?;
            let shards = map.values().cloned().collect::<BTreeSet<_>>();
            return Ok(Self { files: shards.into_iter().collect(), names: Some(map.into_keys().collect()) });
        }
        Ok(Self { files: vec![SINGLE_FILE.into()], names: None })
    }
}

fn plan_for(config: &ModelConfig, device: &Device, names: BTreeSet<String>) -> Result<Weights, WeightsError> {
    let mut plan = Weights::plan(device, names);
    families::build(config, &mut plan)?;
    Ok(plan)
}

/// Every wanted tensor in this file has the shape that the configuration says, and a type we can widen.
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

/// Every wanted tensor fits into a buffer of the device.
fn check_sizes(header: &Header, plan: &Weights, device: &Device) -> Result<(), EngineError> {
    let Some(limit) = tensors::largest_buffer(device) else { return Ok(()) };
    let wanted = header.tensors.values().filter(|entry| plan.wanted.contains_key(&entry.name));
    let needed = wanted.map(|entry| Values::bytes_of(entry, device)).max().unwrap_or(0);
    if needed > limit { Err(EngineError::GpuTooSmall { needed, limit }) } else { Ok(()) }
}

/// The state of one pass over the files.
struct Reading {
    device: Device,
    hasher: Sha256,
    tensors: BTreeMap<String, Arrived>,
    weight_bytes: u64,
    num_parameters: u64,
    largest: Largest,
}

impl Reading {
    fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            hasher: Sha256::new(),
            tensors: BTreeMap::new(),
            weight_bytes: 0,
            num_parameters: 0,
            largest: Largest::default(),
        }
    }

    async fn read_header(&mut self, file: &str, stream: &mut ByteStream) -> Result<Header, EngineError> {
        let file_len = stream.len();
        let truncated = |expected: u64| WeightsError::Truncated { file: file.into(), expected, got: file_len };
        let prefix = stream.read(8).await?;
        let prefix: [u8; 8] = prefix.try_into().map_err(|_short: Vec<u8>| truncated(8))?;
        let n = header_len(&prefix, file_len)?;
        let n = usize::try_from(n).map_err(|_overflow| truncated(n))?;
        let json = stream.read(n).await?;
        if json.len() < n {
            return Err(truncated(8 + n as u64).into());
        }
        self.hasher.update(prefix);
        self.hasher.update(&json);
        Ok(parse_header(&json, file_len)?)
    }

    /// Reads the tensors in the order of their bytes; the parser has made sure that they leave no holes.
    async fn read_body(
        &mut self,
        file: &str,
        stream: &mut ByteStream,
        header: &Header,
        plan: &Weights,
        (index, n_files): (usize, usize),
        control: &Control,
    ) -> Result<(), EngineError> {
        let mut entries = header.tensors.values().collect::<Vec<_>>();
        entries.sort_by_key(|entry| entry.begin);
        let doing = if n_files == 1 { "loading weights".into() } else { format!("loading weights, file {} of {n_files}", index + 1) };
        for entry in entries {
            let mut values = plan.wanted.contains_key(&entry.name).then(|| Values::of(entry, &self.device));
            let (mut left, mut at) = (entry.end - entry.begin, entry.begin);
            while left > 0 {
                let want = left.min(SLAB_BYTES as u64) as usize;
                let slab = stream.read(want).await?;
                if slab.len() < want {
                    let got = at + slab.len() as u64;
                    return Err(WeightsError::Truncated { file: file.into(), expected: entry.end.max(stream.len()), got }.into());
                }
                self.hasher.update(&slab);
                if let Some(values) = &mut values {
                    values.extend(entry, &slab)?;
                }
                (left, at) = (left - want as u64, at + want as u64);
                control.progress(&doing, at as f64, stream.len() as f64, "bytes");
                control.checkpoint().await?;
            }
            if let Some(values) = values {
                self.keep(entry, values, plan);
            }
        }
        Ok(())
    }

    fn keep(&mut self, entry: &TensorEntry, values: Values, plan: &Weights) {
        if let Some((layer, matrix)) = plan.matrices.get(&entry.name) {
            let n_parameters = plan.wanted.values().map(|shape| shape.iter().product::<usize>()).sum::<usize>();
            let share = (n_parameters as f64 * PAPER_SHARE).round() as usize;
            self.largest.limit = N_LARGEST_HARSH.max(share) + SPARE;
            self.largest.look_at(*layer, *matrix, &values);
        }
        self.num_parameters += values.len() as u64;
        self.weight_bytes += values.bytes();
        self.tensors.insert(entry.name.clone(), values.into_tensor(&self.device));
    }

    fn finish(self, config: &ModelConfig, plan: Weights) -> Result<LoadedWeights, EngineError> {
        let mut weights = plan.with_tensors(self.tensors);
        let model = families::build(config, &mut weights)?;
        let revision = hex(&self.hasher.finalize()[..8]);
        let largest = self.largest.into_places().into_iter().map(|place| weights.place(place)).collect();
        Ok(LoadedWeights { model, num_parameters: self.num_parameters, weight_bytes: self.weight_bytes, revision, largest })
    }
}

/// A tensor's values as they go to the device.
enum Values {
    F32(Vec<f32>),
    /// Little-endian, as they stand in the file.
    Bf16(Vec<u8>),
}

impl Values {
    /// Room for a tensor. A packed matrix has an even number of columns, so that no word spans two rows.
    fn of(entry: &TensorEntry, device: &Device) -> Self {
        let len = entry.shape.iter().product::<usize>();
        match Self::stay_bf16(entry, device) {
            true => Self::Bf16(Vec::with_capacity(2 * len)),
            false => Self::F32(Vec::with_capacity(len)),
        }
    }

    fn stay_bf16(entry: &TensorEntry, device: &Device) -> bool {
        let is_even = matches!(entry.shape.as_slice(), [_, cols] if cols.is_multiple_of(2));
        entry.dtype == Dtype::BF16 && is_even && tensors::packs(device)
    }

    /// Bytes that a tensor will take on a device.
    fn bytes_of(entry: &TensorEntry, device: &Device) -> u64 {
        let per_value = if Self::stay_bf16(entry, device) { 2 } else { 4 };
        entry.shape.iter().fold(per_value, |bytes: u64, size| bytes.saturating_mul(*size as u64))
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(bytes) => bytes.len() / 2,
        }
    }

    /// Bytes on the device.
    fn bytes(&self) -> u64 {
        match self {
            Self::F32(values) => 4 * values.len() as u64,
            Self::Bf16(bytes) => bytes.len() as u64,
        }
    }

    /// Appends a slab of little-endian values, refusing NaN and infinities: one of them would poison every number that
    /// follows, and look like a finding.
    fn extend(&mut self, entry: &TensorEntry, slab: &[u8]) -> Result<(), WeightsError> {
        let first = self.len();
        let bad = match self {
            Self::Bf16(bytes) => {
                bytes.extend_from_slice(slab);
                let largest = magnitudes(slab).max().unwrap_or(0);
                (largest >= BF16_INFINITY).then(|| magnitudes(slab).position(|bits| bits >= BF16_INFINITY)).flatten()
            }
            Self::F32(values) => {
                match entry.dtype {
                    Dtype::BF16 => values.extend(slab.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32())),
                    Dtype::F16 => values.extend(slab.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
                    _ => values.extend(slab.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
                }
                values[first..].iter().position(|value| !value.is_finite())
            }
        };
        match bad {
            Some(index) => Err(WeightsError::NonFinite { name: entry.name.clone(), index: first + index }),
            None => Ok(()),
        }
    }

    fn into_tensor(self, device: &Device) -> Arrived {
        match self {
            Self::F32(values) => {
                let len = values.len();
                Arrived::F32(Tensor::from_data(TensorData::new(values, [len]), device))
            }
            Self::Bf16(bytes) => {
                let words = [bytes.len() / 4];
                let data = TensorData::from_bytes_vec(bytes, words, DType::I32);
                Arrived::Bf16(Tensor::<1, Int>::from_data(data, device))
            }
        }
    }
}

/// The bits of infinity in bf16, without a sign; NaNs are above.
const BF16_INFINITY: u16 = 0x7f80;

/// Bits of bf16 values without their signs: ordered as the magnitudes are.
fn magnitudes(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.as_chunks().0.iter().map(|value| u16::from_le_bytes(*value) & 0x7fff)
}

/// The scalars of largest magnitude seen so far.
#[derive(Default)]
struct Largest {
    limit: usize,
    found: Vec<(f32, (usize, Matrix, usize))>,
    /// Nothing below this can enter.
    threshold: f32,
}

impl Largest {
    fn look_at(&mut self, layer: usize, matrix: Matrix, values: &Values) {
        match values {
            Values::F32(values) => self.look_at_all(layer, matrix, values.iter().map(|value| value.abs())),
            Values::Bf16(bytes) => self.look_at_all(layer, matrix, magnitudes(bytes).map(|bits| bf16::from_bits(bits).to_f32())),
        }
    }

    fn look_at_all(&mut self, layer: usize, matrix: Matrix, magnitudes: impl Iterator<Item = f32>) {
        for (flat, magnitude) in magnitudes.enumerate() {
            if magnitude > self.threshold {
                self.found.push((magnitude, (layer, matrix, flat)));
                if self.found.len() >= 4 * self.limit {
                    self.trim();
                }
            }
        }
    }

    fn trim(&mut self) {
        self.found.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.found.truncate(self.limit);
        if let (Some((smallest, _)), true) = (self.found.last(), self.found.len() == self.limit) {
            self.threshold = *smallest;
        }
    }

    fn into_places(mut self) -> Vec<(usize, Matrix, usize)> {
        self.trim();
        self.found.into_iter().map(|(_, place)| place).collect()
    }
}
