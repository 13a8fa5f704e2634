//! Attention sinks and massive activations.
//!
//! A head is a **sink** of the first token, after Gu et al. (arXiv:2410.10781), if the mean over queries of its
//! attention probability on that token is above 0.3. They use texts of 64 tokens, and all queries. The first query
//! sees only itself, and adds `1/T` to every head of a text of T tokens. It is left out, because prompts are short
//! here, and [`Sinks::as_published`] adds it again. A head with uniform attention has [`uniform`], which in a short
//! prompt is not far below the threshold.
//!
//! A value of the residual stream is **massive**, after Sun et al. (arXiv:2402.17762), if its magnitude is above 100
//! and about 1000 times the median magnitude of its layer's output. In small models, values of the same importance
//! stay below both, so the ratio is also reported.

use super::error::AnalysisError;
use super::residual::floats;
use crate::job::control::Control;
use crate::model::Model;
use crate::model::probe::Probe;
use crate::tensors::{DeviceError, Transaction};

/// Threshold of the mean attention probability on the first token.
pub const SINK_THRESHOLD: f32 = 0.3;
/// Thresholds of a massive activation: its magnitude, and its ratio to the median.
pub const MASSIVE: (f32, f32) = (100.0, 1000.0);

/// The value of largest magnitude in one layer's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Massive {
    pub token: usize,
    pub channel: usize,
    /// The signed value.
    pub value: f32,
    /// Median of all magnitudes in that layer's output.
    pub median: f32,
}

impl Massive {
    /// `|value| / median`; 0 if the median is 0.
    pub fn ratio(&self) -> f32 {
        if self.median > 0.0 { (self.value.abs() / self.median).min(f32::MAX) } else { 0.0 }
    }

    /// `true` if the value is massive by the criterion of Sun et al.
    pub fn is_massive(&self) -> bool {
        self.value.abs() > MASSIVE.0 && self.ratio() > MASSIVE.1
    }
}

/// Sinks and massive activations of each layer in one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Sinks {
    pub massive: Vec<Massive>,
    /// Mean probability on the first token over all queries except the first, by layer and head.
    pub on_first: Vec<Vec<f32>>,
    /// Number of tokens in the prompt.
    pub n_tokens: usize,
}

impl Sinks {
    /// Counts the heads above [`SINK_THRESHOLD`].
    pub fn count(&self) -> usize {
        self.count_of(|mean| mean)
    }

    /// Counts the heads with the first query included, as in the authors' code.
    pub fn as_published(&self) -> usize {
        let n = self.n_tokens as f32;
        self.count_of(|mean| (mean * (n - 1.0) + 1.0) / n)
    }

    fn count_of(&self, of: impl Fn(f32) -> f32) -> usize {
        self.on_first.iter().flatten().filter(|mean| of(**mean) > SINK_THRESHOLD).count()
    }
}

/// The mean probability on the first token of a head with uniform attention over `n_tokens` tokens: the mean of
/// `1 / (t + 1)` over `t` from 1 on.
pub fn uniform(n_tokens: usize) -> f32 {
    let shares = (1..n_tokens).map(|t| 1.0 / (t + 1) as f32);
    shares.sum::<f32>() / n_tokens.saturating_sub(1).max(1) as f32
}

/// Runs one pass over at least two tokens. Each layer's output is read completely, because Burn has no median that
/// runs on a device without waiting.
///
/// # Errors
///
/// A failing device, a stop, or values that are not finite.
pub async fn sinks(model: &Model, ids: &[u32], control: &Control, mut progress: impl FnMut(usize)) -> Result<Sinks, AnalysisError> {
    let mut probe = Probe::empty().with_first_key();
    let (mut x, pass) = model.begin(ids, 0);
    let mut massive = Vec::new();
    for layer in 0..model.layers.len() {
        x = model.layer(layer, x, &pass, None, &mut probe);
        let values = floats(x.clone().into_data_async().await?);
        massive.push(largest_of(&values, model.config.hidden_size).ok_or(DeviceError::NonFinite { what: "the residual stream" })?);
        progress(layer + 1);
        control.checkpoint().await?;
    }
    let heads = probe.on_first_key.into_iter().map(|(_, heads)| heads);
    let read = heads.fold(Transaction::default(), Transaction::register).execute_async().await?;
    Ok(Sinks { massive, on_first: read.into_iter().map(floats).collect(), n_tokens: ids.len() })
}

/// Returns `None` if a value is not finite, or if there is none.
fn largest_of(values: &[f32], width: usize) -> Option<Massive> {
    let mut magnitudes = values.iter().map(|value| value.abs()).collect::<Vec<_>>();
    if magnitudes.iter().any(|magnitude| !magnitude.is_finite()) {
        return None;
    }
    let at = (0..values.len()).max_by(|a, b| magnitudes[*a].total_cmp(&magnitudes[*b]).then(b.cmp(a)))?;
    let (below, upper, _) = magnitudes.select_nth_unstable_by(values.len() / 2, f32::total_cmp);
    // The median of an even number of values is the midpoint of the middle two.
    let lower = if values.len().is_multiple_of(2) { below.iter().copied().fold(0.0, f32::max) } else { *upper };
    Some(Massive { token: at / width, channel: at % width, value: values[at], median: f32::midpoint(lower, *upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_value_is_told_with_the_median() {
        let found = largest_of(&[1.0, -2.0, 3.0, -400.0, 0.5, 0.25], 3).unwrap();
        assert_eq!(found, Massive { token: 1, channel: 0, value: -400.0, median: 1.5 });
        assert!(!found.is_massive() && (found.ratio() - 266.666_66).abs() < 1e-3);
        assert!(Massive { median: 0.3, ..found }.is_massive());
        assert_eq!(largest_of(&[-1.0, 2.0, 1.5], 3).unwrap().median, 1.5);
        assert_eq!(largest_of(&[-1.0, f32::NAN], 2), None);
        assert_eq!(largest_of(&[], 2), None);
    }

    #[test]
    fn published_count_has_the_first_query_in_it() {
        let sinks = Sinks { massive: Vec::new(), on_first: vec![vec![0.25, 0.31], vec![0.1, 0.3]], n_tokens: 11 };
        assert_eq!((sinks.count(), sinks.as_published()), (1, 3));
        assert!((uniform(11) - 0.201_987_7).abs() < 1e-6, "{}", uniform(11));
        assert_eq!(uniform(1), 0.0);
    }
}
