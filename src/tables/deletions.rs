//! Tables of single deletions: the channels, and the correlations of their loss proxies with the cost of removing
//! them.

use super::Measurement;
use super::names::replacement_id;
use crate::terms::{Cell, DataPlot, DataTable, Deletion, DeletionCorrelation, DeletionReport, Notation, PlotKind, Replacement};

/// The draw of the rows' channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Number of channels of each layer; `None` if the report does not have it.
    pub per_layer: Option<usize>,
    pub n_quantiles: usize,
    pub replacement: Replacement,
    pub seed: u64,
}

/// The table without rows. A row has the cells of [`key`], then those of [`figures`].
pub fn columns() -> DataTable {
    let columns = [
        "model",
        "revision",
        "backend",
        "per_layer",
        "quantiles",
        "replace",
        "seed",
        "sequences",
        "length",
        "text",
        "text_digest",
        "layer",
        "channel",
        "quantile",
        "loss_proxy",
        "delta_nats (nats)",
        "intact_loss_nats (nats)",
    ];
    let table = DataTable::new("deletions", "deletions", &columns);
    table.with_notation(Notation::Quoted, &["model", "backend", "text"]).with_notation(Notation::Scientific, &["loss_proxy", "delta_nats"])
}

pub fn key(deletion: &Deletion, draw: &Draw, of: &Measurement<'_>) -> Vec<Cell> {
    let Draw { per_layer, n_quantiles, replacement, seed } = *draw;
    let mut cells = vec![of.model.id.as_str().into(), of.model.reading().into(), of.backend.into()];
    cells.extend::<[Cell; 4]>([per_layer.into(), n_quantiles.into(), replacement_id(replacement).into(), seed.into()]);
    cells.extend(of.texts());
    cells.extend::<[Cell; 2]>([deletion.layer.into(), deletion.channel.into()]);
    cells
}

pub fn figures(deletion: &Deletion, intact_loss_nats: f32) -> Vec<Cell> {
    vec![deletion.quantile.into(), deletion.loss_proxy.into(), deletion.delta_nats.into(), intact_loss_nats.into()]
}

/// The deletions of a report. Its calibration replaces the requested number of sequences.
pub fn deletions(report: &DeletionReport, backend: Option<&str>) -> DataTable {
    let DeletionReport { model, calibration, intact, n_quantiles, seed, replacement, .. } = report;
    let draw = Draw { per_layer: None, n_quantiles: *n_quantiles, replacement: *replacement, seed: *seed };
    let (sequences, length, text) = (calibration.n_requested, calibration.length, &intact.convention);
    let of = Measurement { model, backend, sequences, length, text, text_digest: None };
    let mut table = columns();
    for deletion in &report.deletions {
        table.push([key(deletion, &draw, &of), figures(deletion, intact.loss_nats)].concat());
    }
    table
}

/// The columns in which the deletions of one report differ.
pub const DIFFERING: [&str; 5] = ["layer", "channel", "quantile", "loss_proxy", "delta_nats"];

/// Spearman's correlations, over all layers in the first row.
pub fn correlations(correlations: &[DeletionCorrelation]) -> DataTable {
    let columns = ["layer", "deletions", "spearman", "positive_deletions", "spearman_positive"];
    let mut table = DataTable::new("correlations", "correlations", &columns);
    for DeletionCorrelation { layer, n, spearman, n_positive, spearman_positive } in correlations {
        let layer = layer.map_or_else(|| "all".into(), Cell::from);
        table.push([layer, (*n).into(), (*spearman).into(), (*n_positive).into(), (*spearman_positive).into()]);
    }
    table
}

/// The picture of [`correlations`].
pub fn correlation_plot() -> DataPlot {
    let title = "correlation_by_layer";
    DataPlot::new(PlotKind::Bars, title, "correlations", "layer", "spearman")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calibration, evaluation, model};
    use super::*;

    #[test]
    fn deletions_are_rows_as_the_command_appends_them() {
        let report = DeletionReport {
            model: model(),
            calibration: calibration(),
            intact: evaluation(3.25),
            n_quantiles: 8,
            seed: 5,
            replacement: Replacement::Mean,
            deletions: vec![Deletion { layer: 1, channel: 20, loss_proxy: 1.5e-9, quantile: 3, delta_nats: -2.4e-7 }],
            correlations: Vec::new(),
        };
        let csv = deletions(&report, Some("vulkan")).to_csv();
        assert_eq!(
            csv,
            "model,revision,backend,per_layer,quantiles,replace,seed,sequences,length,text,text_digest,layer,channel,quantile,loss_proxy,\
             delta_nats,intact_loss_nats\n\"m\",0011223344556677,\"vulkan\",,8,mean,5,64,512,\"h, \"\"t\"\"\",,1,20,3,1.5e-9,-2.4e-7,3.25\n"
        );
        assert!(DIFFERING.iter().all(|name| columns().column(name).is_some()));
    }

    #[test]
    fn correlations_name_the_row_of_all_layers() {
        let of = |layer| DeletionCorrelation { layer, n: 4, spearman: Some(0.5), n_positive: 1, spearman_positive: None };
        let (table, plot) = (correlations(&[of(None), of(Some(0))]), correlation_plot());
        assert_eq!(table.to_csv(), "layer,deletions,spearman,positive_deletions,spearman_positive\nall,4,0.5,1,\n0,4,0.5,1,\n");
        assert!(plot.table == table.name && table.column(&plot.x).is_some() && table.column(&plot.y).is_some());
    }
}
