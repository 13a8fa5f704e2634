//! Rules that pick the feed-forward channels to remove together. A rule travels with its parameters, never as a list of
//! a thousand numbers; a digest identifies the channels that it picked.
//!
//! | word | meaning |
//! |---|---|
//! | halo | the channels outside the core with the largest share of their writing in the residual channels that the core writes to (`analysis::halo`) |
//! | pruning | a selection, and the value that replaces the channels |

use serde::{Deserialize, Serialize};

use super::{Calibration, text_digest};

/// A score by which channels are ranked for pruning, each within its own layer. The scores are those of
/// [`super::ChannelScores`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// SCAR-LP: the loss proxy `LP`.
    LossProxy,
    /// SCAR-Prot: `LP · Protect`, which removes redundant channels of the halo first.
    Protected,
    /// SCAR-Conn: `LP · ((1 - Conn) + Conn · Protect)`.
    Connected,
    /// A random order.
    Random,
    /// `‖gate row‖₂ + ‖up row‖₂ + ‖down column‖₂`.
    Magnitude,
    /// `mean u²`.
    ActivationPower,
    /// Wanda, summed over a channel (arXiv:2306.11695): `Σ_j (|gate_ij| + |up_ij|) ‖x_j‖ + Σ_h |down_hi| ‖u_i‖`, see
    /// [`super::ChannelScores::wanda`].
    Wanda,
    /// `mean |u g|`.
    Taylor,
    /// FLAP's fluctuation (arXiv:2312.11983): `Var(u) · ‖down column‖₂²`.
    Fluctuation,
}

impl Ranking {
    pub const ALL: [Self; 9] = [
        Self::LossProxy,
        Self::Protected,
        Self::Connected,
        Self::Random,
        Self::Magnitude,
        Self::ActivationPower,
        Self::Wanda,
        Self::Taylor,
        Self::Fluctuation,
    ];

    /// Returns `true` for the three rankings of the paper, which never remove a supernode.
    pub fn keeps_the_core(self) -> bool {
        matches!(self, Self::LossProxy | Self::Protected | Self::Connected)
    }
}

/// The rule by which channels are picked in each layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Pick {
    /// The supernodes.
    Core,
    Halo,
    /// As many channels as the halo, with similar loss proxies, from outside halo and core.
    Matched,
    /// As many channels as the core, drawn from the others.
    Random,
    /// `⌊share · channels⌋` from the lowest on: one-shot structured pruning.
    Lowest {
        by: Ranking,
        share: f64,
    },
    /// `⌊share · channels⌋` from the highest on.
    Highest {
        by: Ranking,
        share: f64,
    },
}

impl Pick {
    /// Returns `true` if the rule depends on the seed.
    pub fn is_drawn(self) -> bool {
        matches!(self, Self::Matched | Self::Random | Self::Lowest { by: Ranking::Random, .. } | Self::Highest { by: Ranking::Random, .. })
    }

    /// Returns `true` if the rule needs the redundancy of halos, which takes gradients.
    pub fn needs_protection(self) -> bool {
        match self {
            Self::Lowest { by, .. } | Self::Highest { by, .. } => matches!(by, Ranking::Protected | Ranking::Connected),
            _ => false,
        }
    }
}

/// A rule that picks channels by the engine's scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    pub pick: Pick,
    /// Size of the core: a share of a layer's channels.
    pub rho: f64,
    /// Size of the halo: a share of the channels outside the core.
    pub eta: f64,
    /// `K`, the number of residual channels in the core's write support; if `None`, the authors' share of the width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<usize>,
    /// The only layer that is pruned; all if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// Seed of the random picks.
    pub seed: u64,
}

impl Selection {
    /// A selection with the paper's parameters, over all layers.
    pub fn new(pick: Pick) -> Self {
        Self { pick, rho: 0.01, eta: 0.1, support: None, layer: None, seed: 1 }
    }
}

/// The value that stands in place of a removed channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replacement {
    #[default]
    Zero,
    /// The channel's mean over the calibration text, at every token.
    Mean,
}

/// The removal of the channels that a rule picks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pruning {
    pub selection: Selection,
    #[serde(default)]
    pub replacement: Replacement,
}

/// The outcome of a [`Pruning`] in a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pruned {
    pub pruning: Pruning,
    /// The text that the channels were scored on.
    pub calibration: Calibration,
    /// Number of removed channels in each layer.
    pub by_layer: Vec<usize>,
    pub n_channels: usize,
    /// [`selection_digest`] of the removed channels. With other scores (another text, another device's rounding) the
    /// same rule may pick other channels.
    pub digest: String,
}

impl Pruned {
    pub fn of(pruning: Pruning, calibration: Calibration, channels: &[Vec<usize>]) -> Self {
        let by_layer = channels.iter().map(Vec::len).collect::<Vec<_>>();
        let digest = selection_digest(channels);
        Self { pruning, calibration, n_channels: by_layer.iter().sum(), by_layer, digest }
    }
}

/// First 16 hex digits of the SHA-256 over the pairs `layer:channel`, ascending, each followed by a comma.
pub fn selection_digest(channels: &[Vec<usize>]) -> String {
    let mut pairs = channels.iter().enumerate().flat_map(|(layer, of)| of.iter().map(move |channel| (layer, *channel))).collect::<Vec<_>>();
    pairs.sort_unstable();
    let text = pairs.iter().map(|(layer, channel)| format!("{layer}:{channel},")).collect::<String>();
    text_digest(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_of_the_pairs_and_not_of_their_order() {
        let found = selection_digest(&[vec![7, 5], vec![], vec![86]]);
        // printf 0:5,0:7,2:86, | sha256sum
        assert_eq!(found, "d37c6d3f02094f4a");
        assert_eq!(found, selection_digest(&[vec![5, 7], vec![], vec![86], vec![]]));
        assert_ne!(found, selection_digest(&[vec![5, 7], vec![86]]));
        // printf "" | sha256sum
        assert_eq!(selection_digest(&[vec![]]), "e3b0c44298fc1c14");
    }

    #[test]
    fn selection_is_short_and_comes_back() {
        let pick = Pick::Lowest { by: Ranking::Protected, share: 0.5 };
        let pruning = Pruning { selection: Selection { layer: Some(2), ..Selection::new(pick) }, replacement: Replacement::Mean };
        let json = serde_json::to_string(&pruning).unwrap();
        assert_eq!(
            json,
            r#"{"selection":{"pick":{"type":"lowest","by":"protected","share":0.5},"rho":0.01,"eta":0.1,"layer":2,"seed":1},"replacement":"mean"}"#
        );
        assert_eq!(serde_json::from_str::<Pruning>(&json).unwrap(), pruning);
    }

    #[test]
    fn pick_says_what_it_needs_and_no_more() {
        assert_eq!(serde_json::to_string(&Pick::Core).unwrap(), r#"{"type":"core"}"#);
        assert_eq!(serde_json::from_str::<Pick>(r#"{"type":"matched"}"#).unwrap(), Pick::Matched);
        let highest = Pick::Highest { by: Ranking::Wanda, share: 0.25 };
        assert_eq!(serde_json::from_str::<Pick>(&serde_json::to_string(&highest).unwrap()).unwrap(), highest);
        for json in [r#"{"type":"lowest","by":"wanda"}"#, r#"{"type":"highest","share":0.5}"#, r#"{"type":"all"}"#, r#"{"by":"wanda"}"#] {
            assert!(serde_json::from_str::<Pick>(json).is_err(), "{json}");
        }
    }
}
