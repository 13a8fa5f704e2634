//! Loss on held-out text.

use burn::tensor::{Tensor, TensorData};

use super::backward::{Limits, tokens_of};
use super::error::AnalysisError;
use super::loss::cross_entropies;
use super::prefix::Prefixes;
use crate::job::control::Control;
use crate::model::Model;
use crate::model::probe::Probe;
use crate::tensors::{self, DeviceError, Transaction};
use crate::terms::{Ablation, Evaluation, Message, PassageSums, text_digest};
use crate::tokenizer::Tokenizer;

/// The bundled passages, none of which was seen in training (public/held-out.md names their sources).
pub(super) const HELD_OUT: &str = include_str!("../../public/held-out.txt");
/// The name of the text. Perplexities of different texts or cuts are not comparable, so every figure names both.
const HELD_OUT_NAME: &str = "held-out passages 1";
const MAX_TOKENS: usize = 128;

/// A text that loss is measured on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub text: String,
    /// The [`text_digest`] of `text`.
    pub digest: String,
}

impl Source {
    pub fn new(name: String, text: String) -> Self {
        Self { digest: text_digest(&text), name, text }
    }

    pub fn bundled() -> Self {
        Self::new(HELD_OUT_NAME.into(), HELD_OUT.into())
    }
}

/// The cut of a text into blocks: see [`HeldOut::concatenated`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Tokens of a block.
    pub block: usize,
    /// The most blocks to use; all if `None`.
    pub n_blocks: Option<usize>,
    pub bos: bool,
}

/// Passages as token ids, and the vocabulary's stopwords: the inputs of an evaluation in addition to the model.
#[derive(Debug, Clone)]
pub struct HeldOut {
    pub passages: Vec<Vec<u32>>,
    pub stopword_ids: Vec<u32>,
    pub convention: Message,
}

impl HeldOut {
    /// Encodes the bundled text.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::of`].
    pub fn bundled(tokenizer: &Tokenizer, max_position_embeddings: usize) -> Result<Self, AnalysisError> {
        Self::of(HELD_OUT_NAME, HELD_OUT, MAX_TOKENS, tokenizer, max_position_embeddings)
    }

    /// The [`text_digest`] of the bundled text.
    pub fn bundled_digest() -> String {
        text_digest(HELD_OUT)
    }

    /// Splits a text at empty lines into passages, each tokenised on its own and cut to `max_tokens`.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer refuses the text, or if the text has nothing to predict.
    pub fn of(
        name: &str,
        text: &str,
        max_tokens: usize,
        tokenizer: &Tokenizer,
        max_position_embeddings: usize,
    ) -> Result<Self, AnalysisError> {
        let limit = max_tokens.min(max_position_embeddings);
        let encode = |passage: &str| -> Result<Vec<u32>, AnalysisError> { Ok(tokenizer.encode_first(passage, limit)?) };
        let text = text.replace("\r\n", "\n");
        let passages = text.split("\n\n").map(str::trim).filter(|passage| !passage.is_empty());
        let mut passages = passages.map(encode).collect::<Result<Vec<_>, _>>()?;
        passages.retain(|ids| ids.len() >= 2);
        if passages.is_empty() {
            return Err(AnalysisError::EmptyText);
        }
        let convention = Message::new("passages").with("text", name).with("limit", limit);
        Ok(Self { passages, stopword_ids: super::stopwords::token_ids(tokenizer), convention })
    }

    /// Tokenises the whole text, or as much of it as is measured, and cuts it into blocks of `block` tokens, each predicted on its own: the
    /// protocol of GPTQ (arXiv:2210.17323), which the super-weight paper follows. A remainder is dropped, unless the
    /// text is shorter than one block. With `bos`, every block begins with the tokenizer's special tokens, which count
    /// towards its length; without it, only the first does, since they precede the whole text. The code of the
    /// convention is `concat`, or `concat_bos` with `bos`.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer refuses the text, or if the text has nothing to predict.
    pub fn concatenated(source: &Source, cut: Cut, tokenizer: &Tokenizer, max_position_embeddings: usize) -> Result<Self, AnalysisError> {
        let limit = cut.block.min(max_position_embeddings);
        // One token more than is measured shows whether the text is longer than one block.
        let n_read = cut.n_blocks.map_or(usize::MAX, |n| n.max(1).saturating_mul(limit).saturating_add(1));
        let (before, plain) = tokenizer.encode_apart_first(&source.text.replace("\r\n", "\n"), n_read)?;
        if plain.is_empty() {
            return Err(AnalysisError::EmptyText);
        }
        let (before, ids) = if cut.bos { (before, plain) } else { (Vec::new(), [before, plain].concat()) };
        let block = limit.min(before.len() + ids.len());
        let room = block.saturating_sub(before.len());
        if block < 2 || room == 0 {
            return Err(AnalysisError::EmptyText);
        }
        let blocks = ids.chunks_exact(room).take(cut.n_blocks.unwrap_or(usize::MAX));
        let passages = blocks.map(|ids| [before.as_slice(), ids].concat()).collect::<Vec<_>>();
        passages.iter().try_for_each(|ids| tokenizer.check(ids))?;
        let Source { name, digest, .. } = source;
        let convention = Message::new(if cut.bos { "concat_bos" } else { "concat" }).with("block", block).with("blocks", passages.len());
        let convention = convention.with("text", name.as_str()).with("digest", digest.as_str());
        Ok(Self { passages, stopword_ids: super::stopwords::token_ids(tokenizer), convention })
    }

    /// The number of predicted positions.
    pub fn n_tokens(&self) -> usize {
        self.passages.iter().map(|ids| ids.len() - 1).sum()
    }
}

/// An evaluation, and its loss at the precision of its sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub evaluation: Evaluation,
    /// [`Evaluation::loss_nats`] before rounding to f32, whose steps are 2.4e-7 between 2 and 4 nats: one channel out
    /// of thousands often changes the loss by less.
    pub loss_nats: f64,
}

/// Computes the mean next-token cross-entropy over all predicted positions of all passages, in nats.
///
/// After each passage, `progress` gets the number of positions done. `prefixes` keeps what the passes of several
/// changed models have in common.
///
/// # Errors
///
/// A failing device, a stop, or a loss that is not finite.
pub async fn evaluate(
    model: &Model,
    ablation: &Ablation,
    text: &HeldOut,
    prefixes: &mut Prefixes,
    control: &Control,
    progress: impl FnMut(usize),
) -> Result<Evaluation, AnalysisError> {
    Ok(measure(model, ablation, text, prefixes, control, progress).await?.evaluation)
}

/// Evaluates like [`evaluate`], and also returns the mean of the positions' f32 losses in f64.
///
/// # Errors
///
/// The errors of [`evaluate`].
pub async fn measure(
    model: &Model,
    ablation: &Ablation,
    text: &HeldOut,
    prefixes: &mut Prefixes,
    control: &Control,
    progress: impl FnMut(usize),
) -> Result<Measured, AnalysisError> {
    measure_with(model, || Probe::with_interventions(&ablation.interventions), text, prefixes, control, progress).await
}

/// Rounds a held-out loss to f32.
fn finite(mean: f64) -> Result<f32, AnalysisError> {
    let loss_nats = mean as f32;
    if loss_nats.is_finite() { Ok(loss_nats) } else { Err(DeviceError::NonFinite { what: "the held-out loss" }.into()) }
}

/// Evaluates like [`measure`], with the caller's own probe in each pass.
///
/// # Errors
///
/// The errors of [`evaluate`].
pub async fn measure_with<'a>(
    model: &Model,
    probe: impl Fn() -> Probe<'a>,
    text: &HeldOut,
    prefixes: &mut Prefixes,
    control: &Control,
    mut progress: impl FnMut(usize),
) -> Result<Measured, AnalysisError> {
    let mask = stopword_mask(model, &text.stopword_ids);
    let mut totals = Totals::default();
    for ids in &text.passages {
        totals.add(passage(model, ids, Some(&mask), &mut probe(), prefixes).await?);
        progress(totals.n_tokens);
        control.checkpoint().await?;
    }
    totals.measured(text)
}

/// Sums over the passages of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    loss: f64,
    stopwords: f64,
    n_tokens: usize,
}

impl Totals {
    /// The totals of a whole text. Passages are in the text's order, which decides how sums are rounded.
    pub fn of(passages: &[PassageSums]) -> Self {
        let mut totals = Self::default();
        passages.iter().for_each(|sums| totals.add(*sums));
        totals
    }

    fn add(&mut self, sums: PassageSums) {
        self.loss += sums.loss_nats;
        self.stopwords += sums.stopwords;
        self.n_tokens += sums.n_tokens;
    }

    /// The mean loss, nats, which may not be finite.
    pub fn mean(&self) -> f64 {
        // Without a position there is no mean: NaN is refused.
        self.loss / self.n_tokens as f64
    }

    /// The mean loss, nats.
    ///
    /// # Errors
    ///
    /// [`DeviceError::NonFinite`].
    pub fn loss(&self) -> Result<f32, AnalysisError> {
        finite(self.mean())
    }

    /// The evaluation on this text. Its mass of stopwords is 0 if the passages were measured without.
    ///
    /// # Errors
    ///
    /// [`DeviceError::NonFinite`].
    pub fn measured(&self, text: &HeldOut) -> Result<Measured, AnalysisError> {
        let loss_nats = self.loss()?;
        let evaluation = Evaluation {
            loss_nats,
            perplexity: loss_nats.exp().min(Evaluation::OVERFLOW),
            stopword_mass: (self.stopwords / self.n_tokens as f64) as f32,
            n_tokens: self.n_tokens,
            convention: text.convention.clone(),
        };
        Ok(Measured { evaluation, loss_nats: self.mean() })
    }
}

/// Measures one passage. Without a mask of stopwords, the softmax of each position's whole vocabulary, which their
/// probability needs, is left out.
///
/// # Errors
///
/// A failing device.
pub async fn passage(
    model: &Model,
    ids: &[u32],
    mask: Option<&Tensor<1>>,
    probe: &mut Probe<'_>,
    prefixes: &mut Prefixes,
) -> Result<PassageSums, AnalysisError> {
    let x = prefixes.run(model, &ids[..ids.len() - 1], probe);
    let (losses, masses) = passage_losses(model, x, &ids[1..], mask).await?;
    let sum = |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>();
    Ok(PassageSums { loss_nats: sum(&losses), stopwords: sum(&masses), n_tokens: losses.len() })
}

/// The evaluation for a loss that is not finite.
pub fn overflowed(text: &HeldOut) -> Evaluation {
    let (loss_nats, perplexity) = (Evaluation::OVERFLOW, Evaluation::OVERFLOW);
    Evaluation { loss_nats, perplexity, stopword_mass: 0.0, n_tokens: text.n_tokens(), convention: text.convention.clone() }
}

/// From the residual stream that leaves the last layer, per predicted position: cross-entropy in nats, and, with a
/// mask of stopwords, the probability on them. Logits are computed for a few tokens at a time, because no buffer holds a long passage's
/// logits over a large vocabulary.
async fn passage_losses(
    model: &Model,
    x: Tensor<2>,
    targets: &[u32],
    mask: Option<&Tensor<1>>,
) -> Result<(Vec<f32>, Vec<f32>), AnalysisError> {
    let [n, width] = x.dims();
    let step = tokens_of(Limits::default().logits, &model.config);
    let (mut losses, mut masses) = (Vec::new(), Vec::new());
    for first in (0..n).step_by(step) {
        let end = (first + step).min(n);
        let logits = model.head(x.clone().slice([first..end, 0..width]));
        losses.push(cross_entropies(logits.clone(), &targets[first..end]));
        masses.extend(mask.map(|mask| tensors::softmax_mass(logits, mask)));
    }
    let mut transaction = Transaction::default().register(Tensor::cat(losses, 0));
    if !masses.is_empty() {
        transaction = transaction.register(Tensor::cat(masses, 0));
    }
    let read = transaction.execute_async().await?;
    let mut vectors = read.into_iter().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default());
    Ok((vectors.next().unwrap_or_default(), vectors.next().unwrap_or_default()))
}

/// `[vocab_size]`: 1 for a stopword, else 0; on the device of the logits.
pub fn stopword_mask(model: &Model, stopword_ids: &[u32]) -> Tensor<1> {
    let vocab_size = model.config.vocab_size;
    let mut mask = vec![0.0_f32; vocab_size];
    for id in stopword_ids {
        mask[*id as usize] = 1.0;
    }
    Tensor::from_data(TensorData::new(mask, [vocab_size]), &model.lm_head.device())
}
