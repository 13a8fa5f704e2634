//! The search for super weights in one forward pass (arXiv:2411.07191, section 3.1), made portable.
//!
//! A super weight `W[j, k]` causes a spike of the input of its `down_proj` in channel `k` and a spike of the output
//! in channel `j`, at the same token, where the single product `W[j, k] u[k]` explains the second. The paper reads
//! spikes off a plot and its code requires `|value| > 50`, which misses real ones in small models. Here a spike is
//! measured against the median of all layers, and, as in the paper, the search repeats with its findings removed,
//! until no spike is left. A late layer often answers the first spike with one of the opposite sign. To exclude such
//! echoes, the search takes the earliest layer that passes, and repeats.
//!
//! This search finds candidates. Only [`super::confirm`] shows if they are super weights.

use super::error::AnalysisError;
use crate::job::control::Control;
use crate::model::probe::{Keep, Kept, Probe};
use crate::model::{Model, Positions};
use crate::tensors::{DeviceError, Transaction};
use crate::terms::{Ablation, Candidate, Message, Site, Spike, WeightCoord, median};
use crate::tokenizer::Tokenizer;

/// The least multiple of the layers' median at which an output spike counts.
pub const MIN_RATIO: f32 = 5.0;
/// The least share of the output spike that the single product must explain; the largest share is its inverse.
pub const MIN_SHARE: f32 = 0.5;
/// The most candidates of a search; no model in the paper has more super weights.
pub const MAX_ITERATIONS: usize = 6;

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

/// Searches for super weights on a prompt, and removes each candidate before it searches again.
///
/// # Errors
///
/// A failing device, a stop, or activations that are not finite.
pub async fn find_spikes(model: &Model, ids: &[u32], tokenizer: &Tokenizer, control: &Control) -> Result<Found, AnalysisError> {
    let intact = LayerPeaks::of(model, ids).await?;
    let output_median = intact.median(Site::DownProjOutput);
    let mut peaks = intact.clone();
    let mut candidates = Vec::<Candidate>::new();
    let stopped = loop {
        control.progress("looking_for_spikes", candidates.len() as f64, MAX_ITERATIONS as f64, "steps");
        control.checkpoint().await?;
        if candidates.len() == MAX_ITERATIONS {
            break Message::new("enough_candidates").with("limit", MAX_ITERATIONS);
        }
        if !peaks.outputs.iter().any(|layer| layer.largest().value.abs() >= MIN_RATIO * output_median) {
            break Message::new("no_spike_left").with("ratio", MIN_RATIO);
        }
        let Some(candidate) = first_candidate(model, &peaks, output_median, candidates.len(), &candidates).await? else {
            break Message::new("not_one_weight").with("share", MIN_SHARE);
        };
        candidates.push(candidate);
        let removed = model.with_ablation(&Ablation::zeroing(candidates.iter().map(|candidate| candidate.at)))?;
        peaks = LayerPeaks::of(&removed, ids).await?;
    };
    let spikes = |layers: &[TokenPeaks], median| layers.iter().map(|layer| layer.spike(ids, tokenizer, median)).collect();
    Ok(Found {
        inputs: spikes(&intact.inputs, intact.median(Site::DownProjInput)),
        outputs: spikes(&intact.outputs, output_median),
        candidates,
        stopped,
        outputs_after: spikes(&peaks.outputs, output_median),
    })
}

/// Returns the earliest layer's candidate: the first output spike that one weight explains.
async fn first_candidate(
    model: &Model,
    peaks: &LayerPeaks,
    output_median: f32,
    iteration: usize,
    known: &[Candidate],
) -> Result<Option<Candidate>, AnalysisError> {
    for (input, output) in peaks.inputs.iter().zip(&peaks.outputs) {
        let spike = output.largest();
        let ratio = (spike.value.abs() / output_median).min(f32::MAX);
        let Some(source) = input.peaks.get(spike.token) else { continue };
        let at = WeightCoord::new(output.layer, spike.channel, source.channel);
        if ratio < MIN_RATIO || known.iter().any(|candidate| candidate.at == at) {
            continue;
        }
        let scalar = model.down_proj_scalar(at.layer, at.row, at.col).into_data_async().await?;
        let weight = scalar.convert::<f32>().try_into_vec::<f32>().ok().and_then(|values| values.first().copied()).unwrap_or(0.0);
        let share = weight * source.value / spike.value;
        if (MIN_SHARE..=1.0 / MIN_SHARE).contains(&share) {
            let (input, output) = (source.value, spike.value);
            return Ok(Some(Candidate { at, weight, input, output, token: spike.token, ratio, share, iteration }));
        }
    }
    Ok(None)
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
