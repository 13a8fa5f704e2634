//! The experiment in the link that opened the page: its contents, and its figures next to those measured here.

use leptos::prelude::*;

use crate::draw::points::cell_text;
use crate::language;
use crate::protocol::Request;
use crate::share::{ExperimentLink, ShareError};
use crate::terms::Experiment;
use crate::ui::page::context::{App, app};
use crate::ui::page::dom;
use crate::ui::sections::experiments::{button, coordinates};
use crate::ui::state::AppState;
use crate::ui::state::experiments::{Shared, is_experiment};
use crate::words::{sentence, visible};

/// Reads an experiment from the address.
pub fn read_link(app: App) {
    let shared = match ExperimentLink::decode(&dom::fragment()) {
        Err(ShareError::NoRun) => return,
        Err(error) => Shared::Refused(error.to_string()),
        Ok(link) => Shared::Held(Box::new(link)),
    };
    app.state.update(|state| state.open_experiment(shared));
}

/// The panel of the link's experiment, if there is one.
pub fn panel() -> AnyView {
    let app = app();
    let shared = app.part(|state| state.experiments.shared.clone());
    let shown = move || {
        let body = match shared.get() {
            Shared::None => return None,
            Shared::Refused(why) => {
                view! { <p class="error" data-testid="try-error">{sentence(&format!("It cannot be opened: {why}"))}</p> }.into_any()
            }
            Shared::Held(link) => held(&link),
        };
        Some(view! {
            <section class="link-panel" data-testid="try-panel" aria-labelledby="try-title">
                <h2 id="try-title">"Somebody shared an experiment with you"</h2>
                {body}
                {button("experiment-close", "quiet", "Close".into(), false.into(), close)}
            </section>
        })
    };
    view! { <div class="region">{shown}</div> }.into_any()
}

fn close(app: App) {
    dom::clear_fragment();
    app.state.update(AppState::close_experiment);
    if app.state.with_untracked(|state| state.model.requested.is_none()) {
        app.load_default();
    }
}

fn held(link: &ExperimentLink) -> AnyView {
    let app = app();
    let needs = app.part(|state| needs(&state.shared_needs()));
    let notes = app.part(|state| state.shared_verdict().1);
    let note = |text: String| view! { <p class="error" data-testid="try-note">{text}</p> };
    view! {
        <p data-testid="try-contents">{contents(link)}</p>
        {move || needs.get().map(|needs| view! { <p class="note" data-testid="try-needs">{needs}</p> })}
        {figures()}
        <p class="note">
            "Figures agree within 1 %, or within 0.005 and a tenth of their value. Nothing is downloaded or run before you press a button; the settings are filled in under "
            <a href="#experiments">"Experiments"</a>"."
        </p>
        <div role="status">{move || notes.get().into_iter().map(note).collect_view()}</div>
        {buttons()}
    }
    .into_any()
}

/// The table of the link's figures and those measured here.
fn figures() -> AnyView {
    let app = app();
    let figures = app.part(compared);
    let row = |[name, there, here, verdict]: [String; 4]| {
        let agrees = verdict.clone();
        view! {
            <tr data-testid="try-figure" data-agrees=agrees>
                <th scope="row">{name}</th><td class="number">{there}</td><td class="number">{here}</td><td>{verdict}</td>
            </tr>
        }
    };
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Figures">
            <table>
                <thead><tr><th scope="col">"figure"</th><th scope="col">"in the link"</th><th scope="col">"here"</th><th scope="col">"verdict"</th></tr></thead>
                <tbody>{move || figures.get().into_iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn buttons() -> AnyView {
    let app = app();
    let load_label = app.part(|state| {
        let (entry, _) = state.shared_entry()?;
        Some(format!("Load {}{}", entry.title(), entry.download().map(|size| format!(" ({size})")).unwrap_or_default()))
    });
    let is_loading = app.part(|state| state.queue.any(|request| matches!(request, Request::Load { .. })));
    let is_asked = app.part(|state| state.queue.any(is_experiment));
    let recompute_label = app.part(|state| if state.queue.any(is_experiment) { "Recomputing…".to_string() } else { "Recompute".into() });
    let is_live = app.is_live();
    let cannot_recompute = Memo::new(move |_| !is_live.get() || is_asked.get());
    let load = |app: App| {
        if let Some((entry, bos)) = app.state.with_untracked(AppState::shared_entry) {
            app.load_entry(entry, bos);
        }
    };
    let load_button = move |label: String| button("experiment-load", "", Signal::stored(label), is_loading.into(), load);
    let recompute = |app: App| app.client.act(AppState::recompute_experiment);
    view! {
        <div class="row">
            {move || load_label.get().map(load_button)}
            {button("experiment-recompute", "primary", recompute_label.into(), cannot_recompute.into(), recompute)}
        </div>
    }
    .into_any()
}

/// The experiment of a link, as one line.
fn contents(link: &ExperimentLink) -> String {
    let ExperimentLink { model, experiment, .. } = link;
    let bos = model.added_bos.map(|bos| format!(", with its BOS, token {bos}, put before every text")).unwrap_or_default();
    format!(
        "{} on {} (revision {}{bos}). Super weights: {}. {}{}",
        language::title(experiment.kind()),
        model.id,
        model.revision,
        coordinates(&experiment.super_weights),
        visible(&experiment.prompt().unwrap_or_default()),
        settings(experiment)
    )
}

/// The settings of an experiment, each with its value: " Bits: 8, 4. Prompts: 500."
fn settings(experiment: &Experiment) -> String {
    let mut settings = experiment.settings.clone();
    settings.numbers().into_iter().map(|(id, value)| format!(" {}: {}.", language::setting_label(id), value.text())).collect()
}

/// The files that a reader must open, if any.
fn needs(files: &[String]) -> Option<String> {
    let named = visible(&files.join(", "));
    let needs = format!("Measured on {named}, which is not in the link: open the same file below. The engine compares its digest.");
    (!files.is_empty()).then_some(needs)
}

/// Each figure of the link: its name, its value there and here, and the verdict.
fn compared(state: &AppState) -> Vec<[String; 4]> {
    let row = |figure: crate::share::Compared| {
        let verdict = match figure.agrees() {
            Some(true) => "agrees",
            Some(false) => "differs",
            None => "–",
        };
        [visible(&language::figure(&figure.name)), cell_text(&figure.there.into()), cell_text(&figure.here.into()), verdict.into()]
    };
    state.shared_verdict().0.into_iter().map(row).collect()
}
