//! Rotary position embeddings, as in `transformers.models.llama.modeling_llama`.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

use super::config::{Rope, RopeScaling};
use crate::tensors;

/// `inv_freq[i] = theta^(-2i / dim)`, scaled by the configuration. In f32, as in transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryEmbedding {
    inv_freq: Vec<f32>,
    /// Factor of cosines and sines.
    magnitude: f32,
}

/// `cos` and signed `sin` of a run of positions, each `[1, seq, dim]`, made once per forward pass.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Tensor<3>,
    /// `[-sin, sin]`, so that one swap of the halves replaces transformers' `rotate_half`.
    signed_sin: Tensor<3>,
}

impl RotaryEmbedding {
    pub fn new(rope: &Rope) -> Self {
        let inv_freq = (0..rope.dim / 2).map(|i| {
            let exponent = 2.0 * i as f64 / rope.dim as f64;
            scaled(1.0 / rope.theta.powf(exponent), i, &rope.scaling) as f32
        });
        let magnitude = if let RopeScaling::Each { magnitude, .. } = &rope.scaling { *magnitude as f32 } else { 1.0 };
        Self { inv_freq: inv_freq.collect(), magnitude }
    }

    /// Rotated dimensions of a head.
    pub fn dim(&self) -> usize {
        2 * self.inv_freq.len()
    }

    /// `(cos, sin)` of one position's angles, for each pair of dimensions.
    pub fn angles(&self, position: usize) -> impl Iterator<Item = (f32, f32)> + '_ {
        let angles = self.inv_freq.iter().map(move |inv_freq| position as f32 * inv_freq);
        angles.map(|angle| (self.magnitude * angle.cos(), self.magnitude * angle.sin()))
    }

    /// Angles of the positions `start .. start + seq`.
    pub fn rotation(&self, start: usize, seq: usize, device: &Device) -> Rotation {
        let dim = self.dim();
        let (mut cos, mut signed_sin) = (Vec::with_capacity(seq * dim), Vec::with_capacity(seq * dim));
        for position in start..start + seq {
            let angles = self.angles(position).collect::<Vec<_>>();
            for sign in [-1.0, 1.0] {
                cos.extend(angles.iter().map(|(cos, _)| cos));
                signed_sin.extend(angles.iter().map(|(_, sin)| sign * sin));
            }
        }
        let tensor = |values| Tensor::from_data(TensorData::new(values, [1, seq, dim]), device);
        Rotation { cos: tensor(cos), signed_sin: tensor(signed_sin) }
    }
}

impl Rotation {
    /// Rotates the first `dim` dimensions of each head.
    ///
    /// # Shapes
    ///
    /// `[heads, seq, head_dim]` to the same.
    pub fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        tensors::rotate(x, &self.cos, &self.signed_sin)
    }
}

/// The inverse frequency `i`, scaled (`modeling_rope_utils.py` of transformers).
fn scaled(inv_freq: f64, i: usize, scaling: &RopeScaling) -> f64 {
    match *scaling {
        RopeScaling::None => inv_freq,
        RopeScaling::Linear { factor } => inv_freq / factor,
        RopeScaling::Each { ref factors, .. } => inv_freq / factors[i],
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings: original } => {
            let wavelength = TAU / inv_freq;
            if wavelength < original / high_freq_factor {
                inv_freq
            } else if wavelength > original / low_freq_factor {
                inv_freq / factor
            } else {
                let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * inv_freq / factor + smooth * inv_freq
            }
        }
    }
}
