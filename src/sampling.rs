//! The definition of drawing the next token. A decode plan draws on the GPU by the same rules (`decode/choose.rs`),
//! but may take the neighbouring token if the random number is within f32's rounding of the boundary.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::terms::Sampling;

/// Draws tokens from logits with a seeded generator.
/// Applies, in transformers' order, temperature, `top_k` and `top_p`, then draws once. Ties go to the smaller id. All
/// sums are in f64 and in the order of falling probability, so that equal logits give equal tokens on every
/// processor.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
}

impl Sampler {
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, rng: ChaCha8Rng::seed_from_u64(sampling.seed) }
    }

    /// The random number of the next token, 0 to 1, without 1.
    pub fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws the next token. `None` if a logit is NaN or all of them are infinite.
    /// One random number is drawn in each call, also when greedy, so that two panes stay in step.
    pub fn sample(&mut self, logits: &[f32]) -> Option<u32> {
        let uniform = self.uniform();
        self.choose(logits, uniform)
    }

    /// The token for a random number.
    pub(crate) fn choose(&self, logits: &[f32], uniform: f64) -> Option<u32> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        let kept = self.kept(logits);
        let largest = f64::from(logits[*kept.first()?]);
        if !largest.is_finite() {
            return None;
        }
        if self.sampling.temperature <= 0.0 {
            return u32::try_from(kept[0]).ok();
        }
        let temperature = f64::from(self.sampling.temperature);
        let weights = kept.iter().map(|id| ((f64::from(logits[*id]) - largest) / temperature).exp()).collect::<Vec<_>>();
        let n = nucleus(&weights, f64::from(self.sampling.top_p));
        let mut left = uniform * weights[..n].iter().sum::<f64>();
        let drawn = weights[..n].iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        u32::try_from(kept[drawn.unwrap_or(n - 1)]).ok()
    }

    /// Ids in the order of falling logits, cut to `top_k` (to one when greedy).
    fn kept(&self, logits: &[f32]) -> Vec<usize> {
        let falling = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
        let mut ids = (0..logits.len()).collect::<Vec<_>>();
        let k = match (self.sampling.temperature <= 0.0, self.sampling.top_k) {
            (true, _) => 1,
            (false, 0) => ids.len(),
            (false, k) => k.min(ids.len()),
        };
        if k < ids.len() {
            ids.select_nth_unstable_by(k, falling);
            ids.truncate(k);
        }
        ids.sort_unstable_by(falling);
        ids
    }
}

/// Number of the largest weights that together reach the share `top_p`; at least one.
fn nucleus(weights: &[f64], top_p: f64) -> usize {
    if top_p >= 1.0 {
        return weights.len();
    }
    let wanted = top_p * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let reached = weights.iter().position(|weight| {
        sum += weight;
        sum >= wanted
    });
    reached.map_or(weights.len(), |index| index + 1)
}

/// Share of 4-grams that occurred before in the same sequence (rep-4), `0..=1`.
pub fn repetition(ids: &[u32]) -> f32 {
    let mut seen = std::collections::HashSet::new();
    let repeated = ids.windows(4).filter(|gram| !seen.insert(*gram)).count();
    repeated as f32 / ids.windows(4).len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_k: usize, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(Sampling { temperature, top_k, top_p, seed, max_new_tokens: 1 })
    }

    #[test]
    fn greedy_takes_the_largest_and_of_equals_the_first() {
        assert_eq!(sampler(0.0, 0, 1.0, 1).sample(&[0.5, 2.0, 2.0, -1.0]), Some(1));
    }

    #[test]
    fn top_k_of_one_is_greedy_at_any_temperature() {
        for seed in 0..50 {
            assert_eq!(sampler(5.0, 1, 1.0, seed).sample(&[0.1, 0.2, 0.15]), Some(1));
        }
    }

    #[test]
    fn small_nucleus_is_greedy() {
        for seed in 0..50 {
            assert_eq!(sampler(1.0, 0, 0.3, seed).sample(&[0.0, 0.0, 1.5, 0.0]), Some(2));
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = sampler(1.0, 0, 1.0, 7);
        let logits = [0.7_f32.ln(), 0.2_f32.ln(), 0.1_f32.ln()];
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[sampler.sample(&logits).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([0.7, 0.2, 0.1]) {
            assert!((f64::from(*count) / 20_000.0 - expected).abs() < 0.01, "{counts:?}");
        }
    }

    #[test]
    fn same_seed_draws_the_same_tokens_on_every_platform() {
        let mut sampler = sampler(1.0, 0, 1.0, 42);
        let logits = (0..16).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        let drawn = (0..12).map(|_| sampler.sample(&logits).unwrap()).collect::<Vec<_>>();
        assert_eq!(drawn, GOLDEN_DRAWS);
    }

    /// Golden values. A change here breaks every shared link.
    const GOLDEN_DRAWS: [u32; 12] = [1, 14, 6, 7, 3, 5, 3, 0, 8, 5, 2, 15];

    #[test]
    fn nan_and_no_finite_logit_are_refused() {
        assert_eq!(sampler(1.0, 0, 1.0, 1).sample(&[0.0, f32::NAN]), None);
        assert_eq!(sampler(0.0, 0, 1.0, 1).sample(&[f32::NEG_INFINITY; 4]), None);
    }

    #[test]
    fn repetition_counts_repeated_four_grams() {
        assert_eq!(repetition(&[1, 2, 3, 4, 5, 6]), 0.0);
        assert_eq!(repetition(&[1, 1, 1, 1, 1]), 0.5);
        assert_eq!(repetition(&[1, 2]), 0.0);
    }
}
