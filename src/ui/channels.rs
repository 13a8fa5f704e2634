//! Channels removed together by a rule, next to the edits of single weights.

use gloo_timers::callback::Timeout;
use leptos::prelude::*;

use super::context::app;
use super::prune_words::{pruning_words, ranking_name};
use super::state::AppState;
use super::words::{grouped, percent, short};
use crate::terms::{Pick, Pruning, Ranking, Replacement, Selection};

/// A dragged slider changes many times a second; the engine hears of where it rests.
const DEBOUNCE_MS: u32 = 150;
/// The paper's largest sparsity.
const MAX_SPARSITY: f64 = 70.0;

/// What the controls say, switched on or not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Choice {
    pick: &'static str,
    by: Ranking,
    /// Percent of a layer's channels.
    sparsity: f64,
    layer: Option<usize>,
    replacement: Replacement,
    /// Percent.
    rho: f64,
    eta: f64,
    seed: u64,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            pick: "core",
            by: Ranking::Protected,
            sparsity: 30.0,
            layer: None,
            replacement: Replacement::Zero,
            rho: 1.0,
            eta: 10.0,
            seed: 1,
        }
    }
}

impl Choice {
    fn has_ranking(&self) -> bool {
        matches!(self.pick, "lowest" | "highest")
    }

    fn pruning(&self) -> Pruning {
        let share = self.sparsity / 100.0;
        let pick = match self.pick {
            "halo" => Pick::Halo,
            "matched" => Pick::Matched,
            "random" => Pick::Random,
            "lowest" => Pick::Lowest { by: self.by, share },
            "highest" => Pick::Highest { by: self.by, share },
            _ => Pick::Core,
        };
        let selection =
            Selection { rho: self.rho / 100.0, eta: self.eta / 100.0, layer: self.layer, seed: self.seed, ..Selection::new(pick) };
        Pruning { selection, replacement: self.replacement }
    }

    /// The controls' position for a pruning that came from elsewhere, such as a link.
    fn of(pruning: &Pruning) -> Self {
        let Selection { pick, rho, eta, layer, seed, .. } = pruning.selection;
        let default = Self::default();
        let (pick, by, share) = match pick {
            Pick::Core => ("core", default.by, default.sparsity / 100.0),
            Pick::Halo => ("halo", default.by, default.sparsity / 100.0),
            Pick::Matched => ("matched", default.by, default.sparsity / 100.0),
            Pick::Random => ("random", default.by, default.sparsity / 100.0),
            Pick::Lowest { by, share } => ("lowest", by, share),
            Pick::Highest { by, share } => ("highest", by, share),
        };
        let percent = |share: f64| (share * 1e4).round() / 100.0;
        Self { pick, by, sparsity: percent(share), layer, replacement: pruning.replacement, rho: percent(rho), eta: percent(eta), seed }
    }
}

const PICKS: [(&str, &str); 6] = [
    ("core", "the supernodes"),
    ("halo", "the halo"),
    ("matched", "as many as the halo, matched by loss proxy"),
    ("random", "as many as the core, at random"),
    ("lowest", "the lowest by a ranking"),
    ("highest", "the highest by a ranking"),
];

/// Which channels, from where, and the switch.
#[component]
pub fn Channels() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let choice = RwSignal::new(Choice::default());
    let on = app.part(|state| state.pruning.is_some());
    // A rule from a link moves the controls; what they set themselves is what they show already.
    let given = app.part(|state| state.pruning);
    Effect::new(move |_| {
        if let Some(pruning) = given.get().filter(|given| choice.with_untracked(|choice| choice.pruning() != *given)) {
            choice.set(Choice::of(&pruning));
        }
    });
    let timer = StoredValue::new_local(None::<Timeout>);
    let change = move |set: &dyn Fn(&mut Choice)| {
        choice.update(|choice| set(choice));
        if on.get_untracked() {
            let apply = move || app.client.edit(|state| state.pruning = Some(choice.with_untracked(Choice::pruning)));
            timer.set_value(Some(Timeout::new(DEBOUNCE_MS, apply)));
        }
    };
    let switch = move |event: leptos::ev::Event| {
        let pruning = event_target_checked(&event).then(|| choice.with_untracked(Choice::pruning));
        app.client.edit(|state| state.pruning = pruning);
    };
    let status = app.part(pruned_line);
    let needs_scores = app.part(|state| {
        let ScoresAhead { sequences, length } = ahead(state)?;
        Some(format!("The channels are scored first, over {sequences} sequences of {length} tokens."))
    });
    let words = move || choice.with(|choice| pruning_words(&choice.pruning()));
    view! {
        <div class="channels">
            <h3>"Channels"</h3>
            <Which choice change=Callback::new(move |set: Change| change(&*set.0)) />
            <label class="switch">
                <input type="checkbox" role="switch" data-testid="prune-switch" prop:checked=move || on.get() disabled=move || !live.get() on:change=switch />
                <span>"Remove "{words}</span>
            </label>
            <p class="note" data-testid="prune-status" role="status">{move || status.get().or_else(|| needs_scores.get())}</p>
        </div>
    }
}

/// One change of the controls.
struct Change(Box<dyn Fn(&mut Choice)>);

#[component]
fn Which(choice: RwSignal<Choice>, change: Callback<Change>) -> impl IntoView {
    let app = app();
    let n_layers = app.part(|state| state.info.as_ref().map_or(0, |info| info.num_hidden_layers));
    let set = move |event: &leptos::ev::Event, set: fn(&mut Choice, String)| {
        let value = event_target_value(event);
        change.run(Change(Box::new(move |choice| set(choice, value.clone()))));
    };
    let picks = PICKS.iter().map(|(value, name)| view! { <option value=*value>{*name}</option> }).collect_view();
    let rankings = Ranking::ALL.iter().enumerate().map(|(i, by)| view! { <option value=i>{ranking_name(*by)}</option> }).collect_view();
    let layers = move || (0..n_layers.get()).map(|i| view! { <option value=i>{format!("layer {i}")}</option> }).collect_view();
    let by = move || choice.with(|choice| Ranking::ALL.iter().position(|by| *by == choice.by).unwrap_or(0).to_string());
    let layer = move || choice.with(|choice| choice.layer.map_or("all".into(), |layer| layer.to_string()));
    let without_ranking = move || choice.with(|choice| !choice.has_ranking());
    let sparsity = move || choice.with(|choice| choice.sparsity);
    let number = move |name: &'static str,
                       label: &'static str,
                       step: &'static str,
                       get: fn(&Choice) -> f64,
                       put: fn(&mut Choice, String)| {
        view! {
            <label class="field count">
                {label}
                <input type="number" min="0" step=step data-testid=name prop:value=move || choice.with(|choice| get(choice).to_string()) on:change=move |event| set(&event, put) />
            </label>
        }
    };
    view! {
        <div class="row">
            <label class="field">
                "Which"
                <select data-testid="prune-pick" prop:value=move || choice.with(|choice| choice.pick) on:change=move |event| set(&event, |choice, value| {
                    choice.pick = PICKS.iter().map(|(pick, _)| *pick).find(|pick| *pick == value).unwrap_or("core");
                })>{picks}</select>
            </label>
            <label class="field" class:gone=without_ranking>
                "Ranked by"
                <select data-testid="prune-by" prop:value=by on:change=move |event| set(&event, |choice, value| {
                    choice.by = value.parse().ok().and_then(|i: usize| Ranking::ALL.get(i).copied()).unwrap_or(choice.by);
                })>{rankings}</select>
            </label>
            <label class="field">
                "Where"
                <select data-testid="prune-layer" prop:value=layer on:change=move |event| set(&event, |choice, value| choice.layer = value.parse().ok())>
                    <option value="all">"every layer"</option>
                    {layers}
                </select>
            </label>
            <label class="field">
                "In their place"
                <select data-testid="prune-replace" prop:value=move || choice.with(|choice| if choice.replacement == Replacement::Mean { "mean" } else { "zero" }) on:change=move |event| set(&event, |choice, value| {
                    choice.replacement = if value == "mean" { Replacement::Mean } else { Replacement::Zero };
                })>
                    <option value="zero">"zero"</option>
                    <option value="mean">"their means"</option>
                </select>
            </label>
        </div>
        <label class="field" class:gone=without_ranking>
            {move || format!("Sparsity: {} of each layer's channels", percent(sparsity() as f32 / 100.0))}
            <input
                class="slider" type="range" min="0" max=MAX_SPARSITY step="1" data-testid="prune-sparsity" prop:value=move || sparsity().to_string()
                on:input=move |event| set(&event, |choice, value| choice.sparsity = value.parse().unwrap_or(choice.sparsity).clamp(0.0, MAX_SPARSITY))
            />
        </label>
        <details class="fold">
            <summary>"Sizes of core and halo, and the seed"</summary>
            <div class="row">
                {number("prune-rho", "Core, %", "0.5", |choice| choice.rho, |choice, value| choice.rho = value.parse().unwrap_or(choice.rho).clamp(0.01, 50.0))}
                {number("prune-eta", "Halo, %", "1", |choice| choice.eta, |choice, value| choice.eta = value.parse().unwrap_or(choice.eta).clamp(0.01, 100.0))}
                {number("prune-seed", "Seed", "1", |choice| choice.seed as f64, |choice, value| choice.seed = value.parse().unwrap_or(choice.seed).min(crate::share::MAX_SEED))}
            </div>
            <p class="note">
                "Zero takes away everything that a channel writes. Its mean takes away only what it tells: a channel that writes much the same at every token does \
                 harm when it is zeroed and none when it is replaced by its mean."
            </p>
        </details>
    }
}

/// What the removal that is in place came to.
fn pruned_line(state: &AppState) -> Option<String> {
    let pruned = state.pruned.as_ref().filter(|pruned| state.pruning == Some(pruned.pruning))?;
    let info = state.info.as_ref()?;
    let all = info.num_hidden_layers * info.intermediate_size;
    let took = state.applied.as_ref().map(|(_, took_ms)| format!(" in {} ms", short(*took_ms as f32))).unwrap_or_default();
    Some(format!(
        "{} channels are removed{took}: {} of all. Selection {}, by scores over {} sequences.",
        grouped(pruned.n_channels as i64),
        percent(pruned.n_channels as f32 / all.max(1) as f32),
        pruned.digest,
        pruned.calibration.n_sequences
    ))
}

struct ScoresAhead {
    sequences: usize,
    length: usize,
}

/// What will be scored before a removal, if the engine has no scores yet.
fn ahead(state: &AppState) -> Option<ScoresAhead> {
    let info = state.info.as_ref().filter(|_| state.engine_calibration.is_none())?;
    let setup = &state.score_setup;
    Some(ScoresAhead { sequences: setup.sequences, length: setup.length.min(info.max_position_embeddings) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_show_the_rule_that_they_were_given() {
        for pick in [
            Pick::Core,
            Pick::Halo,
            Pick::Matched,
            Pick::Random,
            Pick::Lowest { by: Ranking::Wanda, share: 0.07 },
            Pick::Highest { by: Ranking::Random, share: 0.5 },
        ] {
            let selection = Selection { rho: 0.02, eta: 0.05, layer: Some(3), seed: 9, ..Selection::new(pick) };
            let pruning = Pruning { selection, replacement: Replacement::Mean };
            assert_eq!(Choice::of(&pruning).pruning(), pruning);
        }
    }
}
