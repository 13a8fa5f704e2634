//! A checkpoint's tensors: which are wanted, which have arrived, under the names the checkpoint gives them.

pub mod checkpoint;
pub mod error;
mod largest;
pub mod load;
pub mod safetensors;
mod sink;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Int, Tensor};

pub use error::WeightsError;

use crate::model::edit::Matrix;
use crate::model::layers::{Layout, Linear};
use crate::tensors::{self, Flat, Packed, Table, Weight};

/// A tensor that has arrived, flat.
#[derive(Debug)]
pub enum Arrived {
    F32(Tensor<1>),
    /// bf16, two values in a word.
    Bf16(Tensor<1, Int>),
    /// A table in pieces of whole rows, each flat: see [`Table::from_chunks`].
    Chunks(Vec<Arrived>),
}

impl From<Flat> for Arrived {
    fn from(flat: Flat) -> Self {
        match flat {
            Flat::F32(values) => Self::F32(values),
            Flat::Bf16(words) => Self::Bf16(words),
        }
    }
}

impl Arrived {
    /// Values in it.
    fn len(&self) -> usize {
        match self {
            Self::F32(flat) => flat.dims()[0],
            Self::Bf16(words) => 2 * words.dims()[0],
            Self::Chunks(chunks) => chunks.iter().map(Self::len).sum(),
        }
    }
}

/// Hands tensors to a family's builder by name.
///
/// The builder runs twice over the same code: first on a plan, which notes the names and shapes it asks for (and
/// returns empty stand-ins), so that a checkpoint can be checked from its header alone; then on the loaded tensors.
#[derive(Debug)]
pub struct Weights {
    device: Device,
    known: BTreeSet<String>,
    loaded: Option<BTreeMap<String, Arrived>>,
    /// Every tensor asked for, with its shape.
    pub wanted: BTreeMap<String, Vec<usize>>,
    /// Which matrix of which layer a tensor is.
    pub matrices: BTreeMap<String, (usize, Matrix)>,
    /// Which tensors are tables: one that [`Self::largest_buffer`] does not hold may arrive in chunks.
    pub tables: BTreeSet<String>,
    /// Bytes that a tensor may have; without a limit, any.
    pub largest_buffer: Option<u64>,
}

impl Weights {
    /// A plan over the names that a checkpoint has. Its tables are as large as the device can hold, unless
    /// [`Self::largest_buffer`] is set to less.
    pub fn plan(device: &Device, known: BTreeSet<String>) -> Self {
        Self {
            device: device.clone(),
            known,
            loaded: None,
            wanted: BTreeMap::new(),
            matrices: BTreeMap::new(),
            tables: BTreeSet::new(),
            largest_buffer: tensors::largest_buffer(device),
        }
    }

    /// The same plan with its tensors, flat, each checked against [`Self::wanted`] by the loader.
    #[must_use]
    pub fn with_tensors(mut self, tensors: BTreeMap<String, Arrived>) -> Self {
        self.loaded = Some(tensors);
        self
    }

    /// Rows of the chunks in which a table arrives whose values take so many bytes on the device; none if it arrives
    /// whole, as all else does. 0 if there is no room for any: see [`tensors::chunk_rows`].
    pub fn chunk_rows(&self, name: &str, bytes_per_value: usize) -> Option<usize> {
        let (limit, shape) = (self.largest_buffer?, self.wanted.get(name)?);
        let [rows, cols] = <[usize; 2]>::try_from(shape.as_slice()).ok()?;
        let of_chunk = tensors::chunk_rows(rows, cols, bytes_per_value, limit);
        (self.tables.contains(name) && of_chunk < rows).then_some(of_chunk)
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether the checkpoint has a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// A tensor `[len]`.
    ///
    /// # Errors
    ///
    /// [`WeightsError::MissingTensor`].
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, WeightsError> {
        match self.take(name, &[len])? {
            Arrived::F32(vector) => Ok(vector),
            // The loader packs matrices only, and cuts tables only.
            Arrived::Bf16(_) | Arrived::Chunks(_) => Err(WeightsError::MissingTensor { name: name.into() }),
        }
    }

    /// A tensor `[rows, cols]`.
    ///
    /// # Errors
    ///
    /// [`WeightsError::MissingTensor`].
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, WeightsError> {
        let arrived = self.take(name, &[rows, cols])?;
        self.shaped(name, arrived, rows, cols)
    }

    /// A tensor `[rows, cols]` that is no layer's matrix but a table of rows: embeddings, or the head.
    ///
    /// # Errors
    ///
    /// [`WeightsError::MissingTensor`].
    pub fn table(&mut self, name: &str, rows: usize, cols: usize) -> Result<Table, WeightsError> {
        self.tables.insert(name.into());
        match self.take(name, &[rows, cols])? {
            Arrived::Chunks(chunks) => {
                let shaped = |chunk: Arrived| {
                    let rows = chunk.len() / cols;
                    self.shaped(name, chunk, rows, cols)
                };
                Ok(Table::from_chunks(chunks.into_iter().map(shaped).collect::<Result<_, _>>()?))
            }
            whole => Ok(self.shaped(name, whole, rows, cols)?.into()),
        }
    }

    fn shaped(&self, name: &str, arrived: Arrived, rows: usize, cols: usize) -> Result<Weight, WeightsError> {
        Ok(match arrived {
            Arrived::F32(flat) if self.loaded.is_none() => Weight::F32(flat.reshape([1, 1])),
            Arrived::F32(flat) => Weight::F32(flat.reshape([rows, cols])),
            Arrived::Bf16(words) => Weight::Bf16(Packed { words: words.reshape([rows, cols / 2]) }),
            Arrived::Chunks(_) => return Err(WeightsError::MissingTensor { name: name.into() }),
        })
    }

    /// `{path}.weight`, `[out, in]` or transposed as `layout` says, and `{path}.bias`, `[out]`.
    ///
    /// # Errors
    ///
    /// [`WeightsError::MissingTensor`].
    pub fn linear(
        &mut self,
        place: (usize, Matrix),
        path: &str,
        [out, input]: [usize; 2],
        layout: Layout,
        bias: bool,
    ) -> Result<Linear, WeightsError> {
        let name = format!("{path}.weight");
        let (rows, cols) = match layout {
            Layout::OutIn => (out, input),
            Layout::InOut => (input, out),
        };
        let weight = self.matrix(&name, rows, cols)?;
        self.matrices.insert(name, place);
        let bias = if bias { Some(self.vector(&format!("{path}.bias"), out)?) } else { None };
        Ok(Linear { weight, bias, layout })
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arrived, WeightsError> {
        self.wanted.insert(name.into(), shape.into());
        let missing = || WeightsError::MissingTensor { name: name.into() };
        match &mut self.loaded {
            Some(tensors) => tensors.remove(name).ok_or_else(missing),
            None if self.known.contains(name) => Ok(Arrived::F32(Tensor::zeros([1], &Device::flex()))),
            None => Err(missing()),
        }
    }
}
