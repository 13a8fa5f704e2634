//! The tokenizers of the repository, and small ones of every kind that published models have.

use std::path::Path;

use serde_json::{Value, json};

/// Every tokenizer with its name.
pub fn all() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for dir in ["tests/fixtures", "public/models"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap().map(Result::unwrap) {
            let Ok(json) = std::fs::read(entry.path().join("tokenizer.json")) else { continue };
            found.push((entry.file_name().to_string_lossy().into_owned(), serde_json::from_slice(&json).unwrap()));
        }
    }
    assert!(found.len() > 14, "{}", found.len());
    let made = [
        ("sentencepiece", sentencepiece()),
        ("unigram", unigram(true)),
        ("unigram of whole texts", unigram(false)),
        ("wordpiece", wordpiece()),
        ("gpt4", words_of(GPT4)),
        ("o200k", words_of(O200K)),
    ];
    found.extend(made.into_iter().map(|(name, json)| (name.into(), json)));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

const GPT4: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pre-tokenizer of a published model over the vocabulary of a fixture.
fn words_of(pattern: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut json = serde_json::from_slice::<Value>(&std::fs::read(root.join("tests/fixtures/llama3/tokenizer.json")).unwrap()).unwrap();
    json["pre_tokenizer"]["pretokenizers"][0]["pattern"] = json!({"Regex": pattern});
    json
}

/// An added token.
fn added(id: u32, content: &str, rstrip: bool, normalized: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": rstrip, "normalized": normalized, "special": !normalized})
}

fn file(model: Value, parts: Value, specials: &[&str], before: &[&str], after: &[&str]) -> Value {
    let id = |token: &&str| specials.iter().position(|known| known == token).unwrap() as u32;
    let piece = |token: &&str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single = before.iter().map(piece).chain([text]).chain(after.iter().map(piece)).collect::<Vec<_>>();
    let special = |token: &&str| ((*token).to_owned(), json!({"id": token, "ids": [id(token)], "tokens": [token]}));
    let mut json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "decoder": null,
        "added_tokens": specials.iter().map(|token| added(id(token), token, false, false)).collect::<Vec<_>>(),
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": before.iter().chain(after).map(special).collect::<serde_json::Map<_, _>>()},
        "model": model,
    });
    for (key, part) in parts.as_object().unwrap() {
        json[key] = part.clone();
    }
    json
}

/// As Llama 1 and 2 have it: no words, bytes for unknown characters, a space as a character before the text.
fn sentencepiece() -> Value {
    let mut tokens = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend("▁abcdefghijklmnopqrstuvwxyzABDHT.,'0123456789é日本語\n".chars().map(String::from));
    let merges = ["▁ t", "h e", "▁t he", "a n", "an d", "▁ and", "▁ ▁", "▁▁ ▁▁", "e r", "▁ a", "o u", "日 本", ". ."];
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let vocab = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect::<serde_json::Map<_, _>>();
    let model = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges});
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let parts = json!({
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]},
        "decoder": {"type": "Sequence", "decoders":
            [replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    });
    let mut json = file(model, parts, &["<unk>", "<s>", "</s>"], &["<s>"], &[]);
    let id = tokens.len() as u32;
    json["added_tokens"].as_array_mut().unwrap().extend([added(id, "<|user|>", true, false), added(id + 1, "and so on", false, true)]);
    json
}

fn unigram(split: bool) -> Value {
    let mut vocab = vec![json!(["<unk>", 0.0]), json!(["<s>", 0.0]), json!(["</s>", 0.0]), json!(["▁", -2.5])];
    vocab.extend("abcdefghijklmnopqrstuvwxyzAT.,日本".chars().map(|c| json!([c, -4.0 - f64::from(c as u32 % 7)])));
    vocab.extend(["▁the", "▁and", "▁a", "er", "ing", "▁of", "日本", "▁▁"].map(|token| json!([token, -2.0 - token.len() as f64 / 3.0])));
    let model = json!({"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": false});
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": split});
    let parts = json!({
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
        "pre_tokenizer": metaspace, "decoder": metaspace,
    });
    file(model, parts, &["<unk>", "<s>", "</s>"], &[], &["</s>"])
}

fn wordpiece() -> Value {
    let mut tokens = ["[UNK]", "[CLS]", "[SEP]"].map(String::from).to_vec();
    tokens.extend(('a'..='z').flat_map(|c| [c.to_string(), format!("##{c}")]));
    tokens.extend(["the", "and", "##er", "##ing", ".", ",", "日", "本"].map(String::from));
    let vocab = tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect::<serde_json::Map<_, _>>();
    let model = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab});
    let parts = json!({
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    });
    file(model, parts, &["[UNK]", "[CLS]", "[SEP]"], &["[CLS]"], &["[SEP]"])
}
