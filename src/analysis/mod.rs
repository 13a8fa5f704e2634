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

/// Median of magnitudes; 0 of nothing. Of an even number, the mean of the middle two.
pub fn median(values: impl IntoIterator<Item = f32>) -> f32 {
    let mut sorted = values.into_iter().map(f32::abs).collect::<Vec<_>>();
    sorted.sort_by(f32::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f32::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}
