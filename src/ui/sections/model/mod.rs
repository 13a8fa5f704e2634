//! The model: its name, the progress of loading, and the source of its files.

mod choose;
mod fit;
mod own;
mod stored;

use leptos::prelude::*;

use crate::catalog::find;
use crate::language;
use crate::protocol::Request;
use crate::terms::{FileProof, ModelInfo, ModelSource, Provenance};
use crate::ui::page::context::app;
use crate::ui::sections::model::choose::Choose;
use crate::ui::sections::model::fit::FitReport;
use crate::ui::sections::model::own::{Drops, OwnFiles};
use crate::ui::sections::model::stored::Stored;
use crate::ui::state::entry::Entry;
use crate::ui::state::rate::duration;
use crate::ui::state::{AppState, EngineStatus, Source};
use crate::words::{bytes, grouped, visible};

#[component]
pub fn Load() -> impl IntoView {
    let app = app();
    let entry = app.entry();
    let drops = Drops::new();
    drops.listen(app);
    view! {
        <section
            class="load" class:dropping=move || drops.are_above() aria-labelledby="load-title" data-testid="load">
            <h2 id="load-title">"The model"</h2>
            <Status />
            {move || match entry.get() {
                Some(Entry::Bundled(model)) => Some(view! { <p class="model-story" data-testid="model-story">{model.story}</p> }),
                _ => None,
            }}
            <div class="choices">
                {Choose().into_any()}
                {FitReport().into_any()}
                <OwnFiles drops />
                {Stored().into_any()}
            </div>
        </section>
    }
}

#[component]
fn Status() -> impl IntoView {
    let app = app();
    let info =
        app.part(|state| state.model.info.clone().map(|info| ModelInfo { provenance: told(state, info.provenance.clone()), ..info }));
    let status = app.part(status);
    let kept = app.part(kept);
    let busy = app.part(|state| {
        let works = state.queue.running.as_ref().is_some_and(|running| running.request != Request::Stored);
        state.engine == EngineStatus::Starting || works
    });
    let dead = app.part(|state| state.engine == EngineStatus::Dead);
    view! {
        <div class="status">
            <p data-testid="model-status" role="status">{status}</p>
            {move || kept.get().map(|kept| view! { <p class="facts" data-testid="model-kept">{kept}</p> })}
            {move || info.get().map(|info| view! {
                <p class="facts" data-testid="model-facts">{facts(&info)}</p>
                <p class="facts" data-testid="backend">
                    <span class="tag" data-kind=info.backend.kind.clone()>{info.backend.kind.clone()}</span>
                    {format!(" {}: {}", info.backend.name, info.backend.reason)}
                </p>
                {provenance(info.provenance)}
            })}
            {other_bos()}
            {move || busy.get().then(|| view! { <Working /> })}
            {move || app.client.quiet.get().then(|| view! { <p class="note" data-testid="quiet">"The engine has been silent for a while. It may be busy or stuck."</p> })}
            {move || (dead.get() || app.client.quiet.get()).then(|| view! {
                <button type="button" data-testid="engine-restart" on:click=move |_| app.client.restart()>"Restart engine"</button>
            })}
        </div>
    }
}

/// The state of the model, in one sentence.
fn status(state: &AppState) -> String {
    let title = |source: &Option<Source>| source.as_ref().map(|source| visible(&source.title)).unwrap_or_default();
    let running = state.queue.running.as_ref().map(|running| &running.request);
    match (state.engine, running) {
        (EngineStatus::Off, _) => "Nothing is loaded yet.".into(),
        (EngineStatus::Starting, _) => "The engine is starting.".into(),
        (EngineStatus::Dead, _) => "The engine is not running.".into(),
        (_, Some(Request::Load { .. })) => format!("Loading {}.", title(&state.model.requested)),
        (_, Some(Request::Inspect { id, source, .. })) => format!("Checking if {} fits.", state.model.title_of(id, source)),
        (_, Some(Request::Forget { .. })) => "Deleting stored models.".into(),
        (_, Some(Request::Scan { .. })) => "Scanning.".into(),
        (_, Some(Request::Confirm { .. })) => "Confirming: removing candidates and controls.".into(),
        (_, Some(Request::Score { .. })) => "Scoring channels.".into(),
        (_, Some(Request::Surround { .. })) => "Finding a core's halo.".into(),
        (_, Some(Request::Sweep { .. } | Request::Delete { .. })) => "Removing channels and measuring.".into(),
        (_, Some(Request::Evaluate)) => "Measuring on held-out text.".into(),
        (_, Some(Request::Generate { .. })) => "Writing.".into(),
        _ if state.model.info.is_some() => format!("{} is ready.", title(&state.model.source)),
        _ => "No model is loaded.".into(),
    }
}

/// A heading for the current model's figures while another model is loading.
fn kept(state: &AppState) -> Option<String> {
    let is_loading = state.queue.runs(|request| matches!(request, Request::Load { .. }));
    let (_, source) = (state.model.info.as_ref()?, state.model.source.as_ref()?);
    (is_loading && state.model.requested.as_ref() != Some(source)).then(|| format!("Until then {} stays:", source.title))
}

fn facts(info: &ModelInfo) -> String {
    let widths = match info.intermediate_size.range() {
        (narrowest, widest) if narrowest == widest => grouped(widest as i64),
        (narrowest, widest) => format!("{} to {}", grouped(narrowest as i64), grouped(widest as i64)),
    };
    format!(
        "{} weights in {} layers, {} residual and {} feed-forward channels each · {} on the device · revision {}",
        grouped(info.num_parameters as i64),
        info.num_hidden_layers,
        grouped(info.hidden_size as i64),
        widths,
        bytes(info.weight_bytes as f64),
        info.model.revision
    )
}

/// The provenance to show: none for the page's own models, which the engine treats like any other files.
fn told(state: &AppState, provenance: Provenance) -> Provenance {
    let is_bundled = |source: &Source| find(&source.id).is_some_and(|model| source.from == ModelSource::Files(model.files()));
    if state.model.source.as_ref().is_some_and(is_bundled) {
        return Provenance::default();
    }
    provenance
}

/// The view of the files' source, and of their checks.
fn provenance(Provenance { origin, commit, files, stored, notes }: Provenance) -> Option<AnyView> {
    if origin.is_empty() {
        return None;
    }
    let commit = commit.map(|commit| format!(", commit {commit}"));
    let kept = if stored { ". The whole model is stored in this browser." } else { "." };
    let files = files
        .into_iter()
        .map(|file| view! { <li data-testid="provenance-file" data-verified=file.verified.to_string()>{visible(&proof(&file))}</li> });
    view! {
        <div class="facts" data-testid="provenance">
            <p>"From "{visible(&origin)}{commit}{kept}</p>
            <ul>{files.collect_view()}</ul>
            {notes.into_iter().map(|note| view! { <p data-testid="provenance-note">{visible(&note)}</p> }).collect_view()}
        </div>
    }
    .into_any()
    .into()
}

/// The button that loads the model again with its BOS before every text, or without it.
fn other_bos() -> impl IntoView {
    let app = app();
    let with_other = app.part(|state| state.model.with_other_bos());
    let loading = app.part(|state| state.queue.any(|request| matches!(request, Request::Load { .. })));
    move || {
        with_other.get().map(|source| {
            let label = if source.bos { "Load again with the BOS before every text" } else { "Load again without the BOS" };
            let load = move |_| app.load(source.clone());
            view! { <button type="button" data-testid="model-bos" disabled=move || loading.get() on:click=load>{label}</button> }
        })
    }
}

fn proof(FileProof { name, size, sha256, verified }: &FileProof) -> String {
    let size = bytes(*size as f64);
    if *verified {
        return format!("{name}, {size}: SHA-256 verified");
    }
    let digest = sha256.get(..16).unwrap_or(sha256);
    format!("{name}, {size}: not verified (no digest is published): {digest}")
}

/// The progress bar, with amounts, rate and a button to stop.
#[component]
fn Working() -> impl IntoView {
    let app = app();
    let part = app.part(|state| state.work.progress.as_ref().filter(|p| p.total > 0.0).map(|p| (p.done / p.total).clamp(0.0, 1.0)));
    let text = app.part(progress);
    let loads = app.part(|state| state.queue.runs(|request| matches!(request, Request::Load { .. } | Request::Inspect { .. })));
    // The step is announced when it changes; the figures are not.
    let doing = app.part(move |state| state.work.progress.as_ref().filter(|p| p.unit == "bytes").map(|p| language::doing(&p.doing)));
    view! {
        <div class="progress">
            // Without a value the bar is indeterminate.
            <progress data-testid="progress" aria-label="Progress" max="1" value=move || part.get()></progress>
            <span data-testid="progress-text">{move || text.get()}</span>
            <span class="sr" role="status">{move || doing.get()}</span>
            {move || loads.get().then(|| view! {
                <button type="button" class="small" data-testid="load-cancel" on:click=move |_| app.client.stop()>"Cancel"</button>
            })}
        </div>
    }
}

pub(crate) fn progress(state: &AppState) -> String {
    let Some(p) = &state.work.progress else { return "Working".into() };
    let doing = language::doing(&p.doing);
    let text = match p.unit.as_str() {
        "bytes" => format!("{doing}: {} of {}", bytes(p.done), bytes(p.total)),
        unit if p.total > 0.0 => format!("{doing}: {} of {} {unit}", p.done, p.total),
        _ => return doing,
    };
    match (state.work.rate.bytes_per_sec(), state.work.rate.remaining_secs(p.total)) {
        (Some(rate), Some(secs)) => format!("{text}, {}/s, {} left", bytes(rate), duration(secs)),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{kept, progress, proof, status};
    use crate::protocol::{Event, Progress};
    use crate::terms::FailureKind;
    use crate::terms::FileProof;
    use crate::ui::state::samples::{answer, failure, loaded, source};

    #[test]
    fn only_a_model_that_loaded_is_called_ready() {
        let mut state = loaded();
        state.load(source("broken"));
        state.next_message();
        assert_eq!(status(&state), "Loading The broken.");
        assert_eq!(kept(&state).as_deref(), Some("Until then The linchpin-13m stays:"));
        answer(&mut state, Event::Failed(failure(FailureKind::Model)));
        assert_eq!(status(&state), "The linchpin-13m is ready.");
        assert_eq!(kept(&state), None);
    }

    #[test]
    fn progress_in_bytes_says_how_fast_and_how_long() {
        let mut state = loaded();
        state.load(source("large"));
        state.next_message();
        assert_eq!(progress(&state), "Working");
        let at = |done| Event::Progress(Progress { doing: "loading_weights".into(), done, total: 90e6, unit: "bytes".into() });
        answer(&mut state, at(10e6));
        assert_eq!(progress(&state), "loading weights: 10.0 MB of 90.0 MB");
        state.work.now_ms = 2000.0;
        answer(&mut state, at(20e6));
        assert_eq!(progress(&state), "loading weights: 20.0 MB of 90.0 MB, 5.0 MB/s, 14 s left");
        answer(&mut state, Event::Progress(Progress { doing: "checking".into(), done: 1.0, total: 4.0, unit: "steps".into() }));
        assert_eq!(progress(&state), "checking: 1 of 4 steps");
        answer(&mut state, Event::Stopped);
        state.load(source("large"));
        state.next_message();
        state.work.now_ms = 9000.0;
        answer(&mut state, at(25e6));
        assert_eq!(progress(&state), "loading weights: 25.0 MB of 90.0 MB", "an interval between two loads is no rate");
    }

    #[test]
    fn file_that_nobody_vouches_for_is_not_called_verified() {
        let mut file =
            FileProof { name: "model.safetensors".into(), size: 5_000_000, sha256: "0123456789abcdef".repeat(4), verified: false };
        assert_eq!(proof(&file), "model.safetensors, 5.0 MB: not verified (no digest is published): 0123456789abcdef");
        file.verified = true;
        assert_eq!(proof(&file), "model.safetensors, 5.0 MB: SHA-256 verified");
    }
}
