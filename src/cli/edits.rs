//! Coordinates and edits of weights in typed form.

use anyhow::Context;

use crate::terms::{Ablation, EditTarget, Unit, WeightCoord, WeightEdit, parse_layer};

/// Units of the weights, each as `LAYER,...` or `LAYER,...=SCALE`; without a scale the unit is removed.
#[derive(Debug, Clone, clap::Args)]
pub struct EditArgs {
    /// LAYER,ROW,COL[=SCALE]: one scalar of down_proj. LAYER.EXPERT instead of LAYER, here and below, names one
    /// expert.
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
    /// LAYER,CHANNEL[=SCALE]: a channel moved towards its mean over the bundled calibration text; scale 0 sets it to
    /// the mean.
    #[arg(long)]
    pub channel_mean: Vec<String>,
}

impl EditArgs {
    pub fn ablation(&self) -> anyhow::Result<Ablation> {
        let units = [
            (Unit::Scalar, &self.scalar),
            (Unit::Row, &self.row),
            (Unit::Column, &self.column),
            (Unit::Channel, &self.channel),
            (Unit::ChannelMean, &self.channel_mean),
        ];
        let edits = units.into_iter().flat_map(|(unit, texts)| texts.iter().map(move |text| parse_edit(unit, text)));
        Ok(Ablation { weight_edits: edits.collect::<Result<_, _>>()?, ..Ablation::default() })
    }
}

/// `"2,12,86"`, or `"2.5,12,86"` in expert 5.
pub fn parse_coord(text: &str) -> anyhow::Result<WeightCoord> {
    let target = parse_target(Unit::Scalar, text).ok().as_ref().and_then(EditTarget::as_scalar);
    target.with_context(|| format!("{text:?}: expected LAYER,ROW,COL"))
}

/// Several coordinates.
pub fn coords(texts: &[String]) -> anyhow::Result<Vec<WeightCoord>> {
    texts.iter().map(|text| parse_coord(text)).collect()
}

/// `"2,12,86=0.5"` to the scalar `[12, 86]` of layer 2, at 0.5.
fn parse_edit(unit: Unit, text: &str) -> anyhow::Result<WeightEdit> {
    let (place, scale) = text.split_once('=').unwrap_or((text, "0"));
    let scale = scale.trim().parse().with_context(|| format!("{text:?}: {scale:?} is not a scale"))?;
    let target = parse_target(unit, place).with_context(|| format!("{text:?}"))?;
    Ok(WeightEdit { target, scale })
}

fn parse_target(unit: Unit, text: &str) -> anyhow::Result<EditTarget> {
    let (layer, rest) = text.split_once(',').map_or((text, None), |(layer, rest)| (layer, Some(rest)));
    let numbers = rest.iter().flat_map(|rest| rest.split(',')).map(|number| number.trim().parse().ok());
    let numbers = numbers.collect::<Option<Vec<usize>>>();
    let ((layer, expert), numbers) = parse_layer(layer).zip(numbers).context("expected whole numbers with commas between")?;
    let [expected, n] = [unit.coordinates().len(), numbers.len()].map(|n| n + 1);
    unit.target(layer, expert, &numbers).with_context(|| format!("expected {expected} numbers, got {n}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_they_are_typed() {
        let edit = |unit, text| parse_edit(unit, text).map(|edit| (edit.target, edit.scale)).map_err(|error| format!("{error:#}"));
        assert_eq!(edit(Unit::Scalar, "2,12, 86=0.5"), Ok((EditTarget::scalar(2, 12, 86), 0.5)));
        assert_eq!(edit(Unit::Row, "2,12"), Ok((EditTarget::row(2, 12), 0.0)));
        assert_eq!(edit(Unit::ChannelMean, "2,86=1"), Ok((EditTarget::channel_mean(2, 86), 1.0)));
        let in_expert = WeightCoord { expert: Some(5), ..WeightCoord::new(2, 12, 86) };
        assert_eq!(edit(Unit::Scalar, "2.5,12,86"), Ok((in_expert.into(), 0.0)));
        assert_eq!(parse_coord("2.5,12,86").unwrap(), in_expert);
        assert_eq!(edit(Unit::Row, "2,12,86"), Err("\"2,12,86\": expected 2 numbers, got 3".into()));
        assert_eq!(edit(Unit::Row, "2,x"), Err("\"2,x\": expected whole numbers with commas between".into()));
        assert_eq!(edit(Unit::Row, "2,1=x"), Err("\"2,1=x\": \"x\" is not a scale".to_owned() + ": invalid float literal"));
        assert_eq!(parse_coord("2,12").unwrap_err().to_string(), "\"2,12\": expected LAYER,ROW,COL");
    }
}
