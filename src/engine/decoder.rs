//! The step from one token to the next in each pane, with plain tensor operations (Path A) or with a decode plan
//! (Path B).

use std::collections::VecDeque;
use std::time::Duration;

use burn::tensor::Tensor;
use web_time::Instant;

use super::Loaded;
use super::error::EngineError;
use crate::decode::{self, Batch, DecodeGpu, DecodePlan, Drawn, MAX_BATCH};
use crate::model::probe::Probe;
use crate::model::{KvCache, Model, Positions};
use crate::sampling::Sampler;
use crate::tensors::DeviceError;
use crate::terms::{Intervention, Sampling};

/// Target duration of a batch, so that text does not appear in longer bursts.
const BATCH_TIME: Duration = Duration::from_millis(40);
/// Batches under way at once, so that the GPU has work while an answer travels.
const BATCHES_AHEAD: usize = 2;

/// One pane's source of tokens.
pub(super) struct Decoder<'a> {
    model: &'a Model,
    interventions: &'a [Intervention],
    stopword_ids: &'a [u32],
    sampler: Sampler,
    cache: KvCache,
    /// The decode plan of Path B; without one, Path A continues from `cache`.
    plan: Option<DecodePlan>,
    /// Drawn tokens that [`Self::next`] has not returned yet.
    waiting: VecDeque<Drawn>,
    last: u32,
    /// Time spent on new tokens, without the prompt.
    pub spent: Duration,
}

impl Loaded {
    /// Creates a pane's decoder, with a plan if the model and device allow one.
    pub(super) fn decoder<'a>(
        &'a self,
        model: &'a Model,
        interventions: &'a [Intervention],
        prompt: &[u32],
        n_new: usize,
        sampling: Sampling,
    ) -> Decoder<'a> {
        let stopword_ids = self.held_out.stopword_ids.as_slice();
        // The prompt, and interventions on its tokens, run on Path A.
        let later = interventions.iter().filter(|intervention| intervention.token >= prompt.len()).copied().collect::<Vec<_>>();
        let made = |gpu| DecodePlan::new(gpu, model, &later, stopword_ids, prompt.len() + n_new).ok();
        let mut plan = self.decode.as_ref().and_then(made);
        if let Some(plan) = &mut plan {
            plan.sample(sampling);
        }
        Decoder {
            model,
            interventions,
            stopword_ids,
            sampler: Sampler::new(sampling),
            cache: KvCache::default(),
            plan,
            waiting: VecDeque::new(),
            last: 0,
            spent: Duration::ZERO,
        }
    }
}

impl Decoder<'_> {
    /// Returns the next token, if it has been supplied.
    pub fn next(&mut self) -> Option<Drawn> {
        self.waiting.pop_front()
    }

    /// Feeds tokens on Path A, and returns the logits after the last.
    async fn forward(&mut self, ids: &[u32]) -> Result<Vec<f32>, EngineError> {
        let mut probe = Probe::with_interventions(self.interventions);
        let logits: Tensor<2> = self.model.forward(ids, Some(&mut self.cache), Positions::Last, &mut probe);
        let data = logits.into_data_async().await?;
        Ok(data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default())
    }

    fn draw(&mut self, logits: &[f32]) -> Result<(), EngineError> {
        let stopword_mass = stopword_mass(logits, self.stopword_ids) as f32;
        let token_id = self.sampler.sample(logits).ok_or(DeviceError::NonFinite { what: "the next token's scores" })?;
        self.last = token_id;
        self.waiting.push_back(Drawn { token_id, stopword_mass });
        Ok(())
    }

    /// Returns the number of dispatches per token, with a plan.
    pub fn dispatches(&self) -> Option<usize> {
        self.plan.as_ref().map(DecodePlan::dispatches)
    }
}

/// The decoders of all panes, and the batches that the GPU is working on.
pub(super) struct Decoding<'a> {
    pub decoders: Vec<Decoder<'a>>,
    under_way: VecDeque<(Batch, Vec<usize>)>,
    /// New tokens that each pane may still request from the GPU.
    left: usize,
    batch_size: usize,
    last_answer: Instant,
}

impl<'a> Decoding<'a> {
    /// Reads the prompt in every pane, and draws the first tokens.
    pub async fn start(mut decoders: Vec<Decoder<'a>>, prompt: &[u32], n_new: usize) -> Result<Self, EngineError> {
        for decoder in &mut decoders {
            let logits = decoder.forward(prompt).await?;
            decoder.draw(&logits)?;
            let Some(mut plan) = decoder.plan.take() else { continue };
            if plan.start(&decoder.cache).is_ok() {
                plan.feed(decoder.last);
                decoder.cache = KvCache::default();
                decoder.plan = Some(plan);
            }
        }
        let left = n_new.saturating_sub(1);
        Ok(Self { decoders, under_way: VecDeque::new(), left, batch_size: 1, last_answer: Instant::now() })
    }

    /// Supplies a token to every live pane that has none waiting.
    pub async fn supply(&mut self, is_live: &[bool]) -> Result<(), EngineError> {
        let is_waiting = |index: &usize| is_live[*index] && self.decoders[*index].waiting.is_empty();
        let (in_batches, one_by_one) =
            (0..self.decoders.len()).filter(is_waiting).partition::<Vec<_>, _>(|index| self.decoders[*index].plan.is_some());
        if !in_batches.is_empty() {
            self.supply_batches(&in_batches).await?;
        }
        for index in one_by_one {
            let decoder = &mut self.decoders[index];
            let started = Instant::now();
            let logits = decoder.forward(&[decoder.last]).await?;
            decoder.draw(&logits)?;
            decoder.spent += started.elapsed();
        }
        Ok(())
    }

    /// Draws several tokens per pane on the GPU. Panes that decode in batches keep step with each other.
    async fn supply_batches(&mut self, indices: &[usize]) -> Result<(), EngineError> {
        if self.under_way.is_empty() {
            self.last_answer = Instant::now();
        }
        while self.under_way.len() < BATCHES_AHEAD && self.left > 0 {
            let n = self.batch_size.min(self.left);
            let plans = self.decoders.iter_mut().enumerate().filter(|(index, _)| indices.contains(index));
            let plans = plans.filter_map(|(_, Decoder { plan, sampler, .. })| {
                let uniforms = (0..n).map(|_| sampler.uniform()).collect();
                plan.as_mut().map(|plan| (plan, uniforms))
            });
            let mut plans = plans.collect::<Vec<_>>();
            self.under_way.push_back((decode::submit(&mut plans, n)?, indices.to_vec()));
            self.left -= n;
        }
        let Some((batch, of)) = self.under_way.pop_front() else { return Ok(()) };
        let n = batch.len();
        for (index, drawn) in of.iter().zip(batch.read().await?) {
            self.decoders[*index].waiting.extend(drawn);
        }
        let took = self.last_answer.elapsed();
        self.last_answer = Instant::now();
        let per_token = (took / n as u32).max(Duration::from_micros(1));
        self.batch_size = ((BATCH_TIME.as_secs_f64() / per_token.as_secs_f64()) as usize).clamp(1, MAX_BATCH);
        of.iter().for_each(|index| self.decoders[*index].spent += took / of.len() as u32);
        Ok(())
    }
}

/// The largest distance of the two paths' logits, relative to the largest logit.
const TOLERANCE: f32 = 1e-3;
/// The least lead, relative to the largest logit, that decides between two tokens; below it either may come first.
const SAFE_LEAD: f32 = 1e-3;

/// Creates `n` token ids that every vocabulary has, or as many as the context allows.
pub(super) fn synthetic_ids(model: &Model, n: usize) -> Vec<u32> {
    let n = n.min(model.config.max_position_embeddings);
    (0..n).map(|i| ((i * 7919 + 13) % model.config.vocab_size) as u32).collect()
}

/// Agreement of the two paths on the same tokens.
pub(super) struct Agreement {
    /// The largest distance of two logits, relative to the largest logit.
    pub apart: f32,
    /// Number of tokens whose likeliest successor differs although it has a clear lead.
    pub disagreements: usize,
}

/// Compares a plan for the loaded model with Path A, on tokens that every vocabulary has, because a fast path with
/// wrong results is worse than none.
pub(super) async fn agrees(gpu: &DecodeGpu, model: &Model) -> Result<bool, EngineError> {
    let agreement = compare(gpu, model, 5, 1).await?;
    Ok(agreement.is_some_and(|agreement| agreement.apart <= TOLERANCE))
}

/// Feeds the same `n` tokens after the same prompt to both paths. Returns `None` if no plan covers the model.
pub(super) async fn compare(gpu: &DecodeGpu, model: &Model, n_prompt: usize, n: usize) -> Result<Option<Agreement>, EngineError> {
    let ids = synthetic_ids(model, n_prompt + n);
    let (prompt, fed) = ids.split_at(n_prompt.min(ids.len().saturating_sub(1)));
    let Ok(mut plan) = DecodePlan::new(gpu, model, &[], &[], ids.len()) else { return Ok(None) };
    if prompt.is_empty() {
        return Ok(None);
    }
    let mut cache = KvCache::default();
    // Only the prompt's cache is needed, not its logits.
    let _ = model.forward(prompt, Some(&mut cache), Positions::Last, &mut Probe::empty());
    if plan.start(&cache).is_err() {
        return Ok(None);
    }
    let mut agreement = Agreement { apart: 0.0, disagreements: 0 };
    for id in fed {
        let Ok(asked) = plan.logits(*id) else { return Ok(None) };
        let ours = asked.read().await?;
        let logits = model.forward(&[*id], Some(&mut cache), Positions::Last, &mut Probe::empty());
        let theirs = logits.into_data_async().await?.convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
        agreement.add(&ours, &theirs);
    }
    Ok(Some(agreement))
}

impl Agreement {
    fn add(&mut self, ours: &[f32], theirs: &[f32]) {
        let largest = theirs.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let furthest = ours.iter().zip(theirs).fold(0.0_f32, |furthest, (a, b)| {
            let distance = (a - b).abs();
            if distance.is_nan() { f32::INFINITY } else { furthest.max(distance) }
        });
        let is_comparable = ours.len() == theirs.len() && largest.is_finite();
        let apart = match furthest > 0.0 {
            _ if !is_comparable => f32::INFINITY,
            true => furthest / largest,
            false => 0.0,
        };
        self.apart = self.apart.max(apart);
        let ((our_id, _), (their_id, lead)) = (first_and_lead(ours), first_and_lead(theirs));
        self.disagreements += usize::from(our_id != their_id && lead > SAFE_LEAD * largest);
    }
}

/// Returns the likeliest token, and its lead over the second.
fn first_and_lead(logits: &[f32]) -> (usize, f32) {
    let (mut first, mut best, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best {
            (first, second, best) = (id, best, *logit);
        } else {
            second = second.max(*logit);
        }
    }
    (first, best - second)
}

/// Returns the probability that the next token is a stopword.
fn stopword_mass(logits: &[f32], stopword_ids: &[u32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - largest).exp();
    let stopwords = stopword_ids.iter().filter_map(|id| logits.get(*id as usize)).map(|logit| weight(*logit)).sum::<f64>();
    stopwords / logits.iter().map(|logit| weight(*logit)).sum::<f64>()
}
