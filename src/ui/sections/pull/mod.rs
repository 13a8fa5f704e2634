//! Pull: the list of edits, and two texts that show the effect.

mod channels;
mod panes;

use gloo_timers::callback::Timeout;
use leptos::prelude::*;

use crate::catalog::Suggestion;
use crate::terms::{EditTarget, SCALES};
use crate::ui::page::context::app;
use crate::ui::state::edits::{EditRow, Origin, parse_target, snap};
use crate::ui::state::entry::Entry;
use crate::words::{grouped, short};
use channels::Channels;
use panes::Panes;

/// The delay of a dragged slider, which changes many times a second; the engine only gets the final value.
const DEBOUNCE_MS: u32 = 90;

#[component]
pub fn Pull() -> impl IntoView {
    view! {
        <section id="pull" aria-labelledby="pull-title">
            <p class="step" aria-hidden="true">"4"</p>
            <h2 id="pull-title">"Pull: how does the text change?"</h2>
            <p class="lead">
                "Switch an edit on and move its scale: 0 removes the number, 1 changes nothing. Or remove whole channels by a rule. Both texts start from the same words \
                 and the same seed."
            </p>
            <div class="surgery">
                <Suggestions />
                <Edits />
                <AddEdit />
            </div>
            <div class="surgery">{Channels().into_any()}</div>
            {Panes().into_any()}
        </section>
    }
}

/// Buttons for the most useful edits.
#[component]
fn Suggestions() -> impl IntoView {
    let app = app();
    let model = app.entry();
    let live = app.is_live();
    let button = move |(i, suggestion): (usize, Suggestion)| {
        let target = suggestion.target;
        let add = move |_| {
            app.client.edit(|state| {
                let Some(info) = &state.model.info else { return };
                let _ = state.edits.add(target, 0.0, true, Origin::Hand, info);
            });
        };
        view! {
            <button type="button" class="chip" data-testid=format!("suggestion-{i}") disabled=move || !live.get() on:click=add>
                <span class="coordinate">{target.to_string()}</span>
                <span class="because">{suggestion.because}</span>
            </button>
        }
    };
    move || {
        let suggestions = model.get().map(Entry::suggestions).filter(|suggestions| !suggestions.is_empty());
        suggestions.map(|suggestions| {
            view! {
                <div class="chips" role="group" aria-label="Worth pulling">
                    <span class="hint">"Worth pulling:"</span>
                    {suggestions.into_iter().enumerate().map(button).collect_view()}
                </div>
            }
        })
    }
}

#[component]
fn Edits() -> impl IntoView {
    let app = app();
    let keys = app.part(|state| state.edits.rows.iter().map(|row| row.key).collect::<Vec<_>>());
    let applied = app.part(|state| {
        let (ablation, took_ms) = state.edits.applied.as_ref()?;
        let counted = |n: usize, what: &str| (n > 0).then(|| format!("{} {what}{}", grouped(n as i64), if n == 1 { "" } else { "s" }));
        let removed = state.edits.pruned.as_ref().and_then(|pruned| Some(format!("{} removed", counted(pruned.n_channels, "channel")?)));
        let edits = counted(ablation.weight_edits.len(), "edit").map(|edits| format!("{edits} in place"));
        let what = removed.into_iter().chain(edits).collect::<Vec<_>>().join(" and ");
        let what = if what.is_empty() { "The model is intact again" } else { &what };
        Some(format!("{what}, in {} ms.", short(*took_ms as f32)))
    });
    let any = move || keys.with(|keys| !keys.is_empty());
    let reset = move |_| app.client.edit(|state| state.edits.rows.clear());
    view! {
        <h3 id="edits-title">"Edits"</h3>
        {move || (!any()).then(|| view! { <p class="hint">"None yet. Choose one above or a candidate of the scan, or type a coordinate below."</p> })}
        <ul class="edits" data-testid="edit-list" aria-labelledby="edits-title">
            <For each=move || keys.get() key=|key| *key let:key><Edit key /></For>
        </ul>
        <div class="row">
            {move || any().then(|| view! { <button type="button" class="small" data-testid="edit-reset" on:click=reset>"Remove all"</button> })}
            <p class="note" data-testid="applied" role="status">{move || applied.get()}</p>
        </div>
    }
}

/// One line: switch, name, slider.
#[component]
fn Edit(key: u32) -> impl IntoView {
    let app = app();
    let row = app.part(move |state| state.edits.rows.iter().find(|row| row.key == key).copied());
    let Some(EditRow { target, scale: at_first, .. }) = row.get_untracked() else { return ().into_any() };
    // A link may have a scale below 0; otherwise the slider ends at 0, where the weight is removed.
    let lowest = if at_first < 0.0 { *SCALES.start() } else { 0.0 };
    let on = move || row.get().is_some_and(|row| row.on);
    let scale = move || row.get().map_or(1.0, |row| row.scale);
    let timer = StoredValue::new_local(None::<Timeout>);
    let dragged = StoredValue::new(false);
    let slide = move |event: leptos::ev::Event| {
        let Ok(value) = event_target_value(&event).parse() else { return };
        let value = snap(value, dragged.get_value());
        // The page follows at once; dropping the timer restarts the delay.
        app.state.update(|state| state.edits.set(key, |row| (row.scale, row.on) = (value, true)));
        timer.set_value(Some(Timeout::new(DEBOUNCE_MS, move || app.client.edit(|_| ()))));
    };
    let label = format!("Scale of {target}");
    view! {
        <li class="edit" data-testid="edit" class:off=move || !on()>
            <label class="switch">
                <input
                    type="checkbox" role="switch" data-testid="edit-switch" prop:checked=on
                    on:change=move |event| {
                        let on = event_target_checked(&event);
                        app.client.edit(move |state| state.edits.set(key, |row| row.on = on));
                    }
                />
                <span class="coordinate">{target.to_string()}</span>
            </label>
            <input
                class="slider" type="range" min=lowest.to_string() max=SCALES.end().to_string() step="0.05" list="scale-ticks" data-testid="edit-scale" aria-label=label
                prop:value=move || scale().to_string() aria-valuetext=move || format!("times {:.2}", scale())
                on:pointerdown=move |_| dragged.set_value(true) on:pointerup=move |_| dragged.set_value(false)
                on:keydown=move |_| dragged.set_value(false) on:input=slide
            />
            <output class="number" data-testid="edit-value">{move || if on() { format!("× {:.2}", scale()) } else { "off".into() }}</output>
            <button type="button" class="quiet small" data-testid="edit-remove" aria-label=format!("Remove {target} from the list") on:click=move |_| app.client.edit(|state| state.edits.remove(key))>
                "✕"
            </button>
        </li>
    }
    .into_any()
}

/// Form for typing the coordinates of a unit.
#[component]
fn AddEdit() -> impl IntoView {
    let app = app();
    let unit = RwSignal::new("scalar".to_string());
    let [layer, row, col] = [(); 3].map(|()| RwSignal::new(String::new()));
    let error = RwSignal::new(None::<String>);
    let live = app.is_live();
    let add = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let typed = (unit.get_untracked(), layer.get_untracked(), row.get_untracked(), col.get_untracked());
        let mut result = parse_target(&typed.0, &typed.1, &typed.2, &typed.3).map(|_| ());
        if let Ok(target) = parse_target(&typed.0, &typed.1, &typed.2, &typed.3) {
            app.client.edit(|state| result = add_checked(state, target));
        }
        error.set(result.err());
    };
    let limits = app.part(|state| {
        let info = state.model.info.as_ref()?;
        Some(format!(
            "layers 0–{}, rows 0–{}, columns and channels 0–{}",
            info.num_hidden_layers - 1,
            info.hidden_size - 1,
            info.intermediate_size.range().1 - 1
        ))
    });
    let number = move |name: &'static str, label: Signal<&'static str>, value: RwSignal<String>, shown: Signal<bool>| {
        view! {
            <label class="field" class:gone=move || !shown.get()>
                {move || label.get()}
                <input
                    type="text" inputmode="numeric" size="6" autocomplete="off" data-testid=name prop:value=move || value.get()
                    aria-describedby="edit-limits" on:input=move |event| value.set(event_target_value(&event))
                />
            </label>
        }
    };
    let shows = move |units: &'static [&'static str]| Signal::derive(move || unit.with(|unit| units.contains(&unit.as_str())));
    let col_label =
        Signal::derive(move || if unit.with(|unit| matches!(unit.as_str(), "channel" | "mean")) { "Channel" } else { "Column" });
    view! {
        <form class="add" on:submit=add novalidate>
            <label class="field">
                "Unit"
                <select data-testid="edit-unit" on:change=move |event| unit.set(event_target_value(&event))>
                    <option value="scalar">"one scalar"</option>
                    <option value="row">"a row"</option>
                    <option value="column">"a column"</option>
                    <option value="channel">"a whole channel"</option>
                    <option value="mean">"a channel, to its mean"</option>
                </select>
            </label>
            {number("edit-layer", Signal::stored("Layer"), layer, Signal::stored(true))}
            {number("edit-row", Signal::stored("Row"), row, shows(&["scalar", "row"]))}
            {number("edit-col", col_label, col, shows(&["scalar", "column", "channel", "mean"]))}
            <button type="submit" data-testid="edit-add" disabled=move || !live.get()>"Add"</button>
            <p class="hint" id="edit-limits">{move || limits.get()}</p>
            <p class="error" role="alert" data-testid="edit-error">{move || error.get()}</p>
        </form>
        <datalist id="scale-ticks"><option value="0"></option><option value="1"></option><option value="2"></option><option value="3"></option></datalist>
    }
}

fn add_checked(state: &mut crate::ui::state::AppState, target: EditTarget) -> Result<(), String> {
    let Some(info) = &state.model.info else { return Err("Load a model first.".into()) };
    state.edits.add(target, 0.0, true, Origin::Hand, info)
}
