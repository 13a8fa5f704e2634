//! The charts of checkpoints: figures of one model, or of several runs of it, over its training.

use super::marks::{Chart, Paint};
use super::plot::{Axis, Plot, Series};
use super::scale::Scale;
use crate::terms::{Checkpoint, RHOS};
use crate::words::{percent, short};

/// The core's share of a layer's channels.
const RHO: f64 = RHOS[1];

/// A figure of a checkpoint with its range: the figure, the lowest and the highest.
type Spread = (f32, f32, f32);

/// The share of loss proxy in the core over training: the median layer, and the range over the layers.
pub fn share_chart(checkpoints: &[Checkpoint]) -> Chart {
    let share = |checkpoint: &Checkpoint| {
        let share = checkpoint.summary.iter().find(|share| share.rho == RHO)?;
        Some((share.median, share.smallest, share.largest))
    };
    let title = "Share of the loss proxy in the top 1 %, over training";
    chart(title, checkpoints, "median", share, |_| Axis { scale: Scale::between(0.0, 1.0), label: "", tick: percent })
}

/// The rise of the held-out loss when a scalar is zeroed, over training.
pub fn rise_chart(checkpoints: &[Checkpoint]) -> Chart {
    let rise = |checkpoint: &Checkpoint| checkpoint.zeroed.map(|zeroed| alone(zeroed.delta_nats));
    let title = "Rise of the held-out loss without one scalar, over training";
    chart(title, checkpoints, "zeroed", rise, |values| Axis { scale: Scale::around(values.iter().copied()), label: "", tick: short })
}

/// The held-out loss over training.
pub fn loss_chart(checkpoints: &[Checkpoint]) -> Chart {
    let loss = |checkpoint: &Checkpoint| Some(alone(checkpoint.evaluation.loss_nats));
    let axis = |values: &[f32]| Axis { scale: Scale::close(values.iter().copied()), label: "loss, nats", tick: short };
    chart("Held-out loss over training", checkpoints, "intact", loss, axis)
}

fn alone(value: f32) -> Spread {
    (value, value, value)
}

/// A line for each run, named `name` if there is only one.
fn chart(
    title: &str,
    checkpoints: &[Checkpoint],
    name: &str,
    figure: impl Fn(&Checkpoint) -> Option<Spread>,
    y: impl Fn(&[f32]) -> Axis<'static>,
) -> Chart {
    let runs = runs(checkpoints);
    let line = |(place, run): (usize, &&str)| {
        let own = checkpoints.iter().filter(|checkpoint| run_of(checkpoint) == *run);
        let points = own.filter_map(|checkpoint| {
            let (value, low, high) = figure(checkpoint)?;
            Some((checkpoint.step? as f32, value, low, high))
        });
        let (name, paint) = if runs.len() > 1 { (*run, Paint::Series(place)) } else { (name, Paint::Ablated) };
        Series { name: name.into(), paint, dashed: place > 4, points: points.collect() }
    };
    let series = runs.iter().enumerate().map(line).collect::<Vec<_>>();
    let points = || series.iter().flat_map(|series| &series.points);
    let values = points().map(|(_, value, ..)| *value).collect::<Vec<_>>();
    let x = Axis { scale: Scale::around(points().map(|(step, ..)| *step)), label: "training step", tick: short };
    let mut plot = Plot::new(title, x, y(&values), 56.0);
    plot.series(&series);
    plot.chart
}

/// The folder of a checkpoint's run; empty if all checkpoints are in one folder.
fn run_of(checkpoint: &Checkpoint) -> &str {
    checkpoint.name.rsplit_once('/').map_or("", |(run, _)| run)
}

/// Every run once, in the order of the checkpoints.
fn runs(checkpoints: &[Checkpoint]) -> Vec<&str> {
    let mut runs = checkpoints.iter().map(run_of).collect::<Vec<_>>();
    runs.dedup();
    runs
}

#[cfg(test)]
mod tests {
    use super::super::marks::Shape;
    use super::super::marks::tests::inside;
    use super::*;
    use crate::tables::tests::{calibration, evaluation, model};
    use crate::terms::{ShareSummary, WeightCoord, Zeroed};

    fn checkpoint(name: &str, step: u64) -> Checkpoint {
        let delta_nats = step as f32 / 100.0;
        Checkpoint {
            name: name.into(),
            step: Some(step),
            model: model(),
            calibration: calibration(),
            summary: RHOS.map(|rho| ShareSummary { rho, median: 0.1, smallest: 0.05, largest: 0.5 }).to_vec(),
            evaluation: evaluation(4.0 - delta_nats),
            zeroed: Some(Zeroed { at: WeightCoord::new(1, 5, 17), loss_nats: 4.0, delta_nats }),
        }
    }

    #[test]
    fn runs_have_a_line_each_and_are_named_if_there_are_several() {
        let one = [checkpoint("a", 10), checkpoint("b", 20)];
        let two = [checkpoint("x/a", 10), checkpoint("x/b", 20), checkpoint("y/a", 10), checkpoint("y/b", 20)];
        type Draw = fn(&[Checkpoint]) -> Chart;
        for (draw, name) in [(share_chart as Draw, "median"), (rise_chart, "zeroed"), (loss_chart, "intact")] {
            inside(&draw(&[]));
            inside(&draw(&[Checkpoint { step: None, summary: Vec::new(), zeroed: None, ..checkpoint("a", 1) }]));
            let lines = |chart: &Chart| {
                chart.marks.iter().filter(|(_, shape)| matches!(shape, Shape::Path { points, .. } if points[0].0 != points[1].0)).count()
            };
            let says =
                |chart: &Chart, name: &str| chart.marks.iter().any(|(_, shape)| matches!(shape, Shape::Text { text, .. } if text == name));
            let (one, two) = (draw(&one), draw(&two));
            inside(&one);
            inside(&two);
            assert_eq!((lines(&one), lines(&two)), (1, 2), "{}", one.title);
            assert!(says(&two, "x") && says(&two, "y") && !says(&two, name) && says(&one, name), "{}", one.title);
        }
    }
}
