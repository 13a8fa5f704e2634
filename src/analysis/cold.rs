//! Candidates for super weights from the weights alone, before any forward pass: a "cold" search, as in the spectral audit of
//! the Georgakopoulos-Soares lab (github.com/Georgakopoulos-Soares-lab/superweights). It is not the super-weight paper's.
//!
//! A gated block writes `Σ_i W_down[k, i] · act(gate_i · h) · (up_i · h)` to the residual channel `k`: near a quadratic form of what
//! it reads, `h`. How large that can get is told by
//!
//! ```text
//! c[k, i] = W_down[k, i]² · ‖gate row i‖² · ‖up row i‖²
//! score of row k        ‖U_k‖ = √(Σ_i c[k, i])
//! its scalar            argmax_i c[k, i]
//! top-1 share           max_i c[k, i] / Σ_i c[k, i]
//! participation ratio   (Σ_i c[k, i])² / Σ_i c[k, i]²      the number of scalars that make the row, 1 to intermediate_size
//! ratio                 ‖U_k‖ / median of the layer's
//! ```
//!
//! The gain of the norm in front of the block is part of gate and up here; that of a norm behind it (Gemma, OLMo-2) multiplies the
//! row. What norms add or centre is left out. A block without a gate (GPT-2, GPT-NeoX) has `‖c_fc row i‖²` alone.
//!
//! **Ranked** by `ratio · top-1 share`. Scores of layers do not compare: they grow with depth, as the residual stream does, and in
//! the bundled models the scalar that the spike search finds is only 6th and 19th by them. Ratio and share are of a layer and
//! of a row; each alone puts those scalars first, too, but a high ratio is also had by rows of many middling scalars, and a
//! share near 1 by rows that write next to nothing.
//!
//! It takes a fraction of what reading the weights does: on two busy CPU cores 0.02 s for the bundled model, and 1.7 s for a
//! billion scalars of feed-forward blocks. So it is made of every model at load, whatever its size.
//!
//! Neither concentration nor size is proof: a row of one scalar may do nothing to the model. What is found is a candidate.

use burn::tensor::{Int, Tensor, TensorData, Transaction};

use super::channel_weights::{BLOCK, Side, reading, sums};
use super::error::AnalysisError;
use crate::job::control::Control;
use crate::model::layers::{Layout, Linear, Norm};
use crate::model::mlp::Hidden;
use crate::model::{DecoderLayer, Model};
use crate::tensors::{self, DeviceError};
use crate::terms::{WeightCoord, median};

/// One output row of a `down_proj` and the scalar that it comes from most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub at: WeightCoord,
    /// `‖U_k‖`.
    pub score: f32,
    /// 0 where the median is.
    pub ratio: f32,
    pub top1_share: f32,
    pub participation_ratio: f32,
}

impl Row {
    /// What rows are ranked by.
    pub fn prominence(&self) -> f32 {
        self.ratio * self.top1_share
    }
}

/// Every row of a model, ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// By [`Row::prominence`], the largest first.
    pub rows: Vec<Row>,
    /// The scalars themselves of the first [`N_CANDIDATES`].
    pub weights: Vec<f32>,
    /// Whether a gate is part of the scores.
    pub is_gated: bool,
}

pub const N_CANDIDATES: usize = 20;
/// Scalars that are taken at once on the CPU: what stays in its cache. Larger blocks take several times as long.
const BLOCK_ON_CPU: usize = 1 << 16;

/// Looks through the weights of every layer, with one read for each.
///
/// # Errors
///
/// A failing device, a stop, or norms that f32 does not hold.
pub async fn search(model: &Model, control: &Control) -> Result<Found, AnalysisError> {
    let block = if model.largest_buffer().is_some() { BLOCK } else { BLOCK_ON_CPU };
    let mut rows = Vec::new();
    for (index, layer) in model.layers.iter().enumerate() {
        control.progress("searching the weights", index as f64, model.layers.len() as f64, "steps");
        control.checkpoint().await?;
        rows.extend(layer_rows(index, layer, block).await?);
    }
    rows.sort_by(|a, b| b.prominence().total_cmp(&a.prominence()).then(a.at.cmp(&b.at)));
    let scalars = rows.iter().take(N_CANDIDATES).map(|row| model.down_proj_scalar(row.at.layer, row.at.row, row.at.col));
    let read = scalars.fold(Transaction::default(), Transaction::register).execute_async().await?;
    let weights = read.into_iter().map(|data| floats(data).first().copied().unwrap_or(0.0)).collect();
    control.progress("searching the weights", 1.0, 1.0, "steps");
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
        let at = WeightCoord { layer: index, row, col: usize::try_from(col).unwrap_or(0) };
        let (squares, fourths) = (squares[row], fourths[row]);
        let score = peak.abs() * squares.sqrt() * behind.get(row).map_or(1.0, |gain| gain.abs());
        if !score.is_finite() {
            return Err(DeviceError::NonFinite { what: "a norm of weights" }.into());
        }
        // A row of zeros has no sums.
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

/// `‖gate row i‖ · ‖up row i‖` of each channel, `[1, intermediate_size]`, with the gain of the norm in front.
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

/// Of each output row of a matrix whose columns are multiplied by their reach, `[rows, 1]` each. Squares of squares leave f32
/// soon, so they are of values over the row's largest.
struct RowSums {
    /// The value of largest magnitude, and its column.
    peaks: Tensor<2>,
    columns: Tensor<2, Int>,
    /// `Σ_i (x_i / peak)²`, and of its squares.
    squares: Tensor<2>,
    fourths: Tensor<2>,
}

impl RowSums {
    /// `block` scalars at a time, or one row: a packed matrix is never unpacked whole.
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
        // Its squares of squares are beyond f32, and those of its last row are 0.
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
