//! The command's streams and files: a reader that goes away, a full disk, hostile names, two writers of one table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Scratch, code, export, files_in, fixture, linchpin, linchpin_raw};

const SCALAR: &str = "1,5,17";
const SMALL: [&str; 4] = ["--sequences", "2", "--length", "16"];
const BRIEF: [&str; 4] = ["--block", "32", "--blocks", "2"];

/// A short call of every subcommand that needs a model or a file.
fn calls(scratch: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let at = |name: &str| scratch.join(name).display().to_string();
    let golden = fixture("llama").join("golden.safetensors").display().to_string();
    let (training, made) = (at("training"), at("export.json"));
    BTreeMap::from([
        ("scan", owned(&[&["--prompt", "the old man"]])),
        ("ablate", owned(&[&["--scalar", SCALAR, "--prompt", "the old man", "--max-new-tokens", "2"]])),
        ("generate", owned(&[&["--prompt", "the old man", "--max-new-tokens", "2"]])),
        ("perplexity", owned(&[])),
        ("score", owned(&[&SMALL])),
        ("prune", owned(&[&SMALL])),
        ("sweep", owned(&[&["--experiment", "removal", "--methods", "lp", "--shares", "0.1", "--etas", "0.1", "--seeds", "1"], &SMALL])),
        ("deletions", owned(&[&["--per-layer", "2", "--quantiles", "1", "--layer", "1"], &SMALL])),
        ("surround", owned(&[&SMALL])),
        ("training", owned(&[&[&training], &SMALL])),
        ("importance", owned(&[&["--super-weight", SCALAR], &BRIEF])),
        ("propagation", owned(&[&["--super-weight", SCALAR]])),
        ("scaling", owned(&[&["--super-weight", SCALAR, "--factors", "0,1"], &BRIEF])),
        ("token-shift", owned(&[&["--super-weight", SCALAR]])),
        ("activation-quantisation", owned(&[&BRIEF])),
        ("weight-quantisation", owned(&[&["--bits", "8"], &BRIEF])),
        ("weights-only", owned(&[])),
        ("sinks", owned(&[&["--super-weight", SCALAR]])),
        ("repeat", owned(&[&[&made]])),
        ("report", owned(&[&["--kinds", "weights-only", "--out", &at("report.html")]])),
        ("save", owned(&[&["--scalar", SCALAR, "--out", &at("edited")]])),
        ("check", owned(&[&["--published", "smollm2-135m"]])),
        ("models", owned(&[])),
        ("measure", owned(&[])),
        ("verify", owned(&[&["--golden", &golden]])),
    ])
}

fn owned(args: &[&[&str]]) -> Vec<String> {
    args.concat().into_iter().map(str::to_owned).collect()
}

fn command(name: &str, args: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linchpin"));
    command.arg(name).args(args);
    if name != "models" {
        command.args(["--model", fixture("llama").to_str().unwrap(), "--device", "cpu"]);
    }
    command
}

#[cfg(target_os = "linux")]
#[test]
fn no_subcommand_breaks_with_its_streams() {
    let scratch = Scratch::new("streams");
    let folder = scratch.dir();
    let checkpoint = folder.join("training/step-1");
    fs::create_dir_all(&checkpoint).unwrap();
    for file in files_in(&fixture("llama")) {
        fs::copy(&file.url, checkpoint.join(&file.name)).unwrap();
    }
    let made = linchpin(&["weights-only", "--json"]);
    fs::write(folder.join("export.json"), &made.stdout).unwrap();
    let calls = calls(folder);
    let known = linchpin::cli::command();
    let known = known.get_subcommands().map(|of| of.get_name()).filter(|name| *name != "help").collect::<BTreeSet<_>>();
    assert_eq!(known, calls.keys().copied().collect(), "every subcommand is tried");
    // These print nothing to stdout in such a call: a refusal, and files.
    let silent = ["check", "report"];
    for (name, args) in &calls {
        let reset = || drop(fs::remove_dir_all(folder.join("edited")));
        reset();
        let mut child = command(name, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        let closed = child.wait().unwrap().code();
        let expected = if silent.contains(name) { closed.filter(|code| *code <= 2) } else { Some(141) };
        assert!(closed.is_some() && closed == expected, "{name} into a closed pipe: {closed:?}\n{told}");
        assert!(!told.contains("panicked") && !told.contains("could not be printed"), "{name}: {told}");
        reset();
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let told = command(name, args).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let sentence = String::from_utf8_lossy(&told.stderr);
        assert!(silent.contains(name) || sentence.contains("could not be printed"), "{name}: {sentence}");
        assert!(silent.contains(name) || code(&told) == Some(2), "{name} onto a full disk: {:?}", code(&told));
        reset();
        // Nobody reads what is told on the way.
        let silenced = command(name, args).stdout(Stdio::null()).stderr(full()).status().unwrap().code();
        assert_eq!(silenced, if *name == "check" { Some(2) } else { Some(0) }, "{name} with a full stderr");
    }
    assert!(folder.join("report.html").is_file() && folder.join("report.json").is_file());
}

#[test]
fn nothing_that_comes_from_outside_speaks_to_the_terminal() {
    let scratch = Scratch::new("hostile\u{1b}]0;name\u{7}\u{202e}");
    let model = scratch.dir().join("model\u{1b}[2J");
    fs::create_dir_all(&model).unwrap();
    for file in files_in(&fixture("llama")) {
        fs::copy(&file.url, model.join(&file.name)).unwrap();
    }
    let model = model.to_str().unwrap();
    let none = format!("{model}/none");
    for args in [
        &["generate", "--model", model, "--prompt", "a\u{1b}[31m\u{202e}b", "--max-new-tokens", "2"][..],
        &["token-shift", "--model", model, "--super-weight", SCALAR, "--prompt", "a\u{1b}[31m\u{202e}b"],
        &["scan", "--model", model, "--text", &none],
        &["scan", "--model", &none],
        &["repeat", &none],
        &["scan", "--bogus\u{1b}[2J"],
    ] {
        for json in [false, true] {
            let output = linchpin_raw(&[args, if json { &["--json"] } else { &[] }, &["--device", "cpu"]].concat());
            for text in [&output.stdout, &output.stderr] {
                let text = String::from_utf8_lossy(text);
                let hidden = text.chars().find(|c| *c != '\n' && linchpin::words::is_hidden(*c));
                assert_eq!(hidden, None, "{args:?}: {text}");
            }
        }
    }
    let json = linchpin(&["generate", "--prompt", "a\u{9b}\u{202e}\u{e0041}b", "--max-new-tokens", "2", "--json"]);
    assert_eq!(export(&json).run.unwrap().setup.prompt, "a\u{9b}\u{202e}\u{e0041}b", "the document says the same");
}

#[test]
fn two_writers_of_one_table_lose_nothing() {
    let scratch = Scratch::new("writers");
    let table = scratch.dir().join("sweep.csv");
    let sweep = |methods: &str, table: &Path| {
        let args = ["--experiment", "removal", "--methods", methods, "--shares", "0.02,0.1", "--etas", "0.1", "--seeds", "1,2", "--csv"];
        let mut command = command("sweep", &owned(&[&args, &[table.to_str().unwrap()], &SMALL]));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let both = [sweep("lp", &table), sweep("random", &table)].map(|mut command| command.spawn().unwrap());
    let ended = both.map(|child| child.wait_with_output().unwrap());
    let codes = [0, 1].map(|i| code(&ended[i]));
    assert!(matches!(codes, [Some(0), Some(2)] | [Some(2), Some(0)]), "{codes:?}");
    let refused = ended.iter().find(|output| code(output) == Some(2)).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another command is writing the table"), "{refused:?}");
    // Whoever came second comes again, and the table is that of one after the other.
    for methods in ["lp", "random"] {
        assert_eq!(code(&sweep(methods, &table).output().unwrap()), Some(0));
    }
    let whole = scratch.dir().join("whole.csv");
    let order = if codes[0] == Some(0) { ["lp", "random"] } else { ["random", "lp"] };
    for methods in order {
        assert_eq!(code(&sweep(methods, &whole).output().unwrap()), Some(0));
    }
    assert_eq!(fs::read_to_string(&table).unwrap(), fs::read_to_string(&whole).unwrap());
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_inputs() {
    let scratch = Scratch::new("pipes");
    let pipe = scratch.dir().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let task = format!("lambada_openai={pipe}");
    let model = scratch.dir().join("model");
    fs::create_dir_all(&model).unwrap();
    for file in files_in(&fixture("llama")) {
        if file.name != "tokenizer.json" {
            fs::copy(&file.url, model.join(&file.name)).unwrap();
        }
    }
    assert!(Command::new("mkfifo").arg(model.join("tokenizer.json")).status().unwrap().success());
    for args in [
        &["perplexity", "--text", pipe][..],
        &["perplexity", "--text", "/dev/zero"],
        &["score", "--text", pipe],
        &["scaling", "--super-weight", SCALAR, "--task", &task],
        &["repeat", pipe],
        &["report", "--from", pipe],
        &["verify", "--golden", pipe],
        &["sweep", "--csv", pipe],
        &["perplexity", "--model", model.to_str().unwrap()],
    ] {
        let refused = if args.contains(&"--model") { linchpin_raw(args) } else { linchpin(args) };
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(code(&refused), Some(2), "{args:?}: {told}");
        assert!(told.contains("pipe or a device") || told.contains("it is not a file"), "{args:?}: {told}");
        assert!(told.trim_end().ends_with('.') && !told.trim_end().ends_with(".."), "{told}");
    }
}

#[test]
fn export_opens_no_folder_but_its_models() {
    let scratch = Scratch::new("hostile-export");
    let made: serde_json::Value = serde_json::from_slice(&linchpin(&["weights-only", "--json"]).stdout).unwrap();
    for id in ["../../tests/fixtures/llama", "..", ".", "/etc", "", "a/b"] {
        let mut hostile = made.clone();
        hostile["model"]["id"] = id.into();
        let path = scratch.dir().join("export.json");
        fs::write(&path, hostile.to_string()).unwrap();
        let refused = linchpin_raw(&["repeat", path.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(code(&refused), Some(2), "{id}: {told}");
        assert!(told.contains("is not in the catalogue"), "{id}: {told}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_keeps_the_report_of_before() {
    let scratch = Scratch::new("full");
    let made = linchpin(&["weights-only", "--json"]);
    let from = scratch.dir().join("export.json");
    fs::write(&from, &made.stdout).unwrap();
    let out = scratch.dir().join("report.html");
    fs::write(&out, "the report of before").unwrap();
    // A limit on the size of files is what a full disk is to a writer.
    let limited = format!(
        "ulimit -f 1; trap '' XFSZ; exec {} report --from {} --out {}",
        env!("CARGO_BIN_EXE_linchpin"),
        from.display(),
        out.display()
    );
    let refused = Command::new("sh").args(["-c", &limited]).output().unwrap();
    assert_eq!(code(&refused), Some(2), "{refused:?}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "the report of before");
    assert_eq!(fs::read_dir(scratch.dir()).unwrap().count(), 2, "no part is left");
}
