//! Table 1: the cost of removing the super weights, compared with removing other large weights, and with restoring or
//! replacing the super activation.
//!
//! | arm | model | at the super activation |
//! |---|---|---|
//! | `original` | intact | |
//! | `prune_sw` | the super weights zero, all together | |
//! | `prune_non_sw_per_tensor` | the largest millionth of each weight tensor zero, the super weights kept: the paper's code | |
//! | `prune_non_sw_N_largest` | the N largest scalars of the model zero, the super weights kept: the paper's 7,000 of 6.7 billion, scaled, and a larger N | |
//! | `prune_random` | as many scalars of the same matrices zero, drawn by the experiment's `seed`: a control that is not in the paper | |
//! | `prune_sw_restored` | as `prune_sw` | its original value is put back |
//! | `sa_zero`, `sa_mean` | intact | it is 0, or its mean over calibration sequences |
//!
//! The super activation is the output of `down_proj` on a super weight's row, at the one token of a sequence where it
//! is largest ([`PeakEdit`]). If a row has several super weights, the restored value contains the products of all of
//! them. They are computed from the pruned model's input. So if super weights of earlier layers are removed, too, the
//! restored value differs from the intact model's by their effect.

use super::{Arm, Bench, Draft, ExperimentError, Measured, Sheet, has_overflowed};
use crate::analysis::calibration::Sequences;
use crate::analysis::controls::{all_but, largest_counts, random_scalar};
use crate::analysis::residual::floats;
use crate::analysis::tasks::AVERAGE;
use crate::model::probe::{PeakAction, PeakEdit, Probe};
use crate::model::{Model, Positions};
use crate::tensors::DeviceError;
use crate::terms::{Ablation, DataPlot, Experiment, Importance, MIN_DELTA_NATS, Matrix, Message, PlotKind, WeightCoord};
use burn::tensor::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Share of the lost mean accuracy that the paper's +SA restores (Llama-7B).
const PAPER_RESTORED: f64 = 0.42;

const ORIGINAL: &str = "original";
const PRUNED: &str = "prune_sw";
const RESTORED: &str = "prune_sw_restored";

/// The description of an arm that is not built yet.
struct Plan {
    name: String,
    change: Change,
}

enum Change {
    Nothing,
    Prune,
    PruneRandom(Vec<WeightCoord>),
    Zero(Vec<(usize, Matrix, usize)>),
    Restore,
    /// Sets super activations to these values, one for each place.
    Set(Vec<f32>),
}

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>, settings: &Importance) -> Result<(), ExperimentError> {
    let super_weights = draft.outcome.experiment.super_weights.clone();
    let plans = plan(bench, draft, settings, &super_weights).await?;
    let mut sheet = Sheet::new(draft, &["arm", "zeroed (scalars)"]);
    add_plots(bench, draft);
    let mut measured = Vec::new();
    for (index, Plan { name, change }) in plans.iter().enumerate() {
        let (arm, n_zeroed) = make(bench.model, &super_weights, name, change)?;
        let of_arm = bench.measure(&arm, (index, plans.len())).await?;
        sheet.push(draft, vec![name.as_str().into(), n_zeroed.into()], &of_arm);
        measured.push((name.as_str(), of_arm));
    }
    conclude(draft, &measured);
    Ok(())
}

/// The arms, and notes on missing ones.
async fn plan(
    bench: &Bench<'_>,
    draft: &mut Draft<'_>,
    settings: &Importance,
    super_weights: &[WeightCoord],
) -> Result<Vec<Plan>, ExperimentError> {
    let new = |name: &str, change| Plan { name: name.into(), change };
    let mut plans = vec![new(ORIGINAL, Change::Nothing)];
    match super_weights.is_empty() {
        true => draft.find("no_super_weight_arms".into()),
        false => {
            plans.push(new(PRUNED, Change::Prune));
            let drawn = random_scalars(bench.model, super_weights, settings.seed);
            plans.push(new("prune_random", Change::PruneRandom(drawn)));
        }
    }
    let by_tensor = all_but(bench.model, super_weights, bench.largest_by_tensor).collect::<Vec<_>>();
    if by_tensor.is_empty() {
        draft.find(match bench.largest_by_tensor.is_empty() {
            true => "per_tensor_too_small".into(),
            false => "per_tensor_is_super_weights".into(),
        });
    } else {
        plans.push(new("prune_non_sw_per_tensor", Change::Zero(by_tensor)));
    }
    for n in largest_counts(bench.info.num_parameters) {
        let scalars = all_but(bench.model, super_weights, bench.largest).take(n).collect::<Vec<_>>();
        plans.push(new(&format!("prune_non_sw_{}_largest", scalars.len()), Change::Zero(scalars)));
    }
    if !super_weights.is_empty() {
        plans.push(new(RESTORED, Change::Restore));
        plans.push(new("sa_zero", Change::Set(vec![0.0; places(super_weights).len()])));
        plans.push(new("sa_mean", Change::Set(means(bench, draft, super_weights, settings.n_calibration).await?)));
    }
    Ok(plans)
}

/// Draws one other scalar of the same matrix for each super weight.
fn random_scalars(model: &Model, super_weights: &[WeightCoord], seed: u64) -> Vec<WeightCoord> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    super_weights.iter().map(|at| random_scalar(model, at.layer, super_weights, &mut rng)).collect()
}

/// Returns the distinct layers and rows of super activations.
fn places(super_weights: &[WeightCoord]) -> Vec<(usize, usize)> {
    let mut places = super_weights.iter().map(|at| (at.layer, at.row)).collect::<Vec<_>>();
    places.sort_unstable();
    places.dedup();
    places
}

/// The arm, and the number of scalars that are zero in it.
fn make(model: &Model, super_weights: &[WeightCoord], name: &str, change: &Change) -> Result<(Arm, usize), ExperimentError> {
    let pruned = || model.with_ablation(&Ablation::zeroing(super_weights.iter().copied()));
    let edits = |of_place: &dyn Fn(usize, (usize, usize)) -> PeakEdit| {
        places(super_weights).into_iter().enumerate().map(|(index, place)| of_place(index, place)).collect()
    };
    Ok(match change {
        Change::Nothing => (Arm::new(name, model.clone()), 0),
        Change::Prune => (Arm::new(name, pruned()?), super_weights.len()),
        Change::PruneRandom(drawn) => (Arm::new(name, model.with_ablation(&Ablation::zeroing(drawn.iter().copied()))?), drawn.len()),
        Change::Zero(scalars) => (Arm::new(name, model.with_zeroed(scalars)), scalars.len()),
        Change::Restore => {
            let at_peaks = edits(&|_, place| restore(model, super_weights, place));
            (Arm { at_peaks, ..Arm::new(name, pruned()?) }, super_weights.len())
        }
        Change::Set(values) => {
            let set = |index: usize, (layer, row)| PeakEdit { layer, row, removed: Vec::new(), action: PeakAction::Set(values[index]) };
            (Arm { at_peaks: edits(&set), ..Arm::new(name, model.clone()) }, 0)
        }
    })
}

/// Creates the edit that restores the value that the super weights of a row would have written.
fn restore(model: &Model, super_weights: &[WeightCoord], (layer, row): (usize, usize)) -> PeakEdit {
    let mut cols = super_weights.iter().filter(|at| (at.layer, at.row) == (layer, row)).map(|at| at.col).collect::<Vec<_>>();
    cols.sort_unstable();
    let removed = cols.into_iter().map(|col| (col, model.down_proj_scalar(layer, row, col))).collect();
    PeakEdit { layer, row, removed, action: PeakAction::Restore }
}

/// Means of the super activations at their peaks, over `n` sequences of the bundled calibration text.
async fn means(bench: &Bench<'_>, draft: &mut Draft<'_>, super_weights: &[WeightCoord], n: usize) -> Result<Vec<f32>, ExperimentError> {
    let (length, limit) = (Experiment::CALIBRATION_LENGTH, bench.info.max_position_embeddings);
    let sequences = Sequences::of(None, n, length, bench.tokenizer, limit)?;
    let read = |(layer, row)| PeakEdit { layer, row, removed: Vec::new(), action: PeakAction::Read };
    let at_peaks = places(super_weights).into_iter().map(read).collect::<Vec<_>>();
    let mut sums = vec![0.0_f64; at_peaks.len()];
    for (index, ids) in sequences.ids.iter().enumerate() {
        let mut probe = Probe::empty().at_peaks(&at_peaks);
        let _ = bench.model.without_head(ids, None, Positions::Last, &mut probe);
        let peaks = floats(Tensor::cat(probe.peaks, 0).into_data_async().await?);
        sums.iter_mut().zip(&peaks).for_each(|(sum, peak)| *sum += f64::from(*peak));
        bench.control.progress("super_activation_means", (index + 1) as f64, sequences.ids.len() as f64, "sequences");
        bench.control.checkpoint().await?;
    }
    let means = sums.into_iter().map(|sum| (sum / sequences.ids.len().max(1) as f64) as f32).collect::<Vec<_>>();
    bench.check_gpu()?;
    if means.iter().any(|mean| !mean.is_finite()) {
        return Err(DeviceError::NonFinite { what: "the super activation" }.into());
    }
    draft.outcome.convention = draft.outcome.convention.take().map(|convention| sequences.added_to(convention));
    for ((layer, row), mean) in places(super_weights).into_iter().zip(&means) {
        let finding = Message::new("super_activation_mean").with("layer", layer).with("row", row).with("mean", *mean);
        draft.find(
            finding.with("sequences", sequences.ids.len()).with("text", sequences.convention.text("text")).with("length", sequences.length),
        );
    }
    Ok(means)
}

fn add_plots(bench: &Bench<'_>, draft: &mut Draft<'_>) {
    let mut plot = DataPlot::new(PlotKind::Bars, "perplexity_by_arm", "loss", "arm", "perplexity");
    plot.log_y = true;
    draft.outcome.plots.push(plot);
    let only = match bench.tasks.as_slice() {
        [] => return,
        [one] => one.kind.name(),
        _ => AVERAGE,
    };
    let mut plot = DataPlot::new(PlotKind::Bars, "accuracy_by_arm", "tasks", "arm", "acc");
    plot.only = Some(("task".into(), only.into()));
    draft.outcome.plots.push(plot);
}

/// States the cost of each arm, and the share that +SA restores.
fn conclude(draft: &mut Draft<'_>, measured: &[(&str, Measured)]) {
    let Some((_, intact)) = measured.first() else { return };
    for (name, of_arm) in measured {
        let (loss, perplexity) = (of_arm.evaluation.loss_nats, of_arm.evaluation.perplexity);
        draft.headline(format!("perplexity/{name}"), f64::from(perplexity));
        if *name == ORIGINAL {
            continue;
        }
        let arm = Message::new("arm_loss").with("arm", *name).with("before_nats", intact.evaluation.loss_nats).with("after_nats", loss);
        draft.find(arm.with("before", intact.evaluation.perplexity).with("after", perplexity));
        if let (Some(before), Some(after)) = (intact.mean_acc(), of_arm.mean_acc()) {
            draft.find(Message::new("arm_accuracy").with("arm", *name).with("before", before).with("after", after));
        }
    }
    let of = |name: &str| measured.iter().find(|(of, _)| *of == name).map(|(_, measured)| measured);
    for name in [ORIGINAL, PRUNED, RESTORED] {
        if let Some(acc) = of(name).and_then(Measured::mean_acc) {
            draft.headline(format!("mean_accuracy/{name}"), acc);
        }
    }
    if let (Some(pruned), Some(restored)) = (of(PRUNED), of(RESTORED)) {
        say_restored(draft, intact, pruned, restored);
    }
}

/// States the restored share of the loss and, if there are tasks, of the accuracy.
fn say_restored(draft: &mut Draft<'_>, intact: &Measured, pruned: &Measured, restored: &Measured) {
    let [intact_nats, pruned_nats, restored_nats] = [intact, pruned, restored].map(|of| f64::from(of.evaluation.loss_nats));
    let overflowed = [intact, pruned, restored].iter().any(|of| has_overflowed(of.evaluation.loss_nats));
    draft.find(match pruned_nats - intact_nats >= f64::from(MIN_DELTA_NATS) {
        _ if overflowed => "restored_overflow".into(),
        true => {
            let share = (pruned_nats - restored_nats) / (pruned_nats - intact_nats);
            Message::new("restored_loss").with("share", share)
        }
        false => "restored_too_little".into(),
    });
    let [Some(intact), Some(pruned), Some(restored)] = [intact, pruned, restored].map(Measured::mean_acc) else { return };
    draft.find(match intact > pruned {
        true => {
            let share = (restored - pruned) / (intact - pruned);
            Message::new("restored_accuracy").with("share", share).with("paper", PAPER_RESTORED)
        }
        false => "restored_no_accuracy".into(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_several_super_weights_is_one_place() {
        let at = |layer, row, col| WeightCoord::new(layer, row, col);
        assert_eq!(places(&[at(2, 7, 1), at(1, 7, 1), at(2, 7, 9)]), [(1, 7), (2, 7)]);
        assert_eq!((largest_counts(6_700_000_000), largest_counts(13_000_000)), (vec![7000], vec![14, 1000]));
    }
}
