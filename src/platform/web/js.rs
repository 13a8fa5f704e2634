//! Parts of the browser that web-sys lacks with the features of our dependencies (one more feature would compile Burn
//! again), and small helpers for promises.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use gloo_timers::future::TimeoutFuture;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    pub fn warn(text: &str);

    #[derive(Clone)]
    pub type AbortController;
    #[wasm_bindgen(constructor)]
    pub fn new() -> AbortController;
    #[wasm_bindgen(method, getter)]
    pub fn signal(this: &AbortController) -> JsValue;
    #[wasm_bindgen(method)]
    pub fn abort(this: &AbortController);

    /// `FileSystemDirectoryHandle`
    #[derive(Clone)]
    pub type Directory;
    #[wasm_bindgen(method, catch, js_name = getDirectoryHandle)]
    pub async fn directory(this: &Directory, name: &str, options: &JsValue) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getFileHandle)]
    pub async fn file(this: &Directory, name: &str, options: &JsValue) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = removeEntry)]
    pub async fn remove(this: &Directory, name: &str, options: &JsValue) -> Result<(), JsValue>;
    #[wasm_bindgen(method)]
    pub fn keys(this: &Directory) -> Object;

    /// `FileSystemFileHandle`
    pub type FileHandle;
    #[wasm_bindgen(method, catch, js_name = createSyncAccessHandle)]
    pub async fn open(this: &FileHandle, options: &JsValue) -> Result<JsValue, JsValue>;

    /// `FileSystemSyncAccessHandle`
    pub type SyncHandle;
    #[wasm_bindgen(method, catch)]
    pub fn read(this: &SyncHandle, into: &mut [u8], options: &JsValue) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn write(this: &SyncHandle, from: &[u8], options: &JsValue) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn truncate(this: &SyncHandle, size: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = getSize)]
    pub fn size(this: &SyncHandle) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn flush(this: &SyncHandle) -> Result<(), JsValue>;
    #[wasm_bindgen(method)]
    pub fn close(this: &SyncHandle);
}

/// An object of named values.
pub fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a property of a new object cannot fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object.into()
}

/// A property, or `undefined`.
pub fn get(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// Calls a method that returns a promise, and waits for it.
pub async fn call(of: &JsValue, method: &str, args: &[JsValue]) -> Result<JsValue, JsValue> {
    let function: Function = get(of, method).dyn_into()?;
    let promise: Promise = Reflect::apply(&function, of, &args.iter().collect())?.dyn_into()?;
    JsFuture::from(promise).await
}

/// The message of a JavaScript error.
pub fn reason(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |error| error.message().into())
}

/// The name of a JavaScript error: `AbortError`, `QuotaExceededError`, ...
pub fn error_name(error: &JsValue) -> String {
    get(error, "name").as_string().unwrap_or_default()
}

/// Ignores the outcome of a promise.
pub fn forget(promise: Promise) {
    spawn_local(async move {
        let _ = JsFuture::from(promise).await;
    });
}

pub async fn sleep(ms: u32) {
    TimeoutFuture::new(ms).await;
}

/// Work that continues even if nobody waits for it. It keeps the network busy while the last slab is processed.
pub struct Task<T>(Rc<RefCell<Outcome<T>>>);

struct Outcome<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T: 'static> Task<T> {
    pub fn spawn(work: impl Future<Output = T> + 'static) -> Self {
        let outcome = Rc::new(RefCell::new(Outcome { value: None, waker: None }));
        let of_work = outcome.clone();
        spawn_local(async move {
            let value = work.await;
            let mut outcome = of_work.borrow_mut();
            outcome.value = Some(value);
            if let Some(waker) = outcome.waker.take() {
                waker.wake();
            }
        });
        Self(outcome)
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut outcome = self.0.borrow_mut();
        match outcome.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                outcome.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Waits for `future`, at most `ms` milliseconds; `None` if it is not ready by then.
pub async fn within<F: Future + Unpin>(ms: u32, future: &mut F) -> Option<F::Output> {
    let mut clock = TimeoutFuture::new(ms);
    std::future::poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Pin::new(&mut clock).poll(context).map(|()| None),
    })
    .await
}
