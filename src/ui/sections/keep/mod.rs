//! Keep: a link, all results as one JSON file with the command's schema, and the edited model.

mod edited;
mod share;

use leptos::prelude::*;

use crate::protocol::Export;
use crate::terms::{HUB, ModelInfo, ModelSource, Pane};
use crate::ui::page::context::app;
use crate::ui::page::dom;
use crate::ui::sections::keep::edited::Edited;
use crate::ui::sections::keep::share::Share;
use crate::ui::state::AppState;
use crate::ui::state::entry::endpoint_of;

#[component]
pub fn Keep() -> impl IntoView {
    view! {
        <section id="keep" aria-labelledby="keep-title">
            <p class="step" aria-hidden="true">"7"</p>
            <h2 id="keep-title">"Keep: pass it on"</h2>
            <div class="pair">
                <Share />
                <Json />
            </div>
            <Edited />
        </section>
    }
}

#[component]
fn Json() -> impl IntoView {
    let app = app();
    let loaded = app.part(|state| state.model.info.is_some());
    let save = move |_| {
        let Some(export) = app.state.with_untracked(export) else { return };
        if let Ok(json) = serde_json::to_string(&export) {
            dom::download(&format!("linchpin-{}.json", export.model.id.trim_start_matches("linchpin-")), "application/json", &json);
        }
    };
    view! {
        <div>
            <h3>"All results as data"</h3>
            <p class="hint">"Scan, confirmation, scores, removals, experiments, run and perplexities in one file, in the native command's format. Each chart also has its own SVG and CSV."</p>
            <button type="button" data-testid="export-json" disabled=move || !loaded.get() on:click=save>"Save JSON"</button>
        </div>
    }
}

/// The page's results for the loaded model as an export.
pub fn export(state: &AppState) -> Option<Export> {
    let info = state.model.info.clone()?;
    let mut export = Export::new(info.model.clone());
    export.info = Some(without_address(info, state.model.source.as_ref().map(|source| &source.from)));
    export.scan.clone_from(&state.scan.report);
    export.confirm.clone_from(&state.scan.confirm);
    export.run.clone_from(&state.panes.run);
    export.scores.clone_from(&state.scores.report);
    export.pruned.clone_from(&state.edits.pruned);
    export.surroundings.clone_from(&state.comparisons.surroundings);
    export.outcomes = state.outcomes().cloned().collect();
    (export.sweep, export.deletions) = state.comparison_reports();
    export.evaluations.extend(state.panes.intact_evaluation.clone().map(|evaluation| (Pane::Intact, evaluation)));
    export.evaluations.extend(state.current_ablated_evaluation().cloned().map(|evaluation| (Pane::Ablated, evaluation)));
    Some(export)
}

/// Removes the address of a server that the visitor typed, because it is private. The Hub's address, the files and
/// the commit stay.
fn without_address(mut info: ModelInfo, from: Option<&ModelSource>) -> ModelInfo {
    let is_public = match from {
        Some(ModelSource::Files(_)) => true,
        Some(ModelSource::Hub(source)) => endpoint_of(&source.endpoint) == HUB,
        Some(ModelSource::Folder { .. }) | None => info.provenance.origin.is_empty(),
    };
    if !is_public {
        let origin = std::mem::replace(&mut info.provenance.origin, "a server of the visitor's".into());
        if let Some(host) = origin.split('/').next().filter(|host| !host.is_empty()) {
            info.provenance.notes.iter_mut().for_each(|note| *note = note.replace(&origin, "it").replace(host, "it"));
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::find_hub;
    use crate::terms::{ModelFile, Provenance};
    use crate::ui::state::entry::hub_source;
    use crate::ui::state::samples::{info, loaded, source};

    #[test]
    fn typed_address_is_in_no_export() {
        let saved = |from: ModelSource, origin: &str| {
            let notes = vec![format!("The server could not be asked ({origin}: no answer).")];
            let provenance = Provenance { origin: origin.into(), commit: Some("c".repeat(40)), notes, ..Provenance::default() };
            let mut state = loaded();
            state.model.info = Some(ModelInfo { provenance, ..info() });
            state.model.source = Some(crate::ui::state::Source { from, ..source("a") });
            let json = serde_json::to_string(&export(&state).unwrap()).unwrap();
            (json.contains(origin), json.contains("a server of the visitor's"), json.contains(&"c".repeat(40)))
        };
        let hub = |endpoint: &str| hub_source(find_hub("gpt2").unwrap(), endpoint, None);
        assert_eq!(saved(hub(HUB), "huggingface.co/openai-community/gpt2"), (true, false, true));
        assert_eq!(saved(hub("https://10.0.0.2"), "10.0.0.2/openai-community/gpt2"), (false, true, true));
        let folder = ModelSource::Folder { url: "http://class.local/models/tiny".into() };
        assert_eq!(saved(folder, "class.local/models/tiny"), (false, true, true));
        let file = ModelFile { name: "config.json".into(), url: "blob:1".into() };
        assert_eq!(saved(ModelSource::Files(vec![file]), "files of your own"), (true, false, true));
    }
}
