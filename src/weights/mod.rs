//! A checkpoint's tensors: which are wanted, which have arrived, under the names the checkpoint gives them.

pub mod error;
pub mod load;
pub mod safetensors;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Int, Tensor};

pub use error::WeightsError;

use crate::model::edit::Matrix;
use crate::model::layers::{Layout, Linear};
use crate::tensors::{self, Packed, Weight};

/// A tensor that has arrived, flat.
#[derive(Debug)]
pub enum Arrived {
    F32(Tensor<1>),
    /// bf16, two values in a word.
    Bf16(Tensor<1, Int>),
}

/// Where tensors come from.
#[derive(Debug)]
enum Source {
    /// Nowhere yet.
    Plan,
    Loaded(BTreeMap<String, Arrived>),
    /// Zeros in the right shapes, as long as they fit into so many bytes.
    Zeros {
        is_bf16: bool,
        bytes_left: u64,
    },
}

/// Hands tensors to a family's builder by name.
///
/// The builder runs twice over the same code: first on a plan, which notes the names and shapes it asks for (and
/// returns empty stand-ins), so that a checkpoint can be checked from its header alone; then on the loaded tensors.
#[derive(Debug)]
pub struct Weights {
    device: Device,
    known: BTreeSet<String>,
    source: Source,
    /// Every tensor asked for, with its shape.
    pub wanted: BTreeMap<String, Vec<usize>>,
    /// Which matrix of which layer a tensor is.
    pub matrices: BTreeMap<String, (usize, Matrix)>,
}

impl Weights {
    /// A plan over the names that a checkpoint has.
    pub fn plan(device: &Device, known: BTreeSet<String>) -> Self {
        Self { device: device.clone(), known, source: Source::Plan, wanted: BTreeMap::new(), matrices: BTreeMap::new() }
    }

    /// Zeros for whatever is asked for, matrices packed where a bf16 checkpoint's would be, up to `max_bytes`.
    pub fn zeros(device: &Device, is_bf16: bool, max_bytes: u64) -> Self {
        let is_bf16 = is_bf16 && tensors::packs(device);
        Self { source: Source::Zeros { is_bf16, bytes_left: max_bytes }, ..Self::plan(device, BTreeSet::new()) }
    }

    /// The same plan with its tensors, flat, each checked against [`Self::wanted`] by the loader.
    #[must_use]
    pub fn with_tensors(mut self, tensors: BTreeMap<String, Arrived>) -> Self {
        self.source = Source::Loaded(tensors);
        self
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
            // The loader packs matrices only.
            Arrived::Bf16(_) => Err(WeightsError::MissingTensor { name: name.into() }),
        }
    }

    /// A tensor `[rows, cols]`.
    ///
    /// # Errors
    ///
    /// [`WeightsError::MissingTensor`].
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Weight, WeightsError> {
        let arrived = self.take(name, &[rows, cols])?;
        Ok(match arrived {
            Arrived::F32(flat) if matches!(self.source, Source::Plan) => Weight::F32(flat.reshape([1, 1])),
            Arrived::F32(flat) => Weight::F32(flat.reshape([rows, cols])),
            Arrived::Bf16(words) => Weight::Bf16(Packed { words: words.reshape([rows, cols / 2]) }),
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
        match &mut self.source {
            Source::Loaded(tensors) => tensors.remove(name).ok_or_else(missing),
            Source::Plan if self.known.contains(name) => Ok(Arrived::F32(Tensor::zeros([1], &Device::flex()))),
            Source::Plan => Err(missing()),
            Source::Zeros { is_bf16, bytes_left } => {
                let len = shape.iter().product::<usize>();
                let is_packed = *is_bf16 && matches!(shape, [_, cols] if cols.is_multiple_of(2));
                let bytes = len as u64 * if is_packed { 2 } else { 4 };
                *bytes_left = bytes_left.checked_sub(bytes).ok_or_else(missing)?;
                Ok(match is_packed {
                    true => Arrived::Bf16(Tensor::zeros([len / 2], &self.device)),
                    false => Arrived::F32(Tensor::zeros([len], &self.device)),
                })
            }
        }
    }
}
