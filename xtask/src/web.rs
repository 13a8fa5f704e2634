//! `build`: the page as a folder for any static host.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::toolchain::{self, WasmToolchain};
use crate::{env, process, size, tools};

/// Everything that a built page depends on.
const INPUTS: [&str; 9] =
    ["src", "xtask/src", "style", "public", "index.html", "Cargo.toml", "Cargo.lock", "Trunk.toml", ".cargo/config.toml"];

#[derive(clap::Args)]
pub struct BuildOptions {
    /// The only path (/sub/path/) that the page will be served from; without it, it works wherever it is put
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Larger and slower, but built in a fraction of the time
    #[arg(long)]
    pub dev: bool,
}

impl BuildOptions {
    fn profile(&self) -> &'static str {
        if self.dev { "web-dev" } else { "web" }
    }

    fn public_url(&self) -> &str {
        self.public_url.as_deref().unwrap_or("./")
    }
}

/// Builds the page into `dist/`, unless it is there and nothing has changed since.
pub fn build(options: &BuildOptions) -> Result<PathBuf, String> {
    let dist = env::root().join("dist");
    let stamp_path = stamp_path();
    if std::fs::read_to_string(&stamp_path).is_ok_and(|stamp| stamp == stamp_of(options, &dist)) {
        println!("[build] dist/ is up to date (profile {}, {})", options.profile(), options.public_url());
        return Ok(dist);
    }
    let toolchain = toolchain::find_or_install()?;
    tools::wasm_bindgen()?;
    let trunk = tools::trunk()?;

    println!("[build] the page into dist/ (profile {}, {})", options.profile(), options.public_url());
    // Before the sources are read, so that a change during the build counts as one.
    let inputs = stamp_of(options, Path::new(""));
    fetch(toolchain)?;
    let mut command = toolchain.command(&trunk.to_string_lossy());
    command.args(["build", "--offline", "true", "--locked", "true", "--cargo-profile", options.profile()]);
    command.args(["--public-url", options.public_url(), "--dist"]).arg(&dist);
    // Trunk reads it as its own yes-or-no flag and refuses the customary value 1.
    command.env_remove("NO_COLOR");
    process::run(&mut command)?;
    pin_worker(&dist)?;
    println!("[build] done: {}", dist.display());
    println!("{}", size::table(&size::measure(&dist)?));
    if inputs == stamp_of(options, Path::new("")) {
        let written = std::fs::write(&stamp_path, stamp_of(options, &dist));
        written.map_err(|why| format!("cannot write {}: {why}", stamp_path.display()))?;
    }
    Ok(dist)
}

/// Downloads the page's dependencies; Trunk and the Cargo below it then run offline.
fn fetch(toolchain: WasmToolchain) -> Result<(), String> {
    let mut cargo = toolchain.command("cargo");
    cargo.args(["fetch", "--quiet", "--locked", "--target", "wasm32-unknown-unknown"]);
    process::run(&mut cargo).map_err(|why| format!("{why}\n  is the Cargo registry reachable, and Cargo.lock in step?"))
}

/// Makes one page load one engine.
///
/// Trunk names the page's own files by a hash of what is in them, but the worker's files always the same, so that a
/// browser may put a new page beside an old engine from its cache. The worker's files therefore refer to each other
/// with their hash as a query, and the page finds the address to start in `<meta name="linchpin-engine">`.
fn pin_worker(dist: &Path) -> Result<(), String> {
    let read = |name: &str| {
        let path = dist.join(name);
        std::fs::read(&path).map_err(|why| format!("Trunk made no {}: {why}", path.display()))
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&read("engine.js")?);
    hasher.write(&read("engine_bg.wasm")?);
    let hash = format!("{:016x}", hasher.finish());

    replace_once(&dist.join("engine.js"), "engine_bg.wasm", &format!("engine_bg.wasm?v={hash}"))?;
    replace_once(&dist.join("engine_loader.js"), "./engine.js", &format!("./engine.js?v={hash}"))?;
    let meta = format!("<meta name=\"linchpin-engine\" content=\"./engine_loader.js?v={hash}\"></head>");
    replace_once(&dist.join("index.html"), "</head>", &meta)
}

fn replace_once(path: &Path, from: &str, to: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    match text.matches(from).count() {
        1 => std::fs::write(path, text.replace(from, to)).map_err(|why| format!("cannot write {}: {why}", path.display())),
        n => Err(format!("{} has `{from}` {n} times, not once: has Trunk's output changed?", path.display())),
    }
}

fn stamp_path() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    hasher.write(env::root().to_string_lossy().as_bytes());
    env::target_dir().join(format!("web-{:016x}.stamp", hasher.finish()))
}

/// Describes what a build of `dist` came from: options, and name, size and time of each file.
fn stamp_of(options: &BuildOptions, dist: &Path) -> String {
    let root = env::root();
    let mut stamp = format!("{} {}\n", options.profile(), options.public_url());
    for input in INPUTS {
        add_to_stamp(&mut stamp, &root.join(input));
    }
    add_to_stamp(&mut stamp, dist);
    stamp
}

fn add_to_stamp(stamp: &mut String, path: &Path) {
    if let Ok(entries) = std::fs::read_dir(path) {
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inside.sort();
        for path in &inside {
            add_to_stamp(stamp, path);
        }
    } else if let Ok(metadata) = path.metadata() {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let nanos = modified.unwrap_or_default().as_nanos();
        let _ = writeln!(stamp, "{} {} {nanos}", path.display(), metadata.len());
    }
}
