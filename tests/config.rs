//! `config.json`: every key that is there has its type and its range, in every family, or the model is refused by the key's
//! name.

use serde_json::{Value, json};

use linchpin::model::ModelError;
use linchpin::model::config::ModelConfig;
use linchpin::model::config::keys::{KEYS, Kind, ROPE_KEYS, ROPES};
use linchpin::protocol::{Event, Request};
use linchpin::terms::Problem;

use crate::support::{Copy, Session, files_in, fixture, fixtures};

/// Stands for a text that JSON does not have.
const MARK: &str = "@@";

fn config(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name).join("config.json")).unwrap()).unwrap()
}

fn with(name: &str, key: &str, value: Value) -> Value {
    let mut config = config(name);
    config[key] = value;
    config
}

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    ModelConfig::from_json(config.to_string().as_bytes())
}

/// Values of other types, and out of the range.
fn wrong(kind: Kind) -> Vec<Value> {
    let mut wrong = vec![json!(true), json!({"a": 1}), json!([{}])];
    wrong.extend(match kind {
        Kind::Whole(low, high) => vec![json!(low - 1), json!(high + 1), json!(1.5), json!("8"), json!([low]), json!(1e300)],
        Kind::Number(low, high) => {
            let below = if low > 0.0 { low / 2.0 } else { low - 1.0 };
            vec![json!(below), json!(-1), json!(high * 2.0), json!("1.0"), json!([1.0]), json!(1e300)]
        }
        Kind::Numbers(low, high) => vec![json!(3), json!("1"), json!(["1"]), json!([low / 2.0]), json!([1.0, high * 2.0]), json!([null])],
        Kind::Flag => vec![json!(0), json!(1), json!("true"), json!([true])],
        Kind::Text => vec![json!(3), json!(0.5), json!(["a"])],
        Kind::Texts => vec![json!("a"), json!(3), json!([1]), json!([null])],
        Kind::Tokens => vec![json!("2"), json!(1.5), json!(["2"]), json!([1.5]), json!([[1]])],
        Kind::Rope => vec![json!(3), json!(0.5), json!("linear"), json!(["linear"])],
    });
    wrong.retain(|value| match kind {
        Kind::Flag => !value.is_boolean(),
        Kind::Rope => !value.is_object(),
        _ => true,
    });
    wrong
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Whole(..) | Kind::Number(..))
}

/// Expects a refusal of this key, with the value's range.
fn expect(found: Result<ModelConfig, ModelError>, key: &str, kind: Kind, of: &str) {
    match found {
        Err(ModelError::Config { key: named, why }) => {
            assert_eq!(named, key, "{of}: {why}");
            assert!(why.starts_with("is ") && why.ends_with(&format!("expected {kind}")), "{of}: {why}");
        }
        other => panic!("{of}: {other:?}"),
    }
}

#[test]
fn every_key_of_another_type_or_out_of_its_range_is_refused_by_its_name() {
    for name in fixtures() {
        for (key, kind) in KEYS {
            for value in wrong(kind) {
                let of = format!("{name}, {key}: {value}");
                expect(read(&with(&name, key, value)), key, kind, &of);
            }
            for python in ["NaN", "Infinity", "-Infinity"].into_iter().filter(|_| is_number(kind)) {
                let text = with(&name, key, MARK.into()).to_string().replace(&format!("{MARK:?}"), python);
                expect(ModelConfig::from_json(text.as_bytes()), key, kind, &format!("{name}, {key}: {python}"));
            }
        }
    }
}

#[test]
fn every_entry_of_a_dictionary_of_angles_is_refused_by_its_name() {
    for name in fixtures() {
        for rope in ROPES {
            let falsy = [json!([]), json!(false), json!(0), json!("")].into_iter().filter(|_| rope == "rope_parameters");
            for value in wrong(Kind::Rope).into_iter().chain(falsy) {
                let of = format!("{name}, {rope}: {value}");
                expect(read(&with(&name, rope, value)), rope, Kind::Rope, &of);
            }
            for (key, kind) in ROPE_KEYS {
                for value in wrong(kind) {
                    let of = format!("{name}, {rope}.{key}: {value}");
                    expect(read(&with(&name, rope, json!({key: value.clone()}))), &format!("{rope}.{key}"), kind, &of);
                    if kind != Kind::Rope {
                        let inside = with(&name, rope, json!({"full_attention": {key: value}}));
                        expect(read(&inside), &format!("{rope}.full_attention.{key}"), kind, &of);
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_at_both_ends_of_a_range_are_taken() {
    for (key, kind) in KEYS.iter().chain(&ROPE_KEYS) {
        let ends = match *kind {
            Kind::Whole(low, high) => vec![json!(low), json!(high)],
            Kind::Number(low, high) => vec![json!(low), json!(high)],
            Kind::Numbers(low, high) => vec![json!([]), json!([low, high])],
            Kind::Tokens => vec![json!(-1), json!(u64::MAX), json!([1, 2])],
            _ => Vec::new(),
        };
        for end in ends {
            assert_eq!(kind.check(&end), Ok(()), "{key}: {end}");
        }
    }
}

/// Python's transformers takes the same as absent.
#[test]
fn null_and_empty_dictionaries_of_angles_are_absent() {
    let without = |name: &str, key: &str| {
        let mut config = config(name);
        config.as_object_mut().unwrap().remove(key);
        read(&config).map_err(|error| error.to_string())
    };
    for name in fixtures() {
        // A window that is null is none, and one that is missing is the family's own.
        for (key, _) in KEYS.iter().filter(|(key, _)| *key != "sliding_window") {
            let null = read(&with(&name, key, Value::Null)).map_err(|error| error.to_string());
            assert_eq!(null, without(&name, key), "{name}, {key}");
        }
        for rope in ROPES {
            let falsy = [json!(null), json!({}), json!([]), json!(false), json!(0), json!("")];
            for falsy in &falsy[..if rope == "rope_scaling" { falsy.len() } else { 2 }] {
                let empty = read(&with(&name, rope, falsy.clone())).map_err(|error| error.to_string());
                assert_eq!(empty, without(&name, rope), "{name}, {rope}: {falsy}");
            }
        }
    }
}

#[test]
fn entries_that_contradict_each_other_are_refused_by_name() {
    let llama3 = |low: f64, high: f64| json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": low, "high_freq_factor": high});
    let longrope = |short: Value, long: Value| json!({"type": "longrope", "short_factor": short, "long_factor": long});
    for (name, key, value, named) in [
        ("llama", "rope_scaling", json!({"rope_type": "linear"}), "rope_scaling.factor"),
        ("llama", "rope_parameters", json!({"rope_type": "llama3", "factor": 8.0}), "rope_parameters.low_freq_factor"),
        ("llama", "rope_scaling", llama3(4.0, 4.0), "rope_scaling.high_freq_factor"),
        ("phi3", "rope_scaling", longrope(json!([1.0]), json!([1.0, 1.0, 1.0])), "rope_scaling.short_factor"),
        ("phi3-long", "rope_scaling", longrope(json!([1.0, 1.0, 1.0]), json!([1.0])), "rope_scaling.long_factor"),
        ("gemma3", "rope_parameters", json!({"rope_type": "linear", "factor": 2.0}), "rope_parameters."),
        ("gemma3", "sliding_window", Value::Null, "sliding_window"),
        ("llama", "num_key_value_heads", json!(3), "num_key_value_heads"),
        ("llama", "head_dim", json!(7), "head_dim"),
        ("gpt2", "n_head", json!(5), "head_dim"),
        ("qwen2", "num_attention_heads", json!(100), "num_attention_heads"),
    ] {
        match read(&with(name, key, value.clone())) {
            Err(ModelError::Config { key: of, .. }) if of.starts_with(named) => {}
            other => panic!("{name}, {key}: {value}: {other:?}"),
        }
    }
}

/// A table for people that is not the code's would be wrong in silence.
#[test]
fn documentation_lists_every_key_with_its_type_and_range() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/models.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ")).collect::<Vec<_>>();
    for (table, title) in [(&KEYS[..], "config.json"), (&ROPE_KEYS[..], "angles")] {
        for (key, kind) in table {
            let is_listed = rows.iter().any(|row| {
                row.split('|').nth(1).is_some_and(|names| names.contains(&format!("`{key}`"))) && row.contains(&format!("| {kind} |"))
            });
            assert!(is_listed, "docs/models.md has no row for `{key}` of {title}: | `{key}` | {kind} | ... |");
        }
    }
    for rope in ROPES {
        assert!(text.contains(&format!("`{rope}`")));
    }
}

#[test]
fn model_of_a_broken_configuration_is_refused_and_the_loaded_one_stays() {
    for (key, value) in [("rope_scaling", json!(3)), ("rms_norm_eps", json!(4e9)), ("attention_bias", json!("no"))] {
        let copy = Copy::of("llama", &format!("config-{key}"));
        copy.edit_config(|config| config[key] = value);
        let mut session = Session::with_model(&fixture("llama"));
        let failure = session.load(files_in(copy.dir())).expect_err(key);
        assert!(failure.problem == Problem::BrokenConfig && failure.detail.contains(&format!("config.json: {key} is ")), "{failure:?}");
        session.ask(Request::Scan { prompt: "the old man".into() }).unwrap();
    }
}

fn notes(copy: &Copy) -> Vec<String> {
    let events = Session::new().load(files_in(copy.dir())).unwrap();
    let notes = events.into_iter().find_map(|event| if let Event::Loaded(info) = event { Some(info.provenance.notes) } else { None });
    notes.unwrap()
}

#[test]
fn layers_that_the_configuration_leaves_out_are_told() {
    for (name, key, n) in [("llama", "num_hidden_layers", 3), ("gpt2", "n_layer", 3), ("gpt-neox", "num_hidden_layers", 3)] {
        let copy = Copy::of(name, "fewer-layers");
        assert!(!notes(&copy).iter().any(|note| note.contains("layer")), "{name}");
        for fewer in 1..n {
            copy.edit_config(|config| config[key] = fewer.into());
            let told = notes(&copy);
            let which = if fewer + 1 == n { format!("layer {fewer},") } else { format!("layers {fewer} to {},", n - 1) };
            assert!(
                told.iter().any(|note| note.contains(&which) && note.contains(&format!("names only {fewer} layers"))),
                "{name}: {told:?}"
            );
        }
    }
}

#[test]
fn wrong_defaults_of_sampling_are_told_by_their_keys() {
    for (key, value, expected) in [
        ("temperature", json!("hot"), "a number from 0 to 5"),
        ("temperature", json!(9), "a number from 0 to 5"),
        ("top_k", json!(1.5), "a whole number from -1 to 1048576"),
        ("top_p", json!(2), "a number from 0 to 1"),
        ("max_new_tokens", json!(0), "a whole number from 1 to"),
        ("do_sample", json!("true"), "true or false"),
        ("eos_token_id", json!("2"), "a token's id or a list of them"),
    ] {
        let copy = Copy::of("llama", "generation");
        std::fs::write(copy.dir().join("generation_config.json"), json!({key: value}).to_string()).unwrap();
        let told = notes(&copy);
        assert!(told.iter().any(|note| note.contains(&format!("{key} is {value}, expected {expected}"))), "{key}: {told:?}");
    }
}

#[test]
fn wrong_keys_of_the_tokenizers_configuration_are_refused_by_their_names() {
    let copy = Copy::of("llama", "tokenizer-config");
    for (key, value) in [("add_bos_token", json!("false")), ("bos_token", json!(1)), ("tokenizer_class", json!(["a"]))] {
        std::fs::write(copy.dir().join("tokenizer_config.json"), json!({key: value}).to_string()).unwrap();
        let failure = Session::new().load(files_in(copy.dir())).expect_err(key);
        assert!(failure.problem == Problem::BrokenConfig, "{failure:?}");
        assert!(failure.detail.starts_with(&format!("tokenizer_config.json: {key} is ")), "{failure:?}");
    }
}
