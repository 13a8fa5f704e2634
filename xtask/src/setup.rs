//! `setup`: installs everything for building and testing the page that Cargo does not provide.
//!
//! It supports two kinds of machine: one with rustup and the internet, and one that reaches only the package
//! registries of Rust, npm and Debian. Each step prints what it does and why, and takes almost no time if nothing is
//! missing.
//!
//! `wasm-opt` is not used, because it makes the file smaller but the download larger (2.26 MB gzipped before, 2.40 MB
//! after; docs/benchmarks.md).

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::{env, process, toolchain, tools};

/// The oldest Node.js for the end-to-end tests' browser driver.
const OLDEST_NODE: u32 = 20;

const BROWSERS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chromium-headless-shell"];

/// `cargo xtask setup`.
pub fn setup(browser: bool) -> Result<(), String> {
    let mut missing = Vec::new();
    missing.extend(toolchain::find_or_install().err());
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

/// Prints one line about a step.
pub fn say(what: &str) {
    println!("[setup] {what}");
}

/// The browser that the end-to-end tests drive.
pub fn chromium() -> Result<PathBuf, String> {
    if let Some(chosen) = std::env::var_os("CHROME") {
        let chosen = PathBuf::from(chosen);
        return if chosen.is_file() {
            say(&format!("browser: {} (from CHROME)", chosen.display()));
            Ok(chosen)
        } else {
            Err(format!("the browser in CHROME, {}, does not exist", chosen.display()))
        };
    }
    if let Some(found) = BROWSERS.iter().find_map(|name| env::find_program(name)) {
        say(&format!("browser: {}", found.display()));
        return Ok(found);
    }
    say("browser: none found; installing Debian's chromium, which the end-to-end tests drive");
    apt_install(&["chromium"])?;
    env::find_program("chromium")
        .ok_or_else(|| "a browser for the end-to-end tests: install Chromium or Chrome, or name one in CHROME".to_owned())
}

/// Installs the npm packages of the end-to-end tests: a driver for the browser and an accessibility checker.
pub fn npm_packages() -> Result<(), String> {
    if env::find_program("node").is_none() || env::find_program("npm").is_none() {
        say("node: missing; installing Debian's, which runs the end-to-end tests");
        apt_install(&["nodejs", "npm"])?;
    }
    let version = process::output(env::command("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().unwrap_or_default();
    if major.parse::<u32>().is_ok_and(|major| major < OLDEST_NODE) {
        return Err(format!("Node.js {OLDEST_NODE} or newer: this machine has {}\n   see https://nodejs.org/en/download", version.trim()));
    }
    let e2e = env::e2e_dir();
    let wanted =
        std::fs::read(e2e.join("package-lock.json")).map_err(|why| format!("tests/e2e/package-lock.json cannot be read: {why}"))?;
    let installed = e2e.join("node_modules/.installed-lock.json");
    if std::fs::read(&installed).is_ok_and(|lock| lock == wanted) {
        say("npm packages of the end-to-end tests: installed");
        return Ok(());
    }
    say("npm packages of the end-to-end tests: installing what tests/e2e/package-lock.json lists");
    let mut npm = env::command("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&e2e);
    process::run(&mut npm)
        .map_err(|why| format!("the npm packages of the end-to-end tests: {why}\n   they come from the npm registry; is it reachable?"))?;
    std::fs::write(&installed, wanted).map_err(|why| format!("cannot write {}: {why}", installed.display()))
}

/// Finds a Vulkan driver for the tests of the GPU path: a GPU's, or Mesa's, which computes on the CPU.
pub fn vulkan() -> Result<(), String> {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
    let is_driver = |path: PathBuf| env::has_extension(&path.to_string_lossy(), "json");
    let has_driver = || {
        let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        std::env::var_os("VK_DRIVER_FILES").is_some() || entries.map(|entry| entry.path()).any(is_driver)
    };
    if has_driver() {
        say("Vulkan driver: installed");
        return Ok(());
    }
    say("Vulkan driver: none found; installing Mesa's, on which the tests of the GPU path run without a GPU");
    apt_install(&["mesa-vulkan-drivers", "libvulkan1"])?;
    match has_driver() {
        true => Ok(()),
        false => Err("a Vulkan driver for the tests of the GPU path: install your GPU's, or mesa-vulkan-drivers".to_owned()),
    }
}

/// Installs Debian packages.
pub fn apt_install(packages: &[&str]) -> Result<(), String> {
    let wanted = packages.join(" ");
    if env::find_program("apt-get").is_none() {
        return Err(format!("this machine has no apt-get for installing {wanted}"));
    }
    let apt = || {
        let mut apt = as_root("apt-get");
        apt.arg("-qq");
        apt
    };
    process::run(apt().arg("update"))
        .and_then(|()| process::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages)))
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
