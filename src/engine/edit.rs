//! The applied ablation: channels removed by a pruning, then the weights edited.

use web_time::Instant;

use super::error::EngineError;
use super::{Engine, Loaded};
use crate::job::control::Control;
use crate::model::Model;
use crate::protocol::Event;
use crate::terms::{Ablation, EditTarget, Pruned, Pruning};

impl Engine {
    pub(super) async fn apply(&mut self, ablation: Ablation) -> Result<(), EngineError> {
        let started = Instant::now();
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        let (base, pruned) = match &ablation.pruning {
            Some(pruning) => {
                let (model, pruned) = loaded.pruned(pruning, &control).await?;
                (model, Some(pruned))
            }
            None => (loaded.intact.clone(), None),
        };
        if ablation.weight_edits.iter().any(|edit| matches!(edit.target, EditTarget::ChannelMean(_))) {
            loaded.know_means(&control).await?;
        }
        loaded.ablated = base.with_ablation_by(&ablation, loaded.means.as_deref())?;
        loaded.ablation = ablation.clone();
        loaded.pruned.clone_from(&pruned);
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        control.emit(Event::Applied { ablation, took_ms, pruned });
        Ok(())
    }
}

impl Loaded {
    /// The intact model without the channels that a pruning removes, and the pruning's outcome.
    async fn pruned(&mut self, pruning: &Pruning, control: &Control) -> Result<(Model, Pruned), EngineError> {
        let removal = self.resolved(pruning, control).await?;
        Ok((self.without(&removal), removal.pruned))
    }
}
