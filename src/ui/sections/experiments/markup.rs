//! The section of experiments as HTML. Any experiment is shown as tables, and Leptos would compile each list of them
//! anew. The functions are pure, and escape all text that is not the page's own.
//!
//! Elements that can be pressed or changed have `data-act`, and `data-at` where there are several; [`super`] acts on
//! them.

use crate::draw::data::chart;
use crate::draw::marks::escape;
use crate::draw::points::{cell_in, cell_text};
use crate::language;
use crate::protocol::Request;
use crate::share::ExperimentLink;
use crate::terms::{DataTable, ExperimentKind, Outcome, WeightCoord};
use crate::ui::sections::model::progress;
use crate::ui::state::AppState;
use crate::ui::state::experiments::{Experiments, Scalars, Shared, Wrong, is_experiment};
use crate::words::visible;

/// The most rows of a table that are shown; larger tables are for programs.
const MAX_ROWS: usize = 200;

#[derive(Default)]
struct Html(String);

impl Html {
    fn raw(&mut self, html: &str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.raw(&escape(text))
    }

    fn number(&mut self, number: usize) -> &mut Self {
        self.raw(&number.to_string())
    }

    /// `<tag>text</tag>`; `tag` may have attributes.
    fn element(&mut self, tag: &str, text: &str) -> &mut Self {
        self.raw("<").raw(tag).raw(">").text(text).raw("</").raw(tag.split(' ').next().unwrap_or(tag)).raw(">")
    }

    /// A button that does `act`, named `experiment-<act>`.
    fn button(&mut self, act: &str, class: &str, text: &str, is_disabled: bool) -> &mut Self {
        self.raw("<button type=button data-act=").raw(act).raw(" data-testid=experiment-").raw(act).raw(" class='").raw(class);
        self.raw(if is_disabled { "' disabled>" } else { "'>" }).text(text).raw("</button>")
    }

    fn list(&mut self, attributes: &str, items: impl Iterator<Item = String>) -> &mut Self {
        self.raw("<ul ").raw(attributes).raw(">");
        for item in items {
            self.element("li", &visible(&item));
        }
        self.raw("</ul>")
    }
}

fn coordinates(places: &[WeightCoord]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The key of [`setup`]: all that it is drawn from, except the text typed into settings.
pub fn setup_key(state: &AppState) -> String {
    let Experiments { kind, filled, text, tasks, scalars, .. } = &state.experiments;
    let mut key = Html::default();
    key.raw(if state.is_live() { "+" } else { "" }).raw(if state.is_experiment_shared() { "-" } else { "" });
    key.raw(kind.name()).number(*filled as usize).number(*scalars as usize).raw(&coordinates(&state.scalars(*scalars)));
    key.raw(text.as_ref().map_or("", |(name, _)| name));
    for task in tasks {
        key.raw(&task.name);
    }
    for outcome in state.outcomes() {
        key.raw(outcome.experiment.kind().name());
    }
    key.0
}

/// The choice of an experiment, and its settings.
pub fn setup(state: &AppState) -> String {
    let of = &state.experiments;
    let mut html = Html::default();
    html.raw("<div class=kinds role=radiogroup aria-label=Experiment>");
    for (at, kind) in ExperimentKind::ALL.iter().copied().enumerate() {
        let (title, asks) = (language::title(kind), language::asks(kind));
        html.raw("<label class=kind><input type=radio name=experiment data-act=kind data-at=").number(at);
        html.raw(" data-testid=experiment-").raw(kind.name()).raw(if kind == of.kind { " checked><span>" } else { "><span>" });
        html.element("strong", title).raw(if state.outcome(kind).is_some() { " ✓ (" } else { " (" });
        html.raw(language::source(kind)).raw(") ").raw(asks).raw("</span></label>");
    }
    html.raw("</div><div class=row><label class=field>Super weights <select data-act=scalars data-testid=experiment-scalars>");
    let sources =
        [(Scalars::Scan, "the scan's candidates"), (Scalars::Edits, "edits of scalars that are on"), (Scalars::Link, "those of the link")];
    for (source, name) in sources.into_iter().filter(|(source, _)| *source != Scalars::Link || state.is_experiment_shared()) {
        html.raw(if source == of.scalars { "<option selected>" } else { "<option>" }).raw(name).raw("</option>");
    }
    let found = state.scalars(of.scalars);
    html.raw("</select></label>").element("p class='hint coordinate' data-testid=experiment-named", &coordinates(&found));
    if found.is_empty() && of.scalars == Scalars::Scan {
        html.button("scan", "small", "Scan first", !state.is_live());
    }
    html.raw("</div>");
    if let Some(prompt) = of.setting().clone().parts().prompt {
        html.raw("<label class=field>Text to read <textarea rows=2 maxlength=2000 data-act=prompt data-testid=setting-prompt>");
        // Line breaks are kept; the parser would swallow the first one.
        for line in prompt.split('\n') {
            html.raw("\n").text(line);
        }
        html.raw("</textarea></label>");
    }
    html.raw("<div class=sampling>");
    for (id, value) in of.fields() {
        let label = language::setting_label(id);
        html.raw("<label class=field>")
            .text(label)
            .raw(" <input type=text inputmode=decimal data-act=setting data-at=")
            .number(id as usize);
        html.raw(" data-testid=setting-").raw(id.name()).raw(" value='").text(&value).raw("'></label>");
    }
    html.raw("</div>");
    if of.kind.reads_text() {
        let name = of.text.as_ref().map_or("the bundled held-out passages", |(name, _)| name);
        let hint = "All of it, one after the other, in blocks as in the paper (convention concat-2048, or shorter where the model is). \
                    One of your own then also serves Confirm and the perplexities.";
        files(&mut html, "text", &format!("Text: {name}"), hint);
    }
    if of.kind.reads_tasks() {
        let names = of.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ");
        let hint =
            "For accuracy: lines of JSON as the benchmark publishes them, in a file named after it: lambada_openai.jsonl, arc_easy.jsonl.";
        files(&mut html, "tasks", &format!("Tasks: {}", if names.is_empty() { "none" } else { &names }), hint);
    }
    html.0
}

/// The HTML of a file input, for a file in place of none or of the bundled one.
fn files(html: &mut Html, act: &str, summary: &str, hint: &str) {
    html.raw("<details class=fold data-testid=experiment-")
        .raw(act)
        .raw("-fold>")
        .element("summary", summary)
        .element("p class=note", hint);
    html.raw("<div class=row><label class=field>A file of your own <input type=file data-act=")
        .raw(act)
        .raw(" data-testid=experiment-")
        .raw(act);
    html.raw("></label>").button(&format!("no-{act}"), "small", "Without it", false).raw("</div></details>");
}

/// The buttons that run the experiment, and the reasons why it cannot run.
pub fn run(state: &AppState) -> String {
    let (asked, running) = (state.queue.any(is_experiment), state.queue.runs(is_experiment));
    let lacks = state.experiment().err();
    let error = state.experiments.error.as_ref();
    let is_disabled = !state.is_live() || asked || lacks.is_some() || error.is_some_and(|wrong| wrong.setting().is_some());
    let mut html = Html::default();
    html.element("p class=error role=alert data-testid=experiment-error", &error.map(wrong).unwrap_or_default());
    html.raw("<div class=row>").button(
        "run",
        "primary",
        if running {
            "Measuring…"
        } else if asked {
            "Waiting…"
        } else {
            "Run"
        },
        is_disabled,
    );
    if asked {
        html.button("stop", "", "Stop", false);
    }
    html.raw("</div>");
    html.0
}

fn wrong(wrong: &Wrong) -> String {
    match wrong {
        Wrong::Setting(error) => language::setting_error(error),
        Wrong::File(why) => why.clone(),
    }
}

/// The progress line, or the missing input. Separate from the buttons because it is redrawn ten times a second.
pub fn doing(state: &AppState) -> String {
    let lacks = state.experiment().err();
    let doing = if state.queue.runs(is_experiment) { progress(state) } else { lacks.unwrap_or_default().into() };
    let mut html = Html::default();
    html.element("p class=hint data-testid=experiment-progress", &doing);
    html.0
}

/// The key of [`result`], which changes with every outcome.
pub fn result_key(state: &AppState) -> String {
    let of = &state.experiments;
    let mut key = Html::default();
    key.raw(of.kind.name()).number(of.version as usize).raw(if state.queue.runs(is_experiment) { "+" } else { "" });
    key.raw(state.model.info.as_ref().map_or("", |info| &info.model.revision));
    key.0
}

/// The latest outcome of the chosen kind, partial or complete.
pub fn result(state: &AppState) -> String {
    let mut html = Html::default();
    let Some(outcome) = state.outcome(state.experiments.kind) else { return html.0 };
    html.raw("<div class=outcome data-testid=experiment-result>").element("h3", language::title(outcome.experiment.kind()));
    html.list("class=verdicts data-testid=experiment-findings", outcome.findings.iter().map(language::finding));
    let figures = outcome.headline.iter().map(|figure| format!("{}: {}", language::figure(&figure.name), cell_text(&figure.value.into())));
    html.list("class=legend data-testid=experiment-figures", figures);
    html.raw("<div class=pair>");
    for (at, plot) in outcome.plots.iter().enumerate() {
        let colour = |name: &str| if name == "paper" { "none".into() } else { format!("var(--{name})") };
        html.raw("<figure class=chart data-testid=experiment-plot-").number(at).raw(">").element("figcaption", &language::plot_title(plot));
        html.raw(&chart(plot, outcome.table(&plot.table)).to_svg(colour));
        html.raw("<div class=saves><button type=button class=link data-act=svg data-at=")
            .number(at)
            .raw(" data-testid=experiment-plot-")
            .number(at);
        html.raw("-svg>SVG</button></div></figure>");
    }
    html.raw("</div>");
    outcome.tables.iter().enumerate().for_each(|(at, table)| self::table(&mut html, at, table));
    html.element("p class=note role=status data-testid=experiment-status", &status(state, outcome));
    html.raw("<div class=row>").button("link", "", "Link", outcome.is_partial);
    match &state.experiments.made {
        Some(Ok(link)) => html
            .raw("<label class='field long'>Copied where the browser lets it <input type=text readonly data-testid=experiment-made value='")
            .text(link)
            .raw("'></label>"),
        Some(Err(why)) => html.element("p class=error role=alert data-testid=experiment-made-error", &format!("No link: {why}.")),
        None => &mut html,
    };
    html.raw("</div></div>");
    html.0
}

fn status(state: &AppState, outcome: &Outcome) -> String {
    let is_running = state.queue.runs(is_experiment);
    let partial = match (outcome.is_partial, is_running) {
        (false, _) => "",
        (true, true) => "So far; more is coming. ",
        (true, false) => "Not to its end: this is what there is. ",
    };
    let on = if outcome.convention.is_empty() { String::new() } else { format!("{}; ", outcome.convention) };
    format!("{partial}{on}{}", outcome.backend.name)
}

fn table(html: &mut Html, at: usize, table: &DataTable) {
    html.raw("<div class=chart-foot><details data-testid=experiment-table-")
        .number(at)
        .raw("><summary>Table: ")
        .text(&table.title)
        .raw(" (");
    html.number(table.rows.len())
        .raw(" rows)</summary><div class=scroll tabindex=0 role=region aria-label='")
        .text(&table.title)
        .raw("'><table><thead><tr>");
    for column in &table.columns {
        html.raw("<th scope=col>").text(&column.name.replace('_', " "));
        if !column.unit.is_empty() {
            html.raw(", ").text(&column.unit);
        }
        html.raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    for row in table.rows.iter().take(MAX_ROWS) {
        html.raw("<tr>");
        for (cell, column) in row.iter().zip(&table.columns) {
            html.element("td class=number", &cell_in(&column.name, cell));
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table>");
    if table.rows.len() > MAX_ROWS {
        html.raw("<p class=note>The first ").number(MAX_ROWS).raw(" rows; all are in the CSV file.</p>");
    }
    html.raw("</div></details><button type=button class=link data-act=csv data-at=")
        .number(at)
        .raw(" data-testid=experiment-table-")
        .number(at);
    html.raw("-csv aria-label='").text(&table.title).raw(": save as CSV'>CSV</button></div>");
}

/// The experiment that the page was opened with.
pub fn shared(state: &AppState) -> String {
    let mut html = Html::default();
    match &state.experiments.shared {
        Shared::None => return html.0,
        Shared::Refused(why) => {
            html.raw(PANEL).element("p class=error data-testid=try-error", &format!("It cannot be opened: {why}."));
        }
        Shared::Held(link) => held(state, link, &mut html),
    }
    html.button("close", "quiet", "Close it", false).raw("</section>");
    html.0
}

const PANEL: &str = "<section class=link-panel data-testid=try-panel aria-labelledby=try-title><h2 id=try-title>Somebody shared an experiment with you</h2>";

fn held(state: &AppState, link: &ExperimentLink, html: &mut Html) {
    let experiment = &link.experiment;
    html.raw(PANEL)
        .raw("<p data-testid=try-contents>")
        .text(language::title(experiment.kind()))
        .raw(" on ")
        .text(&link.model.id)
        .raw(" (revision ");
    html.text(&link.model.revision).raw("). Super weights: ").text(&coordinates(&experiment.super_weights)).raw(". ");
    html.text(&visible(&experiment.prompt().unwrap_or_default()));
    for (id, value) in experiment.settings.clone().numbers() {
        html.raw(" ").text(language::setting_label(id)).raw(": ").text(&value.text()).raw(".");
    }
    html.raw("</p>");
    let needs = state.shared_needs();
    if !needs.is_empty() {
        html.raw("<p class=note data-testid=try-needs>Measured on ").text(&visible(&needs.join(", ")));
        html.raw(", which is not in the link: open the same file below. The engine compares its digest.</p>");
    }
    let (figures, notes) = state.shared_verdict();
    html.raw("<div class=scroll tabindex=0 role=region aria-label=Figures><table><thead><tr><th scope=col>figure</th><th scope=col>in the link</th><th scope=col>here</th><th scope=col>verdict</th></tr></thead><tbody>");
    for figure in figures {
        let word = match figure.agrees() {
            Some(true) => "agrees",
            Some(false) => "differs",
            None => "–",
        };
        html.raw("<tr data-testid=try-figure data-agrees=")
            .raw(word)
            .raw(">")
            .element("th scope=row", &visible(&language::figure(&figure.name)));
        html.element("td class=number", &cell_text(&figure.there.into()))
            .element("td class=number", &cell_text(&figure.here.into()))
            .element("td", word)
            .raw("</tr>");
    }
    html.raw("</tbody></table></div><p class=note>Figures agree within 1 %, or within 0.005 and a tenth of theirs. Nothing is downloaded or run before you press; the settings are filled in under <a href='#experiments'>Experiments</a>.</p><div role=status>");
    for note in notes {
        html.element("p class=error data-testid=try-note", &note);
    }
    html.raw("</div><div class=row>");
    let asked = state.queue.any(is_experiment);
    if let Some(entry) = state.shared_entry() {
        let size = entry.download().map(|size| format!(" ({size})")).unwrap_or_default();
        let is_loading = state.queue.any(|request| matches!(request, Request::Load { .. }));
        html.button("load", "", &format!("Load {}{size}", entry.title()), is_loading);
    }
    html.button("recompute", "primary", if asked { "Recomputing…" } else { "Recompute" }, !state.is_live() || asked).raw("</div>");
}

/// The candidates from the weights alone, for the scan's section.
pub fn cold(state: &AppState) -> String {
    let mut html = Html::default();
    if let Some((first, is_same)) = state.cold_candidates() {
        html.raw("<p class=note data-testid=cold-candidates>Candidates from the weights alone, before any forward pass: ")
            .raw(&coordinates(&first));
        html.raw(match is_same {
            Some(true) => ". The scan's first candidate is one of them.</p>",
            Some(false) => ". The scan's first candidate is none of them.</p>",
            None => ".</p>",
        });
    }
    html.0
}

#[cfg(test)]
#[path = "markup_tests.rs"]
mod tests;
