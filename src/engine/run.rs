//! Both panes, token by token, from the same prompt and seed.

use std::time::Duration;

use burn::tensor::Tensor;
use web_time::Instant;

use super::Loaded;
use super::control::Control;
use super::error::EngineError;
use crate::generate::{Sampler, repetition};
use crate::model::probe::Probe;
use crate::model::{KvCache, Model, Positions};
use crate::protocol::Event;
use crate::terms::{Finish, Generated, Intervention, Pane, RunRecord, RunSetup, Sampling, first_difference, outcome_digest};
use crate::tokenizer::{StreamingText, Tokenizer};

impl Loaded {
    /// Runs the intact and the ablated model side by side. A stop ends both where they are, and the record is complete.
    ///
    /// # Errors
    ///
    /// A bad prompt or setting, a failing device, or logits that are not finite.
    pub(super) async fn run(&self, prompt: &str, sampling: Sampling, control: &Control) -> Result<RunRecord, EngineError> {
        check(&sampling)?;
        let ids = self.prompt_ids(prompt)?;
        let context = PaneContext {
            tokenizer: &self.tokenizer,
            stopword_ids: &self.held_out.stopword_ids,
            eos: &self.intact.config.eos_token_ids,
            room: self.info.max_position_embeddings - ids.len(),
            max_new_tokens: sampling.max_new_tokens,
            is_mirrored: self.ablation.is_empty(),
        };
        let mut panes = vec![PaneRun::new(Pane::Intact, &self.intact, &[], sampling)];
        // Without an ablation the second pane is the first.
        if !self.ablation.is_empty() {
            panes.push(PaneRun::new(Pane::Ablated, &self.ablated, &self.ablation.interventions, sampling));
        }
        for pane in &mut panes {
            pane.advance(&ids).await?;
        }
        while panes.iter().any(|pane| pane.finish.is_none()) {
            for pane in &mut panes {
                pane.step(&context, control).await?;
                if control.checkpoint().await.is_err() {
                    pane.finish.get_or_insert(Finish::Stopped);
                }
            }
        }
        let mut generated = panes.into_iter().map(|pane| pane.into_generated(&self.tokenizer)).collect::<Result<Vec<_>, _>>()?;
        let ablated = if generated.len() > 1 { generated.pop() } else { None };
        let intact = generated.remove(0);
        let ablated = ablated.unwrap_or_else(|| intact.clone());
        control.emit(Event::PaneDone { pane: Pane::Intact, generated: intact.clone() });
        control.emit(Event::PaneDone { pane: Pane::Ablated, generated: ablated.clone() });
        Ok(RunRecord {
            setup: RunSetup { model: self.info.model.clone(), prompt: prompt.into(), sampling, ablation: self.ablation.clone() },
            backend: self.info.backend.clone(),
            first_difference: first_difference(&intact.token_ids, &ablated.token_ids),
            digest: outcome_digest(&intact.token_ids, &ablated.token_ids),
            intact,
            ablated,
        })
    }
}

fn check(sampling: &Sampling) -> Result<(), EngineError> {
    if !(0.0..=5.0).contains(&sampling.temperature) {
        return Err(EngineError::Setting { key: "temperature", got: sampling.temperature.to_string(), expected: "0 to 5" });
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return Err(EngineError::Setting { key: "top_p", got: sampling.top_p.to_string(), expected: "more than 0, at most 1" });
    }
    if sampling.max_new_tokens == 0 {
        return Err(EngineError::Setting { key: "max_new_tokens", got: "0".into(), expected: "1 or more" });
    }
    Ok(())
}

/// What both panes share.
struct PaneContext<'a> {
    tokenizer: &'a Tokenizer,
    stopword_ids: &'a [u32],
    eos: &'a [u32],
    /// New tokens that fit the model's context.
    room: usize,
    max_new_tokens: usize,
    /// Whether the one pane stands for both.
    is_mirrored: bool,
}

/// One pane on its way.
struct PaneRun<'a> {
    pane: Pane,
    model: &'a Model,
    interventions: &'a [Intervention],
    sampler: Sampler,
    cache: KvCache,
    /// Of the last position.
    logits: Vec<f32>,
    text: StreamingText,
    token_ids: Vec<u32>,
    stopword_mass: f64,
    /// Spent on this pane's new tokens, without the prompt.
    spent: Duration,
    finish: Option<Finish>,
}

impl<'a> PaneRun<'a> {
    fn new(pane: Pane, model: &'a Model, interventions: &'a [Intervention], sampling: Sampling) -> Self {
        Self {
            pane,
            model,
            interventions,
            sampler: Sampler::new(sampling),
            cache: KvCache::default(),
            logits: Vec::new(),
            text: StreamingText::default(),
            token_ids: Vec::new(),
            stopword_mass: 0.0,
            spent: Duration::ZERO,
            finish: None,
        }
    }

    /// Feeds tokens and waits for the logits of the last.
    async fn advance(&mut self, ids: &[u32]) -> Result<(), EngineError> {
        let mut probe = Probe::with_interventions(self.interventions);
        let logits: Tensor<2> = self.model.forward(ids, Some(&mut self.cache), Positions::Last, &mut probe);
        let data = logits.into_data_async().await?;
        self.logits = data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
        Ok(())
    }

    /// Draws the next token from the logits at hand and, if the pane goes on, computes the logits after it.
    async fn step(&mut self, context: &PaneContext<'_>, control: &Control) -> Result<(), EngineError> {
        if self.finish.is_some() {
            return Ok(());
        }
        let started = Instant::now();
        self.stopword_mass += stopword_mass(&self.logits, context.stopword_ids);
        let token_id = self.sampler.sample(&self.logits).ok_or(EngineError::NonFinite { what: "the next token's scores" })?;
        self.token_ids.push(token_id);
        let text = self.text.push(context.tokenizer, token_id)?;
        let index = self.token_ids.len() - 1;
        if context.is_mirrored {
            control.emit(Event::Token { pane: Pane::Ablated, index, token_id, text: text.clone() });
        }
        control.emit(Event::Token { pane: self.pane, index, token_id, text });
        self.finish = if context.eos.contains(&token_id) {
            Some(Finish::Eos)
        } else if self.token_ids.len() >= context.max_new_tokens {
            Some(Finish::Length)
        } else if self.token_ids.len() >= context.room {
            Some(Finish::Context)
        } else {
            self.advance(&[token_id]).await?;
            None
        };
        self.spent += started.elapsed();
        Ok(())
    }

    fn into_generated(self, tokenizer: &Tokenizer) -> Result<Generated, EngineError> {
        let n = self.token_ids.len();
        Ok(Generated {
            text: tokenizer.decode(&self.token_ids)?,
            repetition: repetition(&self.token_ids),
            stopword_mass: (self.stopword_mass / n.max(1) as f64) as f32,
            tokens_per_sec: (n as f64 / self.spent.as_secs_f64().max(1e-9)) as f32,
            finish: self.finish.unwrap_or(Finish::Stopped),
            token_ids: self.token_ids,
        })
    }
}

/// Probability of the next token being a stopword.
fn stopword_mass(logits: &[f32], stopword_ids: &[u32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - largest).exp();
    let stopwords = stopword_ids.iter().filter_map(|id| logits.get(*id as usize)).map(|logit| weight(*logit)).sum::<f64>();
    stopwords / logits.iter().map(|logit| weight(*logit)).sum::<f64>()
}
