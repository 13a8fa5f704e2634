//! Weigh: every channel scored by gradients, and the distribution of the scores.

mod surroundings;
mod training;

use leptos::prelude::*;
use web_sys::HtmlInputElement;

use crate::draw::scores::{agreement_chart, highest, layer_line, mass_chart, share_chart};
use crate::language;
use crate::protocol::Request;
use crate::tables::scores::{agreements, channels, masses, overlaps, shares};
use crate::terms::{
    Calibration, CalibrationText, Concentration, Count, MAX_TEXT_BYTES, Overlap, RHOS, ScoreReport, ShareSummary, WeightCoord,
};
use crate::ui::page::chart::{ChartView, rows};
use crate::ui::page::context::app;
use crate::ui::page::dom;
use crate::ui::page::number::{NumberField, whole};
use crate::ui::sections::weigh::surroundings::Surroundings;
use crate::ui::sections::weigh::training::Training;
use crate::ui::state::AppState;
use crate::ui::state::scores::ScoreSetup;
use crate::words::{fine_percent, percent, short, visible};

#[component]
pub fn Weigh() -> impl IntoView {
    let app = app();
    let has_scores = app.part(|state| spread(state).is_some());
    view! {
        <section id="weigh" aria-labelledby="weigh-title">
            <p class="step" aria-hidden="true">"3"</p>
            <h2 id="weigh-title">"Weigh: which channels matter to the loss?"</h2>
            <p class="lead">
                "A super weight is a single number. Now whole channels: how much would the loss change without this one? A backward \
                 pass over a text answers for all channels at once with the loss proxy LP = ½ · mean over tokens of (u · ∂L/∂u)², where u is the \
                 input of down_proj. The few channels with most of a layer's LP are its supernodes."
            </p>
            <Setup />
            {move || has_scores.get().then(|| view! { <Spread /> }.into_any())}
            <Training />
        </section>
    }
}

/// The distribution of the known scores: partial while channels are scored.
fn spread(state: &AppState) -> Option<(&Calibration, &[Concentration])> {
    match (&state.scores.progress, &state.scores.report) {
        (Some(progress), _) => Some((&progress.calibration, &progress.concentration)),
        (None, Some(scores)) => Some((&scores.calibration, &scores.concentration)),
        (None, None) => None,
    }
}

#[component]
fn Setup() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let asked = app.part(|state| state.queue.any(is_score));
    let running = app.part(|state| state.queue.runs(is_score));
    let is_part = app
        .part(|state| state.scores.report.as_ref().is_some_and(|scores| scores.calibration.n_sequences < scores.calibration.n_requested));
    let resumable = move || is_part.get() && !asked.get();
    let status = app.part(calibration_line);
    let text_name = app.part(|state| state.scores.setup.text.as_ref().map(|text| visible(&text.name)));
    let error = RwSignal::new(None::<String>);
    let open = move |event: leptos::ev::Event| {
        let input: HtmlInputElement = event_target(&event);
        read_text(&input, move |read| {
            error.set(read.as_ref().err().cloned());
            if let Ok(text) = read {
                app.state.update(|state| state.scores.setup.text = Some(text));
            }
        });
        input.set_value("");
    };
    view! {
        <div class="row">
            {number("score-sequences", "Sequences", Count::Sequences, |setup| setup.sequences, |setup, n| setup.sequences = n)}
            {number("score-length", "Tokens of each", Count::Length, |setup| setup.length, |setup, n| setup.length = n)}
            <button
                type="button" class="primary" data-testid="score-run" disabled=move || !live.get() || asked.get()
                on:click=move |_| app.client.act(|state| state.score(false))
            >
                {move || if running.get() { "Scoring…" } else if asked.get() { "Waiting…" } else { "Score channels" }}
            </button>
            <button type="button" data-testid="score-stop" class:gone=move || !running.get() on:click=move |_| app.client.stop()>"Stop"</button>
            <button type="button" data-testid="score-resume" class:gone=move || !resumable() disabled=move || !live.get() on:click=move |_| app.client.act(|state| state.score(true))>
                "Go on"
            </button>
        </div>
        <details class="fold">
            <summary>{move || text_name.get().map_or_else(|| "Text: bundled excerpts of novels".to_string(), |name| format!("Text: {name}"))}</summary>
            <div class="row">
                <label class="field">"A text file of your own (up to 64 MB)" <input type="file" accept=".txt,.md,text/plain" data-testid="score-text" on:change=open /></label>
                <button type="button" class="small" data-testid="score-text-bundled" class:gone=move || text_name.with(Option::is_none) on:click=move |_| app.state.update(|state| state.scores.setup.text = None)>
                    "Use the bundled text"
                </button>
            </div>
            <p class="error" role="alert" data-testid="score-text-error">{move || error.get()}</p>
        </details>
        <p class="note" data-testid="score-status">{move || status.get()}</p>
        // The end is announced, not every sequence.
        <p class="sr" role="status">{move || if running.get() { Some("Scoring channels.".into()) } else { status.get() }}</p>
    }
}

fn is_score(request: &Request) -> bool {
    matches!(request, Request::Score { .. })
}

fn calibration_line(state: &AppState) -> Option<String> {
    let (calibration, _) = spread(state)?;
    let Calibration { convention, n_sequences, n_requested, n_tokens, loss_nats, .. } = calibration;
    let of =
        if n_sequences < n_requested { format!("{n_sequences} of {n_requested} sequences") } else { format!("{n_sequences} sequences") };
    Some(format!("Scored over {of}, {n_tokens} tokens: {}. Loss {} nats.", language::convention(convention), short(*loss_nats)))
}

/// Reads the picked file, and passes on its text or the reason why it cannot be read.
pub(crate) fn read_text(input: &HtmlInputElement, done: impl Fn(Result<CalibrationText, String>) + 'static) {
    let Some(file) = input.files().and_then(|files| files.get(0)) else { return };
    let name = file.name();
    // Nothing of a larger file is read.
    if file.size() > MAX_TEXT_BYTES as f64 {
        done(Err(format!("{name} has {} MB, and at most 64 MB are read. Use a part of it.", (file.size() / 1e6).ceil())));
        return;
    }
    leptos::task::spawn_local(async move {
        let read = wasm_bindgen_futures::JsFuture::from(file.text()).await.ok().and_then(|text| text.as_string());
        done(match read {
            Some(text) if text.contains('\u{fffd}') => Err(format!("{name} is not UTF-8 text.")),
            Some(text) if !text.trim().is_empty() => Ok(CalibrationText { name, text }),
            Some(_) => Err(format!("{name} is empty.")),
            None => Err(format!("{name} could not be read.")),
        });
    });
}

/// A field for a whole number of the setup.
fn number(
    name: &'static str,
    label: &'static str,
    of: Count,
    get: fn(&ScoreSetup) -> usize,
    set: fn(&mut ScoreSetup, usize),
) -> impl IntoView {
    let app = app();
    let value = app.part(move |state| get(&state.scores.setup).to_string()).into();
    let take = Callback::new(move |typed: String| {
        let number = whole(of, u64::MAX, &typed)? as usize;
        app.state.update(|state| set(&mut state.scores.setup, number));
        Ok(())
    });
    view! { <NumberField name label step="1" value take /> }
}

/// The charts of the distribution, and the findings as text.
#[component]
fn Spread() -> impl IntoView {
    let app = app();
    // Index in RHOS: 1 %, as in the paper.
    let rho = RwSignal::new(1_usize);
    let picked = RwSignal::new(None::<usize>);
    let lorenz = RwSignal::new(false);
    // The last progress and the final report have the same calibration, but only the report names channels.
    let key = app.part(|state| spread(state).map(|(calibration, _)| (calibration.clone(), state.scores.progress.is_some())));
    let spread = app.drawn(key, |state| spread(state).map(|(_, layers)| layers.to_vec()).unwrap_or_default());
    let named = Memo::new(move |_| key.with(|key| key.as_ref().is_some_and(|(_, is_progress)| !is_progress)));
    let n_layers = Memo::new(move |_| spread.with(Vec::len));
    let layer = Memo::new(move |_| match picked.get().filter(|layer| *layer < n_layers.get()) {
        Some(layer) => layer,
        None => spread.with(|layers| highest(layers, rho.get())),
    });
    let pick =
        move |signal: RwSignal<usize>| move |event: leptos::ev::Event| signal.set(event_target_value(&event).parse().unwrap_or_default());
    let rhos = RHOS.iter().enumerate().map(|(i, rho)| view! { <option value=i selected=i == 1>{fine_percent(*rho as f32)}</option> });
    let layers = move || {
        let option = |i: usize| view! { <option value=i selected=i == layer.get_untracked()>{i}</option> };
        (0..n_layers.get()).map(option).collect_view()
    };
    view! {
        <div class="row">
            <label class="field">"Core: the top" <select data-testid="score-rho" on:change=pick(rho)>{rhos.collect_view()}</select></label>
            <label class="field">
                "Layer"
                <select data-testid="score-layer" prop:value=move || layer.get().to_string() on:change=move |event| picked.set(event_target_value(&event).parse().ok())>{layers}</select>
            </label>
            <label class="check"><input type="checkbox" data-testid="score-lorenz" on:change=move |event| lorenz.set(event_target_checked(&event)) />"as a Lorenz curve"</label>
        </div>
        {charts(spread, named, rho, layer, lorenz)}
        <Report rho layer />
    }
}

/// The charts. `named` becomes `true` when a report names the channels of the core.
fn charts(
    spread: Memo<Vec<Concentration>>,
    named: Memo<bool>,
    rho: RwSignal<usize>,
    layer: Memo<usize>,
    lorenz: RwSignal<bool>,
) -> AnyView {
    let app = app();
    let share = Signal::derive(move || spread.with(|layers| share_chart(layers, rho.get(), RHOS[rho.get()])));
    let mass = Signal::derive(move || spread.with(|layers| mass_chart(layers, layer.get(), lorenz.get())));
    let lines = Signal::derive(move || {
        // Both signals are read in every state, so that each change is noticed.
        let (rho, named) = (rho.get(), named.get());
        let line = |state: &AppState, layer: &Concentration| layer_line(layer, rho, state.scores.report.as_ref().filter(|_| named));
        spread.with(|layers| app.state.with_untracked(|state| layers.iter().map(|layer| line(state, layer)).collect::<Vec<_>>()))
    });
    let chosen = move |layers: &[Concentration]| layers.get(layer.get()).cloned().into_iter().collect::<Vec<_>>();
    view! {
        <div class="pair">
            <ChartView name="lp-share" caption="Share of the loss proxy in the core, by layer" chart=share lines csv=Callback::new(move |()| spread.with_untracked(|layers| shares(layers).to_csv()))>
                {move || spread.with(|layers| rows(&shares(layers)))}
            </ChartView>
            <ChartView name="lp-mass" caption="Cumulative share of the first channels of a layer" chart=mass lines=Signal::stored(Vec::new()) csv=Callback::new(move |()| spread.with_untracked(|layers| masses(layers).to_csv()))>
                {move || spread.with(|layers| rows(&masses(&chosen(layers))))}
            </ChartView>
        </div>
    }
    .into_any()
}

/// The parts that need a complete report: agreement with other metrics, candidates, and the surroundings of a core.
#[component]
fn Report(rho: RwSignal<usize>, layer: Memo<usize>) -> impl IntoView {
    let app = app();
    // The report is hidden while another scoring's charts are shown.
    let key =
        app.part(|state| state.scores.report.as_ref().filter(|_| state.scores.progress.is_none()).map(|scores| scores.calibration.clone()));
    let known = app.drawn(key, |state| state.scores.report.as_ref().map(|scores| scores.overlaps.clone()).unwrap_or_default());
    let candidates =
        app.part(|state| state.scan.report.iter().flat_map(|scan| &scan.candidates).map(|candidate| candidate.at).collect::<Vec<_>>());
    let findings = move || {
        key.with(|_| ());
        candidates.with(|candidates| {
            app.state.with_untracked(|state| state.scores.report.as_ref().map(|scores| findings(scores, rho.get(), candidates)))
        })
    };
    let finding = |text: String| view! { <li>{text}</li> };
    let has_report = Memo::new(move |_| key.with(Option::is_some));
    let shown = move || {
        view! {
            <ul class="verdicts" data-testid="score-findings">{move || findings().unwrap_or_default().into_iter().map(finding).collect_view()}</ul>
            {agreement(known, rho)}
            <Surroundings rho layer />
        }
        .into_any()
    };
    move || has_report.get().then(shown)
}

fn agreement(known: Memo<Vec<Overlap>>, rho: RwSignal<usize>) -> AnyView {
    let app = app();
    let chart = Signal::derive(move || known.with(|known| agreement_chart(&agreements(known, rho.get()))));
    let save = move |_| {
        let table = app.state.with_untracked(|state| state.scores.report.as_ref().map(|scores| channels(&scores.channels).to_csv()));
        dom::download("linchpin-channels.csv", "text/csv", &table.unwrap_or_default());
    };
    view! {
        <div class="pair">
            <ChartView name="lp-agreement" caption="Agreement with LP: bar, Jaccard of the cores; ring, Spearman over all channels (grey: negative)" chart lines=Signal::stored(Vec::new()) csv=Callback::new(move |()| known.with_untracked(|known| overlaps(known, rho.get_untracked()).to_csv()))>
                {move || known.with(|known| rows(&overlaps(known, rho.get())))}
            </ChartView>
            <div class="reading">
                <h3>"How to read it"</h3>
                <p class="note">
                    "Compare ranks and shares, not values: the loss proxy contains 1/T² for sequences of T tokens, and the scale of the loss. It is a local \
                     estimate for removing one channel; removing many together is measured below, under Compare."
                </p>
                <p class="note">
                    "The paper (arXiv:2604.23475) reports weak overlap with activation outliers on models of billions of weights. That holds for those \
                     models; the bars show this one."
                </p>
                <button type="button" class="link" data-testid="channels-csv" on:click=save>"All channels as CSV"</button>
            </div>
        </div>
    }
    .into_any()
}

/// Findings of the report, as sentences.
fn findings(scores: &ScoreReport, rho_index: usize, candidates: &[WeightCoord]) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(ShareSummary { rho, median, smallest, largest }) = scores.summary.get(rho_index) {
        said.push(format!(
            "The top {} of a layer's channels hold {} of its loss proxy in the median layer, {} to {} over all layers.{}",
            fine_percent(*rho as f32),
            percent(*median),
            percent(*smallest),
            percent(*largest),
            if rho_index == 1 { " The paper, for Llama-3.1-8B: 58.7 %, 33.0 to 86.1 %." } else { "" }
        ));
    }
    for at in candidates {
        let Some((rank, share)) = rank_of(scores, *at) else { continue };
        let is_in =
            if rank < scores.core_sizes.get(rho_index).map_or(0, |sizes| sizes.at(at.layer)) { "a supernode" } else { "not a supernode" };
        said.push(format!(
            "The scan's candidate {at} is in channel {}, number {} of its layer by loss proxy, with {} of it: {is_in}.",
            at.col,
            rank + 1,
            fine_percent(share)
        ));
    }
    said
}

/// Rank of a scalar's channel in its layer (0 is the largest), and its share. In a tie the lower channel comes first.
fn rank_of(scores: &ScoreReport, at: WeightCoord) -> Option<(usize, f32)> {
    let proxies = &scores.channels.iter().find(|scores| scores.layer == at.layer)?.loss_proxy;
    let own = *proxies.get(at.col)?;
    let is_before = |(channel, proxy): &(usize, &f32)| **proxy > own || (**proxy == own && *channel < at.col);
    let total = proxies.iter().copied().map(f64::from).sum::<f64>();
    Some((proxies.iter().enumerate().filter(is_before).count(), (f64::from(own) / total.max(f64::MIN_POSITIVE)) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::ChannelScores;
    use crate::ui::state::scores::tests::{calibration, report};

    #[test]
    fn candidate_is_ranked_among_its_layer() {
        let scores = ChannelScores { layer: 2, loss_proxy: vec![1.0, 5.0, 1.0, 3.0], ..ChannelScores::default() };
        let report = ScoreReport { channels: vec![scores], ..report(calibration(1)) };
        let at = |layer, col| WeightCoord::new(layer, 0, col);
        assert_eq!(
            [at(2, 1), at(2, 0), at(2, 2), at(2, 4), at(1, 0)].map(|at| rank_of(&report, at)),
            [Some((0, 0.5)), Some((2, 0.1)), Some((3, 0.1)), None, None]
        );
    }
}
