//! Measures many prunings on the held-out text.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};

use super::Engine;
use super::error::EngineError;
use super::helpers::PATIENCE;
use super::prune::Removal;
use super::scored::Scored;
use crate::analysis::AnalysisError;
use crate::analysis::eval::{self, HeldOut, Totals};
use crate::analysis::many::{Bench, Many};
use crate::protocol::Event;
use crate::tensors::DeviceError;
use crate::terms::{Change, Evaluation, Pane, Pruned, Pruning, Replacement, SweepPoint, SweepReport};

/// Name of the work in progress reports.
const DOING: &str = "measuring_removals";

/// Evaluations of one request.
type Known = HashMap<(String, Replacement), Evaluation>;

impl Engine {
    /// Answers [`crate::protocol::Request::Sweep`]. A removal whose loss overflows is a point like the others.
    pub(super) async fn sweep(&mut self, prunings: &[Pruning]) -> Result<(), EngineError> {
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        if loaded.scored.is_none() {
            return Err(EngineError::NotScored);
        }
        let total = prunings.len() as f64;
        control.progress(DOING, 0.0, total, "steps");
        let intact = loaded.measured_intact(&control, |_done| {}).await?.evaluation;
        control.emit(Event::Evaluated { pane: Pane::Intact, evaluation: intact.clone() });
        // Selections change what is kept of the scores, so the model and the text are borrowed from clones, which share
        // the weights.
        let (model, text) = (loaded.intact.clone(), loaded.held_out.clone());
        let to_means = prunings.iter().any(|pruning| pruning.replacement == Replacement::Mean);
        let means = loaded.scored.as_ref().filter(|_| to_means).and_then(Scored::means);
        let health = loaded.health.clone();
        self.helpers.begin(loaded, true, means.as_deref()).await?;
        let bench = Bench {
            model: &model,
            text: &text,
            means: means.as_deref(),
            with_stopwords: true,
            crew: &mut self.helpers,
            patience: PATIENCE,
            control: &control,
        };
        let (pending, mut points) = (RefCell::new(VecDeque::new()), Vec::new());
        let mut asked = HashSet::new();
        let change = async |index: usize| {
            let removal = loaded.resolved(&prunings[index], &control).await?;
            let Removal { channels, pruned } = removal;
            let is_new = pruned.n_channels > 0 && asked.insert(key(&pruned));
            let to_means = pruned.pruning.replacement == Replacement::Mean;
            pending.borrow_mut().push_back(pruned);
            Ok::<_, EngineError>(is_new.then_some(Change::Channels { channels, to_means }))
        };
        let mut known = Known::new();
        let tell = |_index, totals: Option<Totals>| {
            // If the GPU has failed, an overflow is no result.
            DeviceError::check_health(health.as_ref())?;
            let Some(pruned) = pending.borrow_mut().pop_front() else { return Ok(()) };
            if let Some(totals) = totals {
                known.insert(key(&pruned), evaluation(totals, &text)?);
            }
            let evaluation = known.get(&key(&pruned)).unwrap_or(&intact).clone();
            let point = SweepPoint { pruned, evaluation };
            control.emit(Event::SweepPoint(point.clone()));
            points.push(point);
            Ok(())
        };
        let progress = |told: usize, _done| control.progress(DOING, told as f64, total, "steps");
        let mut many = Many::new(bench);
        let measured = many.run(prunings.len(), change, tell, progress).await;
        drop(many);
        self.helpers.end(loaded);
        measured?;
        control.progress(DOING, total, total, "steps");
        control.emit(Event::Swept(SweepReport { model: loaded.info.model.clone(), intact, points }));
        Ok(())
    }
}

/// The channels that a pruning removed, and what took their place. Rules that pick the same are measured once.
fn key(pruned: &Pruned) -> (String, Replacement) {
    (pruned.digest.clone(), pruned.pruning.replacement)
}

/// A loss that overflows is the removal's result.
fn evaluation(totals: Totals, text: &HeldOut) -> Result<Evaluation, AnalysisError> {
    match totals.measured(text) {
        Err(AnalysisError::Device(DeviceError::NonFinite { .. })) => Ok(eval::overflowed(text)),
        measured => Ok(measured?.evaluation),
    }
}
