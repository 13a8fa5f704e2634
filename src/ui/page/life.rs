//! The end of a worker that tells nobody: noticed by the lock that it held, see `src/platform/web/life.rs`.

use js_sys::{Array, Promise};
use leptos::task::spawn_local;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::window;

use crate::ui::page::dom;

/// Calls `then` once the holder of a lock has ended: within milliseconds, whatever ended it.
pub fn when_ended(lock: &str, then: impl FnOnce() + 'static) {
    let Some(window) = window() else { return };
    let on_served = Closure::once_into_js(move |_lock: JsValue| then());
    let asked = dom::call(&dom::get(&window.navigator(), "locks"), "request", &Array::of2(&lock.into(), &on_served));
    if let Some(Ok(asked)) = asked.map(JsCast::dyn_into::<Promise>) {
        // The answer is awaited, so that a refusal is not an unhandled rejection.
        spawn_local(async move { drop(JsFuture::from(asked).await) });
    }
}
