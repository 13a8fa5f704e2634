//! Experiments: the super-weight paper's tables and figures, on the model that is loaded.

use leptos::prelude::*;
use web_sys::HtmlInputElement;

use super::context::app;
use super::dom;
use super::experiment_state::{Scalars, is_experiment, settings_of};
use super::load::progress;
use super::outcome_view::Result;
use super::weigh::read_text;
use crate::draw::words::cut;
use crate::share::SETTINGS;
use crate::terms::ExperimentKind;

/// What a kind asks, and how long that takes: here and on a model of a billion weights.
pub fn described(kind: ExperimentKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        ExperimentKind::Importance => (
            "Importance",
            "What does removing the super weights cost, beside the largest other weights, and does putting the super activation back help?",
            "minutes; an hour",
        ),
        ExperimentKind::Propagation => ("Propagation", "How far does the super activation travel through the layers?", "seconds; a minute"),
        ExperimentKind::Scaling => {
            ("Scaling", "With less of the super weights, where does it collapse, and does more of them help?", "minutes; an hour")
        }
        ExperimentKind::TokenShift => {
            ("Token shift", "How do the probabilities of the next token change: do stopwords take over?", "minutes; half an hour")
        }
        ExperimentKind::ActivationQuantisation => (
            "8-bit activations",
            "What does rounding activations cost, with the super activation held out, and with SmoothQuant?",
            "minutes; an hour",
        ),
        ExperimentKind::WeightQuantisation => {
            ("Rounded weights", "How large may the blocks be that share a scale, with the super weights held out?", "many minutes; hours")
        }
        ExperimentKind::WeightsOnly => {
            ("Weights alone", "Which scalars do the weights point at before any forward pass?", "seconds; a minute")
        }
        ExperimentKind::Sinks => {
            ("Attention sinks", "Do massive activations and attention sinks go when the super weights go?", "seconds; a minute")
        }
    }
}

#[component]
pub fn Experiments() -> impl IntoView {
    let app = app();
    let kind = app.part(|state| state.experiments.kind);
    let choice = move |of: ExperimentKind| {
        let (title, asks, takes) = described(of);
        let measured = app.part(move |state| state.outcome(of).is_some());
        view! {
            <label class="kind">
                <input
                    type="radio" name="experiment" data-testid=format!("experiment-{}", of.name()) prop:checked=move || kind.get() == of
                    on:change=move |_| app.state.update(|state| state.experiments.kind = of)
                />
                <span>
                    <strong>{title}</strong>
                    {move || if measured.get() { " ✓ " } else { " " }}
                    {format!("({}) {asks} Takes {takes}.", of.source())}
                </span>
            </label>
        }
        .into_any()
    };
    view! {
        <section id="experiments" aria-labelledby="experiments-title">
            <p class="step" aria-hidden="true">"6"</p>
            <h2 id="experiments-title">"Experiments: the paper's tables and figures, on this model"</h2>
            <p class="lead">
                "The super-weight paper (arXiv:2411.07191) measured models of billions of weights. Here, the same is measured on the one that is loaded, and \
                 told whichever way it goes. Times are rough: for a model as small as this page's; for a billion weights."
            </p>
            <div class="kinds" role="radiogroup" aria-label="Experiment">{ExperimentKind::ALL.map(choice).into_iter().collect_view()}</div>
            {move || setup(kind.get())}
            {move || view! { <Result kind=kind.get() /> }}
        </section>
    }
}

/// The settings of a kind, and what runs it.
fn setup(kind: ExperimentKind) -> AnyView {
    let app = app();
    let error = RwSignal::new(None::<String>);
    let field = move |at: usize| {
        let setting = &SETTINGS[at];
        let value = app.part(move |state| SETTINGS[at].text(state.experiments.setting()));
        let change = move |event: leptos::ev::Event| {
            let typed = event_target_value(&event);
            app.state.update(|state| error.set(SETTINGS[at].take(state.experiments.setting_mut(), &typed).err()));
        };
        view! {
            <label class="field">
                {setting.label}
                <input type="text" inputmode="decimal" data-testid=format!("setting-{}", setting.name) prop:value=move || value.get() on:change=change />
            </label>
        }
        .into_any()
    };
    let prompt = kind.reads_prompt().then(|| {
        let value = app.part(|state| state.experiments.setting().prompt.clone());
        view! {
            <label class="field">
                "Text to read"
                <textarea
                    rows="2" maxlength="2000" data-testid="setting-prompt" prop:value=move || value.get()
                    on:input=move |event| app.state.update(|state| state.experiments.setting_mut().prompt = event_target_value(&event))
                ></textarea>
            </label>
        }
        .into_any()
    });
    view! {
        {scalars()}
        {prompt}
        <div class="sampling">{settings_of(kind).map(field).collect_view()}</div>
        {kind.reads_text().then(own_text)}
        {kind.reads_tasks().then(own_tasks)}
        <p class="error" role="alert" data-testid="experiment-error">{move || error.get()}</p>
        {run(error)}
    }
    .into_any()
}

fn run(error: RwSignal<Option<String>>) -> AnyView {
    let app = app();
    let live = app.is_live();
    let lacks = app.part(|state| state.experiment().err());
    let asked = app.part(|state| state.queue.any(is_experiment));
    let running = app.part(|state| state.queue.runs(is_experiment));
    let doing = app.part(|state| state.queue.runs(is_experiment).then(|| progress(state)));
    view! {
        <div class="row">
            <button
                type="button" class="primary" data-testid="experiment-run" on:click=move |_| app.client.act(|state| state.run_experiment())
                disabled=move || !live.get() || asked.get() || lacks.get().is_some() || error.with(Option::is_some)
            >
                {move || if running.get() { "Measuring…" } else if asked.get() { "Waiting…" } else { "Run" }}
            </button>
            <button type="button" data-testid="experiment-stop" class:gone=move || !asked.get() on:click=move |_| app.client.stop()>"Stop"</button>
            <p class="hint" data-testid="experiment-progress">{move || doing.get().or_else(|| lacks.get().map(String::from))}</p>
        </div>
    }
    .into_any()
}

/// Which scalars it is about.
fn scalars() -> AnyView {
    let app = app();
    let live = app.is_live();
    let sources =
        [(Scalars::Scan, "the scan's candidates"), (Scalars::Edits, "edits of scalars that are on"), (Scalars::Link, "those of the link")];
    let chosen = app.part(|state| state.experiments.scalars);
    let found = app.part(|state| state.scalars(state.experiments.scalars));
    let option = |(at, (source, name)): (usize, (Scalars, &'static str))| {
        view! { <option value=at selected=move || chosen.get() == source>{name}</option> }
    };
    let pick = move |event: leptos::ev::Event| {
        let at = event_target_value(&event).parse::<usize>().unwrap_or(0);
        app.state.update(|state| state.experiments.scalars = sources[at.min(2)].0);
    };
    let named = move || found.with(|found| cut(&found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), 200));
    view! {
        <div class="row">
            <label class="field">"Super weights" <select data-testid="experiment-scalars" on:change=pick>{sources.into_iter().enumerate().map(option).collect_view()}</select></label>
            <p class="hint coordinate" data-testid="experiment-named">{named}</p>
            <button
                type="button" class="small" data-testid="experiment-scan" disabled=move || !live.get()
                class:gone=move || found.with(|found| !found.is_empty()) || chosen.get() != Scalars::Scan on:click=move |_| app.client.act(|state| state.scan())
            >
                "Scan first"
            </button>
        </div>
    }
    .into_any()
}

fn own_text() -> AnyView {
    let app = app();
    let name = app.part(|state| state.experiments.text.as_ref().map(|(name, _)| name.clone()));
    let summary = move || match name.get() {
        Some(name) => format!("Text: {name}"),
        None => "Text: the bundled held-out passages".into(),
    };
    let reset = move |_| app.state.update(|state| state.experiments.text = None);
    let hint = "All of it, one after the other, cut into blocks as the paper does (convention concat-2048, or shorter where the model is). A text of your own then also serves Confirm and the perplexities.";
    files("experiment-text", summary, hint, move |name, text| app.state.update(|state| state.experiments.text = Some((name, text))), reset)
}

fn own_tasks() -> AnyView {
    let app = app();
    let names = app.part(|state| state.experiments.tasks.iter().map(|task| task.name.clone()).collect::<Vec<_>>());
    let summary = move || format!("Tasks: {}", if names.with(Vec::is_empty) { "none".into() } else { names.get().join(", ") });
    let reset = move |_| app.state.update(|state| state.experiments.tasks.clear());
    let hint = "For accuracy: lines of JSON as the benchmark publishes them, in a file named after it, like lambada_openai.jsonl or arc_easy.jsonl.";
    files("experiment-tasks", summary, hint, move |name, text| app.state.update(|state| state.experiments.add_task(&name, text)), reset)
}

/// A file of one's own, in place of nothing or of what comes with the page.
fn files(
    id: &'static str,
    summary: impl Fn() -> String + Send + 'static,
    hint: &'static str,
    take: impl Fn(String, String) + Clone + 'static,
    reset: impl Fn(leptos::ev::MouseEvent) + 'static,
) -> AnyView {
    let error = RwSignal::new(None::<String>);
    let open = move |event: leptos::ev::Event| {
        let input: HtmlInputElement = event_target(&event);
        let take = take.clone();
        read_text(&input, move |read| {
            error.set(read.as_ref().err().cloned());
            if let Ok(text) = read {
                take(text.name, text.text);
            }
        });
        input.set_value("");
    };
    view! {
        <details class="fold">
            <summary data-testid=format!("{id}-name")>{summary}</summary>
            <p class="note">{hint}</p>
            <div class="row">
                <label class="field">"A file of your own" <input type="file" data-testid=id on:change=open /></label>
                <button type="button" class="small" data-testid=format!("{id}-reset") on:click=reset>"Without it"</button>
            </div>
            <p class="error" role="alert">{move || error.get()}</p>
        </details>
    }
    .into_any()
}

/// In the scan's section: what the weights alone had pointed at.
pub fn cold() -> impl IntoView {
    let cold = app().part(super::state::AppState::cold_candidates);
    move || {
        cold.get().map(|(first, is_same)| {
            let places = first.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let scanned = match is_same {
                Some(true) => " The scan's first candidate is one of them.",
                Some(false) => " The scan's first candidate is none of them.",
                None => "",
            };
            view! { <p class="note" data-testid="cold-candidates">{format!("Candidates from the weights alone, before any forward pass: {places}.{scanned}")}</p> }
        })
    }
}

/// Saves a file of an experiment's.
pub fn save(name: &str, extension: &str, mime: &str, content: &str) {
    dom::download(&format!("linchpin-{name}.{extension}"), mime, content);
}
