//! What came out of an experiment: sentences, figures, pictures and tables, whichever experiment it was.

use leptos::prelude::*;
use leptos::task::spawn_local;

use super::chart_view::drawing;
use super::context::app;
use super::dom;
use super::experiment_state::is_experiment;
use super::experiments::{described, save};
use crate::draw::data::{cell_text, chart};
use crate::draw::words::visible;
use crate::share::ExperimentLink;
use crate::terms::{Column, DataTable, ExperimentKind, Outcome};

/// Larger tables are for programs.
const MAX_ROWS: usize = 200;

/// The last outcome of this kind, as far as it has come.
#[component]
pub fn Result(kind: ExperimentKind) -> impl IntoView {
    let app = app();
    let known = app.part(move |state| state.outcome(kind).is_some());
    move || known.get().then(|| result(kind))
}

fn result(kind: ExperimentKind) -> AnyView {
    let app = app();
    let outcome = app.part(move |state| state.outcome(kind).cloned());
    let part =
        move |get: fn(&Outcome) -> Vec<String>| Memo::new(move |_| outcome.with(|outcome| outcome.as_ref().map(get).unwrap_or_default()));
    let findings = part(|outcome| outcome.findings.clone());
    let figures =
        part(|outcome| outcome.headline.iter().map(|figure| format!("{}: {}", figure.name, cell_text(&figure.value.into()))).collect());
    let count = move |get: fn(&Outcome) -> usize| Memo::new(move |_| outcome.with(|outcome| outcome.as_ref().map_or(0, get)));
    let (n_plots, n_tables) = (count(|outcome| outcome.plots.len()), count(|outcome| outcome.tables.len()));
    let is_running = app.part(|state| state.queue.runs(is_experiment));
    let status = move || {
        outcome.with(|outcome| {
            let outcome = outcome.as_ref()?;
            let partial = match (outcome.is_partial, is_running.get()) {
                (false, _) => "",
                (true, true) => "So far; more is coming. ",
                (true, false) => "Not to its end: this is what there is. ",
            };
            Some(format!("{partial}{} {}", outcome.convention, outcome.backend.name))
        })
    };
    let item = |text: String| view! { <li>{visible(&text)}</li> };
    view! {
        <div class="outcome" data-testid="experiment-result">
            <h3>{described(kind).0}</h3>
            <ul class="verdicts" data-testid="experiment-findings">{move || findings.get().into_iter().map(item).collect_view()}</ul>
            <ul class="legend" data-testid="experiment-figures">{move || figures.get().into_iter().map(item).collect_view()}</ul>
            <div class="pair">{move || (0..n_plots.get()).map(|at| picture(outcome, at)).collect_view()}</div>
            {move || (0..n_tables.get()).map(|at| table(outcome, at)).collect_view()}
            <p class="note" role="status" data-testid="experiment-status">{status}</p>
            {link(outcome)}
        </div>
    }
    .into_any()
}

fn picture(outcome: Memo<Option<Outcome>>, at: usize) -> AnyView {
    let drawn = Signal::derive(move || {
        outcome.with(|outcome| {
            let outcome = outcome.as_ref()?;
            let plot = outcome.plots.get(at)?;
            Some((chart(plot, outcome.table(&plot.table)), format!("{}-{at}", outcome.experiment.kind.name())))
        })
    });
    let chart = Memo::new(move |_| drawn.get().map(|(chart, _)| chart).unwrap_or_default());
    let save_svg = move |_| {
        if let Some((chart, name)) = drawn.get_untracked() {
            save(&name, "svg", "image/svg+xml", &chart.to_svg(dom::css_colour));
        }
    };
    view! {
        <figure class="chart">
            <figcaption>{move || chart.with(|chart| chart.title.clone())}</figcaption>
            {drawing(format!("experiment-plot-{at}"), chart.into())}
            <div class="saves"><button type="button" class="link" data-testid=format!("experiment-plot-{at}-svg") on:click=save_svg>"SVG"</button></div>
        </figure>
    }
    .into_any()
}

fn table(outcome: Memo<Option<Outcome>>, at: usize) -> AnyView {
    let is_open = RwSignal::new(false);
    let with = move |get: fn(&DataTable) -> String| outcome.with(|outcome| outcome.as_ref()?.tables.get(at).map(get)).unwrap_or_default();
    let csv = move |_| {
        let name = untrack(move || with(|table| table.name.clone()));
        save(&name, "csv", "text/csv", &untrack(move || with(DataTable::to_csv)));
    };
    let shown = move || is_open.get().then(|| outcome.with(|outcome| outcome.as_ref()?.tables.get(at).map(rows)));
    view! {
        <div class="chart-foot">
            <details data-testid=format!("experiment-table-{at}") on:toggle=move |event| is_open.set(event_target::<web_sys::HtmlDetailsElement>(&event).open())>
                <summary>{move || with(|table| format!("{} ({} rows)", table.title, table.rows.len()))}</summary>
                <div class="scroll" tabindex="0" role="region" aria-label=move || with(|table| table.title.clone())>{shown}</div>
            </details>
            <button type="button" class="link" data-testid=format!("experiment-table-{at}-csv") on:click=csv aria-label=move || with(|table| format!("{}: save as CSV", table.title))>"CSV"</button>
        </div>
    }
    .into_any()
}

fn rows(table: &DataTable) -> AnyView {
    let name = |Column { name, unit }: &Column| {
        if unit.is_empty() { name.replace('_', " ") } else { format!("{}, {unit}", name.replace('_', " ")) }
    };
    let head = table.columns.iter().map(|column| view! { <th scope="col">{name(column)}</th> }).collect_view();
    let row = |cells: &Vec<_>| {
        let cells = cells.iter().map(|cell| view! { <td class="number">{cell_text(cell)}</td> }).collect_view();
        view! { <tr>{cells}</tr> }
    };
    let body = table.rows.iter().take(MAX_ROWS).map(row).collect_view();
    let rest = (table.rows.len() > MAX_ROWS).then(|| format!("The first {MAX_ROWS} rows; all are in the CSV file."));
    view! { <table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p class="note">{rest}</p> }.into_any()
}

/// A link to the outcome, once it is complete.
fn link(outcome: Memo<Option<Outcome>>) -> AnyView {
    let made = RwSignal::new(None::<(bool, String)>);
    // A link of an earlier outcome beside a newer one would mislead.
    Effect::new(move |_| {
        outcome.with(|_| ());
        made.set(None);
    });
    let share = move |_| {
        let link = outcome
            .with_untracked(|outcome| outcome.as_ref().map(|outcome| ExperimentLink::from_outcome(outcome).and_then(|link| link.encode())));
        let text = match link {
            Some(Ok(fragment)) => format!("{}{fragment}", dom::address()),
            Some(Err(why)) => return made.set(Some((false, format!("No link: {why}.")))),
            None => return,
        };
        made.set(Some((true, text.clone())));
        spawn_local(async move {
            dom::copy(&text).await;
        });
    };
    let shown = move || {
        made.get().map(|(is_link, text)| match is_link {
            true => view! { <label class="field long">"Link, copied where the browser lets it" <input type="text" readonly data-testid="experiment-link" prop:value=text /></label> }.into_any(),
            false => view! { <p class="error" role="alert" data-testid="experiment-link-error">{text}</p> }.into_any(),
        })
    };
    view! {
        <div class="row">
            <button type="button" data-testid="experiment-share" disabled=move || outcome.with(|outcome| outcome.as_ref().is_none_or(|outcome| outcome.is_partial)) on:click=share>"Link"</button>
            {shown}
        </div>
    }
    .into_any()
}
