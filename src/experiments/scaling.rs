//! Figures 6 and 8: the super weights multiplied by factors, all together.
//!
//! In the paper half of a super weight costs next to nothing, and the model collapses between a fifth and a third of it. The
//! **collapse threshold** told here is the largest factor below 1 at which the loss is halfway, in nats, from the intact
//! model's to that at factor 0, by straight lines between the factors measured.

use super::{Arm, Bench, Draft, Sheet};
use crate::engine::error::EngineError;
use crate::terms::{Ablation, DataPlot, MIN_DELTA_NATS, PlotKind, WeightCoord, WeightEdit};

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let experiment = draft.outcome.experiment.clone();
    let mut sheet = Sheet::new(draft, &["factor"]);
    draft.outcome.plots.push(DataPlot::new(PlotKind::Lines, "Loss over the super weights' scale", "loss", "factor", "loss"));
    if !bench.tasks.is_empty() {
        let title = "Task accuracy over the super weights' scale";
        draft.outcome.plots.push(DataPlot::new(PlotKind::Lines, title, "tasks", "factor", "acc").by("task"));
    }
    // The intact model first: the others' change is counted from it.
    let mut factors = vec![1.0];
    factors.extend(experiment.factors.iter().copied().filter(|factor| *factor != 1.0));
    let mut losses = Vec::new();
    for (index, factor) in factors.iter().copied().enumerate() {
        let edit = |at: &WeightCoord| WeightEdit { target: (*at).into(), scale: factor };
        let ablation = Ablation { weight_edits: experiment.super_weights.iter().map(edit).collect(), ..Ablation::default() };
        let arm = Arm::new(format!("factor {factor}"), bench.model.with_ablation(&ablation)?);
        let measured = bench.measure(&arm, (index, factors.len())).await?;
        sheet.push(draft, vec![factor.into()], &measured);
        losses.push((factor, measured.evaluation.loss_nats));
    }
    losses.sort_by(|a, b| a.0.total_cmp(&b.0));
    for table in &mut draft.outcome.tables {
        table.rows.sort_by(|a, b| a[0].number().unwrap_or(0.0).total_cmp(&b[0].number().unwrap_or(0.0)));
    }
    conclude(draft, &losses);
    Ok(())
}

/// Marks where it collapses, and says so. `losses` by factor, ascending.
fn conclude(draft: &mut Draft<'_>, losses: &[(f32, f32)]) {
    let at = |factor: f32| losses.iter().find(|(of, _)| *of == factor).map(|(_, loss)| *loss);
    let (Some(intact), Some(removed)) = (at(1.0), at(0.0)) else { return };
    draft.headline("loss at factor 1", f64::from(intact));
    draft.headline("loss at factor 0", f64::from(removed));
    let cost = removed - intact;
    match collapse_threshold(losses, intact, removed) {
        Some(threshold) => {
            draft.find(format!("The model collapses below {threshold:.2} times the super weight: there half of the {cost:+.3} nats that removing it costs are reached."));
            draft.headline("collapse threshold", f64::from(threshold));
            draft.outcome.plots[0].marks.push((f64::from(threshold), format!("collapse at {threshold:.2}")));
        }
        None => draft.find(format!("It does not collapse: removing what was scaled costs {cost:+.3} nats.")),
    }
    if let Some((factor, loss)) = losses.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)) {
        draft.find(format!("The loss is least at factor {factor}: {:+.4} nats from the intact model.", loss - intact));
        draft.headline("best factor", f64::from(factor));
    }
}

/// See the module's head; none if removing costs less than [`MIN_DELTA_NATS`].
fn collapse_threshold(losses: &[(f32, f32)], intact: f32, removed: f32) -> Option<f32> {
    if removed - intact < MIN_DELTA_NATS {
        return None;
    }
    let halfway = f32::midpoint(intact, removed);
    let below = losses.iter().rposition(|(factor, loss)| *factor < 1.0 && *loss >= halfway)?;
    let ((x0, y0), (x1, y1)) = (losses[below], *losses.get(below + 1)?);
    Some(x0 + (x1 - x0) * ((y0 - halfway) / (y0 - y1)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_halfway_between_the_factors_around_it() {
        let losses = [(0.0, 7.0), (0.1, 6.0), (0.2, 4.0), (0.5, 3.1), (1.0, 3.0), (2.0, 9.0)];
        let found = collapse_threshold(&losses, 3.0, 7.0).unwrap();
        assert!((found - 0.15).abs() < 1e-6, "{found}");
        assert_eq!(collapse_threshold(&losses, 3.0, 3.2), None);
        // It may rise and fall on the way.
        let losses = [(0.0, 7.0), (0.1, 3.0), (0.2, 6.0), (0.4, 4.0), (1.0, 3.0)];
        assert_eq!(collapse_threshold(&losses, 3.0, 7.0), Some(0.3));
    }
}
