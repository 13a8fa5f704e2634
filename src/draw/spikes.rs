//! The charts of a scan and of a confirmation: a value by layer, and the loss of every arm.

use super::marks::{Anchor, Chart, Hit, Paint};
use super::scale::Scale;
use crate::language::{self, change};
use crate::terms::{ArmKind, ConfirmArm, Spike, WeightCoord};
use crate::words::{short, signed, visible};

const WIDTH: f32 = 400.0;
const LEFT: f32 = 44.0;
const RIGHT: f32 = 8.0;

/// The chart of the largest |activation| by layer, one bar each; `after` adds a ring for the value with candidates
/// removed; `title` is the code of its title.
pub fn layer_chart(title: &str, spikes: &[Spike], after: &[Spike], log: bool) -> Chart {
    const HEIGHT: f32 = 216.0;
    const TOP: f32 = 26.0;
    const BOTTOM: f32 = HEIGHT - 34.0;
    let mut chart = Chart::new(language::caption(&title.into()), WIDTH, HEIGHT);
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

/// Description of a spike, in one line.
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

/// The arms that take critical scalars and their channels apart, three for each such candidate: the scalar, its whole
/// channel, and the channel without the scalar. The intact model is before them.
pub fn arms_apart(arms: &[ConfirmArm]) -> Vec<ConfirmArm> {
    let of = |kind: ArmKind, is_its: &dyn Fn(WeightCoord) -> bool| {
        arms.iter().find(|arm| arm.kind == kind && (kind == ArmKind::Intact || arm.at.is_some_and(is_its))).cloned()
    };
    let rests = arms.iter().filter(|arm| arm.kind == ArmKind::ChannelRest).filter_map(|rest| Some((rest.at?, rest)));
    let three = |(at, rest): (WeightCoord, &ConfirmArm)| {
        let channel = of(ArmKind::Channel, &|of| of.channel() == at.channel());
        [of(ArmKind::Candidate, &|of| of == at), channel, Some(rest.clone())].into_iter().flatten()
    };
    let apart = rests.flat_map(three).collect::<Vec<_>>();
    if apart.is_empty() { apart } else { of(ArmKind::Intact, &|_| true).into_iter().chain(apart).collect() }
}

/// The chart of arms' held-out losses, in nats from zero; the dashed line is the intact model.
pub fn arms_chart(arms: &[ConfirmArm]) -> Chart {
    const ROW: f32 = 34.0;
    const TOP: f32 = 8.0;
    let mut chart = Chart::new("Held-out loss of the arms".into(), WIDTH, TOP + ROW * arms.len() as f32 + 20.0);
    let intact = arms.iter().find(|arm| arm.kind == ArmKind::Intact).map(|arm| arm.loss_nats);
    let largest = arms.iter().map(|arm| arm.loss_nats).filter(|loss| loss.is_finite()).fold(0.1, f32::max);
    let x = |loss: f32| if loss.is_finite() { (WIDTH - RIGHT) * (loss / largest).clamp(0.0, 1.0) } else { WIDTH - RIGHT };
    for (i, arm) in arms.iter().enumerate() {
        let y = TOP + ROW * i as f32;
        let paint = match arm.kind {
            ArmKind::Candidate | ArmKind::Jointly | ArmKind::Channel | ArmKind::ChannelMean | ArmKind::ChannelRest | ArmKind::Row => {
                Paint::Ablated
            }
            ArmKind::Intact => Paint::Intact,
            ArmKind::RandomScalar | ArmKind::LargestWeights | ArmKind::NextRow => Paint::Muted,
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
        // The line crosses only the bars, so that the labels between them stay readable.
        for i in 0..arms.len() {
            let y = TOP + ROW * i as f32;
            chart.line(Paint::Ink, (x(intact), y + 14.0), (x(intact), y + 27.0), true);
        }
        chart.text(Paint::Muted, x(intact), bottom + 11.0, Anchor::Middle, "intact");
    }
    chart
}

/// Name of an arm: the change, then the place.
pub fn arm_name(arm: &ConfirmArm) -> String {
    let what = match arm.kind {
        ArmKind::Intact => return "nothing changed".into(),
        ArmKind::Channel | ArmKind::ChannelMean | ArmKind::ChannelRest | ArmKind::Row => return visible(&change(&arm.label)),
        ArmKind::Candidate => "candidate",
        ArmKind::Jointly => "all candidates together",
        ArmKind::RandomScalar | ArmKind::LargestWeights | ArmKind::NextRow => "control",
    };
    if arm.kind == ArmKind::Jointly { what.into() } else { format!("{what}: {}", visible(&change(&arm.label))) }
}

#[cfg(test)]
mod tests {
    use super::super::marks::tests::inside;
    use super::*;

    fn spike(layer: usize, value: f32) -> Spike {
        Spike { layer, token: 0, token_text: "<s>".into(), channel: 86, value, ratio: value.abs() }
    }

    #[test]
    fn every_mark_is_inside_whatever_the_values() {
        for values in [vec![], vec![0.0; 3], vec![1e-9, 1e9], vec![f32::NAN, f32::INFINITY, -3.0], vec![0.02; 40]] {
            let spikes: Vec<_> = values.iter().enumerate().map(|(i, v)| spike(i, *v)).collect();
            for log in [false, true] {
                inside(&layer_chart("largest_inputs", &spikes, &spikes, log));
            }
        }
    }

    #[test]
    fn arms_apart_are_three_for_each_critical_candidate() {
        let arm = |kind, at: Option<WeightCoord>, delta_nats| ConfirmArm {
            kind,
            label: "scalar".into(),
            at,
            n_zeroed: 1,
            loss_nats: 3.0 + delta_nats,
            delta_nats,
        };
        let [a, b] = [WeightCoord::new(11, 507, 1229), WeightCoord::new(11, 30, 1229)];
        let mut arms = vec![
            arm(ArmKind::Intact, None, 0.0),
            arm(ArmKind::Candidate, Some(b), 0.01),
            arm(ArmKind::Candidate, Some(a), 1.75),
            arm(ArmKind::RandomScalar, Some(b), 0.0),
            arm(ArmKind::Channel, Some(b), 0.04),
        ];
        assert!(arms_apart(&arms).is_empty());
        arms.push(arm(ArmKind::ChannelRest, Some(a), -0.25));
        let deltas = arms_apart(&arms).iter().map(|arm| arm.delta_nats).collect::<Vec<_>>();
        assert_eq!(deltas, [0.0, 1.75, 0.04, -0.25]);
    }

    #[test]
    fn loss_that_is_no_number_fills_its_row() {
        let arm = |kind, loss_nats| ConfirmArm { kind, label: "random".into(), at: None, n_zeroed: 1, loss_nats, delta_nats: loss_nats };
        inside(&arms_chart(&[arm(ArmKind::Intact, 3.3), arm(ArmKind::Candidate, f32::NAN)]));
        inside(&arms_chart(&[]));
    }
}
