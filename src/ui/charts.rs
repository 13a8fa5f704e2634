//! The two kinds of chart: a value by layer, and the loss of every arm of a confirmation.

use super::marks::{Anchor, Chart, Hit, Paint};
use super::words::{short, signed, visible};
use crate::terms::{ArmKind, ConfirmArm, Spike};

const WIDTH: f32 = 400.0;
const LEFT: f32 = 44.0;
const RIGHT: f32 = 8.0;

/// Largest |activation| by layer, one bar each; `after` adds a ring for what is left once the candidates are removed.
pub fn layer_chart(title: &str, spikes: &[Spike], after: &[Spike], log: bool) -> Chart {
    const HEIGHT: f32 = 216.0;
    const TOP: f32 = 26.0;
    const BOTTOM: f32 = HEIGHT - 34.0;
    let mut chart = Chart::new(title.into(), WIDTH, HEIGHT);
    let scale = Scale::new(spikes.iter().chain(after).map(|spike| spike.value.abs()), log);
    let y = |value: f32| BOTTOM - (BOTTOM - TOP) * scale.position(value);
    for tick in scale.ticks() {
        chart.line(Paint::Line, (LEFT, y(tick)), (WIDTH - RIGHT, y(tick)), false);
        chart.text(Paint::Muted, LEFT - 6.0, y(tick) + 4.0, Anchor::End, short(tick));
    }
    let step = (WIDTH - LEFT - RIGHT) / spikes.len().max(1) as f32;
    let every = (spikes.len() / 10).max(1);
    for (i, spike) in spikes.iter().enumerate() {
        let x = LEFT + step * i as f32;
        let top = y(spike.value.abs());
        chart.rect(Paint::Intact, x + step * 0.2, top, step * 0.6, (BOTTOM - top).max(0.6));
        if i % every == 0 {
            chart.text(Paint::Muted, x + step / 2.0, BOTTOM + 14.0, Anchor::Middle, spike.layer.to_string());
        }
        chart.hits.push(Hit { x, width: step });
    }
    for (i, spike) in after.iter().enumerate() {
        chart.ring(Paint::Ablated, LEFT + step * (i as f32 + 0.5), y(spike.value.abs()));
    }
    chart.line(Paint::Muted, (LEFT, BOTTOM), (WIDTH - RIGHT, BOTTOM), false);
    chart.text(Paint::Muted, (LEFT + WIDTH - RIGHT) / 2.0, BOTTOM + 29.0, Anchor::Middle, "layer");
    if let Some(peak) = (0..spikes.len()).max_by(|&a, &b| spikes[a].value.abs().total_cmp(&spikes[b].value.abs())) {
        chart.peak = peak;
        let x = LEFT + step * (peak as f32 + 0.5);
        let anchor = if x < WIDTH * 0.3 {
            Anchor::Start
        } else if x > WIDTH * 0.7 {
            Anchor::End
        } else {
            Anchor::Middle
        };
        chart.text(
            Paint::Ink,
            x,
            y(spikes[peak].value.abs()) - 6.0,
            anchor,
            format!("channel {}: {}", spikes[peak].channel, short(spikes[peak].value)),
        );
    }
    chart
}

/// What a spike is, in one line.
pub fn spike_line(spike: &Spike) -> String {
    format!(
        "layer {}, channel {}, token {} “{}”: {} ({} × the median)",
        spike.layer,
        spike.channel,
        spike.token,
        visible(&spike.token_text),
        short(spike.value),
        short(spike.ratio)
    )
}

/// Held-out loss of every arm, in nats from zero; the dashed line is the intact model.
pub fn arms_chart(arms: &[ConfirmArm]) -> Chart {
    const ROW: f32 = 34.0;
    const TOP: f32 = 8.0;
    let mut chart = Chart::new("Held-out loss of every arm".into(), WIDTH, TOP + ROW * arms.len() as f32 + 20.0);
    let intact = arms.iter().find(|arm| arm.kind == ArmKind::Intact).map(|arm| arm.loss_nats);
    let largest = arms.iter().map(|arm| arm.loss_nats).filter(|loss| loss.is_finite()).fold(0.1, f32::max);
    let x = |loss: f32| if loss.is_finite() { (WIDTH - RIGHT) * (loss / largest).clamp(0.0, 1.0) } else { WIDTH - RIGHT };
    for (i, arm) in arms.iter().enumerate() {
        let y = TOP + ROW * i as f32;
        let paint = match arm.kind {
            ArmKind::Candidate | ArmKind::Jointly | ArmKind::Channel => Paint::Ablated,
            ArmKind::Intact => Paint::Intact,
            ArmKind::RandomScalar | ArmKind::LargestWeights => Paint::Muted,
        };
        chart.text(Paint::Ink, 0.0, y + 11.0, Anchor::Start, arm_name(arm));
        let value = if arm.kind == ArmKind::Intact {
            short(arm.loss_nats)
        } else {
            format!("{} ({})", short(arm.loss_nats), signed(arm.delta_nats))
        };
        chart.text(paint, WIDTH - RIGHT, y + 11.0, Anchor::End, value);
        chart.rect(Paint::Line, 0.0, y + 16.0, WIDTH - RIGHT, 9.0);
        chart.rect(paint, 0.0, y + 16.0, x(arm.loss_nats), 9.0);
    }
    if let Some(intact) = intact {
        let bottom = TOP + ROW * arms.len() as f32;
        // Across the bars only: the labels between them stay readable.
        for i in 0..arms.len() {
            let y = TOP + ROW * i as f32;
            chart.line(Paint::Ink, (x(intact), y + 14.0), (x(intact), y + 27.0), true);
        }
        chart.text(Paint::Muted, x(intact), bottom + 11.0, Anchor::Middle, "intact");
    }
    chart
}

/// An arm by what was done, then by where.
pub fn arm_name(arm: &ConfirmArm) -> String {
    let what = match arm.kind {
        ArmKind::Intact => return "nothing changed".into(),
        ArmKind::Channel => return visible(&arm.label),
        ArmKind::Candidate => "candidate",
        ArmKind::Jointly => "all candidates together",
        ArmKind::RandomScalar => "control",
        ArmKind::LargestWeights => "control",
    };
    let label = visible(&arm.label);
    if label.is_empty() || arm.kind == ArmKind::Jointly { what.into() } else { format!("{what}: {label}") }
}

/// From values to `0..=1`, linear from zero or by decades.
struct Scale {
    low: f32,
    high: f32,
    log: bool,
}

impl Scale {
    fn new(values: impl Iterator<Item = f32>, log: bool) -> Self {
        let usable = values.filter(|value| value.is_finite() && *value > 0.0);
        let (least, most) = usable.fold((f32::MAX, 0.0f32), |(least, most), value| (least.min(value), most.max(value)));
        if most == 0.0 {
            return Self { low: 0.0, high: 1.0, log: false };
        }
        let low = if log { 10f32.powf(least.log10().floor()) } else { 0.0 };
        let high = if log { 10f32.powf((most * 1.3).log10()) } else { most * 1.1 };
        Self { low, high: high.max(low * 10.0), log }
    }

    fn position(&self, value: f32) -> f32 {
        if !value.is_finite() {
            return 1.0;
        }
        let at = if self.log { (value.max(self.low) / self.low).log10() / (self.high / self.low).log10() } else { value / self.high };
        at.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f32> {
        if self.log {
            let decades = (self.low.log10().round() as i32)..=(self.high.log10().floor() as i32);
            return decades.map(|exponent| 10f32.powi(exponent)).collect();
        }
        let raw = self.high / 4.0;
        let magnitude = 10f32.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|step| *step >= raw).unwrap_or(raw);
        (0..=(self.high / step) as usize).map(|i| i as f32 * step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::marks::Shape;
    use super::*;

    pub(crate) fn spike(layer: usize, value: f32) -> Spike {
        Spike { layer, token: 0, token_text: "<s>".into(), channel: 86, value, ratio: value.abs() }
    }

    fn inside(chart: &Chart) {
        for (_, shape) in &chart.marks {
            let points = match *shape {
                Shape::Rect { x, y, width, height } => vec![(x, y), (x + width, y + height)],
                Shape::Line { x1, y1, x2, y2, .. } => vec![(x1, y1), (x2, y2)],
                Shape::Ring { x, y } | Shape::Text { x, y, .. } => vec![(x, y)],
            };
            for (x, y) in points {
                assert!((0.0..=chart.width).contains(&x) && (0.0..=chart.height).contains(&y), "{shape:?}");
            }
        }
    }

    #[test]
    fn every_mark_is_inside_whatever_the_values() {
        for values in [vec![], vec![0.0; 3], vec![1e-9, 1e9], vec![f32::NAN, f32::INFINITY, -3.0], vec![0.02; 40]] {
            let spikes: Vec<_> = values.iter().enumerate().map(|(i, v)| spike(i, *v)).collect();
            for log in [false, true] {
                inside(&layer_chart("t", &spikes, &spikes, log));
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::new([430.0].into_iter(), false).ticks(), [0.0, 200.0, 400.0]);
        assert_eq!(Scale::new([0.4, 430.0].into_iter(), true).ticks(), [0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn a_loss_that_is_no_number_fills_its_row() {
        let arm = |kind, loss_nats| ConfirmArm { kind, label: "l".into(), at: None, n_zeroed: 1, loss_nats, delta_nats: loss_nats };
        inside(&arms_chart(&[arm(ArmKind::Intact, 3.3), arm(ArmKind::Candidate, f32::NAN)]));
        inside(&arms_chart(&[]));
    }
}
