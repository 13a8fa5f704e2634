//! Coordinates and edits of weights as they are typed.

use anyhow::Context;

use crate::terms::{Ablation, EditTarget, WeightCoord, WeightEdit};

/// Units of the weights, each given as `LAYER,...` or `LAYER,...=SCALE`; without a scale it is removed.
#[derive(Debug, Clone, clap::Args)]
pub struct EditArgs {
    /// LAYER,ROW,COL[=SCALE]: one scalar of down_proj.
    #[arg(long)]
    pub scalar: Vec<String>,
    /// LAYER,ROW[=SCALE]: a row of down_proj.
    #[arg(long)]
    pub row: Vec<String>,
    /// LAYER,COL[=SCALE]: a column of down_proj.
    #[arg(long)]
    pub column: Vec<String>,
    /// LAYER,CHANNEL[=SCALE]: a whole feed-forward channel.
    #[arg(long)]
    pub channel: Vec<String>,
    /// LAYER,CHANNEL[=SCALE]: a channel drawn towards its mean over the bundled calibration text; at 0 it stands at it.
    #[arg(long)]
    pub channel_mean: Vec<String>,
}

impl EditArgs {
    pub fn ablation(&self) -> anyhow::Result<Ablation> {
        let mut weight_edits = Vec::new();
        for text in &self.scalar {
            let ([layer, row, col], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Scalar { layer, row, col }, scale });
        }
        for text in &self.row {
            let ([layer, row], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Row { layer, row }, scale });
        }
        for text in &self.column {
            let ([layer, col], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Column { layer, col }, scale });
        }
        for text in &self.channel {
            let ([layer, channel], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Channel { layer, channel }, scale });
        }
        for text in &self.channel_mean {
            let ([layer, channel], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::ChannelMean { layer, channel }, scale });
        }
        Ok(Ablation { weight_edits, ..Ablation::default() })
    }
}

/// `"2,12,86"`.
pub fn parse_coord(text: &str) -> anyhow::Result<WeightCoord> {
    let numbers = text.split(',').map(|number| number.trim().parse::<usize>().ok()).collect::<Vec<_>>();
    match numbers[..] {
        [Some(layer), Some(row), Some(col)] => Ok(WeightCoord { layer, row, col }),
        _ => anyhow::bail!("{text:?}: expected LAYER,ROW,COL"),
    }
}

/// `"2,12,86=0.5"` to `([2, 12, 86], 0.5)`.
fn parse_edit<const N: usize>(text: &str) -> anyhow::Result<([usize; N], f32)> {
    let (place, scale) = text.split_once('=').unwrap_or((text, "0"));
    let scale = scale.trim().parse().with_context(|| format!("{text:?}: {scale:?} is no scale"))?;
    let numbers = place.split(',').map(|number| number.trim().parse()).collect::<Result<Vec<usize>, _>>();
    let numbers = numbers.with_context(|| format!("{text:?}: expected whole numbers with commas between"))?;
    let n = numbers.len();
    let place = numbers.try_into().map_err(|_wrong| anyhow::anyhow!("{text:?}: expected {N} numbers, got {n}"))?;
    Ok((place, scale))
}
