//! The distribution of scores over a layer's channels, and the agreement of two scores. Uses slices only.

use crate::terms::{
    ChannelScores, Concentration, Metric, Overlap, RHOS, ShareSummary, SuperWeightRank, Supernodes, WeightCoord, core_size, median,
};

/// The most points of a curve.
const MAX_POINTS: usize = 64;

/// Returns indices by score, the largest first. In a tie the lower index comes first.
pub fn ranked(scores: &[f32]) -> Vec<usize> {
    let mut order = (0..scores.len()).collect::<Vec<_>>();
    // This sort is stable.
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

/// Computes the [`Concentration`] of one layer. In a layer without any loss proxy, all shares are 0.
pub fn concentration(layer: usize, loss_proxy: &[f32]) -> Concentration {
    let n = loss_proxy.len();
    let cumulative = cumulative_shares(loss_proxy, &ranked(loss_proxy));
    let share_of = |count: usize| if count == 0 { 0.0 } else { cumulative[count - 1] };
    let shares = RHOS.iter().map(|rho| share_of(core_size(*rho, n))).collect();
    let curve = counts(n).into_iter().map(|count| [count as f32 / n as f32, share_of(count)]).collect();
    Concentration { layer, shares, curve }
}

/// Returns the share of the sum in the first 1, 2, 3, ... of `order`, summed in f64.
fn cumulative_shares(scores: &[f32], order: &[usize]) -> Vec<f32> {
    let total = scores.iter().map(|score| f64::from(*score)).sum::<f64>();
    let mut sum = 0.0;
    let shares = order.iter().map(|index| {
        sum += f64::from(scores[*index]);
        if total > 0.0 { (sum / total) as f32 } else { 0.0 }
    });
    shares.collect()
}

/// Returns 0, 1, 2, 3, ... up to `n`, with steps that grow.
fn counts(n: usize) -> Vec<usize> {
    let growth = (n.max(2) as f64).powf(1.0 / (MAX_POINTS - 2) as f64);
    let mut counts = vec![0];
    let mut exact = 1.0;
    while counts.len() < MAX_POINTS && counts[counts.len() - 1] < n {
        let last = counts[counts.len() - 1];
        // The step is at least 1, even if the growth factor would not reach the next whole number.
        let next = (last + 1).max(exact as usize).min(n);
        counts.push(next);
        exact = (next as f64 * growth).max(exact * growth);
    }
    if let Some(last) = counts.last_mut() {
        *last = n;
    }
    counts
}

/// Summarises the cores' shares over all layers, for each of [`RHOS`].
pub fn summary(layers: &[Concentration]) -> Vec<ShareSummary> {
    let of = |(index, rho): (usize, &f64)| {
        let shares = layers.iter().map(|layer| layer.shares[index]);
        let (smallest, largest) = shares.clone().fold((f32::INFINITY, 0.0), |(low, high), share| (share.min(low), share.max(high)));
        ShareSummary { rho: *rho, median: median(shares) as f32, smallest, largest }
    };
    RHOS.iter().enumerate().map(of).collect()
}

/// Picks the [`Supernodes`] of one layer.
pub fn supernodes(scores: &ChannelScores) -> Supernodes {
    let n = scores.loss_proxy.len();
    let count = RHOS.iter().map(|rho| core_size(*rho, n)).max().unwrap_or(0);
    let mut channels = ranked(&scores.loss_proxy);
    channels.truncate(count);
    Supernodes { layer: scores.layer, channels }
}

/// Compares the loss proxy with each other metric of the layer.
pub fn overlaps(scores: &ChannelScores) -> Vec<Overlap> {
    let proxy = scores.get(Metric::LossProxy);
    let (order, ranks) = (ranked(proxy), average_ranks(proxy));
    let others = Metric::ALL.into_iter().filter(|metric| *metric != Metric::LossProxy && !scores.get(*metric).is_empty());
    let overlap = |metric: Metric| {
        let other = scores.get(metric);
        let other_order = ranked(other);
        let jaccard_of = |rho: &f64| {
            let count = core_size(*rho, proxy.len());
            jaccard(&order[..count], &other_order[..count])
        };
        let spearman = pearson(&ranks, &average_ranks(other));
        Overlap { layer: scores.layer, metric, jaccard: RHOS.iter().map(jaccard_of).collect(), spearman }
    };
    others.map(overlap).collect()
}

/// Ranks the channels of these scalars, each within its own layer. A scalar outside `layers` is left out.
pub fn super_weight_ranks(layers: &[ChannelScores], coords: &[WeightCoord]) -> Vec<SuperWeightRank> {
    let rank = |at: &WeightCoord| {
        let proxy = &layers.iter().find(|scores| scores.layer == at.layer)?.loss_proxy;
        let order = ranked(proxy);
        let rank = order.iter().position(|channel| *channel == at.col)?;
        Some(SuperWeightRank { at: *at, rank, share: cumulative_shares(proxy, &[at.col])[0] })
    };
    coords.iter().filter_map(rank).collect()
}

/// `|A ∩ B| / |A ∪ B|` of two sets without repetitions; 0 if both are empty.
pub fn jaccard(a: &[usize], b: &[usize]) -> f32 {
    let known = a.iter().collect::<std::collections::HashSet<_>>();
    let shared = b.iter().filter(|index| known.contains(index)).count();
    let union = a.len() + b.len() - shared;
    if union == 0 { 0.0 } else { shared as f32 / union as f32 }
}

/// Returns Spearman's rank correlation; `None` if one of the two is constant.
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f32> {
    pearson(&average_ranks(a), &average_ranks(b))
}

/// Returns ranks, 1 for the largest; equal scores share the mean of their ranks.
pub(super) fn average_ranks(scores: &[f32]) -> Vec<f64> {
    let order = ranked(scores);
    let mut ranks = vec![0.0; scores.len()];
    let mut first = 0;
    for equals in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let mean = first as f64 + f64::midpoint(1.0, equals.len() as f64);
        equals.iter().for_each(|index| ranks[*index] = mean);
        first += equals.len();
    }
    ranks
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f32> {
    let n = a.len().min(b.len()) as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (aa, bb, ab) = (aa + a * a, bb + b * b, ab + a * b);
    }
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa * bb).sqrt()) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_ranked_by_channel_and_share_their_mean_rank() {
        let scores = [1.0, 3.0, 1.0, 0.0, 3.0];
        assert_eq!(ranked(&scores), [1, 4, 0, 2, 3]);
        assert_eq!(average_ranks(&scores), [3.5, 1.5, 3.5, 5.0, 1.5]);
    }

    #[test]
    fn shares_add_up_from_the_largest() {
        let mut scores = vec![0.0; 100];
        (scores[7], scores[50], scores[99]) = (6.0, 1.0, 3.0);
        let found = concentration(3, &scores);
        // The cores have 1, 1, 2 and 5 channels.
        assert_eq!((found.layer, found.shares), (3, vec![0.6, 0.6, 0.9, 1.0]));
        assert_eq!(found.curve[..4], [[0.0, 0.0], [0.01, 0.6], [0.02, 0.9], [0.03, 1.0]]);
        assert_eq!(found.curve.last(), Some(&[1.0, 1.0]));
        let nothing = concentration(0, &[0.0; 100]);
        assert!(nothing.shares.iter().all(|share| *share == 0.0));
    }

    #[test]
    fn curves_are_bounded_and_rise() {
        for n in [1, 2, 40, 63, 64, 65, 448, 1536, 14336, 100_000] {
            let counts = counts(n);
            assert!(counts.len() <= MAX_POINTS && counts[0] == 0 && counts.last() == Some(&n), "{n}: {counts:?}");
            assert!(counts.is_sorted_by(|a, b| a < b), "{n}: {counts:?}");
        }
        assert!(counts(1536).len() > 40);
    }

    #[test]
    fn correlations_of_small_cases() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 900.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]), None);
        // Ranks 1 2.5 2.5 4 against 1 2 3 4: 1 - 6 · 0.5 / 60 does not hold with ties; Pearson of the ranks does.
        let tied = spearman(&[4.0, 3.0, 3.0, 1.0], &[4.0, 3.0, 2.0, 1.0]).unwrap();
        assert!((tied - 4.5 / (4.5_f32 * 5.0).sqrt()).abs() < 1e-6, "{tied}");
        assert_eq!((jaccard(&[1, 2, 3], &[3, 4]), jaccard(&[], &[])), (0.25, 0.0));
    }

    #[test]
    fn layer_is_compared_with_all_it_has() {
        let (proxy, other) = (vec![0.0, 5.0, 1.0, 2.0], vec![3.0, 4.0, 5.0, 1.0]);
        let scores = ChannelScores { layer: 2, loss_proxy: proxy.clone(), taylor: proxy, down_norm: other, ..ChannelScores::default() };
        let found = overlaps(&scores);
        assert_eq!(found.iter().map(|overlap| overlap.metric).collect::<Vec<_>>(), [Metric::Taylor, Metric::DownNorm]);
        assert_eq!((&found[0].jaccard, found[0].spearman), (&vec![1.0; 4], Some(1.0)));
        // The largest score is channel 1 in the proxy and channel 2 in the other.
        assert_eq!(found[1].jaccard, [0.0; 4]);
        assert_eq!(supernodes(&scores).channels, [1]);
        let at = |layer, col| WeightCoord::new(layer, 0, col);
        let ranks = super_weight_ranks(&[scores], &[at(2, 3), at(2, 9), at(1, 3)]);
        assert_eq!(ranks, [SuperWeightRank { at: at(2, 3), rank: 1, share: 0.25 }]);
    }

    #[test]
    fn summary_is_over_layers() {
        let layer = |layer, share| Concentration { layer, shares: vec![share; 4], curve: Vec::new() };
        let found = summary(&[layer(0, 0.2), layer(1, 0.9), layer(2, 0.4)]);
        assert_eq!((found[1].rho, found[1].median, found[1].smallest, found[1].largest), (0.01, 0.4, 0.2, 0.9));
    }
}
