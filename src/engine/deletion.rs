//! Removes channels one at a time, each measured on the held-out text.

use super::error::EngineError;
use super::{Engine, Loaded};
use crate::analysis::deletion;
use crate::analysis::eval::Totals;
use crate::analysis::many::Many;
use crate::protocol::Event;
use crate::tensors::DeviceError;
use crate::terms::{Ablation, Change, Deletion, DeletionReport, EditTarget, Evaluation, Pane, Replacement, WeightEdit};

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
        let changes = deletions.iter().map(|deletion| change(deletion, asked.replacement)).collect::<Vec<_>>();
        let health = loaded.health.as_ref();
        let tell = |index: usize, totals: Option<Totals>| {
            // If the GPU has failed, an overflow is no result.
            DeviceError::check_health(health)?;
            let deletion: &mut Deletion = &mut deletions[index];
            let loss_nats = totals.unwrap_or_default().mean();
            let is_finite = (loss_nats as f32).is_finite();
            deletion.delta_nats = if is_finite { (loss_nats - intact.loss_nats) as f32 } else { Evaluation::OVERFLOW };
            control.emit(Event::Deletion(*deletion));
            Ok::<(), EngineError>(())
        };
        let progress = |told: usize, _done| control.progress(DOING, told as f64, total, "steps");
        self.helpers.begin(loaded, false, means.as_deref()).await?;
        let mut many = Many::new(loaded.bench(false, means.as_deref(), &mut self.helpers, &control));
        let measured = many.run(changes.len(), async |index| Ok(Some(changes[index].clone())), tell, progress).await;
        drop(many);
        self.helpers.end(loaded);
        measured?;
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
        let scored = self.scored.as_ref().ok_or(EngineError::NotScored)?;
        let layers = scored.scores.loss_proxies().into_iter().enumerate();
        let of_layer =
            |(layer, loss_proxy): (usize, Vec<f32>)| deletion::drawn(layer, &loss_proxy, asked.per_layer, asked.n_quantiles, asked.seed);
        Ok(layers.filter(|(layer, _)| asked.layer.is_none_or(|only| only == *layer)).flat_map(of_layer).collect())
    }
}

/// The removal of one channel, or its replacement by its mean.
fn change(deletion: &Deletion, replacement: Replacement) -> Change {
    let (layer, channel) = (deletion.layer, deletion.channel);
    let target = match replacement {
        Replacement::Mean => EditTarget::channel_mean(layer, channel),
        Replacement::Zero => EditTarget::channel(layer, channel),
    };
    Change::Edit(Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() })
}
