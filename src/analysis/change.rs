//! A changed model, from its description.

use super::error::AnalysisError;
use crate::model::Model;
use crate::terms::Change;

/// Builds the changed model, which shares every unchanged matrix. `means` has a number for every channel of every
/// layer; only changes to means need it.
///
/// # Errors
///
/// A change outside the model, or means that are missing.
pub fn changed(model: &Model, change: &Change, means: Option<&[Vec<f32>]>) -> Result<Model, AnalysisError> {
    Ok(match change {
        Change::Edit(ablation) => model.with_ablation_by(ablation, means)?,
        Change::Zero(scalars) => model.with_zeroed(scalars),
        Change::Channels { channels, to_means } => model.without_channels(channels, means.filter(|_| *to_means)),
    })
}
