//! The map from values to positions on an axis, and the round values of its ticks.

/// An axis, linear or by decades.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f32,
    high: f32,
    log: bool,
}

impl Scale {
    /// Creates an axis for every positive value: from zero, or from the decade below the smallest. Overflowed values
    /// (f32's largest) are at the far end.
    pub fn new(values: impl Iterator<Item = f32>, log: bool) -> Self {
        let usable = values.filter(|value| *value < f32::MAX && *value > 0.0);
        let (least, most) = usable.fold((f32::MAX, 0.0f32), |(least, most), value| (least.min(value), most.max(value)));
        if most == 0.0 {
            return Self { low: 0.0, high: 1.0, log: false };
        }
        if log {
            return Self::decades(least, most * 1.3);
        }
        Self { low: 0.0, high: most * 1.1, log }
    }

    /// Creates a logarithmic axis, from the decade at or below one value exactly to another.
    pub fn decades(least: f32, high: f32) -> Self {
        let low = decade(least.clamp(f32::MIN_POSITIVE, 1e36));
        Self { low, high: high.clamp(low * 10.0, f32::MAX), log: true }
    }

    /// Creates a linear axis from one value to a larger one.
    pub fn between(low: f32, high: f32) -> Self {
        Self { low, high: if high > low { high } else { low + (0.1 * low.abs()).max(1.0) }, log: false }
    }

    /// Creates a linear axis for every finite value and 0; overflowed values are at the far end.
    pub fn around(values: impl Iterator<Item = f32>) -> Self {
        let (least, most) =
            values.filter(|value| value.abs() < f32::MAX).fold((0.0f32, 0.0f32), |(a, b), value| (a.min(value), b.max(value)));
        let room = 0.06 * (most - least);
        Self::between(if least < 0.0 { least - room } else { 0.0 }, most + room)
    }

    /// Creates a linear axis for every finite value. It starts at 0 unless the values would then be too close
    /// together, and is never too narrow to read.
    pub fn close(values: impl Iterator<Item = f32>) -> Self {
        let usable = values.filter(|value| value.abs() < f32::MAX);
        let (least, most) = usable.fold((f32::MAX, f32::MIN), |(a, b), value| (a.min(value), b.max(value)));
        if least > most {
            return Self::between(0.0, 1.0);
        }
        let room = (0.06 * most - 0.06 * least).max(0.05 * least.abs().max(most.abs())).max(1e-6);
        let low = if least >= 0.0 && least < 0.5 * most { 0.0 } else { (least - room).max(-1e38) };
        Self::between(if least >= 0.0 { low.max(0.0) } else { low }, (most + room).min(1e38))
    }

    /// Returns the lowest and the highest value.
    pub fn ends(&self) -> (f32, f32) {
        (self.low, self.high)
    }

    /// Returns the position, `0..=1`; a value that is not finite is at the far end.
    pub fn position(&self, value: f32) -> f32 {
        if !value.is_finite() {
            return 1.0;
        }
        let at = match self.log {
            true => (value.max(self.low).log10() - self.low.log10()) / (self.high.log10() - self.low.log10()),
            false => (value - self.low) / (self.high - self.low),
        };
        at.clamp(0.0, 1.0)
    }

    /// Returns the values of ticks: decades, or about four round steps.
    pub fn ticks(&self) -> Vec<f32> {
        if self.log {
            let decades = (self.low.log10().round() as i32)..=(self.high.log10().floor() as i32);
            let every = decades.clone().count().div_ceil(7).max(1);
            return decades.step_by(every).map(|exponent| 10f32.powi(exponent)).collect();
        }
        let raw = (self.high - self.low) / 4.0;
        let magnitude = decade(raw);
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|step| *step >= raw).unwrap_or(raw);
        let (first, last) = ((self.low / step).ceil() as i32, (self.high / step * (1.0 + 1e-6)).floor() as i32);
        (first..=last).map(|i| i as f32 * step).collect()
    }
}

/// Returns the power of ten at or below a value.
fn decade(value: f32) -> f32 {
    10f32.powi(value.log10().floor() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::new([430.0].into_iter(), false).ticks(), [0.0, 200.0, 400.0]);
        assert_eq!(Scale::new([0.4, 430.0].into_iter(), true).ticks(), [0.1, 1.0, 10.0, 100.0]);
        assert_eq!(Scale::between(0.0, 1.0).ticks(), [0.0, 0.5, 1.0]);
        assert_eq!(Scale::between(-1.0, 1.0).ticks(), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert!(Scale::new([1e-30, 1.0].into_iter(), true).ticks().len() <= 8);
    }

    #[test]
    fn positions_stay_on_the_axis() {
        let scale = Scale::between(-1.0, 3.0);
        assert_eq!([-1.0, 1.0, 3.0, 9.0, f32::NAN].map(|value| scale.position(value)), [0.0, 0.5, 1.0, 1.0, 1.0]);
        let around = Scale::around([0.5, -0.5, f32::INFINITY].into_iter());
        assert!((around.position(0.0) - 0.5).abs() < 1e-6);
        assert_eq!(Scale::around([].into_iter()).position(0.0), 0.0);
        // Overflowed values do not move the others.
        let scales: [fn(std::vec::IntoIter<f32>) -> Scale; 3] = [|x| Scale::around(x), |x| Scale::new(x, false), |x| Scale::new(x, true)];
        for scale in scales {
            let [with, without] = [vec![1.0, 2.0, f32::MAX], vec![1.0, 2.0]].map(|values| scale(values.into_iter()));
            assert_eq!((with, with.position(f32::MAX)), (without, 1.0));
        }
    }
}
