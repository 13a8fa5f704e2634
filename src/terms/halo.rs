//! The surroundings of a core, as a report; the formulas are those of `analysis::halo` and `analysis::redundancy`.

use serde::{Deserialize, Serialize};

use super::{Calibration, ModelRef};

/// The core of a layer, the residual channels that it writes to, and the other channels that write to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSurroundings {
    pub layer: usize,
    /// Channels of the core by loss proxy, largest first.
    pub core: Vec<usize>,
    /// `S`: residual channels, in descending order of the core's writing.
    pub support: Vec<usize>,
    /// Channels of the halo by `Conn`, largest first.
    pub halo: Vec<usize>,
    /// `Conn` of every channel.
    pub connections: Vec<f32>,
    /// `r` of the halo's channels, in the halo's order, nats; empty unless requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redundancy: Vec<f32>,
    /// `Protect` of the halo's channels, in the halo's order; empty unless requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<f32>,
    /// Every channel's unit write direction `v_i / ‖v_i‖₂`, projected to the plane that the core's unit directions
    /// share most (the first two right singular vectors of the core's matrix): within the unit circle, and near 0 for
    /// a channel that writes elsewhere.
    pub plane: Vec<[f32; 2]>,
}

/// [`LayerSurroundings`] of some layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SurroundingsReport {
    pub model: ModelRef,
    pub calibration: Calibration,
    /// Size of the core: a share of a layer's channels.
    pub rho: f64,
    /// Size of the halo: a share of the channels outside the core.
    pub eta: f64,
    /// `K`: number of residual channels in the support. For a random channel `Conn` is about `K / hidden_size`.
    pub n_support: usize,
    pub layers: Vec<LayerSurroundings>,
}
