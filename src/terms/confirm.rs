//! The criterion for a critical removal, and the figures of a confirmation for given targets.

use serde::{Deserialize, Serialize};

use super::{ArmKind, ConfirmArm, ConfirmReport, EditTarget, RowCoord, WeightCoord};

/// The least rise of the held-out loss, in nats, when a super weight alone is removed. (ln 1.28: perplexity up by 28
/// %.)
pub const MIN_DELTA_NATS: f32 = 0.25;
/// The least ratio of that rise to the largest rise with a random scalar of the same matrix removed.
pub const MIN_TIMES_CONTROL: f32 = 10.0;

/// Returns `true` if a removal is critical that costs `delta_nats` while its controls cost at most `control_nats`.
pub fn is_critical(delta_nats: f32, control_nats: f32) -> bool {
    delta_nats >= MIN_DELTA_NATS && delta_nats >= MIN_TIMES_CONTROL * control_nats
}

/// The share of a critical scalar's cost below which the cost of its whole channel must lie for the difference to be
/// clear.
const CLEAR_SHARE: f32 = 0.5;

/// Returns `true` if a scalar is critical and its whole channel is not, by a clear difference: then what the rest of the
/// channel writes without the scalar does the damage.
pub fn is_damage_of_rest(scalar_nats: f32, channel_nats: f32, control_nats: f32) -> bool {
    let is_clear = channel_nats < CLEAR_SHARE * scalar_nats;
    is_critical(scalar_nats, control_nats) && !is_critical(channel_nats, control_nats) && is_clear
}

/// The largest cost, by magnitude, among a candidate's random controls, nats; 0 if there are none.
pub fn control_of(arms: &[ConfirmArm], at: WeightCoord) -> f32 {
    let is_its = |arm: &&ConfirmArm| arm.kind == ArmKind::RandomScalar && arm.at.is_none_or(|of| of == at);
    arms.iter().filter(is_its).map(|arm| arm.delta_nats.abs()).fold(0.0, f32::max)
}

/// The decision on whether a whole row is critical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowVerdict {
    pub at: RowCoord,
    pub confirmed: bool,
    /// Change of the held-out loss without the row, nats.
    pub delta_nats: f32,
    /// The largest change, by magnitude, with one of the rows that follow it removed instead, nats.
    pub control_nats: f32,
}

/// The measured costs of targets that a source names together.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Cost of removing each target alone, nats.
    pub deltas: Vec<f32>,
    /// The largest cost of any control, nats.
    pub control: f32,
    /// Cost of removing all candidates together, nats, if there are several.
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
    /// The costs of these targets in the report; `None` unless it measured each of them.
    pub fn claimed(&self, targets: &[EditTarget]) -> Option<Claimed> {
        let measured = targets.iter().map(|target| self.alone(target)).collect::<Option<Vec<_>>>()?;
        let (deltas, controls): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
        let jointly = self.arms.iter().find(|arm| arm.kind == ArmKind::Jointly && targets.len() > 1);
        Some(Claimed { deltas, control: controls.into_iter().fold(0.0, f32::max), jointly: jointly.map(|arm| arm.delta_nats) })
    }

    /// The cost of removing a target alone, and the largest cost among its controls.
    fn alone(&self, target: &EditTarget) -> Option<(f32, f32)> {
        if let Some(row) = target.as_row() {
            return self.rows.iter().find(|verdict| verdict.at == row).map(|verdict| (verdict.delta_nats, verdict.control_nats));
        }
        let at: WeightCoord = target.as_scalar()?;
        let alone = self.arms.iter().find(|arm| arm.kind == ArmKind::Candidate && arm.at == Some(at))?;
        Some((alone.delta_nats, control_of(&self.arms, at)))
    }
}
