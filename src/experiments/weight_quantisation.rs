//! Figure 7: weights rounded in blocks of growing size, in three ways: plain, with the super weights held out, and with
//! outlier weights clipped ([`crate::analysis::quantise`]).
//!
//! A method **falls apart** at the smallest block at which the perplexity is more than twice the intact model's. The
//! paper's figure shows accuracies, which are drawn if there are tasks; its z for clipping was tuned for each model,
//! and here it is given.

use super::{Arm, Bench, Draft, ExperimentError, Measured, Sheet, shown};
use crate::analysis::quantise::{Method, Rounding, matrix_sizes, with_rounded_weights};
use crate::terms::{Cell, DataPlot, DataTable, Experiment, PlotKind};

/// Multiple of the intact model's perplexity above which a method falls apart.
const APART: f32 = 2.0;
const ERRORS: &str = "reconstruction";
const ACCURACIES: &str = "mean_accuracy";
const KEYS: [&str; 6] = ["precision", "bits", "block", "block_size (scalars)", "scalars (scalars)", "method"];

/// The results of one rounding.
struct Point {
    rounding: Rounding,
    is_whole: bool,
    perplexity: f32,
    mean_squared_error: f64,
    measured: Measured,
}

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), ExperimentError> {
    let experiment = draft.outcome.experiment.clone();
    let sizes = matrix_sizes(bench.model);
    let largest = sizes.last().copied().unwrap_or(0);
    let mut sheet = Sheet::new(draft, &KEYS);
    begin(draft, &experiment, !bench.tasks.is_empty());

    let scalars_of = |rounding: &Rounding| match rounding.block_size {
        0 => largest,
        size => size.min(largest),
    };
    let roundings = roundings(&experiment, &methods(&experiment));
    // One rounding under several block sizes is measured once.
    let same = |a: &Rounding, b: &Rounding| (a.bits, a.method, scalars_of(a)) == (b.bits, b.method, scalars_of(b));
    let is_new = |(index, rounding): (usize, &Rounding)| !roundings[..index].iter().any(|before| same(before, rounding));
    let n_arms = 1 + roundings.iter().enumerate().filter(|at| is_new(*at)).count();
    let intact = bench.measure(&Arm::new("intact", bench.model.clone()), (0, n_arms)).await?;
    let keys = ["f32".into(), Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing, "intact".into()];
    push(draft, &mut sheet, &keys, &intact, None);
    draft.headline("perplexity, intact", f64::from(intact.evaluation.perplexity));

    let (mut points, mut done) = (Vec::<Point>::new(), 0);
    for rounding in roundings {
        let scalars = scalars_of(&rounding);
        let (measured, mean_squared_error) = match points.iter().find(|point| same(&point.rounding, &rounding)) {
            Some(same) => (same.measured.clone(), same.mean_squared_error),
            None => {
                done += 1;
                measure(bench, &experiment, rounding, (done, n_arms)).await?
            }
        };
        push(draft, &mut sheet, &keys_of(rounding, scalars), &measured, Some(mean_squared_error));
        let perplexity = measured.evaluation.perplexity;
        points.push(Point { rounding, is_whole: scalars == largest, perplexity, mean_squared_error, measured });
    }
    conclude(draft, &experiment, &points, &intact, largest);
    Ok(())
}

/// Adds the tables and plots; those of accuracies only if there are tasks.
fn begin(draft: &mut Draft<'_>, experiment: &Experiment, has_tasks: bool) {
    let mut add = |name: &str, title: &str, figure: &str| {
        draft.outcome.tables.push(DataTable::new(name, title, &[&KEYS[..], &[figure]].concat()));
    };
    add(ERRORS, "How far the weights are from the intact ones", "mean_squared_error");
    draft.outcome.plots = experiment.bits.iter().map(|bits| plot(*bits, "loss", "perplexity", "Perplexity")).collect();
    for plot in &mut draft.outcome.plots {
        plot.log_y = true;
    }
    if has_tasks {
        add(ACCURACIES, "Mean accuracy over the tasks", "acc (share)");
        draft.outcome.plots.extend(experiment.bits.iter().map(|bits| plot(*bits, ACCURACIES, "acc", "Mean accuracy over tasks")));
    }
}

fn push(draft: &mut Draft<'_>, sheet: &mut Sheet, keys: &[Cell], measured: &Measured, mean_squared_error: Option<f64>) {
    sheet.add(draft, keys.to_vec(), measured);
    for (name, figure) in [(ERRORS, mean_squared_error), (ACCURACIES, measured.mean_acc())] {
        let table = draft.outcome.tables.iter_mut().find(|table| table.name == name);
        if let (Some(table), Some(figure)) = (table, figure) {
            table.push([keys, &[figure.into()]].concat());
        }
    }
    draft.tell();
}

async fn measure(
    bench: &Bench<'_>,
    experiment: &Experiment,
    rounding: Rounding,
    at: (usize, usize),
) -> Result<(Measured, f64), ExperimentError> {
    let rounded = with_rounded_weights(bench.model, rounding, &experiment.super_weights, bench.control).await?;
    let name = format!("INT{}, blocks of {}, {}", rounding.bits, block(rounding.block_size), name(rounding.method));
    let measured = bench.measure(&Arm::new(name, rounded.model), at).await?;
    Ok((measured, rounded.mean_squared_error))
}

/// Returns the methods; without super weights none holds anything out.
fn methods(experiment: &Experiment) -> Vec<Method> {
    let held_out = (!experiment.super_weights.is_empty()).then_some(Method::HeldOut);
    let clips = experiment.clips.iter().map(|z| Method::Clipped(*z));
    std::iter::once(Method::Nearest).chain(held_out).chain(clips).collect()
}

/// Returns the roundings by bits, then by method, then by block, the order in which lines are drawn.
fn roundings(experiment: &Experiment, methods: &[Method]) -> Vec<Rounding> {
    let mut block_sizes = experiment.block_sizes.clone();
    block_sizes.sort_by_key(|size| if *size == 0 { usize::MAX } else { *size });
    // All block sizes that cover the whole matrix are measured once and reported under each size.
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

fn plot(bits: u32, table: &str, y: &str, what: &str) -> DataPlot {
    let title = format!("{what} over block size, weights in {bits} bits");
    let plot = DataPlot::new(PlotKind::Lines, &title, table, "scalars", y).by("method");
    DataPlot { log_x: true, only: Some(("precision".into(), format!("INT{bits}"))), ..plot }
}

fn conclude(draft: &mut Draft<'_>, experiment: &Experiment, points: &[Point], intact: &Measured, largest: usize) {
    let intact_acc = intact.mean_acc();
    let intact = intact.evaluation.perplexity;
    for plot in &mut draft.outcome.plots {
        let level = if plot.table == ACCURACIES { intact_acc } else { Some(f64::from(intact)) };
        plot.levels.extend(level.map(|level| (level, "intact".into())));
    }
    for bits in &experiment.bits {
        let of_bits = points.iter().filter(|point| point.rounding.bits == *bits).collect::<Vec<_>>();
        let of = |method: Method| of_bits.iter().copied().filter(|point| point.rounding.method == method).collect::<Vec<_>>();
        for method in methods(experiment) {
            draft.find(falls_apart(*bits, method, &of(method), intact));
            // The headline is the perplexity at the largest requested block.
            if let Some(last) = of(method).last().filter(|_| draft.outcome.headline.len() < 8) {
                draft.headline(
                    format!("perplexity, INT{bits}, {}, {}", block(last.rounding.block_size), name(method)),
                    f64::from(last.perplexity),
                );
            }
            if let (Some(intact), Some(said)) = (intact_acc, of(method).last().copied()) {
                draft.find(accuracy(*bits, method, said, intact));
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

/// States the mean accuracy at the largest requested block.
fn accuracy(bits: u32, method: Method, last: &Point, intact: f64) -> String {
    let acc = last.measured.mean_acc().map_or(f64::NAN, |acc| 100.0 * acc);
    format!("INT{bits}, {}: mean accuracy {acc:.2} % at blocks of {}, and {:.2} % intact.", name(method), size(last), 100.0 * intact)
}

/// States the block at which a method falls apart. `points` are in ascending order of block size.
fn falls_apart(bits: u32, method: Method, points: &[&Point], intact: f32) -> String {
    let (name, of_intact) = (name(method), shown(intact, 4));
    match points.iter().find(|point| point.perplexity > APART * intact) {
        Some(point) => format!(
            "INT{bits}, {name}: falls apart at blocks of {}, with a perplexity of {} against {of_intact} (more than {APART} times).",
            size(point),
            shown(point.perplexity, 4)
        ),
        None => match points.iter().max_by(|a, b| a.perplexity.total_cmp(&b.perplexity)) {
            Some(worst) => format!(
                "INT{bits}, {name}: holds at every block size, its worst perplexity {} at blocks of {} against {of_intact}.",
                shown(worst.perplexity, 4),
                size(worst)
            ),
            None => format!("INT{bits}, {name}: no block size was asked for."),
        },
    }
}

/// States the effect of holding the super weights out, at the block where it matters most.
fn gain(bits: u32, nearest: &[&Point], held_out: &[&Point]) -> Option<String> {
    let ratio = |(nearest, held_out): &(&&Point, &&Point)| (held_out.perplexity / nearest.perplexity).ln();
    let pairs = nearest.iter().zip(held_out).filter(|pair| ratio(pair).is_finite()).collect::<Vec<_>>();
    let (nearest, held_out) = pairs.iter().copied().max_by(|a, b| ratio(a).abs().total_cmp(&ratio(b).abs()))?;
    let (from, to) = (nearest.perplexity, held_out.perplexity);
    let n_better = pairs.iter().filter(|pair| ratio(pair) < 0.0).count();
    let way = if to < from { "helps" } else { "harms" };
    Some(format!(
        "INT{bits}: holding the super weights out lowers the perplexity at {n_better} of {} block sizes. It matters most at blocks of {}, where it {way}: {} without, {} with it; the mean squared error of all weights goes from {:.4e} to {:.4e}.",
        pairs.len(),
        size(nearest),
        shown(from, 4),
        shown(to, 4),
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
        Point { rounding, is_whole: block_size == 0, perplexity, mean_squared_error: 1e-6, measured }
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
        assert_eq!(methods(&bare), [Method::Nearest, Method::Clipped(9.0)]);
        let sizes = roundings(&bare, &methods(&bare)).iter().take(3).map(|rounding| rounding.block_size).collect::<Vec<_>>();
        assert_eq!(sizes, [16, 64, 0]);
        let named = Experiment { super_weights: vec![WeightCoord::new(0, 0, 0)], ..bare };
        assert_eq!(methods(&named)[1], Method::HeldOut);
    }
}
