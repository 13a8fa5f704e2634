//! The BOS that a model was trained with, where its tokenizer leaves it out.
//!
//! Like transformers, Linchpin puts before a text what `tokenizer.json` says. Copies of some models have one that adds
//! nothing, although the configuration names a BOS. Attention sinks and super weights act on the first token, so that a
//! scan without it may find nothing.

use serde_json::{Map, Value};

use super::error::EngineError;
use crate::model::config::as_json;
use crate::model::config::keys::Kind;
use crate::platform::IN_BROWSER;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Classes of tokenizers that add no BOS unless `add_bos_token` says so.
const WITHOUT_BOS: [&str; 4] = ["GPT2Tokenizer", "GPTNeoXTokenizer", "Qwen2Tokenizer", "CodeGenTokenizer"];

/// A BOS that the configuration names, and the tokenizer does not add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bos {
    pub id: u32,
    text: String,
    /// `true` if the files say that texts begin with it, and not only what it would be.
    is_expected: bool,
}

/// The outcome for a tokenizer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Its id if it was added.
    pub added: Option<u32>,
    /// Its id if it is expected and was not added.
    pub left_out: Option<u32>,
    /// A sentence for the reader.
    pub note: Option<String>,
}

impl Bos {
    /// Looks for it in `tokenizer_config.json` and among the BOS and EOS of `config.json`; `None` if neither names one, or
    /// the tokenizer adds it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Config`] for a key of another type, or another error of the tokenizer.
    pub fn left_out(
        (of_config, ends): (Option<u32>, &[u32]),
        of_tokenizer: Option<&[u8]>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, TokenizerError> {
        let (has_own, own) = (of_tokenizer.is_some(), of_tokenizer.map_or_else(|| Ok(Map::new()), read)?);
        let named = own.get("bos_token").and_then(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
        let Some(id) = named.and_then(|token| tokenizer.id_of(token)).or(of_config).filter(|id| tokenizer.knows(*id)) else {
            return Ok(None);
        };
        if tokenizer.encode("a")?.first() == Some(&id) {
            return Ok(None);
        }
        let is_expected = match own.get("add_bos_token").and_then(Value::as_bool) {
            Some(adds) => adds,
            None => {
                let class = own.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
                let is_without = WITHOUT_BOS.contains(&class.trim_end_matches("Fast"));
                // A token that ends texts, too, stands between them and is not before each.
                !is_without && !ends.contains(&id) && (named.is_some() || !has_own)
            }
        };
        Ok(Some(Self { id, text: tokenizer.token_text(id), is_expected }))
    }

    /// Adds it to the tokenizer if that is asked for.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoBos`] if it is asked for and nothing names it.
    pub fn apply(found: Option<Self>, is_asked: bool, tokenizer: &mut Tokenizer) -> Result<Applied, EngineError> {
        match (found, is_asked) {
            (Some(Self { id, text, .. }), true) => {
                tokenizer.begin_with(id);
                let note = format!("The BOS “{text}” (token {id}) was put before every text, which tokenizer.json does not do.");
                Ok(Applied { added: Some(id), left_out: None, note: Some(note) })
            }
            (Some(Self { id, text, is_expected: true }), false) => {
                let place = if IN_BROWSER { "load the model again with it" } else { "give the command --bos" };
                let note = format!(
                    "The configuration names the BOS “{text}” (token {id}), but tokenizer.json puts none before a text, so that texts are \
                     read without it, as in transformers. Spikes that lie at a BOS are not found then: begin the prompt with {text}, or \
                     {place}."
                );
                Ok(Applied { added: None, left_out: Some(id), note: Some(note) })
            }
            (None, true) if tokenizer.encode_apart("a")?.0.is_empty() => Err(EngineError::NoBos),
            _ => Ok(Applied::default()),
        }
    }
}

/// The keys that decide what stands before a text.
const KEYS: [(&str, Kind); 2] = [("add_bos_token", Kind::Flag), ("tokenizer_class", Kind::Text)];

/// Reads `tokenizer_config.json`.
fn read(json: &[u8]) -> Result<Map<String, Value>, TokenizerError> {
    let fault = |key, why| TokenizerError::Config { key, why };
    let own: Map<String, Value> =
        serde_json::from_slice(&as_json(json)).map_err(|error| fault("the file", format!("is no JSON object: {error}")))?;
    let given = |key| own.get(key).filter(|value| !value.is_null());
    for (key, kind) in KEYS {
        given(key).map_or(Ok(()), |value| kind.check(value)).map_err(|why| fault(key, why))?;
    }
    match given("bos_token") {
        Some(token) if !token.is_string() && !token.get("content").is_some_and(Value::is_string) => {
            Err(fault("bos_token", format!("is {token}, expected a text, or an object with a text as its content")))
        }
        _ => Ok(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three tokens, without anything before a text.
    fn tokenizer(adds_bos: bool) -> Tokenizer {
        let added = |id: u32, content: &str| serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
        let template = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        });
        let json = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "decoder": null,
            "added_tokens": [added(1, "<s>"), added(2, "</s>")],
            "post_processor": if adds_bos { template } else { Value::Null },
            "model": {"type": "WordLevel", "vocab": {"a": 0, "<s>": 1, "</s>": 2}, "unk_token": "a"},
        });
        Tokenizer::from_json(json.to_string().as_bytes(), 3).unwrap()
    }

    /// `Some(true)` if the BOS is expected, `Some(false)` if it could be added.
    fn expected(config: (Option<u32>, &[u32]), of_tokenizer: Option<&str>) -> Option<bool> {
        let found = Bos::left_out(config, of_tokenizer.map(str::as_bytes), &tokenizer(false)).unwrap();
        assert!(found.as_ref().is_none_or(|bos| (bos.id, bos.text.as_str()) == (1, "<s>")), "{found:?}");
        found.map(|bos| bos.is_expected)
    }

    #[test]
    fn bos_is_expected_where_the_files_say_so() {
        const LLAMA: (Option<u32>, &[u32]) = (Some(1), &[2]);
        for (config, of_tokenizer, found) in [
            (LLAMA, Some(r#"{"add_bos_token": true, "bos_token": "<s>"}"#), Some(true)),
            (LLAMA, Some(r#"{"bos_token": {"content": "<s>", "special": true}}"#), Some(true)),
            (LLAMA, None, Some(true)),
            ((None, &[][..]), Some(r#"{"bos_token": "<s>"}"#), Some(true)),
            // Qwen's tokenizers and their like.
            (LLAMA, Some(r#"{"add_bos_token": false, "bos_token": "<s>"}"#), Some(false)),
            (LLAMA, Some(r#"{"bos_token": null}"#), Some(false)),
            (LLAMA, Some(r#"{"bos_token": "<s>", "tokenizer_class": "GPT2TokenizerFast"}"#), Some(false)),
            // GPT-2's token between texts.
            ((Some(1), &[1]), Some(r#"{"bos_token": "<s>"}"#), Some(false)),
            ((None, &[]), None, None),
            ((Some(9), &[]), Some("{}"), None),
        ] {
            assert_eq!(expected(config, of_tokenizer), found, "{config:?} {of_tokenizer:?}");
        }
        for (of_tokenizer, named) in [
            ("no JSON", "the file"),
            (r#"{"add_bos_token": "false"}"#, "add_bos_token"),
            (r#"{"add_bos_token": 1}"#, "add_bos_token"),
            (r#"{"bos_token": 1}"#, "bos_token"),
            (r#"{"bos_token": {"content": 1}}"#, "bos_token"),
            (r#"{"bos_token": ["<s>"]}"#, "bos_token"),
            (r#"{"tokenizer_class": false}"#, "tokenizer_class"),
        ] {
            let refused = Bos::left_out(LLAMA, Some(of_tokenizer.as_bytes()), &tokenizer(true)).unwrap_err();
            assert!(matches!(refused, TokenizerError::Config { key, .. } if key == named), "{of_tokenizer}: {refused}");
        }
        assert_eq!(Bos::left_out(LLAMA, None, &tokenizer(true)).unwrap(), None);
    }

    #[test]
    fn bos_is_added_once_if_it_is_asked_for() {
        let bos = Bos { id: 1, text: "<s>".into(), is_expected: false };
        let mut plain = tokenizer(false);
        assert_eq!(Bos::apply(Some(bos.clone()), false, &mut plain).unwrap(), Applied::default());
        let told = Bos::apply(Some(Bos { is_expected: true, ..bos.clone() }), false, &mut plain).unwrap();
        assert!(told.added.is_none() && told.left_out == Some(1) && told.note.unwrap().contains("give the command --bos"));
        let applied = Bos::apply(Some(bos), true, &mut plain).unwrap();
        assert!(applied.added == Some(1) && applied.left_out.is_none() && applied.note.unwrap().contains("“<s>” (token 1)"));
        for text in ["a", "<s>a"] {
            assert_eq!(plain.encode(text).unwrap(), [1, 0], "{text}");
        }
        assert_eq!(plain.encode_apart("a").unwrap(), (vec![1], vec![0]));
        assert_eq!(Bos::apply(None, true, &mut tokenizer(true)).unwrap(), Applied::default());
        assert!(matches!(Bos::apply(None, true, &mut tokenizer(false)), Err(EngineError::NoBos)));
    }
}
