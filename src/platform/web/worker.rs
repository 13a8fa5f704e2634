//! A further worker with this worker's own script.

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, MessageEvent, WorkerOptions, WorkerType};

use super::js::{get, reason};

/// A running worker. Dropping it ends it.
pub struct Worker {
    worker: web_sys::Worker,
    _on_message: Closure<dyn Fn(MessageEvent)>,
    _on_error: Closure<dyn Fn(ErrorEvent)>,
}

impl Worker {
    /// Starts a worker. `hear` gets each of its messages, or the reason why it ended or cannot be understood.
    ///
    /// # Errors
    ///
    /// A sentence with the reason why there is none.
    pub fn start<T: DeserializeOwned + 'static>(hear: impl Fn(Result<T, String>) + 'static) -> Result<Self, String> {
        let script = get(&get(&js_sys::global(), "location"), "href").as_string().ok_or("this worker has no address")?;
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = web_sys::Worker::new_with_options(&script, &options).map_err(|error| reason(&error))?;
        let hear = Rc::new(hear);
        let of_error = hear.clone();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |message: MessageEvent| {
            hear(serde_wasm_bindgen::from_value(message.data()).map_err(|why| why.to_string()));
        });
        let on_error = Closure::<dyn Fn(ErrorEvent)>::new(move |error: ErrorEvent| {
            // It is told here; otherwise it would go on to the page as an error of the engine itself.
            error.prevent_default();
            // If the script could not be downloaded, the event has no message.
            let why = get(&error, "message").as_string().filter(|why| !why.is_empty());
            of_error(Err(why.unwrap_or_else(|| "its script could not be loaded".into())));
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        Ok(Self { worker, _on_message: on_message, _on_error: on_error })
    }

    /// # Errors
    ///
    /// A message that JavaScript cannot hold, or that cannot be posted.
    pub fn post(&self, message: &impl Serialize) -> Result<(), String> {
        let value = message.serialize(&Serializer::json_compatible()).map_err(|why| why.to_string())?;
        self.worker.post_message(&value).map_err(|error| reason(&error))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}
