//! `setup`: makes sure of everything that building and testing the page wants and Cargo does not bring.
//!
//! Two kinds of machine are meant: one with rustup and the internet, and one that reaches only the package registries
//! of Rust, npm and Debian. Each step says what it does and why, and is nearly free when there is nothing to do.
//!
//! `wasm-opt` is absent on purpose: it makes the file smaller and the download larger (2.26 MB gzipped before it,
//! 2.40 MB after; docs/benchmarks.md).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{env, process, tools};

/// Debian's compiler for building browsers: newer than the release's own, with its standard library's source.
const DEBIAN_RUST: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const DEBIAN_LINKER: &str = "wasm-ld-22";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std";
/// Where the standard library for the browser is put that Debian does not pack, in the way that Rust looks for one.
const DEBIAN_STD: &str = "lib/rustlib/wasm32-unknown-unknown/lib";

/// What the browser driver of the end-to-end tests asks for.
const OLDEST_NODE: u32 = 20;

const BROWSERS: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chromium-headless-shell",
];

/// The Rust that builds the page.
#[derive(Clone, Copy, PartialEq)]
pub enum WasmToolchain {
    /// The one that builds everything else.
    Active,
    /// Debian's, beside the active one.
    Debian,
}

impl WasmToolchain {
    /// A command whose Cargo, and whatever it starts, builds with this toolchain and finds our tools.
    pub fn command(self, program: &str) -> Command {
        let mut command = env::command(program);
        let mut first = vec![env::tools_dir().join("bin")];
        if self == Self::Debian {
            first.push("/usr/bin".into());
            command
                .env("RUSTC", DEBIAN_RUSTC)
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                .env(
                    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
                    debian_sysroot_flag(),
                )
                .env_remove("RUSTUP_TOOLCHAIN");
        }
        command.env("PATH", env::path_with(&first));
        command
    }

    fn rustc(self) -> Command {
        self.command(if self == Self::Debian {
            DEBIAN_RUSTC
        } else {
            "rustc"
        })
    }

    /// Whether it can build for the browser: asks it to.
    fn works(self) -> bool {
        if self == Self::Debian
            && (env::find_program(DEBIAN_LINKER).is_none() || !Path::new(DEBIAN_CARGO).exists())
        {
            return false;
        }
        let mut rustc = self.rustc();
        if self == Self::Debian {
            rustc.arg(debian_sysroot_flag());
        }
        rustc.args([
            "--target=wasm32-unknown-unknown",
            "--crate-type=rlib",
            "--emit=metadata",
        ]);
        rustc.args(["--crate-name=probe", "--edition=2024", "-o"]);
        rustc
            .arg(std::env::temp_dir().join(format!("linchpin-probe-{}.rmeta", std::process::id())));
        rustc
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(mut child) = rustc.spawn() else {
            return false;
        };
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(b"pub fn probe() -> String { std::string::String::new() }");
        }
        child.wait().is_ok_and(|status| status.success())
    }
}

/// `cargo xtask setup`.
pub fn setup(browser: bool) -> Result<(), String> {
    let mut missing = Vec::new();
    missing.extend(wasm_toolchain().err());
    missing.extend(tools::wasm_bindgen().err());
    missing.extend(tools::trunk().err());
    if browser {
        missing.extend(chromium().err());
        missing.extend(npm_packages().err());
    }
    if missing.is_empty() {
        say("everything is there");
        return Ok(());
    }
    let mut message = format!("{} of the things wanted could not be had:", missing.len());
    for (n, why) in missing.iter().enumerate() {
        let _ = write!(message, "\n{}. {why}", n + 1);
    }
    Err(message)
}

/// Prints one line of what setup does.
pub fn say(what: &str) {
    println!("[setup] {what}");
}

/// The toolchain that builds the page, installing a standard library for the browser where there is none.
pub fn wasm_toolchain() -> Result<WasmToolchain, String> {
    let forced = std::env::var("LINCHPIN_WASM_TOOLCHAIN").unwrap_or_default();
    let (try_active, try_debian) = match forced.as_str() {
        "" => (true, true),
        "active" => (true, false),
        "debian" => (false, true),
        other => {
            return Err(format!(
                "LINCHPIN_WASM_TOOLCHAIN is `{other}`; it may be active or debian"
            ));
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
        let added =
            process::run(env::command("rustup").args(["target", "add", "wasm32-unknown-unknown"]));
        match added {
            Ok(()) if WasmToolchain::Active.works() => return Ok(WasmToolchain::Active),
            Ok(()) => tried.push("the compiler cannot use what rustup added".to_owned()),
            Err(why) => tried.push(why),
        }
    }
    if try_debian {
        say("wasm32 standard library: building it from Debian's source (about a minute)");
        match debian_std() {
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

/// Installs Debian's compiler and builds, once, the standard library that Debian does not pack for the browser.
fn debian_std() -> Result<(), String> {
    let has_linker = env::find_program(DEBIAN_LINKER).is_some();
    if !has_linker
        || ![DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_SOURCE]
            .iter()
            .all(|path| Path::new(path).exists())
    {
        apt_install(&DEBIAN_RUST)?;
    }
    let seed = debian_seed();
    let write = |name: &str, text: &str| {
        let path = seed.join(name);
        let written =
            std::fs::create_dir_all(seed.join("src")).and_then(|()| std::fs::write(&path, text));
        written.map_err(|why| format!("cannot write {}: {why}", path.display()))
    };
    write(
        "Cargo.toml",
        "[package]\nname = \"std-seed\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n",
    )?;
    write("src/lib.rs", "")?;
    let mut cargo = env::command(DEBIAN_CARGO);
    cargo.args([
        "build",
        "--release",
        "--target=wasm32-unknown-unknown",
        "-Zbuild-std=std,panic_abort",
    ]);
    cargo
        .current_dir(&seed)
        .env("CARGO_TARGET_DIR", seed.join("target"))
        .env_remove("RUSTUP_TOOLCHAIN");
    // Building the standard library is for nightly compilers, or for those who say that they know.
    cargo
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        // Instead of the flags that this repository builds its own code with; link-time optimisation of the page reads
        // bitcode, which Cargo leaves out of a plain release build.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Cembed-bitcode=yes");
    process::run(&mut cargo)?;

    let built = seed.join("target/wasm32-unknown-unknown/release/deps");
    let entries = std::fs::read_dir(&built)
        .map_err(|why| format!("cannot read {}: {why}", built.display()))?;
    let libraries: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "rlib"))
        .filter(|path| !path.to_string_lossy().contains("std_seed"))
        .collect();
    let std = seed.join("sysroot").join(DEBIAN_STD);
    // Those of an older compiler would only be in the way.
    let _ = std::fs::remove_dir_all(&std);
    std::fs::create_dir_all(&std).map_err(|why| format!("cannot make {}: {why}", std.display()))?;
    for library in libraries {
        let copied = library
            .file_name()
            .map(|name| std::fs::copy(&library, std.join(name)));
        if let Some(Err(why)) = copied {
            return Err(format!(
                "cannot copy {} to {}: {why}",
                library.display(),
                std.display()
            ));
        }
    }
    Ok(())
}

fn debian_seed() -> PathBuf {
    env::target_dir().join("wasm-std")
}

fn debian_sysroot_flag() -> String {
    format!("--sysroot={}", debian_seed().join("sysroot").display())
}

/// The browser that the end-to-end tests drive.
pub fn chromium() -> Result<PathBuf, String> {
    if let Some(chosen) = std::env::var_os("CHROME") {
        let chosen = PathBuf::from(chosen);
        return if chosen.is_file() {
            say(&format!("browser: {} (from CHROME)", chosen.display()));
            Ok(chosen)
        } else {
            Err(format!(
                "the browser that CHROME names, {}, is not there",
                chosen.display()
            ))
        };
    }
    if let Some(found) = BROWSERS.iter().find_map(|name| env::find_program(name)) {
        say(&format!("browser: {}", found.display()));
        return Ok(found);
    }
    say("browser: none found; installing Debian's chromium, which the end-to-end tests drive");
    apt_install(&["chromium"])?;
    env::find_program("chromium").ok_or_else(|| {
        "a browser for the end-to-end tests: install Chromium or Chrome, or name one in CHROME"
            .to_owned()
    })
}

/// What the end-to-end tests import: a driver for the browser and an accessibility checker.
pub fn npm_packages() -> Result<(), String> {
    if env::find_program("node").is_none() || env::find_program("npm").is_none() {
        say("node: missing; installing Debian's, which runs the end-to-end tests");
        apt_install(&["nodejs", "npm"])?;
    }
    let version = process::output(env::command("node").arg("--version"))?;
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .unwrap_or_default();
    if major.parse::<u32>().is_ok_and(|major| major < OLDEST_NODE) {
        return Err(format!(
            "Node.js {OLDEST_NODE} or newer: this machine has {}\n   see https://nodejs.org/en/download",
            version.trim()
        ));
    }
    let e2e = env::e2e_dir();
    let wanted = std::fs::read(e2e.join("package-lock.json"))
        .map_err(|why| format!("tests/e2e/package-lock.json cannot be read: {why}"))?;
    let installed = e2e.join("node_modules/.installed-lock.json");
    if std::fs::read(&installed).is_ok_and(|lock| lock == wanted) {
        say("npm packages of the end-to-end tests: installed");
        return Ok(());
    }
    say("npm packages of the end-to-end tests: installing what tests/e2e/package-lock.json lists");
    let mut npm = env::command("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&e2e);
    process::run(&mut npm).map_err(|why| {
        format!("the npm packages of the end-to-end tests: {why}\n   they come from the npm registry; is it reachable?")
    })?;
    std::fs::write(&installed, wanted)
        .map_err(|why| format!("cannot write {}: {why}", installed.display()))
}

fn apt_install(packages: &[&str]) -> Result<(), String> {
    let wanted = packages.join(" ");
    if env::find_program("apt-get").is_none() {
        return Err(format!(
            "this machine has no apt-get to install {wanted} with"
        ));
    }
    let apt = || {
        let mut apt = as_root("apt-get");
        apt.arg("-qq");
        apt
    };
    process::run(apt().arg("update"))
        .and_then(|()| {
            process::run(
                apt()
                    .args(["install", "--yes", "--no-install-recommends"])
                    .args(packages),
            )
        })
        .map_err(|why| format!("{why}\n   Debian's packages {wanted} could not be installed"))
}

fn as_root(program: &str) -> Command {
    let is_root = process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let mut command = if is_root {
        env::command("env")
    } else {
        let mut sudo = env::command("sudo");
        sudo.arg("env");
        sudo
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}
