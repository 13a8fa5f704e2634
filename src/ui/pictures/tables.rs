//! The rows behind the charts of scores and removals: as a table on the page, and as CSV with all digits.

use crate::terms::{ChannelScores, Concentration, Deletion, Overlap, Pick, RHOS, Replacement, ScoreReport, SurroundingsReport, SweepPoint};
use crate::ui::pictures::channels::metric_name;
use crate::ui::pictures::comparison::size_of;
use crate::ui::pictures::csv::csv;
use crate::ui::pictures::words::ranking_name;
use crate::words::{fine_percent, short};

/// A table: a head, and rows of the same width.
pub struct Table {
    /// Names of columns: words for a reader, or names of fields for a program.
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// The format of a number.
type Digits = fn(f32) -> String;

/// Digits as read on the page.
pub const READ: Digits = short;
/// All digits.
pub const FULL: Digits = |value| value.to_string();

impl Table {
    fn new(head: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows }
    }

    /// The table as CSV. Its heads become names that need no quotes.
    pub fn csv(&self) -> String {
        let name = |head: &String| {
            let words = head.to_ascii_lowercase().replace('%', "percent");
            words.split(|c: char| !c.is_alphanumeric() && c != '.').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
        };
        csv(&self.head.iter().map(name).collect::<Vec<_>>(), &self.rows)
    }
}

pub fn shares(layers: &[Concentration], digits: Digits) -> Table {
    let mut head = vec!["layer".to_string()];
    head.extend(RHOS.iter().map(|rho| format!("top {}", fine_percent(*rho as f32))));
    let row = |layer: &Concentration| [vec![layer.layer.to_string()], layer.shares.iter().map(|share| digits(*share)).collect()].concat();
    Table { head, rows: layers.iter().map(row).collect() }
}

pub fn masses(layers: &[Concentration], digits: Digits) -> Table {
    let row = |layer: &Concentration| {
        let of_layer = |[x, y]: &[f32; 2]| vec![layer.layer.to_string(), digits(*x), digits(*y)];
        layer.curve.iter().map(of_layer).collect::<Vec<_>>()
    };
    Table::new(&["layer", "share of channels", "share of loss proxy"], layers.iter().flat_map(row).collect())
}

pub fn overlaps(overlaps: &[Overlap], rho_index: usize, digits: Digits) -> Table {
    let row = |overlap: &Overlap| {
        let jaccard = overlap.jaccard.get(rho_index).copied().unwrap_or(0.0);
        let spearman = overlap.spearman.map(digits).unwrap_or_default();
        vec![overlap.layer.to_string(), metric_name(overlap.metric).into(), digits(jaccard), spearman]
    };
    Table::new(&["layer", "measure", "Jaccard of the cores", "Spearman"], overlaps.iter().map(row).collect())
}

/// The scores of every channel of every layer; too long for a page.
pub fn channels(report: &ScoreReport) -> Table {
    let row = |scores: &ChannelScores, channel: usize| {
        let mut row = vec![scores.layer.to_string(), channel.to_string()];
        row.push(format!("{:e}", scores.mean_activation.get(channel).copied().unwrap_or(0.0)));
        let cell = |metric| scores.by(metric).get(channel).map_or(String::new(), |value| format!("{value:e}"));
        row.extend(crate::terms::Metric::ALL.into_iter().map(cell));
        row
    };
    let rows = report.channels.iter().flat_map(|scores| (0..scores.loss_proxy.len()).map(move |channel| row(scores, channel)));
    let mut head = vec!["layer", "channel", "mean activation"];
    head.extend(crate::terms::Metric::ALL.into_iter().map(metric_name));
    Table::new(&head, rows.collect())
}

/// Channels around the core, the core first. The rest is included only if `all` is set.
pub fn surroundings(report: &SurroundingsReport, all: bool, digits: Digits) -> Table {
    let mut rows = Vec::new();
    for layer in &report.layers {
        let mut push = |group: &str, channel: usize, redundancy: Option<f32>| {
            let [x, y] = layer.plane.get(channel).copied().unwrap_or_default();
            let connection = layer.connections.get(channel).copied().unwrap_or(0.0);
            let numbers = [connection, x, y].map(digits);
            let head = [layer.layer.to_string(), group.into(), channel.to_string()];
            rows.push([&head[..], &numbers, &[redundancy.map(digits).unwrap_or_default()]].concat());
        };
        layer.core.iter().for_each(|channel| push("core", *channel, None));
        layer.halo.iter().enumerate().for_each(|(i, channel)| push("halo", *channel, layer.redundancy.get(i).copied()));
        let rest = (0..layer.connections.len()).filter(|channel| all && !layer.core.contains(channel) && !layer.halo.contains(channel));
        rest.for_each(|channel| push("rest", channel, None));
    }
    Table::new(&["layer", "group", "channel", "Conn", "p1", "p2", "redundancy"], rows)
}

pub fn sweep(points: &[SweepPoint], digits: Digits) -> Table {
    let row = |point: &SweepPoint| {
        let pruning = &point.pruned.pruning;
        let (rule, by) = match pruning.selection.pick {
            Pick::Core => ("supernodes", ""),
            Pick::Halo => ("halo", ""),
            Pick::Matched => ("matched to halo", ""),
            Pick::Random => ("as many as the core", "random"),
            Pick::Lowest { by, .. } => ("lowest", ranking_name(by)),
            Pick::Highest { by, .. } => ("highest", ranking_name(by)),
        };
        let replacement = if pruning.replacement == Replacement::Mean { "mean" } else { "zero" };
        vec![
            rule.into(),
            by.into(),
            digits(size_of(pruning) as f32),
            replacement.into(),
            pruning.selection.seed.to_string(),
            point.pruned.n_channels.to_string(),
            digits(point.evaluation.loss_nats),
            digits(point.evaluation.perplexity),
            point.pruned.digest.clone(),
        ]
    };
    let head = ["removed", "by", "share", "replaced by", "seed", "channels", "loss, nats", "perplexity", "digest"];
    Table::new(&head, points.iter().map(row).collect())
}

pub fn deletions(deletions: &[Deletion], digits: Digits) -> Table {
    let row = |at: &Deletion| {
        vec![at.layer.to_string(), at.channel.to_string(), at.quantile.to_string(), format!("{:e}", at.loss_proxy), digits(at.delta_nats)]
    };
    Table::new(&["layer", "channel", "quantile", "loss proxy", "change, nats"], deletions.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::state::scores::tests::{calibration, report};

    #[test]
    fn rows_are_as_wide_as_their_heads() {
        let layer = Concentration { layer: 2, shares: vec![0.1, 0.25, 0.4, 1.0 / 3.0], curve: vec![[0.0, 0.0], [1.0, 1.0]] };
        let found = shares(std::slice::from_ref(&layer), READ);
        assert_eq!(found.head, ["layer", "top 0.5 %", "top 1 %", "top 2 %", "top 5 %"]);
        assert_eq!(found.rows, [["2", "0.1", "0.25", "0.4", "0.333"]]);
        assert!(shares(std::slice::from_ref(&layer), FULL).csv().contains("0.33333334\r\n"));
        assert!(shares(std::slice::from_ref(&layer), FULL).csv().starts_with("layer,top_0.5_percent,top_1_percent,"));
        assert_eq!(masses(&[layer], READ).rows.len(), 2);
        let scores = ChannelScores { layer: 1, loss_proxy: vec![1.5, 0.5], mean_activation: vec![0.0, 0.0], ..ChannelScores::default() };
        let report = ScoreReport { channels: vec![scores], ..report(calibration(1)) };
        let found = channels(&report);
        assert!(found.rows.len() == 2 && found.rows.iter().all(|row| row.len() == found.head.len()));
    }
}
