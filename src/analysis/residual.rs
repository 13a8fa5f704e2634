//! The residual stream through a model: one channel's value at every token, and each token's largest magnitude, after
//! every layer.

use burn::tensor::{Tensor, TensorData};

use super::error::AnalysisError;
use crate::job::control::Control;
use crate::model::Model;
use crate::model::layers::Layout;
use crate::model::probe::{Keep, Kept, Probe};
use crate::tensors::{self, DeviceError, Transaction};
use crate::terms::{Ablation, Site, WeightCoord};

/// The residual stream at one level of one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// The layer with this output; `None` for the embeddings, which enter the first layer.
    pub layer: Option<usize>,
    /// The channel's signed value at each token.
    pub at_channel: Vec<f32>,
    /// The largest magnitude over all channels, at each token.
    pub largest: Vec<f32>,
    /// The largest magnitude of the layer's `down_proj` output over all tokens and channels; 0 for the embeddings.
    pub down_proj_output: f32,
}

impl Level {
    /// Returns the largest magnitude of the channel over all tokens.
    pub fn peak(&self) -> f32 {
        largest(&self.at_channel)
    }
}

/// Returns the largest magnitude of `values`; 0 if there are none.
pub fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// Runs one pass layer by layer, with one read at the end. Only two numbers per token are kept.
///
/// # Errors
///
/// A failing device, a stop, or values that are not finite.
pub async fn levels(model: &Model, ids: &[u32], channel: usize, control: &Control) -> Result<Vec<Level>, AnalysisError> {
    let mut probe = Probe::empty().capturing(&[Site::DownProjOutput], Keep::Peaks);
    let (mut x, pass) = model.begin(ids, 0);
    let mut kept = vec![look(&x, channel)];
    for layer in 0..model.layers.len() {
        x = model.layer(layer, x, &pass, None, &mut probe);
        kept.push(look(&x, channel));
        control.checkpoint().await?;
    }
    let outputs = probe.captured.into_iter().filter_map(|captured| match captured.kept {
        Kept::Peaks { values, .. } => Some(values),
        Kept::Everything(_) | Kept::Sums(_) => None,
    });
    let transaction = kept.into_iter().flatten().chain(outputs).fold(Transaction::default(), Transaction::register);
    let read = transaction.execute_async().await?.into_iter().map(floats).collect::<Vec<_>>();
    if read.iter().flatten().any(|value| !value.is_finite()) {
        return Err(DeviceError::NonFinite { what: "the residual stream" }.into());
    }
    let (of_stream, of_outputs) = read.split_at(2 * (model.layers.len() + 1));
    let levels = of_stream.chunks(2).enumerate().map(|(index, level)| {
        let layer = index.checked_sub(1);
        let output = layer.and_then(|layer| of_outputs.get(layer)).map_or(0.0, |values| largest(values));
        let magnitudes = level[1].iter().map(|value| value.abs()).collect();
        Level { layer, at_channel: level[0].clone(), largest: magnitudes, down_proj_output: output }
    });
    Ok(levels.collect())
}

/// Returns a channel's values and every token's value of largest magnitude, each `[seq, 1]`.
fn look(x: &Tensor<2>, channel: usize) -> [Tensor<2>; 2] {
    let [seq, _] = x.dims();
    [x.clone().slice([0..seq, channel..channel + 1]), tensors::peaks(x.clone()).0]
}

/// Finds the scalar of largest magnitude of a layer's `down_proj` outside `but`, and its value; `None` if all are
/// zero.
///
/// # Errors
///
/// A failing device, or a coordinate outside the model.
pub async fn largest_weight(model: &Model, layer: usize, but: &[WeightCoord]) -> Result<Option<(WeightCoord, f32)>, AnalysisError> {
    let model = model.with_ablation(&Ablation::zeroing(but.iter().copied()))?;
    let down_proj = &model.layers[layer].mlp.down_proj;
    let [rows, cols] = down_proj.weight.dims();
    let step = (super::channel_weights::BLOCK / cols.max(1)).max(1);
    let mut transaction = Transaction::default();
    for first in (0..rows).step_by(step) {
        let (values, columns) = tensors::peaks(down_proj.weight.block(first..(first + step).min(rows), 0..cols));
        transaction = transaction.register(values).register(columns);
    }
    let mut read = transaction.execute_async().await?.into_iter();
    let (mut row, mut most) = (0, None::<([usize; 2], f32)>);
    while let (Some(values), Some(columns)) = (read.next(), read.next()) {
        let columns = columns.convert::<i64>().try_into_vec::<i64>().unwrap_or_default();
        for (value, column) in floats(values).into_iter().zip(columns) {
            if value.abs() > most.map_or(0.0, |(_, most)| most.abs()) {
                most = Some(([row, usize::try_from(column).unwrap_or(0)], value));
            }
            row += 1;
        }
    }
    Ok(most.map(|([a, b], value)| {
        let (row, col) = if down_proj.layout == Layout::OutIn { (a, b) } else { (b, a) };
        (WeightCoord::new(layer, row, col), value)
    }))
}

pub(crate) fn floats(data: TensorData) -> Vec<f32> {
    data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()
}
