//! The surroundings of a core, as a report; the formulas are those of `analysis::halo` and `analysis::redundancy`.

use serde::{Deserialize, Serialize};

use super::{Calibration, ModelRef};

/// The core of a layer, the residual channels that it writes to, and the channels that write there too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSurroundings {
    pub layer: usize,
    /// Channels of the core by loss proxy, largest first.
    pub core: Vec<usize>,
    /// `S`: residual channels, starting with those that the core writes to most.
    pub support: Vec<usize>,
    /// Channels of the halo by `Conn`, largest first.
    pub halo: Vec<usize>,
    /// `Conn` of every channel.
    pub connections: Vec<f32>,
    /// `r` of the halo, in its order, nats; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redundancy: Vec<f32>,
    /// `Protect` of the halo, in its order; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<f32>,
    /// Every channel's unit write direction `v_i / ‖v_i‖₂` in the plane of the two directions that the core's own unit
    /// directions share most (the first two right singular vectors of the core's matrix): within the unit circle, and near
    /// 0 for a channel that writes elsewhere.
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
    /// `K`: number of residual channels in the support. `Conn` would be `K / hidden_size` by chance.
    pub n_support: usize,
    pub layers: Vec<LayerSurroundings>,
}
