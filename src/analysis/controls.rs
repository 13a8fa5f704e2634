//! Controls for candidates and super weights: random scalars of the same matrix, and the model's largest scalars with
//! the candidates kept.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::model::Model;
use crate::model::edit::{N_LARGEST_HARSH, PAPER_SHARE};
use crate::terms::{Matrix, WeightCoord};

/// Draws a scalar of a layer's `down_proj` that is not in `but`.
pub fn random_scalar(model: &Model, layer: usize, but: &[WeightCoord], rng: &mut ChaCha8Rng) -> WeightCoord {
    let config = &model.config;
    loop {
        let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
        let at = WeightCoord::new(layer, below(config.hidden_size), below(config.intermediate_size.at(layer)));
        if !but.contains(&at) {
            return at;
        }
    }
}

/// The numbers of largest scalars to zero: the paper's share of this model's scalars, and many more.
pub fn largest_counts(num_parameters: u64) -> Vec<usize> {
    let share = (num_parameters as f64 * PAPER_SHARE).round().max(1.0) as usize;
    let mut counts = vec![share, N_LARGEST_HARSH.max(share)];
    counts.dedup();
    counts
}

/// Yields the places of `largest`, in order, except the super weights.
pub fn all_but<'a>(
    model: &'a Model,
    super_weights: &'a [WeightCoord],
    largest: &'a [(usize, Matrix, usize)],
) -> impl Iterator<Item = (usize, Matrix, usize)> {
    let is_super = |&(layer, matrix, flat): &(usize, Matrix, usize)| {
        let down_proj = &model.layers[layer].mlp.down_proj;
        matrix == Matrix::DownProj && super_weights.iter().any(|at| at.layer == layer && down_proj.flat_index(at.row, at.col) == flat)
    };
    largest.iter().copied().filter(move |place| !is_super(place))
}
