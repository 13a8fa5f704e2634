//! Messages as the values that `postMessage` copies: plain objects, arrays, strings, numbers and `null`, as in JSON.
//!
//! Page and worker both use these functions, and `tests/e2e/boundary.test.mjs` sends every message through a real
//! worker with them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_wasm_bindgen::{Error, Serializer};
use wasm_bindgen::{JsValue, UnwrapThrowExt};

use super::{Event, EventEnvelope};
use crate::terms::{Failure, Problem};

/// Writes a message as a JavaScript value. An absent value is `null`, and a map is a plain object, so that scripts in
/// JavaScript (tests, benchmarks) see the same shape as in JSON.
///
/// # Errors
///
/// A whole number beyond 2^53, which JavaScript cannot hold exactly.
pub fn to_js<T: Serialize>(message: &T) -> Result<JsValue, Error> {
    message.serialize(&Serializer::json_compatible())
}

/// Writes an event as a JavaScript value. An event that JavaScript cannot hold becomes a failure of its request, so
/// that the waiting page gets an answer.
pub fn event_to_js(id: Option<u32>, event: Event) -> JsValue {
    to_js(&EventEnvelope { id, event })
        .or_else(|why| to_js(&EventEnvelope { id, event: Event::Failed(Failure::new(Problem::ResultNotHeld, why.to_string())) }))
        .expect_throw("a failure holds text only, which JavaScript can hold")
}

/// Reads a message from a JavaScript value.
///
/// # Errors
///
/// The value is not of this type; the text names the field.
pub fn from_js<T: DeserializeOwned>(value: JsValue) -> Result<T, Error> {
    serde_wasm_bindgen::from_value(value)
}
