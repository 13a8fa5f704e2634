//! The changes of each tensor that an ablation requires, in the layout of its file.

use std::collections::{BTreeMap, BTreeSet};

use super::error::SavingError;
use crate::model::config::ModelConfig;
use crate::model::layers::Layout;
use crate::model::weights::{Stored, Weights};
use crate::terms::{Cut, EditTarget, Matrix, Unit, WeightEdit};

/// An ablation of weights, resolved as the engine applies it: channels removed, then weights edited in their order.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub edits: Vec<WeightEdit>,
    /// For each layer, the channels that a pruning removes; empty without a pruning.
    pub removed: Vec<Vec<usize>>,
    /// By layer, the new bias of `down_proj`, `[hidden_size]`, where channels are replaced by their means.
    pub down_biases: BTreeMap<usize, Vec<f32>>,
}

/// The change of one tensor of a file, which is a table of rows and columns (a bias has one column).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorChange {
    /// Scalings, in their order.
    pub steps: Vec<Step>,
    /// New values, which replace those of a bias.
    pub values: Option<Vec<f32>>,
    pub rows: Option<Kept>,
    pub cols: Option<Kept>,
}

/// Multiplies a block by `scale`. Rows and columns are in rising order; `None` means all.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub rows: Option<Vec<usize>>,
    pub cols: Option<Vec<usize>>,
    pub scale: f32,
}

/// The rows or columns that a cut keeps, and the zeros that it adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub kept: Vec<bool>,
    /// Numbers of lines of zeros, each with the index before which they are inserted.
    pub pads: Vec<(usize, usize)>,
}

impl Kept {
    /// The number of lines after the cut.
    pub fn len(&self) -> usize {
        self.kept.iter().filter(|kept| **kept).count() + self.pads.iter().map(|(_, n)| n).sum::<usize>()
    }

    /// The number of lines of zeros before the line `index`.
    pub fn pad_before(&self, index: usize) -> usize {
        self.pads.iter().filter(|(at, _)| *at == index).map(|(_, n)| n).sum()
    }
}

/// A scaling of outputs and inputs of one matrix `[out, in]`; `None` means all.
struct Scaling {
    layer: usize,
    matrix: Matrix,
    outputs: Option<Vec<usize>>,
    inputs: Option<Vec<usize>>,
    scale: f32,
    /// `true` if the outputs' biases are scaled, too.
    with_bias: bool,
}

impl Scaling {
    /// The scalings that remove what computes these channels, as the running ablation does it.
    fn of_hidden(layer: usize, channels: &[usize]) -> [Self; 2] {
        [Matrix::GateProj, Matrix::UpProj].map(|matrix| {
            let outputs = Some(channels.to_vec());
            Self { layer, matrix, outputs, inputs: None, scale: 0.0, with_bias: true }
        })
    }

    fn step(&self, stored: &Stored) -> Option<Step> {
        let outputs = stored.outputs(self.matrix);
        if stored.layer != self.layer || outputs.is_empty() || stored.is_bias && !self.with_bias {
            return None;
        }
        let chosen = match &self.outputs {
            Some(chosen) => Some(chosen.iter().map(|output| outputs[*output]).collect()),
            None => (stored.parts.len() > 1).then_some(outputs),
        };
        let inputs = self.inputs.clone().filter(|_| !stored.is_bias);
        Some(match stored.layout {
            Layout::OutIn => Step { rows: chosen, cols: inputs, scale: self.scale },
            Layout::InOut => Step { rows: inputs, cols: chosen, scale: self.scale },
        })
    }
}

impl Changes {
    fn scalings(&self) -> Vec<Scaling> {
        let mut found = Vec::new();
        for (layer, channels) in self.removed.iter().enumerate().filter(|(_, channels)| !channels.is_empty()) {
            let channels = sorted(channels.iter().copied());
            found.extend(Scaling::of_hidden(layer, &channels));
            let inputs = Some(channels);
            found.push(Scaling { layer, matrix: Matrix::DownProj, outputs: None, inputs, scale: 0.0, with_bias: false });
        }
        for WeightEdit { target, scale } in self.edits.iter().copied().filter(|edit| edit.scale != 1.0) {
            let place = target.place();
            let [outputs, inputs] = [place.row, place.col].map(|index| index.map(|index| vec![index]));
            found.push(Scaling { layer: place.layer, matrix: place.matrix, outputs, inputs, scale, with_bias: false });
            if let (EditTarget::Channel(at), 0.0) = (target, scale) {
                found.extend(Scaling::of_hidden(at.layer, &[at.channel]));
            }
        }
        found
    }

    /// The channels of a layer whose whole column of `down_proj` becomes zero, so that the rest of the model no longer
    /// depends on them.
    fn gone(&self, layer: usize) -> BTreeSet<usize> {
        let is_column = |edit: &&WeightEdit| edit.scale == 0.0 && !matches!(edit.target.place().unit, Unit::Scalar | Unit::Row);
        let edited = self.edits.iter().filter(is_column).map(|edit| edit.target.place()).filter(|place| place.layer == layer);
        edited.filter_map(|place| place.col).chain(self.removed.get(layer).into_iter().flatten().copied()).collect()
    }

    /// The width that a cut leaves: the largest number of channels that remain in any layer.
    ///
    /// # Errors
    ///
    /// [`SavingError::NothingToCut`], [`SavingError::NoChannelLeft`].
    pub fn cut(&self, config: &ModelConfig) -> Result<Cut, SavingError> {
        let left = |layer: usize| config.intermediate_size.at(layer) - self.gone(layer).len();
        let left = (0..config.num_hidden_layers).map(left).collect::<Vec<_>>();
        let (_, before) = config.intermediate_size.range();
        let after = left.iter().copied().max().unwrap_or(0);
        match left.iter().position(|left| *left >= before) {
            Some(layer) => Err(SavingError::NothingToCut { layer, width: before }),
            None if after == 0 => Err(SavingError::NoChannelLeft),
            None => Ok(Cut { before, after, padded: left.iter().map(|left| after - left).collect() }),
        }
    }

    /// The change of each tensor that has one, by name.
    ///
    /// # Errors
    ///
    /// [`SavingError::NoBias`].
    pub fn of_tensors(
        &self,
        config: &ModelConfig,
        plan: &Weights,
        cut: Option<&Cut>,
    ) -> Result<BTreeMap<String, TensorChange>, SavingError> {
        let is_down_bias = |stored: &Stored, layer: usize| stored.is_bias && stored.layer == layer && has(stored, Matrix::DownProj);
        if let Some(layer) = self.down_biases.keys().find(|layer| !plan.stored.values().any(|stored| is_down_bias(stored, **layer))) {
            return Err(SavingError::NoBias { layer: *layer, architecture: config.model_type.into() });
        }
        let scalings = self.scalings();
        let mut found = BTreeMap::new();
        for (name, stored) in &plan.stored {
            let values = self.down_biases.get(&stored.layer).filter(|_| is_down_bias(stored, stored.layer)).cloned();
            let mut change = TensorChange {
                steps: scalings.iter().filter_map(|scaling| scaling.step(stored)).collect(),
                values,
                rows: None,
                cols: None,
            };
            if let Some(cut) = cut {
                self.cut_tensor(stored, cut, &mut change);
            }
            if change != TensorChange::default() {
                found.insert(name.clone(), change);
            }
        }
        Ok(found)
    }

    fn cut_tensor(&self, stored: &Stored, cut: &Cut, change: &mut TensorChange) {
        let (gone, n_pads) = (self.gone(stored.layer), cut.padded[stored.layer]);
        let hidden = [Matrix::GateProj, Matrix::UpProj].into_iter().filter(|matrix| has(stored, *matrix)).collect::<Vec<_>>();
        let (is_row, kept) = if !hidden.is_empty() {
            let mut kept = Kept { kept: vec![true; stored.parts.iter().map(|(_, rows)| rows).sum()], pads: Vec::new() };
            for outputs in hidden.into_iter().map(|matrix| stored.outputs(matrix)) {
                gone.iter().for_each(|channel| kept.kept[outputs[*channel]] = false);
                kept.pads.push((outputs.last().map_or(0, |last| last + 1), n_pads));
            }
            (stored.layout == Layout::OutIn, kept)
        } else if has(stored, Matrix::DownProj) && !stored.is_bias {
            let kept = (0..stored.input).map(|channel| !gone.contains(&channel)).collect();
            (stored.layout == Layout::InOut, Kept { kept, pads: vec![(stored.input, n_pads)] })
        } else {
            return;
        };
        *(if is_row { &mut change.rows } else { &mut change.cols }) = Some(kept);
    }
}

fn has(stored: &Stored, matrix: Matrix) -> bool {
    stored.parts.iter().any(|(of, _)| *of == matrix)
}

fn sorted(indices: impl Iterator<Item = usize>) -> Vec<usize> {
    indices.collect::<BTreeSet<_>>().into_iter().collect()
}
