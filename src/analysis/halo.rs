//! The core of a layer, its write support, and the other channels that write there (arXiv:2604.23475; the authors'
//! `llm_experiments.py`). With `v_i` the column of `down_proj` that channel `i` writes with:
//!
//! | word | formula |
//! |---|---|
//! | core `M` | the top ρ of the layer's channels by loss proxy |
//! | write support `S` | the `K` residual channels `h` of largest `a[h] = Σ_{s∈M} |v_s[h]|` |
//! | `Conn_i` | `Σ_{h∈S} |v_i[h]| / ‖v_i‖₁`: the share of a channel's writing that lands in `S`; by chance `K / hidden_size` |
//! | halo | the top η of the other channels by `Conn` |
//!
//! The authors' `K` is 256 of 4096 residual channels; here it is scaled to the width ([`default_support`]).
//! [`super::redundancy`] measures to what degree a halo channel repeats the core.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::channel_weights::BLOCK;
use super::concentration::ranked;
use super::error::AnalysisError;
use crate::model::Model;
use crate::model::layers::{Layout, Linear};
use crate::terms::halo_size;

/// Number of quantiles by loss proxy, within which channels are matched.
const N_BINS: usize = 10;

/// One layer's channels around its core.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerHalo {
    /// Channels of the core by loss proxy, largest first.
    pub core: Vec<usize>,
    /// Residual channels, in descending order of the core's writing.
    pub support: Vec<usize>,
    /// `Conn` of every channel, including the core.
    pub connections: Vec<f32>,
    /// Channels of the halo by `Conn`, largest first.
    pub halo: Vec<usize>,
}

/// The default `K` for a model of this width: the authors' share of it.
pub fn default_support(hidden_size: usize) -> usize {
    (hidden_size * 256 / 4096).max(1)
}

/// Finds the support and halo of a core from the layer's `down_proj`, which is read once.
///
/// # Errors
///
/// A failing device.
pub async fn layer_halo(model: &Model, layer: usize, core: Vec<usize>, n_support: usize, eta: f64) -> Result<LayerHalo, AnalysisError> {
    Ok(around(&writes(model, layer).await?, model.config.intermediate_size.at(layer), core, n_support, eta))
}

/// Finds the support and halo of a core from a matrix already read by [`writes`].
pub fn around(writes: &[f32], n_channels: usize, core: Vec<usize>, n_support: usize, eta: f64) -> LayerHalo {
    let support = write_support(writes, n_channels, &core, n_support);
    let connections = connections(writes, n_channels, &support);
    let halo = halo(&connections, &core, eta);
    LayerHalo { core, support, connections, halo }
}

/// Reads `down_proj.weight` as `[hidden_size, intermediate_size]` row-major, independent of the checkpoint's layout.
/// It is read in blocks, so that a packed matrix is never completely unpacked.
///
/// # Errors
///
/// A failing device.
pub async fn writes(model: &Model, layer: usize) -> Result<Vec<f32>, AnalysisError> {
    read(&model.layers[layer].mlp.down_proj, BLOCK).await
}

/// Reads in blocks of whole stored rows, of at most `block` scalars or one row.
async fn read(down_proj: &Linear, block: usize) -> Result<Vec<f32>, AnalysisError> {
    let [rows, cols] = down_proj.weight.dims();
    let step = (block / cols.max(1)).max(1);
    let mut stored = Vec::with_capacity(rows * cols);
    for first in (0..rows).step_by(step) {
        let data = down_proj.weight.block(first..(first + step).min(rows), 0..cols).into_data_async().await?;
        stored.extend(data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default());
    }
    let is_whole = stored.len() == rows * cols;
    Ok(match down_proj.layout {
        Layout::InOut if is_whole => (0..cols).flat_map(|col| stored.iter().skip(col).step_by(cols).copied()).collect(),
        _ => stored,
    })
}

/// Finds `S`: the `k` rows in which the core's entries have the largest sum. In a tie the lower row comes first.
///
/// `writes` is `[rows, n_channels]` row-major; only magnitudes count, here and in [`connections`].
pub fn write_support(writes: &[f32], n_channels: usize, core: &[usize], k: usize) -> Vec<usize> {
    let mass = |row: &[f32]| core.iter().map(|channel| f64::from(row[*channel]).abs()).sum::<f64>() as f32;
    let masses = writes.chunks_exact(n_channels.max(1)).map(mass).collect::<Vec<_>>();
    let mut support = ranked(&masses);
    support.truncate(k);
    support
}

/// Returns `Conn` of every channel, from 0 to 1; 0 for a channel that writes nothing.
pub fn connections(writes: &[f32], n_channels: usize, support: &[usize]) -> Vec<f32> {
    let (mut all, mut landed) = (vec![0.0_f64; n_channels], vec![0.0_f64; n_channels]);
    let mut is_support = vec![false; writes.len() / n_channels.max(1)];
    support.iter().for_each(|row| is_support[*row] = true);
    for (row, is_support) in writes.chunks_exact(n_channels.max(1)).zip(is_support) {
        for (channel, write) in row.iter().map(|write| f64::from(*write).abs()).enumerate() {
            all[channel] += write;
            if is_support {
                landed[channel] += write;
            }
        }
    }
    // As in the authors' code, the small term prevents division by zero.
    landed.iter().zip(all).map(|(landed, all)| (landed / (all + 1e-8)).clamp(0.0, 1.0) as f32).collect()
}

/// Picks the `max(1, ⌊η (m - |M|)⌋)` channels of largest `Conn` outside the core. In a tie the lower channel comes
/// first.
pub fn halo(connections: &[f32], core: &[usize], eta: f64) -> Vec<usize> {
    let is_core = marked(core, connections.len());
    let mut others = ranked(connections);
    others.retain(|channel| !is_core[*channel]);
    others.truncate(halo_size(eta, others.len()));
    others
}

/// A control for the core: draws the same number of channels from outside it.
pub fn random_core(n_channels: usize, core: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let is_core = marked(core, n_channels);
    let mut others = (0..n_channels).filter(|channel| !is_core[*channel]).collect::<Vec<_>>();
    let n = core.len().min(others.len());
    (0..n).map(|_| others.swap_remove(below(others.len(), rng))).collect()
}

/// A control for the halo: matches each of its channels with a channel of similar loss proxy outside halo and core.
///
/// As in the authors' code, the match is drawn from the same tenth by loss proxy. If that is used up, the nearest in
/// rank is taken.
pub fn matched(loss_proxy: &[f32], core: &[usize], halo: &[usize], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let (is_core, is_halo) = (marked(core, loss_proxy.len()), marked(halo, loss_proxy.len()));
    let mut order = ranked(loss_proxy);
    order.retain(|channel| !is_core[*channel]);
    let bin = |rank: usize| rank * N_BINS / order.len().max(1);
    let mut free = (0..order.len()).filter(|rank| !is_halo[order[*rank]]).collect::<Vec<_>>();
    let mut found = Vec::new();
    for rank in (0..order.len()).filter(|rank| is_halo[order[*rank]]) {
        let alike = (0..free.len()).filter(|at| bin(free[*at]) == bin(rank)).collect::<Vec<_>>();
        let at = match alike.len() {
            0 => (0..free.len()).min_by_key(|at| free[*at].abs_diff(rank)),
            n => Some(alike[below(n, rng)]),
        };
        if let Some(at) = at {
            found.push(order[free.remove(at)]);
        }
    }
    found
}

/// Random numbers for one layer, which do not depend on draws for other layers.
pub fn layer_rng(seed: u64, layer: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(layer as u64);
    rng
}

pub(super) fn below(n: usize, rng: &mut ChaCha8Rng) -> usize {
    (rng.next_u64() % n as u64) as usize
}

/// Returns one flag per channel: `true` for the given channels.
pub(super) fn marked(channels: &[usize], n_channels: usize) -> Vec<bool> {
    let mut flags = vec![false; n_channels];
    channels.iter().for_each(|channel| flags[*channel] = true);
    flags
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::tensors::Weight;

    /// Four residual channels, five feed-forward channels.
    const WRITES: [f32; 20] = [
        3.0, 0.0, -1.0, 1.0, 0.0, //
        0.0, 0.0, 1.0, 2.0, 0.0, //
        1.0, 4.0, 1.0, 0.0, 0.0, //
        -4.0, 0.0, 1.0, 1.0, 0.0,
    ];

    #[test]
    fn matrix_is_the_same_in_any_layout_and_blocks() {
        let weight = Tensor::<1>::from_data(WRITES, &Device::flex()).reshape([4, 5]);
        for (layout, weight) in [(Layout::OutIn, weight.clone()), (Layout::InOut, weight.transpose())] {
            let down_proj = Linear { weight: Weight::F32(weight), bias: None, layout, input_rounding: None };
            // Blocks of one row, of two of four or five rows, and of the whole matrix.
            for block in [1, 10, 100] {
                assert_eq!(pollster::block_on(read(&down_proj, block)).unwrap(), WRITES, "{layout:?} {block}");
            }
        }
    }

    #[test]
    fn support_is_where_the_core_writes_most() {
        assert_eq!(write_support(&WRITES, 5, &[0], 2), [3, 0]);
        // The sums of the rows are 3, 0, 5, 4.
        assert_eq!(write_support(&WRITES, 5, &[0, 1], 2), [2, 3]);
        // All rows are equal, so the lower ones win.
        assert_eq!(write_support(&WRITES, 5, &[2], 3), [0, 1, 2]);
        assert_eq!(write_support(&WRITES, 5, &[0], 9).len(), 4);
        assert_eq!([576, 768, 960, 1024, 2048, 4096, 8].map(default_support), [36, 48, 60, 64, 128, 256, 1]);
    }

    #[test]
    fn connection_is_the_share_of_writing_that_lands_there() {
        assert_eq!(connections(&WRITES, 5, &[3, 0]), [0.875, 0.0, 0.5, 0.5, 0.0]);
        assert_eq!(connections(&WRITES, 5, &[0, 1, 2, 3])[..4], [1.0; 4]);
        assert_eq!(connections(&WRITES, 5, &[]), [0.0; 5]);
    }

    #[test]
    fn halo_is_next_to_the_core_and_not_in_it() {
        let connections = [0.875, 0.0, 0.5, 0.5, 0.0];
        // In a tie the lower channel comes first.
        assert_eq!(halo(&connections, &[0], 0.5), [2, 3]);
        assert_eq!(halo(&connections, &[0], 0.25), [2]);
        assert_eq!(halo(&connections, &[2], 0.1), [0], "never empty");
        assert_eq!(halo(&connections, &[2, 0], 1.0), [3, 1, 4]);
        assert!(halo(&[1.0], &[0], 0.5).is_empty(), "but where there is nothing else");
    }

    #[test]
    fn controls_avoid_what_they_are_controls_for() {
        let n = 100;
        let loss_proxy = (0..n).map(|channel| 1.0 / (1 + channel) as f32).collect::<Vec<_>>();
        let core = (0..5).collect::<Vec<_>>();
        let halo = (10..20).collect::<Vec<_>>();
        for seed in 0..20 {
            let random = random_core(n, &core, &mut layer_rng(seed, 0));
            let matched = matched(&loss_proxy, &core, &halo, &mut layer_rng(seed, 0));
            assert_eq!((random.len(), matched.len()), (5, 10));
            for found in [&random, &matched] {
                let mut sorted = found.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), found.len());
                assert!(found.iter().all(|channel| *channel >= 5));
            }
            assert!(matched.iter().all(|channel| !halo.contains(channel)));
            // The core takes five channels, so two tenths of the other 95 begin at channel 5; matches that do not fit
            // are next to it.
            assert!(matched.iter().all(|channel| *channel < 25), "{matched:?}");
        }
        assert_eq!(random_core(n, &core, &mut layer_rng(3, 1)), random_core(n, &core, &mut layer_rng(3, 1)));
        assert_ne!(random_core(n, &core, &mut layer_rng(3, 1)), random_core(n, &core, &mut layer_rng(3, 2)));
        // No channel is left to match.
        assert!(super::matched(&[1.0, 2.0, 3.0], &[2], &[0, 1], &mut layer_rng(1, 0)).is_empty());
    }
}
