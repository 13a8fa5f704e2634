//! The post-processor: the special tokens before and after a text.

use std::collections::HashMap;

use serde::Deserialize;

use super::TokenizerError;
use super::refused::Part;

/// A post-processor as tokenizer.json describes it. What it says of pairs of texts is not read.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Described {
    BertProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    RobertaProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    /// It changes offsets only, which are not computed.
    ByteLevel,
    TemplateProcessing {
        single: Vec<Piece>,
        special_tokens: HashMap<String, Special>,
    },
    Sequence {
        processors: Vec<Self>,
    },
}

/// A piece of a template.
#[derive(Debug, Deserialize)]
pub(super) enum Piece {
    Sequence { id: Which },
    SpecialToken { id: String },
}

/// The first text, or the second one of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Which {
    A,
    B,
}

/// The tokens of a template's name.
#[derive(Debug, Deserialize)]
pub(super) struct Special {
    ids: Vec<u32>,
    tokens: Vec<String>,
}

/// The most special tokens around a text.
const MAX_TOKENS: usize = 64;

/// The special tokens around a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    pub before: Vec<u32>,
    pub after: Vec<u32>,
}

impl Around {
    /// Finds the special tokens. `id_of` knows every token.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] if the text does not stand there exactly once, if two steps add tokens, or if a token has
    /// another id than the vocabulary says.
    pub fn of(described: Option<Described>, id_of: impl Fn(&str) -> Option<u32>) -> Result<Self, TokenizerError> {
        let mut all = Vec::new();
        let mut todo = Vec::from_iter(described);
        while let Some(one) = todo.pop() {
            match one {
                Described::Sequence { processors } => todo.extend(processors),
                Described::ByteLevel => {}
                one => all.push(one),
            }
        }
        let refused = |why: &str| Part::PostProcessor.refused(why);
        if all.len() > 1 {
            return Err(refused("more than one of its steps adds tokens"));
        }
        let (before, after) = match all.pop() {
            None => return Ok(Self::default()),
            Some(Described::BertProcessing { sep, cls } | Described::RobertaProcessing { sep, cls }) => (vec![cls], vec![sep]),
            Some(Described::TemplateProcessing { single, special_tokens }) => template(&single, &special_tokens)?,
            Some(Described::ByteLevel | Described::Sequence { .. }) => return Ok(Self::default()),
        };
        if before.len() + after.len() > MAX_TOKENS {
            return Err(refused("it puts too many tokens around a text"));
        }
        let checked = |(token, id): (String, u32)| match id_of(&token) {
            Some(known) if known == id => Ok(id),
            Some(known) => Err(Part::PostProcessor.refused(format!("it gives {token:?} the id {id}, but that token has the id {known}"))),
            None => Err(Part::PostProcessor.refused(format!("it adds {token:?}, which is no token"))),
        };
        let ids = |tokens: Vec<(String, u32)>| tokens.into_iter().map(checked).collect::<Result<Vec<_>, _>>();
        Ok(Self { before: ids(before)?, after: ids(after)? })
    }
}

type Tokens = Vec<(String, u32)>;

fn template(single: &[Piece], special_tokens: &HashMap<String, Special>) -> Result<(Tokens, Tokens), TokenizerError> {
    let refused = |why: String| Part::PostProcessor.refused(why);
    let (mut before, mut after, mut n_texts) = (Tokens::new(), Tokens::new(), 0);
    for piece in single {
        match piece {
            Piece::Sequence { id: Which::A } => n_texts += 1,
            Piece::Sequence { id: Which::B } => return Err(refused("its template for one text has a second one".into())),
            Piece::SpecialToken { id } => {
                let Some(Special { ids, tokens }) = special_tokens.get(id) else {
                    return Err(refused(format!("its template names {id:?}, which is not among its special_tokens")));
                };
                if ids.len() != tokens.len() {
                    return Err(refused(format!("{id:?} has {} ids and {} tokens", ids.len(), tokens.len())));
                }
                let side = if n_texts == 0 { &mut before } else { &mut after };
                side.extend(tokens.iter().cloned().zip(ids.iter().copied()));
            }
        }
    }
    match n_texts {
        1 => Ok((before, after)),
        n => Err(refused(format!("its template for one text has the text {n} times"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(described: serde_json::Value) -> Result<Around, TokenizerError> {
        let known = |token: &str| ["<s>", "</s>", "a"].iter().position(|known| *known == token).map(|id| id as u32);
        Around::of(Some(serde_json::from_value(described).unwrap()), known)
    }

    fn template(single: serde_json::Value) -> serde_json::Value {
        let token = |text: &str, id: u32| json!({"id": text, "ids": [id], "tokens": [text]});
        json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens":
            {"<s>": token("<s>", 0), "</s>": token("</s>", 1), "wrong": token("a", 1), "unknown": token("b", 2), "odd": {"id": "odd", "ids": [0], "tokens": []}}})
    }

    #[test]
    fn tokens_are_found_on_both_sides_of_the_text() {
        let (special, text) =
            (|id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
        let both = json!([special("<s>"), text, special("</s>"), special("</s>")]);
        let expected = Around { before: vec![0], after: vec![1, 1] };
        assert_eq!(of(template(both.clone())).unwrap(), expected);
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false});
        assert_eq!(of(json!({"type": "Sequence", "processors": [byte_level, template(both.clone())]})).unwrap(), expected);
        assert_eq!(of(byte_level).unwrap(), Around::default());
        let bert = json!({"type": "BertProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0]});
        assert_eq!(of(bert.clone()).unwrap(), Around { before: vec![0], after: vec![1] });
        for (wrong, why) in [
            (template(json!([special("<s>")])), "0 times"),
            (template(json!([text, text])), "2 times"),
            (template(json!([{"Sequence": {"id": "B", "type_id": 0}}])), "second one"),
            (template(json!([special("none"), text])), "not among"),
            (template(json!([special("wrong"), text])), "the id 1"),
            (template(json!([special("unknown"), text])), "no token"),
            (template(json!([special("odd"), text])), "1 ids and 0 tokens"),
            (json!({"type": "Sequence", "processors": [bert, template(both)]}), "more than one"),
            (json!({"type": "BertProcessing", "sep": ["</s>", 7], "cls": ["<s>", 0]}), "the id 7"),
        ] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error} for {why}");
        }
    }
}
