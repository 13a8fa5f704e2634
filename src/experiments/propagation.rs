//! Figure 4: the super activation along the residual stream, with the super weights, without them, and without another
//! large weight of the same matrix.
//!
//! The **super activation** is the value of the residual channel `row` of the first super weight. It persists as long
//! as its largest magnitude over all tokens is above half of its peak.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::residual::{self, Level, largest};
use crate::model::Model;
use crate::terms::{Ablation, Cell, DataPlot, DataTable, PlotKind, WeightCoord};

const INTACT: &str = "intact";
const REMOVED: &str = "super weights removed";
const OTHER: &str = "another large weight removed";
/// The most tokens that are reported one by one; a picture of more is not readable.
const MAX_TOKENS: usize = 64;

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), ExperimentError> {
    let super_weights = draft.outcome.experiment.super_weights.clone();
    let Some(first) = super_weights.first().copied() else { return Err(ExperimentError::NoSuperWeights { experiment: "propagation" }) };
    let ids = bench.tokenizer.encode(&draft.outcome.experiment.prompt)?;
    let tokens = ids.iter().map(|id| bench.tokenizer.token_text(*id)).collect::<Vec<_>>();
    let other = residual::largest_weight(bench.model, first.layer, &super_weights).await?;
    begin(draft);
    let arms = [(INTACT, Some(Vec::new())), (REMOVED, Some(super_weights)), (OTHER, other.map(|(at, _)| vec![at]))];
    let mut measured = Vec::new();
    for (index, (name, zeroed)) in arms.into_iter().enumerate() {
        bench.control.progress(name, index as f64, 3.0, "steps");
        let Some(zeroed) = zeroed else { continue };
        let model: Model = bench.model.with_ablation(&Ablation::zeroing(zeroed))?;
        let levels = residual::levels(&model, &ids, first.row, bench.control).await?;
        bench.check_gpu()?;
        push(draft, name, &levels, &tokens);
        draft.tell();
        measured.push((name, levels));
    }
    conclude(draft, first, &tokens, &measured);
    if let Some((at, weight)) = other {
        draft.find(format!("The other weight is {at}: {weight}, the largest magnitude of that matrix but for the super weights."));
    }
    if draft.outcome.experiment.super_weights.iter().any(|at| at.row != first.row) {
        draft.find(format!(
            "Traced is the channel of the first super weight, {first}; others write to other channels, and are removed with it."
        ));
    }
    if tokens.len() > MAX_TOKENS {
        draft.find(format!("The table of tokens has the first {MAX_TOKENS} of {}; the maxima are of all.", tokens.len()));
    }
    Ok(())
}

fn begin(draft: &mut Draft<'_>) {
    let columns = ["arm", "layer", "token", "token_text", "value", "largest"];
    let residuals =
        DataTable::new("residuals", "The super weight's channel behind every layer, at every token (layer -1: embeddings)", &columns);
    let columns = ["arm", "layer", "at_row", "largest", "down_proj_output"];
    let maxima = DataTable::new("maxima", "Largest magnitudes behind every layer, of all tokens", &columns);
    draft.outcome.tables.extend([residuals, maxima]);
    let lines = |title, y| DataPlot::new(PlotKind::Lines, title, "maxima", "layer", y).by("arm");
    draft.outcome.plots.extend([
        lines("Largest magnitude in the super weight's channel", "at_row"),
        lines("Largest magnitude of all channels", "largest"),
        lines("Largest magnitude of down_proj's output", "down_proj_output"),
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
    let mut map =
        DataPlot::new(PlotKind::Heatmap, &format!("The channel at every token: {arm}"), "residuals", "token", "value").by("layer");
    map.only = Some(("arm".into(), arm.into()));
    draft.outcome.plots.push(map);
}

fn conclude(draft: &mut Draft<'_>, first: WeightCoord, tokens: &[String], measured: &[(&str, Vec<Level>)]) {
    let of = |name: &str| measured.iter().find(|(arm, _)| *arm == name).map(|(_, levels)| levels.as_slice());
    let Some(intact) = of(INTACT) else { return };
    let Some((layer, token, value)) = peak(intact) else { return };
    let (from, to) = persists(intact);
    let place = |layer: Option<usize>| layer.map_or("in the embeddings".into(), |layer| format!("behind layer {layer}"));
    draft.find(format!(
        "Channel {} is largest {}: {value:.2} at token {token}, {:?}. It is above half of that from {} on to {}, of {} layers.",
        first.row,
        place(layer),
        tokens.get(token).map_or("", String::as_str),
        place(from),
        place(to),
        intact.len() - 1
    ));
    draft.headline("largest magnitude in the channel, intact", f64::from(value.abs()));
    for (from_or_to, layer) in [("first layer above half of it", from), ("last layer above half of it", to)] {
        draft.headline(from_or_to, layer.map_or(-1.0, |layer| layer as f64));
    }
    for (name, verb) in [(REMOVED, "Without the super weights"), (OTHER, "Without the other weight")] {
        let Some((_, _, left)) = of(name).and_then(peak) else { continue };
        let all = |levels: &[Level]| levels.iter().map(|level| largest(&level.largest)).fold(0.0, f32::max);
        let (before, after) = (all(intact), of(name).map_or(0.0, all));
        draft.find(format!(
            "{verb} the largest magnitude in that channel is {:.2} ({:+.0} %), and that of any channel {after:.2} after {before:.2} ({:+.0} %). \
             (Llama-7B in the paper, of any channel: {}.)",
            left.abs(),
            change(value.abs(), left.abs()),
            change(before, after),
            if name == REMOVED { "about -75 %" } else { "976 after 1320, -26 %" }
        ));
        draft.headline(format!("largest magnitude in the channel, {name}"), f64::from(left.abs()));
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

/// Returns the change in percent.
fn change(before: f32, after: f32) -> f32 {
    if before > 0.0 { 100.0 * (after / before - 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_persists_while_above_half() {
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
        assert_eq!((change(4.0, 1.0), change(0.0, 1.0)), (-75.0, 0.0));
    }
}
