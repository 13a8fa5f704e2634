//! Figure 4: the super activation along the residual stream, with the super weights, without them, and without another
//! large weight of the same matrix.
//!
//! The **super activation** is the value of the residual channel `row` of the first super weight. It persists as long
//! as its largest magnitude over all tokens is above half of its peak.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::residual::{self, Level, largest};
use crate::model::Model;
use crate::terms::{Ablation, Cell, DataPlot, DataTable, Message, PlotKind, Propagation, WeightCoord};

const INTACT: &str = "intact";
const REMOVED: &str = "removed";
const OTHER: &str = "other_removed";
/// The most tokens that are reported one by one; a picture of more is unreadable.
const MAX_TOKENS: usize = 64;

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>, settings: &Propagation) -> Result<(), ExperimentError> {
    let super_weights = draft.outcome.experiment.super_weights.clone();
    let Some(first) = super_weights.first().copied() else { return Err(ExperimentError::NoSuperWeights { experiment: "propagation" }) };
    let ids = bench.tokenizer.encode(&settings.prompt)?;
    let tokens = ids.iter().map(|id| bench.tokenizer.token_text(*id)).collect::<Vec<_>>();
    let other = residual::largest_weight(bench.model, first.layer, &super_weights).await?;
    begin(draft);
    let arms = [(INTACT, Some(Vec::new())), (REMOVED, Some(super_weights)), (OTHER, other.map(|(at, _)| vec![at]))];
    let mut measured = Vec::new();
    for (index, (name, zeroed)) in arms.into_iter().enumerate() {
        bench.control.progress(Message::new("propagation").with("arm", name), index as f64, 3.0, "steps");
        let Some(zeroed) = zeroed else { continue };
        let model: Model = bench.model.with_ablation(&Ablation::zeroing(zeroed))?;
        let levels = residual::levels(&model, &ids, first.row, bench.control).await?;
        bench.check_gpu()?;
        push(draft, name, &levels, &tokens);
        draft.send();
        measured.push((name, levels));
    }
    conclude(draft, first, &tokens, &measured);
    if let Some((at, weight)) = other {
        draft.find(Message::new("other_weight").at(at).with("weight", weight));
    }
    if draft.outcome.experiment.super_weights.iter().any(|at| at.row != first.row) {
        draft.find(Message::new("traced_first").at(first));
    }
    if tokens.len() > MAX_TOKENS {
        draft.find(Message::new("tokens_cut").with("shown", MAX_TOKENS).with("of", tokens.len()));
    }
    Ok(())
}

fn begin(draft: &mut Draft<'_>) {
    let columns = ["arm", "layer", "token", "token_text", "value", "largest"];
    let residuals = DataTable::new("residuals", "channel_behind_layers", &columns);
    let columns = ["arm", "layer", "at_row", "largest", "down_proj_output"];
    let maxima = DataTable::new("maxima", "largest_behind_layers", &columns);
    draft.outcome.tables.extend([residuals, maxima]);
    let lines = |title, y| DataPlot::new(PlotKind::Lines, title, "maxima", "layer", y).split_by("arm");
    draft.outcome.plots.extend([
        lines("channel_peaks", "at_row"),
        lines("largest_magnitudes", "largest"),
        lines("largest_outputs", "down_proj_output"),
    ]);
}

fn push(draft: &mut Draft<'_>, arm: &str, levels: &[Level], tokens: &[String]) {
    for level in levels {
        let layer = || level.layer.map_or(Cell::Number(-1.0), Cell::from);
        for (token, text) in tokens.iter().enumerate().take(MAX_TOKENS) {
            let (value, most) = (level.at_channel[token], level.largest[token]);
            draft.outcome.tables[0].push([arm.into(), layer(), token.into(), text.as_str().into(), value.into(), most.into()]);
        }
        let output = level.layer.map(|_| level.down_proj_output);
        draft.outcome.tables[1].push([arm.into(), layer(), level.peak().into(), largest(&level.largest).into(), output.into()]);
    }
    let mut map = DataPlot::new(PlotKind::Heatmap, "channel_at_tokens", "residuals", "token", "value").split_by("layer");
    map.only = Some(("arm".into(), arm.into()));
    draft.outcome.plots.push(map);
}

fn conclude(draft: &mut Draft<'_>, first: WeightCoord, tokens: &[String], measured: &[(&str, Vec<Level>)]) {
    let of = |name: &str| measured.iter().find(|(arm, _)| *arm == name).map(|(_, levels)| levels.as_slice());
    let Some(intact) = of(INTACT) else { return };
    let Some((layer, token, value)) = peak(intact) else { return };
    let (from, to) = persists(intact);
    // Layer -1 stands for the embeddings, as in the tables.
    let behind = |layer: Option<usize>| layer.map_or(-1.0, |layer| layer as f64);
    let found = Message::new("channel_peak").with("row", first.row).with("behind", behind(layer)).with("value", value);
    let found = found.with("token", token).with("token_text", tokens.get(token).map_or("", String::as_str));
    draft.find(found.with("from", behind(from)).with("to", behind(to)).with("layers", intact.len() - 1));
    draft.headline("channel_peak/intact", f64::from(value.abs()));
    draft.headline("first_layer_above_half", behind(from));
    draft.headline("last_layer_above_half", behind(to));
    for name in [REMOVED, OTHER] {
        let Some((_, _, left)) = of(name).and_then(peak) else { continue };
        let all = |levels: &[Level]| levels.iter().map(|level| largest(&level.largest)).fold(0.0, f32::max);
        let (before, after) = (all(intact), of(name).map_or(0.0, all));
        let found = Message::new("channel_left").with("arm", name).with("before", value.abs()).with("left", left.abs());
        draft.find(found.with("all_before", before).with("all_after", after));
        draft.headline(format!("channel_peak/{name}"), f64::from(left.abs()));
    }
}

/// Returns the place where the channel is largest: layer, token, signed value.
fn peak(levels: &[Level]) -> Option<(Option<usize>, usize, f32)> {
    let all = levels.iter().flat_map(|level| level.at_channel.iter().enumerate().map(|(token, value)| (level.layer, token, *value)));
    all.reduce(|most, next| if next.2.abs() > most.2.abs() { next } else { most })
}

/// Returns the first and the last layer after which the channel is above half of its peak; `None` stands for the
/// embeddings.
fn persists(levels: &[Level]) -> (Option<usize>, Option<usize>) {
    let half = levels.iter().map(Level::peak).fold(0.0, f32::max) / 2.0;
    let mut above = levels.iter().filter(|level| level.peak() > half).map(|level| level.layer);
    let first = above.next().flatten();
    (first, above.next_back().unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activation_persists_while_above_half() {
        let level = |index: usize, values: &[f32]| Level {
            layer: index.checked_sub(1),
            at_channel: values.to_vec(),
            largest: values.to_vec(),
            down_proj_output: 0.0,
        };
        let levels = [[0.0, 1.0], [1.0, -8.0], [0.0, -7.0], [5.0, 0.0], [1.0, 3.0]];
        let levels = levels.iter().enumerate().map(|(index, values)| level(index, values)).collect::<Vec<_>>();
        assert_eq!(peak(&levels), Some((Some(0), 1, -8.0)));
        assert_eq!(persists(&levels), (Some(0), Some(2)));
        assert_eq!(persists(&levels[..1]), (None, None));
        assert_eq!(persists(&levels[..2]), (Some(0), Some(0)));
    }
}
