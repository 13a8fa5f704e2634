//! Renders an export as HTML: figures first, then every report and every experiment with its charts and tables. The
//! page needs no scripts and no network.

use std::fmt::Write as _;

use crate::draw::marks::{Chart, escape};
use crate::draw::points::{cell_in, cell_text};
use crate::draw::report::{self, Part};
use crate::draw::{self, data};
use crate::language;
use crate::protocol::Export;
use crate::terms::{DataTable, ExperimentKind, Outcome};

/// The most rows of a table on the page; the data file has all rows.
const MAX_ROWS: usize = 200;

/// The experiments that could not be measured, each with the reason.
pub type Missing = Vec<(ExperimentKind, String)>;

/// Draws every report of the export except the experiments, in the order of Linchpin's page.
pub fn parts(export: &Export) -> Vec<Part> {
    let info = export.info.as_ref();
    let surroundings = export.surroundings.as_ref().map(|found| report::surroundings(found, export.scores.as_ref(), info));
    let checkpoints = (!export.checkpoints.is_empty()).then(|| report::checkpoints(&export.checkpoints, info));
    let parts = [
        export.scan.as_ref().map(report::scan),
        export.confirm.as_ref().map(report::confirm),
        export.scores.as_ref().map(report::scores),
        surroundings,
        export.sweep.as_ref().map(|sweep| report::sweep(sweep, info)),
        export.deletions.as_ref().map(|deletions| report::deletions(deletions, info)),
        checkpoints,
    ];
    parts.into_iter().flatten().collect()
}

/// Renders the whole page.
pub fn page(export: &Export, missing: &Missing) -> String {
    let title = format!("Linchpin: {}", escape(&export.model.id));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}{}</style>\n<main>\n<h1>{title}</h1>\n{}",
        palette(),
        about(export)
    );
    let parts = parts(export);
    out += &summary(export, &parts);
    parts.iter().for_each(|part| out += &part_html(part));
    for at in 0..export.outcomes.len() {
        out += &section(export, at);
    }
    for (kind, why) in missing {
        let _ = writeln!(out, "<section><h2>{}</h2><p>Not measured: {}</p></section>", heading(*kind), escape(why));
    }
    out + "</main>\n</html>\n"
}

fn about(export: &Export) -> String {
    let mut facts = vec![format!("weights {}", escape(&export.model.reading()))];
    if let Some(info) = &export.info {
        let millions = info.num_parameters as f64 / 1e6;
        facts.push(format!("{millions:.2} million parameters, {}, {} layers", escape(&info.architecture), info.num_hidden_layers));
        let provenance = &info.provenance;
        if !provenance.origin.is_empty() {
            let commit = provenance.commit.as_ref().map(|commit| format!(" at {}", escape(commit))).unwrap_or_default();
            facts.push(format!("from {}{commit}", escape(&provenance.origin)));
        }
    }
    let mut out = format!("<p>{}.</p>\n<p class=\"note\">", facts.join("; "));
    if !export.outcomes.is_empty() {
        out += "The experiments are those of The Super Weight in Large Language Models \
                (<a href=\"https://arxiv.org/abs/2411.07191\">arXiv:2411.07191</a>), run on this model. <code>linchpin repeat</code> repeats \
                them from the data file next to this page, and compares every figure. ";
    }
    out + "Compare perplexities only if they have the same convention.</p>\n"
}

fn part_html(part: &Part) -> String {
    let mut out = format!("<section id=\"{}\">\n<h2>{}</h2>\n", part.name, escape(part.title));
    part.facts.iter().for_each(|fact| out += &format!("<p>{}</p>\n", escape(fact)));
    out += &figures(&part.charts);
    part.tables.iter().for_each(|table| out += &table_html(table));
    out + "</section>\n"
}

fn figures(charts: &[Chart]) -> String {
    let mut out = String::from("<div class=\"plots\">\n");
    for chart in charts {
        let svg = chart.to_svg(|name| format!("var(--{name})"));
        let _ = writeln!(out, "<figure>{svg}<figcaption>{}</figcaption></figure>", escape(&chart.title));
    }
    out + "</div>\n"
}

fn heading(kind: ExperimentKind) -> String {
    let name = kind.name().replace('_', " ");
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter();
    format!("{} <small>{}</small>", first.chain(letters).collect::<String>(), language::source(kind))
}

/// Returns the anchor of an experiment on the page: its kind, with a number if there are several of its kind.
fn anchor(export: &Export, at: usize) -> String {
    let kind = export.outcomes[at].experiment.kind();
    match export.outcomes[..at].iter().filter(|before| before.experiment.kind() == kind).count() {
        0 => kind.name().into(),
        before => format!("{}-{}", kind.name(), before + 1),
    }
}

/// Renders links to all sections; links to experiments have their headlines.
fn summary(export: &Export, parts: &[Part]) -> String {
    if export.outcomes.is_empty() && parts.is_empty() {
        return String::new();
    }
    let mut out = String::from("<section><h2>Summary</h2>\n");
    if !parts.is_empty() {
        let links = parts.iter().map(|part| format!("<a href=\"#{}\">{}</a>", part.name, escape(part.title)));
        let _ = writeln!(out, "<p>{}</p>", links.collect::<Vec<_>>().join(" · "));
    }
    out += "<div class=\"plots\">\n";
    for (at, outcome) in export.outcomes.iter().enumerate() {
        let link = format!("<a href=\"#{}\">{}</a>", anchor(export, at), heading(outcome.experiment.kind()));
        let _ = writeln!(out, "<table class=\"summary\"><caption>{link}</caption>");
        for figure in &outcome.headline {
            let value = cell_text(&figure.value.into());
            let _ =
                writeln!(out, "<tr><td>{}</td><td class=\"number\">{}</td></tr>", escape(&language::figure(&figure.name)), escape(&value));
        }
        out += "</table>\n";
    }
    out + "</div></section>\n"
}

/// Lists an experiment's inputs, text, software, device and duration.
fn facts(export: &Export, outcome: &Outcome) -> String {
    let experiment = &outcome.experiment;
    let mut facts = Vec::new();
    if !experiment.super_weights.is_empty() {
        let scalars = experiment.super_weights.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        facts.push(format!("Super weights: {scalars}"));
    }
    if let Some(prompt) = experiment.prompt() {
        facts.push(format!("Prompt: {prompt:?}"));
    }
    if let Some(convention) = &outcome.convention {
        facts.push(format!("Measured on {}", language::convention(convention)));
    }
    let of_tasks = experiment.tasks().unwrap_or_default();
    for task in &of_tasks.tasks {
        let items = of_tasks.limit.map_or_else(String::new, |limit| format!(", {limit} items at most"));
        facts.push(format!("Task {} ({}){items}", task.name, task.digest));
    }
    let (kind, backend) = (experiment.kind().name(), &outcome.backend);
    let took = export.measured.iter().find(|figure| figure.name == super::print::TIME && figure.of == kind);
    let took = took.and_then(|figure| figure.value).map_or_else(String::new, |ms| format!(" in {:.1} s", ms / 1e3));
    facts.push(format!("Made by {} on {} ({}){took}", outcome.software, backend.name, backend.kind));
    let lines = facts.iter().map(|fact| format!("<li>{}</li>", escape(fact))).collect::<String>();
    format!("<ul class=\"note\">{lines}</ul>\n")
}

fn section(export: &Export, at: usize) -> String {
    let outcome = &export.outcomes[at];
    let experiment = &outcome.experiment;
    let mut out = format!("<section id=\"{}\">\n<h2>{}</h2>\n{}", anchor(export, at), heading(experiment.kind()), facts(export, outcome));
    if outcome.is_partial {
        out += "<p><strong>It was stopped early, so parts are missing.</strong></p>\n";
    }
    for finding in &outcome.findings {
        let _ = writeln!(out, "<p>{}</p>", escape(&language::finding(finding)));
    }
    let charts = outcome.plots.iter().map(|plot| data::chart(plot, outcome.table(&plot.table)));
    out += &figures(&charts.collect::<Vec<_>>());
    outcome.tables.iter().for_each(|table| out += &table_html(table));
    let settings = serde_json::to_string(experiment).unwrap_or_default();
    let _ = writeln!(out, "<details><summary>Settings</summary><pre>{}</pre></details>\n</section>", escape(&settings));
    out
}

fn table_html(table: &DataTable) -> String {
    let mut out = format!(
        "<details><summary>{} ({} rows)</summary>\n<div class=\"scroll\"><table>\n<tr>",
        escape(&language::table_title(table)),
        table.rows.len()
    );
    for column in &table.columns {
        let unit = if column.unit.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(&column.unit)) };
        let _ = write!(out, "<th scope=\"col\">{}{unit}</th>", escape(&column.name));
    }
    out += "</tr>\n";
    for row in table.rows.iter().take(MAX_ROWS) {
        let cells = row.iter().zip(&table.columns).map(|(cell, column)| {
            let class = if cell.number().is_some() { " class=\"number\"" } else { "" };
            format!("<td{class}>{}</td>", escape(&cell_in(&column.name, cell)))
        });
        let _ = writeln!(out, "<tr>{}</tr>", cells.collect::<String>());
    }
    out += "</table></div>\n";
    if table.rows.len() > MAX_ROWS {
        let _ = writeln!(out, "<p class=\"note\">The first {MAX_ROWS} rows; the data file has all.</p>");
    }
    out + "</details>\n"
}

/// Returns the page's colours as CSS, for light and dark mode.
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
    overflow-wrap:anywhere}summary{cursor:pointer}p,li{overflow-wrap:anywhere}ul.note{list-style:none;padding:0}\
    .plots{margin:1.5rem 0}.scroll td{white-space:nowrap}.summary{align-self:start}caption{text-align:left;\
    padding:.15rem .6rem}";

#[cfg(test)]
mod tests {
    use super::super::session::collect;
    use super::*;
    use crate::protocol::{Event, Figure, samples};
    use crate::terms::{BackendInfo, Cell, DataPlot, Experiment, Headline, Message, ModelRef, PlotKind, Settings, Sinks};

    #[test]
    fn model_output_stays_text() {
        let mut table = DataTable::new("tokens", "Tokens", &["token", "p (probability)"]);
        (0..MAX_ROWS + 1).for_each(|_| table.push([Cell::from("</script><b>"), 0.5_f64.into()]));
        let outcome = Outcome {
            experiment: Experiment::new(Settings::Sinks(Sinks { prompt: "<i>".into() }), Vec::new()),
            model: ModelRef::new("<m>", "r"),
            backend: BackendInfo { kind: "cpu".into(), name: "<gpu>".into(), reason: String::new() },
            software: "linchpin".into(),
            convention: None,
            findings: vec![Message::new(Message::SAID).with("text", "a < b & c")],
            headline: vec![Headline { name: "<number>".into(), value: 0.25 }],
            tables: vec![table],
            plots: vec![DataPlot::new(PlotKind::Bars, "<title>", "tokens", "token", "p")],
            is_partial: true,
        };
        let took =
            Figure { name: super::super::print::TIME.into(), value: Some(1500.0), unit: "ms".into(), of: "sinks".into(), missing: None };
        let export = Export { outcomes: vec![outcome.clone(), outcome.clone()], measured: vec![took], ..Export::new(outcome.model) };
        let html = page(&export, &vec![(ExperimentKind::Scaling, "<none>".into())]);
        for raw in ["</script>", "<b>", "<i>", "<m>", "<gpu>", "<none>", "<number>", "<script", "a < b"] {
            assert!(!html.contains(raw), "{raw}");
        }
        for part in ["a &lt; b &amp; c", "<svg", "The first 200 rows", "Sinks <small>appendix A.5", "Not measured: &lt;none&gt;"] {
            assert!(html.contains(part), "{part}");
        }
        for part in ["href=\"#sinks\"", "id=\"sinks-2\"", "<td class=\"number\">0.25</td>", "(cpu) in 1.5 s", "stopped early"] {
            assert!(html.contains(part), "{part}");
        }
        // The page only uses colours that its style sheet defines, in light and dark mode.
        for name in html.split("var(--").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert_eq!(html.matches(&format!("--{name}:")).count(), 2, "{name}");
        }
    }
    #[test]
    fn every_report_of_an_export_has_a_section_with_charts_and_tables() {
        let mut export = Export::new(ModelRef::new("m", "r"));
        let mut events = samples::events();
        if let Some(Event::Loaded(info)) = events.iter().find(|event| matches!(event, Event::Loaded(_))) {
            export.info = Some(info.clone());
        }
        events.retain(|event| !matches!(event, Event::Outcome(_)));
        collect(events, &mut export);
        let recorded = serde_json::from_str::<Export>(include_str!("../../public/recorded/training.json")).unwrap();
        export.checkpoints = recorded.checkpoints;
        let html = page(&export, &Vec::new());
        let parts = parts(&export);
        let names = parts.iter().map(|part| part.name).collect::<Vec<_>>();
        assert_eq!(names, ["scan", "confirm", "scores", "surroundings", "sweep", "deletions", "training"]);
        for part in &parts {
            assert!(html.contains(&format!("<section id=\"{}\">", part.name)) && html.contains(&format!("href=\"#{}\"", part.name)));
            assert!(!part.charts.is_empty() && !part.tables.is_empty() && !part.facts.is_empty(), "{}", part.name);
            part.charts.iter().for_each(|chart| assert!(!chart.title.is_empty(), "{}", part.name));
            for table in &part.tables {
                assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{} {}", part.name, table.name);
                assert!(html.contains(&escape(&language::table_title(table))), "{:?}", table.title);
            }
        }
        assert_eq!(html.matches("<svg").count(), parts.iter().map(|part| part.charts.len()).sum::<usize>());
    }
}
