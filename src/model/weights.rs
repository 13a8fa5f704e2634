//! A checkpoint's tensors, requested and loaded, under the checkpoint's names.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Int, Tensor};

use super::layers::{Layout, Linear};
use crate::tensors::{self, Flat, Packed, Table, Weight};
use crate::terms::Matrix;
use crate::weights::WeightsError;

/// A loaded tensor, flat. Cloning shares it.
#[derive(Debug, Clone)]
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
    /// Number of values.
    fn len(&self) -> usize {
        match self {
            Self::F32(flat) => flat.dims()[0],
            Self::Bf16(words) => 2 * words.dims()[0],
            Self::Chunks(chunks) => chunks.iter().map(Self::len).sum(),
        }
    }
}

/// A tensor as a model's builder got it, which shares its values with the model.
#[derive(Debug, Clone)]
pub enum Given {
    Whole(Arrived),
    /// The parts of a fused tensor, `[rounds * rows, cols]` each: its rows are those of each part in turn, in each
    /// round. A bias has one column.
    Fused {
        parts: Vec<Tensor<2>>,
        rounds: usize,
    },
}

/// Passes tensors to a family's builder by name: the name that transformers gives the tensor when it saves a model with
/// its head. The loader has put a checkpoint's own names into this form.
///
/// The builder runs twice over the same code: first on a plan, which records the requested names and shapes (and
/// returns empty stand-ins), so that a checkpoint can be checked from its header alone; then on the loaded tensors.
#[derive(Debug)]
pub struct Weights {
    device: Device,
    known: BTreeSet<String>,
    loaded: Option<BTreeMap<String, Arrived>>,
    /// The tensors that the builder got.
    pub given: BTreeMap<String, Given>,
    /// Every requested tensor, with its shape.
    pub wanted: BTreeMap<String, Vec<usize>>,
    /// The names of the embeddings and of the head, if both are in the checkpoint of a model that ties them.
    pub tied: Option<[String; 2]>,
    /// The tensors that hold the layers' matrices and their biases.
    pub stored: BTreeMap<String, Stored>,
    /// Names of tables. A table larger than [`Self::largest_buffer`] may arrive in chunks.
    pub tables: BTreeSet<String>,
    /// The most bytes of a tensor; unlimited if `None`.
    pub largest_buffer: Option<u64>,
}

/// A tensor of the checkpoint that holds one matrix of a layer, or several (fused), or their biases. This is the only
/// description of where a matrix `[out, in]` lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub layer: usize,
    pub is_bias: bool,
    pub layout: Layout,
    /// Number of inputs; 1 for a bias, which is a column of one value for each output.
    pub input: usize,
    /// The matrices, and the number of outputs of each in turn.
    pub parts: Vec<(Matrix, usize)>,
    /// Number of repetitions of the parts.
    pub rounds: usize,
}

impl Stored {
    /// The shape `[rows, cols]` in the file; of a bias, `[out, 1]`.
    pub fn shape(&self) -> [usize; 2] {
        let out = self.rounds * self.period();
        match self.layout {
            Layout::OutIn => [out, self.input],
            Layout::InOut => [self.input, out],
        }
    }

    /// The places, along the tensor's outputs, of the outputs of one of its matrices, in their order. Empty for a
    /// matrix of another tensor.
    pub fn outputs(&self, matrix: Matrix) -> Vec<usize> {
        let Some(part) = self.parts.iter().position(|(of, _)| *of == matrix) else { return Vec::new() };
        let (before, rows) = (self.parts[..part].iter().map(|(_, rows)| rows).sum::<usize>(), self.parts[part].1);
        let period = self.period();
        (0..self.rounds).flat_map(|round| round * period + before..round * period + before + rows).collect()
    }

    fn period(&self) -> usize {
        self.parts.iter().map(|(_, rows)| rows).sum()
    }

    /// The layer and the first matrix of a tensor of weights.
    pub fn first(&self) -> Option<(usize, Matrix)> {
        self.parts.first().filter(|_| !self.is_bias).map(|(matrix, _)| (self.layer, *matrix))
    }

    /// The place of a scalar of the tensor in its own matrix.
    fn place(&self, flat: usize) -> (Matrix, usize) {
        if let [(matrix, _)] = self.parts[..] {
            return (matrix, flat);
        }
        let (row, col) = (flat / self.input, flat % self.input);
        let period = self.period();
        let (round, mut row) = (row / period, row % period);
        for (matrix, rows) in &self.parts {
            if row < *rows {
                return (*matrix, (round * rows + row) * self.input + col);
            }
            row -= rows;
        }
        unreachable!("a row beyond {period} of as many")
    }
}

impl Weights {
    /// A plan over the names in a checkpoint. Its tables are as large as the device allows, unless
    /// [`Self::largest_buffer`] is set to less.
    pub fn plan(device: &Device, known: BTreeSet<String>) -> Self {
        Self {
            device: device.clone(),
            known,
            loaded: None,
            given: BTreeMap::new(),
            wanted: BTreeMap::new(),
            tied: None,
            stored: BTreeMap::new(),
            tables: BTreeSet::new(),
            largest_buffer: tensors::largest_buffer(device),
        }
    }

    /// The same plan with its tensors, flat, which the loader has checked against [`Self::wanted`].
    #[must_use]
    pub fn with_tensors(mut self, tensors: BTreeMap<String, Arrived>) -> Self {
        self.loaded = Some(tensors);
        self
    }

    /// Rows of a table's chunks, for this number of bytes of a value on the device; `None` if it arrives as a whole,
    /// like all other tensors. 0 if there is not even room for one chunk: see [`tensors::chunk_rows`].
    pub fn chunk_rows(&self, name: &str, bytes_per_value: usize) -> Option<usize> {
        let (limit, shape) = (self.largest_buffer?, self.wanted.get(name)?);
        let [rows, cols] = <[usize; 2]>::try_from(shape.as_slice()).ok()?;
        let of_chunk = tensors::chunk_rows(rows, cols, bytes_per_value, limit);
        (self.tables.contains(name) && of_chunk < rows).then_some(of_chunk)
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The names of the tables of a model that ties its head to its embeddings: the same twice, or both, if both are
    /// there. As in transformers 5, a head of its own in the checkpoint goes before the configuration. Without the
    /// embeddings, the head is both.
    pub fn tied<'n>(&mut self, embeddings: &'n str, head: &'n str) -> [&'n str; 2] {
        let has = |name: &str| self.loaded.as_ref().map_or_else(|| self.known.contains(name), |loaded| loaded.contains_key(name));
        match (has(embeddings), has(head)) {
            (true, true) => {
                self.tied = Some([embeddings.into(), head.into()]);
                [embeddings, head]
            }
            (false, true) => [head, head],
            _ => [embeddings, embeddings],
        }
    }

    /// A tensor `[len]`.
    ///
    /// # Errors
    ///
    /// [`WeightsError::MissingTensor`].
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, WeightsError> {
        match self.take(name, &[len])? {
            Arrived::F32(vector) => Ok(vector),
            // The loader packs only matrices, and splits only tables.
            Arrived::Bf16(_) | Arrived::Chunks(_) => Err(WeightsError::missing_tensor(name)),
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

    /// A tensor `[rows, cols]` that is a table of rows and not a layer's matrix: embeddings, or the head.
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
            Arrived::Chunks(_) => return Err(WeightsError::missing_tensor(name)),
        })
    }

    /// `{path}.weight`, `[out, in]` or transposed according to `layout`, and `{path}.bias`, `[out]`.
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
        let (layer, matrix) = place;
        self.store(path, Stored { layer, is_bias: false, layout, input, parts: vec![(matrix, out)], rounds: 1 }, bias);
        let bias = if bias { Some(self.vector(&format!("{path}.bias"), out)?) } else { None };
        Ok(Linear { weight, bias, layout, input_rounding: None })
    }

    /// Linear maps of one input, `[out, input]` each, that are fused in the checkpoint's `{path}.weight` and
    /// `{path}.bias`. `parts` are the numbers of rows of each in turn, and `rounds` the number of repetitions. Each
    /// becomes a separate matrix, so that no other code depends on the fusion.
    ///
    /// # Errors
    ///
    /// [`WeightsError::MissingTensor`].
    pub fn fused<const N: usize>(
        &mut self,
        layer: usize,
        parts: [(Matrix, usize); N],
        rounds: usize,
        path: &str,
        input: usize,
        bias: bool,
    ) -> Result<[Linear; N], WeightsError> {
        let period = parts.iter().map(|(_, rows)| rows).sum::<usize>();
        let name = format!("{path}.weight");
        let weight = self.matrix(&name, rounds * period, input)?;
        let stored = Stored { layer, is_bias: false, layout: Layout::OutIn, input, parts: parts.to_vec(), rounds };
        self.store(path, stored, bias);
        let bias = if bias { Some(self.vector(&format!("{path}.bias"), rounds * period)?) } else { None };
        let is_plan = self.loaded.is_none();
        let mut start = 0;
        let linears = parts.map(|(_, rows)| {
            let range = start..start + rows;
            start += rows;
            let of = |bias: &Tensor<1>| match is_plan {
                true => bias.clone(),
                false => bias.clone().reshape([rounds, period]).slice([0..rounds, range.clone()]).reshape([rounds * rows]),
            };
            let weight = if is_plan { weight.clone() } else { weight.rows_of_rounds(rounds, range.clone()) };
            Linear { weight, bias: bias.as_ref().map(of), layout: Layout::OutIn, input_rounding: None }
        });
        if !is_plan {
            self.give_parts(path, &linears, rounds);
        }
        Ok(linears)
    }

    /// Notes the parts of a fused tensor in place of the tensor, which nobody needs any more.
    fn give_parts(&mut self, path: &str, linears: &[Linear], rounds: usize) {
        let weights = linears.iter().map(|linear| match &linear.weight {
            Weight::F32(weight) => Some(weight.clone()),
            Weight::Bf16(_) => None,
        });
        let biases = linears.iter().map(|linear| linear.bias.clone().map(|bias| bias.unsqueeze_dim(1)));
        for (name, parts) in [("weight", weights.collect::<Option<Vec<_>>>()), ("bias", biases.collect())] {
            let name = format!("{path}.{name}");
            match parts {
                Some(parts) => drop(self.given.insert(name, Given::Fused { parts, rounds })),
                None => drop(self.given.remove(&name)),
            }
        }
    }

    /// The place of a scalar that was found in a tensor of the checkpoint: the same, or its place in a matrix of a
    /// fused tensor.
    pub fn place(&self, (layer, matrix, flat): (usize, Matrix, usize)) -> (usize, Matrix, usize) {
        match self.stored.values().find(|stored| stored.first() == Some((layer, matrix))) {
            Some(stored) => {
                let (matrix, flat) = stored.place(flat);
                (layer, matrix, flat)
            }
            None => (layer, matrix, flat),
        }
    }

    /// Notes where the matrices of `{path}.weight` lie, and of `{path}.bias` if there is one.
    fn store(&mut self, path: &str, weight: Stored, bias: bool) {
        if bias {
            let of_bias = Stored { is_bias: true, layout: Layout::OutIn, input: 1, ..weight.clone() };
            self.stored.insert(format!("{path}.bias"), of_bias);
        }
        self.stored.insert(format!("{path}.weight"), weight);
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arrived, WeightsError> {
        self.wanted.insert(name.into(), shape.into());
        let missing = || WeightsError::missing_tensor(name);
        match &mut self.loaded {
            Some(tensors) => {
                let arrived = tensors.remove(name).ok_or_else(missing)?;
                self.given.insert(name.into(), Given::Whole(arrived.clone()));
                Ok(arrived)
            }
            None if self.known.contains(name) => Ok(Arrived::F32(Tensor::zeros([1], &Device::flex()))),
            None => Err(missing()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan knows every tensor of a matrix by name, and each output of a fused one by its matrix.
    #[test]
    fn outputs_of_a_fused_tensor_are_those_of_its_matrices_in_turn() {
        let names = ["up.weight", "up.bias", "qkv.weight"].map(str::to_owned);
        let mut weights = Weights::plan(&Device::flex(), BTreeSet::from(names));
        weights.linear((1, Matrix::UpProj), "up", [4, 3], Layout::InOut, true).unwrap();
        weights.fused(0, [(Matrix::QProj, 1), (Matrix::KProj, 2)], 2, "qkv", 5, false).unwrap();
        let shapes = weights.stored.iter().map(|(name, stored)| (name.as_str(), stored.shape(), stored.is_bias)).collect::<Vec<_>>();
        assert_eq!(shapes, [("qkv.weight", [6, 5], false), ("up.bias", [4, 1], true), ("up.weight", [3, 4], false)]);
        let qkv = &weights.stored["qkv.weight"];
        assert_eq!((qkv.outputs(Matrix::QProj), qkv.outputs(Matrix::KProj)), (vec![0, 3], vec![1, 2, 4, 5]));
        assert_eq!((qkv.outputs(Matrix::VProj), weights.stored["up.weight"].outputs(Matrix::UpProj)), (vec![], vec![0, 1, 2, 3]));
    }

    /// Two rounds of one row of queries, two of keys and one of values, three columns wide.
    #[test]
    fn scalar_of_a_fused_tensor_has_a_place_in_its_own_matrix() {
        let names = BTreeSet::from(["qkv.weight".to_owned()]);
        let mut weights = Weights::plan(&Device::flex(), names.clone());
        let parts = [(Matrix::QProj, 1), (Matrix::KProj, 2), (Matrix::VProj, 1)];
        weights.fused(4, parts, 2, "qkv", 3, false).unwrap();
        assert_eq!(weights.wanted["qkv.weight"], [8, 3]);
        let values = Tensor::<1, Int>::arange(0..24, &Device::flex()).float();
        let mut weights = weights.with_tensors(BTreeMap::from([("qkv.weight".to_owned(), Arrived::F32(values))]));
        let linears = weights.fused(4, parts, 2, "qkv", 3, false).unwrap();
        let matrices = linears.map(|linear| linear.weight.to_f32().into_data().try_into_vec::<f32>().unwrap());
        assert_eq!(matrices.each_ref().map(Vec::len), [6, 12, 6]);
        for flat in 0..24 {
            let (layer, matrix, at) = weights.place((4, Matrix::QProj, flat));
            let index = parts.iter().position(|(of, _)| *of == matrix).unwrap();
            assert_eq!((layer, matrices[index][at]), (4, flat as f32), "{matrix:?}");
        }
        // This matrix belongs to another tensor.
        assert_eq!(weights.place((3, Matrix::QProj, 13)), (3, Matrix::QProj, 13));
    }
}
