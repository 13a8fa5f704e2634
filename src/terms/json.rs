//! Reader of JSON text: exports, recordings and links.

use serde::de::DeserializeOwned;

/// Reads a value from JSON text.
///
/// The page has the browser's own parser read the text, and then reads the parsed value as it reads the engine's
/// messages, so that no type needs a second reader. Whole numbers beyond 2^53 are refused there. Natively, where the
/// page is only tested, its code has the reader of the command.
///
/// # Errors
///
/// A text that is no JSON, or that holds something other than a `T`; the reason is in English.
pub fn read_json<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    read(json)
}

#[cfg(all(feature = "ui", not(feature = "cli"), not(test)))]
fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let value = js_sys::JSON::parse(json).map_err(|_| "it is no JSON".to_owned())?;
    serde_wasm_bindgen::from_value(value).map_err(|why| why.to_string())
}

#[cfg(not(all(feature = "ui", not(feature = "cli"), not(test))))]
fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|why| why.to_string())
}
