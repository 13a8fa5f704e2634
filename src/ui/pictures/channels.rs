//! The charts of scores: the spread of the loss proxy, its agreement with other metrics, and the surroundings of a
//! core.

use crate::draw::marks::{Anchor, Chart, Hit, Paint};
use crate::draw::plot::{Axis, Plot, WIDTH};
use crate::draw::scale::Scale;
use crate::terms::{Concentration, LayerSurroundings, Metric, Overlap, ScoreReport, SurroundingsReport, median};
use crate::words::{fine_percent, percent, short};

fn shares(label: &'static str) -> Axis<'static> {
    Axis { scale: Scale::between(0.0, 1.0), label, tick: percent }
}

/// The chart of each layer's share of loss proxy in its core, one bar each, with a line at the share of equal channels.
pub fn share_chart(layers: &[Concentration], rho_index: usize, rho: f64) -> Chart {
    let n = layers.len().max(1) as f32;
    // Layers are one unit wide; ticks are written by hand, in the middle of a bar.
    let x = Axis { scale: Scale::between(0.0, n), label: "layer; dashed, if all channels mattered alike", tick: |_| String::new() };
    let mut plot = Plot::new("Share of the loss proxy in the core, by layer", x, shares(""), 8.0);
    let every = (layers.len() / 10).max(1);
    let step = plot.x(1.0) - plot.x(0.0);
    let bottom = plot.y(0.0);
    for (i, layer) in layers.iter().enumerate() {
        let (left, share) = (plot.x(i as f32), layer.shares.get(rho_index).copied().unwrap_or(0.0));
        let top = plot.y(share);
        plot.chart.rect(Paint::Intact, left + step * 0.2, top, step * 0.6, (bottom - top).max(0.6));
        if i % every == 0 {
            plot.chart.text(Paint::Muted, left + step / 2.0, bottom + 14.0, Anchor::Middle, layer.layer.to_string());
        }
        plot.chart.hits.push(Hit { x: left, width: step });
    }
    plot.level(rho as f32, "");
    plot.chart.peak = highest(layers, rho_index);
    plot.chart
}

/// Index of the layer with the largest share.
pub fn highest(layers: &[Concentration], rho_index: usize) -> usize {
    let share = |layer: &Concentration| layer.shares.get(rho_index).copied().unwrap_or(0.0);
    (0..layers.len()).max_by(|a, b| share(&layers[*a]).total_cmp(&share(&layers[*b])).then(b.cmp(a))).unwrap_or(0)
}

/// The map from a point of a curve to the point that is drawn.
type Turn = fn(&[f32; 2]) -> (f32, f32);

/// The chart of the loss proxy that the first channels hold together, one line per layer: from the largest on, or as a
/// Lorenz curve.
pub fn mass_chart(layers: &[Concentration], chosen: usize, lorenz: bool) -> Chart {
    let least = layers.iter().filter_map(|layer| layer.curve.get(1)).map(|point| point[0]).fold(1.0, f32::min);
    let (x, turned): (_, Turn) = match lorenz {
        true => (shares("channels, the smallest loss proxies first"), |[x, y]| (1.0 - x, 1.0 - y)),
        false => {
            let scale = Scale::decades(least, 1.0);
            (Axis { scale, label: "channels, the largest loss proxies first", tick: fine_percent }, |[x, y]| (*x, *y))
        }
    };
    let mut plot = Plot::new("Loss proxy held by the first channels", x, shares("share of the layer's loss proxy"), 22.0);
    let line = |layer: &Concentration| layer.curve.iter().skip(usize::from(!lorenz)).map(turned).collect::<Vec<_>>();
    for layer in layers.iter().filter(|layer| layer.layer != chosen) {
        plot.path(Paint::Line, line(layer), false);
    }
    if lorenz {
        plot.path(Paint::Muted, [(0.0, 0.0), (1.0, 1.0)], true);
    } else {
        plot.mark(0.01, "1 %");
    }
    if let Some(layer) = layers.iter().find(|layer| layer.layer == chosen) {
        plot.path(Paint::Ablated, line(layer), false);
        // The label stands beside its own line, where the lines are apart.
        let points = line(layer);
        let at = points.iter().copied().find(|(x, _)| *x >= if lorenz { 0.7 } else { 0.03 });
        let (x, y) = plot.at(at.unwrap_or((1.0, 1.0)));
        plot.chart.text(Paint::Ablated, x + 8.0, y + 16.0, Anchor::Start, format!("layer {chosen}"));
    }
    plot.chart
}

/// The metric's name, for people.
pub fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::LossProxy => "loss proxy",
        Metric::ActivationPower => "activation power",
        Metric::PeakActivation => "activation outliers",
        Metric::Curvature => "gradient power",
        Metric::Taylor => "Taylor, |u·g|",
        Metric::DownNorm => "norm of down column",
        Metric::GateNorm => "norm of gate row",
        Metric::UpNorm => "norm of up row",
        Metric::Wanda => "Wanda",
    }
}

/// A metric's agreement with the loss proxy: medians over layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    pub metric: Metric,
    /// Jaccard index of the cores.
    pub jaccard: f32,
    /// Spearman's correlation over all channels.
    pub spearman: f32,
}

pub fn agreements(overlaps: &[Overlap], rho_index: usize) -> Vec<Agreement> {
    let of = |metric: Metric| {
        let rows = || overlaps.iter().filter(move |overlap| overlap.metric == metric);
        rows().next()?;
        let jaccard = median(rows().filter_map(|row| row.jaccard.get(rho_index).copied())) as f32;
        Some(Agreement { metric, jaccard, spearman: median(rows().filter_map(|row| row.spearman)) as f32 })
    };
    Metric::ALL.into_iter().filter_map(of).collect()
}

/// The chart with a row per metric: a bar for the share of the core that it finds, a ring for its rank correlation.
pub fn agreement_chart(rows: &[Agreement]) -> Chart {
    const ROW: f32 = 30.0;
    let mut chart = Chart::new("What agrees with the loss proxy".into(), WIDTH, ROW * rows.len() as f32 + 22.0);
    let x = |value: f32| (WIDTH - 20.0) * value.clamp(0.0, 1.0) + 6.0;
    for (i, row) in rows.iter().enumerate() {
        let y = ROW * i as f32;
        chart.text(Paint::Ink, 6.0, y + 12.0, Anchor::Start, metric_name(row.metric));
        chart.text(Paint::Muted, WIDTH - 14.0, y + 12.0, Anchor::End, format!("{:.2} · {:.2}", row.jaccard, row.spearman));
        chart.rect(Paint::Line, x(0.0), y + 17.0, x(1.0) - x(0.0), 7.0);
        chart.rect(Paint::Intact, x(0.0), y + 17.0, x(row.jaccard) - x(0.0), 7.0);
        let paint = if row.spearman < 0.0 { Paint::Muted } else { Paint::Ablated };
        chart.ring(paint, x(row.spearman.abs()), y + 20.5);
    }
    let bottom = ROW * rows.len() as f32 + 14.0;
    for (value, anchor) in [(0.0, Anchor::Start), (1.0, Anchor::End)] {
        chart.text(Paint::Muted, x(value), bottom, anchor, short(value));
    }
    chart
}

/// Channels of the core, the halo and the rest, each with its paint; groups drawn later lie on top.
fn groups(layer: &LayerSurroundings) -> [(Paint, Vec<usize>); 3] {
    let mut is_rest = vec![true; layer.connections.len()];
    layer.core.iter().chain(&layer.halo).for_each(|channel| is_rest[*channel] = false);
    let rest = (0..is_rest.len()).filter(|channel| is_rest[*channel]).collect();
    [(Paint::Muted, rest), (Paint::Intact, layer.halo.clone()), (Paint::Ablated, layer.core.clone())]
}

/// The chart of every channel's write direction, on the plane that the layer's core writes in most
/// ([`LayerSurroundings::plane`]).
pub fn plane_chart(layer: &LayerSurroundings) -> Chart {
    const HALF: f32 = WIDTH / 2.0;
    const RADIUS: f32 = HALF - 26.0;
    let mut chart = Chart::new("Where channels write".into(), WIDTH, WIDTH);
    let rim = (0..=72).map(|step| (step as f32 * 5.0).to_radians().sin_cos());
    chart.path(Paint::Line, rim.map(|(sine, cosine)| (HALF + RADIUS * cosine, HALF + RADIUS * sine)).collect(), false);
    chart.line(Paint::Line, (HALF - RADIUS, HALF), (HALF + RADIUS, HALF), false);
    chart.line(Paint::Line, (HALF, HALF - RADIUS), (HALF, HALF + RADIUS), false);
    let at = |channel: &usize| {
        let [x, y] = layer.plane.get(*channel).map(|at| at.map(|x| if x.is_finite() { x } else { 0.0 })).unwrap_or_default();
        (HALF + RADIUS * x.clamp(-1.0, 1.0), HALF - RADIUS * y.clamp(-1.0, 1.0))
    };
    for (paint, channels) in groups(layer) {
        chart.dots(paint, channels.iter().map(at).collect());
    }
    chart.text(Paint::Muted, WIDTH - 4.0, HALF - 6.0, Anchor::End, "p₁");
    chart.text(Paint::Muted, HALF + 6.0, 16.0, Anchor::Start, "p₂");
    chart
}

/// The chart of `Conn` of every channel of a layer against its loss proxy, on a logarithmic scale.
pub fn connection_chart(report: &SurroundingsReport, layer: &LayerSurroundings, loss_proxy: &[f32], hidden_size: usize) -> Chart {
    let y = Axis { scale: Scale::new(loss_proxy.iter().copied(), true), label: "loss proxy", tick: |value| format!("{value:.0e}") };
    let x = Axis {
        scale: Scale::around(layer.connections.iter().copied()),
        label: "Conn: share of its writing that lands where the core writes",
        tick: short,
    };
    let mut plot = Plot::new("Connection and loss proxy", x, y, 16.0);
    plot.mark(report.n_support as f32 / hidden_size.max(1) as f32, "by chance");
    for (paint, channels) in groups(layer) {
        plot.dots(paint, channels.iter().map(|channel| (layer.connections[*channel], loss_proxy.get(*channel).copied().unwrap_or(0.0))));
    }
    plot.chart
}

/// Summary of a layer's surroundings, in a sentence.
pub fn surroundings_line(report: &SurroundingsReport, layer: &LayerSurroundings, hidden_size: usize) -> String {
    let [rest, halo, core] = groups(layer).map(|(_, channels)| median(channels.iter().map(|channel| layer.connections[*channel])) as f32);
    let redundancy = match layer.redundancy.len() {
        0 => String::new(),
        n => {
            let mean = layer.redundancy.iter().sum::<f32>() / n as f32;
            let most = layer.redundancy.iter().copied().fold(0.0, f32::max);
            format!(" Redundancy of the halo to the core: mean {}, at most {} nats.", short(mean), short(most))
        }
    };
    format!(
        "Layer {}: {} in the core, {} in the halo. Median Conn: core {}, halo {}, the others {}; {} by chance ({} of {} residual channels).{redundancy}",
        layer.layer,
        layer.core.len(),
        layer.halo.len(),
        short(core),
        short(halo),
        short(rest),
        short(report.n_support as f32 / hidden_size.max(1) as f32),
        report.n_support,
        hidden_size
    )
}

/// Summary of a layer's core, in a line.
pub fn layer_line(layer: &Concentration, rho_index: usize, report: Option<&ScoreReport>) -> String {
    let share = layer.shares.get(rho_index).copied().unwrap_or(0.0);
    let channels = report.and_then(|report| {
        let size = report.core_sizes.get(rho_index)?.of(layer.layer);
        let supernodes = report.supernodes.iter().find(|supernodes| supernodes.layer == layer.layer)?;
        let first = supernodes.channels.iter().take(size.min(6)).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let more = if size > 6 { ", …" } else { "" };
        let scores = report.channels.iter().find(|scores| scores.layer == layer.layer);
        Some(format!(" in {size} of {} channels: {first}{more}", scores.map_or(0, |scores| scores.loss_proxy.len())))
    });
    format!("layer {}: {}{}", layer.layer, percent(share), channels.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::marks::tests::inside;
    use crate::ui::state::scores::tests::calibration;

    fn concentration(layer: usize, share: f32) -> Concentration {
        Concentration { layer, shares: vec![share; 4], curve: vec![[0.0, 0.0], [0.01, share], [0.5, 0.9], [1.0, 1.0]] }
    }

    fn surroundings() -> SurroundingsReport {
        let layer = LayerSurroundings {
            layer: 3,
            core: vec![1],
            support: vec![0],
            halo: vec![0, 4],
            connections: vec![0.5, 0.9, 0.0, 0.1, 0.4],
            redundancy: vec![0.2, 0.6],
            protect: vec![1.0, 0.2],
            plane: vec![[0.5, 0.5], [1.0, 0.0], [0.0, 0.0], [f32::NAN, -2.0], [-0.2, 0.1]],
        };
        let model = crate::terms::ModelRef { id: "m".into(), revision: "0".repeat(16) };
        SurroundingsReport { model, calibration: calibration(1), rho: 0.2, eta: 0.5, n_support: 1, layers: vec![layer] }
    }

    #[test]
    fn everything_is_inside() {
        let layers = [concentration(0, 0.2), concentration(1, 1.0), concentration(2, f32::NAN)];
        for layers in [&layers[..], &[]] {
            inside(&share_chart(layers, 1, 0.01));
            inside(&mass_chart(layers, 1, false));
            inside(&mass_chart(layers, 1, true));
        }
        let report = surroundings();
        inside(&plane_chart(&report.layers[0]));
        inside(&connection_chart(&report, &report.layers[0], &[0.0, 1e-9, 3.0, 1e-20, f32::NAN], 16));
        inside(&connection_chart(&report, &report.layers[0], &[0.0; 5], 16));
        inside(&agreement_chart(&[Agreement { metric: Metric::Taylor, jaccard: 0.3, spearman: -0.4 }]));
    }

    #[test]
    fn peak_is_the_most_concentrated_layer() {
        assert_eq!(highest(&[concentration(0, 0.2), concentration(1, 0.9), concentration(2, 0.9)], 0), 1);
    }

    #[test]
    fn agreements_are_medians_over_layers() {
        let row = |layer, metric, jaccard, spearman| Overlap { layer, metric, jaccard: vec![0.0, jaccard], spearman };
        let rows = [
            row(0, Metric::Taylor, 0.2, Some(0.1)),
            row(1, Metric::Taylor, 0.4, None),
            row(2, Metric::Taylor, 0.9, Some(0.5)),
            row(0, Metric::Wanda, 1.0, Some(1.0)),
        ];
        let found = agreements(&rows, 1);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].metric, found[0].jaccard, found[0].spearman), (Metric::Taylor, 0.4, 0.3));
    }

    #[test]
    fn surroundings_are_told_in_a_sentence() {
        let report = surroundings();
        let line = surroundings_line(&report, &report.layers[0], 16);
        assert_eq!(
            line,
            "Layer 3: 1 in the core, 2 in the halo. Median Conn: core 0.9, halo 0.45, the others 0.05; 0.062 by chance (1 of 16 residual \
             channels). Redundancy of the halo to the core: mean 0.4, at most 0.6 nats."
        );
    }
}
