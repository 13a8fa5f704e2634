//! Files that are damaged, or made to break a reader.

use serde_json::{Value, json};

use super::{Draws, published};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Set in the process that tries the files.
const CHILD: &str = "LINCHPIN_HOSTILE_TOKENIZERS";
/// Kilobytes of addresses of that process: what runs out of memory ends it.
const MEMORY_KB: usize = 1_200_000;

/// Values that are put in place of others.
fn values() -> Vec<Value> {
    let mut deep = json!([]);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let mut values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(1_u64 << 40),
        json!(1e308),
        json!(-1e308),
        json!(0.5),
        json!(""),
        json!(" "),
        json!("a"),
        json!("\0"),
        json!("日"),
        json!("é"),
        json!("x".repeat(5000)),
        json!("ab".repeat(100_000)),
        json!([]),
        json!({}),
        deep,
        json!("(?:(?:(?:a{1000}){1000}){1000})"),
        json!("(x+x+)+$"),
        json!("(a"),
        json!("\\K"),
        json!("^"),
        json!("(?=.\\K)"),
        json!("."),
        json!(".*|"),
        json!("(?<n>\\g<n>)"),
        json!("(?<n>a\\g<n>?b)"),
        json!("////"),
        json!("AAAAAA=="),
        json!("BAAAAP////8="),
        json!({"String": ""}),
        json!({"String": "a"}),
        json!({"Regex": "^"}),
        json!({"Regex": ""}),
        json!({"Regex": "(.*)*x"}),
        json!({"Regex": "[^"}),
        json!({"Sequence": {"id": "B", "type_id": 0}}),
        json!({"SpecialToken": {"id": "none", "type_id": 0}}),
    ];
    values.extend(parts());
    values
}

/// Parts of every kind, also where none of them belongs.
fn parts() -> Vec<Value> {
    let charsmap = |bytes: &[u8]| {
        use base64::Engine as _;
        json!({"type": "Precompiled", "precompiled_charsmap": base64::engine::general_purpose::STANDARD.encode(bytes)})
    };
    let good = crate::tokenizer::charsmap::tests::a_to_upper();
    let huge = json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "....................".repeat(12)});
    vec![
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "Strip", "content": " ", "start": 0, "stop": 9}),
        json!({"type": "Strip", "content": " ", "start": 1_u64 << 40, "stop": 1_u64 << 40}),
        json!({"type": "Strip", "strip_left": true, "strip_right": true}),
        json!({"type": "StripAccents"}),
        json!({"type": "NFC"}),
        json!({"type": "NFKD"}),
        json!({"type": "Lowercase"}),
        json!({"type": "Nmt"}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
        json!({"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": true}),
        json!({"type": "FixedLength", "length": 0}),
        json!({"type": "FixedLength", "length": 3}),
        json!({"type": "UnicodeScripts"}),
        json!({"type": "Digits", "individual_digits": true}),
        json!({"type": "Punctuation"}),
        json!({"type": "Whitespace"}),
        json!({"type": "WhitespaceSplit"}),
        json!({"type": "Metaspace", "replacement": "a", "prepend_scheme": "always", "split": true}),
        json!({"type": "CharDelimiterSplit", "delimiter": "a"}),
        json!({"type": "Split", "pattern": {"Regex": "(?=a\\K)"}, "behavior": "MergedWithNext", "invert": true}),
        json!({"type": "Split", "pattern": {"String": ""}, "behavior": "Contiguous", "invert": false}),
        json!({"type": "Replace", "pattern": {"Regex": "^"}, "content": "a"}),
        json!({"type": "Replace", "pattern": {"String": "a"}, "content": ""}),
        json!({"type": "Prepend", "prepend": ""}),
        json!({"type": "Prepend", "prepend": "a\u{301}"}),
        json!({"type": "BertProcessing", "sep": ["x", 4_000_000_000_u32], "cls": ["a", 0]}),
        json!({"type": "Sequence", "normalizers": [huge, huge, huge]}),
        json!({"type": "Sequence", "normalizers": vec![json!({"type": "ByteLevel"}); 40]}),
        json!({"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "t"}, "content": ""}, {"type": "NFKC"}, {"type": "Lowercase"}]}),
        json!({"type": "Sequence", "processors": [{"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}]}),
        charsmap(&good),
        charsmap(&good[..good.len() - 3]),
        charsmap(&[255; 40]),
        charsmap(&[0; 8]),
        json!({"type": "Unigram", "unk_id": null, "vocab": [["a", -1.0]], "byte_fallback": true}),
        json!({"type": "Unigram", "unk_id": 0, "vocab": [["a".repeat(300_000), -1.0]]}),
        json!({"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "", "max_input_chars_per_word": u64::MAX, "vocab": {"a": 0}}),
        json!({"type": "WordLevel", "unk_token": "a", "vocab": {"b": 0}}),
        json!({"type": "BPE", "continuing_subword_prefix": "日本", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}),
        json!({"type": "BPE", "dropout": 0.5, "vocab": {"a": 0}, "merges": []}),
    ]
}

/// A place in the file: the keys that lead to it. Places in long lists and maps are as likely as all others together.
fn place(json: &Value, draws: &mut Draws) -> String {
    let mut at = String::new();
    let mut here = json;
    loop {
        let next = match here {
            Value::Object(map) if !map.is_empty() => map.keys().nth(draws.below(map.len())).unwrap().replace('~', "~0").replace('/', "~1"),
            Value::Array(list) if !list.is_empty() => draws.below(list.len()).to_string(),
            _ => return at,
        };
        at = format!("{at}/{next}");
        here = json.pointer(&at).unwrap();
        if draws.below(4) == 0 {
            return at;
        }
    }
}

fn mutate(json: &mut Value, values: &[Value], draws: &mut Draws) {
    let at = place(json, draws);
    let other = json.pointer(&place(json, draws)).unwrap().clone();
    let (parent, key) = at.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    match (draws.below(8), json.pointer_mut(parent).unwrap()) {
        (0, Value::Object(map)) => drop(map.remove(&key)),
        (0, Value::Array(list)) => drop(list.remove(key.parse::<usize>().unwrap())),
        (1, Value::Array(list)) if !list.is_empty() => {
            let one = list[key.parse::<usize>().unwrap()].clone();
            list.extend(vec![one; 200]);
        }
        (1, Value::Object(map)) => {
            let one = map[&key].clone();
            map.insert(draws.of_all(&["", "type", "aab", "Ġ", "日", "Regex", "dropout", "id"]).to_string(), one);
        }
        (2, _) => *json.pointer_mut(&at).unwrap() = other,
        (3, _) => {
            let part = draws.of_all(&["normalizer", "pre_tokenizer", "post_processor", "decoder", "model"]);
            json[*part] = draws.of_all(&parts()).clone();
        }
        _ => *json.pointer_mut(&at).unwrap() = draws.of_all(values).clone(),
    }
}

/// Reads a file, and uses what comes out: every error that a panic has become names the crate.
fn try_out(json: &[u8], texts: &[String]) -> Result<(), TokenizerError> {
    let tokenizer = Tokenizer::from_json(json, 5000)?;
    let mut last = Ok(());
    for text in texts {
        last = last.and(tokenizer.encode(text).and_then(|ids| tokenizer.decode(&ids)).map(drop));
        last = last.and(tokenizer.read(text, 9, 10).and_then(|ids| tokenizer.decode_after(&[0], &ids)).map(drop));
    }
    for ids in [&[][..], &[0], &[4999, 3], &[u32::MAX]] {
        last = last.and(tokenizer.decode(ids).map(drop));
        ids.iter().for_each(|id| drop(tokenizer.token_text(*id)));
    }
    drop(tokenizer.ids_of_words(&["a", "the"].into()));
    last
}

/// The child of the test below.
fn try_all() {
    let (mut draws, values, published) = (Draws::of(11), values(), published::all());
    let texts =
        (0..3).map(|n| draws.text(10 + 300 * n)).chain(["".into(), "a".into(), "   ".into(), "x".repeat(3000)]).collect::<Vec<String>>();
    let (mut n_taken, mut n_used) = (0, 0);
    for n in 0..2000 {
        let (name, json) = draws.of_all(&published);
        let mut json = json.clone();
        for _ in 0..=draws.below(3) {
            mutate(&mut json, &values, &mut draws);
        }
        let json = json.to_string();
        let tried = try_out(json.as_bytes(), &texts);
        if let Err(error) = &tried {
            let error = error.to_string();
            let excerpt = || json.chars().take(3000).collect::<String>();
            assert!(!error.contains("broke off"), "{n}, {name}: {error}\n{}", excerpt());
            assert!(error.len() < 1000, "{n}, {name}: {}", &error[..500]);
            n_used += usize::from(matches!(tried, Err(TokenizerError::Encode { .. } | TokenizerError::NoSuchToken { .. })));
        } else {
            n_taken += 1;
        }
    }
    assert!(n_taken > 200 && n_taken + n_used < 1900, "{n_taken} were taken, {n_used} failed later");
}

#[test]
fn no_file_makes_it_panic_or_take_much_memory() {
    if std::env::var_os(CHILD).is_some() {
        return try_all();
    }
    let script = format!(
        "ulimit -v {MEMORY_KB} && exec \"$0\" --exact tokenizer::tests::hostile::no_file_makes_it_panic_or_take_much_memory --test-threads 1"
    );
    let me = std::env::current_exe().unwrap();
    let run = std::process::Command::new("sh").args(["-c", &script]).arg(me).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{}: {said}", run.status);
}

#[test]
fn parts_that_cannot_be_used_are_refused_by_name() {
    let (_, llama) = published::all().into_iter().find(|(name, _)| name == "llama").unwrap();
    let with = |part: &str, value: Value| {
        let mut json = llama.clone();
        json[part] = value;
        Tokenizer::from_json(json.to_string().as_bytes(), 5000).map(drop).unwrap_err()
    };
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut json = llama.clone();
        change(&mut json);
        Tokenizer::from_json(json.to_string().as_bytes(), 5000).map(drop).unwrap_err()
    };
    let prefixed = json!({"type": "BPE", "continuing_subword_prefix": "日本", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]});
    for (error, part, why) in [
        (with("pre_tokenizer", json!({"type": "FixedLength", "length": 0})), "pre_tokenizer", "length 0"),
        (with("pre_tokenizer", json!({"type": "Nonsense"})), "", "Nonsense"),
        (with("normalizer", json!({"type": "Replace", "pattern": {"String": ""}, "content": "a"})), "normalizer", "empty text"),
        (with("normalizer", json!({"type": "Prepend", "prepend": "x".repeat(300)})), "normalizer", "300 bytes"),
        (
            with("normalizer", json!({"type": "Sequence", "normalizers": vec![json!({"type": "ByteLevel"}); 40]})),
            "normalizer",
            "could become",
        ),
        (with("normalizer", json!({"type": "Sequence", "normalizers": vec![json!({"type": "Nmt"}); 70]})), "normalizer", "64 steps"),
        (with("decoder", json!({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})), "decoder", "cannot be read"),
        (with("model", prefixed), "model", "does not begin with"),
        (with("model", json!({"vocab": {"a": 0}, "merges": [["a", "a"]]})), "model", "no token"),
        (with("model", json!({"vocab": {"a": 0}, "merges": ["a"]})), "model", "no pair"),
        (with("model", json!({"vocab": {"a": 0, "b": 0}, "merges": []})), "model", "same id 0"),
        (with("model", json!({"vocab": {"a": 0}, "merges": [], "dropout": 0.1})), "model", "at random"),
        (with("model", json!({"type": "Unigram", "vocab": [["a".repeat(2000), 0.0]]})), "model", "more than 1024 bytes"),
        (edited(&|json| json["added_tokens"][2]["id"] = 9.into()), "added_tokens", "id 9"),
        (edited(&|json| json["added_tokens"][2]["content"] = "x".repeat(5000).into()), "added_tokens", "5000 bytes"),
        (
            edited(&|json| {
                json["added_tokens"][0]["rstrip"] = true.into();
                let mut space = json["added_tokens"][0].clone();
                (space["content"], space["lstrip"], space["rstrip"]) = (" ".into(), true.into(), false.into());
                json["added_tokens"].as_array_mut().unwrap().push(space);
            }),
            "added_tokens",
            "takes the space",
        ),
        (edited(&|json| json["version"] = "2.0".into()), "", "2.0"),
    ] {
        let said = error.to_string();
        assert!(said.contains(why), "{said} for {why}");
        if !part.is_empty() {
            assert!(matches!(error, TokenizerError::Part { part: refused, .. } if refused == part), "{said} of {part}");
        }
    }
}

#[test]
fn search_that_fails_in_a_text_is_an_error_of_the_text() {
    let (_, llama) = published::all().into_iter().find(|(name, _)| name == "llama").unwrap();
    let slow = json!({"Regex": "(x+x+)+$"});
    for (part, value) in [
        ("pre_tokenizer", json!({"type": "Split", "pattern": slow, "behavior": "Isolated", "invert": false})),
        ("normalizer", json!({"type": "Replace", "pattern": slow, "content": "y"})),
        ("normalizer", json!({"type": "Replace", "pattern": {"Regex": "^"}, "content": "y"})),
    ] {
        let mut json = llama.clone();
        json[part] = value;
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), 5000).unwrap();
        let error = tokenizer.encode(&("x".repeat(64) + "!")).unwrap_err();
        assert!(matches!(error, TokenizerError::Encode { .. }) && !error.to_string().contains("broke off"), "{error}");
    }
}
