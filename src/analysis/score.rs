//! Scores of every feed-forward channel, from one forward and one backward pass per sequence (arXiv:2604.23475, section
//! 3, and the authors' `llm_experiments.py`). [`ChannelScores`] defines the scores.
//!
//! `u` and its gradient meet where the backward pass crosses a layer's `down_proj`, and only their sums over tokens
//! are kept ([`crate::tensors::tap`]): in f32 on the device within a sequence, in f64 on the host between sequences.
//! Sequences run one at a time, and each ends with one small read (24 bytes a channel), so memory does not grow with
//! their number. [`super::backward`] states the memory of one sequence.

use super::backward::{LayerSums, Limits, sequence_sums};
use super::channel_weights::{Norms, reading_magnitudes};
use super::error::AnalysisError;
use crate::model::Model;
use crate::terms::ChannelScores;

/// Running sums over sequences, and the norms of the weights.
#[derive(Debug, Clone)]
pub struct Scores {
    layers: Vec<LayerTotals>,
    norms: Vec<Norms>,
    loss: f64,
    pub n_sequences: usize,
    pub n_tokens: usize,
}

/// [`LayerSums`] of all sequences.
#[derive(Debug, Clone, Default)]
struct LayerTotals {
    channels: Vec<f64>,
    input_squares: Vec<f64>,
}

impl Scores {
    /// Computes the norms of the weights; the sums are empty.
    ///
    /// # Errors
    ///
    /// A failing device.
    pub async fn new(model: &Model) -> Result<Self, AnalysisError> {
        let mut norms = Vec::new();
        for layer in model.layers.iter() {
            norms.push(Norms::of(&layer.mlp).await?);
        }
        Ok(Self { layers: vec![LayerTotals::default(); model.layers.len()], norms, loss: 0.0, n_sequences: 0, n_tokens: 0 })
    }

    /// Adds one sequence of at least two tokens.
    ///
    /// # Errors
    ///
    /// A failing device, or a sum that is not finite; the earlier sums stay unchanged.
    pub async fn add(&mut self, model: &Model, ids: &[u32]) -> Result<(), AnalysisError> {
        let of_sequence = sequence_sums(model, ids, Limits::of(&model.config)).await?;
        self.layers.iter_mut().zip(&of_sequence.layers).for_each(|(totals, sums)| totals.add(sums));
        self.loss += f64::from(of_sequence.loss);
        self.n_sequences += 1;
        self.n_tokens += ids.len();
        Ok(())
    }

    /// Returns the mean of the sequences' mean next-token cross-entropies, nats.
    pub fn loss_nats(&self) -> f32 {
        (self.loss / self.n_sequences.max(1) as f64) as f32
    }

    /// Returns each layer's loss proxy, enough for a chart while the scoring continues.
    pub fn loss_proxies(&self) -> Vec<Vec<f32>> {
        (0..self.layers.len()).map(|layer| self.loss_proxy(layer)).collect()
    }

    fn loss_proxy(&self, layer: usize) -> Vec<f32> {
        self.mean(layer, Row::ProductSquare).map(|mean| (0.5 * mean) as f32).collect()
    }

    /// Returns all scores of all layers. This reads all weights once, so the result should be kept.
    ///
    /// # Errors
    ///
    /// A failing device.
    pub async fn channels(&self, model: &Model) -> Result<Vec<ChannelScores>, AnalysisError> {
        let mut all = Vec::with_capacity(self.layers.len());
        for (layer, norms) in self.norms.iter().enumerate() {
            let mean = |row| self.mean(layer, row).map(|mean| mean as f32).collect();
            all.push(ChannelScores {
                layer,
                loss_proxy: self.loss_proxy(layer),
                mean_activation: mean(Row::Value),
                activation_power: mean(Row::Square),
                variance: self.variance(layer).collect(),
                peak_activation: self.row(layer, Row::Peak).map(|peak| peak as f32).collect(),
                curvature: mean(Row::GradientSquare),
                taylor: mean(Row::Product),
                down_norm: norms.down.clone(),
                gate_norm: norms.gate.clone(),
                up_norm: norms.up.clone(),
                wanda: self.wanda(model, layer).await?,
            });
        }
        Ok(all)
    }

    /// Computes [`ChannelScores::variance`] of a layer.
    fn variance(&self, layer: usize) -> impl Iterator<Item = f32> {
        self.mean(layer, Row::Square).zip(self.mean(layer, Row::Value)).map(|(power, mean)| (power - mean * mean).max(0.0) as f32)
    }

    /// See [`ChannelScores::wanda`].
    async fn wanda(&self, model: &Model, layer: usize) -> Result<Vec<f32>, AnalysisError> {
        let norm = |sum: f64| (sum / self.n_sequences.max(1) as f64).sqrt() as f32;
        let x = self.layers[layer].input_squares.iter().map(|sum| norm(*sum)).collect::<Vec<_>>();
        let read = reading_magnitudes(&model.layers[layer].mlp, &x).await?;
        let written = self.row(layer, Row::Square).map(norm).zip(&self.norms[layer].down_magnitude);
        Ok(read.iter().zip(written).map(|(read, (u, magnitude))| read + u * magnitude).collect())
    }

    fn row(&self, layer: usize, row: Row) -> impl Iterator<Item = f64> {
        let sums = &self.layers[layer].channels;
        let width = sums.len() / Row::ALL.len();
        sums.iter().skip(row as usize * width).take(width).copied()
    }

    fn mean(&self, layer: usize, row: Row) -> impl Iterator<Item = f64> {
        let n = self.n_tokens.max(1) as f64;
        self.row(layer, row).map(move |sum| sum / n)
    }
}

/// Rows of [`crate::tensors::channel_sums`], in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Value,
    Square,
    Peak,
    GradientSquare,
    Product,
    ProductSquare,
}

impl Row {
    const ALL: [Self; crate::tensors::N_CHANNEL_SUMS] =
        [Self::Value, Self::Square, Self::Peak, Self::GradientSquare, Self::Product, Self::ProductSquare];
}

impl LayerTotals {
    /// Adds the sums of one sequence; a peak becomes the larger of the two.
    fn add(&mut self, sums: &LayerSums) {
        let LayerSums { channels, input_squares } = sums;
        self.channels.resize(channels.len(), 0.0);
        let width = (channels.len() / Row::ALL.len()).max(1);
        for (row, (totals, sums)) in Row::ALL.iter().zip(self.channels.chunks_mut(width).zip(channels.chunks(width))) {
            add_to(totals, sums, |total, sum| if *row == Row::Peak { total.max(sum) } else { total + sum });
        }
        self.input_squares.resize(input_squares.len(), 0.0);
        add_to(&mut self.input_squares, input_squares, |total, sum| total + sum);
    }
}

fn add_to(totals: &mut [f64], sums: &[f32], add: impl Fn(f64, f64) -> f64) {
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total = add(*total, f64::from(*sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_that_hardly_changes_has_its_variance() {
        // One channel has one token per sequence: 2048, then 2049. Over both, mean u² - (mean u)² is 0.5 in f32.
        let of = |u: f32| LayerSums { channels: vec![u, u * u, u, 0.0, 0.0, 0.0], input_squares: Vec::new() };
        let mut totals = LayerTotals::default();
        totals.add(&of(2048.0));
        totals.add(&of(2049.0));
        let scores = Scores { layers: vec![totals], norms: Vec::new(), loss: 0.0, n_sequences: 2, n_tokens: 2 };
        assert_eq!(scores.variance(0).collect::<Vec<_>>(), [0.25]);
    }
}
