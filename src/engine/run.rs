//! Runs both panes, token by token, from the same prompt and seed.

use std::time::Duration;

use super::Loaded;
use super::decoder::Decoding;
use super::error::EngineError;
use crate::decode::Drawn;
use crate::job::control::Control;
use crate::protocol::Event;
use crate::sampling::repetition;
use crate::terms::{Finish, Generated, Pane, RunRecord, RunSetup, Sampling, first_difference, outcome_digest};
use crate::tokenizer::{StreamingText, Tokenizer};

impl Loaded {
    /// Runs the intact and the ablated model side by side. A stop ends both panes at once, and the record is still
    /// complete.
    ///
    /// # Errors
    ///
    /// A bad prompt or setting, a failing device, or logits that are not finite.
    pub(super) async fn run(&self, prompt: &str, sampling: Sampling, control: &Control) -> Result<RunRecord, EngineError> {
        let ids = self.prompt_ids(prompt)?;
        let context = PaneContext {
            tokenizer: &self.tokenizer,
            end_of_prompt: &ids[ids.len().saturating_sub(END_OF_PROMPT)..],
            eos: &self.eos_token_ids,
            room: self.info.max_position_embeddings - ids.len(),
            max_new_tokens: sampling.max_new_tokens,
            is_mirrored: self.ablation.is_empty(),
        };
        let n_new = context.room.min(context.max_new_tokens);
        let mut panes = vec![PaneRun::new(Pane::Intact, &context)];
        let mut decoders = vec![self.decoder(&self.intact, &[], &ids, n_new, sampling)];
        // Without an ablation the second pane copies the first.
        if !self.ablation.is_empty() {
            panes.push(PaneRun::new(Pane::Ablated, &context));
            decoders.push(self.decoder(&self.ablated, &self.ablation.interventions, &ids, n_new, sampling));
        }
        let mut decoding = Decoding::start(decoders, &ids, n_new).await?;
        while panes.iter().any(|pane| pane.finish.is_none()) {
            let is_live = panes.iter().map(|pane| pane.finish.is_none()).collect::<Vec<_>>();
            decoding.supply(&is_live).await?;
            for (pane, decoder) in panes.iter_mut().zip(&mut decoding.decoders) {
                if let (None, Some(next)) = (pane.finish, decoder.next()) {
                    pane.step(next, &context, control)?;
                }
                if control.checkpoint().await.is_err() {
                    pane.finish.get_or_insert(Finish::Stopped);
                }
            }
        }
        let mut generated = panes
            .into_iter()
            .zip(&decoding.decoders)
            .map(|(pane, decoder)| pane.into_generated(&context, decoder.spent))
            .collect::<Result<Vec<_>, _>>()?;
        let ablated = if generated.len() > 1 { generated.pop() } else { None };
        let intact = generated.remove(0);
        let ablated = ablated.unwrap_or_else(|| intact.clone());
        control.emit(Event::PaneDone { pane: Pane::Intact, generated: intact.clone() });
        control.emit(Event::PaneDone { pane: Pane::Ablated, generated: ablated.clone() });
        Ok(RunRecord {
            setup: RunSetup { model: self.info.model.clone(), prompt: prompt.into(), sampling, ablation: self.ablation.clone() },
            backend: self.info.backend.clone(),
            first_difference: difference(&intact, &ablated),
            pruned: self.pruned.clone(),
            digest: outcome_digest(&intact.token_ids, &ablated.token_ids),
            intact,
            ablated,
        })
    }
}

/// Returns the index of the first token in which the panes differ. If one pane only stopped earlier, they do not
/// differ.
fn difference(intact: &Generated, ablated: &Generated) -> Option<usize> {
    let is_stopped = [intact, ablated].iter().any(|pane| pane.finish == Finish::Stopped);
    let shared = intact.token_ids.len().min(ablated.token_ids.len());
    first_difference(&intact.token_ids, &ablated.token_ids).filter(|at| !is_stopped || *at < shared)
}

/// Tokens of the prompt that are decoded together with new text.
const END_OF_PROMPT: usize = 8;

/// Data that both panes share.
struct PaneContext<'a> {
    tokenizer: &'a Tokenizer,
    end_of_prompt: &'a [u32],
    eos: &'a [u32],
    /// New tokens that fit into the model's context.
    room: usize,
    max_new_tokens: usize,
    /// `true` if the second pane copies the first.
    is_mirrored: bool,
}

/// The state of one pane during a run.
struct PaneRun {
    pane: Pane,
    text: StreamingText,
    token_ids: Vec<u32>,
    stopword_mass: f64,
    finish: Option<Finish>,
}

impl PaneRun {
    fn new(pane: Pane, context: &PaneContext<'_>) -> Self {
        Self { pane, text: StreamingText::after(context.end_of_prompt), token_ids: Vec::new(), stopword_mass: 0.0, finish: None }
    }

    /// Takes the next token, and decides whether the pane continues.
    fn step(&mut self, next: Drawn, context: &PaneContext<'_>, control: &Control) -> Result<(), EngineError> {
        let Drawn { token_id, stopword_mass } = next;
        self.stopword_mass += f64::from(stopword_mass);
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
            None
        };
        Ok(())
    }

    /// Completes the pane; `spent` is the time on its new tokens, without the prompt.
    fn into_generated(self, context: &PaneContext<'_>, spent: Duration) -> Result<Generated, EngineError> {
        let n = self.token_ids.len();
        Ok(Generated {
            text: context.tokenizer.decode_after(context.end_of_prompt, &self.token_ids)?,
            repetition: repetition(&self.token_ids),
            stopword_mass: (self.stopword_mass / n.max(1) as f64) as f32,
            // The first token comes from the prompt's pass.
            tokens_per_sec: (n.saturating_sub(1) as f64 / spent.as_secs_f64().max(1e-9)) as f32,
            finish: self.finish.unwrap_or(Finish::Stopped),
            token_ids: self.token_ids,
        })
    }
}
