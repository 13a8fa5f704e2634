//! Descriptions of the rankings of channels.

use crate::terms::Ranking;

/// A ranking's criterion, for a newcomer.
pub fn ranking_hint(ranking: Ranking) -> &'static str {
    match ranking {
        Ranking::LossProxy => "By the loss proxy, LP. The supernodes are kept; they have the highest anyway.",
        Ranking::Protected => {
            "By LP · Protect. Protect is 1, but falls to 0.2 for channels of the halo that repeat the core: despite its name, they are removed first."
        }
        Ranking::Connected => {
            "By LP · ((1 − Conn) + Conn · Protect): like SCAR-Prot, but stronger for channels with more connection to the core."
        }
        Ranking::Random => "A random order by the seed.",
        Ranking::Magnitude => "By the sum of the norms of its gate row, up row and down column. No text is read.",
        Ranking::ActivationPower => "By the mean of u², its activation squared.",
        Ranking::Wanda => "By the sum of its weights' magnitudes times the norms of their inputs.",
        Ranking::Taylor => "By the mean of |u · ∂L/∂u|: LP without the square.",
        Ranking::Fluctuation => "By the variance of its activation times the squared norm of its down column.",
    }
}
