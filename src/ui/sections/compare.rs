//! Compare: removals by several rules side by side, and single channels removed one at a time.

use leptos::prelude::*;

use crate::draw::comparison::{chart as comparison_chart, deletion_chart, own, title};
use crate::protocol::Request;
use crate::tables::{deletions, sweep};
use crate::terms::{Comparison, Count, DataTable, DeletionCorrelation, Replacement, median};
use crate::ui::page::chart::{ChartView, rows};
use crate::ui::page::context::app;
use crate::ui::page::number::{NumberField, whole};
use crate::ui::state::AppState;
use crate::words::short;

#[component]
pub fn Compare() -> impl IntoView {
    let app = app();
    let running = app.part(|state| state.queue.runs(is_comparison));
    let mean = RwSignal::new(false);
    view! {
        <section id="compare" aria-labelledby="compare-title">
            <p class="step" aria-hidden="true">"5"</p>
            <h2 id="compare-title">"Compare: does the ranking matter?"</h2>
            <p class="lead">
                "To test a score, remove the channels that each ranking puts first, and as many random ones, and compare the loss on the \
                 held-out passages. Then remove from the other end: how many channels can be pruned?"
            </p>
            <div class="row">
                <label class="field">
                    "Removed channels are replaced by"
                    <select data-testid="compare-replace" on:change=move |event| mean.set(event_target_value(&event) == "mean")>
                        <option value="zero">"zero"</option>
                        <option value="mean">"their means"</option>
                    </select>
                </label>
                <button type="button" data-testid="compare-stop" class:gone=move || !running.get() on:click=move |_| app.client.stop()>"Stop"</button>
            </div>
            <div class="pair">
                {comparison("removal", Comparison::Removal, mean, "Remove the highest", "Lines: channels removed from the highest score on. Random draws: mean and range of three.")}
                {comparison("pruning", Comparison::Pruning, mean, "Prune the lowest", "One shot, without training afterwards. The three SCAR rankings keep the supernodes. These have the largest LP, so SCAR-LP would keep them anyway.")}
            </div>
            <p class="note">
                "The paper's released data (lp_vs_activation_supernode_pruning.json, 50 % sparsity, four runs each) raise a doubt: with cores defined by activations kept, \
                 perplexity was 46.65; with cores defined by LP kept, 48.4. So it is open if LP finds the best cores to keep. The lines here \
                 do not test this: they compare rankings."
            </p>
            <Deletions mean />
        </section>
    }
}

fn is_comparison(request: &Request) -> bool {
    matches!(request, Request::Sweep { .. } | Request::Delete { .. })
}

fn replacement(mean: bool) -> Replacement {
    if mean { Replacement::Mean } else { Replacement::Zero }
}

/// One comparison: its button, its chart and its rows.
fn comparison(name: &'static str, of: Comparison, mean: RwSignal<bool>, label: &'static str, hint: &'static str) -> AnyView {
    let app = app();
    let live = app.is_live();
    let busy = app.part(|state| state.queue.any(is_comparison));
    let running = app.part(|state| state.queue.runs(is_comparison));
    let n_points =
        app.part(|state| (state.comparisons.sweep.len(), state.panes.intact_evaluation.as_ref().map(|evaluation| evaluation.loss_nats)));
    let n_sweep = app.part(|state| state.comparisons.sweep.len());
    let counts = app.drawn(n_sweep, move |state| {
        let known = |replacement| {
            let all = of.prunings(replacement);
            let known = all.iter().filter(|pruning| state.comparisons.sweep.iter().any(|point| point.pruned.pruning == **pruning)).count();
            (known, all.len())
        };
        (known(Replacement::Zero), known(Replacement::Mean))
    });
    let count = move || if mean.get() { counts.get().1 } else { counts.get().0 };
    let chart = Signal::derive(move || {
        n_points.with(|_| ());
        let replacement = replacement(mean.get());
        app.state.with_untracked(|state| {
            let n_channels = state.model.info.as_ref().map_or(0, |info| info.intermediate_size.total(info.num_hidden_layers));
            comparison_chart(of, &state.comparisons.sweep, replacement, state.panes.intact_evaluation.as_ref(), n_channels)
        })
    });
    let csv =
        Callback::new(move |()| app.state.with_untracked(|state| sweep_table(state, of)).map(|table| table.to_csv()).unwrap_or_default());
    let table = move || {
        n_points.with(|_| ());
        app.state.with_untracked(|state| sweep_table(state, of)).map(|table| rows(&table.select(&sweep::DIFFERING)))
    };
    let has_points = Memo::new(move |_| count().0 > 0);
    let button = move || match count() {
        _ if busy.get() && !running.get() => "Waiting…".to_string(),
        (known, all) if known == all => "All measured".to_string(),
        (0, all) => format!("{label} ({all} removals)"),
        (known, all) => format!("Continue ({known} of {all})"),
    };
    let picture = move || {
        let chart_name = if of == Comparison::Removal { "removal-chart" } else { "pruning-chart" };
        view! { <ChartView name=chart_name caption=title(of) chart lines=Signal::stored(Vec::new()) csv>{table}</ChartView> }.into_any()
    };
    view! {
        <div class="experiment">
            <button
                type="button" data-testid=format!("compare-{name}") disabled=move || !live.get() || busy.get() || count().0 == count().1
                on:click=move |_| app.client.act(|state| state.compare(of, replacement(mean.get_untracked())))
            >
                {button}
            </button>
            {move || has_points.get().then(picture)}
            <p class="note">{hint}</p>
        </div>
    }
    .into_any()
}

#[component]
fn Deletions(mean: RwSignal<bool>) -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let busy = app.part(|state| state.queue.any(is_comparison));
    let per_layer = RwSignal::new(8_usize);
    let take = Callback::new(move |typed: String| {
        per_layer.set(whole(Count::PerLayer, u64::MAX, &typed)? as usize);
        Ok(())
    });
    let n_known = app.part(|state| state.comparisons.deletions.len());
    let chart = app.drawn(n_known, |state| deletion_chart(&state.comparisons.deletions));
    let said = app.part(deletion_line);
    let csv = Callback::new(move |()| app.state.with_untracked(deletion_table).map(|table| table.to_csv()).unwrap_or_default());
    let table = move || {
        n_known.with(|_| ());
        app.state.with_untracked(deletion_table).map(|table| rows(&table.select(&deletions::DIFFERING)))
    };
    let has_any = Memo::new(move |_| n_known.get() > 0);
    view! {
        <h3>"One channel at a time"</h3>
        <p class="note">
            "The loss proxy estimates the effect of removing one channel. Here single channels are really removed, drawn evenly from eight quantiles of each layer's loss proxies."
        </p>
        <div class="row">
            <NumberField name="deletions-per-layer" label="Channels of each layer" step="1" value=Signal::derive(move || per_layer.get().to_string()) take />
            <button type="button" data-testid="deletions-run" disabled=move || !live.get() || busy.get() on:click=move |_| app.client.act(|state| state.delete_channels(per_layer.get_untracked(), replacement(mean.get_untracked())))>
                "Remove them one by one"
            </button>
        </div>
        <p class="note" data-testid="deletions-line" role="status">{move || said.get()}</p>
        {move || has_any.get().then(|| view! {
            <div class="narrow">
                <ChartView name="deletions-chart" caption="Loss proxy of a channel, and effect of removing it" chart=chart lines=Signal::stored(Vec::new()) csv>{table}</ChartView>
            </div>
        }.into_any())}
    }
}

/// The removals of a comparison; `None` without a model.
fn sweep_table(state: &AppState, of: Comparison) -> Option<DataTable> {
    let info = state.model.info.as_ref()?;
    let intact = state.panes.intact_evaluation.as_ref();
    Some(sweep::points(&own(of, &state.comparisons.sweep), &info.model, Some(&info.backend.kind), intact))
}

fn deletion_table(state: &AppState) -> Option<DataTable> {
    let backend = state.model.info.as_ref().map(|info| info.backend.kind.as_str());
    Some(deletions::deletions(&state.comparison_reports().1?, backend))
}

/// The correlation of the loss proxy with the measured changes of loss, as one line.
fn deletion_line(state: &AppState) -> Option<String> {
    let report = state.comparisons.deletion_report.as_ref()?;
    let DeletionCorrelation { n, spearman, n_positive, spearman_positive, .. } = report.correlations.first()?;
    let number = |value: &Option<f32>| value.map_or("undefined".into(), short);
    let within = median(report.correlations.iter().skip(1).filter_map(|layer| layer.spearman));
    Some(format!(
        "Over {n} removals, Spearman's correlation of loss proxy and change of the loss is {}; over the {n_positive} that raised the loss, as the paper's code has it, {}. \
         Within a layer, where the ranking is used, it is {} in the median layer.",
        number(spearman),
        number(spearman_positive),
        short(within as f32)
    ))
}
