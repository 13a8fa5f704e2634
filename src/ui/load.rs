//! Which model, on what, and how far it is.

use leptos::prelude::*;
use web_sys::HtmlInputElement;

use super::context::{App, app};
use super::dom::{PickedFile, picked_files};
use super::state::{AppState, EngineStatus, Source};
use super::words::{bytes, grouped};
use crate::catalog;
use crate::protocol::{BackendChoice, ModelFile, Progress, Request};
use crate::share::model_id_from;
use crate::terms::ModelInfo;

#[component]
pub fn Load() -> impl IntoView {
    let app = app();
    let story = app.bundled();
    view! {
        <section class="load" aria-labelledby="load-title">
            <h2 id="load-title">"The model"</h2>
            <Status />
            {move || story.get().map(|model| view! { <p class="model-story" data-testid="model-story">{model.story}</p> })}
            <div class="choices">
                <Choose />
                <OwnFiles />
            </div>
        </section>
    }
}

#[component]
fn Status() -> impl IntoView {
    let app = app();
    let progress = app.part(|state| state.progress.clone());
    let info = app.part(|state| state.info.clone());
    let status = app.part(status);
    let busy = app.part(|state| state.engine == EngineStatus::Starting || state.queue.running.is_some());
    let dead = app.part(|state| state.engine == EngineStatus::Dead);
    view! {
        <div class="status">
            <p data-testid="model-status" role="status">{status}</p>
            {move || info.get().map(|info| view! {
                <p class="facts" data-testid="model-facts">{facts(&info)}</p>
                <p class="facts" data-testid="backend">
                    <span class="tag" data-kind=info.backend.kind.clone()>{info.backend.kind.clone()}</span>
                    {format!(" {}: {}", info.backend.name, info.backend.reason)}
                </p>
            })}
            {move || busy.get().then(|| progress_bar(progress))}
            {move || app.client.quiet.get().then(|| view! { <p class="note" data-testid="quiet">"The engine has said nothing for a while. It may be busy with something large, or stuck."</p> })}
            {move || (dead.get() || app.client.quiet.get()).then(|| view! {
                <button type="button" data-testid="engine-restart" on:click=move |_| app.client.restart()>"Restart engine"</button>
            })}
        </div>
    }
}

/// Where things stand, in one sentence.
fn status(state: &AppState) -> String {
    let title = |source: &Option<Source>| source.as_ref().map(|source| source.title.clone()).unwrap_or_default();
    let running = state.queue.running.as_ref().map(|running| &running.request);
    match (state.engine, running) {
        (EngineStatus::Off, _) => "Nothing is loaded yet.".into(),
        (EngineStatus::Starting, _) => "The engine is starting.".into(),
        (EngineStatus::Dead, _) => "The engine is not running.".into(),
        (_, Some(Request::Load { .. })) => format!("Loading {}.", title(&state.requested)),
        (_, Some(Request::Scan { .. })) => "Scanning.".into(),
        (_, Some(Request::Confirm { .. })) => "Confirming: pulling candidates and controls.".into(),
        (_, Some(Request::Score { .. })) => "Scoring channels.".into(),
        (_, Some(Request::Surround { .. })) => "Looking around a core.".into(),
        (_, Some(Request::Sweep { .. } | Request::Delete { .. })) => "Removing channels and measuring.".into(),
        (_, Some(Request::Evaluate)) => "Measuring on held-out text.".into(),
        (_, Some(Request::Generate { .. })) => "Writing.".into(),
        _ if state.info.is_some() => format!("{} is ready.", title(&state.source)),
        _ => "No model is loaded.".into(),
    }
}

fn facts(info: &ModelInfo) -> String {
    format!(
        "{} weights in {} layers, {} residual and {} feed-forward channels each · {} on the device · revision {}",
        grouped(info.num_parameters as i64),
        info.num_hidden_layers,
        grouped(info.hidden_size as i64),
        grouped(info.intermediate_size as i64),
        bytes(info.weight_bytes as f64),
        info.model.revision
    )
}

fn progress_bar(progress: Memo<Option<Progress>>) -> impl IntoView {
    let part = move || progress.with(|p| p.as_ref().filter(|p| p.total > 0.0).map(|p| (p.done / p.total).clamp(0.0, 1.0)));
    let text = move || {
        progress.with(|p| match p {
            Some(p) if p.unit == "bytes" => format!("{}: {} of {}", p.doing, bytes(p.done), bytes(p.total)),
            Some(p) if p.total > 0.0 => format!("{}: {} of {} {}", p.doing, p.done, p.total, p.unit),
            Some(p) => p.doing.clone(),
            None => "Working".into(),
        })
    };
    view! {
        <div class="progress">
            // Without a value the bar says "at work, end unknown".
            <progress data-testid="progress" aria-label="Progress" max="1" value=part></progress>
            <span data-testid="progress-text">{text}</span>
        </div>
    }
}

#[component]
fn Choose() -> impl IntoView {
    let app = app();
    let chosen = RwSignal::new(catalog::default_model().id.to_string());
    let current = app.part(|state| state.requested.as_ref().map(|source| source.id.clone()));
    Effect::new(move |_| {
        if let Some(id) = current.get().filter(|id| catalog::find(id).is_some()) {
            chosen.set(id);
        }
    });
    let load = move |_| {
        if let Some(model) = catalog::find(&chosen.get_untracked()) {
            app.load_bundled(model);
        }
    };
    let options = catalog::MODELS.iter().map(|model| view! { <option value=model.id>{model.title}</option> }).collect_view();
    view! {
        <div class="row">
            <label class="field">
                "Bundled model"
                <select data-testid="model-select" prop:value=move || chosen.get() on:change=move |event| chosen.set(event_target_value(&event))>{options}</select>
            </label>
            <label class="field">
                "Run on"
                <select data-testid="backend-choice" on:change=move |event| app.backend.set(backend(&event_target_value(&event)))>
                    <option value="auto">"GPU if it fits, else CPU"</option>
                    <option value="gpu">"GPU (WebGPU)"</option>
                    <option value="cpu">"CPU"</option>
                </select>
            </label>
            <button type="button" data-testid="model-load" on:click=load>"Load"</button>
        </div>
    }
}

fn backend(value: &str) -> BackendChoice {
    match value {
        "gpu" => BackendChoice::Gpu,
        "cpu" => BackendChoice::Cpu,
        _ => BackendChoice::Auto,
    }
}

#[component]
fn OwnFiles() -> impl IntoView {
    let app = app();
    let error = RwSignal::new(None::<String>);
    let open = move |event: leptos::ev::Event| {
        let input: HtmlInputElement = event_target(&event);
        error.set(open_files(app, picked_files(&input)).err());
        // The same files can be picked again after a correction.
        input.set_value("");
    };
    view! {
        <details class="own">
            <summary>"Open a model of your own"</summary>
            <p class="hint">
                "A Hugging Face folder of the Llama, Mistral, Qwen2, Qwen3, GPT-2, GPT-NeoX, OLMo, OLMo-2, Phi-3 or Gemma 3 family: \
                 config.json, tokenizer.json, and its .safetensors (with model.safetensors.index.json if there are several). The files are read here and sent nowhere."
            </p>
            <div class="row">
                <label class="field">"Files" <input type="file" multiple data-testid="open-files" accept=".json,.safetensors" on:change=open /></label>
                <label class="field">"or a folder" <input type="file" data-testid="open-folder" prop:webkitdirectory=true on:change=open /></label>
            </div>
            {move || error.get().map(|text| view! { <p class="error" role="alert" data-testid="open-error">{text}</p> })}
        </details>
    }
}

fn open_files(app: App, picked: Vec<PickedFile>) -> Result<(), String> {
    let picked: Vec<_> = picked.into_iter().filter(|file| !file.nested).collect();
    let names: Vec<_> = picked.iter().map(|file| file.name.as_str()).collect();
    let wanted = pick(&names)?;
    let folder = picked.iter().find_map(|file| file.folder.clone());
    let id = model_id_from(folder.as_deref().unwrap_or("my-model"));
    let file = |i: usize| picked[i].url().map(|url| ModelFile { name: picked[i].name.clone(), url });
    let files = wanted.into_iter().map(file).collect::<Option<Vec<_>>>().ok_or("This browser could not open the files.")?;
    let source = Source { title: folder.unwrap_or_else(|| "Your model".into()), id, files, backend: app.backend.get_untracked() };
    app.load(source);
    Ok(())
}

/// Which of the picked files make up a model, or what is missing.
fn pick(names: &[&str]) -> Result<Vec<usize>, String> {
    const SMALL: [&str; 4] = ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors.index.json"];
    for needed in &SMALL[..2] {
        if !names.contains(needed) {
            return Err(format!("There is no {needed} among these files. Pick it together with the others."));
        }
    }
    let n_weights = names.iter().filter(|name| name.ends_with(".safetensors")).count();
    if n_weights == 0 {
        return Err("There is no .safetensors file among these files; other weight formats are not read.".into());
    }
    if n_weights > 1 && !names.contains(&SMALL[3]) {
        return Err(format!("There are {n_weights} .safetensors files but no {}, which says what lies where.", SMALL[3]));
    }
    Ok((0..names.len()).filter(|&i| SMALL.contains(&names[i]) || names[i].ends_with(".safetensors")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{answer, failure, loaded, source};
    use super::{pick, status};
    use crate::protocol::{Event, FailureKind};

    #[test]
    fn only_a_model_that_loaded_is_called_ready() {
        let mut state = loaded();
        state.load(source("broken"));
        state.next_message();
        assert_eq!(status(&state), "Loading The broken.");
        answer(&mut state, Event::Failed(failure(FailureKind::Model)));
        assert_eq!(status(&state), "The linchpin-13m is ready.");
    }

    #[test]
    fn a_model_is_picked_out_of_a_folder() {
        assert_eq!(pick(&["README.md", "config.json", "model.safetensors", "tokenizer.json"]), Ok(vec![1, 2, 3]));
        assert!(pick(&["config.json", "model.safetensors"]).unwrap_err().contains("tokenizer.json"));
        assert!(pick(&["config.json", "tokenizer.json", "model.gguf"]).unwrap_err().contains(".safetensors"));
        assert!(pick(&["config.json", "tokenizer.json", "a.safetensors", "b.safetensors"]).unwrap_err().contains("index.json"));
    }
}
