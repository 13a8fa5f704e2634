//! Numbers of the command line that are refused outside their range, by the name of their option.

use crate::terms::{Count, Fraction, MAX_SEED, ShareOf};

/// A parser of a whole number within its range for any model.
pub fn count(of: Count) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let (least, most) = of.range().into_inner();
        let number = text.trim().parse::<usize>().ok().filter(|number| of.check(*number as u64).is_ok());
        number.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
    }
}

/// A parser of a share of the channels.
pub fn share(of: ShareOf) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| {
        let number = text.trim().parse::<f64>().ok().filter(|number| of.check(*number).is_ok());
        number.ok_or_else(|| format!("expected {}", of.expected()))
    }
}

/// A parser of a number of the sampling.
pub fn fraction(of: Fraction) -> impl Fn(&str) -> Result<f32, String> + Clone {
    move |text| {
        let (least, most) = of.range().into_inner();
        let number = text.trim().parse::<f32>().ok().filter(|number| of.check(*number).is_ok());
        number.ok_or_else(|| format!("expected a number from {least} to {most}"))
    }
}

/// A seed.
pub fn seed(text: &str) -> Result<u64, String> {
    let number = text.trim().parse::<u64>().ok().filter(|seed| Count::Seed.check(*seed).is_ok());
    number.ok_or_else(|| format!("expected a whole number from 0 to {MAX_SEED}"))
}

/// The largest accepted difference of two figures.
pub fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a number of 0 or more".into())
}

/// `true` or `false`, also as 1 or 0.
pub fn flag(text: &str) -> Result<f64, String> {
    match text.trim() {
        "true" | "1" => Ok(1.0),
        "false" | "0" => Ok(0.0),
        _ => Err("expected true or false".into()),
    }
}
