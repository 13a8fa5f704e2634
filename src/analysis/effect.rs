//! The effect of removing scalars on a model's predictions for one text: a test that costs one short pass, from the
//! scalar's layer on.
//!
//! ```text
//! effect = mean over positions of KL(p ‖ p′) = mean of Σ_v p(v) ln(p(v) / p′(v))    nats
//! ```
//!
//! p are the model's next-token probabilities and p′ those without the scalar. It needs no text whose continuation is
//! known, and if the model's probabilities are right, it is what its own loss on that text rises by.
//!
//! The first position is left out. Massive activations lie there, so that its predictions change most (by 4.6 nats in
//! SmolLM2-135M-Instruct without layer 28's [247, 678], and by 0.004 at all others), while it is one position of a long
//! text.

use burn::tensor::{Tensor, activation};

use super::error::AnalysisError;
use super::prefix::Prefixes;
use super::residual::floats;
use crate::model::Model;
use crate::model::probe::Probe;
use crate::tensors::Transaction;
use crate::terms::{Ablation, WeightCoord};

/// The most positions that are compared: the last ones of the text.
const N_POSITIONS: usize = 32;

/// A model's predictions for a text, to compare others with.
pub struct Predictions<'a> {
    model: Model,
    ids: &'a [u32],
    prefixes: Prefixes,
    /// Probabilities and their logarithms, `[positions, vocab_size]` each.
    p: Tensor<2>,
    ln_p: Tensor<2>,
}

impl<'a> Predictions<'a> {
    pub fn of(model: &Model, ids: &'a [u32]) -> Self {
        let mut prefixes = Prefixes::default();
        let ln_p = ln_probabilities(model, ids, &mut prefixes);
        Self { model: model.clone(), ids, prefixes, p: ln_p.clone().exp(), ln_p }
    }

    /// The effect of zeroing scalars together, nats; the largest number if the predictions without them are not
    /// finite.
    ///
    /// # Errors
    ///
    /// A scalar outside the model, or a failing device.
    pub async fn without(&mut self, scalars: impl IntoIterator<Item = WeightCoord>) -> Result<f32, AnalysisError> {
        let changed = self.model.with_ablation(&Ablation::zeroing(scalars))?;
        let ln_q = ln_probabilities(&changed, self.ids, &mut self.prefixes);
        let [positions, _] = ln_q.dims();
        let effect = (self.p.clone() * (self.ln_p.clone() - ln_q)).sum_dim(1).sum_dim(0) / positions as f64;
        let read = Transaction::default().register(effect).execute_async().await?;
        let effect = read.into_iter().next().map(floats).and_then(|values| values.first().copied());
        Ok(effect.filter(|nats| nats.is_finite()).unwrap_or(f32::MAX))
    }
}

fn ln_probabilities(model: &Model, ids: &[u32], prefixes: &mut Prefixes) -> Tensor<2> {
    let x = prefixes.run(model, ids, &mut Probe::empty());
    let [seq, width] = x.dims();
    let first = seq.saturating_sub(N_POSITIONS).max(1).min(seq - 1);
    activation::log_softmax(model.head(x.slice([first..seq, 0..width])), 1)
}
