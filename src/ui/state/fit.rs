//! The fit of a model on this device, before its weights are downloaded.

use crate::catalog::hub::{self, HubModel};
use crate::catalog::shape::Place;
use crate::terms::{FitCheck, FitKind, Inspection, ModelSource};

/// The engine's inspection of a model before its weights are downloaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub title: String,
    pub of: ModelSource,
    pub inspection: Inspection,
}

impl Fit {
    /// The headline, which claims no more than is known.
    pub fn verdict(&self) -> &'static str {
        let is_unknown = |check: &FitCheck| check.kind == FitKind::Memory && check.limit.is_none();
        match self.inspection.fits {
            false => "does not fit.",
            true if self.inspection.checks.iter().any(is_unknown) => {
                "may fit: no known limit is exceeded, but browsers do not reveal the size of GPU memory."
            }
            true => "fits.",
        }
    }
}

/// A short answer for one resource; `fits` is `true` if the model can run.
pub fn enough(check: &FitCheck, fits: bool) -> &'static str {
    match (check.ok, check.limit) {
        (true, None) => "unknown",
        (true, Some(_)) => "yes",
        (false, _) if fits && check.kind == FitKind::Storage => "no, but it runs",
        (false, _) => "no",
    }
}

/// The largest models of the catalogue that pass the checks that the inspected one failed, at most three.
pub fn that_fit(inspection: &Inspection) -> Vec<&'static HubModel> {
    let place = if inspection.backend.kind == "cpu" { Place::Cpu } else { Place::Gpu };
    let passes =
        |model: &HubModel| model.id != inspection.id && inspection.checks.iter().all(|check| is_met(check, model, place, inspection));
    let size = |model: &&HubModel| model.shape.num_parameters();
    let mut fitting: Vec<_> = hub::MODELS.iter().filter(|model| passes(model)).collect();
    fitting.sort_by_key(|model| std::cmp::Reverse(size(model)));
    fitting.truncate(3);
    fitting
}

/// Returns `true` if a model of the catalogue would pass a check that was made for another model. The requirement
/// grows with the weights; for a single matrix, the embeddings count as the largest.
fn is_met(check: &FitCheck, model: &HubModel, place: Place, inspection: &Inspection) -> bool {
    let Some(limit) = check.limit else { return true };
    let all = model.device_bytes(place) as f64;
    let needed = match check.kind {
        FitKind::Buffer => {
            let embeddings = u64::from(model.shape.vocab_size) * u64::from(model.shape.hidden_size);
            all * (embeddings as f64 / model.shape.num_parameters() as f64)
        }
        FitKind::Memory => check.needed as f64 * all / inspection.weight_bytes.max(1) as f64,
        // A model runs without storage.
        FitKind::Storage => return true,
    };
    needed <= limit as f64
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
