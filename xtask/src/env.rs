//! The places of the repository, the build outputs and the tools.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
pub fn root() -> PathBuf {
    // Set by `cargo run`; a binary that is started by hand searches upwards from the current folder.
    if let Some(xtask) = std::env::var_os("CARGO_MANIFEST_DIR")
        && let Some(root) = Path::new(&xtask).parent()
    {
        return root.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_else(|_| ".".into());
    here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file()).unwrap_or(&here).to_owned()
}

/// Cargo's output folder.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The folder in which `setup` installs the tools that this project needs in a specific version. Clones with the same
/// output folder share them.
pub fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// The end-to-end tests.
pub fn e2e_dir() -> PathBuf {
    root().join("tests/e2e")
}

/// The search path with `first` in front.
pub fn path_with(first: &[PathBuf]) -> OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = first.iter().cloned().chain(std::env::split_paths(&rest));
    std::env::join_paths(folders).unwrap_or(rest)
}

/// The place of `program` in the search path.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|candidate| candidate.is_file())
}

/// `true` if a file's name ends in `.extension`.
pub fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

/// A command run from the repository, without the environment variables of the surrounding `cargo run`, which
/// describe this crate and would mislead another Cargo.
pub fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_left_by_cargo_run) {
            command.env_remove(&name);
        }
    }
    command.env("CARGO_TARGET_DIR", target_dir());
    // `cargo run` adds its compiler's libraries here, which another compiler would load.
    if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
        let target = target_dir();
        let kept = std::env::split_paths(&libraries).filter(|p| !p.starts_with(&target) && !p.iter().any(|part| part == "toolchains"));
        if let Ok(kept) = std::env::join_paths(kept) {
            command.env("LD_LIBRARY_PATH", kept);
        }
    }
    command
}

fn is_left_by_cargo_run(name: &str) -> bool {
    const EXACT: [&str; 7] = [
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "RUST_RECURSION_COUNT",
    ];
    EXACT.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_EXE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_describes_this_crate_is_kept_from_children() {
        assert!(is_left_by_cargo_run("CARGO"));
        assert!(is_left_by_cargo_run("CARGO_PKG_NAME"));
        assert!(!is_left_by_cargo_run("CARGO_HOME"));
        assert!(!is_left_by_cargo_run("CARGO_NET_OFFLINE"));
    }
}
