//! Channels removed together by a rule, next to the edits of single weights.

use crate::language;
use crate::tables::names::ranking_name;
use crate::ui::page::context::{App, app};
use crate::ui::page::number::{NumberField, percent, whole};
use crate::ui::pictures::words::ranking_hint;
use crate::ui::state::AppState;
use crate::ui::state::scores::ScoreSetup;
use gloo_timers::callback::Timeout;
use leptos::prelude::*;

use crate::terms::{Count, Pick, Pruning, Ranking, Replacement, Selection, ShareOf};
use crate::words::{fine_percent, grouped, short};

/// The delay of a dragged slider, which changes many times a second; the engine only gets the final value.
const DEBOUNCE_MS: u32 = 150;
/// The paper's largest sparsity.
const MAX_SPARSITY: f64 = 70.0;

/// The state of the controls, switched on or off: the exact rule, and the values that the controls return to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Choice {
    rule: Pruning,
    /// Ranking, for the picks that have one.
    by: Ranking,
    share: f64,
}

impl Default for Choice {
    fn default() -> Self {
        let rule = Pruning { selection: Selection::new(Pick::Core), replacement: Replacement::Zero };
        Self { rule, by: Ranking::Protected, share: 0.3 }
    }
}

impl Choice {
    /// The controls' position for a rule from elsewhere, such as a link.
    fn of(rule: Pruning) -> Self {
        match rule.selection.pick {
            Pick::Lowest { by, share } | Pick::Highest { by, share } => Self { rule, by, share },
            _ => Self { rule, ..Self::default() },
        }
    }

    fn has_ranking(&self) -> bool {
        matches!(self.rule.selection.pick, Pick::Lowest { .. } | Pick::Highest { .. })
    }

    fn name(&self) -> &'static str {
        match self.rule.selection.pick {
            Pick::Core => "core",
            Pick::Halo => "halo",
            Pick::Matched => "matched",
            Pick::Random => "random",
            Pick::Lowest { .. } => "lowest",
            Pick::Highest { .. } => "highest",
        }
    }

    fn pick(&mut self, name: &str) {
        let Self { by, share, .. } = *self;
        self.rule.selection.pick = match name {
            "halo" => Pick::Halo,
            "matched" => Pick::Matched,
            "random" => Pick::Random,
            "lowest" => Pick::Lowest { by, share },
            "highest" => Pick::Highest { by, share },
            _ => Pick::Core,
        };
    }

    /// Sets another ranking or share, if the pick has them.
    fn rank(&mut self, by: Ranking, share: f64) {
        (self.by, self.share) = (by, share);
        self.pick(self.name());
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

/// Controls for the channels and their ranking, and the switch.
#[component]
pub fn Channels() -> impl IntoView {
    let app = app();
    let live = app.is_live();
    let choice = RwSignal::new(Choice::default());
    let on = app.part(|state| state.edits.pruning.is_some());
    follow(app, choice);
    let timer = StoredValue::new_local(None::<Timeout>);
    let apply =
        move || app.client.edit(|state| state.edits.pruning = state.edits.pruning.map(|_| choice.with_untracked(|choice| choice.rule)));
    let change = move |Change(set): Change| {
        choice.update(|choice| set(choice));
        if on.get_untracked() {
            timer.set_value(Some(Timeout::new(DEBOUNCE_MS, apply)));
        }
    };
    let switch = move |event: leptos::ev::Event| {
        timer.set_value(None);
        let rule = event_target_checked(&event).then(|| choice.with_untracked(|choice| choice.rule));
        app.client.edit(|state| state.edits.pruning = rule);
    };
    let status = app.part(|state| pruned_line(state).or_else(|| scores_ahead(state)));
    let words = move || choice.with(|choice| language::pruning(&choice.rule));
    view! {
        <div class="channels">
            <h3>"Channels"</h3>
            <Which choice change=Callback::new(change) />
            <Sizes choice change=Callback::new(change) />
            <label class="switch">
                <input type="checkbox" role="switch" data-testid="prune-switch" prop:checked=move || on.get() disabled=move || !live.get() on:change=switch />
                <span>"Remove "{words}</span>
            </label>
            <p class="note" data-testid="prune-status" role="status">{move || status.get()}</p>
        </div>
    }
}

/// Moves the controls to a rule from a link, and drops a layer that a smaller model lacks.
fn follow(app: App, choice: RwSignal<Choice>) {
    let given = app.part(|state| state.edits.pruning);
    Effect::new(move |_| {
        if let Some(rule) = given.get().filter(|given| choice.with_untracked(|choice| choice.rule != *given)) {
            choice.set(Choice::of(rule));
        }
    });
    let n_layers = app.part(n_layers);
    Effect::new(move |_| {
        let n_layers = n_layers.get();
        if choice.with_untracked(|choice| choice.rule.selection.layer.is_some_and(|layer| layer >= n_layers)) && n_layers > 0 {
            choice.update(|choice| choice.rule.selection.layer = None);
        }
    });
}

fn n_layers(state: &AppState) -> usize {
    state.model.info.as_ref().map_or(0, |info| info.num_hidden_layers)
}

/// One change of the choice.
struct Change(Box<dyn Fn(&mut Choice)>);

/// Applies a typed or chosen value to the choice.
fn set(change: Callback<Change>, event: &leptos::ev::Event, set: fn(&mut Choice, &str)) {
    let value = event_target_value(event);
    change.run(Change(Box::new(move |choice| set(choice, &value))));
}

#[component]
fn Which(choice: RwSignal<Choice>, change: Callback<Change>) -> impl IntoView {
    let app = app();
    let n_layers = app.part(n_layers);
    let picks = PICKS.iter().map(|(value, name)| view! { <option value=*value>{*name}</option> }).collect_view();
    let rankings = Ranking::ALL.iter().enumerate().map(|(i, by)| view! { <option value=i>{ranking_name(*by)}</option> }).collect_view();
    let layers = move || (0..n_layers.get()).map(|i| view! { <option value=i>{format!("layer {i}")}</option> }).collect_view();
    let by = move || choice.with(|choice| Ranking::ALL.iter().position(|by| *by == choice.by).unwrap_or(0).to_string());
    let layer = move || choice.with(|choice| choice.rule.selection.layer.map_or("all".into(), |layer| layer.to_string()));
    let replacement = move || choice.with(|choice| if choice.rule.replacement == Replacement::Mean { "mean" } else { "zero" });
    let without_ranking = move || choice.with(|choice| !choice.has_ranking());
    let explained = move || choice.with(|choice| choice.has_ranking().then(|| ranking_hint(choice.by)));
    view! {
        <div class="row">
            <label class="field">
                "Which"
                <select data-testid="prune-pick" prop:value=move || choice.with(Choice::name) on:change=move |event| set(change, &event, |choice, value| choice.pick(value))>{picks}</select>
            </label>
            <label class="field" class:gone=without_ranking>
                "Ranked by"
                <select data-testid="prune-by" prop:value=by on:change=move |event| set(change, &event, |choice, value| {
                    let by = value.parse().ok().and_then(|i: usize| Ranking::ALL.get(i).copied());
                    choice.rank(by.unwrap_or(choice.by), choice.share);
                })>{rankings}</select>
            </label>
            <label class="field">
                "Where"
                <select data-testid="prune-layer" prop:value=layer on:change=move |event| set(change, &event, |choice, value| choice.rule.selection.layer = value.parse().ok())>
                    <option value="all">"every layer"</option>
                    {layers}
                </select>
            </label>
            <label class="field">
                "Replaced by"
                <select data-testid="prune-replace" prop:value=replacement on:change=move |event| set(change, &event, |choice, value| {
                    choice.rule.replacement = if value == "mean" { Replacement::Mean } else { Replacement::Zero };
                })>
                    <option value="zero">"zero"</option>
                    <option value="mean">"their means"</option>
                </select>
            </label>
        </div>
        <p class="note">{explained}</p>
    }
}

#[component]
fn Sizes(choice: RwSignal<Choice>, change: Callback<Change>) -> impl IntoView {
    let without_ranking = move || choice.with(|choice| !choice.has_ranking());
    let share = move || choice.with(|choice| choice.share * 100.0);
    let number = move |name, label, step, get: fn(&Selection) -> String, put: fn(&mut Selection, &str) -> Result<(), String>| {
        let value = Signal::derive(move || choice.with(|choice| get(&choice.rule.selection)));
        let take = Callback::new(move |typed: String| {
            let mut selection = choice.with_untracked(|choice| choice.rule.selection);
            put(&mut selection, &typed)?;
            change.run(Change(Box::new(move |choice| choice.rule.selection = selection)));
            Ok(())
        });
        view! { <NumberField name label step value take /> }
    };
    view! {
        <label class="field" class:gone=without_ranking>
            {move || format!("Sparsity: {} of each layer's channels", fine_percent(share() as f32 / 100.0))}
            <input
                class="slider" type="range" min="0" max=move || MAX_SPARSITY.max(share()) step="1" data-testid="prune-sparsity" prop:value=move || share().to_string()
                on:input=move |event| set(change, &event, |choice, value| {
                    let share = value.parse().map_or(choice.share, |percent: f64| percent.clamp(0.0, 100.0) / 100.0);
                    choice.rank(choice.by, share);
                })
            />
        </label>
        <details class="fold">
            <summary>"Sizes of core and halo, and the seed"</summary>
            <div class="row">
                {number("prune-rho", "Core, %", "0.5", |of| short(of.rho as f32 * 100.0), |of, typed| {
                    of.rho = percent(ShareOf::Core, typed)?;
                    Ok(())
                })}
                {number("prune-eta", "Halo, %", "1", |of| short(of.eta as f32 * 100.0), |of, typed| {
                    of.eta = percent(ShareOf::Halo, typed)?;
                    Ok(())
                })}
                {number("prune-seed", "Seed", "1", |of| of.seed.to_string(), |of, typed| {
                    of.seed = whole(Count::Seed, u64::MAX, typed)?;
                    Ok(())
                })}
            </div>
            <p class="note">
                "Zero removes everything that a channel writes. The mean removes only its variation: if a channel writes nearly the same at every token, zeroing it does \
                 harm, but replacing it by its mean does none."
            </p>
        </details>
    }
}

/// The outcome of the applied removal, as one line.
fn pruned_line(state: &AppState) -> Option<String> {
    let pruned = state.edits.pruned.as_ref().filter(|pruned| state.edits.pruning == Some(pruned.pruning))?;
    let info = state.model.info.as_ref()?;
    let all = info.intermediate_size.total(info.num_hidden_layers);
    let took = state.edits.applied.as_ref().map(|(_, took_ms)| format!(" in {} ms", short(*took_ms as f32))).unwrap_or_default();
    Some(format!(
        "{} channels are removed{took}: {} of all. Selection {}, by scores over {} sequences.",
        grouped(pruned.n_channels as i64),
        fine_percent(pruned.n_channels as f32 / all.max(1) as f32),
        pruned.digest,
        pruned.calibration.n_sequences
    ))
}

/// A note on the scoring before a removal, if the engine has no scores yet.
fn scores_ahead(state: &AppState) -> Option<String> {
    let info = state.model.info.as_ref().filter(|_| state.scores.engine_calibration.is_none())?;
    let ScoreSetup { sequences, length, .. } = &state.scores.setup;
    Some(format!("Channels are scored first, over {sequences} sequences of {} tokens.", (*length).min(info.max_position_embeddings)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_keep_the_rule_that_they_were_given() {
        for pick in [
            Pick::Core,
            Pick::Halo,
            Pick::Matched,
            Pick::Random,
            Pick::Lowest { by: Ranking::Wanda, share: 0.123_456 },
            Pick::Highest { by: Ranking::Random, share: 0.9 },
        ] {
            let selection = Selection { rho: 0.001_25, eta: 1.0 / 3.0, support: Some(36), layer: Some(3), seed: 9, ..Selection::new(pick) };
            let rule = Pruning { selection, replacement: Replacement::Mean };
            let mut choice = Choice::of(rule);
            assert_eq!(choice.rule, rule);
            // Choosing the same pick again changes nothing.
            choice.pick(choice.name());
            assert_eq!(choice.rule, rule);
            choice.pick("halo");
            assert_eq!(choice.rule.selection, Selection { pick: Pick::Halo, ..selection });
        }
    }
}
