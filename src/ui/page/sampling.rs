//! Controls that decide a text: example openings, and the sampling of the next token.

use leptos::prelude::*;

use crate::share::MAX_NEW_TOKENS;
use crate::terms::{MAX_SEED, Sampling};
use crate::ui::page::context::app;

/// Openings that suit the model, each with a button.
#[component]
pub fn Openings(name: &'static str, pick: Callback<&'static str>) -> impl IntoView {
    let model = app().entry();
    let chip = move |(i, text): (usize, &'static &'static str)| {
        view! { <button type="button" class="chip prose" data-testid=format!("{name}-{i}") on:click=move |_| pick.run(text)>{*text}</button> }
    };
    move || {
        model.get().map(|model| {
            view! { <div class="chips" role="group" aria-label="Openings">{model.prompts().iter().enumerate().map(chip).collect_view()}</div> }
        })
    }
}

/// Temperature, top-k, top-p, seed and length.
#[component]
pub fn SamplingFields() -> impl IntoView {
    view! {
        <fieldset class="sampling">
            <legend class="sr">"Sampling"</legend>
            <Number name="temperature" label="Temperature" step="0.05" get=|s| s.temperature.to_string() set=|s, v| s.temperature = (v as f32).clamp(0.0, 5.0) />
            <Number name="top-k" label="Top-k (0: all)" step="1" get=|s| s.top_k.to_string() set=|s, v| s.top_k = v.clamp(0.0, 1e6) as usize />
            <Number name="top-p" label="Top-p" step="0.05" get=|s| s.top_p.to_string() set=|s, v| s.top_p = (v as f32).clamp(0.0, 1.0) />
            <Number name="seed" label="Seed" step="1" get=|s| s.seed.to_string() set=|s, v| s.seed = v.clamp(0.0, MAX_SEED as f64) as u64 />
            <Number name="max-tokens" label="New tokens" step="1" get=|s| s.max_new_tokens.to_string() set=|s, v| s.max_new_tokens = (v as usize).clamp(1, MAX_NEW_TOKENS) />
        </fieldset>
    }
}

/// A number field. The value is accepted when the field is left, and shown as it was accepted.
#[component]
fn Number(
    name: &'static str,
    label: &'static str,
    step: &'static str,
    get: fn(&Sampling) -> String,
    set: fn(&mut Sampling, f64),
) -> impl IntoView {
    let app = app();
    let value = app.part(move |state| get(&state.panes.sampling));
    let change = move |event: leptos::ev::Event| {
        if let Some(number) = event_target_value(&event).trim().parse::<f64>().ok().filter(|number| number.is_finite()) {
            app.state.update(|state| set(&mut state.panes.sampling, number));
        }
        // Shows a clamped or rejected value in its current form, even if it did not change.
        event_target::<web_sys::HtmlInputElement>(&event).set_value(&value.get_untracked());
    };
    view! {
        <label class="field">
            {label}
            <input type="number" min="0" step=step data-testid=name prop:value=move || value.get() on:change=change />
        </label>
    }
}
