//! Candidates from the weights alone ([`cold`]), beside named super weights. This outcome is also made whenever a model
//! is loaded, before its first forward pass.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::cold::{self, Found, Row};
use crate::job::control::Control;
use crate::terms::{Cell, DataPlot, DataTable, Experiment, ExperimentKind, ModelInfo, PlotKind, WeightCoord};

pub(super) async fn run(bench: &Bench<'_>, draft: &mut Draft<'_>) -> Result<(), ExperimentError> {
    let found = cold::search(bench.model, bench.control).await?;
    bench.check_gpu()?;
    describe(&found, draft);
    Ok(())
}

/// Sends the candidates of a model's weights as a complete outcome, with no super weight named.
pub fn tell(found: &Found, info: &ModelInfo, control: &Control) {
    let mut draft = Draft::new(Experiment::of(ExperimentKind::WeightsOnly, Vec::new()), info, String::new(), control);
    describe(found, &mut draft);
    draft.finish();
}

fn describe(found: &Found, draft: &mut Draft<'_>) {
    let known = draft.outcome.experiment.super_weights.clone();
    let of_row = ["score", "ratio", "top1_share", "participation_ratio", "prominence"];
    let place = ["layer", "row", "col"];
    let mut candidates =
        DataTable::new("candidates", "Candidates from the weights alone", &[&["rank"], &place[..], &["weight"], &of_row].concat());
    for (rank, (row, weight)) in found.rows.iter().zip(&found.weights).enumerate() {
        let mut cells = vec![(rank + 1).into()];
        cells.extend(place_of(row.at));
        cells.push((*weight).into());
        cells.extend(figures(row));
        candidates.push(cells);
    }
    let mut layers = DataTable::new("layers", "The most prominent row of each layer", &[&place[..], &of_row].concat());
    for row in best_of_layers(found) {
        layers.push(place_of(row.at).into_iter().chain(figures(row)).collect::<Vec<_>>());
    }
    draft.outcome.tables.extend([candidates, layers]);
    draft.find(found_first(found, &known));
    if !found.is_gated {
        draft.find("This model's feed-forward blocks have no gate: scores are of c_fc and down_proj alone.");
    }
    if let Some(first) = found.rows.first() {
        draft.headline("score over the layer's median, rank 1", f64::from(first.ratio));
        draft.headline("share of one scalar in its row, rank 1", f64::from(first.top1_share));
    }
    if !known.is_empty() {
        compare(found, &known, draft);
    }
    let mut prominence = DataPlot::new(PlotKind::Lines, "Prominence of the first row of each layer", "layers", "layer", "prominence");
    prominence.marks = known.iter().map(|at| (at.layer as f64, at.to_string())).collect();
    let score = DataPlot::new(PlotKind::Lines, "Score of the same rows", "layers", "layer", "score");
    draft.outcome.plots.extend([prominence, score]);
}

/// Compares the named super weights with the ranked rows.
fn compare(found: &Found, known: &[WeightCoord], draft: &mut Draft<'_>) {
    let columns = ["layer", "row", "col", "rank", "rank_in_layer", "rows", "col_found", "score", "ratio", "top1_share"];
    let mut table = DataTable::new("known", "Super weights that were named, among these rows", &columns);
    for at in known {
        let is_row = |row: &&Row| (row.at.layer, row.at.row) == (at.layer, at.row);
        let Some(rank) = found.rows.iter().position(|row| is_row(&row)) else { continue };
        let row = &found.rows[rank];
        let in_layer = found.rows[..rank].iter().filter(|row| row.at.layer == at.layer).count();
        let mut cells = place_of(*at).to_vec();
        cells.extend([(rank + 1).into(), (in_layer + 1).into(), found.rows.len().into(), row.at.col.into()]);
        cells.extend([row.score.into(), row.ratio.into(), row.top1_share.into()]);
        table.push(cells);
        let points = if row.at.col == at.col { "and points at it".into() } else { format!("and points at column {} instead", row.at.col) };
        draft.find(format!(
            "{at}: its row is number {} of {} by the weights alone, {} in its layer, {points}.",
            rank + 1,
            found.rows.len(),
            in_layer + 1
        ));
        if draft.outcome.headline.len() < 8 {
            draft.headline(format!("rank of {at}"), (rank + 1) as f64);
        }
    }
    draft.outcome.tables.push(table);
}

/// States how far the first row stands out.
fn found_first(found: &Found, known: &[WeightCoord]) -> String {
    let Some(first) = found.rows.first() else { return "There are no rows.".into() };
    let next = found.rows.get(1).map_or(0.0, Row::prominence);
    let lead = if next > 0.0 { format!(", {:.1} times as prominent as the next", first.prominence() / next) } else { String::new() };
    let proof = if known.is_empty() { " A candidate is no finding: only removing it tells what it is worth." } else { "" };
    format!(
        "The weights alone point at {} of {} rows first: it reaches {:.1} times the median row of its layer, {:.1} % of its square by one \
         scalar{lead}.{proof}",
        first.at,
        found.rows.len(),
        first.ratio,
        100.0 * first.top1_share
    )
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
