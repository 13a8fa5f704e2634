//! Table 3: weights and activations rounded to 8 bits, in three ways: naive, with the super activations held out, and
//! smoothed ([`crate::analysis::w8a8`] defines what is rounded and held out).
//!
//! The **share of the gap closed** is `(naive - x) / (naive - full precision)`, of perplexities and of losses: 0 is as
//! bad as naive, 1 as good as without rounding. If naive rounding does not make the model worse, there is no gap.

use super::{Arm, Bench, Draft, ExperimentError, Sheet, apart, has_overflowed, shown};
use crate::analysis::calibration::Sequences;
use crate::analysis::w8a8::{Handling, Maxima, with_rounded_factors};
use crate::terms::{Cell, DataPlot, DataTable, Evaluation, Experiment, PlotKind};

const GAP: &str = "gap";
const SMOOTH: &str = "SmoothQuant";
/// Figures of the paper for Llama-7B on WikiText-2: full precision, naive W8A8, super activation held out, SmoothQuant.
const PAPER: &str = "In the paper (Llama-7B, WikiText-2) the perplexities are 5.68 in full precision, 5.83 naive, 5.74 with the super activation held out and 5.71 with SmoothQuant.";

/// Distance of PyTorch's own losses in f32 and in f64, nats (tests/golden/README.md).
const NOISE_MEASURED: f32 = 0.007;

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), ExperimentError> {
    let experiment = draft.outcome.experiment.clone();
    let bits = experiment.bits.first().copied().unwrap_or(8);
    let alpha = experiment.alpha.unwrap_or(0.85);
    let mut sheet = Sheet::new(draft, &["arm"]);
    draft.outcome.tables.push(DataTable::new(GAP, "Share of the gap closed", &["arm", "share_of_perplexity", "share_of_loss"]));
    draft.outcome.plots.push(DataPlot::new(PlotKind::Bars, "Perplexity", "loss", "arm", "perplexity"));
    let (maxima, calibration) = maxima(bench, draft).await?;

    let naive = format!("Naive W{bits}A{bits}");
    let mut arms = vec![("Full precision", None), (naive.as_str(), Some(Handling::Naive))];
    if !experiment.super_weights.is_empty() {
        arms.push(("SA held out", Some(Handling::HeldOut(&experiment.super_weights))));
    }
    arms.push((SMOOTH, Some(Handling::Smooth { maxima: &maxima, alpha })));
    let mut evaluations = Vec::<Evaluation>::new();
    for (index, (name, handling)) in arms.iter().enumerate() {
        let model = match handling {
            Some(handling) => with_rounded_factors(bench.model, bits, *handling, bench.control).await?,
            None => bench.model.clone(),
        };
        let arm = Arm::new(*name, model);
        let measured = bench.measure(&arm, (index, arms.len())).await?;
        let evaluation = measured.evaluation.clone();
        draft.headline(format!("perplexity, {name}"), f64::from(evaluation.perplexity));
        evaluations.push(evaluation);
        let shares = shares(&evaluations);
        if let Some(table) = draft.outcome.tables.iter_mut().find(|table| table.name == GAP) {
            table.push([(*name).into(), shares[0].into(), shares[1].into()]);
        }
        sheet.push(draft, vec![Cell::from(*name)], &measured);
    }
    let names = arms.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    conclude(draft, &experiment, &names, &evaluations);
    draft.find(format!("{SMOOTH}: alpha {alpha}, with the largest activations over {calibration}."));
    Ok(())
}

/// Also in words, what they were taken over.
async fn maxima(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(Maxima, String), ExperimentError> {
    let (n, length) = (draft.outcome.experiment.n_calibration.unwrap_or(32), Experiment::CALIBRATION_LENGTH);
    let sequences = Sequences::of(None, n, length, bench.tokenizer, bench.info.max_position_embeddings)?;
    draft.outcome.convention += &sequences.told();
    let maxima = Maxima::of(bench.model, &sequences.ids, bench.control).await;
    bench.check_gpu()?;
    Ok((maxima?, format!("{} sequences of {}", sequences.ids.len(), sequences.convention)))
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

fn conclude(draft: &mut Draft<'_>, experiment: &Experiment, names: &[&str], evaluations: &[Evaluation]) {
    let [full, naive, others @ ..] = evaluations else { return };
    let figures = |of: &Evaluation| (shown(of.perplexity, 4), apart(full.perplexity, of.perplexity, 4));
    let ((to, change), nats) = (figures(naive), apart(full.loss_nats, naive.loss_nats, 5));
    draft.find(format!("{} changes the perplexity from {} to {to} ({change}, {nats} nats).", names[1], shown(full.perplexity, 4)));
    for (name, other) in names[2..].iter().zip(others) {
        let (to, change) = figures(other);
        match share(full.perplexity, naive.perplexity, other.perplexity) {
            Some(share) => {
                draft.find(format!("{name}: perplexity {to} ({change}), {:.1} % of the gap closed.", 100.0 * share));
                draft.headline(format!("share of the perplexity gap closed, {name}"), share);
            }
            None => draft.find(format!("{name}: perplexity {to} ({change}); there is no gap to close.")),
        }
    }
    draft.find(held_out(experiment));
    draft.find("Not rounded in any arm: the output projection of the attention with its input, biases, norms, embeddings and head.");
    draft.find(noise(naive.loss_nats - full.loss_nats));
    draft.find(PAPER);
}

/// States how far chance alone moves these figures; this was measured on one model only.
fn noise(gap_nats: f32) -> String {
    let verdict = match gap_nats.abs() <= NOISE_MEASURED {
        true => "The gap here is not larger than that, so the shares of it may be chance.",
        false => "The gap here is larger than that.",
    };
    format!(
        "A value between two levels falls either way by the order of sums alone, and all that comes after it with it. On the model linchpin-13m, \
         over 318 tokens, that moved the loss by up to {NOISE_MEASURED} nats; on other models and texts it was not measured. {verdict}"
    )
}

/// States exactly what was held out.
fn held_out(experiment: &Experiment) -> String {
    if experiment.super_weights.is_empty() {
        return "No super weight was named, so no super activation was held out.".into();
    }
    let list = |parts: Vec<String>| parts.join(", ");
    let rows = experiment.super_weights.iter().map(|at| at.row).collect::<std::collections::BTreeSet<_>>();
    let rows = list(rows.iter().map(usize::to_string).collect());
    let cols = list(experiment.super_weights.iter().map(|at| format!("{} of layer {}", at.col, at.layer)).collect());
    let scalars = list(experiment.super_weights.iter().map(|at| format!("layer {} [{}, {}]", at.layer, at.row, at.col)).collect());
    format!(
        "Held out: of the inputs of queries, keys, values, gate and up of every layer one value of channel {rows}; of down_proj's input one value of channel {cols}; each where its magnitude is largest in a block of the text. Of the weights: down_proj of {scalars}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_a_gap_that_there_is() {
        let of = |perplexity: f32| Evaluation {
            loss_nats: perplexity.ln(),
            perplexity,
            stopword_mass: 0.0,
            n_tokens: 1,
            convention: String::new(),
        };
        let [perplexity, loss] = shares(&[of(30.0), of(34.0), of(31.0)]);
        assert!((perplexity.unwrap() - 0.75).abs() < 1e-6, "{perplexity:?}");
        assert!((loss.unwrap() - (34.0_f64 / 31.0).ln() / (34.0_f64 / 30.0).ln()).abs() < 1e-5, "{loss:?}");
        assert_eq!(shares(&[of(30.0), of(34.0)])[0], Some(0.0));
        assert_eq!(share(30.0, f32::MAX, 31.0), None);
        assert!(noise(0.003).contains("may be chance") && noise(-0.05).contains("larger than that"));
        assert_eq!((shares(&[of(30.0)]), shares(&[of(30.0), of(29.0), of(31.0)])), ([None, None], [None, None]));
    }
}
