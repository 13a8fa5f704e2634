//! The choice of model, source and device, with the facts known before the download.

use leptos::prelude::*;

use crate::catalog::hub::{self, HubModel};
use crate::catalog::shape::Place;
use crate::catalog::{self};
use crate::protocol::BackendChoice;
use crate::ui::page::context::{App, app};
use crate::ui::state::choice::{Choice, FOLDER, REPO};
use crate::ui::state::entry::{Entry, endpoint_of};
use crate::words::{bytes, grouped};

#[component]
pub fn Choose() -> impl IntoView {
    let app = app();
    let picked = app.part(|state| state.model.choice.picked.clone());
    let label = app.part(|state| state.model.load_label());
    let is_typed = app.part(|state| state.model.choice.source(BackendChoice::Auto).is_some());
    let bundled = catalog::MODELS.iter().map(|model| option(model.id, model.title.into())).collect_view();
    let hub = hub::MODELS.iter().map(|model| option(model.id, format!("{}, {}", model.title, download(model)))).collect_view();
    view! {
        <div class="row">
            <label class="field">
                "Model"
                <select data-testid="model-select" prop:value=move || picked.get() on:change=move |event| app.client.act(|state| state.choose(&event_target_value(&event)))>
                    <optgroup label="With this page">{bundled}</optgroup>
                    <optgroup label="From the Hugging Face Hub">{hub}</optgroup>
                    <optgroup label="From a server">
                        {option(REPO, "Any repository of the Hub".into())}
                        {option(FOLDER, "A folder, by its address".into())}
                    </optgroup>
                </select>
            </label>
            <label class="field">
                "Run on"
                <select data-testid="backend-choice" on:change=move |event| app.backend.set(backend(&event_target_value(&event)))>
                    <option value="auto">"GPU if it fits, else CPU"</option>
                    <option value="gpu">"GPU (WebGPU)"</option>
                    <option value="cpu">"CPU"</option>
                </select>
            </label>
            <button type="button" data-testid="model-load" disabled=move || !is_typed.get() on:click=move |_| press(app, false)>{move || label.get()}</button>
            <button type="button" data-testid="model-fit" disabled=move || !is_typed.get() on:click=move |_| press(app, true)>"Does it fit?"</button>
        </div>
        <Fields />
        <Card />
    }
}

fn option(value: &'static str, text: String) -> AnyView {
    view! { <option value=value>{text}</option> }.into_any()
}

/// Loads the chosen model, or only inspects it.
fn press(app: App, only_looks: bool) {
    let source = app.state.with_untracked(|state| state.model.choice.source(app.backend.get_untracked()));
    match source {
        Some(source) if only_looks => app.inspect(source),
        Some(source) => app.load(source),
        None => {}
    }
}

fn backend(value: &str) -> BackendChoice {
    match value {
        "gpu" => BackendChoice::Gpu,
        "cpu" => BackendChoice::Cpu,
        _ => BackendChoice::Auto,
    }
}

fn download(model: &HubModel) -> String {
    bytes(model.download_bytes() as f64)
}

/// Fields for a model outside the catalogue, and for the Hub's address.
#[component]
fn Fields() -> impl IntoView {
    let app = app();
    let typed = app.part(|state| Some(state.model.choice.picked.clone()).filter(|picked| picked == REPO || picked == FOLDER));
    let is_of_hub = app.part(|state| state.model.choice.is_of_hub());
    let is_gated = app.part(|state| state.model.choice.entry().and_then(Entry::hub).is_some_and(|model| model.is_gated));
    let server = app.part(|state| endpoint_of(&state.model.choice.endpoint).to_string());
    let pinned = app.part(|state| state.model.choice.known_repo().map(|model| model.revision));
    let named = move |picked: String| {
        let fields = if picked == REPO {
            let name = field("hub-repo", "Repository, as owner/name", "text", |choice| &choice.repo, |choice, text| choice.repo = text);
            let revision = |choice: &mut Choice, text| choice.revision = text;
            (name, Some(field("hub-revision", "Commit, branch or tag", "text", |choice| &choice.revision, revision)))
        } else {
            let set = |choice: &mut Choice, text| choice.folder = text;
            (field("folder-url", "Address of the folder that holds config.json", "text", |choice| &choice.folder, set), None)
        };
        view! { <div class="row">{fields.0}{fields.1}</div> }
    };
    view! {
        {move || typed.get().map(named)}
        {move || pinned.get().map(|commit| view! {
            <p class="hint" data-testid="hub-pinned">{format!("This model is in the catalogue: its pinned revision, {commit}, is loaded.")}</p>
        })}
        {move || is_of_hub.get().then(|| view! {
            <details class="drawer" data-testid="server-options" open=move || is_gated.get()>
                <summary>{move || format!("Server and access: {}", server.get())}</summary>
                <div class="row">
                    {field("hub-endpoint", "Server: the Hub, or one with its paths", "text", |choice| &choice.endpoint, Choice::set_endpoint)}
                    {field("hub-token", "Access token, for gated repositories", "password", |choice| &choice.token, |choice, text| choice.token = text)}
                </div>
                <p class="hint">{move || format!("The token stays in this page's memory until it is closed, and is sent to {} only. No link, export or log has it.", server.get())}</p>
            </details>
        })}
    }
}

/// A text field of the choice.
fn field(
    name: &'static str,
    label: &'static str,
    kind: &'static str,
    get: fn(&Choice) -> &String,
    set: fn(&mut Choice, String),
) -> AnyView {
    let app = app();
    let value = app.part(move |state| get(&state.model.choice).clone());
    let input =
        move |event: leptos::ev::Event| app.state.update(|state| state.model.edit_choice(|choice| set(choice, event_target_value(&event))));
    view! {
        <label class="field long">
            {label}
            <input type=kind data-testid=name autocomplete="off" autocapitalize="off" spellcheck="false" prop:value=move || value.get() on:input=input />
        </label>
    }
    .into_any()
}

/// The catalogue's facts about the chosen model.
#[component]
fn Card() -> impl IntoView {
    let app = app();
    let entry = app.part(|state| state.model.choice.entry());
    let server = app.part(|state| endpoint_of(&state.model.choice.endpoint).to_string());
    move || entry.get().and_then(Entry::hub).map(|model| card(model, server))
}

fn card(model: &'static HubModel, server: Memo<String>) -> AnyView {
    let memory = |place| bytes(model.device_bytes(place) as f64);
    let rows = [
        (
            "licence",
            if model.is_gated {
                format!("{}; gated: accept it on the repository's page; loading needs an access token", model.license)
            } else {
                model.license.into()
            },
        ),
        ("parameters", grouped(model.shape.num_parameters() as i64)),
        ("download", download(model)),
        ("memory", format!("{} on a GPU, {} on the CPU", memory(Place::Gpu), memory(Place::Cpu))),
        ("revision", format!("pinned to commit {}", model.revision)),
    ];
    let rows = rows.into_iter().map(|(name, what)| view! { <dt>{name}</dt><dd>{what}</dd> }).collect_view();
    view! {
        <dl class="contents" data-testid="model-card">
            <dt>"repository"</dt><dd>{move || format!("{}/{}", server.get(), model.repo)}</dd>
            {rows}
            <dt>"published"</dt><dd data-testid="model-published">{published(model)}</dd>
        </dl>
    }
    .into_any()
}

/// Published findings on the model's super weights.
fn published(model: &'static HubModel) -> AnyView {
    if model.facts.is_empty() {
        return "None known to this page: scan the model.".into_any();
    }
    let facts = model.facts.iter().map(|fact| {
        let at = fact.at.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let disputed = if fact.is_disputed { ". Sources disagree" } else { "" };
        view! { <li><span class="coordinate">{at}</span>" "{fact.kind.words()}". "{fact.known}" ("{fact.source}{disputed}")"</li> }
    });
    view! { <ul>{facts.collect_view()}</ul> }.into_any()
}
