//! Controls that decide a text: example openings, and the sampling of the next token.

use leptos::prelude::*;

use crate::share::MAX_NEW_TOKENS;
use crate::terms::{Count, Fraction, Sampling};
use crate::ui::page::context::app;
use crate::ui::page::number::{NumberField, fraction, whole};

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
    let number = |name, label, step, get: fn(&Sampling) -> String, take: fn(&mut Sampling, &str) -> Result<(), String>| {
        let app = app();
        let value = app.part(move |state| get(&state.panes.sampling)).into();
        let take = Callback::new(move |typed: String| {
            let mut sampling = app.state.with_untracked(|state| state.panes.sampling);
            take(&mut sampling, &typed)?;
            app.state.update(|state| state.panes.sampling = sampling);
            Ok(())
        });
        view! { <NumberField name label step value take /> }
    };
    view! {
        <fieldset class="sampling">
            <legend class="sr">"Sampling"</legend>
            {number("temperature", "Temperature", "0.05", |of| of.temperature.to_string(), |of, typed| {
                of.temperature = fraction(Fraction::Temperature, typed)?;
                Ok(())
            })}
            {number("top-k", "Top-k (0: all)", "1", |of| of.top_k.to_string(), |of, typed| {
                of.top_k = whole(Count::TopK, u64::MAX, typed)? as usize;
                Ok(())
            })}
            {number("top-p", "Top-p", "0.05", |of| of.top_p.to_string(), |of, typed| {
                of.top_p = fraction(Fraction::TopP, typed)?;
                Ok(())
            })}
            {number("seed", "Seed", "1", |of| of.seed.to_string(), |of, typed| {
                of.seed = whole(Count::Seed, u64::MAX, typed)?;
                Ok(())
            })}
            {number("max-tokens", "New tokens", "1", |of| of.max_new_tokens.to_string(), |of, typed| {
                of.max_new_tokens = whole(Count::MaxNewTokens, MAX_NEW_TOKENS as u64, typed)? as usize;
                Ok(())
            })}
        </fieldset>
    }
}
