//! The concentration of the loss proxy over the training of one model: a recording, drawn.

use leptos::prelude::*;

use crate::draw::marks::{Chart, Paint};
use crate::draw::plot::{Axis, Plot, Series};
use crate::draw::scale::Scale;
use crate::protocol::Export;
use crate::terms::{Checkpoint, RHOS};
use crate::ui::page::chart::{ChartView, rows};
use crate::ui::pictures::tables::{FULL, READ, Table};
use crate::words::{percent, short};

/// The share of a layer's channels that make its core.
const RHO: f64 = RHOS[1];

/// The figures of a checkpoint that are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    step: u64,
    /// Share of the loss proxy in the top 1 % of the channels, as in the paper, in the median layer.
    median: f32,
    /// Share of the loss proxy in the least concentrated layer.
    smallest: f32,
    /// Share of the loss proxy in the most concentrated layer.
    largest: f32,
    /// Rise of the held-out loss when the scalar is zeroed, in nats.
    rise: f32,
}

/// The recording that `linchpin training` printed about the run that training/README.md describes.
const RECORDED: &str = include_str!("../../../../public/recorded/training.json");

/// The checkpoints of the recording, in the order of training.
fn recorded() -> Vec<Point> {
    let point = |checkpoint: Checkpoint| {
        let share = checkpoint.summary.iter().find(|share| share.rho == RHO)?;
        Some(Point {
            step: checkpoint.step?,
            median: share.median,
            smallest: share.smallest,
            largest: share.largest,
            rise: checkpoint.zeroed?.delta_nats,
        })
    };
    let recording = serde_json::from_str::<Export>(RECORDED).map(|export| export.checkpoints).unwrap_or_default();
    recording.into_iter().filter_map(point).collect()
}

#[component]
pub fn Training() -> impl IntoView {
    let points = recorded();
    let (shares, rise) = (share_chart(&points), rise_chart(&points));
    let points = StoredValue::new(points);
    let csv = Callback::new(move |()| points.with_value(|points| table(points, FULL).csv()));
    let body = move || points.with_value(|points| rows(&table(points, READ)));
    view! {
        <h3><span class="tag">"Recorded"</span>" Over training"</h3>
        <p class="note">
            "A model of the bundled one's shape while it was trained on 171 million tokens, scored at fourteen checkpoints. The paper sees the concentration of OLMo-2-7B grow over \
             pretraining. Here it grows in some layers only: the most concentrated goes from 12 % to 90 % and ends at 78 %, while the median layer rises from 7 % to 13 % and \
             falls back to 7 %. Only later does one scalar become dear: +0.56 nats without it at the end."
        </p>
        <div class="pair">
            <ChartView name="training-shares" caption="Loss proxy in the top 1 %: median layer, and from the least to the most concentrated" chart=Signal::stored(shares) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
            <ChartView name="training-rise" caption="Held-out loss, nats, when the scalar layer 3, [135, 195] is zeroed: the rise" chart=Signal::stored(rise) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
        </div>
    }
}

fn steps(points: &[Point]) -> Axis<'static> {
    Axis { scale: Scale::around(points.iter().map(|point| point.step as f32)), label: "training step", tick: short }
}

fn share_chart(points: &[Point]) -> Chart {
    let y = Axis { scale: Scale::between(0.0, 1.0), label: "", tick: percent };
    let mut plot = Plot::new("Share of the loss proxy in the top 1 %, over training", steps(points), y, 56.0);
    let points = points.iter().map(|point| (point.step as f32, point.median, point.smallest, point.largest)).collect();
    plot.series(&[Series { name: "median".into(), paint: Paint::Ablated, dashed: false, points }]);
    plot.chart
}

fn rise_chart(points: &[Point]) -> Chart {
    let y = Axis { scale: Scale::around(points.iter().map(|point| point.rise)), label: "", tick: short };
    let mut plot = Plot::new("Rise of the held-out loss without one scalar, over training", steps(points), y, 56.0);
    let points = points.iter().map(|point| (point.step as f32, point.rise, point.rise, point.rise)).collect();
    plot.series(&[Series { name: "zeroed".into(), paint: Paint::Ablated, dashed: false, points }]);
    plot.chart
}

fn table(points: &[Point], digits: fn(f32) -> String) -> Table {
    let row = |point: &Point| {
        let Point { step, median, smallest, largest, rise } = *point;
        [&[step.to_string()][..], &[median, smallest, largest, rise].map(digits)].concat()
    };
    let head = ["step", "median share", "smallest share", "largest share", "rise, nats"];
    Table { head: head.map(String::from).to_vec(), rows: points.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::marks::tests::inside;

    #[test]
    fn the_recording_holds_what_the_page_says_of_it() {
        let points = recorded();
        assert_eq!(points.len(), 14);
        assert_eq!(RHO, 0.01);
        let of = |get: fn(&Point) -> f32| points.iter().map(|point| (get(point) * 100.0).round()).collect::<Vec<_>>();
        let (medians, largest) = (of(|point| point.median), of(|point| point.largest));
        assert_eq!(points[13].step, 12_363);
        assert_eq!((medians[0], medians.iter().copied().fold(0.0, f32::max), medians[13]), (7.0, 13.0, 7.0));
        assert_eq!((largest[0], largest.iter().copied().fold(0.0, f32::max), largest[13]), (12.0, 90.0, 78.0));
        assert!(points[5].rise < 0.01 && points[13].rise > 0.5);
        inside(&share_chart(&points));
        inside(&rise_chart(&points));
        inside(&share_chart(&[]));
        assert_eq!(table(&points, READ).rows[13], ["12363", "0.07", "0.041", "0.781", "0.561"]);
    }
}
