//! The charts of scores: the distribution of the loss proxy, and its agreement with other metrics.

use super::marks::{Anchor, Chart, Hit, Paint};
use super::plot::{Axis, Plot, WIDTH};
use super::scale::Scale;
use crate::tables::names::metric_name;
use crate::tables::scores::Agreement;
use crate::terms::{Concentration, ScoreReport};
use crate::words::{fine_percent, percent, short};

fn shares(label: &'static str) -> Axis<'static> {
    Axis { scale: Scale::between(0.0, 1.0), label, tick: percent }
}

/// The chart of each layer's share of loss proxy in its core, one bar each, with a line at the share of equal channels.
pub fn share_chart(layers: &[Concentration], rho_index: usize, rho: f64) -> Chart {
    let n = layers.len().max(1) as f32;
    // Layers are one unit wide. Ticks are written separately, in the middle of a bar.
    let x = Axis { scale: Scale::between(0.0, n), label: "layer; dashed: equal channels", tick: |_| String::new() };
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

/// The map from a point of a curve to the drawn point.
type Turn = fn(&[f32; 2]) -> (f32, f32);

/// The chart of the cumulative loss proxy of the first channels, one line per layer: from the largest on, or as a
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
        // The label is next to its own line, where the lines are apart.
        let points = line(layer);
        let at = points.iter().copied().find(|(x, _)| *x >= if lorenz { 0.7 } else { 0.03 });
        let (x, y) = plot.at(at.unwrap_or((1.0, 1.0)));
        plot.chart.text(Paint::Ablated, x + 8.0, y + 16.0, Anchor::Start, format!("layer {chosen}"));
    }
    plot.chart
}

/// The chart with a row per metric: a bar for the share of the core that the metric finds, a ring for its rank
/// correlation.
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

/// Summary of a layer's core, as one line.
pub fn layer_line(layer: &Concentration, rho_index: usize, report: Option<&ScoreReport>) -> String {
    let share = layer.shares.get(rho_index).copied().unwrap_or(0.0);
    let channels = report.and_then(|report| {
        let size = report.core_sizes.get(rho_index)?.at(layer.layer);
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
    use super::super::marks::tests::inside;
    use super::*;
    use crate::terms::Metric;

    fn concentration(layer: usize, share: f32) -> Concentration {
        Concentration { layer, shares: vec![share; 4], curve: vec![[0.0, 0.0], [0.01, share], [0.5, 0.9], [1.0, 1.0]] }
    }

    #[test]
    fn marks_are_inside_whatever_the_scores() {
        let layers = [concentration(0, 0.2), concentration(1, 1.0), concentration(2, f32::NAN)];
        for layers in [&layers[..], &[]] {
            inside(&share_chart(layers, 1, 0.01));
            inside(&mass_chart(layers, 1, false));
            inside(&mass_chart(layers, 1, true));
        }
        inside(&agreement_chart(&[Agreement { metric: Metric::Taylor, jaccard: 0.3, spearman: -0.4 }]));
    }

    #[test]
    fn peak_is_the_most_concentrated_layer() {
        assert_eq!(highest(&[concentration(0, 0.2), concentration(1, 0.9), concentration(2, 0.9)], 0), 1);
    }
}
