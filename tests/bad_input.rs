//! Broken and unsupported models, and invalid requests: each gets its message, and the loaded model stays.

use std::path::Path;

use linchpin::protocol::{Event, Request};
use linchpin::terms::{Ablation, EditTarget, Failure, Problem, Sampling, WeightEdit};

use crate::support::{Copy, Session, files_in, fixture};

fn failure(copy: &Copy) -> Failure {
    let mut session = Session::with_model(&fixture("llama"));
    let failure = session.load(files_in(copy.dir())).expect_err("a broken model");
    // The previous model still answers.
    session.ask(Request::Scan { prompt: "the old man".into() }).unwrap();
    failure
}

/// Expects this problem, and a part of the cause: its code, or one of its arguments.
fn expect(failure: &Failure, problem: Problem, cause: &str) {
    assert_eq!(failure.problem, problem, "{failure:?}");
    assert!(failure.cause.as_ref().is_some_and(|of| of.id().contains(cause)), "{failure:?}");
    assert!(!failure.detail.is_empty());
}

#[test]
fn truncated_weights_file_is_refused() {
    let copy = Copy::of("llama", "truncated");
    copy.edit("model.safetensors", |bytes| bytes.truncate(bytes.len() - 100));
    expect(&failure(&copy), Problem::WeightsDamaged, "too_short");
}

#[test]
fn empty_weights_file_is_refused() {
    let copy = Copy::of("llama", "empty");
    copy.edit("model.safetensors", Vec::clear);
    expect(&failure(&copy), Problem::WeightsDamaged, "truncated");
}

#[test]
fn header_that_lies_about_its_length_is_refused() {
    let copy = Copy::of("llama", "lying");
    copy.edit("model.safetensors", |bytes| bytes[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes()));
    expect(&failure(&copy), Problem::WeightsDamaged, "header_too_long");
}

#[test]
fn shapes_that_contradict_the_configuration() {
    let copy = Copy::of("llama", "shapes");
    copy.edit_config(|config| config["intermediate_size"] = 63.into());
    expect(&failure(&copy), Problem::WeightsMismatch, "shape");
}

#[test]
fn more_layers_than_there_are() {
    let copy = Copy::of("llama", "layers");
    copy.edit_config(|config| config["num_hidden_layers"] = 4.into());
    expect(&failure(&copy), Problem::WeightsMismatch, "model.layers.3");
}

#[test]
fn unknown_architecture_is_refused() {
    let copy = Copy::of("llama", "architecture");
    copy.edit_config(|config| config["model_type"] = "mamba".into());
    expect(&failure(&copy), Problem::UnknownArchitecture, "mamba");
}

#[test]
fn unknown_rope_is_refused() {
    let copy = Copy::of("llama", "rope");
    copy.edit_config(|config| config["rope_parameters"] = serde_json::json!({"rope_type": "yarn", "rope_theta": 1e4}));
    expect(&failure(&copy), Problem::UnknownArchitecture, "yarn");
}

#[test]
fn sizes_that_make_no_sense() {
    for (key, value) in [
        ("num_attention_heads", 0.into()),
        ("num_key_value_heads", 3.into()),
        ("vocab_size", serde_json::json!(1_u64 << 40)),
        ("hidden_size", serde_json::Value::Null),
    ] {
        let copy = Copy::of("llama", key);
        copy.edit_config(|config| config[key] = value);
        expect(&failure(&copy), Problem::BrokenConfig, key);
    }
}

#[test]
fn keys_that_no_family_reads_are_refused() {
    let copy = Copy::of("gpt2", "unread");
    copy.edit_config(|config| config["scale_attn_weights"] = false.into());
    expect(&failure(&copy), Problem::UnknownArchitecture, "scale_attn_weights");
    let copy = Copy::of("gpt2", "heads");
    copy.edit_config(|config| config["n_head"] = 5.into());
    expect(&failure(&copy), Problem::BrokenConfig, "head_dim");
}

/// A feature that would change the numbers is refused by its name.
#[test]
fn features_that_a_family_lacks_are_refused_by_name() {
    let longrope = serde_json::json!({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]});
    for (name, key, value, cause) in [
        ("gemma3", "model_type", "gemma3".into(), "images"),
        ("gemma3", "final_logit_softcapping", 30.0.into(), "final_logit_softcapping"),
        ("gemma3", "attn_logit_softcapping", 50.0.into(), "attn_logit_softcapping"),
        ("phi3", "rope_parameters", longrope, "short_factor"),
        ("phi3", "rope_parameters", serde_json::json!({"rope_type": "dynamic", "factor": 2.0}), "dynamic"),
        ("phi3", "rope_parameters", serde_json::json!({"partial_rotary_factor": 0.4}), "head_dim"),
        ("llama", "partial_rotary_factor", 0.5.into(), "partial_rotary_factor"),
        ("olmo", "clip_qkv", 0.0.into(), "clip_qkv"),
        ("gpt-neox", "num_attention_heads", 5.into(), "head_dim"),
        ("gpt-neox", "num_hidden_layers", serde_json::json!(1_u64 << 60), "num_hidden_layers"),
        ("gpt-neox", "use_parallel_residual", "yes".into(), "use_parallel_residual"),
    ] {
        let copy = Copy::of(name, &format!("refused-{key}"));
        copy.edit_config(|config| config[key] = value);
        let failure = failure(&copy);
        assert!(matches!(failure.problem, Problem::UnknownArchitecture | Problem::BrokenConfig), "{failure:?}");
        expect(&failure, failure.problem, cause);
    }
}

#[test]
fn unreadable_dtype_is_refused() {
    let copy = Copy::of("llama", "dtype");
    copy.edit("model.safetensors", |bytes| {
        // The length is the same, so that only the type is wrong.
        let at = bytes.windows(5).position(|window| window == b"\"F32\"").unwrap();
        bytes[at..at + 5].copy_from_slice(b"\"I32\"");
    });
    expect(&failure(&copy), Problem::UnsupportedDtype, "I32");
}

#[test]
fn weights_that_are_nan() {
    let copy = Copy::of("llama", "nan");
    copy.edit("model.safetensors", |bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    expect(&failure(&copy), Problem::WeightsNotFinite, "non_finite");
}

#[test]
fn tokenizer_of_another_vocabulary_is_refused() {
    let copy = Copy::of("llama", "tokenizer");
    let foreign = fixture("llama3").join("tokenizer.json");
    std::fs::copy(foreign, copy.dir().join("tokenizer.json")).unwrap();
    expect(&failure(&copy), Problem::TokenizerMismatch, "other_vocabulary");
}

#[test]
fn files_that_are_missing_or_no_json() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let copy = Copy::of("llama", &format!("without-{name}"));
        std::fs::remove_file(copy.dir().join(name)).unwrap();
        expect(&failure(&copy), Problem::FileMissing, name);
        if name != "model.safetensors" {
            std::fs::write(copy.dir().join(name), b"<html>not found</html>").unwrap();
            let problem = if name == "config.json" { Problem::BrokenConfig } else { Problem::TokenizerMismatch };
            let failure = failure(&copy);
            expect(&failure, problem, "");
            assert!(failure.detail.contains(name), "{failure:?}");
        }
    }
}

#[test]
fn missing_shard_is_refused() {
    let copy = Copy::of("mistral", "shard");
    std::fs::remove_file(copy.dir().join("model-00002-of-00002.safetensors")).unwrap();
    expect(&failure(&copy), Problem::FileMissing, "model-00002-of-00002.safetensors");
}

#[test]
fn reference_that_the_model_does_not_meet_is_refused() {
    let copy = Copy::of("llama", "reference");
    let reference = serde_json::json!({"input_ids": [1, 2, 3], "top1": [0, 0, 0], "margins": [9.0, 9.0, 9.0], "last_logits": [[5, 1e6]]});
    std::fs::write(copy.dir().join("reference.json"), reference.to_string()).unwrap();
    expect(&failure(&copy), Problem::SelfCheckFailed, "self_check");
}

/// Gemma 3's tokenizer has one token more than its models.
#[test]
fn token_outside_the_vocabulary_is_refused() {
    let mut session = Session::with_model(&fixture("gemma3"));
    let failure =
        session.ask(Request::Scan { prompt: "the old <image_soft_token> man".into() }).expect_err("a token beyond the vocabulary");
    expect(&failure, Problem::UnknownToken, "<image_soft_token>");
    session.ask(Request::Scan { prompt: "the old man".into() }).unwrap();
}

fn refusal(request: Request) -> Failure {
    let mut session = Session::with_model(&fixture("llama"));
    let failure = session.ask(request).expect_err("nonsense");
    session.ask(Request::Scan { prompt: "the old man".into() }).unwrap();
    failure
}

#[test]
fn prompts_that_are_empty_or_too_long() {
    for prompt in ["", "   \n"] {
        expect(&refusal(Request::Scan { prompt: prompt.into() }), Problem::EmptyPrompt, "empty_prompt");
    }
    let long = "the old man ".repeat(500);
    expect(&refusal(Request::Scan { prompt: long.clone() }), Problem::PromptTooLong, "prompt_too_long");
    expect(&refusal(Request::Generate { prompt: long, sampling: Sampling::default() }), Problem::PromptTooLong, "prompt_too_long");
}

#[test]
fn settings_out_of_range() {
    let good = Sampling::default();
    for (sampling, key) in [
        (Sampling { temperature: f32::NAN, ..good }, "temperature"),
        (Sampling { temperature: -1.0, ..good }, "temperature"),
        (Sampling { top_p: -0.1, ..good }, "top_p"),
        (Sampling { top_p: f32::NAN, ..good }, "top_p"),
        (Sampling { max_new_tokens: 0, ..good }, "max_new_tokens"),
    ] {
        expect(&refusal(Request::Generate { prompt: "the old man".into(), sampling }), Problem::SettingOutOfRange, key);
    }
}

#[test]
fn coordinates_out_of_range() {
    let ablation = Ablation { weight_edits: vec![WeightEdit { target: EditTarget::scalar(99, 0, 0), scale: 0.0 }], ..Ablation::default() };
    expect(&refusal(Request::Apply { ablation }), Problem::PlaceOutside, "got=99");
}

#[test]
fn edit_that_overflows_is_no_finding() {
    let mut session = Session::with_model(&fixture("llama"));
    let interventions = vec![linchpin::terms::Intervention {
        site: linchpin::terms::Site::ResidPost,
        layer: 0,
        token: 0,
        channel: 0,
        action: linchpin::terms::Action::Set(f32::INFINITY),
    }];
    session.ask(Request::Apply { ablation: Ablation { interventions, ..Ablation::default() } }).unwrap();
    let failure = session.ask(Request::Evaluate).expect_err("not finite");
    expect(&failure, Problem::NumbersOverflowed, "non_finite");
}

#[test]
fn requests_without_a_model_are_refused_in_words() {
    let failure = Session::new().ask(Request::Evaluate).expect_err("no model");
    expect(&failure, Problem::NoModel, "not_loaded");
    let failure = Session::new().load(files_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path())).expect_err("no model");
    expect(&failure, Problem::FileMissing, "config.json");
    assert!(matches!(Session::new().ask(Request::Stop).unwrap().last(), Some(Event::Done)));
}
