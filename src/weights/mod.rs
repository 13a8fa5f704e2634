//! A checkpoint's tensors: which are wanted, which have arrived, under the names the checkpoint gives them.

pub mod error;
pub mod load;
pub mod safetensors;

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Int, Tensor};

pub use error::WeightsError;

use crate::model::edit::Matrix;
use crate::model::layers::{Layout, Linear};
use crate::tensors::{Packed, Weight};

/// A tensor that has arrived, flat.
#[derive(Debug)]
pub enum Arrived {
    F32(Tensor<1>),
    /// bf16, two values in a word.
    Bf16(Tensor<1, Int>),
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
}

impl Weights {
    /// A plan over the names that a checkpoint has.
    pub fn plan(device: &Device, known: BTreeSet<String>) -> Self {
        Self { device: device.clone(), known, loaded: None, wanted: BTreeMap::new(), matrices: BTreeMap::new() }
    }

    /// The same plan with its tensors, flat, each checked against [`Self::wanted`] by the loader.
    #[must_use]
    pub fn with_tensors(mut self, tensors: BTreeMap<String, Arrived>) -> Self {
        self.loaded = Some(tensors);
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
            Arrived::F32(flat) if self.loaded.is_none() => Weight::F32(flat.reshape([1, 1])),
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
        match &mut self.loaded {
            Some(tensors) => tensors.remove(name).ok_or_else(missing),
            None if self.known.contains(name) => Ok(Arrived::F32(Tensor::zeros([1], &Device::flex()))),
            None => Err(missing()),
        }
    }
}
