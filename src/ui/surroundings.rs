//! What is around the core of one layer: its halo, drawn.

use leptos::prelude::*;

use super::chart_view::{ChartView, rows};
use super::context::app;
use super::state::AppState;
use super::weigh_charts::{connection_chart, plane_chart, surroundings_line};
use super::weigh_tables::{FULL, READ, surroundings};
use crate::protocol::Request;
use crate::terms::{LayerSurroundings, Pick, RHOS, Selection, SurroundingsReport};

#[component]
pub fn Surroundings(rho: RwSignal<usize>, layer: Memo<usize>) -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let running = app.part(|state| state.queue.any(|request| matches!(request, Request::Surround { .. })));
    let [support, eta] = [(); 2].map(|()| RwSignal::new(String::new()));
    let redundancy = RwSignal::new(false);
    let look = move |_| {
        let mut selection = Selection { rho: RHOS[rho.get_untracked()], ..Selection::new(Pick::Halo) };
        selection.support = support.with_untracked(|text| text.trim().parse().ok());
        if let Ok(percent) = eta.with_untracked(|text| text.trim().parse::<f64>()) {
            selection.eta = percent / 100.0;
        }
        let (layer, redundancy) = (layer.get_untracked(), redundancy.get_untracked());
        app.client.act(move |state| state.surround(&selection, layer, redundancy));
    };
    let number = |name: &'static str, label: &'static str, placeholder: &'static str, value: RwSignal<String>| {
        view! {
            <label class="field count">
                {label}
                <input type="text" inputmode="decimal" autocomplete="off" data-testid=name placeholder=placeholder on:input=move |event| value.set(event_target_value(&event)) />
            </label>
        }
    };
    let has_report = app.part(|state| state.surroundings.is_some());
    view! {
        <h3>"The halo of a core"</h3>
        <p class="note">
            "The supernodes of a layer write to a few residual channels, their write support. The channels that write there too are their halo. Some of it repeats what the \
             core does (redundancy: what a channel does to the loss rises and falls with what the core does) and can be spared; some only shares the place."
        </p>
        <div class="row">
            {number("halo-support", "Write support K", "d/16", support)}
            {number("halo-eta", "Halo, %", "10", eta)}
            <label class="check"><input type="checkbox" data-testid="halo-redundancy" on:change=move |event| redundancy.set(event_target_checked(&event)) />"with redundancy (gradients)"</label>
            <button type="button" data-testid="halo-run" disabled=move || !live.get() || running.get() on:click=look>
                {move || if running.get() { "Looking…".into() } else { format!("Look around the core of layer {}", layer.get()) }}
            </button>
        </div>
        {move || has_report.get().then(|| drawn().into_any())}
    }
}

fn one(state: &AppState) -> Option<(&SurroundingsReport, &LayerSurroundings)> {
    let report = state.surroundings.as_ref()?;
    Some((report, report.layers.first()?))
}

fn drawn() -> impl IntoView {
    let app = app();
    // A layer's surroundings change with what was asked, or with the scores.
    let key = app.part(|state| {
        one(state).map(|(report, layer)| {
            (layer.layer, report.rho, report.eta, report.n_support, layer.redundancy.len(), report.calibration.clone())
        })
    });
    let plane = app.drawn(key, |state| one(state).map(|(_, layer)| plane_chart(layer)));
    let connection = app.drawn(key, |state| {
        let (report, layer) = one(state)?;
        let proxies = state.scores.as_ref().and_then(|scores| scores.channels.iter().find(|scores| scores.layer == layer.layer));
        let proxies = proxies.map_or(&[][..], |scores| &scores.loss_proxy);
        Some(connection_chart(report, layer, proxies, state.info.as_ref()?.hidden_size))
    });
    let line = app.drawn(key, |state| {
        let (report, layer) = one(state)?;
        Some(surroundings_line(report, layer, state.info.as_ref()?.hidden_size))
    });
    let table = move |all: bool, digits: fn(f32) -> String| {
        app.state.with_untracked(|state| state.surroundings.as_ref().map(|report| surroundings(report, all, digits)))
    };
    let csv = Callback::new(move |()| table(true, FULL).map(|table| table.csv()).unwrap_or_default());
    let body = move || {
        key.track();
        table(false, READ).map(|table| rows(&table))
    };
    let chart = |of: Memo<Option<super::marks::Chart>>| {
        Signal::derive(move || of.get().unwrap_or_else(|| super::marks::Chart::new(String::new(), 1.0, 1.0)))
    };
    view! {
        <p class="note" data-testid="halo-line" role="status">{move || line.get()}</p>
        <div class="pair">
            <ChartView name="halo-plane" caption="Directions of writing, seen on the core's main plane" chart=chart(plane) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
            <ChartView name="halo-connection" caption="Connection to the core, and loss proxy" chart=chart(connection) lines=Signal::stored(Vec::new()) csv>{body}</ChartView>
        </div>
        <p class="legend"><span class="key dot ablated">"core"</span><span class="key dot">"halo"</span><span class="key dot muted">"the rest"</span></p>
    }
}
