//! Forward and backward pass over one sequence in bounded memory, for channel scores and the redundancy of halos.
//!
//! For each layer and each of T tokens, autodiff keeps about
//!
//! ```text
//! 4 bytes · (2 hidden_size + 2 (num_attention_heads + num_key_value_heads) head_dim + num_attention_heads T + n intermediate_size)
//! ```
//!
//! where n is 3 for silu (gate, up, u), about 8 for gelu, which consists of stock operations, and 11 for gelu with a
//! gate. As many layers as fit into [`Limits::of`] the model form one graph, at least one. For a short sequence all
//! layers form one graph. Otherwise a first pass without autodiff keeps the residual stream that enters each group of
//! layers, and each group, from the last to the first, is run again from there. Memory is then at most
//! `4 bytes · layers · T · hidden_size`, plus one group and its backward pass. The last group runs only once. A
//! backward pass costs about as much as a forward pass, because no weight has a gradient. The total is two passes for
//! short sequences and at most three.
//!
//! Logits are computed for a few tokens at a time ([`Limits::logits`]). Two things stay quadratic in T: one layer's
//! attention weights, `num_attention_heads · T²`, of which its forward and backward pass hold several copies, and the
//! mask, `T²`.

use std::ops::Range;

use burn::tensor::{Gradients, Tensor};

use super::error::AnalysisError;
use super::loss::cross_entropies;
use crate::model::config::{Activation, ModelConfig};
use crate::model::mlp::Hidden;
use crate::model::probe::{Probe, Reader, Summary};
use crate::model::{Model, Pass};
use crate::tensors::{DeviceError, Transaction};
use crate::terms::Site;

/// The memory that one pass may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that autodiff keeps for one graph of layers; a single layer may take more.
    pub kept_bytes: u64,
    /// Scalars of logits computed at once; a single token may have more.
    pub logits: usize,
}

impl Default for Limits {
    /// Defaults to 256 MiB for layers and 64 MiB for logits, which a softmax and its gradient multiply by about four.
    fn default() -> Self {
        Self { kept_bytes: 256 << 20, logits: 1 << 24 }
    }
}

impl Limits {
    /// Natively, the limit is half the bf16 size of the model's matrices (at least the default), because a device
    /// that holds the model has room for that, and fewer layers run twice. In a browser, which shares its GPU with
    /// everything else on the screen, the limits are the defaults.
    pub fn of(config: &ModelConfig) -> Self {
        if usize::BITS == 32 {
            return Self::default();
        }
        let attention = 2 * (config.num_attention_heads + config.num_key_value_heads) * config.head_dim;
        let n_layers = config.num_hidden_layers;
        let rows = (3 * config.intermediate_size.total(n_layers) + n_layers * attention) as u64;
        let half = config.hidden_size as u64 * rows;
        Self { kept_bytes: half.max(Self::default().kept_bytes), ..Self::default() }
    }
}

/// Sums over the tokens of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceSums {
    /// Mean next-token cross-entropy, nats.
    pub loss: f32,
    pub layers: Vec<LayerSums>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerSums {
    /// [`crate::tensors::channel_sums`] at the input of `down_proj`, row after row.
    pub channels: Vec<f32>,
    /// `Σ x²` of each channel of the feed-forward block's input.
    pub input_squares: Vec<f32>,
}

/// Computes the sums over a sequence of at least two tokens; gradients are those of the sequence's mean loss.
///
/// # Errors
///
/// A failing device, or a value that is not finite.
pub async fn sequence_sums(model: &Model, ids: &[u32], limits: Limits) -> Result<SequenceSums, AnalysisError> {
    let mut layers = Vec::new();
    let probe = || Probe::empty().with_taps(Site::DownProjInput).summarising(&[Reader::Mlp], Summary::Squares);
    let loss = backward(model, ids, limits, probe, |probe, grads| {
        for ((layer, sink), input) in probe.sinks.into_iter().zip(probe.inputs) {
            layers.extend(sink.grad_remove(grads).map(|channels| (layer, channels, input.summary)));
        }
    });
    layers.sort_by_key(|(layer, ..)| *layer);
    let mut transaction = Transaction::default().register(loss);
    for (_, channels, input_squares) in layers {
        transaction = transaction.register(channels).register(input_squares);
    }
    let read = transaction.execute_async().await?;
    let mut vectors = read.into_iter().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default());
    let loss = vectors.next().and_then(|loss| loss.first().copied()).unwrap_or(f32::NAN);
    let mut layers = Vec::with_capacity(model.layers.len());
    while let (Some(channels), Some(input_squares)) = (vectors.next(), vectors.next()) {
        layers.push(LayerSums { channels, input_squares });
    }
    let is_finite = |layer: &LayerSums| layer.channels.iter().chain(&layer.input_squares).all(|sum| sum.is_finite());
    if layers.len() != model.layers.len() || !layers.iter().all(is_finite) || !loss.is_finite() {
        return Err(DeviceError::NonFinite { what: "a channel's score" }.into());
    }
    Ok(SequenceSums { loss, layers })
}

/// Returns the mean loss of a sequence of at least two tokens. Each group of layers, starting with the last, runs
/// with its own probe, and `visit` gets that probe with the gradients of the group's backward pass.
pub(super) fn backward(
    model: &Model,
    ids: &[u32],
    limits: Limits,
    probe: impl Fn() -> Probe<'static>,
    mut visit: impl FnMut(Probe<'static>, &mut Gradients),
) -> Tensor<1> {
    let groups = groups(model.layers.len(), limits.layers(&model.config, kept_of_hidden(model), ids.len()));
    let (mut x, pass) = model.begin(ids, 0);
    let mut entering = vec![x.clone()];
    for group in &groups[..groups.len() - 1] {
        x = forward(model, group.clone(), x, &pass, &mut Probe::empty());
        entering.push(x.clone());
    }

    let (mut loss, mut gradient) = (None, None);
    for (group, x) in groups.into_iter().zip(entering).rev() {
        let mut probe = probe();
        // The gradient of the embeddings is not needed.
        let x = if group.start == 0 { x } else { x.autodiff().require_grad() };
        let y = forward(model, group, x.clone(), &pass, &mut probe);
        let of_y = gradient.take().unwrap_or_else(|| {
            let (of_sequence, gradient) = mean_loss(model, y.clone().without_autodiff(), ids, limits.logits);
            loss = Some(of_sequence);
            gradient
        });
        // A backward pass starts from ones, so multiplying y by its gradient passes that gradient on.
        let mut grads = (y * of_y).backward();
        visit(probe, &mut grads);
        gradient = x.grad_remove(&mut grads);
    }
    loss.unwrap_or_else(|| Tensor::full([1], f32::NAN, &model.device()))
}

/// Runs some layers of a pass.
fn forward(model: &Model, layers: Range<usize>, x: Tensor<2>, pass: &Pass, probe: &mut Probe) -> Tensor<2> {
    layers.fold(x, |x, layer| model.layer(layer, x, pass, None, probe))
}

/// Returns the mean loss computed from the last layer's output, `[seq, hidden_size]`, and its gradient. The last token
/// predicts nothing, so its gradient is 0.
fn mean_loss(model: &Model, x: Tensor<2>, ids: &[u32], logits: usize) -> (Tensor<1>, Tensor<2>) {
    let [seq, width] = x.dims();
    let n = seq - 1;
    let step = tokens_of(logits, &model.config);
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for first in (0..n).step_by(step) {
        let end = (first + step).min(n);
        let part = x.clone().slice([first..end, 0..width]).autodiff().require_grad();
        let each = cross_entropies(model.head(part.clone()), &ids[first + 1..=end]);
        // Each loss is weighted by its share of the mean; the backward pass starts from ones.
        let mut grads = (each.clone() * (1.0 / n as f64)).backward();
        gradients.extend(part.grad_remove(&mut grads));
        losses.push(each.without_autodiff());
    }
    gradients.push(Tensor::zeros([1, width], &x.device()));
    (Tensor::cat(losses, 0).mean(), Tensor::cat(gradients, 0))
}

/// The number of tokens whose logits have at most `logits` scalars, at least one.
pub(super) fn tokens_of(logits: usize, config: &ModelConfig) -> usize {
    (logits / config.vocab_size.max(1)).max(1)
}

impl Limits {
    /// The number of layers in one graph, at least one. Every layer counts as wide as the widest.
    fn layers(self, config: &ModelConfig, of_hidden: usize, seq: usize) -> usize {
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (_, widest) = config.intermediate_size.range();
        let of_token = 2 * config.hidden_size + 2 * (heads + kv_heads) * config.head_dim + heads * seq + of_hidden * widest;
        // Computed in 64 bits, because a browser's usize has 32.
        let bytes = 4 * seq as u64 * of_token as u64;
        usize::try_from(self.kept_bytes / bytes.max(1)).unwrap_or(usize::MAX).max(1)
    }
}

/// The n in the module's documentation.
fn kept_of_hidden(model: &Model) -> usize {
    let is_gated = model.layers.iter().any(|layer| matches!(layer.mlp.hidden, Hidden::Gated { .. }));
    match (model.config.activation, is_gated) {
        (Activation::Silu, _) => 3,
        (Activation::Gelu | Activation::GeluTanh, false) => 8,
        (Activation::Gelu | Activation::GeluTanh, true) => 11,
    }
}

/// Splits layers into groups of `size`, in order. The first group may be smaller, because the last one is the
/// cheapest: it runs once.
fn groups(n_layers: usize, size: usize) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut end = n_layers;
    while end > 0 {
        let start = end.saturating_sub(size);
        groups.push(start..end);
        end = start;
    }
    groups.reverse();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_all_layers_and_the_last_is_whole() {
        assert_eq!(groups(5, 2), [0..1, 1..3, 3..5]);
        assert_eq!(groups(4, 2), [0..2, 2..4]);
        assert_eq!(groups(3, 1), [0..1, 1..2, 2..3]);
        assert_eq!(groups(3, usize::MAX), [0..3]);
    }

    #[test]
    fn fewer_layers_fit_where_sequences_are_long() {
        let json = include_bytes!("../../public/models/linchpin-13m/config.json");
        let config = ModelConfig::from_json(json).unwrap();
        // Bytes per layer: 4 · 512 · (2 · 256 + 2 · 8 · 64 + 4 · 512 + 3 · 448).
        assert_eq!(Limits::default().layers(&config, 3, 512), 26);
        assert_eq!(Limits::of(&config), Limits::default());
        // 4 · 2^20 · (2880 + 4 · 2^20) bytes do not fit into 32 bits.
        assert_eq!(Limits::default().layers(&config, 3, 1 << 20), 1);
        assert_eq!(Limits { kept_bytes: 1 << 45, ..Limits::default() }.layers(&config, 3, 1 << 20), 1);
        assert_eq!(Limits { kept_bytes: 1 << 46, ..Limits::default() }.layers(&config, 3, 1 << 20), 3);
    }
}
