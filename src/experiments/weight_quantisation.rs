//! Figure 7: weights rounded in blocks of growing size, as they are, with the super weights held out, and with weights far
//! out clipped ([`crate::analysis::quantise`]).
//!
//! A method **falls apart** at the smallest block at which the perplexity is more than twice the intact model's. The figure
//! of the paper is of accuracies; its clipping is at a z that was tuned for each model, here at those that are asked for.

use super::{Arm, Bench, Draft, Measured, Sheet};
use crate::analysis::quantise::{Method, Rounding, matrix_sizes, with_rounded_weights};
use crate::engine::error::EngineError;
use crate::terms::{Cell, DataPlot, DataTable, Experiment, PlotKind};

/// Times the intact model's perplexity.
const APART: f64 = 2.0;
const ERRORS: &str = "reconstruction";

/// What one rounding came to.
struct Point {
    rounding: Rounding,
    /// In the largest block.
    scalars: usize,
    is_whole: bool,
    perplexity: f64,
    mean_squared_error: f64,
    measured: Measured,
}

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), EngineError> {
    let experiment = draft.outcome.experiment.clone();
    let sizes = matrix_sizes(bench.model);
    let largest = sizes.last().copied().unwrap_or(0);
    let keys = ["precision", "bits", "block", "block_size (scalars)", "scalars (scalars)", "method"];
    let mut sheet = Sheet::new(draft, &keys);
    draft.outcome.tables.push(DataTable::new(
        ERRORS,
        "How far the weights are from the intact ones",
        &[&keys[..], &["mean_squared_error"]].concat(),
    ));
    draft.outcome.plots = experiment.bits.iter().map(|bits| plot(*bits)).collect();

    let methods = methods(&experiment);
    let is_new = |rounding: &Rounding| rounding.block_size == 0 || rounding.block_size < largest;
    let roundings = roundings(&experiment, &methods);
    let n_arms = 1 + roundings.iter().filter(|rounding| is_new(rounding)).count();
    let intact = bench.measure(&Arm::new("intact", bench.model.clone()), (0, n_arms)).await?;
    let keys = vec!["f32".into(), Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing, "intact".into()];
    sheet.push(draft, keys, &intact);
    let intact = f64::from(intact.evaluation.perplexity);
    draft.headline("perplexity, intact", intact);

    let mut points = Vec::<Point>::new();
    let mut done = 0;
    for rounding in roundings {
        let scalars = if is_new(&rounding) && rounding.block_size > 0 { rounding.block_size } else { largest };
        // The same model is not measured twice.
        let same = points
            .iter()
            .find(|point| (point.rounding.bits, point.rounding.method, point.scalars) == (rounding.bits, rounding.method, scalars));
        let (measured, mean_squared_error) = match same {
            Some(same) => (same.measured.clone(), same.mean_squared_error),
            None => {
                done += 1;
                measure(bench, &experiment, rounding, (done.min(n_arms - 1), n_arms)).await?
            }
        };
        let mut row = keys_of(rounding, scalars);
        sheet.push(draft, row.clone(), &measured);
        row.push(mean_squared_error.into());
        if let Some(table) = draft.outcome.tables.iter_mut().find(|table| table.name == ERRORS) {
            table.push(row);
        }
        let perplexity = f64::from(measured.evaluation.perplexity);
        points.push(Point { rounding, scalars, is_whole: scalars == largest, perplexity, mean_squared_error, measured });
    }
    conclude(draft, &experiment, &points, intact, largest);
    Ok(())
}

async fn measure(
    bench: &Bench<'_>,
    experiment: &Experiment,
    rounding: Rounding,
    at: (usize, usize),
) -> Result<(Measured, f64), EngineError> {
    let rounded = with_rounded_weights(bench.model, rounding, &experiment.super_weights, bench.control).await?;
    let name = format!("INT{}, blocks of {}, {}", rounding.bits, block(rounding.block_size), name(rounding.method));
    let measured = bench.measure(&Arm::new(name, rounded.model), at).await?;
    Ok((measured, rounded.mean_squared_error))
}

/// Without super weights nothing can be held out.
fn methods(experiment: &Experiment) -> Vec<Method> {
    let held_out = (!experiment.super_weights.is_empty()).then_some(Method::HeldOut);
    let clips = experiment.clips.iter().map(|z| Method::Clipped(*z));
    std::iter::once(Method::Nearest).chain(held_out).chain(clips).collect()
}

/// By bits, then by method, then by block, as lines are drawn.
fn roundings(experiment: &Experiment, methods: &[Method]) -> Vec<Rounding> {
    let mut block_sizes = experiment.block_sizes.clone();
    block_sizes.sort_by_key(|size| if *size == 0 { usize::MAX } else { *size });
    // The whole matrix is measured where it is asked for by whatever name; it is told under all of them.
    let of_method =
        |bits: u32, method: Method| block_sizes.iter().map(move |block_size| Rounding { bits, block_size: *block_size, method });
    experiment.bits.iter().flat_map(|bits| methods.iter().flat_map(move |method| of_method(*bits, *method))).collect()
}

fn keys_of(rounding: Rounding, scalars: usize) -> Vec<Cell> {
    let Rounding { bits, block_size, method } = rounding;
    let bits = bits as usize;
    vec![format!("INT{bits}").into(), bits.into(), block(block_size).into(), block_size.into(), scalars.into(), name(method).into()]
}

fn name(method: Method) -> String {
    match method {
        Method::Nearest => "RTN".into(),
        Method::HeldOut => "SW held out".into(),
        Method::Clipped(z) => format!("z = {z}"),
    }
}

fn block(block_size: usize) -> String {
    if block_size == 0 { "the whole matrix".into() } else { block_size.to_string() }
}

fn size(point: &Point) -> String {
    if point.is_whole { block(0) } else { format!("{} scalars", point.rounding.block_size) }
}

fn plot(bits: u32) -> DataPlot {
    let precision = format!("INT{bits}");
    let title = format!("Perplexity over block size, weights in {bits} bits");
    let plot = DataPlot::new(PlotKind::Lines, &title, "loss", "scalars", "perplexity").by("method");
    DataPlot { log_x: true, log_y: true, only: Some(("precision".into(), precision)), ..plot }
}

fn conclude(draft: &mut Draft<'_>, experiment: &Experiment, points: &[Point], intact: f64, largest: usize) {
    for plot in &mut draft.outcome.plots {
        plot.levels.push((intact, "intact".into()));
    }
    for bits in &experiment.bits {
        let of_bits = points.iter().filter(|point| point.rounding.bits == *bits).collect::<Vec<_>>();
        let of = |method: Method| of_bits.iter().copied().filter(|point| point.rounding.method == method).collect::<Vec<_>>();
        for method in methods(experiment) {
            draft.find(falls_apart(*bits, method, &of(method), intact));
            // Of the largest blocks that were asked for.
            if let Some(last) = of(method).last().filter(|_| draft.outcome.headline.len() < 8) {
                draft.headline(format!("perplexity, INT{bits}, {}, {}", block(last.rounding.block_size), name(method)), last.perplexity);
            }
        }
        if let Some(gain) = gain(*bits, &of(Method::Nearest), &of(Method::HeldOut)) {
            draft.find(gain);
        }
    }
    if experiment.super_weights.is_empty() {
        draft.find("No super weight was named, so none was held out or put back.");
    }
    if experiment.block_sizes.iter().any(|size| *size >= largest) {
        draft.find(format!(
            "No matrix has more than {largest} scalars: blocks of as many and more are the whole matrix, and measured once."
        ));
    }
}

/// `points` by block, ascending.
fn falls_apart(bits: u32, method: Method, points: &[&Point], intact: f64) -> String {
    let name = name(method);
    match points.iter().find(|point| point.perplexity > APART * intact) {
        Some(point) => format!(
            "INT{bits}, {name}: falls apart at blocks of {}, with a perplexity of {:.4} against {intact:.4} (more than {APART} times).",
            size(point),
            point.perplexity
        ),
        None => match points.iter().max_by(|a, b| a.perplexity.total_cmp(&b.perplexity)) {
            Some(worst) => format!(
                "INT{bits}, {name}: holds at every block size, its worst perplexity {:.4} at blocks of {} against {intact:.4}.",
                worst.perplexity,
                size(worst)
            ),
            None => format!("INT{bits}, {name}: no block size was asked for."),
        },
    }
}

/// What holding the super weights out does, at the block where it matters most.
fn gain(bits: u32, nearest: &[&Point], held_out: &[&Point]) -> Option<String> {
    let ratio = |(nearest, held_out): &(&&Point, &&Point)| (held_out.perplexity / nearest.perplexity).ln();
    let pairs = nearest.iter().zip(held_out).filter(|pair| ratio(pair).is_finite()).collect::<Vec<_>>();
    let (nearest, held_out) = pairs.iter().copied().max_by(|a, b| ratio(a).abs().total_cmp(&ratio(b).abs()))?;
    let (from, to) = (nearest.perplexity, held_out.perplexity);
    let n_better = pairs.iter().filter(|pair| ratio(pair) < 0.0).count();
    let way = if to < from { "helps" } else { "harms" };
    Some(format!(
        "INT{bits}: holding the super weights out lowers the perplexity at {n_better} of {} block sizes. It matters most at blocks of {}, where it {way}: {from:.4} without, {to:.4} with it; the mean squared error of all weights goes from {:.4e} to {:.4e}.",
        pairs.len(),
        size(nearest),
        nearest.mean_squared_error,
        held_out.mean_squared_error,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{Evaluation, ExperimentKind, WeightCoord};

    fn point(block_size: usize, method: Method, perplexity: f32) -> Point {
        let evaluation = Evaluation { loss_nats: perplexity.ln(), perplexity, stopword_mass: 0.0, n_tokens: 1, convention: String::new() };
        let (rounding, measured) = (Rounding { bits: 4, block_size, method }, Measured { evaluation, tasks: Vec::new() });
        Point {
            rounding,
            scalars: block_size,
            is_whole: block_size == 0,
            perplexity: f64::from(perplexity),
            mean_squared_error: 1e-6,
            measured,
        }
    }

    #[test]
    fn a_method_falls_apart_at_the_first_block_that_doubles_the_perplexity() {
        let points = [(64, 31.0), (256, 61.0), (1024, 59.0), (0, 900.0)].map(|(size, at)| point(size, Method::Nearest, at));
        let points = points.iter().collect::<Vec<_>>();
        let said = falls_apart(4, Method::Nearest, &points, 30.0);
        assert!(said.contains("falls apart at blocks of 256 scalars, with a perplexity of 61"), "{said}");
        let said = falls_apart(4, Method::Nearest, &points[..1], 30.0);
        assert!(said.contains("holds at every block size"), "{said}");
    }

    #[test]
    fn holding_out_is_told_whichever_way_it_went() {
        let nearest = [point(64, Method::Nearest, 31.0), point(0, Method::Nearest, 90.0)];
        let said = |held: [f32; 2]| {
            let held = [point(64, Method::HeldOut, held[0]), point(0, Method::HeldOut, held[1])];
            gain(4, &nearest.iter().collect::<Vec<_>>(), &held.iter().collect::<Vec<_>>()).unwrap()
        };
        assert!(
            said([31.5, 45.0]).contains("at 1 of 2 block sizes. It matters most at blocks of the whole matrix, where it helps: 90.0000")
        );
        assert!(said([40.0, 91.0]).contains("at 0 of 2 block sizes. It matters most at blocks of 64 scalars, where it harms: 31.0000"));
        assert_eq!(gain(4, &[], &[]), None);
    }

    #[test]
    fn the_whole_matrix_comes_last_and_nothing_is_held_out_of_nothing() {
        let bare = Experiment { block_sizes: vec![0, 64, 16], ..Experiment::of(ExperimentKind::WeightQuantisation, Vec::new()) };
        assert_eq!(methods(&bare), [Method::Nearest, Method::Clipped(9.0), Method::Clipped(20.0)]);
        let sizes = roundings(&bare, &methods(&bare)).iter().take(3).map(|rounding| rounding.block_size).collect::<Vec<_>>();
        assert_eq!(sizes, [16, 64, 0]);
        let named = Experiment { super_weights: vec![WeightCoord { layer: 0, row: 0, col: 0 }], ..bare };
        assert_eq!(methods(&named)[1], Method::HeldOut);
    }
}
