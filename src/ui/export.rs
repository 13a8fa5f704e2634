//! Keep: a link, and everything computed as one JSON file of the schema that the command writes too.

use leptos::prelude::*;

use super::context::app;
use super::dom;
use super::share::Share;
use super::state::AppState;
use crate::protocol::Export;
use crate::terms::Pane;

#[component]
pub fn Keep() -> impl IntoView {
    view! {
        <section id="keep" aria-labelledby="keep-title">
            <p class="step" aria-hidden="true">"6"</p>
            <h2 id="keep-title">"Keep: pass it on"</h2>
            <div class="pair">
                <Share />
                <Json />
            </div>
        </section>
    }
}

#[component]
fn Json() -> impl IntoView {
    let app = app();
    let loaded = app.part(|state| state.info.is_some());
    let save = move |_| {
        let Some(export) = app.state.with_untracked(export) else { return };
        if let Ok(json) = serde_json::to_string(&export) {
            dom::download(&format!("linchpin-{}.json", export.model.id.trim_start_matches("linchpin-")), "application/json", &json);
        }
    };
    view! {
        <div>
            <h3>"Everything as data"</h3>
            <p class="hint">"Scan, confirmation, scores, removals, run and perplexities in one file, the same format that the native command writes. Each chart also has its own SVG and CSV."</p>
            <button type="button" data-testid="export-json" disabled=move || !loaded.get() on:click=save>"Save JSON"</button>
        </div>
    }
}

/// What the page knows about the loaded model.
pub fn export(state: &AppState) -> Option<Export> {
    let info = state.info.clone()?;
    let mut export = Export::new(info.model.clone());
    export.info = Some(info);
    export.scan.clone_from(&state.scan);
    export.confirm.clone_from(&state.confirm);
    export.run.clone_from(&state.run);
    export.scores.clone_from(&state.scores);
    export.pruned.clone_from(&state.pruned);
    export.surroundings.clone_from(&state.surroundings);
    (export.sweep, export.deletions) = state.comparisons();
    export.evaluations.extend(state.intact_evaluation.clone().map(|evaluation| (Pane::Intact, evaluation)));
    export.evaluations.extend(state.current_ablated_evaluation().cloned().map(|evaluation| (Pane::Ablated, evaluation)));
    Some(export)
}
