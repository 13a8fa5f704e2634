//! Charts of the two comparisons of removals, and of single deletions; a [`Plan`] lists the measurements of a
//! comparison.

use super::marks::{Chart, Paint};
use super::plot::{Axis, Plot, Series};
use super::scale::Scale;
use crate::tables::names::ranking_name;
use crate::terms::{Comparison, Deletion, Evaluation, Plan, Ranking, Replacement, SweepLine, SweepPoint};
use crate::words::{percent, short};

/// The points of this comparison.
pub fn own(of: Comparison, points: &[SweepPoint]) -> Vec<SweepPoint> {
    points.iter().filter(|point| of.line_of(&point.pruned.pruning.selection).is_some()).cloned().collect()
}

/// Loss over the number of removed channels, or perplexity over the sparsity; for repeats, the mean and the range.
pub fn chart(of: Comparison, points: &[SweepPoint], replacement: Replacement, intact: Option<&Evaluation>, n_channels: usize) -> Chart {
    let value = |evaluation: &Evaluation| match of {
        Comparison::Removal => evaluation.loss_nats,
        Comparison::Pruning => evaluation.perplexity,
    };
    let lines = Plan::of(of).lines();
    let series = lines.iter().enumerate().map(|(place, line)| {
        let own = points
            .iter()
            .map(|point| (point, &point.pruned.pruning))
            .filter(|(_, pruning)| pruning.replacement == replacement && of.line_of(&pruning.selection) == Some(*line));
        let mut at: Vec<(usize, Vec<f32>)> = Vec::new();
        for (point, _) in own {
            let n = point.pruned.n_channels;
            match at.binary_search_by_key(&n, |(known, _)| *known) {
                Ok(place) => at[place].1.push(value(&point.evaluation)),
                Err(place) => at.insert(place, (n, vec![value(&point.evaluation)])),
            }
        }
        let spread = |(n, values): (usize, Vec<f32>)| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
            (x_of(of, n, n_channels), mean, low, high)
        };
        let (name, paint, dashed) = look(*line, place);
        Series { name, paint, dashed, points: at.into_iter().map(spread).collect() }
    });
    let series = series.collect::<Vec<_>>();
    let all = || series.iter().flat_map(|series| series.points.iter());
    let values = all().flat_map(|(_, _, low, high)| [*low, *high]).chain(intact.map(value));
    let (x, y) = axes(of, Scale::new(all().map(|(x, ..)| *x), true), Scale::new(values, of == Comparison::Pruning));
    let mut plot = Plot::new(title(of), x, y, 108.0);
    if let Some(intact) = intact {
        plot.level(value(intact), "intact");
    }
    plot.series(&series);
    plot.chart
}

fn x_of(of: Comparison, n: usize, n_channels: usize) -> f32 {
    match of {
        Comparison::Removal => n as f32,
        Comparison::Pruning => n as f32 / n_channels.max(1) as f32,
    }
}

fn axes(of: Comparison, removed: Scale, y: Scale) -> (Axis<'static>, Axis<'static>) {
    match of {
        Comparison::Removal => (
            Axis { scale: removed, label: "channels removed from the model", tick: short },
            Axis { scale: y, label: "loss, nats", tick: short },
        ),
        Comparison::Pruning => (
            Axis { scale: Scale::between(0.0, 0.75), label: "share of channels removed", tick: percent },
            Axis { scale: y, label: "perplexity", tick: short },
        ),
    }
}

pub fn title(of: Comparison) -> &'static str {
    match of {
        Comparison::Removal => "Held-out loss, channels removed from the highest on",
        Comparison::Pruning => "Held-out perplexity, channels removed from the lowest on",
    }
}

/// A line's name, and its look by its place among the lines.
fn look(line: SweepLine, place: usize) -> (String, Paint, bool) {
    match line {
        SweepLine::Ranked(Ranking::LossProxy) => (ranking_name(Ranking::LossProxy).into(), Paint::Ablated, false),
        SweepLine::Ranked(Ranking::Random) => ("random".into(), Paint::Muted, true),
        SweepLine::Ranked(by) => (ranking_name(by).into(), Paint::Series(place), place > 5),
        SweepLine::Core => ("supernodes".into(), Paint::Ink, false),
        SweepLine::Halo => ("halo".into(), Paint::Intact, false),
        SweepLine::Matched => ("matched to halo".into(), Paint::Intact, true),
    }
}

/// The loss proxy of single channels against the change of the loss without each.
pub fn deletion_chart(deletions: &[Deletion]) -> Chart {
    let x = Axis {
        scale: Scale::new(deletions.iter().map(|at| at.loss_proxy), true),
        label: "loss proxy",
        tick: |value| format!("{value:.0e}"),
    };
    let y = Axis { scale: Scale::around(deletions.iter().map(|at| at.delta_nats)), label: "change of the loss, nats", tick: short };
    let mut plot = Plot::new("One channel removed at a time", x, y, 12.0);
    plot.level(0.0, "");
    plot.dots(Paint::Intact, deletions.iter().map(|at| (at.loss_proxy, at.delta_nats)));
    plot.chart
}

#[cfg(test)]
mod tests {
    use super::super::marks::Shape;
    use super::super::marks::tests::inside;
    use super::*;
    use crate::tables::tests::calibration;
    use crate::terms::{Pick, Pruned, Pruning, Selection};

    fn point(pruning: Pruning, n: usize, loss_nats: f32) -> SweepPoint {
        let mut pruned = Pruned::of(pruning, calibration(), &[vec![0; n]]);
        pruned.n_channels = n;
        let evaluation = Evaluation { loss_nats, perplexity: loss_nats.exp(), stopword_mass: 0.0, n_tokens: 9, convention: "h".into() };
        SweepPoint { pruned, evaluation }
    }

    /// Places of lines and dots.
    fn places(chart: &Chart) -> usize {
        let n = |shape: &Shape| match shape {
            Shape::Path { points, .. } | Shape::Dots { points } => points.len(),
            _ => 0,
        };
        chart.marks.iter().map(|(_, shape)| n(shape)).sum()
    }

    #[test]
    fn charts_hold_every_point() {
        for of in [Comparison::Removal, Comparison::Pruning] {
            let points = of.prunings(Replacement::Zero).into_iter().enumerate();
            let points = points.map(|(i, pruning)| point(pruning, 1 + i, 3.0 + 0.1 * i as f32)).collect::<Vec<_>>();
            let intact = points[0].evaluation.clone();
            let drawn = chart(of, &points, Replacement::Zero, Some(&intact), 100);
            inside(&drawn);
            inside(&chart(of, &[], Replacement::Zero, None, 100));
            // Every point has a different number of channels: each is a place of a line, or a dot.
            assert_eq!(places(&drawn), points.len());
            assert_eq!(places(&chart(of, &points, Replacement::Mean, None, 100)), 0);
        }
        let deletion = |loss_proxy, delta_nats| Deletion { layer: 0, channel: 0, loss_proxy, quantile: 0, delta_nats };
        inside(&deletion_chart(&[deletion(1e-9, -0.001), deletion(1e-3, 2.0), deletion(0.0, f32::NAN)]));
        inside(&deletion_chart(&[]));
    }

    #[test]
    fn repeats_are_a_mean_with_its_spread() {
        let pruning = |seed| Pruning {
            selection: Selection { seed, ..Selection::new(Pick::Highest { by: Ranking::Random, share: 0.01 }) },
            replacement: Replacement::Zero,
        };
        let points = [point(pruning(1), 4, 3.0), point(pruning(2), 4, 5.0)];
        let chart = chart(Comparison::Removal, &points, Replacement::Zero, None, 448);
        // One range from 3 to 5, and a dot at 4.
        let paths = chart.marks.iter().filter(|(_, shape)| shape.commands().contains('L')).count();
        let dots = chart.marks.iter().filter(|(_, shape)| shape.commands().contains('h')).count();
        assert_eq!((paths, dots), (1, 1));
    }
}
