//! Tables of scores: every channel, and the distribution of the loss proxy over channels.

use super::names::{metric_id, metric_name};
use crate::terms::{
    Cell, ChannelScores, Concentration, DataPlot, DataTable, Metric, Notation, Overlap, PlotKind, RHOS, SuperWeightRank, median,
};

/// Each layer's share of loss proxy in its cores, a column for each of [`RHOS`].
pub fn shares(layers: &[Concentration]) -> DataTable {
    let mut columns = vec!["layer".to_string()];
    columns.extend(RHOS.iter().map(|rho| format!("top_{}_percent", (100.0 * rho) as f32)));
    let mut table = DataTable::new("shares", "core_shares", &refs(&columns));
    for layer in layers {
        let shares = (0..RHOS.len()).map(|at| layer.shares.get(at).copied().into());
        table.push([Cell::from(layer.layer)].into_iter().chain(shares).collect::<Vec<_>>());
    }
    table
}

/// The points of [`Concentration::curve`].
pub fn masses(layers: &[Concentration]) -> DataTable {
    let columns = ["layer", "share_of_channels", "share_of_loss_proxy"];
    let mut table = DataTable::new("masses", "masses", &columns);
    for layer in layers {
        layer.curve.iter().for_each(|[x, y]| table.push([layer.layer.into(), (*x).into(), (*y).into()]));
    }
    table
}

/// The agreement of other metrics with the loss proxy, for the core of [`RHOS`]`[rho_index]`.
pub fn overlaps(overlaps: &[Overlap], rho_index: usize) -> DataTable {
    let columns = ["layer", "measure", "jaccard_of_the_cores", "spearman"];
    let mut table = DataTable::new("overlaps", "overlaps", &columns);
    for overlap in overlaps {
        let jaccard = overlap.jaccard.get(rho_index).copied().unwrap_or(0.0);
        table.push([overlap.layer.into(), metric_name(overlap.metric).into(), jaccard.into(), overlap.spearman.into()]);
    }
    table
}

/// The picture of [`overlaps`].
pub fn overlap_plot() -> DataPlot {
    let title = "overlap_of_cores";
    DataPlot::new(PlotKind::Heatmap, title, "overlaps", "layer", "jaccard_of_the_cores").split_by("measure")
}

/// A metric's agreement with the loss proxy: medians over layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    pub metric: Metric,
    /// Jaccard index of the cores.
    pub jaccard: f32,
    /// Spearman's correlation over all channels.
    pub spearman: f32,
}

pub fn agreements(overlaps: &[Overlap], rho_index: usize) -> Vec<Agreement> {
    let of = |metric: Metric| {
        let rows = || overlaps.iter().filter(move |overlap| overlap.metric == metric);
        rows().next()?;
        let jaccard = median(rows().filter_map(|row| row.jaccard.get(rho_index).copied())) as f32;
        Some(Agreement { metric, jaccard, spearman: median(rows().filter_map(|row| row.spearman)) as f32 })
    };
    Metric::ALL.into_iter().filter_map(of).collect()
}

/// The ranks of super weights' channels, 0 the largest.
pub fn super_weights(ranks: &[SuperWeightRank]) -> DataTable {
    let columns = ["layer", "row", "col", "rank", "share_of_loss_proxy"];
    let mut table = DataTable::new("super_weights", "ranks_of_super_weights", &columns);
    for SuperWeightRank { at, rank, share } in ranks {
        table.push([at.layer.into(), at.row.into(), at.col.into(), (*rank).into(), (*share).into()]);
    }
    table
}

/// The scores of every channel of these layers; too many for a page. A score that a model or an older report lacks is
/// an empty cell.
pub fn channels(layers: &[ChannelScores]) -> DataTable {
    let others = Metric::ALL.into_iter().filter(|metric| *metric != Metric::LossProxy).map(metric_id);
    let scores = ["loss_proxy", "mean_activation"].into_iter().chain(others).chain(["variance"]).collect::<Vec<_>>();
    let columns = [&["layer", "channel"][..], &scores].concat();
    let mut table = DataTable::new("channels", "scores_of_channels", &columns).with_notation(Notation::Scientific, &scores);
    for layer in layers {
        let others = Metric::ALL.into_iter().filter(|metric| *metric != Metric::LossProxy).map(|metric| layer.get(metric));
        let lists = [&layer.loss_proxy[..], &layer.mean_activation].into_iter().chain(others).chain([&layer.variance[..]]);
        let lists = lists.collect::<Vec<_>>();
        for channel in 0..layer.loss_proxy.len() {
            let scores = lists.iter().map(|list| list.get(channel).copied().into());
            table.push([Cell::from(layer.layer), channel.into()].into_iter().chain(scores).collect::<Vec<_>>());
        }
    }
    table
}

fn refs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_a_table_with_all_digits() {
        let layer = Concentration { layer: 2, shares: vec![0.1, 0.25, 0.4, 1.0 / 3.0], curve: vec![[0.0, 0.0], [1.0, 1.0]] };
        let csv = shares(std::slice::from_ref(&layer)).to_csv();
        assert_eq!(csv, "layer,top_0.5_percent,top_1_percent,top_2_percent,top_5_percent\n2,0.1,0.25,0.4,0.33333334\n");
        assert_eq!(masses(&[layer]).to_csv(), "layer,share_of_channels,share_of_loss_proxy\n2,0,0\n2,1,1\n");
    }

    #[test]
    fn channels_are_a_table_of_every_score() {
        let layer = ChannelScores {
            layer: 1,
            loss_proxy: vec![1.5e-9, 0.5],
            mean_activation: vec![-0.25, 0.0],
            variance: vec![0.125, 3.0],
            wanda: vec![7.0],
            ..ChannelScores::default()
        };
        assert_eq!(
            channels(&[layer]).to_csv(),
            "layer,channel,loss_proxy,mean_activation,activation_power,peak_activation,curvature,taylor,down_norm,gate_norm,up_norm,wanda,\
             variance\n1,0,1.5e-9,-2.5e-1,,,,,,,,7e0,1.25e-1\n1,1,5e-1,0e0,,,,,,,,,3e0\n"
        );
    }

    #[test]
    fn agreements_are_medians_over_layers() {
        let row = |layer, metric, jaccard, spearman| Overlap { layer, metric, jaccard: vec![0.0, jaccard], spearman };
        let rows = [
            row(0, Metric::Taylor, 0.2, Some(0.1)),
            row(1, Metric::Taylor, 0.4, None),
            row(2, Metric::Taylor, 0.9, Some(0.5)),
            row(0, Metric::Wanda, 1.0, Some(1.0)),
        ];
        let found = agreements(&rows, 1);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].metric, found[0].jaccard, found[0].spearman), (Metric::Taylor, 0.4, 0.3));
        let csv = overlaps(&rows, 1).to_csv();
        assert!(csv.starts_with("layer,measure,jaccard_of_the_cores,spearman\n0,\"Taylor, |u·g|\",0.2,0.1\n1,"), "{csv}");
        let (plot, table) = (overlap_plot(), overlaps(&rows, 1));
        assert!([&plot.x, &plot.y, plot.by.as_ref().unwrap()].iter().all(|name| table.column(name).is_some()));
        assert_eq!(plot.table, table.name);
    }
}
