//! Experiments: the super-weight paper's tables and figures, on the loaded model.
//!
//! | file | the visitor sees |
//! |---|---|
//! | [`setup`] | the choice of an experiment, its super weights, settings and files |
//! | [`run`] | the buttons that run and stop it, its progress |
//! | [`result`] | findings, figures, pictures, and the link |
//! | [`table`] | a table of the result |
//! | [`shared`] | the experiment in the link that opened the page |
//!
//! The views of a result and of its tables read the outcome through [`growing`].

mod growing;
mod result;
mod run;
mod setup;
mod shared;
mod table;

use leptos::prelude::*;

use crate::terms::WeightCoord;
use crate::ui::page::context::{App, app};

pub use result::cold;
pub use shared::{panel, read_link};

#[component]
pub fn Experiments() -> impl IntoView {
    view! {
        <section id="experiments" aria-labelledby="experiments-title">
            <p class="step" aria-hidden="true">"6"</p>
            <h2 id="experiments-title">"Experiment: does the paper hold here?"</h2>
            <p class="lead">
                "The super-weight paper (arXiv:2411.07191) measured models of billions of weights. Here the same is measured on the loaded model, and \
                 every result is shown. Rough times: for the bundled model; for a billion weights."
            </p>
            {setup::setup()}
            {run::run()}
            {result::result()}
        </section>
    }
}

/// A button.
fn button(name: &'static str, class: &'static str, text: Signal<String>, is_disabled: Signal<bool>, press: fn(App)) -> AnyView {
    let app = app();
    view! {
        <button type="button" class=class data-testid=name disabled=move || is_disabled.get() on:click=move |_| press(app)>{move || text.get()}</button>
    }
    .into_any()
}

/// A list of sentences.
fn list(name: &'static str, class: &'static str, items: Memo<Vec<String>>) -> AnyView {
    let item = |text: String| view! { <li>{text}</li> };
    view! { <ul class=class data-testid=name>{move || items.get().into_iter().map(item).collect_view()}</ul> }.into_any()
}

fn coordinates(places: &[WeightCoord]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
