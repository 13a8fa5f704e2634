//! The charts of a core's surroundings, and their summary as a sentence.

use super::marks::{Anchor, Chart, Paint};
use super::plot::{Axis, Plot, WIDTH};
use super::scale::Scale;
use crate::terms::{LayerSurroundings, SurroundingsReport, median};
use crate::words::short;

/// Channels of the core, the halo and the rest, each with its paint; groups drawn later are on top.
fn groups(layer: &LayerSurroundings) -> [(Paint, Vec<usize>); 3] {
    let mut is_rest = vec![true; layer.connections.len()];
    // An export from elsewhere may name channels without figures.
    let known = |channels: &[usize]| channels.iter().copied().filter(|channel| *channel < layer.connections.len()).collect::<Vec<_>>();
    let (core, halo) = (known(&layer.core), known(&layer.halo));
    core.iter().chain(&halo).for_each(|channel| is_rest[*channel] = false);
    let rest = (0..is_rest.len()).filter(|channel| is_rest[*channel]).collect();
    [(Paint::Muted, rest), (Paint::Intact, halo), (Paint::Ablated, core)]
}

/// The chart of every channel's write direction, in the plane that the layer's core writes in most
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
        label: "Conn: share of a channel's writing in the core's write support",
        tick: short,
    };
    let mut plot = Plot::new("Connection and loss proxy", x, y, 16.0);
    plot.mark(report.n_support as f32 / hidden_size.max(1) as f32, "by chance");
    for (paint, channels) in groups(layer) {
        plot.dots(paint, channels.iter().map(|channel| (layer.connections[*channel], loss_proxy.get(*channel).copied().unwrap_or(0.0))));
    }
    plot.chart
}

/// Summary of a layer's surroundings, as a sentence.
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

#[cfg(test)]
mod tests {
    use super::super::marks::tests::inside;
    use super::*;
    use crate::tables::tests::{calibration, model};

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
        SurroundingsReport { model: model(), calibration: calibration(), rho: 0.2, eta: 0.5, n_support: 1, layers: vec![layer] }
    }

    #[test]
    fn marks_are_inside_whatever_the_surroundings() {
        let report = surroundings();
        inside(&plane_chart(&report.layers[0]));
        inside(&connection_chart(&report, &report.layers[0], &[0.0, 1e-9, 3.0, 1e-20, f32::NAN], 16));
        inside(&connection_chart(&report, &report.layers[0], &[0.0; 5], 16));
        let strange = LayerSurroundings { core: vec![1, 5], halo: vec![usize::MAX], ..report.layers[0].clone() };
        inside(&plane_chart(&strange));
        inside(&connection_chart(&report, &strange, &[0.5; 5], 16));
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
