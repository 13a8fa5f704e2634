//! Simulation of weights and activations rounded to a few bits (W8A8): models whose matrix products have rounded
//! factors.
//!
//! Weights are rounded per matrix, between the least and largest of all its scalars, and activations per token; both
//! asymmetrically, to `2^bits` values. The paper writes `2^(bits-1) - 1` steps; its released weight code has
//! `2^bits - 1`, as here. The inputs and matrices of queries, keys, values, gate, up and down are rounded, and both products
//! of the attention: a token's queries, keys (after their rotation) and values over all its heads together, and the
//! probabilities of each head and query. The output projection with its input, biases, norms, embeddings and head are
//! not in the paper's list, and stay in f32.
//!
//! The paper's code for W8A8 is not released; [`Handling::HeldOut`] states the values held out here.

use burn::tensor::{Device, Tensor, TensorData};

use super::error::AnalysisError;
use super::quantise::{Method, Rounding, check_fits, rounded_matrix};
use crate::job::control::Control;
use crate::model::layers::{Layout, Linear};
use crate::model::probe::{Probe, Reader, Summary};
use crate::model::rounding::InputRounding;
use crate::model::{Model, Positions};
use crate::tensors::{DeviceError, Transaction, Weight};
use crate::terms::{Matrix, WeightCoord};

/// The handling of outliers.
#[derive(Debug, Clone, Copy)]
pub enum Handling<'a> {
    Naive,
    /// Per super weight `[layer, row, col]`, three things are held out: at every input of queries, keys, values, gate
    /// and up in every layer, one value of channel `row`; at the input of `down_proj` in its own layer, one value of
    /// channel `col`; and in that `down_proj` the super weight itself. Each value is the one of largest magnitude
    /// over the tokens of the pass. A held-out scalar is excluded from the range of its token or matrix, and keeps
    /// its value.
    HeldOut(&'a [WeightCoord]),
    /// SmoothQuant (arXiv:2211.10438): channel j of an input is divided, and the matrices' column j multiplied, by
    /// `s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)`, over queries, keys and values together, and over gate and up
    /// together. As in its authors' code for Llama, inputs of `o_proj` and `down_proj` are not smoothed, and
    /// `max|W_j|` and `s_j` are at least 1e-5. That code folds s into the norm before the input, which is equivalent.
    Smooth {
        maxima: &'a Maxima,
        alpha: f32,
    },
}

/// `max |X_j|` over the tokens of a calibration text, for each layer's input of the attention and of the feed-forward
/// block.
#[derive(Debug, Clone, PartialEq)]
pub struct Maxima(pub Vec<[Vec<f32>; 2]>);

const READERS: [Reader; 2] = [Reader::Attention, Reader::Mlp];
/// The matrices that read the inputs of [`READERS`].
const OF_READERS: [&[Matrix]; 2] = [&[Matrix::QProj, Matrix::KProj, Matrix::VProj], &[Matrix::GateProj, Matrix::UpProj]];
/// Lower bound of `max|W_j|` and `s_j` in SmoothQuant's code.
const LEAST: f32 = 1e-5;

impl Maxima {
    /// Measures the maxima over some sequences.
    ///
    /// # Errors
    ///
    /// A failing device, a stop, or activations that are not finite.
    pub async fn of(model: &Model, sequences: &[Vec<u32>], control: &Control) -> Result<Self, AnalysisError> {
        let mut maxima = vec![[Vec::new(), Vec::new()]; model.layers.len()];
        for (done, ids) in sequences.iter().enumerate() {
            control.progress("largest_activations", done as f64, sequences.len() as f64, "sequences");
            control.checkpoint().await?;
            let mut probe = Probe::empty().summarising(&READERS, Summary::Magnitude);
            let _ = model.without_head(ids, None, Positions::Last, &mut probe);
            let places = probe.inputs.iter().map(|input| (input.layer, usize::from(input.reader == Reader::Mlp))).collect::<Vec<_>>();
            for ((layer, reader), seen) in places.into_iter().zip(read(probe.inputs.into_iter().map(|input| input.summary)).await?) {
                let of_input: &mut Vec<f32> = &mut maxima[layer][reader];
                of_input.resize(seen.len(), 0.0);
                of_input.iter_mut().zip(seen).for_each(|(max, seen)| *max = if seen.is_nan() { seen } else { max.max(seen) });
            }
        }
        match maxima.iter().flatten().flatten().all(|max| max.is_finite()) {
            true => Ok(Self(maxima)),
            false => Err(DeviceError::NonFinite { what: "an activation" }.into()),
        }
    }
}

async fn read(tensors: impl Iterator<Item = Tensor<2>>) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let read = tensors.fold(Transaction::default(), Transaction::register).execute_async().await?;
    Ok(read.into_iter().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()).collect())
}

/// Returns the model with factors rounded to `bits` (1 to 16), as the module's documentation describes.
///
/// # Errors
///
/// [`DeviceError::GpuTooSmall`] if the GPU cannot hold a matrix in f32, a failing device, or a stop.
pub async fn with_rounded_factors(model: &Model, bits: u32, handling: Handling<'_>, control: &Control) -> Result<Model, AnalysisError> {
    check_fits(model)?;
    let smoothing = match handling {
        Handling::Smooth { maxima, alpha } => Some(scales(model, maxima, alpha).await?),
        Handling::Naive | Handling::HeldOut(_) => None,
    };
    let super_weights = if let Handling::HeldOut(super_weights) = handling { super_weights } else { &[] };
    let distinct = |channels: Vec<usize>| channels.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let residual = distinct(super_weights.iter().map(|at| at.row).collect());
    let mut rounded = model.clone();
    for (index, layer) in rounded.layers.iter_mut().enumerate() {
        control.checkpoint().await?;
        for (reader, matrices) in OF_READERS.iter().enumerate() {
            let smoothing = smoothing.as_ref().map(|layers| layers[index][reader].clone());
            for matrix in *matrices {
                let Some(linear) = layer.matrix_mut(*matrix) else { continue };
                round(linear, InputRounding { bits, smoothing: smoothing.clone(), held_out: residual.clone() }, &[]);
            }
        }
        let own = super_weights.iter().filter(|at| at.layer == index);
        let down_proj = &mut layer.mlp.down_proj;
        let held = own.clone().map(|at| down_proj.flat_index(at.row, at.col)).collect::<Vec<_>>();
        round(down_proj, InputRounding { bits, smoothing: None, held_out: distinct(own.map(|at| at.col).collect()) }, &held);
        layer.self_attn.product_bits = Some(bits);
    }
    Ok(rounded)
}

/// Rounds a whole matrix, multiplied by the smoothing of its input, and makes the map round its input from then on.
fn round(linear: &mut Linear, input: InputRounding, held: &[usize]) {
    let weight = linear.weight.to_f32();
    let weight = match &input.smoothing {
        Some(scales) if linear.layout == Layout::OutIn => weight * scales.clone(),
        Some(scales) => weight * scales.clone().transpose(),
        None => weight,
    };
    let rounding = Rounding { bits: input.bits, block_size: 0, method: Method::HeldOut };
    linear.weight = Weight::F32(rounded_matrix(weight, rounding, held));
    linear.input_rounding = Some(input);
}

/// SmoothQuant's s, `[1, hidden_size]` for each reader of each layer.
async fn scales(model: &Model, maxima: &Maxima, alpha: f32) -> Result<Vec<[Tensor<2>; 2]>, AnalysisError> {
    let mut layers = model.layers.clone();
    let mut of_weights = Vec::new();
    for layer in layers.iter_mut() {
        for matrices in OF_READERS {
            let mut largest = Vec::new();
            for matrix in matrices {
                let Some(linear) = layer.matrix_mut(*matrix) else { continue };
                let magnitude = linear.weight.to_f32().abs();
                largest.push(match linear.layout {
                    Layout::OutIn => magnitude.max_dim(0),
                    Layout::InOut => magnitude.max_dim(1).transpose(),
                });
            }
            of_weights.push(Tensor::cat(largest, 0).max_dim(0));
        }
    }
    let mut of_weights = read(of_weights.into_iter()).await?.into_iter();
    let mut scale = |of_input: &[f32], device: &Device| {
        let of_weight = of_weights.next().unwrap_or_default();
        let of_channel = |(x, w): (&f32, f32)| (x.powf(alpha) / w.max(LEAST).powf(1.0 - alpha)).max(LEAST);
        let scales = of_input.iter().zip(of_weight).map(of_channel).collect::<Vec<_>>();
        let shape = [1, scales.len()];
        Tensor::from_data(TensorData::new(scales, shape), device)
    };
    let layers = maxima.0.iter().zip(&*model.layers);
    Ok(layers.map(|([attention, mlp], layer)| [attention, mlp].map(|of_input| scale(of_input, &layer.device()))).collect())
}
