//! The same scores over the training of one model: a recording, drawn.

use leptos::prelude::*;

use super::chart_view::{ChartView, rows};
use super::weigh_tables::{FULL, READ, Table};
use crate::draw::marks::{Chart, Paint};
use crate::draw::plot::{Axis, Plot, Series};
use crate::draw::scale::Scale;
use crate::words::{percent, short};

/// A checkpoint, as far as it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    step: u32,
    /// Shares of the loss proxy in the top 1 %, as in the paper: of the median layer, the least and the most concentrated.
    median: f32,
    smallest: f32,
    largest: f32,
    /// Of the held-out loss without the scalar, in nats.
    rise: f32,
}

impl Point {
    const fn new(step: u32, [median, smallest, largest]: [f32; 3], rise: f32) -> Self {
        Self { step, median, smallest, largest, rise }
    }
}

/// From `public/recorded/training.json`, which `linchpin training` printed about the run that training/README.md describes:
/// the rest of it would only be more to download.
const POINTS: [Point; 14] = [
    Point::new(0, [0.074_585_29, 0.044_654_947, 0.121_403_195], 2.861023e-06),
    Point::new(762, [0.132_958_6, 0.067_006_87, 0.513_096_1], -7.390976e-05),
    Point::new(1525, [0.117_777_2, 0.059_950_47, 0.624_356_7], 2.861023e-05),
    Point::new(2287, [0.118_994_46, 0.070_872_87, 0.619_962_45], 0.000_870_227_8),
    Point::new(3050, [0.133_890_63, 0.052_711_878, 0.775_525_4], 0.000_641_346),
    Point::new(3812, [0.110_338_83, 0.059_799_02, 0.756_701_1], 0.001_785_278_3),
    Point::new(4881, [0.102_856_204, 0.054_433_1, 0.902_675_03], 0.053_574_8),
    Point::new(5950, [0.087_924_57, 0.057_618_704, 0.859_333_4], 0.115_703_82),
    Point::new(7019, [0.097_484_96, 0.047_516_037, 0.813_562_45], 0.114_320_755),
    Point::new(8088, [0.103_190_38, 0.045_308_29, 0.808_194_1], 0.154_652_36),
    Point::new(9156, [0.088_336_44, 0.056_723_695, 0.736_310_54], 0.192_198_04),
    Point::new(10_225, [0.089_858_62, 0.049_792_547, 0.838_537_2], 0.386_253_12),
    Point::new(11_294, [0.073_044_84, 0.047_535_278, 0.772_906_66], 0.478_977_2),
    Point::new(12_363, [0.069_550_7, 0.041_203_9, 0.780_500_23], 0.561_394_45),
];

#[component]
pub fn Training() -> impl IntoView {
    let (shares, rise) = (share_chart(&POINTS), rise_chart(&POINTS));
    let csv = Callback::new(|()| table(&POINTS, FULL).csv());
    let body = || rows(&table(&POINTS, READ));
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
    use crate::protocol::Export;
    use crate::terms::{Checkpoint, RHOS};

    #[test]
    fn the_points_are_those_of_the_recording() {
        let recording = serde_json::from_str::<Export>(include_str!("../../public/recorded/training.json")).unwrap();
        let point = |checkpoint: &Checkpoint| {
            let share = checkpoint.summary.iter().find(|share| share.rho == RHOS[1]).unwrap();
            let step = u32::try_from(checkpoint.step.unwrap()).unwrap();
            Point::new(step, [share.median, share.smallest, share.largest], checkpoint.zeroed.unwrap().delta_nats)
        };
        assert_eq!(RHOS[1], 0.01);
        assert_eq!(recording.checkpoints.iter().map(point).collect::<Vec<_>>(), POINTS);
    }

    #[test]
    fn what_the_page_says_of_the_recording_is_in_it() {
        let of = |get: fn(&Point) -> f32| POINTS.map(|point| (get(&point) * 100.0).round());
        let (medians, largest) = (of(|point| point.median), of(|point| point.largest));
        assert_eq!(POINTS[13].step, 12_363);
        assert_eq!((medians[0], medians.into_iter().fold(0.0, f32::max), medians[13]), (7.0, 13.0, 7.0));
        assert_eq!((largest[0], largest.into_iter().fold(0.0, f32::max), largest[13]), (12.0, 90.0, 78.0));
        assert!(POINTS[5].rise < 0.01 && POINTS[13].rise > 0.5);
        inside(&share_chart(&POINTS));
        inside(&rise_chart(&POINTS));
        inside(&share_chart(&[]));
        assert_eq!(table(&POINTS, READ).rows[13], ["12363", "0.07", "0.041", "0.781", "0.561"]);
    }
}
