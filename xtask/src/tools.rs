//! The two programs that turn compiled Rust into a page, each in one exact version.

use std::path::{Path, PathBuf};

use crate::setup::say;
use crate::{env, process};

/// Must equal the wasm-bindgen version in Cargo.toml.
const WASM_BINDGEN: Tool = Tool {
    crate_name: "wasm-bindgen-cli",
    program: "wasm-bindgen",
    version: "0.2.130",
    arguments: &["--bin", "wasm-bindgen", "--no-default-features"],
    // It processes megabytes of WebAssembly: unoptimised, it would take longer to run than it saves to build.
    opt_level: "1",
};

/// Trunk 0.22 needs a newer Rust than 1.95. Trunk downloads nothing here, so it is built without TLS and without its
/// check for updates.
const TRUNK: Tool =
    Tool { crate_name: "trunk", program: "trunk", version: "0.21.14", arguments: &["--locked", "--no-default-features"], opt_level: "0" };

struct Tool {
    crate_name: &'static str,
    program: &'static str,
    version: &'static str,
    arguments: &'static [&'static str],
    opt_level: &'static str,
}

/// The `wasm-bindgen` program.
pub fn wasm_bindgen() -> Result<PathBuf, String> {
    WASM_BINDGEN.find_or_install()
}

/// The `trunk` program.
pub fn trunk() -> Result<PathBuf, String> {
    TRUNK.find_or_install()
}

impl Tool {
    fn find_or_install(&self) -> Result<PathBuf, String> {
        let ours = env::tools_dir().join("bin").join(format!("{}{}", self.program, std::env::consts::EXE_SUFFIX));
        let candidates = [Some(ours.clone()), env::find_program(self.program)];
        if let Some(found) = candidates.into_iter().flatten().find(|path| self.is_right_version(path)) {
            say(&format!("{} {}: {}", self.program, self.version, found.display()));
            return Ok(found);
        }
        say(&format!("{} {}: not found in this version; building it, once (2 to 4 minutes on two cores)", self.program, self.version));
        self.install()?;
        if self.is_right_version(&ours) {
            Ok(ours)
        } else {
            Err(format!("{} was built, but {} does not run", self.program, ours.display()))
        }
    }

    fn is_right_version(&self, path: &Path) -> bool {
        let printed = path.is_file().then(|| process::output(env::command(path).arg("--version")));
        let printed = printed.and_then(Result::ok).unwrap_or_default();
        printed.split_whitespace().nth(1) == Some(self.version)
    }

    fn install(&self) -> Result<(), String> {
        let build = env::tools_dir().join("build");
        let mut cargo = env::command("cargo");
        cargo.args(["install", self.crate_name, "--version", self.version, "--force", "--root"]);
        cargo.arg(env::tools_dir()).args(self.arguments);
        // Both request fat link-time optimisation, which costs minutes and gains nothing here.
        cargo
            .env("CARGO_TARGET_DIR", &build)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", self.opt_level)
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        process::run(&mut cargo).map_err(|why| {
            format!("{} {}: {why}\n   it comes from crates.io; is the Cargo registry reachable?", self.program, self.version)
        })?;
        // Half a gigabyte that is not needed again.
        let _ = std::fs::remove_dir_all(build);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_manifests() {
        let read = |name: &str| std::fs::read_to_string(env::root().join(name)).unwrap();
        let pinned = format!("wasm-bindgen = {{ version = \"={}\"", WASM_BINDGEN.version);
        assert!(read("Cargo.toml").contains(&pinned), "Cargo.toml pins another wasm-bindgen");
        assert!(read("Trunk.toml").contains(&format!("wasm_bindgen = \"{}\"", WASM_BINDGEN.version)));
        assert!(read("Trunk.toml").contains(&format!("trunk-version = \"{}\"", TRUNK.version)));
    }
}
