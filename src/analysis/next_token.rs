//! The mean of a model's next-token probabilities over many prompts.

use burn::tensor::{Tensor, activation};

use super::error::AnalysisError;
use super::residual::floats;
use crate::job::control::Control;
use crate::model::probe::Probe;
use crate::model::{Model, Positions};
use crate::tensors::{DeviceError, Transaction};

/// Prompts whose probabilities are summed on the device before they are read.
const PER_READ: usize = 16;

/// Mean next-token statistics over prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct NextToken {
    /// Mean probability of every token, `[vocab_size]`.
    pub probabilities: Vec<f64>,
    /// Mean entropy of the distribution, nats.
    pub entropy: f64,
    /// Mean probability of the likeliest token.
    pub largest: f64,
}

impl NextToken {
    /// Returns token ids by mean probability, the largest first.
    pub fn ranked(&self) -> Vec<usize> {
        let mut ids = (0..self.probabilities.len()).collect::<Vec<_>>();
        ids.sort_by(|a, b| self.probabilities[*b].total_cmp(&self.probabilities[*a]).then(a.cmp(b)));
        ids
    }
}

/// Runs each prompt on its own, at its own length. `progress` gets the number of prompts done.
///
/// # Errors
///
/// A failing device, a stop, or probabilities that are not finite.
pub async fn next_token(
    model: &Model,
    prompts: &[Vec<u32>],
    control: &Control,
    mut progress: impl FnMut(usize),
) -> Result<NextToken, AnalysisError> {
    let mut means = NextToken { probabilities: vec![0.0; model.config.vocab_size], entropy: 0.0, largest: 0.0 };
    let n = prompts.len().max(1) as f64;
    for (index, some) in prompts.chunks(PER_READ).enumerate() {
        let mut sums = None::<[Tensor<2>; 3]>;
        for (within, ids) in some.iter().enumerate() {
            let each = of_prompt(model, ids);
            sums = Some(match sums {
                Some([p, entropy, largest]) => {
                    let [p_more, entropy_more, largest_more] = each;
                    [p + p_more, entropy + entropy_more, largest + largest_more]
                }
                None => each,
            });
            progress(index * PER_READ + within + 1);
            control.checkpoint().await?;
        }
        let transaction = sums.into_iter().flatten().fold(Transaction::default(), Transaction::register);
        let read = transaction.execute_async().await?.into_iter().map(floats).collect::<Vec<_>>();
        let [probabilities, entropy, largest] = &read[..] else { continue };
        if !read.iter().flatten().all(|value| value.is_finite()) {
            return Err(DeviceError::NonFinite { what: "the next token's probabilities" }.into());
        }
        means.probabilities.iter_mut().zip(probabilities).for_each(|(mean, sum)| *mean += f64::from(*sum) / n);
        means.entropy += entropy.iter().map(|sum| f64::from(*sum)).sum::<f64>() / n;
        means.largest += largest.iter().map(|sum| f64::from(*sum)).sum::<f64>() / n;
    }
    Ok(means)
}

/// Returns the probabilities, `[1, vocab_size]`, their entropy, and the largest of them, each `[1, 1]`.
fn of_prompt(model: &Model, ids: &[u32]) -> [Tensor<2>; 3] {
    let logits = model.forward(ids, None, Positions::Last, &mut Probe::empty());
    let logs = activation::log_softmax(logits, 1);
    let p = logs.clone().exp();
    let entropy = (p.clone() * logs).sum_dim(1).neg();
    [p.clone(), entropy, p.max_dim(1)]
}
