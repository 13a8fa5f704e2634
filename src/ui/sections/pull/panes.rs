//! Two texts side by side, from one prompt and one seed: intact and ablated.

use leptos::prelude::*;

use crate::protocol::Request;
use crate::terms::{Evaluation, Finish, Pane};
use crate::ui::page::context::app;
use crate::ui::page::sampling::{Openings, SamplingFields};
use crate::ui::state::AppState;
use crate::words::{percent, short, shown, visible};

#[component]
pub fn Panes() -> impl IntoView {
    let app = app();
    view! {
        <div class="writing">
            <Controls />
            <div class="pair">
                <Text pane=Pane::Intact />
                <Text pane=Pane::Ablated />
            </div>
            <p class="difference" data-testid="first-difference">{app.part(difference)}</p>
            <p class="sr" role="status" data-testid="generate-status">{app.part(announcement)}</p>
        </div>
    }
}

#[component]
fn Controls() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let prompt = app.part(|state| state.panes.prompt.clone());
    let writes = app.part(|state| state.queue.any(|request| matches!(request, Request::Generate { .. })));
    let waits = app.part(|state| !state.queue.runs(|request| matches!(request, Request::Generate { .. })));
    let measures = app.part(|state| state.queue.any(|request| matches!(request, Request::Evaluate)));
    let regenerates = app.part(|state| state.panes.live);
    view! {
        <label class="field">
            "Opening"
            <textarea
                class="prose" data-testid="prompt" rows="2" maxlength="2000" prop:value=move || prompt.get()
                on:input=move |event| app.state.update(|state| state.panes.prompt = event_target_value(&event))
            ></textarea>
        </label>
        <Openings name="prompt" pick=Callback::new(move |text: &'static str| app.state.update(|state| state.panes.prompt = text.into())) />
        <details class="more">
            <summary>"Sampling of the next token"</summary>
            <SamplingFields />
        </details>
        <div class="row">
            <button
                type="button" class="primary" data-testid="generate" on:click=move |_| app.client.act(|state| state.generate())
                disabled=move || !live.get() || writes.get() || prompt.with(|text| text.trim().is_empty())
            >
                {move || if writes.get() && waits.get() { "Waiting…" } else if writes.get() { "Writing…" } else { "Generate" }}
            </button>
            <button type="button" data-testid="stop" disabled=move || !writes.get() && !measures.get() on:click=move |_| app.client.stop()>"Stop"</button>
            <button type="button" data-testid="evaluate" disabled=move || !live.get() || measures.get() on:click=move |_| app.client.act(|state| {
                state.apply_edits();
                state.queue.push(Request::Evaluate);
            })>
                {move || if measures.get() { "Measuring…" } else { "Measure perplexity" }}
            </button>
            <label class="check">
                <input type="checkbox" data-testid="live" prop:checked=move || regenerates.get() on:change=move |event| app.state.update(|state| state.panes.live = event_target_checked(&event)) />
                "generate again when an edit changes"
            </label>
        </div>
    }
}

/// One pane: the opening, the text up to the first difference, that token, and the rest.
#[component]
fn Text(pane: Pane) -> impl IntoView {
    let app = app();
    let (name, title, id) = match pane {
        Pane::Intact => ("intact", "Intact", "pane-intact"),
        Pane::Ablated => ("ablated", "With the edits", "pane-ablated"),
    };
    let prompt = app.part(|state| state.panes.shown_prompt.clone());
    let parts = app.part(move |state| split(state, pane));
    let stale = app.part(move |state| pane == Pane::Ablated && state.panes.run.as_ref().is_some_and(|run| !state.edits.is_current(run)));
    let empty = move || prompt.with(String::is_empty);
    view! {
        <div class="pane" class:pulled=pane == Pane::Ablated>
            <h3 class="pane-name">{title}{move || stale.get().then(|| view! { <span class="stale" data-testid="stale">" (with earlier edits)"</span> })}</h3>
            <p class="prose text" data-testid=id tabindex="0" role="group" aria-label=format!("Text, {title}")>
                {move || empty().then(|| view! { <span class="hint">"Press Generate."</span> })}
                <span class="prompt">{move || shown(&prompt.get())}</span>
                <span class="same">{move || parts.with(|parts| shown(&parts.0))}</span>
                {move || parts.with(|parts| (!parts.1.is_empty()).then(|| view! { <mark data-testid=format!("first-token-{name}")>{visible(&parts.1)}</mark> }))}
                <span class="after">{move || parts.with(|parts| shown(&parts.2))}</span>
            </p>
            <Metrics pane name />
        </div>
    }
}

/// The text before, at and after the first token that differs.
fn split(state: &AppState, pane: Pane) -> (String, String, String) {
    let pieces = &state.panes.pane(pane).pieces;
    match state.panes.first_difference().filter(|at| *at < pieces.len()) {
        None => (pieces.concat(), String::new(), String::new()),
        Some(at) => (pieces[..at].concat(), pieces[at].clone(), pieces[at + 1..].concat()),
    }
}

fn difference(state: &AppState) -> String {
    let finished = state.panes.intact.done.is_some() && state.panes.ablated.done.is_some();
    let n_same = state.panes.intact.ids.len().min(state.panes.ablated.ids.len());
    match state.panes.first_difference() {
        Some(at) => {
            let token = |pane: Pane| {
                state
                    .panes
                    .pane(pane)
                    .pieces
                    .get(at)
                    .map(|piece| format!("“{}”", visible(piece.trim_matches(' '))))
                    .unwrap_or_else(|| "its end".into())
            };
            format!(
                "The texts differ from new token {} on: {} intact, {} with the edits.",
                at + 1,
                token(Pane::Intact),
                token(Pane::Ablated)
            )
        }
        None if state.panes.is_whole() => "The texts are the same, token for token.".into(),
        None if finished && n_same > 0 => "The texts are the same as far as both go.".into(),
        None => String::new(),
    }
}

/// The text for screen readers, which announces the end of a text, not every token.
fn announcement(state: &AppState) -> String {
    if state.queue.runs(|request| matches!(request, Request::Generate { .. })) {
        return "Writing both texts.".into();
    }
    let finish = |pane: Pane| state.panes.pane(pane).done.as_ref().map(|done| done.finish);
    match (finish(Pane::Intact), finish(Pane::Ablated)) {
        (Some(Finish::Stopped), _) | (_, Some(Finish::Stopped)) => "Stopped.".into(),
        (Some(_), Some(_)) => format!("Both texts are written. {}", difference(state)),
        _ => String::new(),
    }
}

#[component]
fn Metrics(pane: Pane, name: &'static str) -> impl IntoView {
    let app = app();
    let generated = move |get: fn(&crate::terms::Generated) -> String| app.part(move |state| state.panes.pane(pane).done.as_ref().map(get));
    let perplexity = app.part(move |state| perplexity(state, pane));
    let metric = move |key: &'static str, label: &'static str, hint: &'static str, value: Memo<Option<String>>| {
        view! {
            <div class="metric">
                <dt title=hint>{label}</dt>
                <dd data-testid=format!("{key}-{name}")>{move || value.get().unwrap_or_else(|| "–".into())}</dd>
            </div>
        }
    };
    view! {
        <dl class="metrics">
            {metric("perplexity", "perplexity", "on held-out text; lower is better", perplexity)}
            {metric("repetition", "repetition", "share of four-token sequences that occurred before", generated(|g| percent(g.repetition)))}
            {metric("stopwords", "stopwords", "mean probability of stopwords and punctuation as the next token", generated(|g| percent(g.stopword_mass)))}
            {metric("speed", "tokens/s", "speed of this pane", generated(|g| short(g.tokens_per_sec)))}
        </dl>
    }
}

fn perplexity(state: &AppState, pane: Pane) -> Option<String> {
    let intact = state.panes.intact_evaluation.as_ref();
    let evaluation: &Evaluation = match pane {
        Pane::Intact => intact?,
        Pane::Ablated => state.current_ablated_evaluation()?,
    };
    let times = intact.map(|intact| evaluation.perplexity / intact.perplexity).filter(|times| pane == Pane::Ablated && *times >= 1.05);
    Some(match times {
        Some(times) => format!("{} (×{})", short(evaluation.perplexity), short(times)),
        None => short(evaluation.perplexity),
    })
}
