//! The samples of every message as a small separate module, for the browser test of the boundary between page and
//! worker (`tests/e2e/boundary.test.mjs`). It is not served to visitors.

#[cfg(target_family = "wasm")]
mod exports {
    use std::fmt::Debug;

    use linchpin::protocol::boundary::{from_js, to_js};
    use linchpin::protocol::samples;
    use serde::de::DeserializeOwned;
    use wasm_bindgen::prelude::*;

    /// All samples of requests, as the page posts them.
    #[wasm_bindgen]
    pub fn requests() -> Result<Vec<JsValue>, JsValue> {
        samples::requests().iter().map(|request| to_js(request).map_err(JsValue::from)).collect()
    }

    /// All samples of events, as the worker posts them.
    #[wasm_bindgen]
    pub fn events() -> Result<Vec<JsValue>, JsValue> {
        samples::events().iter().map(|event| to_js(event).map_err(JsValue::from)).collect()
    }

    /// Descriptions of the requests that changed on the way.
    #[wasm_bindgen]
    pub fn changed_requests(received: Vec<JsValue>) -> Vec<String> {
        changed(samples::requests(), received)
    }

    /// Descriptions of the events that changed on the way.
    #[wasm_bindgen]
    pub fn changed_events(received: Vec<JsValue>) -> Vec<String> {
        changed(samples::events(), received)
    }

    /// Compares messages as debug text, because NaN does not equal itself.
    fn changed<T: DeserializeOwned + Debug>(sent: Vec<T>, received: Vec<JsValue>) -> Vec<String> {
        let missing = (sent.len() != received.len()).then(|| format!("{} messages were sent, {} received", sent.len(), received.len()));
        let compared = sent.iter().zip(received).filter_map(|(sent, received)| match from_js::<T>(received) {
            Ok(read) if format!("{read:?}") == format!("{sent:?}") => None,
            Ok(read) => Some(format!("{read:?} was sent as {sent:?}")),
            Err(why) => Some(format!("{why}: {sent:?}")),
        });
        missing.into_iter().chain(compared).collect()
    }
}

fn main() {}
