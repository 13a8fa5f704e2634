//! The small files that a cut changes: the width in `config.json`, and the sizes in the index.

use serde_json::Value;

use super::error::SavingError;
use crate::model::config::ModelConfig;

/// Sets the width of the feed-forward blocks in a `config.json`, and leaves every other byte as it is.
///
/// # Errors
///
/// [`SavingError::ConfigChange`] if the result would not be the same configuration with another width.
pub fn with_width(json: &[u8], config: &ModelConfig, width: usize) -> Result<Vec<u8>, SavingError> {
    let changed = with_key(json, config.width_key, &width.to_string());
    let expected = ModelConfig { intermediate_size: width.into(), ..config.clone() };
    match ModelConfig::from_json(&changed) {
        Ok(read) if read == expected => Ok(changed),
        Ok(_) => Err(SavingError::ConfigChange { why: format!("other keys depend on {}", config.width_key) }),
        Err(error) => Err(SavingError::ConfigChange { why: error.to_string() }),
    }
}

/// Replaces the value of a key of the outermost object, wherever it occurs there, or adds the key at its beginning.
/// The text is read as bytes, because Python also writes `NaN` and `Infinity`, and numbers must keep their digits.
fn with_key(json: &[u8], key: &str, value: &str) -> Vec<u8> {
    let quoted = format!("\"{key}\"");
    let (mut changed, mut depth, mut at, mut is_found) = (Vec::with_capacity(json.len() + 32), 0_usize, 0, false);
    let mut open = 0;
    while at < json.len() {
        let end = token_end(json, at);
        changed.extend_from_slice(&json[at..end]);
        match json[at] {
            b'{' | b'[' => {
                depth += 1;
                open = if depth == 1 && open == 0 { changed.len() } else { open };
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' if depth == 1 && json[at..end] == *quoted.as_bytes() => {
                let colon = end + json[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                if json.get(colon) == Some(&b':') {
                    changed.extend_from_slice(&json[end..=colon]);
                    changed.extend_from_slice(format!(" {value}").as_bytes());
                    at = value_end(json, colon + 1);
                    is_found = true;
                    continue;
                }
            }
            _ => {}
        }
        at = end;
    }
    if !is_found && open > 0 {
        changed.splice(open..open, format!("\n  {quoted}: {value},").into_bytes());
    }
    changed
}

/// The end of the string that begins here, or of one other byte.
fn token_end(json: &[u8], at: usize) -> usize {
    if json[at] != b'"' {
        return at + 1;
    }
    let mut end = at + 1;
    while end < json.len() && json[end] != b'"' {
        end += if json[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(json.len())
}

/// The end of the value that begins here: the comma or bracket behind it.
fn value_end(json: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < json.len() {
        match json[at] {
            b',' | b'}' | b']' if depth == 0 => {
                let spaces = json[..at].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
                return at - spaces;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at = token_end(json, at);
    }
    at
}

/// The index of a sharded checkpoint with other totals: bytes and number of values of all tensors.
///
/// # Errors
///
/// [`SavingError::ConfigChange`] for an index that is no object.
pub fn with_totals(json: &[u8], bytes: u64, values: u64) -> Result<Vec<u8>, SavingError> {
    let broken = |why: String| SavingError::ConfigChange { why };
    let mut index: Value = serde_json::from_slice(json).map_err(|error| broken(error.to_string()))?;
    for (key, total) in [("total_size", bytes), ("total_parameters", values)] {
        if let Some(old) = index.get_mut("metadata").and_then(|metadata| metadata.get_mut(key)) {
            *old = total.into();
        }
    }
    let mut text = serde_json::to_vec_pretty(&index).map_err(|error| broken(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(json: &str) -> String {
        String::from_utf8(with_key(json.as_bytes(), "n", "7")).unwrap()
    }

    #[test]
    fn key_is_replaced_where_it_is_and_nothing_else_changes() {
        assert_eq!(
            with(r#"{"a": {"n": 1}, "n": 12, "b": [Infinity, "n", 1e-05]}"#),
            r#"{"a": {"n": 1}, "n": 7, "b": [Infinity, "n", 1e-05]}"#
        );
        assert_eq!(with("{\n  \"n\" : null\n}\n"), "{\n  \"n\" : 7\n}\n");
        assert_eq!(with(r#"{"x": "\"n\": 3", "n": {"y": ["}", 2]}}"#), r#"{"x": "\"n\": 3", "n": 7}"#);
        assert_eq!(with(r#"{"n":1,"n":2}"#), r#"{"n": 7,"n": 7}"#);
        assert_eq!(with(r#"{"a": "n"}"#), "{\n  \"n\": 7,\"a\": \"n\"}");
    }

    #[test]
    fn width_of_every_kind_of_configuration_is_set() {
        let bundled = &include_bytes!("../../public/models/linchpin-13m/config.json")[..];
        let old = br#"{"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 16, "vocab_size": 32}"#;
        for (json, before) in [(bundled, 448), (&old[..], 32)] {
            let config = ModelConfig::from_json(json).unwrap();
            assert_eq!(config.intermediate_size.uniform(), Some(before));
            let changed = with_width(json, &config, 17).unwrap();
            assert_eq!(ModelConfig::from_json(&changed).unwrap().intermediate_size.uniform(), Some(17));
        }
    }

    #[test]
    fn totals_are_set_where_the_index_has_them() {
        let index = br#"{"metadata": {"total_size": 10.0}, "weight_map": {"b": "2", "a": "1"}}"#;
        let index: Value = serde_json::from_slice(&with_totals(index, 6, 3).unwrap()).unwrap();
        assert_eq!(index, serde_json::json!({"metadata": {"total_size": 6}, "weight_map": {"a": "1", "b": "2"}}));
    }
}
