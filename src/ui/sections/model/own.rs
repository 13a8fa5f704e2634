//! A model from the visitor's own disk: picked or dropped, and read in place.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::{DragEvent, HtmlInputElement};

use crate::share::model_id_from;
use crate::terms::{ModelFile, ModelSource};
use crate::ui::page::context::{App, app};
use crate::ui::page::dom::{PickedFile, picked_files};
use crate::ui::page::drop::{dropped, files_in};
use crate::ui::state::Source;

/// State of the page as a target for dropped files.
#[derive(Clone, Copy)]
pub struct Drops {
    /// Number of nested elements under the dragged files.
    above: RwSignal<i32>,
    /// The reason why the files could not be opened.
    error: RwSignal<Option<String>>,
}

impl Drops {
    pub fn new() -> Self {
        Self { above: RwSignal::new(0), error: RwSignal::new(None) }
    }

    /// Accepts files dropped anywhere on the page. Otherwise a browser would open the file and leave the page with
    /// all its results.
    pub fn listen(self, app: App) {
        let listeners = [
            window_event_listener(leptos::ev::dragenter, move |event| self.moved(&event, 1)),
            window_event_listener(leptos::ev::dragleave, move |event| self.moved(&event, -1)),
            window_event_listener(leptos::ev::dragover, move |event| Self::allow(&event)),
            window_event_listener(leptos::ev::drop, move |event| self.take(app, &event)),
        ];
        on_cleanup(move || listeners.into_iter().for_each(WindowListenerHandle::remove));
    }

    pub fn are_above(self) -> bool {
        self.above.get() > 0
    }

    /// Counts entries of files into an element (`by` is 1) and exits (-1).
    fn moved(self, event: &DragEvent, by: i32) {
        if files_in(event).is_some() {
            self.above.update(|above| *above += by);
        }
    }

    /// Tells the browser that files may be dropped here.
    fn allow(event: &DragEvent) {
        if files_in(event).is_some() && !is_for_a_field(event) {
            event.prevent_default();
        }
    }

    fn take(self, app: App, event: &DragEvent) {
        let Some(dragged) = files_in(event) else { return };
        self.above.set(0);
        if is_for_a_field(event) {
            return;
        }
        event.prevent_default();
        let files = dropped(&dragged);
        spawn_local(async move { self.error.set(open_files(app, files.await).err()) });
    }
}

/// Returns `true` for events on file fields, which accept dropped files themselves.
fn is_for_a_field(event: &DragEvent) -> bool {
    let field = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
    field.is_some_and(|field| field.type_() == "file")
}

#[component]
pub fn OwnFiles(drops: Drops) -> impl IntoView {
    let app = app();
    let error = drops.error;
    let open = move |event: leptos::ev::Event| {
        let input: HtmlInputElement = event_target(&event);
        error.set(open_files(app, picked_files(&input)).err());
        // Clearing the value allows picking the same files again after a correction.
        input.set_value("");
    };
    view! {
        <details class="own" data-testid="open-own">
            <summary>"Open a model of your own, or drop its folder here"</summary>
            <p class="hint">
                "A Hugging Face folder of one of the families Llama, Mistral, Qwen2, Qwen3, GPT-2, GPT-NeoX, OLMo, OLMo-2, Phi-3 or Gemma 3: config.json, tokenizer.json, and its .safetensors \
                 (with model.safetensors.index.json if there are several). The files are read in place: nothing is copied or sent."
            </p>
            <div class="row">
                <label class="field">"Files" <input type="file" multiple data-testid="open-files" accept=".json,.safetensors" on:change=open /></label>
                <label class="field">"or a folder" <input type="file" data-testid="open-folder" prop:webkitdirectory=true on:change=open /></label>
            </div>
        </details>
        {move || error.get().map(|text| view! { <p class="error" role="alert" data-testid="open-error">{text}</p> })}
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
    let from = ModelSource::Files(files);
    let source =
        Source { title: folder.unwrap_or_else(|| "Your model".into()), id, from, backend: app.backend.get_untracked(), bos: false };
    app.load(source);
    Ok(())
}

/// Indices of the picked files that make up a model, or a message about a missing file.
fn pick(names: &[&str]) -> Result<Vec<usize>, String> {
    const SMALL: [&str; 5] =
        ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors.index.json", "tokenizer_config.json"];
    for needed in &SMALL[..2] {
        if !names.contains(needed) {
            return Err(format!("There is no {needed} among these files. Pick it together with the others."));
        }
    }
    let n_weights = names.iter().filter(|name| name.ends_with(".safetensors")).count();
    if n_weights == 0 {
        return Err("There is no .safetensors file among these files; other formats of weights are not supported.".into());
    }
    if n_weights > 1 && !names.contains(&SMALL[3]) {
        return Err(format!("There are {n_weights} .safetensors files but no {}, which lists their tensors.", SMALL[3]));
    }
    Ok((0..names.len()).filter(|&i| SMALL.contains(&names[i]) || names[i].ends_with(".safetensors")).collect())
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn model_is_picked_out_of_a_folder() {
        assert_eq!(pick(&["README.md", "config.json", "model.safetensors", "tokenizer.json"]), Ok(vec![1, 2, 3]));
        assert!(pick(&["config.json", "model.safetensors"]).unwrap_err().contains("tokenizer.json"));
        assert!(pick(&["config.json", "tokenizer.json", "model.gguf"]).unwrap_err().contains(".safetensors"));
        assert!(pick(&["config.json", "tokenizer.json", "a.safetensors", "b.safetensors"]).unwrap_err().contains("index.json"));
    }
}
