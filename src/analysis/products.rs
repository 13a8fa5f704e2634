//! The scalars of every `down_proj` whose products with their inputs are largest in a pass.
//!
//! With u the input of `down_proj`, `[seq, intermediate_size]`, the product of the scalar `W[j, k]` is
//!
//! ```text
//! product(j, k) = max over t of |W[j, k] u[t, k]| = |W[j, k]| · max over t of |u[t, k]|
//! ```
//!
//! The largest n of a layer lie in the n channels of largest `max_j |W[j, k]| · max_t |u[t, k]|`: each of these
//! channels has a product of that size, and no other channel has a larger one. So only those columns are read.

use burn::tensor::Tensor;

use super::channel_weights::{Side, block_of, largest};
use super::error::AnalysisError;
use super::residual::floats;
use crate::job::control::Control;
use crate::model::Model;
use crate::model::layers::{Layout, Linear};
use crate::model::probe::{Keep, Kept, Probe};
use crate::tensors::{self, DeviceError, Transaction};
use crate::terms::{Site, WeightCoord};

/// Products considered in each layer.
pub const PER_LAYER: usize = 20;

/// One scalar and its largest product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    pub at: WeightCoord,
    pub weight: f32,
    /// The token of the largest product, and the input there, signed.
    pub token: usize,
    pub input: f32,
    /// `|product|` over the root mean square of the residual stream that leaves the layer at that token. A product far
    /// below it is lost in what the next norm sees.
    pub relative: f32,
}

impl Product {
    /// `W[j, k] u[t, k]`, signed.
    pub fn value(&self) -> f32 {
        self.weight * self.input
    }
}

/// Figures of one layer's pass.
struct Seen {
    /// The input of largest magnitude of each channel, its token, and the channel's largest `|W u|`.
    inputs: Vec<f32>,
    tokens: Vec<usize>,
    bounds: Vec<f32>,
    /// Root mean square of the residual stream that leaves the layer, by token.
    rms: Vec<f32>,
}

/// Finds the [`PER_LAYER`] largest products of every layer in one pass, with two reads.
///
/// # Errors
///
/// A failing device, a stop, or activations that are not finite.
pub async fn largest_products(model: &Model, ids: &[u32], control: &Control) -> Result<Vec<Product>, AnalysisError> {
    let seen = look(model, ids, control).await?;
    let channels = seen.iter().map(|seen| first_largest(&seen.bounds, PER_LAYER)).collect::<Vec<_>>();
    let columns = model.layers.iter().zip(&channels).map(|(layer, channels)| columns(&layer.mlp.down_proj, channels));
    let read = columns.fold(Transaction::default(), Transaction::register).execute_async().await?;
    let mut all = Vec::new();
    for (layer, ((seen, channels), data)) in seen.iter().zip(&channels).zip(read).enumerate() {
        let weights = floats(data);
        let product = |index: usize| {
            let (row, channel) = (index / channels.len(), channels[index % channels.len()]);
            let (weight, token, input) = (weights[index], seen.tokens[channel], seen.inputs[channel]);
            let relative = (weight * input).abs() / seen.rms.get(token).copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
            Product { at: WeightCoord::new(layer, row, channel), weight, token, input, relative: relative.min(f32::MAX) }
        };
        let sizes = (0..weights.len()).map(|index| product(index).value().abs()).collect::<Vec<_>>();
        all.extend(first_largest(&sizes, PER_LAYER).into_iter().map(product));
    }
    Ok(all)
}

async fn look(model: &Model, ids: &[u32], control: &Control) -> Result<Vec<Seen>, AnalysisError> {
    let block = block_of(model);
    let (mut x, pass) = model.begin(ids, 0);
    let mut transaction = Transaction::default();
    for (index, layer) in model.layers.iter().enumerate() {
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Everything);
        x = model.layer(index, x, &pass, None, &mut probe);
        for captured in probe.captured {
            let Kept::Everything(u) = captured.kept else { continue };
            let (inputs, tokens) = tensors::peaks(u.transpose());
            let bounds = inputs.clone().abs().flatten::<1>(0, 1) * largest(&layer.mlp.down_proj, Side::In, block);
            let rms = (x.clone() * x.clone()).mean_dim(1).sqrt();
            transaction = transaction.register(inputs).register(tokens).register(bounds).register(rms);
        }
        control.checkpoint().await?;
    }
    let mut read = transaction.execute_async().await?.into_iter();
    let mut seen = Vec::new();
    while let (Some(inputs), Some(tokens), Some(bounds), Some(rms)) = (read.next(), read.next(), read.next(), read.next()) {
        let tokens = tokens.convert::<i64>().try_into_vec::<i64>().unwrap_or_default();
        let tokens = tokens.into_iter().map(|token| usize::try_from(token).unwrap_or(0)).collect();
        seen.push(Seen { inputs: floats(inputs), tokens, bounds: floats(bounds), rms: floats(rms) });
    }
    if seen.iter().any(|seen| seen.bounds.iter().chain(&seen.rms).any(|value| !value.is_finite())) {
        return Err(DeviceError::NonFinite { what: "an activation of down_proj" }.into());
    }
    Ok(seen)
}

/// Columns of a `down_proj`, `[hidden_size, channels]`.
fn columns(down_proj: &Linear, channels: &[usize]) -> Tensor<2> {
    let [rows, _] = down_proj.shape();
    let column = |channel: &usize| match down_proj.layout {
        Layout::OutIn => down_proj.weight.block(0..rows, *channel..channel + 1),
        Layout::InOut => down_proj.weight.block(*channel..channel + 1, 0..rows).transpose(),
    };
    Tensor::cat(channels.iter().map(column).collect(), 1)
}

/// The indices of the `n` largest values, largest first; the earlier first among equals.
fn first_largest(values: &[f32], n: usize) -> Vec<usize> {
    let mut indices = (0..values.len()).collect::<Vec<_>>();
    let descending = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    if n < indices.len() {
        indices.select_nth_unstable_by(n, descending);
        indices.truncate(n);
    }
    indices.sort_unstable_by(descending);
    indices
}

/// Reads the output of `down_proj`, signed, at each product's row and token.
///
/// # Errors
///
/// A failing device.
pub async fn outputs(model: &Model, ids: &[u32], products: &[Product]) -> Result<Vec<f32>, AnalysisError> {
    let (mut x, pass) = model.begin(ids, 0);
    let mut at = vec![None; products.len()];
    let n_layers = products.iter().map(|product| product.at.layer + 1).max().unwrap_or(0);
    for layer in 0..n_layers {
        let mut probe = Probe::empty().capturing(&[Site::DownProjOutput], Keep::Everything);
        x = model.layer(layer, x, &pass, None, &mut probe);
        for captured in probe.captured {
            let Kept::Everything(y) = captured.kept else { continue };
            for (product, at) in products.iter().zip(&mut at).filter(|(product, _)| product.at.layer == layer) {
                let (token, row) = (product.token, product.at.row);
                *at = Some(y.clone().slice([token..token + 1, row..row + 1]));
            }
        }
    }
    let read = at.into_iter().flatten().fold(Transaction::default(), Transaction::register).execute_async().await?;
    Ok(read.into_iter().map(|data| floats(data).first().copied().unwrap_or(0.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_largest_are_in_order_and_the_earlier_of_equals_is_first() {
        let values = [0.5, 3.0, 1.0, 3.0, 2.0, 0.0];
        assert_eq!(first_largest(&values, 4), [1, 3, 4, 2]);
        assert_eq!(first_largest(&values, 9), [1, 3, 4, 2, 0, 5]);
        assert!(first_largest(&[], 3).is_empty());
    }
}
