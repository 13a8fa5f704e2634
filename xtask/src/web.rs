//! `build`: the page as a folder for any static host.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use crate::toolchain::{self, WasmToolchain};
use crate::{env, process, size, tools};

#[derive(Default, clap::Args)]
pub struct BuildOptions {
    /// The only path (/sub/path/) that the page will be served from; by default, it works in any folder
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Larger and slower, but built in a fraction of the time
    #[arg(long)]
    pub dev: bool,
    /// Builds a page that does not start inside another site's frame, for a host that cannot send headers
    #[arg(long)]
    pub forbid_frames: bool,
}

impl BuildOptions {
    fn profile(&self) -> &'static str {
        if self.dev { "web-dev" } else { "web" }
    }

    fn public_url(&self) -> &str {
        self.public_url.as_deref().unwrap_or("./")
    }
}

/// Builds the page into `dist/`. Cargo rebuilds only what has changed.
pub fn build(options: &BuildOptions) -> Result<PathBuf, String> {
    let dist = env::root().join("dist");
    let toolchain = toolchain::find_or_install()?;
    tools::wasm_bindgen()?;
    let trunk = tools::trunk()?;

    println!("[build] the page into dist/ (profile {}, {})", options.profile(), options.public_url());
    fetch(toolchain)?;
    let mut command = toolchain.command(&trunk.to_string_lossy());
    command.args(["build", "--offline", "true", "--locked", "true", "--cargo-profile", options.profile()]);
    command.args(["--public-url", options.public_url(), "--dist"]).arg(&dist);
    // Trunk reads NO_COLOR as its own boolean flag and refuses the customary value 1.
    command.env_remove("NO_COLOR");
    process::run(&mut command)?;
    pin_worker(&dist)?;
    if options.forbid_frames {
        replace_once(&dist.join("index.html"), "</head>", "<meta name=\"linchpin-frames\" content=\"forbidden\"></head>")?;
    }
    println!("[build] done: {}", dist.display());
    println!("{}", size::table(&size::measure(&dist)?));
    Ok(dist)
}

/// Downloads the page's dependencies, so that Trunk and its Cargo can run offline.
fn fetch(toolchain: WasmToolchain) -> Result<(), String> {
    let mut cargo = toolchain.command("cargo");
    cargo.args(["fetch", "--quiet", "--locked", "--target", "wasm32-unknown-unknown"]);
    process::run(&mut cargo).map_err(|why| format!("{why}\n  is the Cargo registry reachable, and Cargo.lock in step?"))
}

/// Makes each page load its own engine.
///
/// Trunk puts a hash of the content into the names of the page's own files, but not of the worker's, so that a
/// browser might combine a new page with an old engine from its cache. Therefore the worker's files refer to each
/// other with their hash as a query, and the page finds the worker's address in `<meta name="linchpin-engine">`.
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
