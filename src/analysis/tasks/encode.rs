//! Encodes items as token ids; [`super`] defines how they are cut.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Choice, Item, Task, TaskKind};
use crate::analysis::AnalysisError;
use crate::job::control::Control;
use crate::tokenizer::Tokenizer;

/// The chosen items of a task, ready to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedTask {
    pub kind: TaskKind,
    pub items: Vec<EncodedItem>,
}

/// An [`Item`] as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedItem {
    pub line: usize,
    pub choices: Vec<EncodedChoice>,
    pub gold: usize,
}

/// A [`Choice`] as token ids; neither part is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChoice {
    pub context: Vec<u32>,
    pub continuation: Vec<u32>,
    pub n_characters: usize,
}

impl EncodedChoice {
    /// Returns all ids except the last, which predicts nothing.
    pub fn input(&self) -> Vec<u32> {
        [&self.context, &self.continuation[..self.continuation.len() - 1]].concat()
    }
}

impl EncodedItem {
    /// The number of tokens that run through the model if choices share no context.
    pub fn n_tokens(&self) -> usize {
        self.choices.iter().map(|choice| choice.context.len() + choice.continuation.len() - 1).sum()
    }

    /// `true` if all choices follow the same tokens.
    pub fn has_one_context(&self) -> bool {
        self.choices.windows(2).all(|pair| pair[0].context == pair[1].context)
    }
}

impl EncodedTask {
    /// Encodes the first `limit` items, as lm-evaluation-harness does, or a draw of that number by `seed`, in the
    /// file's order.
    ///
    /// # Errors
    ///
    /// A line whose choice adds no token to its context, or is longer than the model's context; or a stop.
    pub async fn of(
        task: &Task,
        limit: Option<usize>,
        seed: Option<u64>,
        tokenizer: &Tokenizer,
        max_position_embeddings: usize,
        control: &Control,
    ) -> Result<Self, AnalysisError> {
        let mut items = Vec::new();
        for index in chosen(task.items.len(), limit, seed) {
            let item = &task.items[index];
            items.push(encode(task.kind, item, tokenizer, max_position_embeddings)?);
            control.checkpoint().await?;
        }
        Ok(Self { kind: task.kind, items })
    }

    /// The sum of [`EncodedItem::n_tokens`] over all items.
    pub fn n_tokens(&self) -> usize {
        self.items.iter().map(EncodedItem::n_tokens).sum()
    }

    /// The number of tokens in the longest pass.
    pub fn longest(&self) -> usize {
        let choices = self.items.iter().flat_map(|item| &item.choices);
        choices.map(|choice| choice.context.len() + choice.continuation.len() - 1).max().unwrap_or(0)
    }
}

/// Chooses items out of `n` and returns their indices, ascending.
fn chosen(n: usize, limit: Option<usize>, seed: Option<u64>) -> Vec<usize> {
    let mut indices = (0..n).collect::<Vec<_>>();
    let limit = limit.unwrap_or(n).min(n);
    if let (Some(seed), true) = (seed, limit < n) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for place in 0..limit {
            let other = place + (rng.next_u64() % (n - place) as u64) as usize;
            indices.swap(place, other);
        }
    }
    indices.truncate(limit);
    indices.sort_unstable();
    indices
}

fn encode(kind: TaskKind, item: &Item, tokenizer: &Tokenizer, limit: usize) -> Result<EncodedItem, AnalysisError> {
    let mut choices = Vec::with_capacity(item.choices.len());
    // In most tasks all choices share one context, so its ids are kept for the next choice.
    let mut last: Option<(&str, Vec<u32>)> = None;
    for choice in &item.choices {
        let context = match last.take() {
            Some((text, ids)) if text == choice.context => ids,
            // Spaces at the end of the context belong to the continuation.
            _ => tokenizer.encode(choice.context.trim_end())?,
        };
        choices.push(follow(choice, &context, tokenizer, limit)?.map_err(|why| AnalysisError::TaskLine {
            task: kind.name(),
            line: item.line,
            why,
        })?);
        last = Some((&choice.context, context));
    }
    Ok(EncodedItem { line: item.line, choices, gold: item.gold })
}

/// A choice after the ids of its context, or its error.
fn follow(choice: &Choice, context: &[u32], tokenizer: &Tokenizer, limit: usize) -> Result<Result<EncodedChoice, String>, AnalysisError> {
    let whole = tokenizer.encode(&format!("{}{}", choice.context, choice.continuation))?;
    let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
    if continuation.is_empty() || context.is_empty() {
        return Ok(Err("has a choice that adds no token".into()));
    }
    if continuation.len() > limit {
        return Ok(Err(format!("has a choice of {} tokens, but the model's context has {limit}", continuation.len())));
    }
    let excess = (context.len() + continuation.len()).saturating_sub(limit + 1);
    Ok(Ok(EncodedChoice { context: context[excess..].to_vec(), continuation, n_characters: choice.n_characters }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_takes_the_first_or_draws() {
        assert_eq!(chosen(5, None, None), [0, 1, 2, 3, 4]);
        assert_eq!(chosen(5, Some(3), None), [0, 1, 2]);
        assert_eq!(chosen(5, Some(9), Some(1)), [0, 1, 2, 3, 4]);
        let drawn = chosen(1000, Some(50), Some(7));
        assert_eq!((drawn.len(), chosen(1000, Some(50), Some(7))), (50, drawn.clone()));
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]) && drawn[49] > 500);
        assert_ne!(drawn, chosen(1000, Some(50), Some(8)));
    }
}
