//! Experiments: the super-weight paper's tables and figures, on the model that is loaded.

mod markup;

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlInputElement};

use crate::draw::data::chart;
use crate::share::{ExperimentLink, ShareError};
use crate::terms::{ExperimentKind, Outcome, SettingId};
use crate::ui::page::context::{App, app};
use crate::ui::page::dom;
use crate::ui::sections::weigh::read_text;
use crate::ui::state::AppState;
use crate::ui::state::experiments::{Scalars, Shared};
use markup as page;

#[component]
pub fn Experiments() -> impl IntoView {
    let app = app();
    view! {
        <section id="experiments" aria-labelledby="experiments-title" on:click=move |event| pressed(app, &event) on:change=move |event| changed(app, &event)>
            <p class="step" aria-hidden="true">"6"</p>
            <h2 id="experiments-title">"Experiment: does the paper hold here?"</h2>
            <p class="lead">
                "The super-weight paper (arXiv:2411.07191) measured models of billions of weights. Here, the same is measured on the one that is loaded, and \
                 told whichever way it goes. Times are rough: for this page's model; for a billion weights."
            </p>
            {region(page::setup_key, page::setup)}
            {region(page::run, page::run)}
            {region(page::doing, page::doing)}
            {region(page::result_key, page::result)}
        </section>
    }
}

/// The view of the experiment that the page was opened with.
pub fn panel() -> AnyView {
    let app = app();
    view! { <div on:click=move |event| pressed(app, &event)>{region(page::shared, page::shared)}</div> }.into_any()
}

/// The view of the candidates from the weights alone.
pub fn cold() -> AnyView {
    region(page::cold, page::cold)
}

/// A region of HTML that is made again whenever its key changes.
fn region(key: fn(&AppState) -> String, html: fn(&AppState) -> String) -> AnyView {
    let app = app();
    let key = app.part(key);
    let node = NodeRef::<html::Div>::new();
    Effect::new(move |_| {
        key.with(|_| ());
        if let Some(node) = node.get() {
            dom::set_html(&node, &app.state.with_untracked(html));
        }
    });
    view! { <div class="region" node_ref=node></div> }.into_any()
}

/// Reads an experiment from the address.
pub fn read_link(app: App) {
    let shared = match ExperimentLink::decode(&dom::fragment()) {
        Err(ShareError::NoRun) => return,
        Err(error) => Shared::Refused(error.to_string()),
        Ok(link) => Shared::Held(Box::new(link)),
    };
    app.state.update(|state| state.open_experiment(shared));
}

/// The element that was pressed or changed, its action, and its index among several.
fn acted(event: &web_sys::Event) -> Option<(Element, String, usize)> {
    let element = event.target()?.dyn_into::<Element>().ok()?.closest("[data-act]").ok()??;
    let act = element.get_attribute("data-act")?;
    let at = element.get_attribute("data-at").and_then(|at| at.parse().ok()).unwrap_or_default();
    Some((element, act, at))
}

fn pressed(app: App, event: &web_sys::Event) {
    let Some((_, act, at)) = acted(event) else { return };
    match act.as_str() {
        "run" => app.client.act(AppState::run_experiment),
        "recompute" => app.client.act(AppState::recompute_experiment),
        "scan" => app.client.act(AppState::scan),
        "stop" => app.client.stop(),
        "no-text" => app.state.update(|state| (state.experiments.text, state.experiments.error) = (None, None)),
        "no-tasks" => app.state.update(|state| (state.experiments.tasks, state.experiments.error) = (Vec::new(), None)),
        "svg" | "csv" => save(app, &act, at),
        "link" => share(app),
        "load" => {
            if let Some(entry) = app.state.with_untracked(AppState::shared_entry) {
                app.load_entry(entry);
            }
        }
        "close" => {
            dom::clear_fragment();
            app.state.update(AppState::close_experiment);
            if app.state.with_untracked(|state| state.model.requested.is_none()) {
                app.load_default();
            }
        }
        _ => {}
    }
}

fn changed(app: App, event: &web_sys::Event) {
    let Some((element, act, at)) = acted(event) else { return };
    let value = event_target_value(event);
    match act.as_str() {
        "kind" => app.state.update(|state| state.experiments.choose(ExperimentKind::ALL[at])),
        "scalars" => {
            let chosen = dom::get(&element, "selectedIndex").as_f64().unwrap_or_default();
            app.state.update(|state| {
                state.experiments.scalars = [Scalars::Scan, Scalars::Edits, Scalars::Link][(chosen as usize).min(2)];
            });
        }
        "prompt" => app.state.update(|state| {
            if let Some(prompt) = state.experiments.setting_mut().parts().prompt {
                *prompt = value;
            }
        }),
        "setting" => app.state.update(|state| state.experiments.take_setting(SettingId::ALL[at], &value)),
        "text" | "tasks" => {
            let input: HtmlInputElement = element.unchecked_into();
            read_text(&input, move |read| {
                app.state.update(|state| state.experiments.take_file(act == "text", read));
            });
            input.set_value("");
        }
        _ => {}
    }
}

/// Applies `get` to the outcome that is shown.
fn with_outcome<T>(app: App, get: impl FnOnce(&Outcome) -> Option<T>) -> Option<T> {
    app.state.with_untracked(|state| state.outcome(state.experiments.kind).and_then(get))
}

/// Saves a picture or a table as a file.
fn save(app: App, what: &str, at: usize) {
    let made = with_outcome(app, |outcome| {
        let name = format!("linchpin-{}-{at}.{what}", outcome.experiment.kind().name());
        if what == "svg" {
            let plot = outcome.plots.get(at)?;
            return Some((name, chart(plot, outcome.table(&plot.table)).to_svg(dom::css_colour)));
        }
        Some((name, outcome.tables.get(at)?.to_csv()))
    });
    if let Some((name, content)) = made {
        dom::download(&name, if what == "svg" { "image/svg+xml" } else { "text/csv" }, &content);
    }
}

fn share(app: App) {
    let Some(made) = with_outcome(app, |outcome| Some(ExperimentLink::from_outcome(outcome).and_then(|link| link.encode()))) else {
        return;
    };
    let made = made.map(|fragment| format!("{}{fragment}", dom::address())).map_err(|why| why.to_string());
    if let Ok(link) = made.clone() {
        spawn_local(async move {
            dom::copy(&link).await;
        });
    }
    app.state.update(|state| {
        state.experiments.version += 1;
        state.experiments.made = Some(made);
    });
}
