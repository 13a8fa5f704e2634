//! An experiment that came in the address: shown with its figures, measured again only when the reader presses.

use leptos::prelude::*;

use super::context::{App, app};
use super::dom;
use super::entry::Entry;
use super::experiment_state::{Shared, is_experiment};
use super::experiments::described;
use crate::draw::data::cell_text;
use crate::draw::words::visible;
use crate::share::{ABSOLUTE, Compared, ExperimentLink, RELATIVE, SETTINGS, ShareError};

/// Reads the address.
pub fn read_link(app: App) {
    let shared = match ExperimentLink::decode_by(&dom::fragment(), dom::parse_json) {
        Err(ShareError::NoRun) => return,
        Err(error) => Shared::Refused(error.to_string()),
        Ok(link) => Shared::Held(Box::new(link)),
    };
    app.state.update(|state| state.open_experiment(shared));
}

#[component]
pub fn Panel() -> impl IntoView {
    let app = app();
    let shared = app.part(|state| state.experiments.shared.clone());
    let dismiss = move |_| {
        dom::clear_fragment();
        app.state.update(super::state::AppState::close_experiment);
        if app.state.with_untracked(|state| state.requested.is_none()) {
            app.load_default();
        }
    };
    move || {
        let shown = match shared.get() {
            Shared::None => return None,
            Shared::Refused(why) => view! { <p class="error" data-testid="try-error">"It cannot be opened: "{why}"."</p> }.into_any(),
            Shared::Held(link) => held(&link),
        };
        Some(view! {
            <section class="link-panel" data-testid="try-panel" aria-labelledby="try-title">
                <h2 id="try-title">"Somebody shared an experiment with you"</h2>
                {shown}
                <button type="button" class="quiet" data-testid="try-dismiss" on:click=dismiss>"Close it"</button>
            </section>
        })
    }
}

fn held(link: &ExperimentLink) -> AnyView {
    let app = app();
    let entry = Entry::find(&link.model.id);
    let live = app.is_live();
    let revision = link.model.revision.clone();
    let is_its = app.part(move |state| state.info.as_ref().is_some_and(|info| info.model.revision == revision));
    let asked = app.part(|state| state.queue.any(is_experiment));
    let loading = app.part(|state| state.queue.any(|request| matches!(request, crate::protocol::Request::Load { .. })));
    let verdict = app.part(super::state::AppState::shared_verdict);
    let needs = app.part(super::state::AppState::shared_needs);
    let load = move || {
        let entry = entry.filter(|_| !is_its.get())?;
        let size = entry.download().map(|size| format!(" ({size})")).unwrap_or_default();
        Some(view! {
            <button type="button" data-testid="try-load" disabled=move || loading.get() on:click=move |_| app.load_entry(entry)>{format!("Load {}{size}", entry.title())}</button>
        })
    };
    let row = |figure: Compared| {
        let word = match figure.agrees() {
            Some(true) => "agrees",
            Some(false) => "differs",
            None => "",
        };
        let here = figure.here.map(|here| cell_text(&here.into())).unwrap_or_default();
        view! {
            <tr data-testid="try-figure" data-agrees=word>
                <th scope="row">{visible(&figure.name)}</th><td class="number">{cell_text(&figure.there.into())}</td><td class="number">{here}</td><td>{word}</td>
            </tr>
        }
    };
    let note = |text: String| view! { <p class="error" data-testid="try-note">{text}</p> };
    let hint = move || {
        let needs = needs.get();
        (!needs.is_empty()).then(|| {
            format!(
                "It was measured on {}, which is not in the link: open the same file below, and the engine compares the digest.",
                visible(&needs.join(", "))
            )
        })
    };
    view! {
        <p data-testid="try-contents">{contents(link)}</p>
        <p class="note" data-testid="try-needs">{hint}</p>
        <div class="scroll" tabindex="0" role="region" aria-label="Figures of the link">
            <table>
                <thead><tr><th scope="col">"figure"</th><th scope="col">"in the link"</th><th scope="col">"here"</th><th scope="col"><span class="sr">"verdict"</span></th></tr></thead>
                <tbody>{move || verdict.get().0.into_iter().map(row).collect_view()}</tbody>
            </table>
        </div>
        <p class="note">{format!("Figures agree within {} %, or within {ABSOLUTE}. Nothing was downloaded or run for the link so far but what you pressed; its settings are filled in under ", RELATIVE * 100.0)}<a href="#experiments">"Experiments"</a>"."</p>
        <div role="status">{move || verdict.get().1.into_iter().map(note).collect_view()}</div>
        <div class="row">
            {load}
            <button
                type="button" class="primary" data-testid="try-recompute" disabled=move || !live.get() || asked.get()
                on:click=move |_| app.client.act(|state| state.recompute_experiment())
            >
                {move || if asked.get() { "Recomputing…" } else { "Recompute" }}
            </button>
        </div>
    }
    .into_any()
}

/// Model, kind, scalars and settings in a sentence each.
fn contents(link: &ExperimentLink) -> String {
    let experiment = &link.experiment;
    let settings =
        SETTINGS.iter().filter(|setting| setting.is_of(experiment.kind)).map(|setting| (setting.label, setting.text(experiment)));
    let settings = settings.filter(|(_, text)| !text.is_empty()).map(|(label, text)| format!("{label}: {text}. "));
    let prompt = if experiment.prompt.is_empty() { String::new() } else { format!("Text: “{}”. ", visible(&experiment.prompt)) };
    let scalars = experiment.super_weights.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    format!(
        "{}, on {} (revision {}). Super weights: {scalars}. {prompt}{}",
        described(experiment.kind).0,
        link.model.id,
        link.model.revision,
        settings.collect::<String>()
    )
}
