//! Candidates for super weights from the weights alone, before any forward pass: a "cold" search, as in the spectral
//! audit of the Georgakopoulos-Soares lab (github.com/Georgakopoulos-Soares-lab/superweights). The super-weight paper
//! has no such search.
//!
//! A gated block writes `Σ_i W_down[k, i] · act(gate_i · h) · (up_i · h)` to the residual channel `k`, which is close
//! to a quadratic form of its input `h`. These figures estimate its possible size:
//!
//! ```text
//! c[k, i] = W_down[k, i]² · ‖gate row i‖² · ‖up row i‖²
//! score of row k        ‖U_k‖ = √(Σ_i c[k, i])
//! its scalar            argmax_i c[k, i]
//! top-1 share           max_i c[k, i] / Σ_i c[k, i]
//! participation ratio   (Σ_i c[k, i])² / Σ_i c[k, i]²      effective number of scalars of the row, 1 to intermediate_size
//! ratio                 ‖U_k‖ / median of the layer's
//! ```
//!
//! Here gate and up include the gain of the norm before the block; the gain of a norm after it (Gemma, OLMo-2)
//! multiplies the row. Biases and centring of norms are ignored. A block without a gate (GPT-2, GPT-NeoX) has
//! `‖c_fc row i‖²` alone.
//!
//! Rows are **ranked** by `ratio · top-1 share`. Scores of different layers are not comparable: they grow with depth,
//! as does the residual stream, and in the bundled models the scalar that the spike search finds is only 6th and 19th
//! by score. Ratio and share are relative to a layer and to a row. Each alone also ranks those scalars first, but
//! rows of many middling scalars also have a high ratio, and rows that write next to nothing also have a share near
//! 1.
//!
//! The search takes a fraction of the time of reading the weights: on two busy CPU cores 0.02 s for the bundled model,
//! and 1.7 s for a billion scalars of feed-forward blocks. So it runs at load for every model, whatever its size.
//!
//! Neither concentration nor size is proof: a row of one scalar may have no effect on the model. The search finds
//! candidates.

use burn::tensor::{Int, Tensor, TensorData};

use super::channel_weights::{Side, block_of, reading, sums};
use super::error::AnalysisError;
use crate::job::control::Control;
use crate::model::layers::{Layout, Linear, Norm};
use crate::model::mlp::Hidden;
use crate::model::{DecoderLayer, Model};
use crate::tensors::{self, DeviceError, Transaction};
use crate::terms::{WeightCoord, median};

/// One output row of a `down_proj` and the scalar that contributes most to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub at: WeightCoord,
    /// `‖U_k‖`.
    pub score: f32,
    /// `‖U_k‖` over the layer's median; 0 if the median is 0.
    pub ratio: f32,
    pub top1_share: f32,
    pub participation_ratio: f32,
}

impl Row {
    /// The figure that rows are ranked by: `ratio · top1_share`.
    pub fn prominence(&self) -> f32 {
        self.ratio * self.top1_share
    }
}

/// Every row of a model, ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// All rows by [`Row::prominence`], the largest first.
    pub rows: Vec<Row>,
    /// Weights of the scalars of the first [`N_CANDIDATES`] rows.
    pub weights: Vec<f32>,
    /// `true` if the scores include a gate.
    pub is_gated: bool,
}

pub const N_CANDIDATES: usize = 20;

/// Searches the weights of every layer, with one read per layer.
///
/// # Errors
///
/// A failing device, a stop, or norms that overflow f32.
pub async fn search(model: &Model, control: &Control) -> Result<Found, AnalysisError> {
    let block = block_of(model);
    let mut rows = Vec::new();
    for (index, layer) in model.layers.iter().enumerate() {
        control.progress("searching_weights", index as f64, model.layers.len() as f64, "steps");
        control.checkpoint().await?;
        rows.extend(layer_rows(index, layer, block).await?);
    }
    rows.sort_by(|a, b| b.prominence().total_cmp(&a.prominence()).then(a.at.cmp(&b.at)));
    let scalars = rows.iter().take(N_CANDIDATES).map(|row| model.down_proj_scalar(row.at.layer, row.at.row, row.at.col));
    let read = scalars.fold(Transaction::default(), Transaction::register).execute_async().await?;
    let weights = read.into_iter().map(|data| floats(data).first().copied().unwrap_or(0.0)).collect();
    control.progress("searching_weights", 1.0, 1.0, "steps");
    let is_gated = model.layers.iter().any(|layer| matches!(layer.mlp.hidden, Hidden::Gated { .. }));
    Ok(Found { rows, weights, is_gated })
}

async fn layer_rows(index: usize, layer: &DecoderLayer, block: usize) -> Result<Vec<Row>, AnalysisError> {
    let sums = RowSums::of(&layer.mlp.down_proj, &reach(layer, block), block);
    let mut transaction = Transaction::default().register(sums.peaks).register(sums.columns).register(sums.squares).register(sums.fourths);
    if let Some(behind) = gain(layer.post_feedforward_layernorm.as_ref()) {
        transaction = transaction.register(behind);
    }
    let mut read = transaction.execute_async().await?.into_iter();
    let mut next = || read.next().unwrap_or_else(|| TensorData::new(Vec::<f32>::new(), [0]));
    let (peaks, columns) = (floats(next()), next().convert::<i64>().try_into_vec::<i64>().unwrap_or_default());
    let (squares, fourths, behind) = (floats(next()), floats(next()), floats(next()));
    let mut rows = Vec::with_capacity(peaks.len());
    for (row, (peak, col)) in peaks.into_iter().zip(columns).enumerate() {
        let at = WeightCoord::new(index, row, usize::try_from(col).unwrap_or(0));
        let (squares, fourths) = (squares[row], fourths[row]);
        let score = peak.abs() * squares.sqrt() * behind.get(row).map_or(1.0, |gain| gain.abs());
        if !score.is_finite() {
            return Err(DeviceError::NonFinite { what: "a norm of weights" }.into());
        }
        // A row of zeros would divide by zero.
        let of = |value: f32| if squares > 0.0 { value } else { 0.0 };
        let (top1_share, participation_ratio) = (of(1.0 / squares), of(squares * squares / fourths));
        rows.push(Row { at, score, ratio: 0.0, top1_share, participation_ratio });
    }
    let middle = median(rows.iter().map(|row| row.score));
    for row in rows.iter_mut().filter(|_| middle > 0.0) {
        row.ratio = (f64::from(row.score) / middle).min(f64::from(f32::MAX)) as f32;
    }
    Ok(rows)
}

/// Returns `‖gate row i‖ · ‖up row i‖` of each channel, `[1, intermediate_size]`, including the gain of the norm
/// before the block.
fn reach(layer: &DecoderLayer, block: usize) -> Tensor<2> {
    let gain = gain(layer.pre_feedforward_layernorm.as_ref());
    let norms = |linear: &Linear| {
        let folded = sums(linear, Side::Out, block, |block, inputs| {
            let folded = match &gain {
                Some(gain) => {
                    let n = inputs.len();
                    let gain = gain.clone().slice([inputs]);
                    block * gain.reshape(if linear.layout == Layout::OutIn { [1, n] } else { [n, 1] })
                }
                None => block,
            };
            folded.clone() * folded
        });
        folded.sqrt()
    };
    let (gate, up) = reading(&layer.mlp.hidden);
    let reach = gate.into_iter().fold(norms(up), |reach, gate| reach * norms(gate));
    reach.unsqueeze::<2>()
}

fn gain(norm: Option<&Norm>) -> Option<Tensor<1>> {
    let (Norm::Rms { weight, .. } | Norm::Layer { weight, .. }) = norm?;
    Some(weight.clone())
}

/// Sums over each output row of a matrix whose columns are multiplied by their reach; each tensor is `[rows, 1]`.
/// Values are first divided by the row's largest, because their fourth powers would overflow f32.
struct RowSums {
    /// The value of largest magnitude in each row; `columns` has its column.
    peaks: Tensor<2>,
    columns: Tensor<2, Int>,
    /// `Σ_i (x_i / peak)²`; `fourths` is `Σ_i (x_i / peak)⁴`.
    squares: Tensor<2>,
    fourths: Tensor<2>,
}

impl RowSums {
    /// Reads `block` scalars at a time, at least one row, so that a packed matrix is never completely unpacked.
    fn of(down_proj: &Linear, reach: &Tensor<2>, block: usize) -> Self {
        let [out, input] = down_proj.shape();
        let (mut peaks, mut columns, mut squares, mut fourths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let step = (block / input.max(1)).max(1);
        for first in (0..out).step_by(step) {
            let rows = first..(first + step).min(out);
            let weights = match down_proj.layout {
                Layout::OutIn => down_proj.weight.block(rows, 0..input),
                Layout::InOut => down_proj.weight.block(0..input, rows).transpose(),
            };
            let values = weights * reach.clone();
            let (peak, column) = tensors::peaks(values.clone());
            let values = values / peak.clone().abs().clamp_min(f32::MIN_POSITIVE);
            let square = values.clone() * values;
            peaks.push(peak);
            columns.push(column);
            squares.push(square.clone().sum_dim(1));
            fourths.push((square.clone() * square).sum_dim(1));
        }
        let [peaks, squares, fourths] = [peaks, squares, fourths].map(|blocks| Tensor::cat(blocks, 0));
        Self { peaks, columns: Tensor::cat(columns, 0), squares, fourths }
    }
}

fn floats(data: TensorData) -> Vec<f32> {
    data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::tensors::Weight;

    #[test]
    fn sums_of_rows_are_the_same_in_any_layout_and_blocks() {
        let device = Device::flex();
        // The matrix has fourth powers beyond f32, and its last row is zero.
        let matrix = Tensor::<2>::from_data([[3e15, -4e15, 0.0], [1e-15, 1e-15, 1e-15], [0.0, 0.0, 0.0]], &device);
        let reach = Tensor::<2>::from_data([[2.0, 3.0, 1.0]], &device);
        for layout in [Layout::OutIn, Layout::InOut] {
            let weight = if layout == Layout::OutIn { matrix.clone() } else { matrix.clone().transpose() };
            let linear = Linear { weight: Weight::F32(weight), bias: None, layout, input_rounding: None };
            for block in [1, 6, 100] {
                let sums = RowSums::of(&linear, &reach, block);
                let case = format!("{layout:?} {block}");
                assert_eq!(floats(sums.peaks.into_data()), [-4e15_f32 * 3.0, 1e-15_f32 * 3.0, 0.0], "{case}");
                let columns = sums.columns.into_data().convert::<i64>().try_into_vec::<i64>().unwrap();
                assert_eq!(columns[..2], [1, 1], "{case}");
                let (squares, fourths) = (floats(sums.squares.into_data()), floats(sums.fourths.into_data()));
                let expected = [(1.25, 1.0625), (1.0 + 5.0 / 9.0, 1.0 + 17.0 / 81.0), (0.0, 0.0)];
                for ((square, fourth), expected) in squares.into_iter().zip(fourths).zip(expected) {
                    assert!((square - expected.0).abs() < 1e-5 && (fourth - expected.1).abs() < 1e-5, "{case}: {square} {fourth}");
                }
            }
        }
    }
}
