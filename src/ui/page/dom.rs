//! The few things that only the browser can do. Each does nothing if the browser forbids it.

use js_sys::{Array, Function, Promise, Reflect};
use leptos::task::spawn_local;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, BlobPropertyBag, FileList, HtmlAnchorElement, HtmlInputElement, Url, window};

/// Saves text as a file.
pub fn download(name: &str, mime: &str, text: &str) {
    let save = || -> Result<(), JsValue> {
        let options = BlobPropertyBag::new();
        options.set_type(mime);
        let blob = Blob::new_with_str_sequence_and_options(&Array::of1(&text.into()), &options)?;
        let url = Url::create_object_url_with_blob(&blob)?;
        let document = window().and_then(|window| window.document()).ok_or(JsValue::NULL)?;
        let link: HtmlAnchorElement = document.create_element("a")?.unchecked_into();
        link.set_href(&url);
        link.set_download(name);
        link.click();
        // The browser reads the blob after the click returns.
        gloo_timers::callback::Timeout::new(10_000, move || drop(Url::revoke_object_url(&url))).forget();
        Ok(())
    };
    let _ = save();
}

/// The current value of a CSS custom property, in the current theme.
pub fn css_colour(name: &str) -> String {
    let value = || {
        let window = window()?;
        let root = window.document()?.document_element()?;
        window.get_computed_style(&root).ok()??.get_property_value(&format!("--{name}")).ok()
    };
    value().map(|value| value.trim().to_string()).filter(|value| !value.is_empty()).unwrap_or_else(|| "#888".into())
}

/// Copies text; `false` if the clipboard is out of reach (no secure context, no permission).
pub async fn copy(text: &str) -> bool {
    let Some(window) = window() else { return false };
    let navigator = window.navigator();
    // Outside of secure contexts there is no clipboard, and calling it would throw.
    if Reflect::get(&navigator, &"clipboard".into()).is_ok_and(|clipboard| clipboard.is_undefined()) {
        return false;
    }
    JsFuture::from(navigator.clipboard().write_text(text)).await.is_ok()
}

/// Stores a setting between visits. Only the theme is stored.
pub fn remember(key: &str, value: &str) {
    if let Some(storage) = window().and_then(|window| window.local_storage().ok().flatten()) {
        let _ = storage.set_item(key, value);
    }
}

pub fn remembered(key: &str) -> Option<String> {
    window()?.local_storage().ok()??.get_item(key).ok()?
}

/// The fragment of the address, with its `#`.
pub fn fragment() -> String {
    window().and_then(|window| window.location().hash().ok()).unwrap_or_default()
}

/// This page's address without query and fragment.
pub fn address() -> String {
    let location = window().map(|window| window.location());
    let part = |get: fn(&web_sys::Location) -> Result<String, JsValue>| location.as_ref().and_then(|l| get(l).ok()).unwrap_or_default();
    format!("{}{}", part(web_sys::Location::origin), part(web_sys::Location::pathname))
}

/// Returns `true` if another site shows the page in a frame: the outermost page is not of this origin.
pub fn is_framed_elsewhere() -> bool {
    let Some(window) = window() else { return false };
    let top = get(&window, "top");
    // A page of another origin hides all about itself, so that reading its origin throws.
    !js_sys::Object::is(&top, &window) && get(&top, "origin") != get(&window, "origin")
}

/// Removes the fragment from the address bar without adding a step to the history.
pub fn clear_fragment() {
    if let Some(history) = window().and_then(|window| window.history().ok()) {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&address()));
    }
}

/// Content of the page's `<meta>` element with this name.
pub fn meta(name: &str) -> Option<String> {
    let found = window()?.document()?.query_selector(&format!("meta[name=\"{name}\"]")).ok()??;
    found.get_attribute("content")
}

/// The time in milliseconds, for measuring differences.
pub fn now_ms() -> f64 {
    js_sys::Date::now()
}

/// Asks the browser to keep the page's storage. The page works with either answer.
pub fn keep_storage() {
    let Some(window) = window() else { return };
    ask(&get(&window.navigator(), "storage"), "persist", &Array::new());
}

/// Calls a method that returns a promise, whose answer is of no interest.
pub fn ask(object: &JsValue, name: &str, arguments: &Array) {
    if let Some(Ok(asked)) = call(object, name, arguments).map(JsCast::dyn_into::<Promise>) {
        // The answer is awaited, so that a refusal is not an unhandled rejection.
        spawn_local(async move { drop(JsFuture::from(asked).await) });
    }
}

/// A property that web-sys only has with another feature; undefined if it is missing.
pub fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// Calls a method; `None` if the browser lacks it, or if it throws.
pub fn call(object: &JsValue, name: &str, arguments: &Array) -> Option<JsValue> {
    get(object, name).dyn_into::<Function>().ok()?.apply(object, arguments).ok()
}

pub fn set_root_attribute(name: &str, value: Option<&str>) {
    if let Some(root) = window().and_then(|window| window.document()).and_then(|document| document.document_element()) {
        let _ = match value {
            Some(value) => root.set_attribute(name, value),
            None => root.remove_attribute(name),
        };
    }
}

/// A file that the visitor picked.
pub struct PickedFile {
    pub name: String,
    /// Name of the folder, if a folder was picked.
    pub folder: Option<String>,
    /// `true` if the file is in a subfolder of that folder.
    pub nested: bool,
    pub file: web_sys::File,
}

impl PickedFile {
    /// An object URL of the content, valid as long as the page.
    pub fn url(&self) -> Option<String> {
        Url::create_object_url_with_blob(&self.file).ok()
    }
}

pub fn picked_files(input: &HtmlInputElement) -> Vec<PickedFile> {
    input.files().map(|list| files_of(&list)).unwrap_or_default()
}

pub fn files_of(list: &FileList) -> Vec<PickedFile> {
    let files = (0..list.length()).filter_map(|i| list.get(i));
    let picked = files.map(|file| {
        let path = get(&file, "webkitRelativePath").as_string().unwrap_or_default();
        let mut parts = path.split('/');
        let folder = parts.next().filter(|part| !part.is_empty()).map(String::from);
        PickedFile { name: file.name(), folder, nested: parts.count() > 1, file }
    });
    picked.collect()
}
