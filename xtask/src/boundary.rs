//! The module `boundary`: samples of every message, for the browser test of the boundary between page and engine.

use std::path::PathBuf;

use crate::{env, process, toolchain, tools};

/// Builds the module into a folder below the build outputs, and returns the folder.
pub fn build() -> Result<PathBuf, String> {
    let toolchain = toolchain::find_or_install()?;
    let mut cargo = toolchain.command("cargo");
    cargo.args(["build", "--locked", "--target", "wasm32-unknown-unknown", "--no-default-features"]);
    cargo.args(["--features", "boundary", "--bin", "boundary"]);
    process::run(&mut cargo)?;
    let module = env::target_dir().join("wasm32-unknown-unknown/debug/boundary.wasm");
    let out = env::target_dir().join("boundary");
    let mut bindgen = env::command(tools::wasm_bindgen()?);
    bindgen.args(["--target", "web", "--no-typescript", "--out-dir"]).arg(&out).arg(&module);
    process::run(&mut bindgen)?;
    Ok(out)
}
