//! A lock that this worker holds as long as it lives.
//!
//! A worker that ends on its own, or that the browser ends, tells nobody: there is no event for it. A [Web
//! Lock](https://www.w3.org/TR/web-locks/) is released when its holder ends, for any reason and even in the middle of a computation, and
//! the next in its queue gets it at once. So the page queues up behind the engine, and being served means that the engine is gone.
//! Browsers have locks where they have storage: over https or from localhost.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Date, Math, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::js::{call, get};
use super::scope;

/// Takes a lock of a new name, and tells the name once it is held; `None` where there are no locks.
pub fn hold_a_lock(then: impl FnOnce(Option<String>) + 'static) {
    let locks = get(&scope().navigator(), "locks");
    if locks.is_undefined() {
        return then(None);
    }
    let name = format!("linchpin-engine-{:x}-{:x}", Date::now() as u64, Math::random().to_bits());
    let tell = Rc::new(Cell::new(Some(then)));
    let (held, as_name) = (tell.clone(), name.clone());
    let on_held = Closure::once_into_js(move |_lock: JsValue| {
        if let Some(tell) = held.take() {
            tell(Some(as_name));
        }
        // The lock is held until this promise is settled, which it never is.
        Promise::new(&mut |_, _| {})
    });
    spawn_local(async move {
        // The request comes back only if the browser refuses it, as it does without a right to storage.
        let _refused = call(&locks, "request", &[name.into(), on_held]).await;
        if let Some(tell) = tell.take() {
            tell(None);
        }
    });
}
