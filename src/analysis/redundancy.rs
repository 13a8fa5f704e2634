//! Redundancy of halo channels with the core, and the protection from pruning derived from it (arXiv:2604.23475; the
//! authors' `llm_experiments.py`). With `q_i = u_i dL/du_i` at each token, the same product as in the loss proxy:
//!
//! | word | formula |
//! |---|---|
//! | `ρ_js` | Pearson correlation of `q_j` and `q_s` over tokens, within ±0.9999 |
//! | `MI_js` | `-1/2 ln(1 - max(ρ_js, 0)²)`: mutual information of Gaussians, nats; only positive correlation is redundancy |
//! | `r_j` | mean of the five largest `MI_js` over `s` in the core |
//! | `Protect_j` | `floor + (1 - floor) (1 - rank_j^γ)`, `rank_j` that of `r_j` in the halo from 0 to 1, γ 8, floor 0.2; 1 outside the halo |
//!
//! The name `Protect` is misleading: a redundant channel gets *less* of it, and is removed first. Scores are
//! multiplied by it.
//!
//! Memory is the sum of three parts: 8 bytes for every pair of a core channel and a halo channel, at most
//! [`crate::terms::MAX_PAIRS`] pairs (512 MiB); the products of one sequence, 4 bytes for each of 256 tokens and each channel of a
//! core or halo; and the memory of a backward pass ([`super::backward`]; here a layer keeps up to four more tensors
//! of `intermediate_size` scalars per token).

use burn::tensor::{Int, Tensor, TensorData};

use super::backward::{Limits, backward};
use super::concentration::average_ranks;
use super::error::AnalysisError;
use super::halo::LayerHalo;
use crate::job::control::Control;
use crate::model::Model;
use crate::model::probe::{Keep, Kept, Probe};
use crate::tensors::{DeviceError, Transaction};
use crate::terms::Site;

/// The authors' estimate uses 8 texts of up to 256 tokens.
const N_SEQUENCES: usize = 8;
const MAX_LENGTH: usize = 256;
/// Bound on correlations, because the mutual information is infinite at ±1.
const LARGEST_CORRELATION: f64 = 0.9999;
const N_LARGEST: usize = 5;
const GAMMA: f64 = 8.0;
const FLOOR: f64 = 0.2;

/// Computes `r` of each layer's halo, in the halo's order; `None` for layers without a halo.
///
/// # Errors
///
/// A failing device, a stop, or a product that is not finite.
pub async fn redundancies(
    model: &Model,
    halos: &[Option<&LayerHalo>],
    sequences: &[Vec<u32>],
    control: &Control,
) -> Result<Vec<Option<Vec<f32>>>, AnalysisError> {
    let moments = |halo: &LayerHalo| Moments::new(halo.core.len(), halo.halo.len());
    let mut moments = halos.iter().map(|halo| halo.map(moments)).collect::<Vec<_>>();
    let total = sequences.len().min(N_SEQUENCES);
    for (done, ids) in sequences.iter().take(total).enumerate() {
        control.progress("halo_redundancy", done as f64, total as f64, "sequences");
        control.checkpoint().await?;
        let products = products(model, halos, &ids[..ids.len().min(MAX_LENGTH)], Limits::of(&model.config)).await?;
        if products.iter().flatten().any(|product| !product.is_finite()) {
            return Err(DeviceError::NonFinite { what: "a channel's product with its gradient" }.into());
        }
        for (moments, products) in moments.iter_mut().flatten().zip(&products) {
            moments.add(products);
            control.checkpoint().await?;
        }
    }
    Ok(moments.iter().map(|moments| moments.as_ref().map(Moments::redundancies)).collect())
}

/// Computes `q`, `[tokens, |core| + |halo|]`, of each layer with a halo, in the layers' order, with the core's
/// channels first. No other channel is read.
///
/// # Errors
///
/// A failing device.
pub async fn products(model: &Model, halos: &[Option<&LayerHalo>], ids: &[u32], limits: Limits) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let mut found = Vec::new();
    let probe = || Probe::empty().with_leaves(Site::DownProjInput).capturing(&[Site::DownProjInput], Keep::Everything);
    backward(model, ids, limits, probe, |probe, grads| {
        for ((layer, leaf), captured) in probe.leaves.into_iter().zip(probe.captured) {
            let (Some(halo), Kept::Everything(u)) = (halos[layer], captured.kept) else { continue };
            let of_layer = |grad| (layer, selected(u.without_autodiff() * grad, halo));
            found.extend(leaf.grad_remove(grads).map(of_layer));
        }
    });
    found.sort_by_key(|(layer, _)| *layer);
    let read = found.into_iter().fold(Transaction::default(), |transaction, (_, products)| transaction.register(products));
    let read = read.execute_async().await?;
    Ok(read.into_iter().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()).collect())
}

/// Selects the columns of the core, then those of the halo.
fn selected(x: Tensor<2>, halo: &LayerHalo) -> Tensor<2> {
    let wanted = halo.core.iter().chain(&halo.halo).map(|channel| *channel as i32).collect::<Vec<_>>();
    let n = wanted.len();
    let wanted = Tensor::<1, Int>::from_data(TensorData::new(wanted, [n]), &x.device());
    x.select(1, wanted)
}

/// Running sums for the correlations of one layer, in f64.
#[derive(Debug)]
struct Moments {
    n_core: usize,
    n: f64,
    /// `Σ q` of each channel of the core, then of the halo; `squares` is `Σ q²` in the same order.
    sums: Vec<f64>,
    squares: Vec<f64>,
    /// `Σ q_j q_s`, `[|halo|, |core|]`.
    cross: Vec<f64>,
}

impl Moments {
    fn new(n_core: usize, n_halo: usize) -> Self {
        let n = n_core + n_halo;
        Self { n_core, n: 0.0, sums: vec![0.0; n], squares: vec![0.0; n], cross: vec![0.0; n_core * n_halo] }
    }

    /// Adds the products of some tokens, `[tokens, |core| + |halo|]`.
    fn add(&mut self, products: &[f32]) {
        for token in products.chunks_exact(self.sums.len().max(1)) {
            let token = token.iter().copied().map(f64::from).collect::<Vec<_>>();
            self.n += 1.0;
            for ((sum, square), q) in self.sums.iter_mut().zip(&mut self.squares).zip(&token) {
                *sum += q;
                *square += q * q;
            }
            let (core, halo) = token.split_at(self.n_core);
            for (row, q) in self.cross.chunks_exact_mut(self.n_core.max(1)).zip(halo) {
                row.iter_mut().zip(core).for_each(|(cross, s)| *cross += q * s);
            }
        }
    }

    /// Returns `r` of each halo channel. A channel that never changes shares no information with another.
    fn redundancies(&self) -> Vec<f32> {
        let n = self.n.max(1.0);
        let variance = |at: usize| self.squares[at] - self.sums[at] * self.sums[at] / n;
        let of_row = |(halo, row): (usize, &[f64])| {
            let j = self.n_core + halo;
            let information = |(s, cross): (usize, &f64)| {
                let scale = (variance(j) * variance(s)).sqrt();
                let correlation = if scale > 0.0 { (cross - self.sums[j] * self.sums[s] / n) / scale } else { 0.0 };
                let positive = correlation.clamp(0.0, LARGEST_CORRELATION);
                -0.5 * (1.0 - positive * positive).ln()
            };
            let mut informations = row.iter().enumerate().map(information).collect::<Vec<_>>();
            informations.sort_by(|a, b| b.total_cmp(a));
            informations.truncate(N_LARGEST);
            (informations.iter().sum::<f64>() / informations.len().max(1) as f64) as f32
        };
        self.cross.chunks_exact(self.n_core.max(1)).enumerate().map(of_row).collect()
    }
}

/// Computes `Protect` of all of a layer's channels from `r` of its halo. Equal values share the mean of their ranks,
/// so that the result is independent of the channels' order.
pub fn protections(n_channels: usize, halo: &[usize], redundancy: &[f32]) -> Vec<f32> {
    let mut protect = vec![1.0; n_channels];
    let steps = halo.len().saturating_sub(1).max(1) as f64;
    // Ranks count from 1 for the largest.
    for (channel, from_largest) in halo.iter().zip(average_ranks(redundancy)) {
        let rank = (halo.len() as f64 - from_largest) / steps;
        protect[*channel] = (FLOOR + (1.0 - FLOOR) * (1.0 - rank.powf(GAMMA))) as f32;
    }
    protect
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_the_same_way_is_redundant() {
        // There is one core channel; the halo channels follow it, oppose it, ignore it, and are constant.
        let mut moments = Moments::new(1, 4);
        let tokens = [[1.0, 2.0, -1.0, 1.0, 5.0], [2.0, 4.0, -2.0, 0.0, 5.0]];
        let more = [[3.0, 6.0, -3.0, 1.0, 5.0], [2.0, 4.0, -2.0, 2.0, 5.0]];
        moments.add(&tokens.concat());
        moments.add(&more.concat());
        let found = moments.redundancies();
        let largest = -0.5 * (1.0 - LARGEST_CORRELATION * LARGEST_CORRELATION).ln();
        assert!((f64::from(found[0]) - largest).abs() < 1e-6, "{found:?}");
        assert_eq!(found[1..], [0.0; 3]);
    }

    #[test]
    fn five_most_alike_of_the_core_count() {
        // A correlation of 0.8 with one of two core channels gives 1/2 of -1/2 ln(0.36).
        let mut moments = Moments::new(2, 1);
        let (core, other, halo) = ([1.0, 2.0, 3.0, 4.0], [1.0, -1.0, -1.0, 1.0], [1.0, 3.0, 2.0, 4.0]);
        let tokens = (0..4).flat_map(|t| [core[t], other[t], halo[t]]).collect::<Vec<f32>>();
        moments.add(&tokens);
        let expected = 0.5 * -0.5 * 0.36_f64.ln();
        assert!((f64::from(moments.redundancies()[0]) - expected).abs() < 1e-6);
        // The two of seven core channels that are not correlated are left out.
        let mut moments = Moments::new(7, 1);
        for t in 0..4 {
            let silent = [other[t], other[t]];
            moments.add(&[&[core[t]; 5][..], &silent, &[halo[t]]].concat());
        }
        assert!((f64::from(moments.redundancies()[0]) - 2.0 * expected).abs() < 1e-6);
    }

    #[test]
    fn redundant_channels_are_protected_least() {
        let protect = protections(6, &[4, 1, 2], &[0.1, 0.9, 0.5]);
        let middle = 0.2 + 0.8 * (1.0 - 0.5_f32.powi(8));
        assert!((protect[2] - middle).abs() < 1e-6, "{protect:?}");
        assert_eq!((protect[1], protect[4], [protect[0], protect[3], protect[5]]), (0.2, 1.0, [1.0; 3]));
        // Equal values get the mean of their ranks, and a single channel is not compared.
        let tied = protections(3, &[0, 1, 2], &[0.3, 0.3, 0.0]);
        let shared = 0.2 + 0.8 * (1.0 - 0.75_f32.powi(8));
        assert!((tied[0] - shared).abs() < 1e-6 && tied[0] == tied[1] && tied[2] == 1.0, "{tied:?}");
        assert_eq!(protections(2, &[1], &[7.0]), [1.0, 1.0]);
    }
}
