//! The models downloaded to this browser's storage, and buttons to delete them.

use leptos::prelude::*;
use web_sys::HtmlDetailsElement;

use crate::protocol::Request;
use crate::terms::StoredModel;
use crate::ui::page::context::{App, app};
use crate::words::bytes;

#[component]
pub fn Stored() -> impl IntoView {
    let app = app();
    let stored = app.part(|state| state.model.stored.clone());
    let look = move |event: leptos::ev::Event| {
        if event_target::<HtmlDetailsElement>(&event).open() {
            app.client.ask(|state| state.queue.push(Request::Stored));
        }
    };
    view! {
        <details class="drawer" data-testid="stored" on:toggle=look>
            <summary>"Stored in this browser"</summary>
            {move || match stored.get() {
                None => view! { <p class="hint">"Listed as soon as the engine is free."</p> }.into_any(),
                Some(models) => list(app, models),
            }}
        </details>
    }
}

fn list(app: App, models: Vec<StoredModel>) -> AnyView {
    if models.is_empty() {
        return view! { <p class="hint" data-testid="stored-none">"No model yet. Downloaded models are stored here."</p> }.into_any();
    }
    let total = models.iter().map(|model| model.bytes).sum::<u64>();
    let rows = models.into_iter().map(|model| row(app, model)).collect_view();
    view! {
        <ul class="stored">{rows}</ul>
        <div class="row">
            <p class="hint" data-testid="stored-total">{format!("{} in all", bytes(total as f64))}</p>
            {delete(app, None, "Delete all", "stored-delete-all", "Delete all stored models".into())}
        </div>
    }
    .into_any()
}

fn row(app: App, StoredModel { key, origin, commit, bytes: there, total }: StoredModel) -> AnyView {
    let size = bytes(there as f64);
    let extent = if there < total { format!("{size} of {}, in part", bytes(total as f64)) } else { format!("{size}, whole") };
    let commit = commit.map(|commit| format!(", commit {}", commit.chars().take(12).collect::<String>()));
    let label = format!("Delete {origin}");
    view! {
        <li class="row" data-testid="stored-model">
            <span>{origin}{commit}": "{extent}</span>
            {delete(app, Some(key), "Delete", "stored-delete", label)}
        </li>
    }
    .into_any()
}

fn delete(app: App, key: Option<String>, word: &'static str, name: &'static str, label: String) -> AnyView {
    let deletes = app.part(|state| state.queue.any(|request| matches!(request, Request::Forget { .. })));
    let press = move |_| app.client.ask(|state| state.queue.push(Request::Forget { key: key.clone() }));
    view! { <button type="button" class="small" data-testid=name aria-label=label disabled=move || deletes.get() on:click=press>{word}</button> }.into_any()
}
