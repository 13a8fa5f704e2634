//! Loss of one model after the other, side by side in one table.

use super::{Bench, Draft};
use crate::analysis::eval;
use crate::engine::error::EngineError;
use crate::model::Model;
use crate::terms::{Ablation, Cell, DataTable, Evaluation};

/// One model of an experiment. It is made when its turn comes, and dropped after it.
pub struct Arm {
    /// "Prune SW"
    pub name: String,
    pub model: Model,
}

/// What an arm came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub evaluation: Evaluation,
}

impl Bench<'_> {
    /// Loss on the text, and what else the experiment asks for. `at` says which arm of how many it is. A loss that overflows
    /// is a finding ([`Evaluation::OVERFLOW`]); a GPU that failed is none.
    ///
    /// # Errors
    ///
    /// A failing device, or a stop.
    pub async fn measure(&self, arm: &Arm, at: (usize, usize)) -> Result<Measured, EngineError> {
        let text = self.text.as_ref().ok_or(EngineError::EmptyText)?;
        let n_tokens = text.n_tokens();
        let doing = format!("{}, {} of {}", arm.name, at.0 + 1, at.1);
        let total = (at.1 * n_tokens) as f64;
        let progress = |done| self.control.progress(&doing, (at.0 * n_tokens + done) as f64, total, "tokens");
        let evaluation = match eval::evaluate(&arm.model, &Ablation::default(), text, self.control, progress).await {
            Err(EngineError::NonFinite { .. }) => eval::overflowed(text),
            evaluated => evaluated?,
        };
        self.check_gpu()?;
        Ok(Measured { evaluation })
    }
}

/// The tables that arms are told in: `loss`, a row for each arm behind the columns that name it.
pub struct Sheet {
    intact: Option<f32>,
}

impl Sheet {
    /// Adds empty tables to the draft; `keys` are the columns that name an arm.
    pub fn new(draft: &mut Draft<'_>, keys: &[&str]) -> Self {
        let of_loss = ["loss (nats)", "perplexity", "change (nats)", "stopword_mass (probability)", "tokens"];
        draft.outcome.tables.push(DataTable::new("loss", "Loss on the text", &[keys, &of_loss].concat()));
        Self { intact: None }
    }

    /// Adds an arm, and shows it. The first is what the others' change is counted from.
    pub fn push(&mut self, draft: &mut Draft<'_>, keys: Vec<Cell>, measured: &Measured) {
        let Evaluation { loss_nats, perplexity, stopword_mass, n_tokens, .. } = measured.evaluation;
        let intact = *self.intact.get_or_insert(loss_nats);
        let mut row = keys;
        row.extend([loss_nats.into(), perplexity.into(), (loss_nats - intact).into(), stopword_mass.into(), n_tokens.into()]);
        if let Some(table) = draft.outcome.tables.iter_mut().find(|table| table.name == "loss") {
            table.push(row);
        }
        draft.tell();
    }
}
