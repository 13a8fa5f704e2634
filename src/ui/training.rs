//! The same scores over the training of one model: a recording, drawn.

use leptos::prelude::*;
use serde::Deserialize;

use super::chart_view::{ChartView, rows};
use super::dom;
use super::marks::{Chart, Paint};
use super::plot::{Axis, Plot, Series};
use super::scale::Scale;
use super::weigh_tables::{FULL, READ, Table};
use super::words::{percent, short};
use crate::terms::ShareSummary;

/// What `linchpin training` printed about the run that training/README.md describes.
const RECORDED: &str = include_str!("../../public/recorded/training.json");
/// Of [`RHOS`]: 1 %, as in the paper.
const RHO_INDEX: usize = 1;

/// Of that document, what is drawn.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Recording {
    checkpoints: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Point {
    step: u32,
    summary: Vec<ShareSummary>,
    zeroed: Rise,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Rise {
    delta_nats: f32,
}

#[component]
pub fn Training() -> impl IntoView {
    let points = dom::parse_json::<Recording>(RECORDED).map(|recording| recording.checkpoints).unwrap_or_default();
    let points = StoredValue::new(points);
    let (shares, rise) = points.with_value(|points| (share_chart(points), rise_chart(points)));
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

fn steps(points: &[Point]) -> Axis {
    Axis { scale: Scale::around(points.iter().map(|point| point.step as f32)), label: "training step", tick: short }
}

fn share_chart(points: &[Point]) -> Chart {
    let y = Axis { scale: Scale::between(0.0, 1.0), label: "", tick: percent };
    let mut plot = Plot::new("Share of the loss proxy in the top 1 %, over training", steps(points), y, 56.0);
    let at = |point: &Point| point.summary.get(RHO_INDEX).map(|share| (point.step as f32, share.median, share.smallest, share.largest));
    let points = points.iter().filter_map(at).collect();
    plot.series(&[Series { name: "median".into(), paint: Paint::Ablated, dashed: false, points }]);
    plot.chart
}

fn rise_chart(points: &[Point]) -> Chart {
    let rises = || points.iter().map(|point| point.zeroed.delta_nats);
    let y = Axis { scale: Scale::around(rises()), label: "", tick: short };
    let mut plot = Plot::new("Rise of the held-out loss without one scalar, over training", steps(points), y, 56.0);
    let points = points.iter().zip(rises()).map(|(point, rise)| (point.step as f32, rise, rise, rise)).collect();
    plot.series(&[Series { name: "zeroed".into(), paint: Paint::Ablated, dashed: false, points }]);
    plot.chart
}

fn table(points: &[Point], digits: fn(f32) -> String) -> Table {
    let row = |point: &Point| {
        let share = |get: fn(&ShareSummary) -> f32| point.summary.get(RHO_INDEX).map(|share| digits(get(share))).unwrap_or_default();
        let shares = [share(|share| share.median), share(|share| share.smallest), share(|share| share.largest)];
        [&[point.step.to_string()][..], &shares, &[digits(point.zeroed.delta_nats)]].concat()
    };
    let head = ["step", "median share", "smallest share", "largest share", "rise, nats"];
    Table { head: head.map(String::from).to_vec(), rows: points.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::charts::tests::inside;
    use super::*;
    use crate::terms::RHOS;

    #[test]
    fn what_the_page_says_of_the_recording_is_in_it() {
        let recording = serde_json::from_str::<Recording>(RECORDED).unwrap().checkpoints;
        assert!((RHOS[RHO_INDEX] - 0.01).abs() < 1e-9 && recording[0].summary[RHO_INDEX].rho == RHOS[RHO_INDEX]);
        let of = |get: fn(&ShareSummary) -> f32| {
            recording.iter().map(|point| (get(&point.summary[RHO_INDEX]) * 100.0).round()).collect::<Vec<_>>()
        };
        let (medians, largest) = (of(|share| share.median), of(|share| share.largest));
        assert_eq!((recording.len(), recording[13].step), (14, 12_363));
        assert_eq!((medians[0], medians.iter().copied().fold(0.0, f32::max), medians[13]), (7.0, 13.0, 7.0));
        assert_eq!((largest[0], largest.iter().copied().fold(0.0, f32::max), largest[13]), (12.0, 90.0, 78.0));
        assert!(recording[5].zeroed.delta_nats < 0.01 && recording[13].zeroed.delta_nats > 0.5);
        inside(&share_chart(&recording));
        inside(&rise_chart(&recording));
        inside(&share_chart(&[]));
        assert_eq!(table(&recording, READ).rows[13], ["12363", "0.07", "0.041", "0.781", "0.561"]);
    }
}
