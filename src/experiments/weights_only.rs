//! Candidates from the weights alone ([`cold`]), compared with named super weights. This outcome is also created
//! whenever a model is loaded, before its first forward pass.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::cold::{self, Found, Row};
use crate::job::control::Control;
use crate::terms::{Cell, DataPlot, DataTable, Experiment, ExperimentKind, Message, ModelInfo, PlotKind, WeightCoord};

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), ExperimentError> {
    let found = cold::search(bench.model, bench.control).await?;
    bench.check_gpu()?;
    describe(&found, draft);
    Ok(())
}

/// Sends the candidates of a model's weights as a complete outcome, with no super weight named.
pub fn send(found: &Found, info: &ModelInfo, control: &Control) {
    let mut draft = Draft::new(Experiment::with_defaults(ExperimentKind::WeightsOnly, Vec::new()), info, None, control);
    describe(found, &mut draft);
    draft.finish();
}

fn describe(found: &Found, draft: &mut Draft<'_>) {
    let known = draft.outcome.experiment.super_weights.clone();
    let of_row = ["score", "ratio", "top1_share", "participation_ratio", "prominence"];
    let place = ["layer", "row", "col"];
    let mut candidates = DataTable::new("candidates", "candidates_by_weights", &[&["rank"], &place[..], &["weight"], &of_row].concat());
    for (rank, (row, weight)) in found.rows.iter().zip(&found.weights).enumerate() {
        let mut cells = vec![(rank + 1).into()];
        cells.extend(place_of(row.at));
        cells.push((*weight).into());
        cells.extend(figures(row));
        candidates.push(cells);
    }
    let mut layers = DataTable::new("layers", "prominent_rows", &[&place[..], &of_row].concat());
    for row in best_of_layers(found) {
        layers.push(place_of(row.at).into_iter().chain(figures(row)).collect::<Vec<_>>());
    }
    draft.outcome.tables.extend([candidates, layers]);
    draft.find(found_first(found, &known));
    if !found.is_gated {
        draft.find("no_gate".into());
    }
    if let Some(first) = found.rows.first() {
        draft.headline("score_ratio", f64::from(first.ratio));
        draft.headline("top1_share", f64::from(first.top1_share));
    }
    if !known.is_empty() {
        compare(found, &known, draft);
    }
    let mut prominence = DataPlot::new(PlotKind::Lines, "prominence_by_layer", "layers", "layer", "prominence");
    prominence.marks = known.iter().map(|at| (at.layer as f64, at.to_string())).collect();
    let score = DataPlot::new(PlotKind::Lines, "score_by_layer", "layers", "layer", "score");
    draft.outcome.plots.extend([prominence, score]);
}

/// Compares the named super weights with the ranked rows.
fn compare(found: &Found, known: &[WeightCoord], draft: &mut Draft<'_>) {
    let columns = ["layer", "row", "col", "rank", "rank_in_layer", "rows", "col_found", "score", "ratio", "top1_share"];
    let mut table = DataTable::new("known", "known_among_rows", &columns);
    for at in known {
        let is_row = |row: &&Row| (row.at.layer, row.at.row) == (at.layer, at.row);
        let Some(rank) = found.rows.iter().position(|row| is_row(&row)) else { continue };
        let row = &found.rows[rank];
        let in_layer = found.rows[..rank].iter().filter(|row| row.at.layer == at.layer).count();
        let mut cells = place_of(*at).to_vec();
        cells.extend([(rank + 1).into(), (in_layer + 1).into(), found.rows.len().into(), row.at.col.into()]);
        cells.extend([row.score.into(), row.ratio.into(), row.top1_share.into()]);
        table.push(cells);
        let found = Message::new("row_rank").at(*at).with("rank", rank + 1).with("rows", found.rows.len());
        draft.find(found.with("rank_in_layer", in_layer + 1).with("col_found", row.at.col));
        if draft.outcome.headline.len() < 8 {
            draft.headline(format!("rank/{},{},{}", at.layer, at.row, at.col), (rank + 1) as f64);
        }
    }
    draft.outcome.tables.push(table);
}

/// States the prominence of the first row.
fn found_first(found: &Found, known: &[WeightCoord]) -> Message {
    let Some(first) = found.rows.first() else { return "no_rows".into() };
    let next = found.rows.get(1).map_or(0.0, Row::prominence);
    let code = if known.is_empty() { "first_row" } else { "first_row_known" };
    let message = Message::new(code).at(first.at).with("rows", found.rows.len()).with("ratio", first.ratio);
    message.with("top1_share", first.top1_share).with("lead", (next > 0.0).then(|| first.prominence() / next))
}

fn best_of_layers(found: &Found) -> Vec<&Row> {
    let mut best = Vec::<&Row>::new();
    for row in &found.rows {
        if !best.iter().any(|other| other.at.layer == row.at.layer) {
            best.push(row);
        }
    }
    best.sort_by_key(|row| row.at.layer);
    best
}

fn place_of(at: WeightCoord) -> [Cell; 3] {
    [at.layer.into(), at.row.into(), at.col.into()]
}

fn figures(row: &Row) -> [Cell; 5] {
    [row.score.into(), row.ratio.into(), row.top1_share.into(), row.participation_ratio.into(), row.prominence().into()]
}
