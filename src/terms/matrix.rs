//! The names of the matrices in a decoder layer.

use serde::{Deserialize, Serialize};

/// A matrix of a decoder layer, under the name that transformers gives it in most families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matrix {
    /// `q_proj`, or GPT-2's fused `c_attn`.
    QProj,
    KProj,
    VProj,
    OProj,
    GateProj,
    /// `up_proj`, or the like of GPT-2's `c_fc`.
    UpProj,
    DownProj,
}

impl Matrix {
    pub const ALL: [Self; 7] = [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// The name in transformers.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }
}
