//! Removes channels one at a time, each measured on the held-out text.

use super::error::EngineError;
use super::{Engine, Loaded};
use crate::analysis::prefix::Prefixes;
use crate::analysis::{AnalysisError, deletion, eval};
use crate::job::SettingError;
use crate::job::control::Control;
use crate::protocol::Event;
use crate::tensors::DeviceError;
use crate::terms::{Ablation, Coordinate, Deletion, DeletionReport, EditTarget, Evaluation, Pane, Replacement, WeightEdit, check_below};

/// Name of the work in progress reports.
const DOING: &str = "deleting";

/// Parameters of [`crate::protocol::Request::Delete`].
pub(super) struct Asked {
    pub per_layer: usize,
    pub n_quantiles: usize,
    pub layer: Option<usize>,
    pub seed: u64,
    pub replacement: Replacement,
}

impl Engine {
    /// Answers [`crate::protocol::Request::Delete`]. A deletion whose loss overflows is reported like the others.
    pub(super) async fn delete(&mut self, asked: Asked) -> Result<(), EngineError> {
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        let mut deletions = loaded.drawn(&asked)?;
        let scored = loaded.scored.as_ref().ok_or(EngineError::NotScored)?;
        let (calibration, means) = (scored.calibration(), scored.means().filter(|_| asked.replacement == Replacement::Mean));
        let total = deletions.len() as f64;
        control.progress(DOING, 0.0, total, "steps");
        let intact = loaded.measured_intact(&control, |_done| {}).await?;
        control.emit(Event::Evaluated { pane: Pane::Intact, evaluation: intact.evaluation.clone() });
        let mut prefixes = Prefixes::default();
        for (index, deletion) in deletions.iter_mut().enumerate() {
            control.progress(DOING, index as f64, total, "steps");
            control.checkpoint().await?;
            let loss_nats = loaded.loss_without(deletion, means.as_deref(), &mut prefixes, &control).await?;
            deletion.delta_nats = loss_nats.map_or(Evaluation::OVERFLOW, |loss_nats| (loss_nats - intact.loss_nats) as f32);
            control.emit(Event::Deletion(*deletion));
        }
        control.progress(DOING, total, total, "steps");
        control.emit(Event::Deleted(DeletionReport {
            model: loaded.info.model.clone(),
            calibration,
            intact: intact.evaluation,
            n_quantiles: asked.n_quantiles,
            seed: asked.seed,
            replacement: asked.replacement,
            correlations: deletion::correlations(&deletions),
            deletions,
        }));
        Ok(())
    }
}

impl Loaded {
    /// Draws the channels to remove, layer by layer, without measuring.
    fn drawn(&self, asked: &Asked) -> Result<Vec<Deletion>, EngineError> {
        let setting = |key, got: usize, expected| Err(SettingError { key, got: got.to_string(), expected }.into());
        if asked.per_layer == 0 {
            return setting("per_layer", asked.per_layer, "1 or more");
        }
        if let Some(layer) = asked.layer {
            check_below(Coordinate::Layer, layer, self.info.num_hidden_layers)?;
        }
        let widths = &self.info.intermediate_size;
        let width = asked.layer.map_or(widths.range().0, |layer| widths.at(layer));
        if !(1..=width).contains(&asked.n_quantiles) {
            return setting("n_quantiles", asked.n_quantiles, "from 1 to the number of a layer's channels");
        }
        let scored = self.scored.as_ref().ok_or(EngineError::NotScored)?;
        let layers = scored.scores.loss_proxies().into_iter().enumerate();
        let of_layer =
            |(layer, loss_proxy): (usize, Vec<f32>)| deletion::drawn(layer, &loss_proxy, asked.per_layer, asked.n_quantiles, asked.seed);
        Ok(layers.filter(|(layer, _)| asked.layer.is_none_or(|only| only == *layer)).flat_map(of_layer).collect())
    }

    /// Measures the loss with one channel removed, or set to its mean if `means` are given. Returns `None` if it
    /// overflows.
    async fn loss_without(
        &self,
        deletion: &Deletion,
        means: Option<&[Vec<f32>]>,
        prefixes: &mut Prefixes,
        control: &Control,
    ) -> Result<Option<f64>, EngineError> {
        let (layer, channel) = (deletion.layer, deletion.channel);
        let target = match means {
            Some(_) => EditTarget::channel_mean(layer, channel),
            None => EditTarget::channel(layer, channel),
        };
        let ablation = Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() };
        let model = self.intact.with_ablation_by(&ablation, means)?;
        let measured = match eval::measure(&model, &ablation, &self.held_out, prefixes, control, |_done| {}).await {
            // An overflow is the deletion's result. If the GPU failed, the check below ends the request.
            Err(AnalysisError::Device(DeviceError::NonFinite { .. })) => None,
            measured => Some(measured?.loss_nats),
        };
        self.check_gpu()?;
        Ok(measured)
    }
}
