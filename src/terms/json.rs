//! Reading JSON text: exports, recordings and links.

use serde::de::DeserializeOwned;

/// Reads a value from JSON text.
///
/// On the page the browser's own parser reads the text, and the parsed value is read like the engine's messages, so
/// that no type needs a second reader (40 KB less to download). There, whole numbers beyond 2^53 are refused.
///
/// # Errors
///
/// A text that is not JSON, or not a `T`; the reason is in English.
pub fn read_json<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    read(json)
}

#[cfg(all(target_family = "wasm", feature = "ui"))]
fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let value = js_sys::JSON::parse(json).map_err(|_| "it is no JSON".to_owned())?;
    serde_wasm_bindgen::from_value(value).map_err(|why| why.to_string())
}

#[cfg(not(all(target_family = "wasm", feature = "ui")))]
fn read<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|why| why.to_string())
}
