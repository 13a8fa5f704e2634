//! Figures 6 and 8: all super weights multiplied by the same factors.
//!
//! In the paper half of a super weight costs next to nothing, and the model collapses between a fifth and a third of
//! it. The **collapse threshold** reported here is the largest factor below 1 at which the loss is halfway, in nats,
//! from the intact model's to that at factor 0, interpolated linearly between the measured factors.

use super::{Arm, Bench, Draft, ExperimentError, Measured, Sheet, has_overflowed};
use crate::terms::{Ablation, DataPlot, MIN_DELTA_NATS, Message, PlotKind, Scaling, WeightCoord, WeightEdit};

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>, settings: &Scaling) -> Result<(), ExperimentError> {
    let super_weights = draft.outcome.experiment.super_weights.clone();
    let mut sheet = Sheet::new(draft, &["factor"]);
    draft.outcome.plots.push(DataPlot::new(PlotKind::Lines, "loss_by_scale", "loss", "factor", "loss"));
    if !bench.tasks.is_empty() {
        let title = "accuracy_by_scale";
        draft.outcome.plots.push(DataPlot::new(PlotKind::Lines, title, "tasks", "factor", "acc").split_by("task"));
    }
    // The intact model comes first, because changes are relative to it.
    let mut factors = vec![1.0];
    factors.extend(settings.factors.iter().copied().filter(|factor| *factor != 1.0));
    let mut points = Vec::new();
    for (index, factor) in factors.iter().copied().enumerate() {
        let edit = |at: &WeightCoord| WeightEdit { target: (*at).into(), scale: factor };
        let ablation = Ablation { weight_edits: super_weights.iter().map(edit).collect(), ..Ablation::default() };
        let arm = Arm::new(format!("factor_{factor}"), bench.model.with_ablation(&ablation)?);
        let measured = bench.measure(&arm, (index, factors.len())).await?;
        sheet.add(draft, vec![factor.into()], &measured);
        // Lines are drawn through rows in order, and a stop may come after any row.
        for table in &mut draft.outcome.tables {
            table.rows.sort_by(|a, b| a[0].number().unwrap_or(0.0).total_cmp(&b[0].number().unwrap_or(0.0)));
        }
        draft.send();
        points.push((factor, measured));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    conclude(draft, &points);
    Ok(())
}

/// Marks the collapse threshold in the plots, and states the findings. `points` are in ascending order of factor.
fn conclude(draft: &mut Draft<'_>, points: &[(f32, Measured)]) {
    let losses = points.iter().map(|(factor, measured)| (*factor, measured.evaluation.loss_nats)).collect::<Vec<_>>();
    let at = |factor: f32| losses.iter().find(|(of, _)| *of == factor).map(|(_, loss)| *loss);
    let Some(intact) = at(1.0) else { return };
    draft.headline("loss/factor_1", f64::from(intact));
    match at(0.0) {
        Some(removed) => say_collapse(draft, &losses, intact, removed),
        None => draft.find("no_factor_0".into()),
    }
    if let Some((factor, loss)) = losses.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)) {
        draft.find(Message::new("least_loss").with("factor", factor).with("intact_nats", intact).with("loss_nats", loss));
        draft.headline("least_loss_factor", f64::from(factor));
    }
    say_accuracy(draft, points);
}

fn say_collapse(draft: &mut Draft<'_>, losses: &[(f32, f32)], intact: f32, removed: f32) {
    draft.headline("loss/factor_0", f64::from(removed));
    let cost = |code: &str| Message::new(code).with("intact_nats", intact).with("removed_nats", removed);
    if has_overflowed(removed) {
        draft.find(cost("collapse_overflow"));
        return;
    }
    match collapse_threshold(losses, intact, removed) {
        Some(threshold) => {
            draft.find(cost("collapse").with("threshold", threshold));
            draft.headline("collapse_threshold", f64::from(threshold));
            for plot in &mut draft.outcome.plots {
                plot.marks.push((f64::from(threshold), "collapse".into()));
            }
        }
        None => draft.find(cost("no_collapse")),
    }
}

/// States the factor of the highest mean accuracy, if there are tasks. If several are equal, it is the factor nearest
/// to 1.
fn say_accuracy(draft: &mut Draft<'_>, points: &[(f32, Measured)]) {
    let accs = points.iter().filter_map(|(factor, measured)| Some((*factor, measured.mean_acc()?))).collect::<Vec<_>>();
    let distance = |factor: f32| (factor - 1.0).abs();
    let best = accs.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1).then(distance(b.0).total_cmp(&distance(a.0))));
    let at = |factor: f32| accs.iter().find(|(of, _)| *of == factor).map(|(_, acc)| *acc);
    let (Some((factor, best)), Some(intact)) = (best, at(1.0)) else { return };
    let accuracy = Message::new("scaling_accuracy").with("intact", intact).with("removed", at(0.0));
    draft.find(accuracy.with("factor", factor).with("best", best));
    draft.headline("mean_accuracy/factor_1", intact);
    if let Some(removed) = at(0.0) {
        draft.headline("mean_accuracy/factor_0", removed);
    }
    draft.headline("highest_accuracy_factor", f64::from(factor));
}

/// Returns the collapse threshold of the module's documentation; `None` if removal costs less than [`MIN_DELTA_NATS`].
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
    fn threshold_is_halfway_between_the_factors_around_it() {
        let losses = [(0.0, 7.0), (0.1, 6.0), (0.2, 4.0), (0.5, 3.1), (1.0, 3.0), (2.0, 9.0)];
        let found = collapse_threshold(&losses, 3.0, 7.0).unwrap();
        assert!((found - 0.15).abs() < 1e-6, "{found}");
        assert_eq!(collapse_threshold(&losses, 3.0, 3.2), None);
        // The loss may rise and fall between the factors.
        let losses = [(0.0, 7.0), (0.1, 3.0), (0.2, 6.0), (0.4, 4.0), (1.0, 3.0)];
        assert_eq!(collapse_threshold(&losses, 3.0, 7.0), Some(0.3));
    }
}
