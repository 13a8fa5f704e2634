//! When something that was pulled is called critical, and what a confirmation says of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ArmKind, ConfirmReport, EditTarget, WeightCoord};

/// A super weight raises the held-out loss by at least this, alone. (ln 1.28: perplexity up by 28 %.)
pub const MIN_DELTA_NATS: f32 = 0.25;
/// And by this many times more than any random scalar of the same matrix.
pub const MIN_TIMES_CONTROL: f32 = 10.0;

/// Whether removing something that costs this much, beside controls that cost at most that much, shows it to be critical.
pub fn is_critical(delta_nats: f32, control_nats: f32) -> bool {
    delta_nats >= MIN_DELTA_NATS && delta_nats >= MIN_TIMES_CONTROL * control_nats
}

/// One output row of a `down_proj` matrix: `model.layers[layer].mlp.down_proj.weight[row, :]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCoord {
    pub layer: usize,
    /// A residual channel, `0..hidden_size`.
    pub row: usize,
}

impl From<RowCoord> for EditTarget {
    fn from(RowCoord { layer, row }: RowCoord) -> Self {
        Self::Row { layer, row }
    }
}

impl fmt::Display for RowCoord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EditTarget::from(*self).fmt(f)
    }
}

/// Whether a whole row is critical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowVerdict {
    pub at: RowCoord,
    pub confirmed: bool,
    /// Change of the held-out loss without the row, nats.
    pub delta_nats: f32,
    /// The largest change, by magnitude, without one of the rows that follow it.
    pub control_nats: f32,
}

/// What came of the targets that somebody names together.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// What each costs when it goes alone, nats.
    pub deltas: Vec<f32>,
    /// The most that a control costs.
    pub control: f32,
    /// What all candidates cost together, where there are several.
    pub jointly: Option<f32>,
}

impl Claimed {
    pub fn all_are_critical(&self) -> bool {
        self.deltas.iter().all(|delta| is_critical(*delta, self.control))
    }

    pub fn any_is_critical(&self) -> bool {
        self.deltas.iter().any(|delta| is_critical(*delta, self.control))
    }

    pub fn are_jointly_critical(&self) -> bool {
        self.jointly.is_some_and(|delta| is_critical(delta, self.control))
    }
}

impl ConfirmReport {
    /// What it says of these targets; none unless each of them was pulled.
    pub fn claimed(&self, targets: &[EditTarget]) -> Option<Claimed> {
        let measured = targets.iter().map(|target| self.alone(target)).collect::<Option<Vec<_>>>()?;
        let (deltas, controls): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
        let jointly = self.arms.iter().find(|arm| arm.kind == ArmKind::Jointly && targets.len() > 1);
        Some(Claimed { deltas, control: controls.into_iter().fold(0.0, f32::max), jointly: jointly.map(|arm| arm.delta_nats) })
    }

    /// What a target costs alone, and the most that one of its controls does.
    fn alone(&self, target: &EditTarget) -> Option<(f32, f32)> {
        if let Some(row) = target.as_row() {
            return self.rows.iter().find(|verdict| verdict.at == row).map(|verdict| (verdict.delta_nats, verdict.control_nats));
        }
        let at: WeightCoord = target.as_scalar()?;
        let of = |kind| self.arms.iter().filter(move |arm| arm.kind == kind && arm.at == Some(at)).map(|arm| arm.delta_nats);
        Some((of(ArmKind::Candidate).next()?, of(ArmKind::RandomScalar).map(f32::abs).fold(0.0, f32::max)))
    }
}
