//! Picks the channels of a [`Selection`]. Uses slices only.

use rand_chacha::rand_core::Rng;

use super::concentration::ranked;
use super::halo::{self, LayerHalo, layer_rng, marked};
use crate::terms::{ChannelScores, Pick, Ranking, Selection, core_size};

/// One layer's scores and surroundings.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub scores: &'a ChannelScores,
    pub around: &'a Around,
}

/// The core of a layer and its surroundings, as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct Around {
    pub core: Vec<usize>,
    /// The layer's halo, read only for picks that need it ([`needs_halo`]).
    pub halo: Option<LayerHalo>,
    /// `r` of the halo's channels, in the halo's order; computed together with `protect`.
    pub redundancy: Option<Vec<f32>>,
    /// `Protect` of every channel, computed only for picks that need it ([`Pick::needs_protection`]).
    pub protect: Option<Vec<f32>>,
}

/// Picks the supernodes of a layer, largest first.
pub fn core(scores: &ChannelScores, rho: f64) -> Vec<usize> {
    let mut core = ranked(&scores.loss_proxy);
    core.truncate(core_size(rho, scores.loss_proxy.len()));
    core
}

/// `true` if the pick must read a layer's `down_proj`.
pub fn needs_halo(pick: Pick) -> bool {
    pick.needs_protection() || matches!(pick, Pick::Halo | Pick::Matched)
}

/// Returns the channels that a selection picks in one layer, ascending; none if an input of the rule is missing.
pub fn channels(selection: &Selection, layer: Layer<'_>) -> Vec<usize> {
    let Layer { scores, around } = layer;
    if selection.layer.is_some_and(|only| only != scores.layer) {
        return Vec::new();
    }
    let mut rng = layer_rng(selection.seed, scores.layer);
    let n_channels = scores.loss_proxy.len();
    let halo = around.halo.as_ref().map_or(&[][..], |around| &around.halo);
    let mut picked = match selection.pick {
        Pick::Core => around.core.clone(),
        Pick::Halo => halo.to_vec(),
        Pick::Matched => halo::matched(&scores.loss_proxy, &around.core, halo, &mut rng),
        Pick::Random => halo::random_core(n_channels, &around.core, &mut rng),
        Pick::Lowest { by, share } => {
            let mut order = ranked(&ranks(by, layer, selection.seed));
            if by.keeps_the_core() {
                let is_core = marked(&around.core, n_channels);
                order.retain(|channel| !is_core[*channel]);
            }
            order.reverse();
            order.truncate((share * n_channels as f64) as usize);
            order
        }
        Pick::Highest { by, share } => {
            let mut order = ranked(&ranks(by, layer, selection.seed));
            order.truncate((share * n_channels as f64) as usize);
            order
        }
    };
    picked.sort_unstable();
    picked
}

/// Returns the score by which a ranking orders the channels; channels with high scores are kept. All are 0 if an
/// input is missing.
fn ranks(by: Ranking, layer: Layer<'_>, seed: u64) -> Vec<f32> {
    let Layer { scores, around } = layer;
    let n_channels = scores.loss_proxy.len();
    let each = |of: &dyn Fn(usize) -> f32| (0..n_channels).map(of).collect::<Vec<_>>();
    let proxy = &scores.loss_proxy;
    match (by, &around.protect, &around.halo) {
        (Ranking::LossProxy, ..) => proxy.clone(),
        (Ranking::Protected, Some(protect), _) => each(&|i| proxy[i] * protect[i]),
        (Ranking::Connected, Some(protect), Some(LayerHalo { connections, .. })) => {
            each(&|i| proxy[i] * ((1.0 - connections[i]) + connections[i] * protect[i]))
        }
        (Ranking::Protected | Ranking::Connected, ..) => vec![0.0; n_channels],
        (Ranking::Random, ..) => {
            let mut rng = layer_rng(seed, scores.layer);
            // The top 24 bits fit into an f32.
            (0..n_channels).map(|_| (rng.next_u32() >> 8) as f32).collect()
        }
        (Ranking::Magnitude, ..) => each(&|i| scores.down_norm[i] + scores.up_norm[i] + scores.gate_norm.get(i).copied().unwrap_or(0.0)),
        (Ranking::ActivationPower, ..) => scores.activation_power.clone(),
        (Ranking::Wanda, ..) => scores.wanda.clone(),
        (Ranking::Taylor, ..) => scores.taylor.clone(),
        (Ranking::Fluctuation, ..) => each(&|i| scores.variance[i] * scores.down_norm[i].powi(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> ChannelScores {
        ChannelScores {
            layer: 1,
            loss_proxy: vec![4.0, 1.0, 9.0, 1.0, 2.0],
            activation_power: vec![4.0, 3.0, 5.0, 1.0, 2.0],
            variance: vec![0.0, 3.0, 4.0, 1.0, 2.0],
            taylor: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            down_norm: vec![9.0, 1.0, 1.0, 3.0, 1.0],
            up_norm: vec![1.0, 5.0, 1.0, 1.0, 1.0],
            wanda: vec![5.0, 4.0, 1.0, 2.0, 3.0],
            ..ChannelScores::default()
        }
    }

    fn around() -> Around {
        let halo = LayerHalo { core: vec![2], support: vec![0], connections: vec![0.9, 0.0, 1.0, 0.5, 0.1], halo: vec![0, 3] };
        Around { core: vec![2], halo: Some(halo), redundancy: None, protect: Some(vec![0.2, 1.0, 1.0, 1.0, 1.0]) }
    }

    fn picked(pick: Pick) -> Vec<usize> {
        channels(&Selection::new(pick), Layer { scores: &scores(), around: &around() })
    }

    fn lowest(by: Ranking, share: f64) -> Vec<usize> {
        picked(Pick::Lowest { by, share })
    }

    #[test]
    fn each_ranking_by_hand() {
        // In a tie the higher channel goes first.
        assert_eq!(lowest(Ranking::LossProxy, 0.2), [3]);
        assert_eq!(lowest(Ranking::LossProxy, 0.6), [1, 3, 4]);
        // 4 · 0.2 is below 1.
        assert_eq!(lowest(Ranking::Protected, 0.2), [0]);
        // 4 · (0.1 + 0.9 · 0.2) = 1.12, which is above 1 and below 2.
        assert_eq!(lowest(Ranking::Connected, 0.4), [1, 3]);
        assert_eq!(lowest(Ranking::Connected, 0.6), [0, 1, 3]);
        // The sums of the norms are 10 6 2 4 2.
        assert_eq!(lowest(Ranking::Magnitude, 0.4), [2, 4]);
        assert_eq!(lowest(Ranking::ActivationPower, 0.4), [3, 4]);
        assert_eq!(lowest(Ranking::Taylor, 0.4), [0, 1]);
        assert_eq!(lowest(Ranking::Wanda, 0.6), [2, 3, 4]);
        // The variances 0 3 4 1 2 are multiplied by 81 1 1 9 1.
        assert_eq!(lowest(Ranking::Fluctuation, 0.4), [0, 4]);
        assert_eq!(picked(Pick::Highest { by: Ranking::LossProxy, share: 0.4 }), [0, 2]);
    }

    #[test]
    fn core_is_kept_by_the_papers_own_ranking_alone() {
        assert_eq!(lowest(Ranking::LossProxy, 1.0), [0, 1, 3, 4]);
        assert_eq!(lowest(Ranking::Taylor, 1.0), [0, 1, 2, 3, 4]);
        for by in Ranking::ALL {
            assert_eq!(lowest(by, 0.0), [0_usize; 0], "{by:?}");
            assert_eq!(lowest(by, 0.199), [0_usize; 0], "never rounded up: {by:?}");
        }
    }

    #[test]
    fn groups_are_disjoint_and_of_one_layer() {
        assert_eq!((picked(Pick::Core), picked(Pick::Halo)), (vec![2], vec![0, 3]));
        let matched = picked(Pick::Matched);
        assert_eq!(matched, [1, 4]);
        let random = picked(Pick::Random);
        assert!(random.len() == 1 && random != [2], "{random:?}");
        let elsewhere = Selection { layer: Some(0), ..Selection::new(Pick::Core) };
        assert!(channels(&elsewhere, Layer { scores: &scores(), around: &around() }).is_empty());
    }

    #[test]
    fn larger_share_of_a_draw_holds_the_smaller() {
        let (few, more) = (lowest(Ranking::Random, 0.4), lowest(Ranking::Random, 0.8));
        assert!(few.iter().all(|channel| more.contains(channel)), "{few:?} {more:?}");
    }
}
