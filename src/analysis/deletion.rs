//! Correlation of the loss proxy with the cost of removal: the choice of channels to remove one at a time, and the
//! correlation of their loss proxies with the change of the loss (arXiv:2604.23475 and the authors' code: 128
//! channels of a layer, from 8 quantiles of its loss proxies). Uses slices only.

use super::concentration::{ranked, spearman};
use super::halo::{below, layer_rng};
use crate::terms::{Deletion, DeletionCorrelation};

/// Draws `per_layer` channels of a layer without repetition, evenly from its quantiles by loss proxy, the quantile of
/// largest loss proxies first. Their `delta_nats` is 0 until measured.
///
/// If channels or draws do not divide evenly, the first quantiles have one more. A layer with fewer channels gives
/// all of them.
pub fn drawn(layer: usize, loss_proxy: &[f32], per_layer: usize, n_quantiles: usize, seed: u64) -> Vec<Deletion> {
    let order = ranked(loss_proxy);
    let mut rng = layer_rng(seed, layer);
    let (mut deletions, mut first) = (Vec::new(), 0);
    for quantile in 0..n_quantiles {
        let size = part(order.len(), n_quantiles, quantile);
        let mut members = order[first..first + size].to_vec();
        first += size;
        for _ in 0..part(per_layer.min(order.len()), n_quantiles, quantile) {
            let channel = members.swap_remove(below(members.len(), &mut rng));
            deletions.push(Deletion { layer, channel, loss_proxy: loss_proxy[channel], quantile, delta_nats: 0.0 });
        }
    }
    deletions
}

/// The size of one of `n` parts of a whole: as even as possible, with the larger parts first.
fn part(whole: usize, n: usize, index: usize) -> usize {
    whole / n + usize::from(index < whole % n)
}

/// Returns the correlation over all layers first, then that of each layer with deletions, in ascending order.
pub fn correlations(deletions: &[Deletion]) -> Vec<DeletionCorrelation> {
    let mut layers = deletions.iter().map(|deletion| deletion.layer).collect::<Vec<_>>();
    layers.sort_unstable();
    layers.dedup();
    std::iter::once(None).chain(layers.into_iter().map(Some)).map(|layer| correlation(deletions, layer)).collect()
}

/// Correlates loss proxies with changes of the loss. The authors take logarithms of both, which do not change ranks
/// but exclude deletions that did not raise the loss; `spearman_positive` also excludes them.
fn correlation(deletions: &[Deletion], layer: Option<usize>) -> DeletionCorrelation {
    let of_layer = deletions.iter().filter(|deletion| layer.is_none_or(|layer| deletion.layer == layer));
    let (proxies, deltas) = of_layer.map(|deletion| (deletion.loss_proxy, deletion.delta_nats)).unzip::<f32, f32, Vec<_>, Vec<_>>();
    let positive = proxies.iter().zip(&deltas).filter(|(_, delta)| **delta > 0.0);
    let (positive_proxies, positive_deltas) = positive.map(|(proxy, delta)| (*proxy, *delta)).unzip::<f32, f32, Vec<_>, Vec<_>>();
    DeletionCorrelation {
        layer,
        n: deltas.len(),
        spearman: spearman(&proxies, &deltas),
        n_positive: positive_deltas.len(),
        spearman_positive: spearman(&positive_proxies, &positive_deltas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loss proxies that fall with the channel's index.
    fn falling(n: usize) -> Vec<f32> {
        (0..n).map(|channel| 1.0 / (1 + channel) as f32).collect()
    }

    fn by_quantile(drawn: &[Deletion], n_quantiles: usize) -> Vec<Vec<usize>> {
        let of = |quantile| drawn.iter().filter(|deletion| deletion.quantile == quantile).map(|deletion| deletion.channel).collect();
        (0..n_quantiles).map(of).collect()
    }

    #[test]
    fn quantiles_give_evenly_and_the_first_the_rest() {
        // The quantiles have 4, 4, 3 and 3 channels.
        let found = by_quantile(&drawn(2, &falling(14), 6, 4, 1), 4);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1, 1]);
        for (channels, range) in found.iter().zip([0..4, 4..8, 8..11, 11..14]) {
            assert!(channels.iter().all(|channel| range.contains(channel)), "{found:?}");
        }
        // Quantiles follow the loss proxy, not the index.
        let risen = drawn(0, &[1.0, 3.0, 2.0, 4.0], 1, 2, 1);
        assert!(risen.len() == 1 && [1, 3].contains(&risen[0].channel), "{risen:?}");
    }

    #[test]
    fn nothing_is_drawn_twice_and_a_small_layer_gives_all() {
        for (n, n_quantiles, per_layer) in [(14, 4, 13), (14, 4, 14), (14, 4, 99), (3, 8, 2), (3, 8, 99), (0, 2, 5), (10, 4, 9)] {
            let mut channels = drawn(0, &falling(n), per_layer, n_quantiles, 1).iter().map(|d| d.channel).collect::<Vec<_>>();
            channels.sort_unstable();
            channels.dedup();
            assert_eq!(channels.len(), per_layer.min(n), "{n} channels in {n_quantiles}, {per_layer} drawn");
        }
    }

    #[test]
    fn draw_depends_on_its_seed_and_layer_alone() {
        let channels = |layer, seed| drawn(layer, &falling(200), 16, 8, seed).iter().map(|d| d.channel).collect::<Vec<_>>();
        assert_eq!(channels(1, 7), channels(1, 7));
        assert_ne!(channels(1, 7), channels(2, 7));
        assert_ne!(channels(1, 7), channels(1, 8));
    }

    #[test]
    fn correlations_by_hand() {
        let deletion = |layer, loss_proxy, delta_nats| Deletion { layer, channel: 0, loss_proxy, quantile: 0, delta_nats };
        let deletions = [
            deletion(3, 4.0, 0.4),
            deletion(3, 3.0, 0.1),
            deletion(3, 2.0, 0.2),
            // This deletion lowers the loss.
            deletion(3, 1.0, -0.1),
            deletion(1, 8.0, 0.3),
        ];
        let found = correlations(&deletions);
        assert_eq!(
            found.iter().map(|found| (found.layer, found.n, found.n_positive)).collect::<Vec<_>>(),
            [(None, 5, 4), (Some(1), 1, 1), (Some(3), 4, 3)]
        );
        // 1 - 6 Σd² / (n (n² - 1)): ranks 1 2 3 4 against 1 3 2 4, and 1 2 3 against 1 3 2.
        let near = |found: Option<f32>, expected: f32| found.is_some_and(|found| (found - expected).abs() < 1e-6);
        assert!(near(found[2].spearman, 0.8) && near(found[2].spearman_positive, 0.5), "{found:?}");
        // With the other layer, ranks 2 3 4 5 1 against 1 4 3 5 2.
        assert!(near(found[0].spearman, 0.8), "{found:?}");
        assert_eq!((found[1].spearman, correlations(&[])[0].spearman), (None, None));
    }
}
