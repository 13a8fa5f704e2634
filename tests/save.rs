//! Models saved with their edits: every family and every unit, against the running ablation and against transformers
//! (tests/golden/saved.py).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use linchpin::analysis::loss::mean_loss;
use linchpin::job::control::Control;
use linchpin::model::probe::Probe;
use linchpin::platform::{Files, Output};
use linchpin::protocol::{Event, Export, Request};
use linchpin::saving::{Changes, Target, save as save_files};
use linchpin::share::ShareLink;
use linchpin::terms::{Ablation, EditTarget, Evaluation, FileProof, ModelRef, Pane, Saved, SavedState, WeightEdit, hex};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use crate::support::{Copy, Scratch, Session, bundled, code, export, files_in, fixture, fixtures, linchpin_raw, load_in, model_in};

/// Saves a model, and returns the export.
fn save(model: &Path, out: &str, args: &[&str]) -> Export {
    let model = model.display().to_string();
    let saved = linchpin_raw(&[&["save", "--device", "cpu", "--json", "--model", &model, "--out", out], args].concat());
    assert_eq!(code(&saved), Some(0), "{model} {args:?}: {}", String::from_utf8_lossy(&saved.stderr));
    export(&saved)
}

/// The message of a refusal.
fn refused(args: &[&str]) -> String {
    let output = linchpin_raw(&[&["save", "--device", "cpu"], args].concat());
    assert_eq!(code(&output), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Every tensor of a folder: dtype, shape and bytes.
fn tensors(dir: &Path) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for file in files_in(dir).into_iter().filter(|file| file.name.starts_with("model") && file.name.ends_with(".safetensors")) {
        let bytes = std::fs::read(&file.url).unwrap();
        for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            found.insert(name, (format!("{:?}", tensor.dtype()), tensor.shape().to_vec(), tensor.data().to_vec()));
        }
    }
    found
}

fn evaluated(session: &mut Session, pane: Pane) -> Evaluation {
    let events = session.ask(Request::Evaluate).unwrap();
    let of_pane = |event| if let Event::Evaluated { pane: of, evaluation } = event { (of == pane).then_some(evaluation) } else { None };
    events.into_iter().find_map(of_pane).expect("an evaluation of the pane")
}

/// The loss of the running ablation on the held-out text.
fn ablated(session: &mut Session, ablation: &Ablation) -> f32 {
    if ablation.pruning.is_some() {
        session.ask(Request::Score { text: None, sequences: 2, length: 16, super_weights: Vec::new(), resume: false }).unwrap();
    }
    session.ask(Request::Apply { ablation: ablation.clone() }).unwrap();
    evaluated(session, Pane::Ablated).loss_nats
}

/// The loss on the fixture's own ids.
fn golden_loss(dir: &Path, name: &str) -> f64 {
    let golden = std::fs::read(fixture(name).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let ids = golden.tensor("input_ids").unwrap();
    let ids = ids.data().as_chunks().0.iter().map(|bytes| u32::try_from(i64::from_le_bytes(*bytes)).unwrap()).collect::<Vec<_>>();
    let loss = mean_loss(&model_in(dir, &burn::tensor::Device::flex()), &ids, &mut Probe::empty());
    f64::from(loss.into_data().try_into_vec::<f32>().unwrap()[0])
}

/// The largest difference of loss between the ablation and the saved model, in nats. Without a cut, an f32 checkpoint and
/// one in which weights only become zero hold the ablation exactly. Otherwise scaled weights were rounded to the
/// checkpoint's type, or a cut changed the order of sums.
fn tolerance(args: &[String], dtype: &str) -> f32 {
    let is_cut = args.iter().any(|arg| arg == "--cut");
    let is_scaled = args.iter().any(|arg| arg.contains('=') || arg == "mean" || arg.starts_with("--channel-mean"));
    match (is_cut, is_scaled && dtype != "F32") {
        (false, false) => 0.0,
        (true, false) => 2e-6,
        (_, true) => 5e-4,
    }
}

#[test]
fn saved_model_of_every_family_is_the_ablation_here_and_in_transformers() {
    let golden = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/saved.json")).unwrap();
    let golden = serde_json::from_slice::<BTreeMap<String, Vec<serde_json::Value>>>(&golden).unwrap();
    assert_eq!(golden.keys().cloned().collect::<Vec<_>>(), fixtures());
    let place = Scratch::new("save-families");
    for (name, arms) in &golden {
        let (before, mut session) = (tensors(&fixture(name)), Session::with_model(&fixture(name)));
        assert!(arms.len() >= 6, "{name}");
        for (index, arm) in arms.iter().enumerate() {
            let args = serde_json::from_value::<Vec<String>>(arm["args"].clone()).unwrap();
            let out = place.at(&format!("{name}-{index}"));
            let args_here = args.iter().map(String::as_str).collect::<Vec<_>>();
            let saved = save(&fixture(name), &out, &args_here).saved.unwrap();
            let (out, what) = (Path::new(&out), format!("{name} {args:?}"));

            let after = tensors(out);
            assert!(after.keys().eq(before.keys()), "{what}");
            let changed = before.keys().filter(|tensor| before[*tensor] != after[*tensor]).map(String::as_str).collect::<Vec<_>>();
            let told = saved.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<BTreeSet<_>>();
            assert!(!changed.is_empty() && changed.iter().all(|tensor| told.contains(tensor)), "{what}: {changed:?}, told {told:?}");
            assert!(before.keys().all(|tensor| before[tensor].0 == after[tensor].0), "{what}: types");
            assert_eq!((saved.n_untouched, saved.n_changed() > 0), (before.len() - told.len(), true), "{what}");

            let own = evaluated(&mut Session::with_model(out), Pane::Intact).loss_nats;
            let of_ablation = ablated(&mut session, &saved.ablation);
            let dtype = &before.values().next().unwrap().0;
            let apart = (own - of_ablation).abs();
            assert!(apart <= tolerance(&args, dtype), "{what}: the saved model has {own} nats, the ablation {of_ablation}");
            assert_ne!(of_ablation, evaluated(&mut session, Pane::Intact).loss_nats, "{what}: the edits do something");

            let (ours, theirs) = (golden_loss(out, name), arm["loss"].as_f64().unwrap());
            assert!((ours / theirs - 1.0).abs() < 1e-5, "{what}: {ours} nats, in transformers {theirs}");
        }
    }
}

#[test]
fn cut_leaves_the_largest_width_that_remains_and_pads_the_other_layers() {
    let place = Scratch::new("save-cut");
    let args = [
        "--method",
        "taylor",
        "--sparsity",
        "0.25",
        "--sequences",
        "2",
        "--length",
        "16",
        "--channel",
        "1,9",
        "--channel",
        "1,10",
        "--cut",
    ];
    for (name, key, width) in [("phi3", "intermediate_size", 64), ("gpt2", "n_inner", 96)] {
        let out = place.at(name);
        let saved = save(&fixture(name), &out, &args).saved.unwrap();
        let (cut, left) = (saved.cut.unwrap(), width - width / 4);
        assert_eq!((cut.before, cut.after), (width, left), "{name}");
        assert!(cut.padded[0] == 0 && cut.padded[1] <= 2, "{name}: {:?}", cut.padded);
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(Path::new(&out).join("config.json")).unwrap()).unwrap();
        assert_eq!(config[key], left, "{name}");
        let shapes = tensors(Path::new(&out));
        let shape = |tensor: &str| shapes[tensor].1.clone();
        match name {
            "phi3" => assert_eq!(shape("model.layers.1.mlp.gate_up_proj.weight"), [2 * left, 32]),
            _ => {
                assert_eq!((shape("transformer.h.1.mlp.c_fc.weight"), shape("transformer.h.1.mlp.c_fc.bias")), (vec![24, left], vec![left]))
            }
        }
    }
    let model = fixture("llama").display().to_string();
    let refusal = refused(&["--model", &model, "--channel", "0,3", "--cut", "--out", &place.at("none")]);
    assert!(refusal.contains("layer 1 keeps all of its 64 channels") && refusal.contains("set to zero"), "{refusal}");
}

#[test]
fn saved_folder_has_every_file_with_its_digest_and_a_card() {
    let place = Scratch::new("save-folder");
    let out = place.at("new");
    // Two shards with an index; the edit is in one of them.
    let told = save(&fixture("mistral"), &out, &["--scalar", "2,12,3"]);
    let saved = told.saved.unwrap();
    let states = saved.files.iter().map(|file| (file.name.as_str(), file.state)).collect::<BTreeMap<_, _>>();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].map(|shard| states[shard]);
    assert!(shards.contains(&SavedState::Changed) && shards.contains(&SavedState::Copied), "{states:?}");
    let sums = std::fs::read_to_string(Path::new(&out).join("SHA256SUMS")).unwrap();
    let listed = sums.lines().map(|line| line.split_once("  ").unwrap()).collect::<Vec<_>>();
    for (sha256, name) in &listed {
        assert_eq!(*sha256, hex(&Sha256::digest(std::fs::read(Path::new(&out).join(name)).unwrap())), "{name}");
    }
    let mut names = files_in(Path::new(&out)).into_iter().map(|file| file.name).filter(|name| name != "SHA256SUMS").collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, listed.iter().map(|(_, name)| (*name).to_owned()).collect::<Vec<_>>());
    for same in ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors.index.json"] {
        assert_eq!(std::fs::read(Path::new(&out).join(same)).unwrap(), std::fs::read(fixture("mistral").join(same)).unwrap(), "{same}");
    }
    let card = std::fs::read_to_string(Path::new(&out).join("README.md")).unwrap();
    assert!(card.contains("`--scalar 2,12,3=0`") && card.contains(&saved.revision), "{card}");

    // The link in the card saves the same files again.
    let link = card.split_whitespace().find(|word| word.starts_with("#run=")).unwrap();
    let again = save(&fixture("mistral"), &place.at("again"), &[link]).saved.unwrap();
    assert_eq!((again.revision, again.ablation), (saved.revision, saved.ablation));
    let other = refused(&["--model", &fixture("llama").display().to_string(), "--out", &place.at("other"), link]);
    assert!(other.contains("name the link's model with --model"), "{other}");
    assert_eq!(place.names(), ["again", "new"]);
}

#[test]
fn links_with_removed_channels_are_saved_with_the_same_channels_or_not_at_all() {
    let place = Scratch::new("save-link");
    let model = fixture("llama").display().to_string();
    let out = place.at("typed");
    let told = save(&fixture("llama"), &out, &["--sparsity", "0.25", "--sequences", "2", "--length", "16"]);
    let card = std::fs::read_to_string(Path::new(&out).join("README.md")).unwrap();
    let link = card.split_whitespace().find(|word| word.starts_with("#run=2.")).unwrap();
    let again = save(&fixture("llama"), &place.at("linked"), &[&format!("https://example.org/page/{link}")]);
    assert_eq!(again.saved.unwrap().revision, told.saved.unwrap().revision);
    let mut changed = ShareLink::decode(link).unwrap();
    changed.selection.as_mut().unwrap().digest = "0".repeat(16);
    let changed = changed.encode().unwrap();
    let refusal = refused(&["--model", &model, "--out", &place.at("changed"), &changed]);
    assert!(refusal.contains("picks other channels here"), "{refusal}");
    let text = refused(&["--model", &model, "--text", &format!("{model}/config.json"), "--out", &place.at("text"), link]);
    assert!(text.contains("give the link's text with --text"), "{text}");
    for (args, advice) in [
        (&[link, "--scalar", "1,5,17"][..], "in one of the two ways"),
        (&["#run=9.abc"][..], "is not a link to a run"),
        (&[][..], "no edit is given"),
        (&["--scalar", "1,5,17=1"][..], "no edit to save"),
        (&["--scalar", "1,5,99"][..], "column is 99"),
        (&["--channel-mean", "1,9"][..], "models of the family llama have none there"),
        (&["--scalar", "1,5,17", "--text", "x"][..], "cannot read the text"),
    ] {
        let refusal = refused(&[&["--model", &model, "--out", &place.at("refused")], args].concat());
        assert!(refusal.contains(advice), "{args:?}: {refusal}");
    }
    assert_eq!(place.names(), ["linked", "typed"]);
}

#[test]
fn earlier_folders_and_the_original_are_kept_unless_asked() {
    let place = Scratch::new("save-kept");
    let copy = Copy::of("llama", "kept-source");
    let (model, out) = (copy.dir().display().to_string(), place.at("out"));
    let to = |out: &str, args: &[&str]| refused(&[&["--model", &model, "--scalar", "1,5,17", "--out", out], args].concat());
    std::fs::create_dir(&out).unwrap();
    save(copy.dir(), &out, &["--scalar", "1,5,17"]);
    assert!(to(&out, &[]).contains("--overwrite"));
    let first = std::fs::read(Path::new(&out).join("SHA256SUMS")).unwrap();
    save(copy.dir(), &out, &["--scalar", "1,5,18", "--overwrite"]);
    assert_ne!(std::fs::read(Path::new(&out).join("SHA256SUMS")).unwrap(), first);
    // An error while writing leaves the earlier folder.
    let second = std::fs::read(Path::new(&out).join("SHA256SUMS")).unwrap();
    assert!(refused(&["--model", &model, "--channel", "0,3", "--cut", "--overwrite", "--out", &out]).contains("keeps all"));
    assert_eq!(std::fs::read(Path::new(&out).join("SHA256SUMS")).unwrap(), second);
    let (inside, around) = (format!("{model}/new"), copy.dir().parent().unwrap().display().to_string());
    for (out, args) in [(inside.as_str(), &[][..]), (&model, &["--overwrite"]), (&around, &["--overwrite"])] {
        let refusal = to(out, args);
        assert!(refusal.contains("choose a folder outside"), "{out}: {refusal}");
    }
    assert!(to(&place.at("none/new"), &[]).contains("create it first"));
    std::fs::write(place.at("file"), "x").unwrap();
    assert!(to(&place.at("file"), &[]).contains("is not a folder to write into"));
    // Nobody may create a folder here, whatever their rights.
    assert!(to("/proc/saved", &[]).contains("cannot create a folder beside"));
    assert_eq!(place.names(), ["file", "out"]);
    let files =
        |dir: &Path| files_in(dir).into_iter().map(|file| (file.name, std::fs::read(file.url).unwrap())).collect::<BTreeMap<_, _>>();
    assert!(files(copy.dir()) == files(&fixture("llama")), "the original has changed");
}

/// A limit on the size of a file fails a write in the middle, as a full disk does.
#[test]
fn write_that_fails_leaves_nothing_behind() {
    let place = Scratch::new("save-full");
    let (program, model, out) = (env!("CARGO_BIN_EXE_linchpin"), bundled("linchpin-13m").display().to_string(), place.at("out"));
    let script = "ulimit -f 2000; trap '' XFSZ; exec \"$@\"";
    let args = [program, "save", "--model", &model, "--scalar", "2,12,86", "--out", &out];
    let output = Command::new("sh").args(["-c", script, "sh"]).args(args).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("The edited model could not be written") && told.contains("Nothing half-done was left behind"), "{told}");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn values_that_a_type_cannot_hold_are_refused_or_told() {
    let place = Scratch::new("save-values");
    let near_limit = Copy::of("mistral", "values");
    for file in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        near_limit.edit(file, |bytes| {
            let (length, metadata) = SafeTensors::read_metadata(bytes).unwrap();
            if let Some(info) = metadata.info("model.layers.2.mlp.down_proj.weight") {
                let at = 8 + length + info.data_offsets.0;
                bytes[at..at + 2].copy_from_slice(&half::f16::from_f32(60000.0).to_le_bytes());
            }
        });
    }
    let model = near_limit.dir().display().to_string();
    let refusal = refused(&["--model", &model, "--scalar", "2,0,0=2", "--out", &place.at("out")]);
    assert!(refusal.contains("would become 120000, which F16 cannot hold"), "{refusal}");
    assert_eq!(place.names(), Vec::<String>::new());
    // bf16 has eight bits: a change by a thousandth is lost for most values, and that is told.
    let saved = save(&fixture("qwen2"), &place.at("told"), &["--row", "1,3=1.001"]).saved.unwrap();
    assert!(saved.n_rounded_back() > 32, "{:?}", saved.tensors);
    assert_eq!(saved.n_changed() + saved.n_rounded_back(), 64);
}

/// A page makes only the changed files, and knows the digests of the others from loading.
#[test]
fn files_without_a_change_stay_at_their_source_in_a_page() {
    let place = Scratch::new("save-page");
    let (dir, files) = (fixture("mistral"), Files::new(files_in(&fixture("mistral"))));
    let loaded = load_in(&dir, &burn::tensor::Device::flex()).unwrap().files;
    let edits = vec![WeightEdit { target: EditTarget::scalar(2, 12, 3), scale: 0.0 }];
    let saved = |name: &str, loaded: &[FileProof]| {
        std::fs::create_dir(place.at(name)).unwrap();
        let output = Output::new(Some(&place.at(name))).unwrap();
        let changes = Changes { edits: edits.clone(), ..Changes::default() };
        let target = Target { output: &output, is_whole: false, cut: false, loaded };
        pollster::block_on(save_files(&files, &changes, &target, &Control::silent()))
    };
    let of_page = saved("page", &loaded).unwrap();
    for file in &of_page.files {
        let is_changed = file.state == SavedState::Changed;
        let written = Path::new(&place.at("page")).join(&file.name);
        assert_eq!((written.is_file(), file.url.is_some()), (is_changed, is_changed), "{}", file.name);
        let bytes = std::fs::read(if is_changed { written } else { dir.join(&file.name) }).unwrap();
        assert_eq!((file.sha256.as_str(), file.size), (hex(&Sha256::digest(&bytes)).as_str(), bytes.len() as u64), "{}", file.name);
    }
    assert_eq!(of_page.files.iter().filter(|file| file.state == SavedState::Changed).count(), 1);
    let anew = saved("anew", &[]).unwrap();
    let digests = |saved: &Saved| saved.files.iter().map(|file| (file.sha256.clone(), file.state)).collect::<Vec<_>>();
    assert_eq!((digests(&anew), &anew.revision, &anew.base_revision), (digests(&of_page), &of_page.revision, &of_page.base_revision));
    // The source was replaced after loading.
    let other = loaded.iter().map(|file| FileProof { sha256: "0".repeat(64), ..file.clone() }).collect::<Vec<_>>();
    let refusal = saved("other", &other).unwrap_err().to_string();
    assert!(refusal.contains("has changed"), "{refusal}");
}

#[test]
fn order_without_a_model_or_a_place_is_refused() {
    let mut session = Session::new();
    let order = |source| linchpin::terms::SaveOrder { source, ablation: Ablation::default(), cut: false, folder: None };
    let failure = session.ask(Request::Save(order(None))).unwrap_err();
    assert_eq!(failure.problem, linchpin::terms::Problem::NoModel);
    let edit: WeightEdit = serde_json::from_str(r#"{"unit":"scalar","layer":1,"row":5,"col":17,"scale":0}"#).unwrap();
    let link = ShareLink::of_edits(ModelRef::new("m", "0".repeat(16)), Ablation { weight_edits: vec![edit], ..Ablation::default() }, None);
    assert!(link.unwrap().encode().unwrap().starts_with("#run=1."));
}

#[test]
fn folders_of_saves_whose_processes_ended_are_removed_by_the_next_one() {
    let place = Scratch::new("save-abandoned");
    // A folder is of a living process if it is locked. A replaced folder may be somebody's only copy.
    for name in [".out.saving-1", ".out.saving-2", ".out.saving-mine", ".other.saving-3", ".out.replaced-4"] {
        std::fs::create_dir(place.at(name)).unwrap();
        std::fs::write(place.dir().join(name).join("model.safetensors"), "part").unwrap();
    }
    let living = std::fs::File::open(place.at(".out.saving-2")).unwrap();
    living.lock().unwrap();
    save(&fixture("llama"), &place.at("out"), &["--scalar", "1,5,17"]);
    assert_eq!(place.names(), [".other.saving-3", ".out.replaced-4", ".out.saving-2", ".out.saving-mine", "out"]);
}

/// A model of zeros with large tables, 512 MiB that take no room on a disk.
fn large_model(dir: &Path) {
    let n_tokens = 1_usize << 22;
    let config = std::fs::read(fixture("llama").join("config.json")).unwrap();
    let mut config = serde_json::from_slice::<serde_json::Value>(&config).unwrap();
    (config["vocab_size"], config["num_hidden_layers"]) = (n_tokens.into(), 1.into());
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![n_tokens, 32]), ("lm_head.weight".to_owned(), vec![n_tokens, 32])];
    shapes.push(("model.norm.weight".to_owned(), vec![32]));
    shapes.extend(["input_layernorm", "post_attention_layernorm"].map(|name| (layer(name), vec![32])));
    shapes.extend(
        [("q", [48, 32]), ("k", [24, 32]), ("v", [24, 32]), ("o", [32, 48])]
            .map(|(name, shape)| (layer(&format!("self_attn.{name}_proj")), shape.to_vec())),
    );
    shapes.extend(
        [("gate", [64, 32]), ("up", [64, 32]), ("down", [32, 64])]
            .map(|(name, shape)| (layer(&format!("mlp.{name}_proj")), shape.to_vec())),
    );
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in shapes {
        let end = at + 2 * shape.iter().product::<usize>();
        header.insert(name, serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = serde_json::Value::from(header).to_string();
    std::fs::create_dir(dir).unwrap();
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::copy(fixture("llama").join("tokenizer.json"), dir.join("tokenizer.json")).unwrap();
    let weights = dir.join("model.safetensors");
    std::fs::write(&weights, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    std::fs::OpenOptions::new().write(true).open(&weights).unwrap().set_len((8 + header.len() + at) as u64).unwrap();
}

#[test]
fn save_that_is_interrupted_leaves_nothing_behind_and_says_so() {
    let place = Scratch::new("save-interrupted");
    let model = place.dir().join("model");
    large_model(&model);
    for signal in ["-INT", "-TERM"] {
        let saving = Command::new(env!("CARGO_BIN_EXE_linchpin"))
            .args(["save", "--device", "cpu", "--scalar", "0,5,17", "--model", model.to_str().unwrap(), "--out", &place.at("out")])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let weights = place.dir().join(format!(".out.saving-{}/model.safetensors", saving.id()));
        let begun = std::time::Instant::now();
        while std::fs::metadata(&weights).map_or(0, |file| file.len()) == 0 {
            assert!(begun.elapsed().as_secs() < 60, "the save has not begun");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(Command::new("kill").args([signal, &saving.id().to_string()]).status().unwrap().success());
        let ended = saving.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains("the save was stopped: nothing was written to"), "{said}");
        assert_eq!(place.names(), ["model"], "{signal}");
    }
}
