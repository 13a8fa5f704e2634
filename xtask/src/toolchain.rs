//! The Rust toolchain that builds the page: the active one if it has a standard library for the browser, otherwise
//! Debian's.
//!
//! Debian packages a recent compiler (for building browsers) and the source of its standard library, but no library
//! for WebAssembly: it is built here, once, and put into our own folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::setup::{apt_install, say};
use crate::{env, process};

const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const DEBIAN_LINKER: &str = "wasm-ld-22";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std";

#[derive(Clone, Copy, PartialEq)]
pub enum WasmToolchain {
    /// The toolchain that builds everything else.
    Active,
    /// Debian's, installed next to the active one.
    Debian,
}

impl WasmToolchain {
    /// A command whose Cargo and child processes build with this toolchain and find our tools.
    pub fn command(self, program: &str) -> Command {
        let mut command = env::command(program);
        let mut first = vec![env::tools_dir().join("bin")];
        // Added to the flags in .cargo/config.toml.
        let mut flags = remap_flags();
        if self == Self::Debian {
            first.push("/usr/bin".into());
            command.env("RUSTC", DEBIAN_RUSTC).env_remove("RUSTUP_TOOLCHAIN");
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
            flags.push(sysroot_flag());
        }
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags.join(" "));
        command.env("PATH", env::path_with(&first));
        command
    }

    /// Tests if it can build for the browser.
    fn works(self) -> bool {
        let mut rustc = match self {
            Self::Active => self.command("rustc"),
            Self::Debian => self.command(DEBIAN_RUSTC),
        };
        if self == Self::Debian {
            if !is_debian_installed() {
                return false;
            }
            rustc.arg(sysroot_flag());
        }
        let probe = std::env::temp_dir().join(format!("linchpin-{}.rmeta", std::process::id()));
        rustc.args(["--target=wasm32-unknown-unknown", "--crate-type=rlib", "--emit=metadata"]);
        rustc.args(["--crate-name=probe", "--edition=2024", "-", "-o"]).arg(&probe);
        rustc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = rustc.spawn() else {
            return false;
        };
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(b"pub fn probe() -> String { std::string::String::new() }");
        }
        let compiled = child.wait().is_ok_and(|status| status.success());
        let _ = std::fs::remove_file(probe);
        compiled
    }
}

/// The toolchain that builds the page; installs a standard library for the browser if it is missing.
pub fn find_or_install() -> Result<WasmToolchain, String> {
    let forced = std::env::var("LINCHPIN_WASM_TOOLCHAIN").unwrap_or_default();
    let (try_active, try_debian) = match forced.as_str() {
        "" => (true, true),
        "active" => (true, false),
        "debian" => (false, true),
        other => {
            return Err(format!("LINCHPIN_WASM_TOOLCHAIN is `{other}`; it may be active or debian"));
        }
    };
    if try_active && WasmToolchain::Active.works() {
        say("wasm32 standard library: the active Rust toolchain has it");
        return Ok(WasmToolchain::Active);
    }
    if try_debian && WasmToolchain::Debian.works() {
        say("wasm32 standard library: Debian's Rust (rustc-web) has it");
        return Ok(WasmToolchain::Debian);
    }
    let mut tried = Vec::new();
    if try_active {
        say("wasm32 standard library: missing; asking rustup for it");
        let added = process::run(env::command("rustup").args(["target", "add", "wasm32-unknown-unknown"]));
        match added {
            Ok(()) if WasmToolchain::Active.works() => return Ok(WasmToolchain::Active),
            Ok(()) => tried.push("the compiler cannot use what rustup added".to_owned()),
            Err(why) => tried.push(why),
        }
    }
    if try_debian {
        say("wasm32 standard library: building it from Debian's source (about a minute)");
        match install_debian() {
            Ok(()) if WasmToolchain::Debian.works() => return Ok(WasmToolchain::Debian),
            Ok(()) => tried.push("Debian's compiler cannot use what was built".to_owned()),
            Err(why) => tried.push(why),
        }
    }
    Err(format!(
        "a Rust standard library for wasm32-unknown-unknown\n   {}\n   with internet, \
         `rustup target add wasm32-unknown-unknown`; Debian 12 has rustc-web in its security updates",
        tried.join("\n   ")
    ))
}

fn is_debian_installed() -> bool {
    let has_linker = env::find_program(DEBIAN_LINKER).is_some();
    let files = [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_SOURCE];
    has_linker && files.iter().all(|path| Path::new(path).exists())
}

fn install_debian() -> Result<(), String> {
    if !is_debian_installed() {
        apt_install(&DEBIAN_PACKAGES)?;
    }
    write_empty_crate()?;
    let target = seed().join("target");
    let _ = std::fs::remove_dir_all(&target);
    let mut cargo = env::command(DEBIAN_CARGO);
    cargo.args(["build", "--release", "--target=wasm32-unknown-unknown"]);
    cargo.arg("-Zbuild-std=std,panic_abort").current_dir(seed());
    cargo.env("CARGO_TARGET_DIR", &target).env_remove("RUSTUP_TOOLCHAIN");
    // Building the standard library requires a nightly compiler, or this variable.
    cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
    // Replaces the flags of this repository's own code. Link-time optimisation of the page needs bitcode, which Cargo
    // leaves out of a plain release build.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Cembed-bitcode=yes");
    process::run(&mut cargo)?;
    fill_sysroot(&target.join("wasm32-unknown-unknown/release/deps")).map_err(|why| format!("cannot fill {}: {why}", sysroot().display()))
}

/// An empty crate, of which only the dependencies are built.
fn write_empty_crate() -> Result<(), String> {
    const MANIFEST: &str = "[package]\nname = \"seed\"\nedition = \"2021\"\n[workspace]\n";
    let write = || {
        std::fs::create_dir_all(seed().join("src"))?;
        std::fs::write(seed().join("Cargo.toml"), MANIFEST)?;
        std::fs::write(seed().join("src/lib.rs"), "")
    };
    write().map_err(|why| format!("cannot write {}: {why}", seed().display()))
}

/// Puts the built libraries where a compiler searches for them.
fn fill_sysroot(built: &Path) -> std::io::Result<()> {
    let libraries = sysroot().join("lib/rustlib/wasm32-unknown-unknown/lib");
    // Libraries of an older compiler are removed.
    let _ = std::fs::remove_dir_all(&libraries);
    std::fs::create_dir_all(&libraries)?;
    for entry in std::fs::read_dir(built)? {
        let name = entry?.file_name();
        let is_library = Path::new(&name).extension().is_some_and(|e| e == "rlib");
        if is_library && !name.to_string_lossy().starts_with("libseed-") {
            std::fs::copy(built.join(&name), libraries.join(&name))?;
        }
    }
    Ok(())
}

/// A panic contains the path of its source file. Remapping spares visitors the builder's folders and their length.
fn remap_flags() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
    let mut folders: Vec<PathBuf> = sources.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    // Flags are separated by spaces, so a folder with a space in its name is not remapped.
    let names = folders.iter().map(|folder| folder.display().to_string()).filter(|name| !name.contains(' '));
    names.map(|name| format!("--remap-path-prefix={name}/=")).collect()
}

fn seed() -> PathBuf {
    env::target_dir().join("wasm-std")
}

fn sysroot() -> PathBuf {
    seed().join("sysroot")
}

fn sysroot_flag() -> String {
    format!("--sysroot={}", sysroot().display())
}
