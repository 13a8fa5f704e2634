//! Table 3: weights and activations rounded to 8 bits, in three ways: naive, with the super activations held out, and
//! smoothed. [`crate::analysis::w8a8`] defines the rounded and the held-out values.
//!
//! The **share of the gap closed** is `(naive - x) / (naive - full precision)`, for perplexities and for losses: 0 is
//! as bad as naive rounding, 1 as good as no rounding. If naive rounding does not make the model worse, there is no
//! gap.

use super::{Arm, Bench, Draft, ExperimentError, Sheet, has_overflowed};
use crate::analysis::calibration::Sequences;
use crate::analysis::w8a8::{Handling, Maxima, with_rounded_factors};
use crate::terms::{ActivationQuantisation, Cell, DataPlot, DataTable, Evaluation, Experiment, Message, PlotKind, WeightCoord};

const GAP: &str = "gap";
/// Distance of PyTorch's own losses in f32 and in f64, nats (tests/golden/README.md).
const NOISE_MEASURED: f32 = 0.007;

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>, settings: &ActivationQuantisation) -> Result<(), ExperimentError> {
    let super_weights = draft.outcome.experiment.super_weights.clone();
    let (bits, alpha) = (settings.bits, settings.alpha);
    let mut sheet = Sheet::new(draft, &["arm"]);
    draft.outcome.tables.push(DataTable::new(GAP, "gap_closed", &["arm", "share_of_perplexity", "share_of_loss"]));
    draft.outcome.plots.push(DataPlot::new(PlotKind::Bars, "perplexity", "loss", "arm", "perplexity"));
    let (maxima, sequences) = maxima(bench, draft, settings.n_calibration).await?;

    let mut arms = vec![("full_precision", None), ("naive", Some(Handling::Naive))];
    if !super_weights.is_empty() {
        arms.push(("sa_held_out", Some(Handling::HeldOut(&super_weights))));
    }
    arms.push(("smooth_quant", Some(Handling::Smooth { maxima: &maxima, alpha })));
    let mut evaluations = Vec::<Evaluation>::new();
    for (index, (name, handling)) in arms.iter().enumerate() {
        let model = match handling {
            Some(handling) => with_rounded_factors(bench.model, bits, *handling, bench.control).await?,
            None => bench.model.clone(),
        };
        let arm = Arm::new(*name, model);
        let measured = bench.measure(&arm, (index, arms.len())).await?;
        let evaluation = measured.evaluation.clone();
        draft.headline(format!("perplexity/{name}"), f64::from(evaluation.perplexity));
        evaluations.push(evaluation);
        let shares = shares(&evaluations);
        if let Some(table) = draft.outcome.tables.iter_mut().find(|table| table.name == GAP) {
            table.push([(*name).into(), shares[0].into(), shares[1].into()]);
        }
        sheet.push(draft, vec![Cell::from(*name)], &measured);
    }
    let names = arms.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    conclude(draft, bits, &names, &evaluations);
    draft.find(held_out(&super_weights));
    draft.find("not_rounded".into());
    if let [full, naive, ..] = &evaluations[..] {
        let gap = naive.loss_nats - full.loss_nats;
        draft.find(Message::new("rounding_noise").with("noise", NOISE_MEASURED).with("gap", gap));
    }
    draft.find("w8a8_paper".into());
    let smoothed = Message::new("smoothed").with("alpha", alpha).with("sequences", sequences.ids.len());
    draft.find(smoothed.with("text", sequences.convention.text("text")).with("length", sequences.length));
    Ok(())
}

/// The largest activations, and the calibration sequences.
async fn maxima(bench: &Bench<'_>, draft: &mut Draft<'_>, n: usize) -> Result<(Maxima, Sequences), ExperimentError> {
    let limit = bench.info.max_position_embeddings;
    let sequences = Sequences::of(None, n, Experiment::CALIBRATION_LENGTH, bench.tokenizer, limit)?;
    draft.outcome.convention = draft.outcome.convention.take().map(|convention| sequences.added_to(convention));
    let maxima = Maxima::of(bench.model, &sequences.ids, bench.control).await;
    bench.check_gpu()?;
    Ok((maxima?, sequences))
}

/// Returns the shares of the perplexity gap and of the loss gap that the last arm closes. The first arm is in full
/// precision, the second naive.
fn shares(evaluations: &[Evaluation]) -> [Option<f64>; 2] {
    let [full, naive, ..] = evaluations else { return [None, None] };
    let Some(last) = evaluations.last() else { return [None, None] };
    let share = |of: fn(&Evaluation) -> f32| share(of(full), of(naive), of(last));
    [share(|evaluation| evaluation.perplexity), share(|evaluation| evaluation.loss_nats)]
}

/// Returns the share of the gap closed, as the module's documentation defines it; `None` without a gap.
fn share(full: f32, naive: f32, x: f32) -> Option<f64> {
    let gap = f64::from(naive) - f64::from(full);
    let is_told = gap > 0.0 && ![full, naive, x].into_iter().any(has_overflowed);
    is_told.then(|| (f64::from(naive) - f64::from(x)) / gap)
}

fn conclude(draft: &mut Draft<'_>, bits: u32, names: &[&str], evaluations: &[Evaluation]) {
    let [full, naive, others @ ..] = evaluations else { return };
    let figures = |code: &str, of: &Evaluation| Message::new(code).with("before", full.perplexity).with("after", of.perplexity);
    let found = figures("rounding_naive", naive).with("bits", bits as usize);
    draft.find(found.with("before_nats", full.loss_nats).with("after_nats", naive.loss_nats));
    for (name, other) in names[2..].iter().zip(others) {
        match share(full.perplexity, naive.perplexity, other.perplexity) {
            Some(share) => {
                draft.find(figures("gap_closed", other).with("arm", *name).with("share", share));
                draft.headline(format!("gap_closed/{name}"), share);
            }
            None => draft.find(figures("no_gap", other).with("arm", *name)),
        }
    }
}

/// States exactly which values were held out.
fn held_out(super_weights: &[WeightCoord]) -> Message {
    if super_weights.is_empty() {
        return "nothing_held_out".into();
    }
    let list = |parts: Vec<String>| parts.join(", ");
    let rows = super_weights.iter().map(|at| at.row).collect::<std::collections::BTreeSet<_>>();
    let rows = list(rows.iter().map(usize::to_string).collect());
    let scalars = super_weights.iter().map(|at| format!("{},{},{}", at.layer, at.row, at.col)).collect::<Vec<_>>().join("; ");
    Message::new("held_out").with("rows", rows).with("scalars", scalars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_of_a_gap_that_there_is() {
        let of = |perplexity: f32| Evaluation {
            loss_nats: perplexity.ln(),
            perplexity,
            stopword_mass: 0.0,
            n_tokens: 1,
            convention: Message::default(),
        };
        let [perplexity, loss] = shares(&[of(30.0), of(34.0), of(31.0)]);
        assert!((perplexity.unwrap() - 0.75).abs() < 1e-6, "{perplexity:?}");
        assert!((loss.unwrap() - (34.0_f64 / 31.0).ln() / (34.0_f64 / 30.0).ln()).abs() < 1e-5, "{loss:?}");
        assert_eq!(shares(&[of(30.0), of(34.0)])[0], Some(0.0));
        assert_eq!(share(30.0, f32::MAX, 31.0), None);
        assert_eq!((shares(&[of(30.0)]), shares(&[of(30.0), of(29.0), of(31.0)])), ([None, None], [None, None]));
    }
}
