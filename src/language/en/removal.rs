//! Descriptions of a removal of channels.

use crate::tables::names::ranking_name;
use crate::terms::{Pick, Pruning, Ranking, Replacement, Selection};
use crate::words::fine_percent;

/// The removed channels and their replacement: "the 20 % lowest by SCAR-Prot in every layer, replaced by zero".
/// Parameters that differ from the paper's are named if they matter.
pub fn pruning(pruning: &Pruning) -> String {
    let selection = &pruning.selection;
    let place = selection.layer.map_or_else(|| "every layer".into(), |layer| format!("layer {layer}"));
    let replacement = match pruning.replacement {
        Replacement::Zero => "zero",
        Replacement::Mean => "their means",
    };
    format!("{} in {place}{}, replaced by {replacement}", which(selection), parameters(selection))
}

fn which(selection: &Selection) -> String {
    let Selection { pick, rho, eta, seed, .. } = *selection;
    match pick {
        Pick::Core => format!("the supernodes (the {} highest by loss proxy)", percent(rho)),
        Pick::Halo => format!("the halo (the {} of the other channels with the most connection to the core)", percent(eta)),
        Pick::Matched => format!("as many as the halo, with similar loss proxies, from elsewhere (seed {seed})"),
        Pick::Random => format!("as many as the supernodes, drawn from the others (seed {seed})"),
        Pick::Lowest { by: Ranking::Random, share } | Pick::Highest { by: Ranking::Random, share } => {
            format!("{} drawn at random (seed {seed})", percent(share))
        }
        Pick::Lowest { by, share } => format!("the {} lowest by {}", percent(share), ranking_name(by)),
        Pick::Highest { by, share } => format!("the {} highest by {}", percent(share), ranking_name(by)),
    }
}

/// " (core 2 %, halo 20 %, write support 36)", or nothing.
fn parameters(selection: &Selection) -> String {
    let Selection { pick, rho, eta, support, .. } = *selection;
    let usual = Selection::new(pick);
    let by_halo = match pick {
        Pick::Halo | Pick::Matched => true,
        Pick::Lowest { by, .. } | Pick::Highest { by, .. } => matches!(by, Ranking::Protected | Ranking::Connected),
        Pick::Core | Pick::Random => false,
    };
    // The lowest picks keep the core if the ranking is one of the paper's.
    let by_core = by_halo || matches!(pick, Pick::Random) || matches!(pick, Pick::Lowest { by, .. } if by.keeps_the_core());
    let named = [
        (by_core && rho != usual.rho).then(|| format!("core {}", percent(rho))),
        (by_halo && eta != usual.eta && pick != Pick::Halo).then(|| format!("halo {}", percent(eta))),
        support.filter(|_| by_halo).map(|support| format!("write support {support}")),
    ];
    let named = named.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if named.is_empty() { named } else { format!(" ({named})") }
}

fn percent(share: f64) -> String {
    fine_percent(share as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pick: Pick, change: fn(&mut Pruning)) -> String {
        let mut pruning = Pruning { selection: Selection::new(pick), replacement: Replacement::Zero };
        change(&mut pruning);
        super::pruning(&pruning)
    }

    #[test]
    fn every_ranking_has_its_name() {
        let lowest = |by| words(Pick::Lowest { by, share: 0.2 }, |_| ());
        assert_eq!(lowest(Ranking::Protected), "the 20 % lowest by SCAR-Prot in every layer, replaced by zero");
        assert_eq!(lowest(Ranking::Random), "20 % drawn at random (seed 1) in every layer, replaced by zero");
        assert_eq!(lowest(Ranking::Magnitude), "the 20 % lowest by weight norms in every layer, replaced by zero");
        assert_eq!(lowest(Ranking::Fluctuation), "the 20 % lowest by FLAP's fluctuation in every layer, replaced by zero");
    }

    #[test]
    fn every_pick_has_its_words() {
        assert_eq!(
            words(Pick::Core, |pruning| pruning.selection.rho = 0.005),
            "the supernodes (the 0.5 % highest by loss proxy) in every layer, replaced by zero"
        );
        assert_eq!(
            words(Pick::Halo, |pruning| pruning.selection.layer = Some(2)),
            "the halo (the 10 % of the other channels with the most connection to the core) in layer 2, replaced by zero"
        );
        assert_eq!(
            words(Pick::Matched, |pruning| pruning.replacement = Replacement::Mean),
            "as many as the halo, with similar loss proxies, from elsewhere (seed 1) in every layer, replaced by their means"
        );
        assert_eq!(
            words(Pick::Random, |pruning| pruning.selection.seed = 7),
            "as many as the supernodes, drawn from the others (seed 7) in every layer, replaced by zero"
        );
        assert_eq!(
            words(Pick::Highest { by: Ranking::Wanda, share: 0.125 }, |_| ()),
            "the 12.5 % highest by Wanda in every layer, replaced by zero"
        );
    }

    #[test]
    fn parameters_are_named_where_they_are_others_and_play_a_part() {
        let change = |pruning: &mut Pruning| {
            (pruning.selection.rho, pruning.selection.eta, pruning.selection.support) = (0.02, 0.25, Some(36));
        };
        let lowest = |by| words(Pick::Lowest { by, share: 0.5 }, change);
        assert_eq!(
            lowest(Ranking::Connected),
            "the 50 % lowest by SCAR-Conn in every layer (core 2 %, halo 25 %, write support 36), replaced by zero"
        );
        assert_eq!(lowest(Ranking::LossProxy), "the 50 % lowest by SCAR-LP in every layer (core 2 %), replaced by zero");
        assert_eq!(lowest(Ranking::Taylor), "the 50 % lowest by Taylor in every layer, replaced by zero");
        assert_eq!(
            words(Pick::Highest { by: Ranking::LossProxy, share: 0.5 }, change),
            "the 50 % highest by SCAR-LP in every layer, replaced by zero"
        );
        assert!(words(Pick::Halo, change).ends_with("the core) in every layer (core 2 %, write support 36), replaced by zero"));
    }
}
