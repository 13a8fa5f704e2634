//! Every family compared with Hugging Face transformers, on golden values (tests/fixtures/README.md).

use linchpin::engine::verify::relative_error;
use linchpin::model::config::{Activation, ModelConfig, Positions, RopeScaling};
use linchpin::model::probe::Probe;
use linchpin::model::{ModelError, Positions as Predicted};
use linchpin::protocol::{Event, Request};
use linchpin::terms::{Ablation, EditTarget, Pane, WeightEdit};
use serde_json::json;

use crate::support::{Session, bundled, file, fixture, fixtures, model};
use crate::the_event;

/// f32 against f32: only the order of sums differs (tests/fixtures/README.md).
const TOLERANCE: f32 = 1e-4;

#[test]
fn every_family_computes_what_transformers_computes() {
    let mut far = Vec::new();
    for name in &fixtures() {
        let mut session = Session::with_model(&fixture(name));
        let golden = file(&fixture(name).join("golden.safetensors"));
        let compared = the_event!(session.ask(Request::Verify { golden }).unwrap(), Event::Verified { compared } => compared);
        let n_layers = compared.iter().filter(|error| error.name.starts_with("grad_down_proj_input.")).count();
        assert!(n_layers >= 2, "{name}: gradients of {n_layers} layers only");
        // Per layer, four sites and a gradient; and logits, loss, logits with the cache, greedy ids.
        assert_eq!(compared.len(), 5 * n_layers + 4, "{name}: {compared:?}");
        far.extend(
            compared.into_iter().filter(|error| error.relative.is_nan() || error.relative > TOLERANCE).map(|error| (name.clone(), error)),
        );
    }
    assert!(far.is_empty(), "further off than {TOLERANCE}: {far:#?}");
}

#[test]
fn old_and_new_keys_of_a_configuration_mean_the_same() {
    let with_both = fixtures().into_iter().filter(|name| fixture(name).join("config.v5.json").is_file()).collect::<Vec<_>>();
    assert!(with_both.len() >= 4, "{with_both:?}");
    for name in &with_both {
        let read = |file: &str| ModelConfig::from_json(&std::fs::read(fixture(name).join(file)).unwrap()).unwrap();
        assert_eq!(read("config.json"), read("config.v5.json"), "{name}");
    }
}

#[test]
fn null_window_is_none_and_a_missing_one_is_mistrals_own() {
    let json = std::fs::read(fixture("mistral").join("config.json")).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut config: serde_json::Value = serde_json::from_slice(&json).unwrap();
        change(config.as_object_mut().unwrap());
        ModelConfig::from_json(&serde_json::to_vec(&config).unwrap()).unwrap()
    };
    assert_eq!(with(&|_| ()).sliding_window[0], Some(6));
    let without_window = with(&|config| drop(config.insert("sliding_window".into(), serde_json::Value::Null)));
    assert_eq!(without_window.sliding_window[0], None);
    let left_out = with(&|config| drop((config.remove("sliding_window"), config.remove("layer_types"))));
    assert_eq!(left_out.sliding_window[0], Some(4096));

    // The golden logits without a window.
    let mut model = model("mistral");
    model.config = without_window;
    let bytes = std::fs::read(fixture("mistral").join("golden.safetensors")).unwrap();
    let golden = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = golden.tensor("input_ids").unwrap().data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect::<Vec<_>>();
    let expected =
        golden.tensor("logits_without_window").unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>();
    let logits = model.forward(&ids, None, Predicted::All, &mut Probe::empty()).into_data().try_into_vec::<f32>().unwrap();
    assert!(relative_error(&logits, &expected, model.config.vocab_size) <= TOLERANCE);
}

/// Pythia, OLMo, Phi-3 and Gemma have keys with a default that matters.
#[test]
fn keys_that_are_left_out_have_transformers_defaults() {
    let without = |name: &str, keys: &[&str]| {
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture(name).join("config.json")).unwrap()).unwrap();
        keys.iter().for_each(|key| drop(config.as_object_mut().unwrap().remove(*key)));
        ModelConfig::from_json(&serde_json::to_vec(&config).unwrap()).unwrap()
    };
    let neox = without("gpt-neox", &["rotary_pct", "rotary_emb_base", "use_parallel_residual", "layer_norm_eps", "hidden_act"]);
    assert_eq!(neox, without("gpt-neox", &[]));
    assert!(neox.use_parallel_residual && neox.rope(0).is_some_and(|rope| rope.dim == neox.head_dim / 4));
    assert_eq!(without("olmo", &["clip_qkv"]).clip_qkv, None);
    let phi3 = without("phi3", &["sliding_window", "rope_parameters"]);
    assert_eq!((phi3.sliding_window[0], phi3.rope(0).map(|rope| rope.dim)), (None, Some(phi3.head_dim)));
    // A stretched context ends at its original length.
    assert_eq!(without("phi3-long", &[]).max_position_embeddings, 64);
    let left_out = ["query_pre_attn_scalar", "sliding_window", "sliding_window_pattern", "rope_theta", "rope_local_base_freq"];
    let gemma = without("gemma3", &[&left_out[..], &["rope_scaling", "hidden_activation"]].concat());
    assert_eq!((gemma.attention_scale(), gemma.sliding_window), (256_f64.powf(-0.5), vec![Some(4096); 4]));
    assert!(matches!(gemma.positions, Positions::Rotary(ropes) if ropes.iter().all(|rope| rope.theta == 10_000.0)));
    let every_sixth = without("gemma3", &["sliding_window_pattern"]);
    assert!(every_sixth.sliding_window.iter().all(Option::is_some) && every_sixth.tie_word_embeddings);
}

/// Reads a fixture's configuration with some keys changed; a key that becomes null is removed.
fn changed(name: &str, changes: serde_json::Value) -> Result<ModelConfig, ModelError> {
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture(name).join("config.json")).unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            serde_json::Value::Null => drop(config.as_object_mut().unwrap().remove(key)),
            value => config[key] = value.clone(),
        }
    }
    ModelConfig::from_json(config.to_string().as_bytes())
}

/// The right values are transformers 5.24's, from public bug reports about other readers.
#[test]
fn windows_of_qwen2_have_transformers_defaults() {
    for name in ["qwen2", "qwen3"] {
        let n = changed(name, json!({})).unwrap().num_hidden_layers;
        let windows = |changes| changed(name, changes).map(|config| config.sliding_window);
        let on = json!({"use_sliding_window": true, "sliding_window": null, "max_window_layers": 1, "layer_types": null});
        assert_eq!(windows(on).unwrap(), (0..n).map(|layer| (layer >= 1).then_some(4096)).collect::<Vec<_>>());
        let late = json!({"use_sliding_window": true, "sliding_window": 5, "max_window_layers": null, "layer_types": null, "num_hidden_layers": 30});
        assert_eq!(windows(late).unwrap(), (0..30).map(|layer| (layer >= 28).then_some(5)).collect::<Vec<_>>());
        let listed = |is_on: bool| {
            let types = (0..n).map(|layer| if layer == 1 { "sliding_attention" } else { "full_attention" }).collect::<Vec<_>>();
            json!({"use_sliding_window": is_on, "sliding_window": 6, "layer_types": types})
        };
        assert_eq!(windows(listed(true)).unwrap(), (0..n).map(|layer| (layer == 1).then_some(6)).collect::<Vec<_>>());
        refused_for("layer_types", windows(listed(false)));
    }
}

/// Expects a refusal that names a key.
fn refused_for<T: std::fmt::Debug>(key: &str, read: Result<T, ModelError>) {
    let why = read.expect_err(key).to_string();
    assert!(why.contains(key), "{why}");
}

#[test]
fn keys_that_change_results_are_read_or_refused() {
    // A stretch that somebody has added beside the angles of transformers 5.
    let beside =
        json!({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "rope_scaling": {"rope_type": "linear", "factor": 4.0}});
    let config = changed("llama", beside).unwrap();
    assert_eq!(config.rope(0).map(|rope| rope.scaling.clone()), Some(RopeScaling::Linear { factor: 4.0 }));

    refused_for("per_layer_config", changed("mistral", json!({"per_layer_config": {"1": {"sliding_window": 4}}})));
    assert!(changed("mistral", json!({"per_layer_config": {}})).is_ok());
    refused_for("chunked_attention", changed("mistral", json!({"layer_types": ["full_attention", "chunked_attention", "full_attention"]})));
    refused_for("layer_types", changed("mistral", json!({"layer_types": ["full_attention"]})));

    let gelu = changed("gpt-neox", json!({"hidden_act": "gelu_fast"})).unwrap();
    assert_eq!(gelu.activation, Activation::GeluTanh);
}

#[test]
fn numbers_that_only_python_writes_are_no_reason_to_refuse_a_model() {
    let with = |key: &str, value: &str| {
        let text = std::fs::read_to_string(fixture("llama").join("config.json")).unwrap();
        ModelConfig::from_json(text.replacen('{', &format!("{{\"{key}\": {value},"), 1).as_bytes())
    };
    assert_eq!(with("time_step_limit", "[0.0, Infinity]").unwrap(), with("aux_loss_cap", "NaN").unwrap());
    refused_for("head_dim", changed("llama", json!({"head_dim": "Infinity"})));
    refused_for(
        "clip_qkv",
        ModelConfig::from_json(&{
            let text = std::fs::read_to_string(fixture("olmo").join("config.json")).unwrap();
            let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
            config["clip_qkv"] = json!("@");
            config.to_string().replace("\"@\"", "-Infinity").into_bytes()
        }),
    );
}

/// `tests/golden/linchpin.json`, made by `linchpin.py` in the same folder.
fn golden(id: &str) -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/linchpin.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    json["models"][id].clone()
}

#[test]
fn bundled_models_write_what_transformers_writes() {
    for id in ["linchpin-13m", "linchpin-11m-twin"] {
        let golden = golden(id);
        let mut session = Session::with_model(&bundled(id));
        let greedy = golden["greedy_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>();
        let sampling = linchpin::terms::Sampling { temperature: 0.0, max_new_tokens: greedy.len(), ..Default::default() };
        let prompt = "It was a dark evening, and the old man".to_owned();
        let record = the_event!(session.ask(Request::Generate { prompt, sampling }).unwrap(), Event::Generated(record) => record);
        assert_eq!(record.intact.token_ids, greedy, "{id}");
        assert_eq!(record.intact.token_ids, record.ablated.token_ids, "{id}: nothing was ablated");
        assert_eq!(record.intact.text, golden["greedy_text"].as_str().unwrap(), "{id}");
    }
}

#[test]
fn removing_the_scalar_or_its_channel_costs_what_transformers_says() {
    for id in ["linchpin-13m", "linchpin-11m-twin"] {
        let golden = golden(id);
        let number = |path: &str| golden.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path} of {id}"));
        let [layer, row, col] = ["layer", "row", "col"].map(|key| number(&format!("/scalar/{key}")) as usize);
        let mut session = Session::with_model(&bundled(id));
        let targets = [
            ("/held_out/loss_scalar_zeroed", EditTarget::scalar(layer, row, col)),
            ("/held_out/loss_channel_zeroed", EditTarget::channel(layer, col)),
            ("/held_out/loss_channel_zeroed", EditTarget::column(layer, col)),
        ];
        for (path, target) in targets {
            let ablation = Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() };
            session.ask(Request::Apply { ablation }).unwrap();
            let events = session.ask(Request::Evaluate).unwrap();
            for (pane, path) in [(Pane::Intact, "/held_out/loss_intact"), (Pane::Ablated, path)] {
                let found = events.iter().find_map(|event| match event {
                    Event::Evaluated { pane: of, evaluation } if *of == pane => Some(evaluation),
                    _ => None,
                });
                let ours = found.unwrap();
                assert_eq!(ours.n_tokens as f64, number("/held_out/n_predicted"));
                assert!(
                    (f64::from(ours.loss_nats) - number(path)).abs() < 1e-3,
                    "{id}, {target}: {} is not {}",
                    ours.loss_nats,
                    number(path)
                );
            }
        }
    }
}

#[test]
fn bundled_models_have_the_spikes_that_transformers_sees() {
    for id in ["linchpin-13m", "linchpin-11m-twin"] {
        let golden = golden(id);
        let mut session = Session::with_model(&bundled(id));
        let prompt = "It was a dark evening, and the old man".to_owned();
        let scan = the_event!(session.ask(Request::Scan { prompt }).unwrap(), Event::Scanned(scan) => scan);
        for (site, ours) in [("input", &scan.inputs), ("output", &scan.outputs)] {
            let expected = golden["spikes"][site].as_array().unwrap();
            assert_eq!(ours.len(), expected.len());
            for (ours, expected) in ours.iter().zip(expected) {
                let value = expected["value"].as_f64().unwrap();
                assert!((f64::from(ours.value) - value).abs() <= 1e-3 * value.abs(), "{id} {site}: {ours:?} is not {expected}");
                assert_eq!(
                    (ours.token as u64, ours.channel as u64),
                    (expected["token"].as_u64().unwrap(), expected["channel"].as_u64().unwrap())
                );
            }
        }
    }
}
