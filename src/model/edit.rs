//! Ablations of weights: a new [`Model`] value that shares every unchanged matrix.
//!
//! The intact model is never changed, so undoing means dropping the edited one, is exact to the bit, and both can run
//! side by side. Edits apply in their order; edits of the same weight multiply.

use burn::tensor::Tensor;

use super::config::ModelConfig;
use super::layers::{Layout, Linear};
use super::mlp::Hidden;
use super::{Model, ModelError};
use crate::terms::{Ablation, ChannelCoord, EditTarget, Matrix, Sizes, WeightEdit};

/// Share of the scalars that the control "Prune Non-SW" of the super-weight paper zeroes: the 7,000 largest of 6.7
/// billion.
pub const PAPER_SHARE: f64 = 7000.0 / 6.7e9;
/// Share of each weight tensor, rounded down, that this control zeroes in the paper's code.
pub const TENSOR_SHARE: f64 = 1e-6;
/// Number of scalars that a second control zeroes, in a model of any size.
pub const N_LARGEST_HARSH: usize = 1000;

impl ModelConfig {
    /// The sizes that edits and selections are checked against.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            num_hidden_layers: self.num_hidden_layers,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size.clone(),
            max_position_embeddings: self.max_position_embeddings,
            num_experts: None,
        }
    }
}

impl Model {
    /// Checks an ablation against this model's sizes.
    ///
    /// # Errors
    ///
    /// [`ModelError::Limit`] for the first number outside its limits.
    pub fn check_ablation(&self, ablation: &Ablation) -> Result<(), ModelError> {
        Ok(self.config.sizes().check_ablation(ablation)?)
    }

    /// Returns the model with these weights edited. A pruning is not applied, because the engine must resolve it with
    /// scores.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::check_ablation`], and [`ModelError::NoMean`].
    pub fn with_ablation(&self, ablation: &Ablation) -> Result<Self, ModelError> {
        self.with_ablation_by(ablation, None)
    }

    /// Returns the model with these weights edited, and with channels replaced by their means if the ablation
    /// requires it. `means` has a number for every channel of every layer.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::with_ablation`].
    pub fn with_ablation_by(&self, ablation: &Ablation, means: Option<&[Vec<f32>]>) -> Result<Self, ModelError> {
        self.check_ablation(ablation)?;
        let mut edited = self.clone();
        for edit in &ablation.weight_edits {
            if let EditTarget::ChannelMean(ChannelCoord { layer, channel, .. }) = edit.target {
                let mean = means.and_then(|means| means.get(layer)?.get(channel)).ok_or(ModelError::NoMean)?;
                edited.add_constant(layer, channel, (1.0 - edit.scale) * mean);
            }
            edited.apply(edit);
        }
        Ok(edited)
    }

    fn apply(&mut self, &WeightEdit { target, scale }: &WeightEdit) {
        let place = target.place();
        let layer = self.layers.edit(place.layer);
        let linear = layer.matrix_mut(place.matrix).expect("a layer has the matrix of every unit");
        scale_block(linear, place.row, place.col, scale);
        if let (EditTarget::Channel(ChannelCoord { channel, .. }), 0.0) = (target, scale) {
            remove_hidden(&mut layer.mlp.hidden, channel);
        }
    }

    /// The model with scalars of any matrix set to zero. Each scalar is given by its index in the stored matrix's
    /// flat order.
    pub fn with_zeroed(&self, scalars: &[(usize, Matrix, usize)]) -> Self {
        let mut edited = self.clone();
        for layer in 0..self.layers.len() {
            for matrix in Matrix::ALL {
                let flat = scalars.iter().filter(|(l, m, _)| *l == layer && *m == matrix).map(|(_, _, flat)| *flat).collect::<Vec<_>>();
                if flat.is_empty() {
                    continue;
                }
                if let Some(linear) = edited.layers.edit(layer).matrix_mut(matrix) {
                    linear.weight.zero_flat(&flat);
                }
            }
        }
        edited
    }

    /// Returns the weight `down_proj.weight[row, col]`, `[1, 1]`, without waiting for its value.
    pub fn down_proj_scalar(&self, layer: usize, row: usize, col: usize) -> Tensor<2> {
        let down_proj = &self.layers[layer].mlp.down_proj;
        let [rows, cols] = block(down_proj, Some(row), Some(col));
        down_proj.weight.block(rows, cols)
    }
}

impl super::DecoderLayer {
    /// One of the layer's matrices, if the layer has it.
    pub fn matrix_mut(&mut self, matrix: Matrix) -> Option<&mut Linear> {
        use super::attention::QkvProj;
        let attention = &mut self.self_attn;
        match (matrix, &mut attention.qkv_proj, &mut self.mlp.hidden) {
            (Matrix::QProj, QkvProj::Separate { q_proj: linear, .. } | QkvProj::Fused(linear), _)
            | (Matrix::KProj, QkvProj::Separate { k_proj: linear, .. }, _)
            | (Matrix::VProj, QkvProj::Separate { v_proj: linear, .. }, _)
            | (Matrix::GateProj, _, Hidden::Gated { gate_proj: linear, .. })
            | (Matrix::UpProj, _, Hidden::Gated { up_proj: linear, .. } | Hidden::Plain { c_fc: linear }) => Some(linear),
            (Matrix::OProj, ..) => Some(&mut attention.o_proj),
            (Matrix::DownProj, ..) => Some(&mut self.mlp.down_proj),
            _ => None,
        }
    }
}

/// Index ranges of a row, a column or a scalar of `weight[out, in]` in its stored layout.
fn block(linear: &Linear, row: Option<usize>, col: Option<usize>) -> [std::ops::Range<usize>; 2] {
    let [out, input] = linear.shape();
    let span = |index: Option<usize>, len| index.map_or(0..len, |index| index..index + 1);
    let (rows, cols) = (span(row, out), span(col, input));
    match linear.layout {
        Layout::OutIn => [rows, cols],
        Layout::InOut => [cols, rows],
    }
}

fn scale_block(linear: &mut Linear, row: Option<usize>, col: Option<usize>, scale: f32) {
    let [rows, cols] = block(linear, row, col);
    linear.weight.scale(rows, cols, scale);
}

/// Zeroes the weights that compute a channel: its row of gate and up, or its column of `c_fc` with the bias.
fn remove_hidden(hidden: &mut Hidden, channel: usize) {
    match hidden {
        Hidden::Gated { gate_proj, up_proj } => {
            remove_output(gate_proj, channel);
            remove_output(up_proj, channel);
        }
        Hidden::Plain { c_fc } => remove_output(c_fc, channel),
    }
}

fn remove_output(linear: &mut Linear, channel: usize) {
    scale_block(linear, Some(channel), None, 0.0);
    if let Some(bias) = &mut linear.bias {
        bias.inplace(|bias| {
            let zero = Tensor::zeros([1], &bias.device());
            bias.slice_assign([channel..channel + 1], zero)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::edits_at_the_limits;

    /// The table that the page and links are tested with, too.
    #[test]
    fn engine_takes_every_edit_within_the_limits_and_no_other() {
        let config = ModelConfig::from_json(include_bytes!("../../public/models/linchpin-13m/config.json")).unwrap();
        for (edit, can) in edits_at_the_limits(config.sizes()) {
            let checked = config.sizes().check_ablation(&Ablation { weight_edits: vec![edit], ..Ablation::default() });
            assert_eq!(checked.is_ok(), can, "{edit:?}: {checked:?}");
        }
    }
}
