//! The halo of one layer's core, as charts.

use leptos::prelude::*;

use crate::draw::marks::Chart;
use crate::draw::surroundings::{connection_chart, plane_chart, surroundings_line};
use crate::protocol::Request;
use crate::tables::surroundings::surroundings;
use crate::terms::{LayerSurroundings, Pick, RHOS, Selection, ShareOf, SurroundingsReport};
use crate::ui::page::chart::{ChartView, rows};
use crate::ui::page::context::app;
use crate::ui::page::number::percent;
use crate::ui::state::AppState;

#[component]
pub fn Surroundings(rho: RwSignal<usize>, layer: Memo<usize>) -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let running = app.part(|state| state.queue.any(|request| matches!(request, Request::Surround { .. })));
    let [typed_support, typed_eta] = [(); 2].map(|()| RwSignal::new(String::new()));
    let redundancy = RwSignal::new(false);
    let hidden_size = app.part(|state| state.model.info.as_ref().map_or(1, |info| info.hidden_size));
    let support = Memo::new(move |_| typed_support.with(|typed| read_support(typed, hidden_size.get())));
    let eta = Memo::new(move |_| typed_eta.with(|typed| read_eta(typed)));
    let look = move |_| {
        let (Ok(support), Ok(eta)) = (support.get_untracked(), eta.get_untracked()) else { return };
        let selection = Selection { rho: RHOS[rho.get_untracked()], eta, support, ..Selection::new(Pick::Halo) };
        let (layer, redundancy) = (layer.get_untracked(), redundancy.get_untracked());
        app.client.act(move |state| state.surround(&selection, layer, redundancy));
    };
    let is_good = move || support.with(Result::is_ok) && eta.with(Result::is_ok);
    let number =
        |name: &'static str, label: &'static str, placeholder: &'static str, typed: RwSignal<String>, error: Signal<Option<String>>| {
            let id = format!("{name}-error");
            view! {
                <label class="field count">
                    {label}
                    <input
                        type="text" inputmode="decimal" autocomplete="off" data-testid=name placeholder=placeholder
                        aria-invalid=move || error.with(Option::is_some).to_string() aria-describedby=id.clone()
                        on:input=move |event| typed.set(event_target_value(&event))
                    />
                    <span class="error" role="alert" id=id.clone() data-testid=id>{move || error.get()}</span>
                </label>
            }
        };
    let has_report = app.part(|state| state.comparisons.surroundings.is_some());
    view! {
        <h3>"The halo of a core"</h3>
        <p class="note">
            "The supernodes of a layer write to a few residual channels, their write support. The other channels that write there most are their halo. Some repeat the \
             core (redundancy: their effect on the loss rises and falls with the core's), and the model can do without them; some only write to the same place."
        </p>
        <div class="row">
            {number("halo-support", "Write support K", "width / 16", typed_support, Signal::derive(move || support.get().err()))}
            {number("halo-eta", "Halo, %", "10", typed_eta, Signal::derive(move || eta.get().err()))}
            <label class="check"><input type="checkbox" data-testid="halo-redundancy" on:change=move |event| redundancy.set(event_target_checked(&event)) />"with redundancy (gradients)"</label>
            <button type="button" data-testid="halo-run" disabled=move || !live.get() || running.get() || !is_good() on:click=look>
                {move || if running.get() { "Working…".into() } else { format!("Find the halo of layer {}", layer.get()) }}
            </button>
        </div>
        {move || has_report.get().then(|| drawn().into_any())}
    }
}

/// The write support; `None` if the field is empty.
fn read_support(typed: &str, hidden_size: usize) -> Result<Option<usize>, String> {
    match typed.trim() {
        "" => Ok(None),
        typed => {
            let support = typed.parse().ok().filter(|k| (1..=hidden_size).contains(k));
            support.map(Some).ok_or_else(|| format!("The write support must be a number from 1 to {hidden_size}."))
        }
    }
}

/// The share of the halo; the paper's if the field is empty.
fn read_eta(typed: &str) -> Result<f64, String> {
    if typed.trim().is_empty() { Ok(Selection::new(Pick::Halo).eta) } else { percent(ShareOf::Halo, typed) }
}

fn one(state: &AppState) -> Option<(&SurroundingsReport, &LayerSurroundings)> {
    let report = state.comparisons.surroundings.as_ref()?;
    Some((report, report.layers.first()?))
}

fn drawn() -> impl IntoView {
    let app = app();
    // A layer's surroundings change with the request or with the scores.
    let key = app.part(|state| {
        one(state).map(|(report, layer)| {
            (layer.layer, report.rho, report.eta, report.n_support, layer.redundancy.len(), report.calibration.clone())
        })
    });
    let plane = app.drawn(key, |state| one(state).map(|(_, layer)| plane_chart(layer)));
    let connection = app.drawn(key, |state| {
        let (report, layer) = one(state)?;
        let proxies = state.scores.report.as_ref().and_then(|scores| scores.channels.iter().find(|scores| scores.layer == layer.layer));
        let proxies = proxies.map_or(&[][..], |scores| &scores.loss_proxy);
        Some(connection_chart(report, layer, proxies, state.model.info.as_ref()?.hidden_size))
    });
    let line = app.drawn(key, |state| {
        let (report, layer) = one(state)?;
        Some(surroundings_line(report, layer, state.model.info.as_ref()?.hidden_size))
    });
    let table =
        move |all| app.state.with_untracked(|state| state.comparisons.surroundings.as_ref().map(|report| surroundings(report, all)));
    let csv = Callback::new(move |()| table(true).map(|table| table.to_csv()).unwrap_or_default());
    let body = move || {
        key.with(|_| ());
        table(false).map(|table| rows(&table))
    };
    let chart = |of: Memo<Option<Chart>>| Signal::derive(move || of.get().unwrap_or_else(|| Chart::new(String::new(), 1.0, 1.0)));
    view! {
        <p class="note" data-testid="halo-line" role="status">{move || line.get()}</p>
        <div class="pair">
            <ChartView name="halo-plane" caption="Directions of writing, in the core's main plane" chart=chart(plane) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
            <ChartView name="halo-connection" caption="Connection to the core, and loss proxy" chart=chart(connection) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
        </div>
        <p class="legend"><span class="key dot ablated">"core"</span><span class="key dot">"halo"</span><span class="key dot muted">"the rest"</span></p>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_or_refused_in_words() {
        assert_eq!((read_support("", 256), read_eta(" ")), (Ok(None), Ok(0.1)));
        assert_eq!((read_support("16", 256), read_eta("5")), (Ok(Some(16)), Ok(0.05)));
        assert!(["0", "257", "a"].into_iter().all(|support| read_support(support, 256).unwrap_err().contains("1 to 256")));
        assert!(["0", "101", "x"].into_iter().all(|eta| read_eta(eta).is_err()));
    }
}
