//! Clippy's findings, from the same build that the tests run.
//!
//! `cargo clippy` checks every dependency without building it, and `cargo test` then reads them all again: on two cores, of
//! an empty folder's hour, ten minutes. Therefore Cargo builds the tests with Clippy's driver in the compiler's place, as
//! `cargo clippy` does it, for the crates of this workspace only. What the driver builds is not optimised as rustc would
//! optimise it, so that benchmarks and the page are built without it.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{env, process};

/// A Cargo command that builds with Clippy's driver.
pub fn cargo() -> Result<Command, String> {
    let mut cargo = env::command("cargo");
    cargo.env("RUSTC_WORKSPACE_WRAPPER", driver()?);
    Ok(cargo)
}

/// Builds the tests of some packages, with their libraries, programs and examples.
///
/// # Errors
///
/// The number of findings of compiler and Clippy, which are printed: a warning is one of them.
pub fn check(what: &[&str]) -> Result<(), String> {
    match findings(cargo()?.args(["test", "--no-run", "--locked", "--message-format", "json"]).args(what))? {
        0 => Ok(()),
        n => Err(format!("{n} findings")),
    }
}

/// Runs a build whose messages are JSON, prints compiler's and Clippy's, and counts them.
fn findings(build: &mut Command) -> Result<usize, String> {
    let mut n_findings = 0;
    let succeeded = process::run_and_hear(build, |line| {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        if message["reason"] == "compiler-message" {
            let diagnostic = &message["message"];
            println!("{}", diagnostic["rendered"].as_str().unwrap_or(line));
            // A summary ("1 warning emitted") has no place.
            let has_place = diagnostic["spans"].as_array().is_some_and(|spans| !spans.is_empty());
            n_findings += usize::from(has_place || diagnostic["level"] == "error");
        }
    })?;
    if succeeded { Ok(n_findings) } else { Err(format!("the build failed, with {n_findings} findings")) }
}

/// Clippy's driver of the toolchain that Cargo uses.
fn driver() -> Result<PathBuf, String> {
    let sysroot = process::output(env::command("rustc").args(["--print", "sysroot"]))?;
    let name = format!("clippy-driver{}", std::env::consts::EXE_SUFFIX);
    let of_toolchain = PathBuf::from(sysroot.trim()).join("bin").join(&name);
    let found = of_toolchain.is_file().then_some(of_toolchain).or_else(|| env::find_program("clippy-driver"));
    found.ok_or_else(|| "Clippy is missing: `rustup component add clippy`, or the package rust-clippy of Debian".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a crate of one function in a folder of its own, and returns the number of findings in it.
    fn findings_in(name: &str, body: &str) -> Result<usize, String> {
        let folder = std::env::temp_dir().join(format!("linchpin-lint-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("src")).unwrap();
        std::fs::write(folder.join("Cargo.toml"), format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n[workspace]\n")).unwrap();
        std::fs::write(folder.join("src/lib.rs"), format!("pub fn first(of: &[u8]) -> usize {{ {body} }}\n")).unwrap();
        let mut build = cargo().unwrap();
        build
            .args(["test", "--no-run", "--lib", "--offline", "--message-format", "json", "--manifest-path"])
            .arg(folder.join("Cargo.toml"));
        let found = findings(build.env("CARGO_TARGET_DIR", folder.join("target")));
        std::fs::remove_dir_all(&folder).unwrap();
        found
    }

    #[test]
    fn findings_of_clippy_and_compiler_are_counted() {
        assert_eq!(findings_in("clean", "of.len()"), Ok(0));
        // `len_zero` is Clippy's; unused variables are the compiler's.
        assert_eq!(findings_in("faulty", "let unused = 1; usize::from(of.len() == 0)"), Ok(2));
        assert!(findings_in("broken", "of").is_err());
    }
}
