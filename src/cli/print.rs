//! Prints results to stdout and progress to stderr.

use serde::Serialize;

use super::output::{self, say, tell};
use crate::language;
use crate::protocol::{Event, Export, Figure, Progress};
use crate::tables::names::pick_fields;
use crate::tables::scores::channels;
use crate::terms::{
    Cell, Checkpoint, Column, ConfirmReport, DataTable, DeletionReport, Evaluation, Generated, Outcome, Pane, Pick, Pruning, Replacement,
    RunRecord, ScanReport, ScoreReport, ShareSummary, SurroundingsReport, SweepPoint, SweepReport, median,
};
use crate::words::{rough_bytes, sentence};

/// The name of the figure with an experiment's duration.
pub const TIME: &str = "experiment";

/// Prints progress and arms as they arrive.
pub fn live(event: &Event) {
    match event {
        Event::Progress(Progress { doing, done, total, unit }) => {
            let of = if unit == "bytes" { format!(" of {}", rough_bytes(*total as u64)) } else { String::new() };
            let share = done / total.max(1.0);
            output::progress(&format!("{} {:3.0} %{of}", language::doing(doing), 100.0 * share), share);
        }
        Event::Loaded(info) => {
            let millions = info.num_parameters as f64 / 1e6;
            tell!("{} ({millions:.2} M parameters) on {} ({})", info.model.id, info.backend.name, info.backend.reason);
        }
        Event::Arm { arm } => tell!("{:8.4} nats ({:+.4})  {}", arm.loss_nats, arm.delta_nats, language::change(&arm.label)),
        Event::SweepPoint(SweepPoint { pruned, evaluation }) => {
            let (loss, n) = (nats(evaluation.loss_nats), pruned.n_channels);
            tell!("{loss} nats  {n:6} channels: {}", rule(&pruned.pruning));
        }
        Event::Done | Event::Failed(_) => output::clear_progress(),
        _ => {}
    }
}

pub fn json(document: &impl Serialize) -> anyhow::Result<()> {
    output::json(&serde_json::to_string_pretty(document)?);
    Ok(())
}

/// Prints a note next to the results.
pub fn note(text: &str) {
    tell!("{text}");
}

/// Prints a finished text.
pub fn text(text: &str) {
    say!("{text}");
}

/// Prints an error with its causes, as one sentence.
pub fn error(error: &anyhow::Error) {
    tell!("linchpin: {}", sentence(&format!("{error:#}")));
}

pub fn report(export: &Export) {
    if let Some(report) = &export.scan {
        scan(report);
    }
    if let Some(report) = &export.confirm {
        confirm(report);
    }
    if let Some(pruned) = &export.pruned {
        let (n, digest, of) = (pruned.n_channels, &pruned.digest, &pruned.calibration.convention);
        say!("{n} channels removed (digest {digest}), scored over {}", language::convention(of));
    }
    for (pane, measured) in &export.evaluations {
        evaluation(*pane, measured);
    }
    if let Some(record) = &export.run {
        run(record);
    }
    export.measured.iter().filter(|measured| measured.name != TIME).for_each(figure);
    if let Some(report) = &export.scores {
        scores(report);
    }
    if let Some(report) = &export.surroundings {
        surroundings(report);
    }
    if let Some(report) = &export.sweep {
        swept(report);
    }
    if let Some(report) = &export.deletions {
        deletions(report);
    }
    export.checkpoints.iter().for_each(checkpoint);
    export.outcomes.iter().for_each(|made| outcome(made, &export.measured));
    export.saved.iter().flat_map(language::saved).for_each(|sentence| say!("{sentence}"));
}

/// The most rows of a table that are printed to a terminal.
const MAX_ROWS: usize = 60;

fn outcome(outcome: &Outcome, measured: &[Figure]) {
    let Outcome { experiment, findings, tables, convention, .. } = outcome;
    let about = experiment.super_weights.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let about = if about.is_empty() { about } else { format!(": {about}") };
    say!("{} ({}){about}", experiment.kind().name().replace('_', " "), language::source(experiment.kind()));
    if let Some(convention) = convention {
        say!("measured on {}", language::convention(convention));
    }
    tables.iter().for_each(table);
    findings.iter().for_each(|finding| say!("{}", language::finding(finding)));
    let took = measured.iter().find(|figure| figure.name == TIME && figure.of == experiment.kind().name());
    if let Some(ms) = took.and_then(|figure| figure.value) {
        say!("It took {:.1} s.", ms / 1e3);
    }
}

fn table(table: &DataTable) {
    say!("\n{}", language::table_title(table));
    let unit = |column: &Column| if column.unit.is_empty() { column.name.clone() } else { format!("{} ({})", column.name, column.unit) };
    let text = |column: &Column, cell: &Cell| match cell {
        Cell::Number(number) if *number >= f64::from(Evaluation::OVERFLOW) => "overflow".into(),
        Cell::Number(number) if number.fract() == 0.0 && number.abs() < 1e9 => format!("{number}"),
        Cell::Number(number) if (1e-3..1e6).contains(&number.abs()) => format!("{number:.4}"),
        Cell::Number(number) => format!("{number:.3e}"),
        Cell::Text(text) => language::label(&column.name, text).escape_debug().to_string(),
        Cell::Nothing => "-".into(),
    };
    let mut lines = vec![table.columns.iter().map(unit).collect::<Vec<_>>()];
    lines.extend(
        table.rows.iter().take(MAX_ROWS).map(|row| table.columns.iter().zip(row).map(|(column, cell)| text(column, cell)).collect()),
    );
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let is_text = |column: usize| table.rows.iter().all(|row| row[column].number().is_none());
    let columns = (0..table.columns.len()).map(|column| (width(column), is_text(column))).collect::<Vec<_>>();
    for line in &lines {
        let cells = line.iter().zip(&columns).map(|(cell, (width, is_text))| match is_text {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    if table.rows.len() > MAX_ROWS {
        say!("… and {} more rows: --tables FOLDER or --json writes all", table.rows.len() - MAX_ROWS);
    }
    say!("");
}

fn surroundings(report: &SurroundingsReport) {
    let (rho, eta, n) = (100.0 * report.rho, 100.0 * report.eta, report.n_support);
    say!(
        "core {rho} %, halo {eta} % of the others, {n} residual channels of support, scored over {}",
        language::convention(&report.calibration.convention)
    );
    say!("layer   core   halo   median connection of the core, the halo, the others   mean redundancy");
    for layer in &report.layers {
        let is_near = |channel: &usize| layer.core.contains(channel) || layer.halo.contains(channel);
        let others = (0..layer.connections.len()).filter(|channel| !is_near(channel)).collect::<Vec<_>>();
        let of = |channels: &[usize]| median(channels.iter().map(|channel| layer.connections[*channel]));
        let medians = [&layer.core, &layer.halo, &others].map(|channels| of(channels));
        let n = layer.redundancy.len();
        let redundancy = match n {
            0 => "-".into(),
            _ => format!("{:.4} nats", layer.redundancy.iter().sum::<f32>() / n as f32),
        };
        let ([core, halo, others], (n_core, n_halo)) = (medians, (layer.core.len(), layer.halo.len()));
        say!("{:5} {n_core:6} {n_halo:6} {core:22.3} {halo:11.3} {others:12.3}   {redundancy:>15}", layer.layer);
    }
}

/// Formats a loss, right-aligned.
fn nats(loss: f32) -> String {
    if loss < Evaluation::OVERFLOW { format!("{loss:8.4}") } else { "infinite".into() }
}

fn swept(report: &SweepReport) {
    for SweepPoint { pruned, evaluation } in &report.points {
        let loss = evaluation.loss_nats;
        let delta = if loss < Evaluation::OVERFLOW { format!("{:+.4}", loss - report.intact.loss_nats) } else { "overflow".into() };
        let loss = nats(loss);
        say!("{loss} nats ({delta})  {:6} channels: {}", pruned.n_channels, rule(&pruned.pruning));
    }
}

/// Formats a pruning rule: "lowest random 0.5 seed 2, their means instead".
fn rule(Pruning { selection, replacement }: &Pruning) -> String {
    let (pick, method, share) = pick_fields(selection.pick);
    let is_near = matches!(selection.pick, Pick::Halo | Pick::Matched);
    let eta = if is_near { format!("eta {}", selection.eta) } else { String::new() };
    let seed = if selection.pick.is_drawn() { format!("seed {}", selection.seed) } else { String::new() };
    let (method, share) = (method.unwrap_or_default(), share.map_or(String::new(), |share| share.to_string()));
    let words = [pick, method, &share, &eta, &seed].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let instead = if *replacement == Replacement::Mean { ", their means instead" } else { "" };
    format!("{words}{instead}")
}

fn deletions(report: &DeletionReport) {
    let number = |value: Option<f32>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
    say!("layer  deletions  Spearman of loss proxy and change of loss   if the loss rose: deletions, Spearman");
    for of in &report.correlations {
        let layer = of.layer.map_or_else(|| "all".into(), |layer| layer.to_string());
        let (all, positive) = (number(of.spearman), number(of.spearman_positive));
        say!("{layer:>5} {:10} {all:>43} {:31} {positive:>9}", of.n, of.n_positive);
    }
}

/// Prints one line for a checkpoint.
fn checkpoint(checkpoint: &Checkpoint) {
    let of = |share: &ShareSummary| {
        let [median, smallest, largest] = [share.median, share.smallest, share.largest].map(|share| 100.0 * share);
        format!("   top {} %: {median:.1} ({smallest:.1} to {largest:.1}) %", 100.0 * share.rho)
    };
    let (of_calibration, held_out) = (checkpoint.calibration.loss_nats, checkpoint.evaluation.loss_nats);
    let shares = checkpoint.summary.iter().map(of).collect::<String>();
    let zeroed = checkpoint.zeroed.map_or(String::new(), |zeroed| format!(", {:+.4} with {} zeroed", zeroed.delta_nats, zeroed.at));
    say!("{}: {of_calibration:.4} nats on the calibration text, {held_out:.4} held out{zeroed}{shares}", checkpoint.name);
}

fn scores(report: &ScoreReport) {
    let calibration = &report.calibration;
    say!(
        "{}: {} sequences, {} tokens, {:.4} nats",
        language::convention(&calibration.convention),
        calibration.n_sequences,
        calibration.n_tokens,
        calibration.loss_nats
    );
    let heads = report.rhos.iter().zip(&report.core_sizes).map(|(rho, size)| format!("{:>12}", format!("{} % ({size})", 100.0 * rho)));
    say!("share of loss proxy in the core\nlayer {}   largest channels", heads.collect::<String>());
    for (layer, supernodes) in report.concentration.iter().zip(&report.supernodes) {
        let shares = layer.shares.iter().map(|share| format!("{:11.1} %", 100.0 * share).chars().skip(1).collect::<String>());
        let first = supernodes.channels.iter().take(5).map(|channel| format!("{channel:6}")).collect::<String>();
        say!("{:5} {}  {first}", layer.layer, shares.collect::<String>());
    }
    for share in &report.summary {
        let (median, smallest, largest) = (100.0 * share.median, 100.0 * share.smallest, 100.0 * share.largest);
        say!("top {} %: median {median:.1} %, {smallest:.1} to {largest:.1} % over the layers", 100.0 * share.rho);
    }
    for super_weight in &report.super_weights {
        say!(
            "{}: its channel is number {} by loss proxy, with {:.1} %",
            super_weight.at,
            super_weight.rank + 1,
            100.0 * super_weight.share
        );
    }
}

/// Prints one line per channel, layer by layer, because all cells of a large model would take hundreds of megabytes.
pub fn csv(report: &ScoreReport) {
    say!("{}", channels(&[]).csv_head());
    for layer in report.channels.chunks(1).map(channels) {
        layer.rows.iter().for_each(|row| say!("{}", layer.csv_cells(row)));
    }
}

fn figure(figure: &Figure) {
    let Figure { name, value, unit, of, missing } = figure;
    match value {
        Some(value) => say!("{name:<20} {value:>12.3} {unit:<10} {of}"),
        None => say!("{name:<20} {:>12} {unit:<10} {of}: {}", "-", missing.as_deref().unwrap_or("not measured")),
    }
}

fn scan(report: &ScanReport) {
    say!("layer   largest |input|            largest |output|           after removal");
    for ((input, output), after) in report.inputs.iter().zip(&report.outputs).zip(&report.outputs_after) {
        say!(
            "{:5}   {:10.3} in {:6} at {:3}   {:10.3} in {:6} at {:3}   {:10.3}",
            input.layer,
            input.value,
            input.channel,
            input.token,
            output.value,
            output.channel,
            output.token,
            after.value
        );
    }
    for candidate in &report.candidates {
        say!(
            "candidate: {} = {:.4}; output {:.2}, {:.1} times the median; this product explains {:.2} of it{}",
            candidate.at,
            candidate.weight,
            candidate.output,
            candidate.ratio,
            candidate.share,
            candidate.effect_nats.map_or_else(String::new, |nats| {
                let against = language::effect_against(candidate.iteration);
                format!("; without it the predictions change by {nats:.3} nats{against}")
            })
        );
    }
    say!("stopped: {}", language::stopped(&report.stopped));
}

fn confirm(report: &ConfirmReport) {
    say!("{} ({} tokens)", language::convention(&report.convention), report.n_tokens);
    for arm in &report.arms {
        say!("{:8.4} nats ({:+.4})  {}", arm.loss_nats, arm.delta_nats, language::change(&arm.label));
    }
    for verdict in &report.verdicts {
        say!("{}: {}", verdict.at, language::verdict(&verdict.because));
    }
}

fn evaluation(pane: Pane, measured: &Evaluation) {
    let Evaluation { loss_nats, perplexity, stopword_mass, convention, .. } = measured;
    say!(
        "{pane:?}: {loss_nats:.4} nats, perplexity {perplexity:.2}, stopword mass {stopword_mass:.3} ({})",
        language::convention(convention)
    );
}

fn run(record: &RunRecord) {
    let is_intact = record.setup.ablation.is_empty();
    pane("intact", record, &record.intact);
    if !is_intact {
        pane("ablated", record, &record.ablated);
        match record.first_difference {
            Some(index) => say!("first difference: new token {index}"),
            None => say!("no difference"),
        }
    }
    say!("digest {}", record.digest);
}

fn pane(name: &str, record: &RunRecord, generated: &Generated) {
    say!("--- {name} ({:.1} tokens a second, repetition {:.2})", generated.tokens_per_sec, generated.repetition);
    say!("{}{}", record.setup.prompt, generated.text);
}

/// Prints the comparison unless `is_quiet`, and returns `true` if every tensor is within the tolerance.
pub fn verified(events: &[Event], tolerance: f64, is_quiet: bool) -> bool {
    let compared = events.iter().find_map(|event| if let Event::Verified { compared } = event { Some(compared) } else { None });
    let compared = compared.map(Vec::as_slice).unwrap_or_default();
    for error in compared.iter().filter(|_| !is_quiet) {
        let mark = if f64::from(error.relative) <= tolerance { "ok  " } else { "FAR " };
        say!("{mark}{:10.2e}  {}", error.relative, error.name);
    }
    !compared.is_empty() && compared.iter().all(|error| f64::from(error.relative) <= tolerance)
}
