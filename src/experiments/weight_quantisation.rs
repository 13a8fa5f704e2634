//! Figure 7: weights rounded in blocks of growing size, in three ways: plain, with the super weights held out, and with
//! outlier weights clipped ([`crate::analysis::quantise`]).
//!
//! A method **falls apart** at the smallest block at which the perplexity is more than twice the intact model's. The
//! paper's figure shows accuracies, which are drawn if there are tasks. Its z for clipping was tuned for each model;
//! here it is a setting.

use super::{Arm, Bench, Draft, ExperimentError, Measured, Sheet};
use crate::analysis::quantise::{Method, Rounding, matrix_sizes, with_rounded_weights};
use crate::terms::{Cell, DataPlot, DataTable, Message, PlotKind, WeightCoord, WeightQuantisation};

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

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>, settings: &WeightQuantisation) -> Result<(), ExperimentError> {
    let super_weights = draft.outcome.experiment.super_weights.clone();
    let sizes = matrix_sizes(bench.model);
    let largest = sizes.last().copied().unwrap_or(0);
    let mut sheet = Sheet::new(draft, &KEYS);
    begin(draft, settings, !bench.tasks.is_empty());

    let scalars_of = |rounding: &Rounding| match rounding.block_size {
        0 => largest,
        size => size.min(largest),
    };
    let methods = methods(settings, &super_weights);
    let roundings = roundings(settings, &methods);
    // A rounding that is the same under several block sizes is measured once.
    let same = |a: &Rounding, b: &Rounding| (a.bits, a.method, scalars_of(a)) == (b.bits, b.method, scalars_of(b));
    let is_new = |(index, rounding): (usize, &Rounding)| !roundings[..index].iter().any(|before| same(before, rounding));
    let n_arms = 1 + roundings.iter().enumerate().filter(|at| is_new(*at)).count();
    let intact = bench.measure(&Arm::new("intact", bench.model.clone()), (0, n_arms)).await?;
    let keys = ["f32".into(), Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing, "intact".into()];
    push(draft, &mut sheet, &keys, &intact, None);
    draft.headline("perplexity/intact", f64::from(intact.evaluation.perplexity));

    let (mut points, mut done) = (Vec::<Point>::new(), 0);
    for rounding in roundings {
        let scalars = scalars_of(&rounding);
        let (measured, mean_squared_error) = match points.iter().find(|point| same(&point.rounding, &rounding)) {
            Some(same) => (same.measured.clone(), same.mean_squared_error),
            None => {
                done += 1;
                measure(bench, &super_weights, rounding, (done, n_arms)).await?
            }
        };
        push(draft, &mut sheet, &keys_of(rounding, scalars), &measured, Some(mean_squared_error));
        let perplexity = measured.evaluation.perplexity;
        points.push(Point { rounding, is_whole: scalars == largest, perplexity, mean_squared_error, measured });
    }
    conclude(draft, settings, &methods, &points, &intact);
    if super_weights.is_empty() {
        draft.find("no_super_weight_held_out".into());
    }
    if settings.block_sizes.iter().any(|size| *size >= largest) {
        draft.find(Message::new("blocks_whole").with("largest", largest));
    }
    Ok(())
}

/// Adds the tables and plots; those of accuracies only if there are tasks.
fn begin(draft: &mut Draft<'_>, settings: &WeightQuantisation, has_tasks: bool) {
    let mut add = |name: &str, title: &str, figure: &str| {
        draft.outcome.tables.push(DataTable::new(name, title, &[&KEYS[..], &[figure]].concat()));
    };
    add(ERRORS, "weight_errors", "mean_squared_error");
    draft.outcome.plots = settings.bits.iter().map(|bits| plot(*bits, "loss", "perplexity", "perplexity_by_block")).collect();
    for plot in &mut draft.outcome.plots {
        plot.log_y = true;
    }
    if has_tasks {
        add(ACCURACIES, "mean_accuracy", "acc (share)");
        draft.outcome.plots.extend(settings.bits.iter().map(|bits| plot(*bits, ACCURACIES, "acc", "accuracy_by_block")));
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
    draft.send();
}

async fn measure(
    bench: &Bench<'_>,
    super_weights: &[WeightCoord],
    rounding: Rounding,
    at: (usize, usize),
) -> Result<(Measured, f64), ExperimentError> {
    let rounded = with_rounded_weights(bench.model, rounding, super_weights, bench.control).await?;
    let name = format!("int{}/{}/{}", rounding.bits, block(rounding.block_size), name(rounding.method));
    let measured = bench.measure(&Arm::new(name, rounded.model), at).await?;
    Ok((measured, rounded.mean_squared_error))
}

/// Returns the methods; without super weights none holds anything out.
fn methods(settings: &WeightQuantisation, super_weights: &[WeightCoord]) -> Vec<Method> {
    let held_out = (!super_weights.is_empty()).then_some(Method::HeldOut);
    let clips = settings.clips.iter().map(|z| Method::Clipped(*z));
    std::iter::once(Method::Nearest).chain(held_out).chain(clips).collect()
}

/// Returns the roundings by bits, then by method, then by block, the order in which lines are drawn.
fn roundings(settings: &WeightQuantisation, methods: &[Method]) -> Vec<Rounding> {
    let mut block_sizes = settings.block_sizes.clone();
    block_sizes.sort_by_key(|size| if *size == 0 { usize::MAX } else { *size });
    // All block sizes that cover the whole matrix are measured once and reported under each size.
    let of_method =
        |bits: u32, method: Method| block_sizes.iter().map(move |block_size| Rounding { bits, block_size: *block_size, method });
    settings.bits.iter().flat_map(|bits| methods.iter().flat_map(move |method| of_method(*bits, *method))).collect()
}

fn keys_of(rounding: Rounding, scalars: usize) -> Vec<Cell> {
    let Rounding { bits, block_size, method } = rounding;
    let bits = bits as usize;
    vec![format!("INT{bits}").into(), bits.into(), block(block_size).into(), block_size.into(), scalars.into(), name(method).into()]
}

fn name(method: Method) -> String {
    match method {
        Method::Nearest => "nearest".into(),
        Method::HeldOut => "sw_held_out".into(),
        Method::Clipped(z) => format!("clipped_{z}"),
    }
}

fn block(block_size: usize) -> String {
    if block_size == 0 { "matrix".into() } else { block_size.to_string() }
}

/// The actual block of a point: a block that covers the whole matrix is the matrix.
fn size(point: &Point) -> String {
    block(if point.is_whole { 0 } else { point.rounding.block_size })
}

fn plot(bits: u32, table: &str, y: &str, title: &str) -> DataPlot {
    let title = Message::new(title).with("bits", bits as usize);
    let plot = DataPlot::new(PlotKind::Lines, title, table, "scalars", y).split_by("method");
    DataPlot { log_x: true, only: Some(("precision".into(), format!("INT{bits}"))), ..plot }
}

fn conclude(draft: &mut Draft<'_>, settings: &WeightQuantisation, methods: &[Method], points: &[Point], intact: &Measured) {
    let intact_acc = intact.mean_acc();
    let intact = intact.evaluation.perplexity;
    for plot in &mut draft.outcome.plots {
        let level = if plot.table == ACCURACIES { intact_acc } else { Some(f64::from(intact)) };
        plot.levels.extend(level.map(|level| (level, "intact".into())));
    }
    for bits in &settings.bits {
        let of_bits = points.iter().filter(|point| point.rounding.bits == *bits).collect::<Vec<_>>();
        let of = |method: Method| of_bits.iter().copied().filter(|point| point.rounding.method == method).collect::<Vec<_>>();
        for method in methods.iter().copied() {
            draft.find(falls_apart(*bits, method, &of(method), intact));
            // The headline is the perplexity at the largest requested block.
            if let Some(last) = of(method).last().filter(|_| draft.outcome.headline.len() < 8) {
                let name = format!("perplexity/int{bits}/{}/{}", block(last.rounding.block_size), name(method));
                draft.headline(name, f64::from(last.perplexity));
            }
            if let (Some(intact), Some(said)) = (intact_acc, of(method).last().copied()) {
                draft.find(accuracy(*bits, method, said, intact));
            }
        }
        if let Some(gain) = gain(*bits, &of(Method::Nearest), &of(Method::HeldOut)) {
            draft.find(gain);
        }
    }
}

/// A finding about one precision and method.
fn found(code: &str, bits: u32, method: Method) -> Message {
    Message::new(code).with("bits", bits as usize).with("method", name(method))
}

/// States the mean accuracy at the largest requested block.
fn accuracy(bits: u32, method: Method, last: &Point, intact: f64) -> Message {
    found("rounded_accuracy", bits, method).with("acc", last.measured.mean_acc()).with("block", size(last)).with("intact", intact)
}

/// States the block at which a method falls apart. `points` are in ascending order of block size.
fn falls_apart(bits: u32, method: Method, points: &[&Point], intact: f32) -> Message {
    let at = |code: &str, point: &Point| {
        let found = found(code, bits, method).with("block", size(point)).with("perplexity", point.perplexity);
        found.with("intact", intact).with("times", APART)
    };
    match points.iter().find(|point| point.perplexity > APART * intact) {
        Some(point) => at("falls_apart", point),
        None => match points.iter().max_by(|a, b| a.perplexity.total_cmp(&b.perplexity)) {
            Some(worst) => at("holds", worst),
            None => found("no_block_size", bits, method),
        },
    }
}

/// States the effect of holding the super weights out, at the block where it matters most.
fn gain(bits: u32, nearest: &[&Point], held_out: &[&Point]) -> Option<Message> {
    let ratio = |(nearest, held_out): &(&&Point, &&Point)| (held_out.perplexity / nearest.perplexity).ln();
    let pairs = nearest.iter().zip(held_out).filter(|pair| ratio(pair).is_finite()).collect::<Vec<_>>();
    let (nearest, held_out) = pairs.iter().copied().max_by(|a, b| ratio(a).abs().total_cmp(&ratio(b).abs()))?;
    let (from, to) = (nearest.perplexity, held_out.perplexity);
    let n_better = pairs.iter().filter(|pair| ratio(pair) < 0.0).count();
    let code = if to < from { "holding_out_helps" } else { "holding_out_harms" };
    let gain = Message::new(code).with("bits", bits as usize).with("better", n_better).with("of", pairs.len());
    let gain = gain.with("block", size(nearest)).with("before", from).with("after", to);
    Some(gain.with("error_before", nearest.mean_squared_error).with("error_after", held_out.mean_squared_error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Evaluation;

    fn point(block_size: usize, method: Method, perplexity: f32) -> Point {
        let evaluation =
            Evaluation { loss_nats: perplexity.ln(), perplexity, stopword_mass: 0.0, n_tokens: 1, convention: Message::default() };
        let (rounding, measured) = (Rounding { bits: 4, block_size, method }, Measured { evaluation, tasks: Vec::new() });
        Point { rounding, is_whole: block_size == 0, perplexity, mean_squared_error: 1e-6, measured }
    }

    #[test]
    fn method_falls_apart_at_the_first_block_that_doubles_the_perplexity() {
        let points = [(64, 31.0), (256, 61.0), (1024, 59.0), (0, 900.0)].map(|(size, at)| point(size, Method::Nearest, at));
        let points = points.iter().collect::<Vec<_>>();
        let said = falls_apart(4, Method::Nearest, &points, 30.0);
        assert_eq!((said.code.as_str(), said.text("block"), said.number("perplexity")), ("falls_apart", "256", 61.0));
        let said = falls_apart(4, Method::Nearest, &points[..1], 30.0);
        assert_eq!(said.code, "holds");
    }

    #[test]
    fn holding_out_is_told_whichever_way_it_went() {
        let nearest = [point(64, Method::Nearest, 31.0), point(0, Method::Nearest, 90.0)];
        let said = |held: [f32; 2]| {
            let held = [point(64, Method::HeldOut, held[0]), point(0, Method::HeldOut, held[1])];
            gain(4, &nearest.iter().collect::<Vec<_>>(), &held.iter().collect::<Vec<_>>()).unwrap()
        };
        let told = |gain: Message| (gain.code.clone(), gain.number("better"), gain.text("block").to_owned(), gain.number("before"));
        assert_eq!(told(said([31.5, 45.0])), ("holding_out_helps".into(), 1.0, "matrix".into(), 90.0));
        assert_eq!(told(said([40.0, 91.0])), ("holding_out_harms".into(), 0.0, "64".into(), 31.0));
        assert_eq!(gain(4, &[], &[]), None);
    }

    #[test]
    fn whole_matrix_comes_last_and_nothing_is_held_out_of_nothing() {
        let settings = WeightQuantisation { block_sizes: vec![0, 64, 16], ..WeightQuantisation::default() };
        let none_named = methods(&settings, &[]);
        assert_eq!(none_named, [Method::Nearest, Method::Clipped(9.0)]);
        let sizes = roundings(&settings, &none_named).iter().take(3).map(|rounding| rounding.block_size).collect::<Vec<_>>();
        assert_eq!(sizes, [16, 64, 0]);
        assert_eq!(methods(&settings, &[WeightCoord::new(0, 0, 0)])[1], Method::HeldOut);
    }
}
