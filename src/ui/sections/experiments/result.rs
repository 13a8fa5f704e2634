//! The latest outcome of the chosen kind, partial or complete: findings, figures, pictures, tables and the link.
//!
//! Each part follows the outcome separately (see [`Growing`]).

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::draw::data::chart;
use crate::draw::points::cell_text;
use crate::language;
use crate::share::ExperimentLink;
use crate::terms::Outcome;
use crate::ui::page::context::{App, app};
use crate::ui::page::dom;
use crate::ui::sections::experiments::growing::Growing;
use crate::ui::sections::experiments::table::table;
use crate::ui::sections::experiments::{button, coordinates, list};
use crate::ui::state::AppState;
use crate::ui::state::experiments::is_experiment;
use crate::words::visible;

pub fn result() -> AnyView {
    let app = app();
    let kind = app.part(|state| state.outcome(state.experiments.kind).map(|outcome| outcome.experiment.kind()));
    view! { <div class="region">{move || kind.get().map(|kind| outcome(Growing::new(kind)))}</div> }.into_any()
}

fn outcome(of: Growing) -> AnyView {
    let status = of.app.part(move |state| state.outcome(of.kind).map(|outcome| status(outcome, state.queue.runs(is_experiment))));
    view! {
        <div class="outcome" data-testid="experiment-result">
            <h3>{language::title(of.kind)}</h3>
            {list("experiment-findings", "verdicts", of.part(findings))}
            {list("experiment-figures", "legend", of.part(figures))}
            <div class="pair">{of.each(of.part(|outcome| outcome.plots.len()), plot)}</div>
            {of.each(of.part(|outcome| outcome.tables.len()), table)}
            <p class="note" role="status" data-testid="experiment-status">{move || status.get()}</p>
            {link(of)}
        </div>
    }
    .into_any()
}

/// A picture. Its SVG has all text escaped, so it can be inserted as HTML.
fn plot(of: Growing, number: usize) -> AnyView {
    let title = of.part(move |outcome| outcome.plots.get(number).map(language::plot_title).unwrap_or_default());
    let colour = |name: &str| if name == "paper" { "none".into() } else { format!("var(--{name})") };
    let drawn = of.part(move |outcome| svg(outcome, number, colour).unwrap_or_default());
    let save = move |_| of.save(number, "svg", "image/svg+xml", |outcome, number| svg(outcome, number, dom::css_colour));
    view! {
        <figure class="chart" data-testid=format!("experiment-plot-{number}")>
            <figcaption>{move || title.get()}</figcaption>
            <div inner_html=move || drawn.get()></div>
            <div class="saves"><button type="button" class="link" data-testid=format!("experiment-plot-{number}-svg") on:click=save>"SVG"</button></div>
        </figure>
    }
    .into_any()
}

/// The link to the outcome, once it is complete.
fn link(of: Growing) -> AnyView {
    let is_partial = of.part(|outcome| outcome.is_partial);
    let made = of.app.part(|state| state.experiments.made.clone());
    let shown = |made: Result<String, String>| {
        match made {
        Ok(link) => view! {
            <label class="field long">"Copied, if the browser allows it "<input type="text" readonly data-testid="experiment-made" value=link /></label>
        }
        .into_any(),
        Err(why) => view! { <p class="error" role="alert" data-testid="experiment-made-error">{format!("No link: {why}.")}</p> }.into_any(),
    }
    };
    view! {
        <div class="row">
            {button("experiment-link", "", "Link".into(), is_partial.into(), share)}
            {move || made.get().map(shown)}
        </div>
    }
    .into_any()
}

/// Creates a link to the shown outcome, and copies it.
fn share(app: App) {
    let made = app.state.with_untracked(|state| {
        let outcome = state.outcome(state.experiments.kind)?;
        Some(ExperimentLink::from_outcome(outcome).and_then(|link| link.encode()))
    });
    let Some(made) = made else { return };
    let made = made.map(|fragment| format!("{}{fragment}", dom::address())).map_err(|why| why.to_string());
    if let Ok(link) = made.clone() {
        spawn_local(async move {
            dom::copy(&link).await;
        });
    }
    app.state.update(|state| state.experiments.made = Some(made));
}

/// The view of the candidates from the weights alone, for the section "Find".
pub fn cold() -> AnyView {
    let app = app();
    let line = app.part(cold_line);
    let shown = |line: String| view! { <p class="note" data-testid="cold-candidates">{line}</p> };
    view! { <div class="region">{move || line.get().map(shown)}</div> }.into_any()
}

fn findings(outcome: &Outcome) -> Vec<String> {
    outcome.findings.iter().map(|finding| visible(&language::finding(finding))).collect()
}

fn figures(outcome: &Outcome) -> Vec<String> {
    outcome
        .headline
        .iter()
        .map(|figure| visible(&format!("{}: {}", language::figure(&figure.name), cell_text(&figure.value.into()))))
        .collect()
}

/// The picture with this number as SVG, with colours from `colour`.
fn svg(outcome: &Outcome, number: usize, colour: impl Fn(&str) -> String) -> Option<String> {
    let plot = outcome.plots.get(number)?;
    Some(chart(plot, outcome.table(&plot.table)).to_svg(colour))
}

fn status(outcome: &Outcome, is_running: bool) -> String {
    let partial = match (outcome.is_partial, is_running) {
        (false, _) => "",
        (true, true) => "So far; more is coming. ",
        (true, false) => "Stopped early: partial result. ",
    };
    let on = outcome.convention.as_ref().map(|convention| format!("{}; ", language::convention(convention))).unwrap_or_default();
    format!("{partial}{on}{}", outcome.backend.name)
}

fn cold_line(state: &AppState) -> Option<String> {
    let (first, is_same) = state.cold_candidates()?;
    let beside = match is_same {
        Some(true) => " The scan's first candidate is one of them.",
        Some(false) => " The scan's first candidate is not one of them.",
        None => "",
    };
    Some(format!("Candidates from the weights alone, before any forward pass: {}.{beside}", coordinates(&first)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{DataPlot, DataTable, ExperimentKind, Message, PlotKind};
    use crate::ui::state::experiments::tests;

    fn outcome() -> Outcome {
        tests::outcome(ExperimentKind::Scaling, true)
    }

    #[test]
    fn result_has_its_sentences_and_figures() {
        let mut outcome = outcome();
        outcome.findings.push(Message::new(Message::SAID).with("text", "one\ntwo"));
        assert_eq!(findings(&outcome), ["f", "one⏎two"]);
        assert_eq!(figures(&outcome), ["loss at factor 1: 3.5"]);
    }

    #[test]
    fn status_says_if_more_is_coming() {
        let mut outcome = outcome();
        outcome.convention = Some(crate::terms::Message::new("passages").with("text", "mine").with("limit", 128_usize));
        assert_eq!(status(&outcome, true), "So far; more is coming. mine, each passage on its own, first 128 tokens; n");
        let stopped = "Stopped early: partial result. mine, each passage on its own, first 128 tokens; n";
        assert_eq!(status(&outcome, false), stopped);
        (outcome.is_partial, outcome.convention) = (false, None);
        assert_eq!(status(&outcome, true), "n");
    }

    #[test]
    fn picture_holds_text_as_text() {
        const HOSTILE: &str = "<img src=x onerror='alert(1)'>\"&";
        let mut outcome = outcome();
        let mut table = DataTable::new("t", HOSTILE, &[HOSTILE, "y"]);
        table.push([crate::terms::Cell::Text(HOSTILE.into()), 1.0_f64.into()]);
        outcome.tables.push(table);
        outcome.plots.push(DataPlot::new(PlotKind::Bars, HOSTILE, "t", HOSTILE, "y"));
        let svg = svg(&outcome, 0, |name| format!("var(--{name})")).unwrap();
        assert!(!svg.contains("<img") && !svg.contains("onerror='") && svg.contains("&lt;img") && svg.contains("var(--intact)"), "{svg}");
        assert_eq!(self::svg(&outcome, 1, str::to_string), None);
    }
}
