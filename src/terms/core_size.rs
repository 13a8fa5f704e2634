//! The sizes of a layer's core and halo, and of what their redundancy takes.

/// The most pairs of a core's and a halo's channels whose redundancy is measured at once, over all layers: their sums take
/// 512 MiB.
pub const MAX_PAIRS: u64 = 1 << 26;

/// The number of channels in a core: `max(1, ⌊ρ m⌋)`, as in the authors' code.
pub fn core_size(rho: f64, n_channels: usize) -> usize {
    ((rho * n_channels as f64) as usize).max(1).min(n_channels)
}

/// The number of channels in a halo, out of `n_others` outside the core.
pub fn halo_size(eta: f64, n_others: usize) -> usize {
    ((eta * n_others as f64) as usize).max(1).min(n_others)
}

/// The number of pairs in a layer of `n_channels`; [`MAX_PAIRS`] limits their sum over layers.
pub fn n_pairs(rho: f64, eta: f64, n_channels: usize) -> u64 {
    let n_core = core_size(rho, n_channels);
    n_core as u64 * halo_size(eta, n_channels.saturating_sub(n_core)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::RHOS;

    #[test]
    fn core_has_a_share_of_the_channels_and_at_least_one() {
        assert_eq!([1536, 448, 199, 64, 1].map(|n| core_size(0.01, n)), [15, 4, 1, 1, 1]);
        assert_eq!(RHOS.map(|rho| core_size(rho, 1536)), [7, 15, 30, 76]);
        assert_eq!(core_size(0.05, 0), 0);
    }

    #[test]
    fn pairs_are_of_a_core_and_its_halo() {
        // The core has 143 of 14336 channels, and the halo a tenth of the other 14193.
        assert_eq!(n_pairs(0.01, 0.1, 14336), 143 * 1419);
        assert_eq!((n_pairs(0.5, 1.0, 10), n_pairs(0.01, 0.01, 10), n_pairs(0.5, 1.0, 1)), (25, 1, 0));
        // This count does not fit into 32 bits.
        assert_eq!(n_pairs(0.5, 1.0, 1 << 17), 1 << 32);
    }
}
