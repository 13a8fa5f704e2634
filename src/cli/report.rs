//! `linchpin report`: every experiment on one model as a static page, with the data beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::args::Args;
use super::experiment::{ExperimentArgs, measure, super_weights};
use super::model::Found;
use super::{Session, print, repeat};
use crate::catalog;
use crate::draw::{self, data};
use crate::protocol::{Event, Export, Request};
use crate::terms::{ConfirmReport, DataTable, Experiment, ExperimentKind, Outcome};

#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// Where the page goes; the data goes beside it, as an export that `repeat` makes again.
    #[arg(long, default_value = "linchpin-report.html")]
    pub out: PathBuf,
    /// Make the page of this export, and measure nothing.
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// Only these experiments.
    #[arg(long, value_delimiter = ',')]
    pub kinds: Vec<String>,
    #[command(flatten)]
    pub settings: ExperimentArgs,
}

/// Rows of a table on the page; all of them are in the data.
const MAX_ROWS: usize = 200;

/// Measures what is asked for, and writes the page. Whether all of it could be measured.
pub async fn run(session: &mut Session, args: &Args, asked: &ReportArgs) -> anyhow::Result<(Export, bool)> {
    let (export, missing) = match &asked.from {
        Some(path) => (repeat::read(path)?, Vec::new()),
        None => measured(session, args, asked).await?,
    };
    let json = asked.out.with_extension("json");
    if asked.from.is_none() {
        write(&json, &serde_json::to_string(&export)?)?;
    }
    write(&asked.out, &page(&export, &missing))?;
    if !session.is_quiet {
        print::note(&format!("{} is written{}", asked.out.display(), if asked.from.is_none() { ", and its data beside it" } else { "" }));
    }
    Ok((export, missing.is_empty()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What could not be measured, and why.
type Missing = Vec<(ExperimentKind, String)>;

async fn measured(session: &mut Session, args: &Args, asked: &ReportArgs) -> anyhow::Result<(Export, Missing)> {
    let kinds = kinds(&asked.kinds)?;
    let tasks = asked.settings.task_files()?;
    let info = session.load(args, Found::named(args.model(), session.is_quiet)?).await?;
    if !tasks.is_empty() {
        session.ask(Request::UseTasks { tasks: tasks.clone() }).await?;
    }
    let candidates = super_weights(session, &asked.settings.super_weight).await?;
    let mut export = Export::new(info.model.clone());
    if !candidates.is_empty() {
        let seed = asked.settings.seed.unwrap_or(1);
        let confirmed = session.ask(Request::Confirm { candidates: candidates.clone(), rows: Vec::new(), seed }).await?;
        export.confirm = confirmed.into_iter().find_map(|event| if let Event::Confirmed(report) = event { Some(report) } else { None });
    }
    let mut missing = Vec::new();
    for kind in kinds {
        let mut experiment = asked.settings.over(Experiment::of(kind, candidates.clone()), &tasks);
        experiment.bos |= asked.settings.bos.is_none() && kind.reads_bos() && catalog::find(&info.model.id).is_some();
        match measure(session, experiment).await {
            Ok(outcome) => export.outcomes.push(outcome),
            Err(error) => {
                if !session.is_quiet {
                    print::note(&format!("{}: {error:#}", kind.name()));
                }
                missing.push((kind, format!("{error:#}")));
            }
        }
    }
    export.info = Some(info);
    Ok((export, missing))
}

fn kinds(named: &[String]) -> anyhow::Result<Vec<ExperimentKind>> {
    if named.is_empty() {
        return Ok(ExperimentKind::ALL.to_vec());
    }
    let known = |name: &String| ExperimentKind::ALL.into_iter().find(|kind| kind.name().replace('_', "-") == name.replace('_', "-"));
    named.iter().map(|name| known(name).with_context(|| format!("{name} is none of {}", all_names()))).collect()
}

fn all_names() -> String {
    ExperimentKind::ALL.map(|kind| kind.name().replace('_', "-")).join(", ")
}

/// The whole page.
fn page(export: &Export, missing: &Missing) -> String {
    let title = format!("Linchpin: {}", escaped(&export.model.id));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}{}</style>\n<main>\n<h1>{title}</h1>\n{}",
        palette(),
        about(export)
    );
    if let Some(report) = &export.confirm {
        out += &confirmation(report);
    }
    for outcome in &export.outcomes {
        out += &section(outcome);
    }
    for (kind, why) in missing {
        let _ = writeln!(out, "<section><h2>{}</h2><p>Not measured: {}</p></section>", heading(*kind), escaped(why));
    }
    out + "</main>\n</html>\n"
}

fn about(export: &Export) -> String {
    let mut facts = vec![format!("weights {}", escaped(&export.model.revision))];
    if let Some(info) = &export.info {
        let millions = info.num_parameters as f64 / 1e6;
        facts.push(format!("{millions:.2} million parameters, {}, {} layers", escaped(&info.architecture), info.num_hidden_layers));
        let provenance = &info.provenance;
        if !provenance.origin.is_empty() {
            let commit = provenance.commit.as_ref().map(|commit| format!(" at {}", escaped(commit))).unwrap_or_default();
            facts.push(format!("from {}{commit}", escaped(&provenance.origin)));
        }
    }
    if let Some(outcome) = export.outcomes.first() {
        facts.push(format!("measured on {} by {}", escaped(&outcome.backend.name), escaped(&outcome.software)));
    }
    format!(
        "<p>{}.</p>\n<p class=\"note\">The experiments are those of The Super Weight in Large Language Models \
         (<a href=\"https://arxiv.org/abs/2411.07191\">arXiv:2411.07191</a>), made on this model. <code>linchpin repeat</code> makes \
         them again from the file of data beside this page, and compares every figure. A perplexity means nothing without its \
         convention: never compare figures of two.</p>\n",
        facts.join("; ")
    )
}

fn confirmation(report: &ConfirmReport) -> String {
    let mut out = String::from("<section><h2>Super weights</h2>\n<ul>\n");
    for verdict in &report.verdicts {
        let word = if verdict.confirmed { "is a super weight" } else { "is not a super weight" };
        let _ = writeln!(out, "<li><strong>{} {word}.</strong> {}</li>", escaped(&verdict.at.to_string()), escaped(&verdict.because));
    }
    let _ = writeln!(out, "</ul>\n<p class=\"note\">Measured on {} tokens: {}</p></section>", report.n_tokens, escaped(&report.convention));
    out
}

fn heading(kind: ExperimentKind) -> String {
    let name = kind.name().replace('_', " ");
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter();
    format!("{} <small>{}</small>", first.chain(letters).collect::<String>(), kind.source())
}

fn section(outcome: &Outcome) -> String {
    let experiment = &outcome.experiment;
    let mut out = format!("<section id=\"{}\">\n<h2>{}</h2>\n", experiment.kind.name(), heading(experiment.kind));
    if !experiment.super_weights.is_empty() {
        let scalars = experiment.super_weights.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let _ = writeln!(out, "<p class=\"note\">Of {}</p>", escaped(&scalars));
    }
    if !outcome.convention.is_empty() {
        let _ = writeln!(out, "<p class=\"note\">Measured on {}</p>", escaped(&outcome.convention));
    }
    for task in &experiment.tasks {
        let _ = writeln!(out, "<p class=\"note\">Task {}, file {}</p>", escaped(&task.name), escaped(&task.digest));
    }
    for finding in &outcome.findings {
        let _ = writeln!(out, "<p>{}</p>", escaped(finding));
    }
    out += "<div class=\"plots\">\n";
    for plot in &outcome.plots {
        let chart = data::chart(plot, outcome.table(&plot.table));
        let svg = chart.to_svg(|name| format!("var(--{name})"));
        let _ = writeln!(out, "<figure>{svg}<figcaption>{}</figcaption></figure>", escaped(&plot.title));
    }
    out += "</div>\n";
    outcome.tables.iter().for_each(|table| out += &table_html(table));
    let settings = serde_json::to_string(experiment).unwrap_or_default();
    let _ = writeln!(out, "<details><summary>Settings</summary><pre>{}</pre></details>\n</section>", escaped(&settings));
    out
}

fn table_html(table: &DataTable) -> String {
    let mut out =
        format!("<details><summary>{} ({} rows)</summary>\n<div class=\"scroll\"><table>\n<tr>", escaped(&table.title), table.rows.len());
    for column in &table.columns {
        let unit = if column.unit.is_empty() { String::new() } else { format!(" <small>{}</small>", escaped(&column.unit)) };
        let _ = write!(out, "<th scope=\"col\">{}{unit}</th>", escaped(&column.name));
    }
    out += "</tr>\n";
    for row in table.rows.iter().take(MAX_ROWS) {
        let cells = row.iter().map(|cell| {
            let class = if cell.number().is_some() { " class=\"number\"" } else { "" };
            format!("<td{class}>{}</td>", escaped(&data::cell_text(cell)))
        });
        let _ = writeln!(out, "<tr>{}</tr>", cells.collect::<String>());
    }
    out += "</table></div>\n";
    if table.rows.len() > MAX_ROWS {
        let _ = writeln!(out, "<p class=\"note\">The first {MAX_ROWS} rows; all are in the data.</p>");
    }
    out + "</details>\n"
}

/// Text from models and files, which may hold anything.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page's colours, by day and by night.
fn palette() -> String {
    let names = ["paper", "ink", "muted", "line", "intact", "ablated", "series-1", "series-2", "series-3", "series-4", "series-5"];
    let of = |colour: fn(&str) -> String| names.map(|name| format!("--{name}:{};", colour(name))).concat();
    format!(":root{{{}}}@media(prefers-color-scheme:dark){{:root{{{}}}}}", of(draw::palette::light), of(draw::palette::dark))
}

const STYLE: &str = "body{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;margin:0}\
    main{max-width:60rem;margin:0 auto;padding:1rem}a{color:inherit}h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.5rem}\
    small,.note,figcaption{color:var(--muted);font-weight:normal;font-size:.9rem}.plots{display:grid;gap:1.5rem;\
    grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr))}figure{margin:0;min-width:0}svg{width:100%;height:auto}\
    .scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}td,th{padding:.15rem .6rem;text-align:left;\
    border-bottom:1px solid var(--line)}.number{text-align:right;font-variant-numeric:tabular-nums}pre{white-space:pre-wrap;\
    overflow-wrap:anywhere}summary{cursor:pointer}";

/// Before anything is measured for nothing.
///
/// # Errors
///
/// Settings beside `--from`, which would be ignored.
pub fn check(asked: &ReportArgs) -> anyhow::Result<()> {
    if asked.from.is_some() && !asked.kinds.is_empty() {
        bail!("--from makes the page of what an export holds; leave --kinds out");
    }
    if asked.from.as_deref() == Some(asked.out.as_path()) {
        bail!("--out would overwrite what --from reads");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{BackendInfo, Cell, DataPlot, ModelRef, PlotKind};

    #[test]
    fn whatever_a_model_writes_stays_text() {
        let mut table = DataTable::new("tokens", "Tokens", &["token", "p (probability)"]);
        (0..MAX_ROWS + 1).for_each(|_| table.push([Cell::from("</script><b>"), 0.5_f64.into()]));
        let outcome = Outcome {
            experiment: Experiment { prompt: "<i>".into(), ..Experiment::of(ExperimentKind::Sinks, Vec::new()) },
            model: ModelRef { id: "<m>".into(), revision: "r".into() },
            backend: BackendInfo { kind: "cpu".into(), name: "<gpu>".into(), reason: String::new() },
            software: "linchpin".into(),
            convention: String::new(),
            findings: vec!["a < b & c".into()],
            headline: Vec::new(),
            tables: vec![table],
            plots: vec![DataPlot::new(PlotKind::Bars, "<title>", "tokens", "token", "p")],
            is_partial: false,
        };
        let export = Export { outcomes: vec![outcome.clone()], ..Export::new(outcome.model) };
        let html = page(&export, &vec![(ExperimentKind::Scaling, "<none>".into())]);
        for raw in ["</script>", "<b>", "<i>", "<m>", "<gpu>", "<none>", "a < b"] {
            assert!(!html.contains(raw), "{raw}");
        }
        for part in ["a &lt; b &amp; c", "<svg", "The first 200 rows", "Sinks <small>appendix A.5", "Not measured: &lt;none&gt;"] {
            assert!(html.contains(part), "{part}");
        }
        // Colours of the style sheet's names only, by day and night.
        for name in html.split("var(--").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert_eq!(html.matches(&format!("--{name}:")).count(), 2, "{name}");
        }
    }

    #[test]
    fn kinds_are_named_as_the_subcommands() {
        assert_eq!(
            kinds(&["token-shift".into(), "weights_only".into()]).unwrap(),
            [ExperimentKind::TokenShift, ExperimentKind::WeightsOnly]
        );
        assert!(kinds(&["magic".into()]).unwrap_err().to_string().contains("importance, propagation"));
        assert_eq!(kinds(&[]).unwrap().len(), 8);
    }
}
