//! The search for super weights on a prompt.
//!
//! A super weight `W[j, k]` causes a spike of the input of its `down_proj` in channel `k` and a spike of the output
//! in channel `j`, at the same token, where the single product `W[j, k] u[k]` explains much of the second. The paper
//! (arXiv:2411.07191, section 3.1) reads spikes off a plot, removes the scalar, and repeats until no spike is left. On
//! real models this both misses scalars and finds echoes: in SmolLM2-135M-Instruct nine scalars cost more than 0.05
//! nats, in four layers, while the largest spikes that are left after the first one are answers of a late layer,
//! worth 0.002 nats.
//!
//! So this search asks every layer for its largest products ([`super::products`]), drops those that are lost in the
//! residual stream, and measures for each of the others what the predictions for the prompt change by without it
//! ([`super::effect`]), which takes one short pass from its layer on. Candidates are those with an effect, the largest
//! first. In that model, of the 600 scalars among the twenty largest products of a layer, ten have an effect of 0.04
//! nats or more on ten tokens: the nine, and one that costs 0.03 (tests/golden/costs.json).
//!
//! Scalars may replace one another (Llama-13B, Phi-3): each has no effect as long as the other stays. If the
//! effect of all candidates together is small, the most prominent spike that one product explains is removed as well,
//! and the search repeats.
//!
//! Each test is a pass, and a search makes some hundred of them, so only the first [`MAX_SEARCHED`] tokens of a prompt
//! are searched: massive activations sit at the first tokens. The spikes of every layer are those of the whole prompt.
//!
//! This search finds candidates. Only [`super::confirm`] shows if they are super weights.

use super::effect::Predictions;
use super::error::AnalysisError;
use super::products::{Product, largest_products, outputs};
use crate::job::control::Control;
use crate::model::probe::{Keep, Kept, Probe};
use crate::model::{Model, Positions};
use crate::tensors::{DeviceError, Transaction};
use crate::terms::{Ablation, Candidate, MAX_SEARCHED, MIN_DELTA_NATS, Message, Site, Spike, WeightCoord, median};
use crate::tokenizer::Tokenizer;

/// The least size of a product, in units of the residual stream's root mean square, to be tested.
pub const MIN_RELATIVE: f32 = 0.5;
/// The least effect of a candidate, nats.
pub const MIN_EFFECT_NATS: f32 = 0.04;
/// The most candidates of a search.
pub const MAX_CANDIDATES: usize = 16;
/// The most spikes that are removed although they have no effect alone.
const MAX_HARMLESS: usize = 2;

/// The least multiple of the layers' median at which an output spike counts.
const MIN_RATIO: f32 = 5.0;
/// The least share of the output spike that a single product must explain; the largest share is its inverse.
const MIN_SHARE: f32 = 0.5;

/// Spikes and candidates found by a scan, as in [`crate::terms::ScanReport`].
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub inputs: Vec<Spike>,
    pub outputs: Vec<Spike>,
    pub candidates: Vec<Candidate>,
    pub stopped: Message,
    /// The output spikes that remain with every candidate removed.
    pub outputs_after: Vec<Spike>,
}

/// Searches for super weights on a prompt.
///
/// # Errors
///
/// A failing device, a stop, or activations that are not finite.
pub async fn find_spikes(model: &Model, ids: &[u32], tokenizer: &Tokenizer, control: &Control) -> Result<Found, AnalysisError> {
    let intact = LayerPeaks::of(model, ids).await?;
    let output_median = intact.median(Site::DownProjOutput);
    let mut search = Search { ids: &ids[..ids.len().min(MAX_SEARCHED)], control, output_median, candidates: Vec::new() };
    let stopped = search.run(model).await?;
    let removed = model.with_ablation(&Ablation::zeroing(search.found()))?;
    let after = LayerPeaks::of(&removed, ids).await?;
    let spikes = |layers: &[TokenPeaks], median| layers.iter().map(|layer| layer.spike(ids, tokenizer, median)).collect();
    Ok(Found {
        inputs: spikes(&intact.inputs, intact.median(Site::DownProjInput)),
        outputs: spikes(&intact.outputs, output_median),
        candidates: search.candidates,
        stopped,
        outputs_after: spikes(&after.outputs, output_median),
    })
}

struct Search<'a> {
    /// The part of the prompt that is searched.
    ids: &'a [u32],
    control: &'a Control,
    output_median: f32,
    candidates: Vec<Candidate>,
}

impl Search<'_> {
    /// Searches until all candidates together have an effect, or nothing is left to remove. Returns the reason for the
    /// end.
    async fn run(&mut self, intact: &Model) -> Result<Message, AnalysisError> {
        let mut of_intact = Predictions::of(intact, self.ids);
        for iteration in 0.. {
            let mut model = intact.with_ablation(&Ablation::zeroing(self.found()))?;
            // Tests of this model begin at their own layers, not at those of the candidates that it lacks.
            model.layers = model.layers.as_loaded();
            let mut of_model = (iteration > 0).then(|| Predictions::of(&model, self.ids));
            // Until something was removed, the model is the intact one.
            let predictions = of_model.as_mut().unwrap_or(&mut of_intact);
            let mut effects = self.effects(&model, predictions).await?;
            effects.retain(|(_, effect)| *effect >= MIN_EFFECT_NATS);
            effects.truncate(MAX_CANDIDATES - self.candidates.len().min(MAX_CANDIDATES));
            if effects.is_empty() {
                if iteration == MAX_HARMLESS {
                    break;
                }
                let peaks = LayerPeaks::of(&model, self.ids).await?;
                let Some(product) = self.most_prominent(&model, &peaks).await? else { break };
                let effect = predictions.without([product.at]).await?;
                effects.push((product, effect));
            }
            self.add(&model, &effects, iteration).await?;
            if self.candidates.len() == MAX_CANDIDATES {
                return Ok(Message::new("enough_candidates").with("limit", MAX_CANDIDATES));
            }
            let together = of_intact.without(self.found()).await?;
            if together >= MIN_DELTA_NATS {
                return Ok(Message::new("only_echoes").with("nats", MIN_EFFECT_NATS).with("together", together));
            }
        }
        Ok(Message::new("no_effect_left").with("nats", MIN_EFFECT_NATS))
    }

    fn found(&self) -> Vec<WeightCoord> {
        self.candidates.iter().map(|candidate| candidate.at).collect()
    }

    /// The effects of all products that are worth a test, the largest first.
    async fn effects(&self, model: &Model, predictions: &mut Predictions<'_>) -> Result<Vec<(Product, f32)>, AnalysisError> {
        let mut products = largest_products(model, self.ids, self.control).await?;
        products.retain(|product| product.relative >= MIN_RELATIVE);
        let mut effects = Vec::with_capacity(products.len());
        let n = products.len() as f64;
        for product in products {
            self.control.progress("looking_for_spikes", effects.len() as f64, n, "steps");
            self.control.checkpoint().await?;
            effects.push((product, predictions.without([product.at]).await?));
        }
        effects.sort_by(|(a, of_a), (b, of_b)| of_b.total_cmp(of_a).then(a.at.cmp(&b.at)));
        Ok(effects)
    }

    /// The earliest layer's largest output spike that one product explains.
    async fn most_prominent(&self, model: &Model, peaks: &LayerPeaks) -> Result<Option<Product>, AnalysisError> {
        for (input, output) in peaks.inputs.iter().zip(&peaks.outputs) {
            let spike = output.largest();
            let Some(source) = input.peaks.get(spike.token) else { continue };
            let at = WeightCoord::new(output.layer, spike.channel, source.channel);
            if spike.value.abs() < MIN_RATIO * self.output_median || self.found().contains(&at) {
                continue;
            }
            let scalar = model.down_proj_scalar(at.layer, at.row, at.col).into_data_async().await?;
            let weight = scalar.convert::<f32>().try_into_vec::<f32>().ok().and_then(|values| values.first().copied()).unwrap_or(0.0);
            if (MIN_SHARE..=1.0 / MIN_SHARE).contains(&(weight * source.value / spike.value)) {
                return Ok(Some(Product { at, weight, token: spike.token, input: source.value, relative: 0.0 }));
            }
        }
        Ok(None)
    }

    async fn add(&mut self, model: &Model, effects: &[(Product, f32)], iteration: usize) -> Result<(), AnalysisError> {
        let products = effects.iter().map(|(product, _)| *product).collect::<Vec<_>>();
        let outputs = outputs(model, self.ids, &products).await?;
        for ((product, effect), output) in effects.iter().zip(outputs) {
            let Product { at, weight, token, input, .. } = *product;
            let ratio = (output.abs() / self.output_median).min(f32::MAX);
            let share = if output == 0.0 { 0.0 } else { product.value() / output };
            self.candidates.push(Candidate { at, weight, input, output, token, ratio, share, effect_nats: Some(*effect), iteration });
        }
        Ok(())
    }
}

/// One token's activation of largest magnitude at one site.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Peak {
    token: usize,
    channel: usize,
    value: f32,
}

/// The peaks of all tokens at one site of one layer.
#[derive(Debug, Clone)]
struct TokenPeaks {
    layer: usize,
    peaks: Vec<Peak>,
}

impl TokenPeaks {
    fn largest(&self) -> Peak {
        let largest = self.peaks.iter().copied().max_by(|a, b| a.value.abs().total_cmp(&b.value.abs()).then(b.token.cmp(&a.token)));
        largest.unwrap_or(Peak { token: 0, channel: 0, value: 0.0 })
    }

    fn spike(&self, ids: &[u32], tokenizer: &Tokenizer, median: f32) -> Spike {
        let Peak { token, channel, value } = self.largest();
        let ratio = if median > 0.0 { value.abs() / median } else { 0.0 };
        Spike { layer: self.layer, token, token_text: tokenizer.token_text(ids[token]), channel, value, ratio }
    }
}

/// Peaks of the input and output of every `down_proj`.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerPeaks {
    inputs: Vec<TokenPeaks>,
    outputs: Vec<TokenPeaks>,
}

impl LayerPeaks {
    /// One forward pass and one read.
    pub(crate) async fn of(model: &Model, ids: &[u32]) -> Result<Self, AnalysisError> {
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput, Site::DownProjOutput], Keep::Peaks);
        model.forward(ids, None, Positions::Last, &mut probe);
        let mut transaction = Transaction::default();
        let mut places = Vec::new();
        for captured in probe.captured {
            if let Kept::Peaks { values, channels } = captured.kept {
                places.push((captured.site, captured.layer));
                transaction = transaction.register(values).register(channels);
            }
        }
        let mut read = transaction.execute_async().await?.into_iter();
        let mut all = Self::default();
        for (site, layer) in places {
            let values = read.next().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()).unwrap_or_default();
            let channels = read.next().map(|data| data.convert::<i64>().try_into_vec::<i64>().unwrap_or_default()).unwrap_or_default();
            if values.iter().any(|value| !value.is_finite()) {
                return Err(DeviceError::NonFinite { what: "an activation of down_proj" }.into());
            }
            let peaks = values.into_iter().zip(channels).enumerate();
            let peaks = peaks.map(|(token, (value, channel))| Peak { token, channel: usize::try_from(channel).unwrap_or(0), value });
            let side = if site == Site::DownProjInput { &mut all.inputs } else { &mut all.outputs };
            side.push(TokenPeaks { layer, peaks: peaks.collect() });
        }
        Ok(all)
    }

    fn median(&self, site: Site) -> f32 {
        let layers = if site == Site::DownProjInput { &self.inputs } else { &self.outputs };
        median(layers.iter().map(|layer| layer.largest().value.abs())) as f32
    }
}
