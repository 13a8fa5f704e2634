//! Log-likelihoods of every choice, with one read per item.

use burn::tensor::Tensor;

use super::encode::{EncodedItem, EncodedTask};
use super::score::{ChoiceScore, ItemScore, TaskScore};
use crate::analysis::AnalysisError;
use crate::analysis::backward::{Limits, tokens_of};
use crate::analysis::loss::cross_entropies;
use crate::job::control::Control;
use crate::model::probe::Probe;
use crate::model::{KvCache, Model, Positions};
use crate::tensors::{DeviceError, Transaction};

/// Scores a task's items one after the other; `probe` creates the probe of each pass. If `is_whole`, every choice is
/// a separate pass over all its tokens, as required by edits that depend on a whole sequence. Otherwise a context
/// shared by several choices runs once.
///
/// After each item, `progress` gets the number of tokens done, out of [`EncodedTask::n_tokens`].
///
/// # Errors
///
/// A failing device, or a stop. A log-likelihood that is not finite is not an error: its item counts as wrong.
pub async fn measure<'a>(
    model: &Model,
    task: &EncodedTask,
    probe: impl Fn() -> Probe<'a>,
    is_whole: bool,
    control: &Control,
    mut progress: impl FnMut(usize),
) -> Result<TaskScore, AnalysisError> {
    let (mut items, mut done) = (Vec::with_capacity(task.items.len()), 0);
    for item in &task.items {
        let hidden = match !is_whole && item.has_one_context() {
            true => after_one_context(model, item, &probe),
            false => one_by_one(model, item, &probe),
        };
        items.push(ItemScore { line: item.line, gold: item.gold, choices: scores(model, item, hidden).await? });
        done += item.n_tokens();
        progress(done);
        control.checkpoint().await?;
    }
    Ok(TaskScore::of(task.kind, items))
}

/// Returns the hidden states that predict the continuations' tokens, choice after choice, `[tokens, hidden_size]`.
fn one_by_one<'a>(model: &Model, item: &EncodedItem, probe: &impl Fn() -> Probe<'a>) -> Tensor<2> {
    let of_choice = item.choices.iter().map(|choice| {
        let input = choice.input();
        let x = model.without_head(&input, None, Positions::All, &mut probe());
        let first = input.len() - choice.continuation.len();
        x.slice([first..input.len(), 0..model.config.hidden_size])
    });
    Tensor::cat(of_choice.collect(), 0)
}

/// Returns the hidden states of [`one_by_one`], with the context run once.
fn after_one_context<'a>(model: &Model, item: &EncodedItem, probe: &impl Fn() -> Probe<'a>) -> Tensor<2> {
    let mut cache = KvCache::default();
    let context = &item.choices[0].context;
    let last = model.without_head(context, Some(&mut cache), Positions::Last, &mut probe());
    let mut hidden = Vec::new();
    for choice in &item.choices {
        hidden.push(last.clone());
        let [fed @ .., _] = choice.continuation.as_slice() else { continue };
        if !fed.is_empty() {
            hidden.push(model.without_head(fed, Some(&mut cache.clone()), Positions::All, &mut probe()));
        }
    }
    Tensor::cat(hidden, 0)
}

/// Computes logits for the continuations only, and for a few tokens at a time.
async fn scores(model: &Model, item: &EncodedItem, hidden: Tensor<2>) -> Result<Vec<ChoiceScore>, AnalysisError> {
    let targets = item.choices.iter().flat_map(|choice| choice.continuation.iter().copied()).collect::<Vec<_>>();
    let (step, width) = (tokens_of(Limits::default().logits, &model.config), model.config.hidden_size);
    let (mut losses, mut likeliest) = (Vec::new(), Vec::new());
    for first in (0..targets.len()).step_by(step) {
        let end = (first + step).min(targets.len());
        let logits = model.head(hidden.clone().slice([first..end, 0..width]));
        losses.push(cross_entropies(logits.clone(), &targets[first..end]));
        likeliest.push(logits.argmax(1));
    }
    let read = Transaction::default().register(Tensor::cat(losses, 0)).register(Tensor::cat(likeliest, 0)).execute_async().await?;
    let mut read = read.into_iter();
    let losses = read.next().and_then(|data| data.convert::<f32>().try_into_vec::<f32>().ok()).unwrap_or_default();
    let likeliest = read.next().and_then(|data| data.convert::<i64>().try_into_vec::<i64>().ok()).unwrap_or_default();
    if losses.len() != targets.len() || likeliest.len() != targets.len() {
        return Err(DeviceError::Execution { why: "a choice's scores are not as many as its tokens".into() }.into());
    }
    let mut first = 0;
    let of_choice = item.choices.iter().map(|choice| {
        let range = first..first + choice.continuation.len();
        first = range.end;
        ChoiceScore {
            loglikelihood: -losses[range.clone()].iter().map(|loss| f64::from(*loss)).sum::<f64>(),
            is_greedy: targets[range.clone()].iter().zip(&likeliest[range]).all(|(target, id)| i64::from(*target) == *id),
            n_tokens: choice.continuation.len(),
            n_characters: choice.n_characters,
        }
    });
    Ok(of_choice.collect())
}
