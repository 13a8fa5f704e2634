//! Weigh: every channel scored by gradients, and how the scores are spread.

use leptos::prelude::*;
use web_sys::HtmlInputElement;

use super::chart_view::{ChartView, rows};
use super::context::app;
use super::dom;
use super::prune_state::ScoreSetup;
use super::state::AppState;
use super::surroundings::Surroundings;
use super::weigh_charts::{agreement_chart, agreements, highest, layer_line, mass_chart, share_chart};
use super::weigh_tables::{FULL, READ, channels, masses, overlaps, shares};
use super::words::{percent, short};
use crate::protocol::Request;
use crate::terms::{Calibration, CalibrationText, Concentration, RHOS, ScoreReport, ShareSummary};

/// Larger files are cut by the engine anyway.
const MAX_TEXT_BYTES: f64 = 64e6;

#[component]
pub fn Weigh() -> impl IntoView {
    let app = app();
    let has_scores = app.part(|state| spread(state).is_some());
    view! {
        <section id="weigh" aria-labelledby="weigh-title">
            <p class="step" aria-hidden="true">"3"</p>
            <h2 id="weigh-title">"Weigh: which channels does the loss hang on?"</h2>
            <p class="lead">
                "A super weight is a single number. Ask the same of whole channels: if this one fell silent, how much would the loss change? A backward \
                 pass over some text answers for all of them at once, with the loss proxy LP = ½ · mean over tokens of (u · ∂L/∂u)², where u is what \
                 goes into down_proj. The few channels of a layer that hold most of it are its supernodes."
            </p>
            <Setup />
            {move || has_scores.get().then(|| view! { <Spread /> }.into_any())}
        </section>
    }
}

/// What is known of the spread: while channels are scored, as far as that has come.
fn spread(state: &AppState) -> Option<(&Calibration, &[Concentration])> {
    match (&state.score_progress, &state.scores) {
        (Some(progress), _) => Some((&progress.calibration, &progress.concentration)),
        (None, Some(scores)) => Some((&scores.calibration, &scores.concentration)),
        (None, None) => None,
    }
}

#[component]
fn Setup() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let running = app.part(|state| state.queue.any(|request| matches!(request, Request::Score { .. })));
    let is_part =
        app.part(|state| state.scores.as_ref().is_some_and(|scores| scores.calibration.n_sequences < scores.calibration.n_requested));
    let resumable = move || is_part.get() && !running.get();
    let status = app.part(calibration_line);
    let text_name = app.part(|state| state.score_setup.text.as_ref().map(|text| text.name.clone()));
    let error = RwSignal::new(None::<String>);
    let open = move |event: leptos::ev::Event| {
        let input: HtmlInputElement = event_target(&event);
        read_text(&input, move |read| {
            error.set(read.as_ref().err().cloned());
            if let Ok(text) = read {
                app.state.update(|state| state.score_setup.text = Some(text));
            }
        });
        input.set_value("");
    };
    view! {
        <div class="row">
            <Count name="score-sequences" label="Sequences" get=|setup| setup.sequences set=|setup, n| setup.sequences = n.clamp(1, 100_000) />
            <Count name="score-length" label="Tokens of each" get=|setup| setup.length set=|setup, n| setup.length = n.clamp(2, 1 << 20) />
            <button
                type="button" class="primary" data-testid="score-run" disabled=move || !live.get() || running.get()
                on:click=move |_| app.client.act(|state| state.score(false))
            >
                {move || if running.get() { "Scoring…" } else { "Score channels" }}
            </button>
            <button type="button" data-testid="score-stop" class:gone=move || !running.get() on:click=move |_| app.client.stop()>"Stop"</button>
            <button type="button" data-testid="score-resume" class:gone=move || !resumable() disabled=move || !live.get() on:click=move |_| app.client.act(|state| state.score(true))>
                "Go on"
            </button>
        </div>
        <details class="fold">
            <summary>{move || text_name.get().map_or_else(|| "Text: bundled excerpts of novels".to_string(), |name| format!("Text: {name}"))}</summary>
            <div class="row">
                <label class="field">"A text file of your own" <input type="file" accept=".txt,.md,text/plain" data-testid="score-text" on:change=open /></label>
                <button type="button" class="small" data-testid="score-text-bundled" class:gone=move || text_name.with(Option::is_none) on:click=move |_| app.state.update(|state| state.score_setup.text = None)>
                    "Use the bundled text"
                </button>
            </div>
            <p class="error" role="alert" data-testid="score-text-error">{move || error.get()}</p>
        </details>
        <p class="note" data-testid="score-status" role="status">{move || status.get()}</p>
    }
}

fn calibration_line(state: &AppState) -> Option<String> {
    let (calibration, _) = spread(state)?;
    let Calibration { convention, n_sequences, n_requested, n_tokens, loss_nats, .. } = calibration;
    let of =
        if n_sequences < n_requested { format!("{n_sequences} of {n_requested} sequences") } else { format!("{n_sequences} sequences") };
    Some(format!("Scored over {of}, {n_tokens} tokens: {convention}. Loss {} nats.", short(*loss_nats)))
}

/// Reads the picked file, and hands over its text or why not.
fn read_text(input: &HtmlInputElement, done: impl Fn(Result<CalibrationText, String>) + 'static) {
    let Some(file) = input.files().and_then(|files| files.get(0)) else { return };
    let name = file.name();
    if file.size() > MAX_TEXT_BYTES {
        done(Err(format!("{name} is larger than 64 MB; cut out a part of it.")));
        return;
    }
    leptos::task::spawn_local(async move {
        let read = wasm_bindgen_futures::JsFuture::from(file.text()).await.ok().and_then(|text| text.as_string());
        done(match read {
            Some(text) if text.contains('\u{fffd}') => Err(format!("{name} is no text in UTF-8.")),
            Some(text) if !text.trim().is_empty() => Ok(CalibrationText { name, text }),
            Some(_) => Err(format!("{name} is empty.")),
            None => Err(format!("{name} could not be read.")),
        });
    });
}

/// A whole number of the setup.
#[component]
fn Count(name: &'static str, label: &'static str, get: fn(&ScoreSetup) -> usize, set: fn(&mut ScoreSetup, usize)) -> impl IntoView {
    let app = app();
    let value = app.part(move |state| get(&state.score_setup));
    let change = move |event: leptos::ev::Event| {
        if let Ok(n) = event_target_value(&event).trim().parse() {
            app.state.update(|state| set(&mut state.score_setup, n));
        }
        event_target::<HtmlInputElement>(&event).set_value(&value.get_untracked().to_string());
    };
    view! {
        <label class="field count">
            {label}
            <input type="number" min="1" step="1" data-testid=name prop:value=move || value.get().to_string() on:change=change />
        </label>
    }
}

/// The charts, and what they say.
#[component]
fn Spread() -> impl IntoView {
    let app = app();
    // By place in RHOS: 1 %, as in the paper.
    let rho = RwSignal::new(1_usize);
    let picked = RwSignal::new(None::<usize>);
    let lorenz = RwSignal::new(false);
    let key = app.part(|state| spread(state).map(|(calibration, _)| calibration.clone()));
    let spread = app.drawn(key, |state| spread(state).map(|(_, layers)| layers.to_vec()).unwrap_or_default());
    let layer = Memo::new(move |_| picked.get().unwrap_or_else(|| spread.with(|layers| highest(layers, rho.get()))));
    let share = Signal::derive(move || spread.with(|layers| share_chart(layers, rho.get(), RHOS[rho.get()])));
    let mass = Signal::derive(move || spread.with(|layers| mass_chart(layers, layer.get(), lorenz.get())));
    let lines = Signal::derive(move || {
        let rho = rho.get();
        spread.with(|layers| {
            app.state.with_untracked(|state| layers.iter().map(|layer| layer_line(layer, rho, state.scores.as_ref())).collect::<Vec<_>>())
        })
    });
    let rhos = RHOS
        .iter()
        .enumerate()
        .map(|(i, rho)| view! { <option value=i selected=i == 1>{format!("{} %", short(*rho as f32 * 100.0))}</option> });
    let layers = move || {
        let option = |i: usize| view! { <option value=i selected=i == layer.get_untracked()>{i}</option> };
        (0..spread.with(Vec::len)).map(option).collect_view()
    };
    let pick = |signal: RwSignal<usize>| move |event: leptos::ev::Event| signal.set(event_target_value(&event).parse().unwrap_or_default());
    view! {
        <div class="row">
            <label class="field">"Core: the top" <select data-testid="score-rho" on:change=pick(rho)>{rhos.collect_view()}</select></label>
            <label class="field">
                "Layer"
                <select data-testid="score-layer" prop:value=move || layer.get().to_string() on:change=move |event| picked.set(event_target_value(&event).parse().ok())>{layers}</select>
            </label>
            <label class="check"><input type="checkbox" data-testid="score-lorenz" on:change=move |event| lorenz.set(event_target_checked(&event)) />"as a Lorenz curve"</label>
        </div>
        <div class="pair">
            <ChartView name="lp-share" caption="Share of the loss proxy in the core, by layer" chart=share lines csv=Callback::new(move |()| spread.with_untracked(|layers| shares(layers, FULL).csv()))>
                {move || spread.with(|layers| rows(&shares(layers, READ)))}
            </ChartView>
            <ChartView name="lp-mass" caption="What the first channels of a layer hold together" chart=mass lines=Signal::stored(Vec::new()) csv=Callback::new(move |()| spread.with_untracked(|layers| masses(layers, FULL).csv()))>
                {move || spread.with(|layers| rows(&masses(&layers[layer.get().min(layers.len())..][..1.min(layers.len())], READ)))}
            </ChartView>
        </div>
        <Report rho layer />
    }
}

/// What only a whole report has: agreement with other measures, super weights, and the surroundings of a core.
#[component]
fn Report(rho: RwSignal<usize>, layer: Memo<usize>) -> impl IntoView {
    let app = app();
    let key = app.part(|state| state.scores.as_ref().map(|scores| (scores.calibration.clone(), scores.super_weights.clone())));
    let known = app.drawn(key, |state| state.scores.as_ref().map(|scores| scores.overlaps.clone()).unwrap_or_default());
    let agreement = Signal::derive(move || known.with(|known| agreement_chart(&agreements(known, rho.get()))));
    let findings = move || {
        key.track();
        app.state.with_untracked(|state| state.scores.as_ref().map(|scores| findings(scores, rho.get())).unwrap_or_default())
    };
    let finding = |text: String| view! { <li>{text}</li> };
    let save = move |_| {
        let table = app.state.with_untracked(|state| state.scores.as_ref().map(|scores| channels(scores).csv()));
        dom::download("linchpin-channels.csv", "text/csv", &table.unwrap_or_default());
    };
    let shown = move || {
        view! {
            <ul class="verdicts" data-testid="score-findings">{move || findings().into_iter().map(finding).collect_view()}</ul>
            <div class="pair">
                <ChartView name="lp-agreement" caption="What agrees with it: bar, Jaccard of the cores; ring, Spearman over all channels" chart=agreement lines=Signal::stored(Vec::new()) csv=Callback::new(move |()| known.with_untracked(|known| overlaps(known, rho.get_untracked(), FULL).csv()))>
                    {move || known.with(|known| rows(&overlaps(known, rho.get(), READ)))}
                </ChartView>
                <div class="reading">
                    <h3>"How to read it"</h3>
                    <p class="note">
                        "Compare ranks and shares, not values: the loss proxy carries 1/T² for sequences of T tokens and the scale of the loss. It is a local \
                         estimate for removing one channel; what removing many together does is measured below, under Compare."
                    </p>
                    <p class="note">
                        "The paper (arXiv:2604.23475) reports weak overlap with activation outliers on models of billions of weights. That is a finding about those \
                         models: the bars on the left say what holds for this one."
                    </p>
                    <button type="button" class="link" data-testid="channels-csv" on:click=save>"All channels as CSV"</button>
                </div>
            </div>
            <Surroundings rho layer />
        }
        .into_any()
    };
    let has_report = Memo::new(move |_| key.with(Option::is_some));
    move || has_report.get().then(shown)
}

/// What the report says, sentence by sentence.
fn findings(scores: &ScoreReport, rho_index: usize) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(ShareSummary { rho, median, smallest, largest }) = scores.summary.get(rho_index) {
        said.push(format!(
            "The top {} % of a layer's channels hold {} of its loss proxy in the median layer, {} to {} over all.{}",
            short(*rho as f32 * 100.0),
            percent(*median),
            percent(*smallest),
            percent(*largest),
            if rho_index == 1 { " The paper, for Llama-3.1-8B: 58.7 %, 33.0 to 86.1 %." } else { "" }
        ));
    }
    let size = scores.core_sizes.get(rho_index).copied().unwrap_or(0);
    for at in &scores.super_weights {
        let is_in = if at.rank < size { "a supernode" } else { "not a supernode" };
        said.push(format!(
            "The scan's candidate {} lies in channel {}, number {} of its layer by loss proxy with {} of it: {is_in}.",
            at.at,
            at.at.col,
            at.rank + 1,
            percent(at.share)
        ));
    }
    said
}
