//! JSON as a fragment of an address: its kind, its version, and base64url.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{MAX_ENCODED_BYTES, ShareError};

/// Encodes JSON as a fragment.
pub(super) fn pack(key: &str, version: u32, json: &str) -> Result<String, ShareError> {
    let encoded = format!("{version}.{}", URL_SAFE_NO_PAD.encode(json));
    if encoded.len() > MAX_ENCODED_BYTES {
        return Err(ShareError::TooLong { found: encoded.len() });
    }
    Ok(format!("{key}{encoded}"))
}

/// Decodes a fragment, with or without its `#`, into its version and JSON.
pub(super) fn unpack(key: &str, newest: u32, fragment: &str) -> Result<(u32, String), ShareError> {
    let fragment = fragment.strip_prefix('#').unwrap_or(fragment);
    let encoded = fragment.strip_prefix(&key[1..]).ok_or(ShareError::NoRun)?;
    if encoded.len() > MAX_ENCODED_BYTES {
        return Err(ShareError::TooLong { found: encoded.len() });
    }
    let (version, body) = encoded.split_once('.').ok_or(ShareError::Damaged)?;
    let Some(known) = version.parse().ok().filter(|known| (1..=newest).contains(known)) else {
        return Err(ShareError::Version { found: version.chars().take(8).collect(), newest });
    };
    let json = URL_SAFE_NO_PAD.decode(body).ok().and_then(|json| String::from_utf8(json).ok());
    Ok((known, json.ok_or(ShareError::Damaged)?))
}
