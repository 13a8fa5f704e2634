//! JSON as a fragment of an address: its kind, its version, and base64url; and token ids in a short form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{MAX_ENCODED_BYTES, MAX_NEW_TOKENS, ShareError};

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
    // Only digits as this page writes them are a version: Rust would also read "+1" and "01".
    let is_canonical =
        !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) && !(version.starts_with('0') && version.len() > 1);
    if !is_canonical {
        return Err(ShareError::Damaged);
    }
    let Some(known) = version.parse().ok().filter(|known| (1..=newest).contains(known)) else {
        return Err(ShareError::Version { found: version.chars().take(8).collect(), newest });
    };
    let json = URL_SAFE_NO_PAD.decode(body).ok().and_then(|json| String::from_utf8(json).ok());
    Ok((known, json.ok_or(ShareError::Damaged)?))
}

/// Seven bits in each byte, low ones first, the top bit set if more follow: two bytes for most ids.
pub(super) fn pack_ids(ids: &[u32]) -> String {
    let mut bytes = Vec::with_capacity(ids.len() * 2);
    for &id in ids {
        let mut rest = id;
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn unpack_ids(text: &str) -> Result<Vec<u32>, ShareError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ShareError::Damaged)?;
    let (mut ids, mut id, mut shift) = (Vec::new(), 0u64, 0);
    for byte in bytes {
        id |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            ids.push(u32::try_from(id).map_err(|_| ShareError::Damaged)?);
            (id, shift) = (0, 0);
        } else if shift < 28 {
            shift += 7;
        } else {
            return Err(ShareError::Damaged);
        }
    }
    if shift != 0 {
        return Err(ShareError::Damaged);
    }
    if ids.len() > MAX_NEW_TOKENS {
        return Err(ShareError::TooManyTokens { found: ids.len() });
    }
    Ok(ids)
}
