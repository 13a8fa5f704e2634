//! The facts as sentences, charts and tables of a typed report, for a page or for files.

use super::comparison::{chart as comparison_chart, deletion_chart, own};
use super::data;
use super::marks::Chart;
use super::scores::{agreement_chart, highest, mass_chart, share_chart};
use super::spikes::{arms_apart, arms_chart, layer_chart};
use super::surroundings::{connection_chart, plane_chart, surroundings_line};
use super::training::{loss_chart, rise_chart, share_chart as training_share_chart};
use crate::language;
use crate::tables::{deletions as deletion_tables, scan as scan_tables, scores as score_tables, surroundings as surroundings_tables};
use crate::tables::{sweep as sweep_tables, training as training_tables};
use crate::terms::{
    Calibration, Checkpoint, Comparison, ConfirmReport, DataTable, DeletionReport, ModelInfo, RHOS, Replacement, ScanReport, ScoreReport,
    SurroundingsReport, SweepReport,
};
use crate::words::{fine_percent, grouped, percent, short, signed};

/// Index in [`RHOS`] of the drawn core: 1 %, as in the paper.
const RHO_INDEX: usize = 1;
/// The most layers whose surroundings are drawn. Each is two charts with a dot for every channel.
const MAX_LAYERS: usize = 8;

/// One report, drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Identifier, used in names of files and addresses: `scan`, `scores`.
    pub name: &'static str,
    /// Title for people.
    pub title: &'static str,
    /// Complete sentences, the most important first.
    pub facts: Vec<String>,
    pub charts: Vec<Chart>,
    pub tables: Vec<DataTable>,
}

pub fn scan(report: &ScanReport) -> Part {
    let [inputs, outputs] = ["largest_inputs", "largest_down_proj_outputs"];
    let removed = if report.candidates.is_empty() { "" } else { " Rings are outputs with all candidates removed." };
    let prompt = &report.prompt;
    Part {
        name: "scan",
        title: "Scan",
        facts: vec![
            format!("One pass over {} tokens: {prompt:?}.{removed}", report.tokens.len()),
            format!("The search removes a candidate and looks again. It stopped here: {}.", language::stopped(&report.stopped)),
        ],
        charts: vec![layer_chart(inputs, &report.inputs, &[], true), layer_chart(outputs, &report.outputs, &report.outputs_after, true)],
        tables: vec![
            scan_tables::candidates(&report.candidates),
            scan_tables::spikes("inputs", inputs, &report.inputs, &[]),
            scan_tables::spikes("outputs", outputs, &report.outputs, &report.outputs_after),
        ],
    }
}

pub fn confirm(report: &ConfirmReport) -> Part {
    let verdict = |confirmed: bool, yes: &'static str, no: &'static str| if confirmed { yes } else { no };
    let scalars = report.verdicts.iter().map(|of| {
        format!("{} {}. {}", of.at, verdict(of.confirmed, "is a super weight", "is not a super weight"), language::verdict(&of.because))
    });
    let rows = report.rows.iter().map(|row| {
        let (delta, control) = (signed(row.delta_nats), short(row.control_nats));
        let word = verdict(row.confirmed, "is critical, as a whole", "is not critical");
        format!("{} {word}. Zeroing it changes the loss by {delta} nats; the rows that follow it by at most {control}.", row.at)
    });
    let measured = format!("Measured on {} tokens: {}", grouped(report.n_tokens as i64), language::convention(&report.convention));
    let apart = arms_apart(&report.arms);
    let apart = (!apart.is_empty()).then(|| arms_chart(&apart));
    Part {
        name: "confirm",
        title: "Super weights",
        facts: scalars.chain(rows).chain([measured]).collect(),
        charts: [arms_chart(&report.arms)].into_iter().chain(apart).collect(),
        tables: vec![scan_tables::arms(&report.arms)],
    }
}

pub fn scores(report: &ScoreReport) -> Part {
    let layers = &report.concentration;
    let mut facts = Vec::new();
    if let Some(share) = report.summary.get(RHO_INDEX) {
        let [median, smallest, largest] = [share.median, share.smallest, share.largest].map(percent);
        facts.push(format!(
            "The top {} of a layer's channels hold {median} of its loss proxy in the median layer, {smallest} to {largest} over all.",
            fine_percent(share.rho as f32)
        ));
    }
    facts.extend(report.super_weights.iter().map(|of| {
        let (rank, share) = (of.rank + 1, fine_percent(of.share));
        format!("{} lies in channel {}, number {rank} of its layer by loss proxy with {share} of it.", of.at, of.at.col)
    }));
    facts.push(scored(&report.calibration));
    let overlaps = score_tables::overlaps(&report.overlaps, RHO_INDEX);
    let mut charts = vec![
        share_chart(layers, RHO_INDEX, RHOS[RHO_INDEX]),
        mass_chart(layers, layers.get(highest(layers, RHO_INDEX)).map_or(0, |layer| layer.layer), false),
    ];
    if !report.overlaps.is_empty() {
        charts.push(agreement_chart(&score_tables::agreements(&report.overlaps, RHO_INDEX)));
        charts.push(data::chart(&score_tables::overlap_plot(), Some(&overlaps)));
    }
    let mut tables = vec![score_tables::shares(layers), score_tables::masses(layers), overlaps];
    if !report.super_weights.is_empty() {
        tables.push(score_tables::super_weights(&report.super_weights));
    }
    tables.push(score_tables::channels(&report.channels));
    Part { name: "scores", title: "Loss proxies of channels", facts, charts, tables }
}

fn scored(Calibration { convention, n_sequences, n_tokens, loss_nats, .. }: &Calibration) -> String {
    format!(
        "Scored over {n_sequences} sequences, {n_tokens} tokens: {}. Loss {} nats.",
        language::convention(convention),
        short(*loss_nats)
    )
}

/// Draws surroundings. `scores` must have the same calibration; without them, `Conn` is not drawn against the loss
/// proxy.
pub fn surroundings(report: &SurroundingsReport, scores: Option<&ScoreReport>, info: Option<&ModelInfo>) -> Part {
    let (mut facts, mut charts) = (Vec::new(), Vec::new());
    let scores = scores.filter(|scores| scores.calibration == report.calibration);
    for layer in report.layers.iter().take(MAX_LAYERS) {
        let mut plane = plane_chart(layer);
        plane.title = format!("Layer {}: directions of writing, on the core's main plane", layer.layer);
        charts.push(plane);
        let Some(info) = info else { continue };
        facts.push(surroundings_line(report, layer, info.hidden_size));
        let proxies = scores.and_then(|scores| scores.channels.iter().find(|scores| scores.layer == layer.layer));
        if let Some(proxies) = proxies {
            let mut chart = connection_chart(report, layer, &proxies.loss_proxy, info.hidden_size);
            chart.title = format!("Layer {}: connection to the core, and loss proxy", layer.layer);
            charts.push(chart);
        }
    }
    if report.layers.len() > MAX_LAYERS {
        facts.push(format!("The first {MAX_LAYERS} of {} layers are drawn; the table has all.", report.layers.len()));
    }
    let (rho, eta) = (fine_percent(report.rho as f32), fine_percent(report.eta as f32));
    facts.push(format!("Red: the core, {rho} of a layer's channels. Blue: the halo, {eta} of the others. Grey: the rest."));
    facts.push(scored(&report.calibration));
    let tables = vec![surroundings_tables::surroundings(report, true)];
    Part { name: "surroundings", title: "Surroundings of cores", facts, charts, tables }
}

pub fn sweep(report: &SweepReport, info: Option<&ModelInfo>) -> Part {
    let mut charts = Vec::new();
    for of in [Comparison::Removal, Comparison::Pruning] {
        let points = own(of, &report.points);
        // Without the model's sizes the share of channels is unknown.
        let n_channels = info.map(|info| info.intermediate_size.total(info.num_hidden_layers)).filter(|n| *n > 0);
        if of == Comparison::Pruning && n_channels.is_none() {
            continue;
        }
        for (replacement, instead) in [(Replacement::Zero, "zero"), (Replacement::Mean, "their means")] {
            if points.iter().any(|point| point.pruned.pruning.replacement == replacement) {
                let mut chart = comparison_chart(of, &points, replacement, Some(&report.intact), n_channels.unwrap_or(0));
                chart.title = format!("{}, replaced by {instead}", chart.title);
                charts.push(chart);
            }
        }
    }
    let intact = &report.intact;
    let facts = vec![
        format!(
            "{} removals were measured. Of repeated draws a line shows the mean, from the smallest to the largest.",
            report.points.len()
        ),
        format!(
            "Intact: {} nats, perplexity {}, on {}",
            short(intact.loss_nats),
            short(intact.perplexity),
            language::convention(&intact.convention)
        ),
    ];
    let tables = vec![sweep_tables::points(&report.points, &report.model, info.map(|info| &info.backend.kind[..]), Some(intact))];
    Part { name: "sweep", title: "Removals of channels by rules", facts, charts, tables }
}

pub fn deletions(report: &DeletionReport, info: Option<&ModelInfo>) -> Part {
    let correlations = deletion_tables::correlations(&report.correlations);
    let mut charts = vec![deletion_chart(&report.deletions)];
    if !report.correlations.is_empty() {
        charts.push(data::chart(&deletion_tables::correlation_plot(), Some(&correlations)));
    }
    let number = |value: Option<f32>| value.map_or("undefined".into(), short);
    let all = report.correlations.iter().find(|of| of.layer.is_none()).map(|of| {
        let (all, positive) = (number(of.spearman), number(of.spearman_positive));
        format!(
            "Over {} removals, Spearman's correlation of loss proxy and change of the loss is {all}; over the {} that raised the loss, {positive}.",
            of.n, of.n_positive
        )
    });
    Part {
        name: "deletions",
        title: "Channels removed one at a time",
        facts: all.into_iter().chain([scored(&report.calibration)]).collect(),
        charts,
        tables: vec![correlations, deletion_tables::deletions(report, info.map(|info| &info.backend.kind[..]))],
    }
}

pub fn checkpoints(checkpoints: &[Checkpoint], info: Option<&ModelInfo>) -> Part {
    let mut charts = vec![training_share_chart(checkpoints), loss_chart(checkpoints)];
    let zeroed = checkpoints.iter().find_map(|checkpoint| checkpoint.zeroed);
    if zeroed.is_some() {
        charts.push(rise_chart(checkpoints));
    }
    let shares = "Shares of loss proxy: a line is the median layer, and its bars go from the least to the most concentrated one.";
    let zeroed = zeroed.map(|zeroed| format!("The scalar that is zeroed is {}.", zeroed.at));
    Part {
        name: "training",
        title: "Checkpoints",
        facts: [format!("{} checkpoints were measured. {shares}", checkpoints.len())].into_iter().chain(zeroed).collect(),
        charts,
        tables: vec![training_tables::checkpoints(checkpoints, info.map(|info| &info.backend.kind[..]))],
    }
}
