//! Speed of the loaded model on this device: the figures of [`Request::Measure`](crate::protocol::Request::Measure).
//!
//! Tokens are synthetic, because speed does not depend on them. A round ends when its result has been read back,
//! because a visitor also waits for that. A figure that cannot be measured is listed with the reason.

use burn::tensor::{Tensor, TensorData};
use web_time::Instant;

use super::Loaded;
use super::decoder::{self, Decoding, synthetic_ids};
use super::error::EngineError;
use crate::analysis::backward::{Limits, sequence_sums};
use crate::analysis::spikes::LayerPeaks;
use crate::job::control::Control;
use crate::model::layers::Linear;
use crate::model::mlp::Hidden;
use crate::model::probe::Probe;
use crate::model::{KvCache, Model, Positions};
use crate::protocol::Figure;
use crate::tensors::DeviceError;
use crate::terms::{Ablation, Message, Sampling, WeightCoord, median};

/// Timed rounds of each figure, after one warm-up round.
const ROUNDS: usize = 3;
/// Tokens of a prefill or backward pass.
const PASS: usize = 512;
/// Number of tokens on which the two paths are compared, and of tokens before them.
const N_COMPARED: usize = 32;
const COMPARED_AFTER: usize = 64;
/// The edit that the figures apply.
const EDIT: WeightCoord = WeightCoord::new(0, 0, 0);

/// Amount of work for the figures, by kind of device.
struct Effort {
    /// Contexts to decode after, within the model's own context; the first is shortened to fit.
    contexts: &'static [usize],
    n_new: usize,
    /// Products queued before one is read, enough to hide the read.
    n_products: usize,
}

const WITH_PLAN: Effort = Effort { contexts: &[128, 1024], n_new: 128, n_products: 256 };
const WITHOUT_PLAN: Effort = Effort { contexts: &[128], n_new: 16, n_products: 4 };

/// The figures measured so far.
struct Measuring<'a> {
    control: &'a Control,
    figures: Vec<Figure>,
    n_figures: usize,
}

impl Loaded {
    /// Measures all figures.
    ///
    /// # Errors
    ///
    /// A stop. Any other error only removes its figure.
    pub(super) async fn measure(&self, control: &Control) -> Result<Vec<Figure>, EngineError> {
        let effort = if self.decode.is_some() { WITH_PLAN } else { WITHOUT_PLAN };
        let n_figures = 6 + 2 * effort.contexts.len() + if self.decode.is_some() { 3 } else { 0 };
        let mut measuring = Measuring { control, figures: Vec::new(), n_figures };
        self.measure_passes(&mut measuring).await?;
        for context in effort.contexts {
            self.measure_decoding(&mut measuring, *context, &effort).await?;
        }
        self.measure_agreement(&mut measuring).await?;
        let model = &self.intact;
        measuring.figure("apply_edit", "ms", "one scalar", async || timed(apply_edit(model)).await).await?;
        let mlp = &model.layers[0].mlp;
        let (Hidden::Gated { gate_proj: first, .. } | Hidden::Plain { c_fc: first }) = &mlp.hidden;
        for (name, linear) in [("gate_proj", first), ("down_proj", &mlp.down_proj)] {
            let [output, input] = linear.shape();
            let of = format!("{} products of {PASS} x {input} x {output}", effort.n_products);
            measuring.figure(name, "TFLOP/s", &of, async || products(linear, effort.n_products).await).await?;
        }
        Ok(measuring.figures)
    }

    /// Measures passes over many tokens.
    async fn measure_passes(&self, measuring: &mut Measuring<'_>) -> Result<(), EngineError> {
        let model = &self.intact;
        let ids = synthetic_ids(model, PASS);
        let of = format!("{} tokens", ids.len());
        measuring.figure("prefill", "ms", &of, async || timed(prefill(model, &ids)).await).await?;
        measuring.figure("prefill_with_peaks", "ms", &of, async || timed(LayerPeaks::of(model, &ids)).await).await?;
        measuring.figure("forward_backward", "ms", &of, async || timed(sequence_sums(model, &ids, Limits::of(&model.config))).await).await
    }

    /// Measures new tokens of one pane, and of two side by side.
    async fn measure_decoding(&self, measuring: &mut Measuring<'_>, context: usize, effort: &Effort) -> Result<(), EngineError> {
        let limit = self.info.max_position_embeddings;
        let n_new = effort.n_new.min(limit / 2).max(2);
        let is_first = effort.contexts.first() == Some(&context);
        let prompt = synthetic_ids(&self.intact, if is_first { context.min(limit - n_new) } else { context });
        if prompt.len() + n_new > limit {
            return Ok(());
        }
        let of = format!("{n_new} tokens after {}", prompt.len());
        let control = measuring.control;
        let one = async || self.decode(&[&self.intact], &prompt, n_new, control).await;
        measuring.figure(&format!("decode_at_{context}"), "tokens/s", &of, one).await?;
        let both = async || {
            let edited = self.intact.with_ablation(&Ablation::zeroing([EDIT]))?;
            self.decode(&[&self.intact, &edited], &prompt, n_new, control).await
        };
        measuring.figure(&format!("decode_both_at_{context}"), "tokens/s", &of, both).await?;
        if let (true, Some(n)) = (is_first, self.decoder(&self.intact, &[], &prompt, n_new, GREEDY).dispatches()) {
            measuring.add("dispatches", "dispatches", "a token", Ok(n as f64));
        }
        Ok(())
    }

    /// Compares the decode plan with plain operations on the same tokens.
    async fn measure_agreement(&self, measuring: &mut Measuring<'_>) -> Result<(), EngineError> {
        let Some(gpu) = &self.decode else { return Ok(()) };
        measuring.control.checkpoint().await?;
        let of = format!("{N_COMPARED} tokens after {COMPARED_AFTER}, fed to the plan and to plain operations");
        let compared = decoder::compare(gpu, &self.intact, COMPARED_AFTER, N_COMPARED).await?;
        if let Some(agreement) = compared {
            measuring.add("paths_apart", "of the largest logit", &of, Ok(f64::from(agreement.apart)));
            measuring.add("paths_disagree", "tokens", &of, Ok(agreement.disagreements as f64));
        }
        Ok(())
    }

    /// Returns new tokens per second over all panes together, as in a run. The first token of each pane is not
    /// counted, because it comes from the prompt's pass.
    async fn decode(&self, panes: &[&Model], prompt: &[u32], n_new: usize, control: &Control) -> Result<f64, EngineError> {
        let decoders = panes.iter().map(|model| self.decoder(model, &[], prompt, n_new, GREEDY)).collect::<Vec<_>>();
        let mut decoding = Decoding::start(decoders, prompt, n_new).await?;
        let is_live = vec![true; panes.len()];
        let started = Instant::now();
        for _ in 0..n_new {
            decoding.supply(&is_live).await?;
            for decoder in &mut decoding.decoders {
                decoder.next();
            }
            control.checkpoint().await?;
        }
        Ok((panes.len() * (n_new - 1)) as f64 / started.elapsed().as_secs_f64().max(1e-9))
    }
}

impl Measuring<'_> {
    /// Measures a figure: the median of [`ROUNDS`] rounds.
    async fn figure(
        &mut self,
        name: &str,
        unit: &str,
        of: &str,
        mut round: impl AsyncFnMut() -> Result<f64, EngineError>,
    ) -> Result<(), EngineError> {
        let mut values = Vec::new();
        let mut outcome = Ok(());
        for n in 0..=ROUNDS {
            self.control.progress(
                Message::new("measuring_speed").with("figure", name),
                self.figures.len() as f64,
                self.n_figures as f64,
                "steps",
            );
            self.control.checkpoint().await?;
            match round().await {
                // The first round is the warm-up, in which kernels are compiled and buffers allocated.
                Ok(value) if n > 0 => values.push(value),
                Ok(_) => {}
                Err(error) if error.is_stop() => return Err(error),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.add(name, unit, of, outcome.map(|()| median(values)));
        Ok(())
    }

    fn add(&mut self, name: &str, unit: &str, of: &str, outcome: Result<f64, EngineError>) {
        let (value, missing) = match outcome {
            // JSON has no infinity.
            Ok(value) if value.is_finite() => (Some(value), None),
            Ok(value) => (None, Some(format!("was {value}"))),
            Err(error) => (None, Some(error.to_string())),
        };
        self.figures.push(Figure { name: name.into(), value, unit: unit.into(), of: of.into(), missing });
    }
}

const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 1, max_new_tokens: usize::MAX };

/// Milliseconds that the work takes.
async fn timed<T, E: Into<EngineError>>(work: impl Future<Output = Result<T, E>>) -> Result<f64, EngineError> {
    let started = Instant::now();
    work.await.map_err(Into::into)?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Waits until a tensor has been computed. Natively its data may arrive only when it is read.
async fn waited(tensor: Tensor<2>) -> Result<(), EngineError> {
    let values = tensor.into_data_async().await?.convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
    if values.is_empty() { Err(DeviceError::Execution { why: "nothing came back".into() }.into()) } else { Ok(()) }
}

async fn prefill(model: &Model, ids: &[u32]) -> Result<(), EngineError> {
    let mut cache = KvCache::default();
    waited(model.forward(ids, Some(&mut cache), Positions::Last, &mut Probe::empty())).await
}

async fn apply_edit(model: &Model) -> Result<(), EngineError> {
    let edited = model.with_ablation(&Ablation::zeroing([EDIT]))?;
    waited(edited.down_proj_scalar(EDIT.layer, EDIT.row, EDIT.col)).await
}

/// Returns the TFLOP/s of one matrix product, repeated `n` times.
async fn products(linear: &Linear, n: usize) -> Result<f64, EngineError> {
    let [output, input] = linear.shape();
    let x = (0..PASS * input).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5).collect::<Vec<_>>();
    let x = Tensor::<2>::from_data(TensorData::new(x, [PASS, input]), &linear.weight.device());
    // The upload is finished before the clock starts.
    waited(x.clone().slice([0..1, 0..1])).await?;
    let started = Instant::now();
    let mut y = linear.forward(x.clone());
    for _ in 1..n {
        y = linear.forward(x.clone());
    }
    waited(y.slice([0..1, 0..1])).await?;
    // The product is computed in floats, because a browser's usize has 32 bits.
    let flops = [n, PASS, input, output].iter().fold(2.0, |product, size| product * *size as f64);
    Ok(flops / started.elapsed().as_secs_f64().max(1e-9) / 1e12)
}
