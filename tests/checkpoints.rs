//! Checkpoints as people publish them: other names, tensors that are there twice or for nothing, quantised weights, and
//! files whose contents are elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use half::bf16;
use linchpin::language;
use linchpin::loading::load::LoadedWeights;
use linchpin::model::config::{ModelConfig, Positions as PositionsOf, RopeScaling};
use linchpin::model::probe::Probe;
use linchpin::model::{Model, ModelError, Positions};
use linchpin::protocol::Event;
use linchpin::terms::{Failure, Problem};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::json;

use crate::support::{Copy, Session, code, files_in, fixture, linchpin_raw, load_in};
use crate::the_event;

const LFS: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 148176\n";

/// A file's tensors: type, shape and bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn change(copy: &Copy, file: &str, change: impl FnOnce(&mut Tensors)) {
    copy.edit(file, |bytes| {
        let read = SafeTensors::deserialize(bytes).unwrap();
        let owned = |(name, view): (String, TensorView<'_>)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
        let mut tensors = read.tensors().into_iter().map(owned).collect::<Tensors>();
        change(&mut tensors);
        let views = tensors.iter().map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        *bytes = serialize(views, None).unwrap();
    });
}

fn renamed(copy: &Copy, name: impl Fn(&str) -> String) {
    change(copy, "model.safetensors", |tensors| {
        *tensors = std::mem::take(tensors).into_iter().map(|(of, tensor)| (name(&of), tensor)).collect()
    });
}

/// The same tensor with other values.
fn doubled((dtype, shape, data): &(Dtype, Vec<usize>, Vec<u8>)) -> (Dtype, Vec<usize>, Vec<u8>) {
    let twice = |bytes: &[u8; 4]| (2.0 * f32::from_le_bytes(*bytes)).to_le_bytes();
    let twice_bf16 = |bytes: &[u8; 2]| bf16::from_f32(2.0 * bf16::from_le_bytes(*bytes).to_f32()).to_le_bytes();
    let data = match dtype {
        Dtype::F32 => data.as_chunks().0.iter().flat_map(twice).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().flat_map(twice_bf16).collect(),
        other => panic!("a fixture in {other:?}"),
    };
    (*dtype, shape.clone(), data)
}

fn load(copy: &Copy) -> LoadedWeights {
    load_in(copy.dir(), &Device::flex()).unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    let logits = model.forward(&[3, 17, 5, 9, 11], None, Positions::All, &mut Probe::empty());
    logits.into_data().try_into_vec::<f32>().unwrap()
}

fn refused(copy: &Copy) -> Failure {
    Session::new().load(files_in(copy.dir())).expect_err("no whole checkpoint")
}

// ------------------------------------------------------------------------------------------------- heads and names

#[test]
fn head_of_its_own_goes_before_the_configuration() {
    for (name, embeddings) in [("qwen3", "model.embed_tokens.weight"), ("gpt2", "transformer.wte.weight")] {
        let tied = load_in(&fixture(name), &Device::flex()).unwrap();
        let with_head = Copy::of(name, "own-head");
        change(&with_head, "model.safetensors", |tensors| drop(tensors.insert("lm_head.weight".into(), doubled(&tensors[embeddings]))));
        let own = load(&with_head);
        let twice = logits(&tied.model).iter().map(|logit| 2.0 * logit).collect::<Vec<_>>();
        assert_eq!(logits(&own.model), twice, "{name}");
        assert!(own.notes[0].contains("lm_head.weight") && own.notes[0].contains(embeddings), "{:?}", own.notes);
        assert!(own.num_parameters > tied.num_parameters && own.weight_bytes > tied.weight_bytes);

        // The same values once more are no head of its own.
        let repeated = Copy::of(name, "same-head");
        change(&repeated, "model.safetensors", |tensors| drop(tensors.insert("lm_head.weight".into(), tensors[embeddings].clone())));
        let repeated = load(&repeated);
        assert_eq!(
            (logits(&repeated.model), repeated.num_parameters, repeated.weight_bytes),
            (logits(&tied.model), tied.num_parameters, tied.weight_bytes)
        );
        assert_eq!(repeated.notes, tied.notes);

        // safetensors keeps one name of a tensor that has two.
        let head_only = Copy::of(name, "head-only");
        renamed(&head_only, |of| if of == embeddings { "lm_head.weight".into() } else { of.into() });
        assert_eq!(logits(&load(&head_only).model), logits(&tied.model), "{name}");
    }
}

#[test]
fn prefixes_of_names_are_found() {
    for (name, root) in [("llama", "model."), ("gpt2", "transformer."), ("gpt-neox", "gpt_neox.")] {
        let expected = logits(&load_in(&fixture(name), &Device::flex()).unwrap().model);
        for (prefix, is_told) in [("_orig_mod.", true), ("module.", true), ("base_model.model.", true), ("language_model.", true)] {
            let copy = Copy::of(name, "prefix");
            renamed(&copy, |of| format!("{prefix}{of}"));
            let found = load(&copy);
            assert_eq!(logits(&found.model), expected, "{name} {prefix}");
            assert_eq!(found.notes.iter().any(|note| note.contains(prefix.trim_end_matches('.'))), is_told, "{:?}", found.notes);
        }
        // The model without its head, as the base class saves it.
        let copy = Copy::of(name, "base");
        renamed(&copy, |of| of.strip_prefix(root).unwrap_or(of).into());
        let found = load(&copy);
        assert_eq!((logits(&found.model), found.notes), (expected, Vec::new()), "{name}");
    }
}

#[test]
fn missing_tensor_is_told_with_names_that_there_are() {
    let copy = Copy::of("llama", "other-names");
    renamed(&copy, |of| of.replace("layers", "blocks"));
    let failure = refused(&copy);
    assert_eq!(failure.problem, Problem::WeightsMismatch);
    assert!(failure.detail.contains("model.layers.0") && failure.detail.contains("model.blocks.0"), "{failure:?}");
    // This is the file that was published with the weights.
    assert!(!language::failure(&failure).next_step.contains("Use the config.json"), "{failure:?}");
}

// ------------------------------------------------------------------------------- tensors without a place, or with two

#[test]
fn tensors_that_nobody_reads_are_told() {
    let copy = Copy::of("llama", "unread");
    let names = ["model.layers.0.self_attn.o_proj.bias", "model.layers.2.mlp.down_proj.bias", "model.layers.9.mlp.up_proj.weight"];
    change(&copy, "model.safetensors", |tensors| {
        let buffers = ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"];
        tensors.extend(names.iter().chain(&buffers).map(|name| ((*name).to_owned(), (Dtype::F32, vec![2], vec![0; 8]))));
    });
    let info = the_event!(Session::new().load(files_in(copy.dir())).unwrap(), Event::Loaded(info) => info);
    let [beyond, note] = &info.provenance.notes[..] else { panic!("{:?}", info.provenance.notes) };
    assert!(beyond.starts_with("The checkpoint has weights of layer 9, but config.json names only 3 layers (0 to 2)"), "{beyond}");
    assert!(beyond.contains(names[2]) && !note.contains(names[2]), "{beyond} {note}");
    assert!(note.starts_with("The checkpoint has 2 tensors") && names[..2].iter().all(|name| note.contains(name)), "{note}");
    assert!(!note.contains("inv_freq"), "{note}");
    // The command tells it beside the results, and in the export.
    let model = copy.dir().to_str().unwrap();
    let generate = ["generate", "--device", "cpu", "--model", model, "--max-new-tokens", "1"];
    let told = linchpin_raw(&generate).stderr;
    assert!([beyond, note].iter().all(|note| String::from_utf8_lossy(&told).contains(*note)));
    let json = linchpin_raw(&[&generate[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["info"]["provenance"]["notes"], json!([beyond, note]));
    // Masks of attention are computed.
    assert_eq!(load_in(&fixture("gpt2-hub"), &Device::flex()).unwrap().notes, Vec::<String>::new());
}

#[test]
fn tensor_in_two_files_is_that_of_the_index() {
    const SECOND: &str = "model-00002-of-00002.safetensors";
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("mistral").join("model.safetensors.index.json")).unwrap()).unwrap();
    let is_in_first = |file: &serde_json::Value| file == "model-00001-of-00002.safetensors";
    let name = index["weight_map"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, file)| is_in_first(file) && name.ends_with("down_proj.weight"))
        .unwrap()
        .0;
    let first = std::fs::read(fixture("mistral").join("model-00001-of-00002.safetensors")).unwrap();
    let first = SafeTensors::deserialize(&first).unwrap();
    let view = first.tensor(name).unwrap();
    let other = (view.dtype(), view.shape().to_vec(), vec![0; view.data().len()]);

    let copy = Copy::of("mistral", "twice");
    change(&copy, SECOND, |tensors| drop(tensors.insert(name.clone(), other.clone())));
    let loaded = load(&copy);
    assert_eq!(logits(&loaded.model), logits(&load_in(&fixture("mistral"), &Device::flex()).unwrap().model));
    assert!(loaded.notes.len() == 1 && loaded.notes[0].contains(name), "{:?}", loaded.notes);

    let edit_index = |copy: &Copy, change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        copy.edit("model.safetensors.index.json", |bytes| {
            let mut index: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            change(index["weight_map"].as_object_mut().unwrap());
            *bytes = serde_json::to_vec(&index).unwrap();
        });
    };
    // The index names the second file.
    edit_index(&copy, &|map| drop(map.insert(name.clone(), SECOND.into())));
    assert_ne!(logits(&load(&copy).model), logits(&loaded.model));
    // The index does not say which.
    edit_index(&copy, &|map| drop(map.remove(name)));
    let failure = refused(&copy);
    assert!(
        failure.problem == Problem::WeightsIncomplete && failure.detail.contains(name) && failure.detail.contains(SECOND),
        "{failure:?}"
    );
    // The index is wrong.
    let wrong = Copy::of("mistral", "misplaced");
    edit_index(&wrong, &|map| drop(map.insert(name.clone(), SECOND.into())));
    let failure = refused(&wrong);
    assert!(
        failure.problem == Problem::WeightsIncomplete && failure.detail.contains(name) && failure.detail.contains(SECOND),
        "{failure:?}"
    );
}

#[test]
fn empty_tensor_is_refused() {
    let copy = Copy::of("llama", "one-rank");
    change(&copy, "model.safetensors", |tensors| drop(tensors.insert("lm_head.weight".into(), (Dtype::F32, vec![0], Vec::new()))));
    let failure = refused(&copy);
    assert!(failure.problem == Problem::WeightsIncomplete && failure.detail.contains("lm_head.weight"), "{failure:?}");
}

// --------------------------------------------------------------------------------------------- other kinds of checkpoint

#[test]
fn quantised_checkpoints_are_refused_by_their_method() {
    for (key, value, named) in [
        ("quantization_config", json!({"quant_method": "gptq", "bits": 4, "group_size": 128}), "gptq, 4 bits"),
        ("quantization_config", json!({"quant_method": "awq", "bits": 4, "version": "gemm"}), "awq"),
        ("quantization_config", json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}), "load_in_4bit"),
        ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_8bit": true}), "bitsandbytes"),
        ("quantization_config", json!({"quant_method": "fp8", "weight_block_size": [128, 128]}), "fp8"),
        ("quantization_config", json!({"quant_method": "compressed-tensors", "format": "pack-quantized"}), "compressed-tensors"),
        ("quantization_config", json!({"quant_method": "hqq"}), "hqq"),
        ("quantization_config", json!({"quant_method": "mxfp4"}), "mxfp4"),
        ("quantization_config", json!({"quant_algo": "NVFP4"}), "NVFP4"),
        ("quantization_config", json!("?"), "no method named"),
        ("compression_config", json!({"format": "float-quantized"}), "float-quantized"),
        ("quantization", json!({"group_size": 64, "bits": 4}), "4 bits"),
    ] {
        let copy = Copy::of("llama", "quantised");
        copy.edit_config(|config| config[key] = value.clone());
        let failure = refused(&copy);
        assert!(failure.problem == Problem::Quantised && failure.detail.contains(named) && failure.detail.contains(key), "{failure:?}");
        let words = language::failure(&failure);
        assert!(words.next_step.contains("f32, f16 or bf16"), "{words:?}");
    }
    // No key says so, but the names do.
    for suffix in
        ["qweight", "qzeros", "scales", "weight_packed", "weight_scale_inv", "SCB", "weight.absmax", "weight.quant_state.bitsandbytes__nf4"]
    {
        let copy = Copy::of("llama", "quantised-names");
        let name = format!("model.layers.0.mlp.up_proj.{suffix}");
        change(&copy, "model.safetensors", |tensors| drop(tensors.insert(name.clone(), (Dtype::F32, vec![1], vec![0; 4]))));
        let failure = refused(&copy);
        assert!(failure.problem == Problem::Quantised && failure.detail.contains(&name), "{failure:?}");
    }
    for nothing in [json!(null), json!({})] {
        let copy = Copy::of("llama", "unquantised");
        copy.edit_config(|config| config["quantization_config"] = nothing);
        load(&copy);
    }
}

#[test]
fn adapters_beside_their_weights_are_refused() {
    let copy = Copy::of("llama", "adapter");
    change(&copy, "model.safetensors", |tensors| {
        drop(tensors.insert("model.layers.0.mlp.up_proj.lora_A.default.weight".into(), (Dtype::F32, vec![1], vec![0; 4])));
    });
    let failure = refused(&copy);
    assert!(failure.problem == Problem::UnsupportedFile && failure.detail.contains("lora_A"), "{failure:?}");
}

#[test]
fn pointers_of_git_lfs_are_named() {
    for (name, file) in [
        ("llama", "config.json"),
        ("llama", "tokenizer.json"),
        ("llama", "generation_config.json"),
        ("llama", "model.safetensors"),
        ("mistral", "model.safetensors.index.json"),
        ("mistral", "model-00002-of-00002.safetensors"),
    ] {
        let copy = Copy::of(name, "pointer");
        std::fs::write(copy.dir().join(file), LFS).unwrap();
        let failure = refused(&copy);
        assert!(failure.problem == Problem::LfsPointer && failure.detail.contains(file), "{failure:?}");
        assert!(language::failure(&failure).next_step.contains("git lfs pull"));
    }
    // Something else with a header that is too long.
    let copy = Copy::of("llama", "no-pointer");
    std::fs::write(copy.dir().join("model.safetensors"), "version 2 of the weights, which are elsewhere").unwrap();
    assert_eq!(refused(&copy).problem, Problem::WeightsDamaged);
}

// ------------------------------------------------------------------------------------------------------ configurations

fn config_of(name: &str, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Result<ModelConfig, ModelError> {
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture(name).join("config.json")).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    ModelConfig::from_json(&serde_json::to_vec(&config).unwrap())
}

#[test]
fn general_names_of_gpt2s_keys_are_read() {
    let own = config_of("gpt2", |_| ()).unwrap();
    let pairs = [
        ("n_embd", "hidden_size"),
        ("n_head", "num_attention_heads"),
        ("n_layer", "num_hidden_layers"),
        ("n_positions", "max_position_embeddings"),
    ];
    let general = |keys: &mut serde_json::Map<String, serde_json::Value>| {
        for (own, general) in pairs {
            let value = keys.remove(own).unwrap();
            keys.insert(general.into(), value);
        }
    };
    assert_eq!(config_of("gpt2", general).unwrap(), own);
    // As in transformers, the general name goes before the other.
    assert_eq!(config_of("gpt2", |keys| drop(keys.insert("num_hidden_layers".into(), 1.into()))).unwrap().num_hidden_layers, 1);
    assert_eq!(config_of("gpt2", |keys| drop(keys.insert("num_hidden_layers".into(), json!(null)))).unwrap(), own);
    let missing = config_of("gpt2", |keys| drop(keys.remove("n_layer"))).unwrap_err();
    assert!(missing.to_string().contains("n_layer"), "{missing}");
}

#[test]
fn context_of_pre_training_is_named_or_the_models() {
    let original = |change: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| -> Result<f64, ModelError> {
        match &config_of("llama3", change)?.positions {
            PositionsOf::Rotary(ropes) => match ropes[0].scaling {
                RopeScaling::Llama3 { original_max_position_embeddings, .. } => Ok(original_max_position_embeddings),
                ref other => panic!("{other:?}"),
            },
            PositionsOf::Learned => panic!("no angles"),
        }
    };
    const KEY: &str = "original_max_position_embeddings";
    let inside = |keys: &mut serde_json::Map<String, serde_json::Value>, value: Option<serde_json::Value>| {
        let scaling = keys["rope_scaling"].as_object_mut().unwrap();
        match value {
            Some(value) => drop(scaling.insert(KEY.into(), value)),
            None => drop(scaling.remove(KEY)),
        }
    };
    assert_eq!(original(&|_| ()).unwrap(), 32.0);
    assert_eq!(original(&|keys| inside(keys, None)).unwrap(), 128.0);
    assert_eq!(original(&|keys| inside(keys, Some(json!(null)))).unwrap(), 128.0);
    assert_eq!(original(&|keys| drop(keys.insert(KEY.into(), 16.into()))).unwrap(), 16.0);
    for wrong in [json!("many"), json!(0), json!(-8)] {
        let refused = original(&|keys| inside(keys, Some(wrong.clone()))).unwrap_err();
        assert!(refused.to_string().contains(KEY), "{refused}");
    }
}

// --------------------------------------------------------------------------------------------------------- the command

#[test]
fn folder_of_the_hubs_cache_leads_to_its_snapshot() {
    let copy = Copy::of("llama", "cache");
    let repository = copy.dir().join("models--org--tiny");
    let commit = |digit: char| digit.to_string().repeat(40);
    let add = |commit: &str| {
        let snapshot = repository.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        for file in files_in(&fixture("llama")) {
            std::fs::copy(&file.url, snapshot.join(&file.name)).unwrap();
        }
    };
    let run = |model: &Path| {
        let output = linchpin_raw(&["generate", "--device", "cpu", "--model", model.to_str().unwrap(), "--max-new-tokens", "1"]);
        (code(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    add(&commit('a'));
    let (exit, told) = run(&repository);
    assert!(exit == Some(0) && told.contains(&commit('a')) && told.contains("tiny ("), "{told}");
    add(&commit('b'));
    let (exit, told) = run(&repository);
    assert!(exit == Some(2) && told.contains(&commit('a')) && told.contains(&commit('b')), "{told}");
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), commit('b')).unwrap();
    let (exit, told) = run(&repository);
    assert!(exit == Some(0) && told.contains(&commit('b')) && !told.contains(&commit('a')), "{told}");
}

#[test]
fn prompt_may_begin_with_a_dash() {
    for args in [["generate", "--prompt", "-5"], ["scan", "--prompt", "--the old man"], ["propagation", "--prompt", "-5 degrees"]] {
        let output = crate::support::linchpin(&args);
        assert!(code(&output) != Some(2), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

// ----------------------------------------------------------------------------------------------------------- the BOS

#[test]
fn bos_that_the_tokenizer_leaves_out_is_told_and_added_on_request() {
    let copy = Copy::of("llama", "no-bos");
    copy.edit("tokenizer.json", |bytes| {
        let mut tokenizer: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        tokenizer["post_processor"] = json!(null);
        *bytes = serde_json::to_vec(&tokenizer).unwrap();
    });
    let (own, fixture) = (copy.dir().to_str().unwrap().to_owned(), fixture("llama").display().to_string());
    let run = |model: &str, args: &[&str]| {
        let output = linchpin_raw(&[args, &["--json", "--device", "cpu", "--model", model]].concat());
        serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    let scan = ["scan", "--prompt", "the old man"];
    let whole = run(&fixture, &scan);
    assert_eq!((&whole["model"]["added_bos"], whole["scan"]["candidates"].as_array().unwrap().len()), (&json!(null), 1));
    let without = run(&own, &scan);
    assert_eq!(without["scan"]["candidates"], json!([]));
    let note = without["info"]["provenance"]["notes"][0].as_str().unwrap();
    assert!(note.contains("(token 1)") && note.contains("--bos"), "{note}");
    for bos in [&["--bos"][..], &["--bos", "true"]] {
        let with = run(&own, &[&scan[..], bos].concat());
        assert_eq!((&with["scan"]["candidates"], &with["scan"]["tokens"]), (&whole["scan"]["candidates"], &whole["scan"]["tokens"]));
        assert_eq!((&with["model"]["added_bos"], &with["scan"]["model"]["added_bos"]), (&json!(1), &json!(1)));
        assert_eq!(with["info"]["left_out_bos"], json!(null));
    }
    assert_eq!(run(&own, &["perplexity", "--bos"])["evaluations"], run(&fixture, &["perplexity"])["evaluations"]);
    // An experiment's own option adds it, too, and the export is enough to repeat it.
    let experiment = run(&own, &["sinks", "--super-weight", "1,5,17", "--prompt", "the old man", "--bos", "true"]);
    assert_eq!(experiment["outcomes"][0]["model"]["added_bos"], 1);
    let path = copy.dir().join("export.json");
    std::fs::write(&path, experiment.to_string()).unwrap();
    let repeated = linchpin_raw(&["repeat", path.to_str().unwrap(), "--device", "cpu", "--model", &own]);
    assert_eq!(code(&repeated), Some(0), "{}", String::from_utf8_lossy(&repeated.stderr));
    // A model that has none.
    let none = crate::support::fixture("olmo").display().to_string();
    let refused = linchpin_raw(&["scan", "--bos", "--device", "cpu", "--model", &none]);
    assert!(code(&refused) == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("names a BOS"));
}
