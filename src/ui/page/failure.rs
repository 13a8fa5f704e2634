//! The failure, its reason and the next step; shown until it is dismissed or something works again.

use leptos::prelude::*;

use crate::language;
use crate::terms::{Failure, FailureKind};
use crate::ui::page::context::app;
use crate::ui::state::EngineStatus;
use crate::words::shown;

#[component]
pub fn Banner() -> impl IntoView {
    let app = app();
    let failure = app.part(|state| state.failure.clone());
    let dead = app.part(|state| state.engine == EngineStatus::Dead);
    let banner = move |failure: Failure| {
        // After a device fault or a bug the engine may be in any state, so a fresh one is offered.
        let restartable = dead.get() || matches!(failure.kind(), FailureKind::Device | FailureKind::Internal);
        let words = language::failure(&failure);
        view! {
            <div class="failure" data-testid="failure" data-kind=format!("{:?}", failure.kind()).to_ascii_lowercase()>
                <div>
                    <p class="what">{words.problem}</p>
                    <p>{shown(&words.reason)}</p>
                    <p>{words.next_step}</p>
                </div>
                <div class="actions">
                    {restartable.then(|| view! {
                        <button type="button" data-testid="failure-restart" on:click=move |_| app.client.restart()>"Restart engine"</button>
                    })}
                    <button type="button" class="quiet" data-testid="failure-dismiss" on:click=move |_| app.state.update(|state| state.failure = None)>
                        "Dismiss"
                    </button>
                </div>
            </div>
        }
    };
    // The region is always in the document, because screen readers announce content that is added to it.
    view! { <div role="alert" class="failure-region">{move || failure.get().map(banner)}</div> }
}
