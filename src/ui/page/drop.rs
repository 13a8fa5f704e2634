//! Files and folders dropped onto the page.

use js_sys::{Array, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DataTransfer, DragEvent};

use crate::ui::page::dom::{PickedFile, call, files_of, get};

/// The dragged data, if it is files.
pub fn files_in(event: &DragEvent) -> Option<DataTransfer> {
    event.data_transfer().filter(|dragged| dragged.types().includes(&"Files".into(), 0))
}

/// The dropped files; for a folder, the files at its top.
///
/// Must be called while the event is handled, because browsers drop the data right after it. Only the later steps are
/// awaited.
pub fn dropped(dragged: &DataTransfer) -> impl Future<Output = Vec<PickedFile>> + use<> {
    let items = get(dragged, "items");
    let n = get(&items, "length").as_f64().unwrap_or(0.0) as u32;
    let entry = |i| call(&Reflect::get_u32(&items, i).ok()?, "webkitGetAsEntry", &Array::new()).filter(JsValue::is_object);
    let entries = (0..n).filter_map(entry).collect::<Vec<_>>();
    // Some browsers, and scripts that drop files, provide no entries.
    let mut picked = if entries.is_empty() { dragged.files().map(|list| files_of(&list)).unwrap_or_default() } else { Vec::new() };
    async move {
        for entry in entries {
            let (files, folder) = if is(&entry, "isDirectory") {
                (files_in_folder(&entry).await, get(&entry, "name").as_string())
            } else {
                (vec![entry], None)
            };
            for entry in files {
                if let Some(Ok(file)) = answer(&entry, "file").await.map(JsCast::dyn_into::<web_sys::File>) {
                    picked.push(PickedFile { name: file.name(), folder: folder.clone(), nested: false, file });
                }
            }
        }
        picked
    }
}

/// The files among a folder's entries. The reader returns entries in portions; the last portion is empty.
async fn files_in_folder(folder: &JsValue) -> Vec<JsValue> {
    let mut files = Vec::new();
    let Some(reader) = call(folder, "createReader", &Array::new()) else { return files };
    while let Some(Ok(portion)) = answer(&reader, "readEntries").await.map(JsCast::dyn_into::<Array>) {
        if portion.length() == 0 {
            break;
        }
        files.extend(portion.iter().filter(|entry| is(entry, "isFile")));
    }
    files
}

fn is(entry: &JsValue, what: &str) -> bool {
    get(entry, what).is_truthy()
}

/// Calls a method with two callbacks, and returns the value given to the first.
async fn answer(object: &JsValue, name: &str) -> Option<JsValue> {
    let promise = Promise::new(&mut |done, failed| {
        // If the method is missing or throws, nothing else settles the promise.
        if call(object, name, &Array::of2(&done, &failed)).is_none() {
            let _ = failed.call0(&JsValue::UNDEFINED);
        }
    });
    JsFuture::from(promise).await.ok()
}
