//! The end of a worker that tells nobody: noticed by the lock that it held, see `src/platform/web/life.rs`.

use js_sys::Array;
use wasm_bindgen::{JsValue, closure::Closure};
use web_sys::window;

use crate::ui::page::dom;

/// Calls `then` once the holder of a lock has ended: within milliseconds, whatever ended it.
pub fn when_ended(lock: &str, then: impl FnOnce() + 'static) {
    let Some(window) = window() else { return };
    let on_served = Closure::once_into_js(move |_lock: JsValue| then());
    dom::ask(&dom::get(&window.navigator(), "locks"), "request", &Array::of2(&lock.into(), &on_served));
}
