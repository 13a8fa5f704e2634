//! Two experiments on removing channels: which removals they are made of, and the lines that what was measured makes.

use super::prune_words::ranking_name;
use crate::draw::marks::{Chart, Paint};
use crate::draw::plot::{Axis, Plot, Series};
use crate::draw::scale::Scale;
use crate::terms::{Deletion, Evaluation, Pick, Pruning, Ranking, Replacement, Selection, SweepPoint};
use crate::words::{percent, short};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Experiment {
    /// Channels removed from the highest on, and groups: does the ranking find what matters?
    Removal,
    /// Channels removed from the lowest on: what can be pruned?
    Pruning,
}

/// Shares of a layer's channels.
const REMOVED: [f64; 6] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
const SPARSITIES: [f64; 7] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];
/// Sizes of halos: shares of the channels outside the core.
const HALOS: [f64; 5] = [0.01, 0.02, 0.05, 0.1, 0.2];
/// The supernodes, as the paper sizes them.
const CORE: [f64; 1] = [0.01];
/// Draws of what is drawn.
const SEEDS: [u64; 3] = [1, 2, 3];

/// One line of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Ranked(Ranking),
    Core,
    Halo,
    Matched,
}

impl Experiment {
    fn lines(self) -> Vec<Line> {
        match self {
            Self::Pruning => Ranking::ALL.map(Line::Ranked).to_vec(),
            Self::Removal => vec![
                Line::Ranked(Ranking::LossProxy),
                Line::Ranked(Ranking::ActivationPower),
                Line::Ranked(Ranking::Magnitude),
                Line::Ranked(Ranking::Random),
                Line::Core,
                Line::Halo,
                Line::Matched,
            ],
        }
    }

    /// Everything that it measures, the cheap ends first so that the lines grow together.
    pub fn prunings(self, replacement: Replacement) -> Vec<Pruning> {
        let sizes = |line: &Line| match (self, line) {
            (Self::Pruning, _) => &SPARSITIES[..],
            (Self::Removal, Line::Ranked(_)) => &REMOVED[..],
            (Self::Removal, Line::Core) => &CORE[..],
            (Self::Removal, Line::Halo | Line::Matched) => &HALOS[..],
        };
        let mut found = Vec::new();
        for at in 0..SPARSITIES.len() {
            for line in self.lines() {
                let Some(size) = sizes(&line).get(at) else { continue };
                let selection = self.selection(line, *size);
                let seeds = if selection.pick.is_drawn() { &SEEDS[..] } else { &SEEDS[..1] };
                found.extend(seeds.iter().map(|seed| Pruning { selection: Selection { seed: *seed, ..selection }, replacement }));
            }
        }
        found
    }

    fn selection(self, line: Line, size: f64) -> Selection {
        match (self, line) {
            (Self::Pruning, Line::Ranked(by)) => Selection::new(Pick::Lowest { by, share: size }),
            (_, Line::Ranked(by)) => Selection::new(Pick::Highest { by, share: size }),
            (_, Line::Core) => Selection { rho: size, ..Selection::new(Pick::Core) },
            (_, Line::Halo) => Selection { eta: size, ..Selection::new(Pick::Halo) },
            (_, Line::Matched) => Selection { eta: size, ..Selection::new(Pick::Matched) },
        }
    }

    fn line_of(self, pruning: &Pruning) -> Option<Line> {
        match (self, pruning.selection.pick) {
            (Self::Pruning, Pick::Lowest { by, .. }) | (Self::Removal, Pick::Highest { by, .. }) => Some(Line::Ranked(by)),
            (Self::Removal, Pick::Core) => Some(Line::Core),
            (Self::Removal, Pick::Halo) => Some(Line::Halo),
            (Self::Removal, Pick::Matched) => Some(Line::Matched),
            _ => None,
        }
    }

    /// The points that are of this experiment.
    pub fn own(self, points: &[SweepPoint]) -> Vec<SweepPoint> {
        points.iter().filter(|point| self.line_of(&point.pruned.pruning).is_some()).cloned().collect()
    }

    /// Loss over the number of channels removed, or perplexity over the sparsity; of repeats the mean, and from the
    /// smallest to the largest.
    pub fn chart(self, points: &[SweepPoint], replacement: Replacement, intact: Option<&Evaluation>, n_channels: usize) -> Chart {
        let value = |evaluation: &Evaluation| match self {
            Self::Removal => evaluation.loss_nats,
            Self::Pruning => evaluation.perplexity,
        };
        let lines = self.lines();
        let series = lines.iter().enumerate().map(|(place, line)| {
            let own = points
                .iter()
                .filter(|point| point.pruned.pruning.replacement == replacement && self.line_of(&point.pruned.pruning) == Some(*line));
            let mut at: Vec<(usize, Vec<f32>)> = Vec::new();
            for point in own {
                let n = point.pruned.n_channels;
                match at.binary_search_by_key(&n, |(known, _)| *known) {
                    Ok(place) => at[place].1.push(value(&point.evaluation)),
                    Err(place) => at.insert(place, (n, vec![value(&point.evaluation)])),
                }
            }
            let spread = |(n, values): (usize, Vec<f32>)| {
                let mean = values.iter().sum::<f32>() / values.len() as f32;
                let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
                (self.place(n, n_channels), mean, low, high)
            };
            let (name, paint, dashed) = line.look(place);
            Series { name, paint, dashed, points: at.into_iter().map(spread).collect() }
        });
        let series = series.collect::<Vec<_>>();
        let all = || series.iter().flat_map(|series| series.points.iter());
        let values = all().flat_map(|(_, _, low, high)| [*low, *high]).chain(intact.map(value));
        let (x, y) = self.axes(Scale::new(all().map(|(x, ..)| *x), true), Scale::new(values, self == Self::Pruning));
        let mut plot = Plot::new(self.title(), x, y, 108.0);
        if let Some(intact) = intact {
            plot.level(value(intact), "intact");
        }
        plot.series(&series);
        plot.chart
    }

    fn place(self, n: usize, n_channels: usize) -> f32 {
        match self {
            Self::Removal => n as f32,
            Self::Pruning => n as f32 / n_channels.max(1) as f32,
        }
    }

    fn axes(self, removed: Scale, y: Scale) -> (Axis<'static>, Axis<'static>) {
        match self {
            Self::Removal => (
                Axis { scale: removed, label: "channels removed from the model", tick: short },
                Axis { scale: y, label: "loss, nats", tick: short },
            ),
            Self::Pruning => (
                Axis { scale: Scale::between(0.0, 0.75), label: "share of channels removed", tick: percent },
                Axis { scale: y, label: "perplexity", tick: short },
            ),
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Removal => "Held-out loss, channels removed from the highest on",
            Self::Pruning => "Held-out perplexity, channels removed from the lowest on",
        }
    }
}

impl Line {
    /// Its name, and how it is drawn at its place among the others.
    fn look(self, place: usize) -> (String, Paint, bool) {
        match self {
            Self::Ranked(Ranking::LossProxy) => (ranking_name(Ranking::LossProxy).into(), Paint::Ablated, false),
            Self::Ranked(Ranking::Random) => ("random".into(), Paint::Muted, true),
            Self::Ranked(by) => (ranking_name(by).into(), Paint::Series(place), place > 5),
            Self::Core => ("supernodes".into(), Paint::Ink, false),
            Self::Halo => ("halo".into(), Paint::Intact, false),
            Self::Matched => ("matched to halo".into(), Paint::Intact, true),
        }
    }
}

/// The loss proxy of single channels against what the loss did without each.
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

/// The share that a rule is about: of a layer's channels, or for halos of those outside the core.
pub fn size_of(pruning: &Pruning) -> f64 {
    match pruning.selection.pick {
        Pick::Lowest { share, .. } | Pick::Highest { share, .. } => share,
        Pick::Core | Pick::Random => pruning.selection.rho,
        Pick::Halo | Pick::Matched => pruning.selection.eta,
    }
}

#[cfg(test)]
mod tests {
    use super::super::prune_state::tests::calibration;
    use super::*;
    use crate::draw::marks::Shape;
    use crate::draw::marks::tests::inside;
    use crate::terms::Pruned;

    fn point(pruning: Pruning, n: usize, loss_nats: f32) -> SweepPoint {
        let mut pruned = Pruned::of(pruning, calibration(1), &[vec![0; n]]);
        pruned.n_channels = n;
        let evaluation = Evaluation { loss_nats, perplexity: loss_nats.exp(), stopword_mass: 0.0, n_tokens: 9, convention: "h".into() };
        SweepPoint { pruned, evaluation }
    }

    #[test]
    fn an_experiment_names_every_removal_once() {
        for (experiment, n) in [(Experiment::Removal, 6 * (3 + 3) + 1 + 5 + 5 * 3), (Experiment::Pruning, 7 * (8 + 3))] {
            let prunings = experiment.prunings(Replacement::Zero);
            assert_eq!(prunings.len(), n);
            for (i, pruning) in prunings.iter().enumerate() {
                assert!(!prunings[..i].contains(pruning), "{pruning:?}");
                assert!(experiment.line_of(pruning).is_some());
            }
            assert!(experiment.prunings(Replacement::Mean).iter().all(|pruning| !prunings.contains(pruning)));
        }
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
        for experiment in [Experiment::Removal, Experiment::Pruning] {
            let points = experiment.prunings(Replacement::Zero).into_iter().enumerate();
            let points = points.map(|(i, pruning)| point(pruning, 1 + i, 3.0 + 0.1 * i as f32)).collect::<Vec<_>>();
            let intact = points[0].evaluation.clone();
            let chart = experiment.chart(&points, Replacement::Zero, Some(&intact), 100);
            inside(&chart);
            inside(&experiment.chart(&[], Replacement::Zero, None, 100));
            // Every point has a number of channels of its own: each is a place of a line, or a dot.
            assert_eq!(places(&chart), points.len());
            assert_eq!(places(&experiment.chart(&points, Replacement::Mean, None, 100)), 0);
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
        let chart = Experiment::Removal.chart(&points, Replacement::Zero, None, 448);
        // One spread from 3 to 5, and a dot at 4.
        let paths = chart.marks.iter().filter(|(_, shape)| shape.commands().contains('L')).count();
        let dots = chart.marks.iter().filter(|(_, shape)| shape.commands().contains('h')).count();
        assert_eq!((paths, dots), (1, 1));
    }
}
