//! Measures many prunings on the held-out text, one after the other.

use std::collections::HashMap;

use super::error::EngineError;
use super::prune::{Removal, check};
use super::{Engine, Loaded};
use crate::analysis::prefix::Prefixes;
use crate::analysis::{AnalysisError, eval};
use crate::job::SettingError;
use crate::job::control::Control;
use crate::protocol::Event;
use crate::tensors::DeviceError;
use crate::terms::{Ablation, Evaluation, Pane, Pruning, Replacement, SweepPoint, SweepReport};

/// The most prunings of a request, beyond any useful number.
const MAX_PRUNINGS: usize = 10_000;
/// Name of the work in progress reports.
const DOING: &str = "measuring_removals";

/// Evaluations of one request. Rules that pick the same channels are measured once.
type Known = HashMap<(String, Replacement), Evaluation>;

impl Engine {
    /// Answers [`crate::protocol::Request::Sweep`]. A removal whose loss overflows is a point like the others.
    pub(super) async fn sweep(&mut self, prunings: &[Pruning]) -> Result<(), EngineError> {
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        loaded.check_sweep(prunings)?;
        let (mut known, mut prefixes) = (Known::new(), Prefixes::default());
        let (mut points, total) = (Vec::new(), prunings.len() as f64);
        control.progress(DOING, 0.0, total, "steps");
        let intact = loaded.measured_intact(&control, |_done| {}).await?.evaluation;
        control.emit(Event::Evaluated { pane: Pane::Intact, evaluation: intact.clone() });
        for (index, pruning) in prunings.iter().enumerate() {
            control.progress(DOING, index as f64, total, "steps");
            control.checkpoint().await?;
            let removal = loaded.resolved(pruning, &control).await?;
            let evaluation = loaded.measured_without(&removal, &intact, (&mut known, &mut prefixes), &control).await?;
            let point = SweepPoint { pruned: removal.pruned, evaluation };
            control.emit(Event::SweepPoint(point.clone()));
            points.push(point);
        }
        control.progress(DOING, total, total, "steps");
        control.emit(Event::Swept(SweepReport { model: loaded.info.model.clone(), intact, points }));
        Ok(())
    }
}

impl Loaded {
    /// Checks a request before any work.
    fn check_sweep(&self, prunings: &[Pruning]) -> Result<(), EngineError> {
        if prunings.len() > MAX_PRUNINGS {
            return Err(SettingError { key: "prunings", got: prunings.len().to_string(), expected: "10000 or fewer" }.into());
        }
        if self.scored.is_none() {
            return Err(EngineError::NotScored);
        }
        prunings.iter().try_for_each(|pruning| check(&pruning.selection, &self.intact))
    }

    /// Measures the held-out loss without the channels of a removal. The pruned model is dropped afterwards.
    async fn measured_without(
        &self,
        removal: &Removal,
        intact: &Evaluation,
        (known, prefixes): (&mut Known, &mut Prefixes),
        control: &Control,
    ) -> Result<Evaluation, EngineError> {
        let pruned = &removal.pruned;
        if pruned.n_channels == 0 {
            return Ok(intact.clone());
        }
        let key = (pruned.digest.clone(), pruned.pruning.replacement);
        if let Some(evaluation) = known.get(&key) {
            return Ok(evaluation.clone());
        }
        let model = self.without(removal);
        let evaluation = match eval::evaluate(&model, &Ablation::default(), &self.held_out, prefixes, control, |_done| {}).await {
            // An overflow is the removal's result. If the GPU failed, the check below ends the request.
            Err(AnalysisError::Device(DeviceError::NonFinite { .. })) => eval::overflowed(&self.held_out),
            evaluated => evaluated?,
        };
        self.check_gpu()?;
        known.insert(key, evaluation.clone());
        Ok(evaluation)
    }
}
