//! The edited model as files to download.

use leptos::prelude::*;
use sha2::{Digest, Sha256};

use super::without_address;
use crate::language::{self, Card};
use crate::protocol::Request;
use crate::share::ShareLink;
use crate::terms::{CARD_FILE, SUMS_FILE, Saved, SavedState, hex};
use crate::ui::page::context::app;
use crate::ui::page::dom;
use crate::ui::state::AppState;
use crate::words::bytes;

#[component]
pub fn Edited() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let has_edits = app.part(|state| !state.edits.ablation().is_empty());
    let saving = app.part(|state| state.queue.any(|request| matches!(request, Request::Save(_))));
    let saved = app.part(|state| state.saves.of(&state.edits.ablation()).cloned());
    let cut = RwSignal::new(false);
    view! {
        <div class="edited">
            <h3>"The edited model"</h3>
            <p class="hint">
                "The model with the edits above, in the form that transformers loads. Only the files that the edits change are made; the others \
                 are those of the original, byte for byte."
            </p>
            <label class="check">
                <input type="checkbox" data-testid="save-cut" prop:checked=move || cut.get() on:change=move |event| cut.set(event_target_checked(&event)) />
                "cut removed channels out, instead of setting them to zero"
            </label>
            <div class="row">
                <button
                    type="button" data-testid="save-model" disabled=move || !live.get() || !has_edits.get() || saving.get()
                    on:click=move |_| app.client.act(|state| state.save_edited(cut.get_untracked()))
                >
                    {move || if saving.get() { "Saving…" } else { "Save the edited model" }}
                </button>
                <button type="button" data-testid="save-stop" class:gone=move || !saving.get() on:click=move |_| app.client.stop()>"Stop"</button>
                {move || (!has_edits.get()).then(|| view! { <span class="hint">"Change a weight first."</span> })}
            </div>
            <div role="status">{move || saved.get().map(|saved| files(saved).into_any())}</div>
        </div>
    }
}

/// The files to download, and what to do with them.
fn files(saved: Saved) -> impl IntoView {
    let app = app();
    let said = language::saved(&saved).into_iter().map(|sentence| view! { <p class="note">{sentence}</p> }).collect_view();
    let take = language::files_to_take(&saved);
    let changed = saved.files.iter().filter(|file| file.state == SavedState::Changed).filter_map(|file| {
        let (name, url) = (file.name.clone(), file.url.clone()?);
        let label = format!("{name} ({})", bytes(file.size as f64));
        Some(view! { <li><a data-testid="saved-file" href=url download=name>{label}</a></li> })
    });
    let changed = changed.collect_view();
    let texts = StoredValue::new(app.state.with_untracked(|state| texts(state, &saved)));
    let text = |name: &'static str, mime: &'static str, index: usize| {
        let save = move |_| texts.with_value(|texts| dom::download(name, mime, &texts[index]));
        view! { <li><button type="button" class="link" data-testid="saved-text" on:click=save>{name}</button></li> }
    };
    // A browser would add .txt to the name of a plain text without an ending.
    let sums = text(SUMS_FILE, "application/octet-stream", 1);
    view! {
        {said}
        <ul data-testid="saved-files">{changed} {text(CARD_FILE, "text/markdown", 0)} {sums}</ul>
        <p class="note" data-testid="saved-take">{take}</p>
    }
}

/// The model card, and the list of digests.
fn texts(state: &AppState, saved: &Saved) -> [String; 2] {
    let info = state.model.info.clone().map(|info| without_address(info, state.model.source.as_ref().map(|source| &source.from)));
    let (id, origin) = info.map_or_else(|| ("model".into(), String::new()), |info| (info.model.id, info.provenance.origin));
    let saved = Saved { origin, ..saved.clone() };
    let link = link(state, &saved, &id).map(|fragment| format!("{}{fragment}", dom::address()));
    let card = Card { saved: &saved, id: &id, link: link.as_deref() }.text();
    let sums = saved.sums(&hex(&Sha256::digest(&card)));
    [card, sums]
}

/// The link to the current run if it has the saved edits, or else one that only names them.
fn link(state: &AppState, saved: &Saved, id: &str) -> Option<String> {
    let run = state.panes.run.as_ref().filter(|run| run.setup.ablation == saved.ablation && state.edits.is_current(run));
    let of_run = run.and_then(|run| ShareLink::from_run(run).ok());
    let link = of_run.or_else(|| ShareLink::of_edits(saved.base(id), saved.ablation.clone(), saved.pruned.as_ref()).ok());
    link?.encode().ok()
}
