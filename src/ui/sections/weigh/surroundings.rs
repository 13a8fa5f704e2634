//! The halo of one layer's core, as charts.

use leptos::prelude::*;

use crate::draw::marks::Chart;
use crate::draw::surroundings::{connection_chart, plane_chart, surroundings_line};
use crate::protocol::Request;
use crate::tables::surroundings::surroundings;
use crate::terms::{LayerSurroundings, Pick, RHOS, Selection, SurroundingsReport};
use crate::ui::page::chart::{ChartView, rows};
use crate::ui::page::context::app;
use crate::ui::state::AppState;

#[component]
pub fn Surroundings(rho: RwSignal<usize>, layer: Memo<usize>) -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let running = app.part(|state| state.queue.any(|request| matches!(request, Request::Surround { .. })));
    let [support, eta] = [(); 2].map(|()| RwSignal::new(String::new()));
    let redundancy = RwSignal::new(false);
    let error = RwSignal::new(None::<String>);
    let look = move |_| {
        let hidden_size = app.state.with_untracked(|state| state.model.info.as_ref().map_or(1, |info| info.hidden_size));
        let sizes = support.with_untracked(|support| eta.with_untracked(|eta| sizes(support, eta, hidden_size)));
        error.set(sizes.as_ref().err().cloned());
        if let Ok((support, eta)) = sizes {
            let selection = Selection { rho: RHOS[rho.get_untracked()], eta, support, ..Selection::new(Pick::Halo) };
            let (layer, redundancy) = (layer.get_untracked(), redundancy.get_untracked());
            app.client.act(move |state| state.surround(&selection, layer, redundancy));
        }
    };
    let number = |name: &'static str, label: &'static str, placeholder: &'static str, value: RwSignal<String>| {
        view! {
            <label class="field count">
                {label}
                <input type="text" inputmode="decimal" autocomplete="off" data-testid=name placeholder=placeholder on:input=move |event| value.set(event_target_value(&event)) />
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
            {number("halo-support", "Write support K", "width / 16", support)}
            {number("halo-eta", "Halo, %", "10", eta)}
            <label class="check"><input type="checkbox" data-testid="halo-redundancy" on:change=move |event| redundancy.set(event_target_checked(&event)) />"with redundancy (gradients)"</label>
            <button type="button" data-testid="halo-run" disabled=move || !live.get() || running.get() on:click=look>
                {move || if running.get() { "Working…".into() } else { format!("Find the halo of layer {}", layer.get()) }}
            </button>
        </div>
        <p class="error" role="alert" data-testid="halo-error">{move || error.get()}</p>
        {move || has_report.get().then(|| drawn().into_any())}
    }
}

/// The write support (`None` if the field is empty), and the share of the halo.
fn sizes(support: &str, eta: &str, hidden_size: usize) -> Result<(Option<usize>, f64), String> {
    let support = match support.trim() {
        "" => None,
        text => Some(
            text.parse()
                .ok()
                .filter(|k| (1..=hidden_size).contains(k))
                .ok_or(format!("The write support must be a number from 1 to {hidden_size}."))?,
        ),
    };
    let eta = match eta.trim() {
        "" => Selection::new(Pick::Halo).eta,
        text => {
            let percent = text.parse::<f64>().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
            percent.ok_or("The halo must be more than 0 and at most 100 percent of the channels outside the core.")? / 100.0
        }
    };
    Ok((support, eta))
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
    use super::sizes;

    #[test]
    fn sizes_are_read_or_refused_in_words() {
        assert_eq!(sizes("", " ", 256), Ok((None, 0.1)));
        assert_eq!(sizes("16", "5", 256), Ok((Some(16), 0.05)));
        assert!(["0", "257", "a"].into_iter().all(|support| sizes(support, "", 256).unwrap_err().contains("1 to 256")));
        assert!(["0", "101", "x"].into_iter().all(|eta| sizes("", eta, 256).is_err()));
    }
}
