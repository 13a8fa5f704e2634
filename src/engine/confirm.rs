//! Confirms candidates on the held-out text.

use super::Engine;
use super::error::EngineError;
use crate::analysis::confirm::{self, Experiment};
use crate::protocol::Event;
use crate::terms::{ConfirmArm, ConfirmReport, RowCoord, WeightCoord};

impl Engine {
    /// Answers [`crate::protocol::Request::Confirm`].
    pub(super) async fn confirm(&mut self, candidates: &[WeightCoord], rows: &[RowCoord], seed: u64) -> Result<(), EngineError> {
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        if !candidates.is_empty() {
            loaded.know_means(&control).await?;
        }
        let means = loaded.means.as_deref();
        let experiment = Experiment { model: &loaded.intact, num_parameters: loaded.info.num_parameters, largest: &loaded.largest, seed };
        self.helpers.begin(loaded, false, means).await?;
        let bench = loaded.bench(false, means, &mut self.helpers, &control);
        let tell = |arm: &ConfirmArm| control.emit(Event::Arm { arm: arm.clone() });
        let confirmed = confirm::confirm(&experiment, bench, candidates, rows, tell).await;
        self.helpers.end(loaded);
        let confirm::Findings { arms, verdicts, rows } = confirmed?;
        loaded.check_gpu()?;
        control.emit(Event::Confirmed(ConfirmReport {
            model: loaded.info.model.clone(),
            convention: loaded.held_out.convention.clone(),
            n_tokens: loaded.held_out.n_tokens(),
            arms,
            verdicts,
            rows,
        }));
        Ok(())
    }
}
