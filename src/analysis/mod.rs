//! What is read out of a model: spikes, held-out loss, the confirmation of candidates, scores of channels, which
//! channels to remove by them, and what single ones cost.

pub mod backward;
pub mod calibration;
pub mod channel_weights;
pub mod concentration;
pub mod confirm;
pub mod deletion;
pub mod eval;
pub mod halo;
pub mod plane;
pub mod prune;
pub mod redundancy;
pub mod score;
pub mod spikes;
pub mod stopwords;

/// Median of magnitudes; 0 of nothing. Of an even number, the mean of the middle two. In f64, which f32 comes back from.
pub fn median<T: Into<f64>>(values: impl IntoIterator<Item = T>) -> f64 {
    let mut sorted = values.into_iter().map(|value| value.into().abs()).collect::<Vec<f64>>();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_of_magnitudes() {
        assert_eq!((median([3.0_f32, -1.0, 2.0]), median([4.0, -1.0]), median([0.0_f32; 0])), (2.0, 2.5, 0.0));
    }
}
