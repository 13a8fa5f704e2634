//! Removes many feed-forward channels at once: a new [`Model`] that shares every unchanged matrix.

use burn::tensor::{Tensor, TensorData};

use super::layers::{Layout, Linear};
use super::mlp::{Hidden, Mlp};
use super::{DecoderLayer, Model};

impl Model {
    /// The model without these channels, listed by layer: their rows of gate and up (GPT-2: of `c_fc`, with the bias)
    /// and their columns of `down_proj` are zero. The result is the same as after one edit for each channel, but
    /// takes one pass over a matrix.
    ///
    /// With `means` (a number for every channel of every layer), a removed channel becomes a constant: `down_proj`
    /// gets the bias `Σ mean_i · down_proj.weight[:, i]` over the removed `i`, the mean of their output.
    ///
    /// # Panics
    ///
    /// If a channel is outside the model; the engine only selects channels of the model.
    #[must_use]
    pub fn without_channels(&self, channels: &[Vec<usize>], means: Option<&[Vec<f32>]>) -> Self {
        let mut pruned = self.clone();
        let mut has_constants = false;
        for (layer, channels) in channels.iter().enumerate().filter(|(_, channels)| !channels.is_empty()) {
            let mlp = &mut pruned.layers.edit(layer).mlp;
            if let Some(means) = means {
                let constant = constant(&mlp.down_proj, channels, &means[layer]);
                add_to_bias(&mut mlp.down_proj, constant);
                has_constants = true;
            }
            remove(mlp, channels);
        }
        if has_constants {
            pruned.layers.reshape(with_down_bias);
        }
        pruned
    }
}

impl Model {
    /// Adds the output of a channel with the constant activation `value` to the bias of a layer's `down_proj`.
    pub(super) fn add_constant(&mut self, layer: usize, channel: usize, value: f32) {
        let down_proj = &mut self.layers.edit(layer).mlp.down_proj;
        let [_, n] = down_proj.shape();
        let mut means = vec![0.0; n];
        means[channel] = value;
        let constant = constant(down_proj, &[channel], &means);
        add_to_bias(down_proj, constant);
        self.layers.reshape(with_down_bias);
    }
}

fn remove(mlp: &mut Mlp, channels: &[usize]) {
    match &mut mlp.hidden {
        Hidden::Gated { gate_proj, up_proj } => {
            remove_outputs(gate_proj, channels);
            remove_outputs(up_proj, channels);
        }
        Hidden::Plain { c_fc } => remove_outputs(c_fc, channels),
    }
    // A column of `[out, in]` is a row in the layout `InOut`.
    let is_row = mlp.down_proj.layout == Layout::InOut;
    mlp.down_proj.weight.zero_lines(is_row, channels);
}

fn remove_outputs(linear: &mut Linear, channels: &[usize]) {
    let is_row = linear.layout == Layout::OutIn;
    linear.weight.zero_lines(is_row, channels);
    if let Some(bias) = &mut linear.bias {
        bias.inplace(|bias| {
            let n = bias.dims()[0];
            let mut keep = vec![1.0_f32; n];
            channels.iter().for_each(|channel| keep[*channel] = 0.0);
            let keep = Tensor::from_data(TensorData::new(keep, [n]), &bias.device());
            bias * keep
        });
    }
}

/// The sum of these channels' outputs, each at its mean, `[hidden_size]`.
fn constant(down_proj: &Linear, channels: &[usize], means: &[f32]) -> Tensor<1> {
    let [hidden_size, n] = down_proj.shape();
    let mut u = vec![0.0_f32; n];
    channels.iter().for_each(|channel| u[*channel] = means[*channel]);
    let u = Tensor::from_data(TensorData::new(u, [1, n]), &down_proj.weight.device());
    down_proj.weight.product(u, down_proj.layout == Layout::OutIn).reshape([hidden_size])
}

fn add_to_bias(linear: &mut Linear, constant: Tensor<1>) {
    linear.bias = Some(match linear.bias.take() {
        Some(bias) => bias + constant,
        None => constant,
    });
}

/// Gives `down_proj` a bias of zeros if it has none: a decode plan is made for one kind of layer, so if one layer has
/// a bias, every layer must.
fn with_down_bias(layer: &mut DecoderLayer) {
    let down_proj = &mut layer.mlp.down_proj;
    let [hidden_size, _] = down_proj.shape();
    let device = down_proj.weight.device();
    down_proj.bias.get_or_insert_with(|| Tensor::zeros([hidden_size], &device));
}
