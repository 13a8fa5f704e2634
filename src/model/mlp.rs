//! The feed-forward block, with the only hook at which spikes are read and activations are edited.

use burn::tensor::Tensor;

use super::config::Activation;
use super::layers::Linear;
use super::probe::{Probe, Reader};
use crate::terms::Site;

/// A feed-forward block: `down_proj(u)` of a hidden vector `u` with `intermediate_size` channels.
#[derive(Debug, Clone)]
pub struct Mlp {
    pub hidden: Hidden,
    /// `weight[row, col]`: row a residual channel, col a feed-forward channel (GPT-2's `c_proj`).
    pub down_proj: Linear,
    pub activation: Activation,
}

/// The computation of the hidden vector `u`.
#[derive(Debug, Clone)]
pub enum Hidden {
    /// `u = act(gate_proj x) * up_proj x`.
    Gated { gate_proj: Linear, up_proj: Linear },
    /// `u = act(c_fc x)`.
    Plain { c_fc: Linear },
}

impl Mlp {
    /// Number of scalars of one channel: those that it reads with, its bias if any, and those that it writes with.
    pub fn channel_size(&self) -> usize {
        let [hidden_size, _] = self.down_proj.shape();
        let reads = |linear: &Linear| hidden_size + usize::from(linear.bias.is_some());
        hidden_size
            + match &self.hidden {
                Hidden::Gated { gate_proj, up_proj } => reads(gate_proj) + reads(up_proj),
                Hidden::Plain { c_fc } => reads(c_fc),
            }
    }

    /// # Shapes
    ///
    /// `[seq, hidden_size]` to the same.
    pub fn forward(&self, x: Tensor<2>, layer: usize, probe: &mut Probe) -> Tensor<2> {
        probe.see_input(layer, Reader::Mlp, &x);
        let u = match &self.hidden {
            Hidden::Gated { gate_proj, up_proj } => self.activation.gate(gate_proj.forward(x.clone()), up_proj.forward(x)),
            Hidden::Plain { c_fc } => self.activation.forward(c_fc.forward(x)),
        };
        let u = probe.visit(layer, Site::DownProjInput, u); // [seq, intermediate_size]
        let y = self.down_proj.forward(u.clone());
        let y = probe.edit_peaks(layer, &u, y);
        probe.visit(layer, Site::DownProjOutput, y) // [seq, hidden_size]
    }
}
