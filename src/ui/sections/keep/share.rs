//! A link to the current run.

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::share::ShareLink;
use crate::ui::page::context::app;
use crate::ui::page::dom;

#[component]
pub fn Share() -> impl IntoView {
    let app = app();
    let run = app.part(|state| state.panes.run.clone());
    let link = RwSignal::new(None::<Result<String, String>>);
    let status = RwSignal::new("");
    // A link to an earlier run next to a newer text would mislead.
    Effect::new(move |_| {
        run.with(|_| ());
        link.set(None);
        status.set("");
    });
    let share = move |_| {
        let Some(run) = run.get_untracked() else { return };
        let made = ShareLink::from_run(&run)
            .and_then(|link| link.encode())
            .map(|fragment| format!("{}{fragment}", dom::address()))
            .map_err(|error| error.to_string());
        link.set(Some(made.clone()));
        let Ok(text) = made else { return };
        spawn_local(async move {
            status.set(if dom::copy(&text).await { "Copied." } else { "Copy it from the field." });
        });
    };
    view! {
        <div class="share">
            <h3>"A link to this run"</h3>
            <p class="hint">
                "The link holds the model's name and revision, the edits, the rule for removed channels, the opening, the sampling and the new tokens, so that others can recompute \
                 the run and compare. All of it is in the address; nothing is stored elsewhere."
            </p>
            <div class="row">
                <button type="button" data-testid="share-copy" disabled=move || run.with(Option::is_none) on:click=share>"Copy link"</button>
                <span role="status" data-testid="share-status">{move || status.get()}</span>
                {move || run.with(Option::is_none).then(|| view! { <span class="hint">"Generate first."</span> })}
            </div>
            {move || link.get().map(|link| match link {
                Ok(text) => view! { <label class="field">"Link" <input type="text" readonly data-testid="share-link" prop:value=text /></label> }.into_any(),
                Err(why) => view! { <p class="error" role="alert" data-testid="share-error">"No link: "{why}"."</p> }.into_any(),
            })}
        </div>
    }
}
