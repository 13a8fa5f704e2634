//! `bench`: the engine's speed in a browser and natively, compared with the floor, as a section of
//! docs/benchmarks.md.
//!
//! It needs neither Cargo nor a network: with a built page, a built command and a browser, this program and
//! `benches/` are enough. Models are written here; see [`shapes`].

mod browser;
mod models;
mod report;
mod shapes;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use local_server::Site;
use serde_json::{Value, json};

use crate::{env, process, setup, web};
use browser::Browser;
use report::{Place, Run};
use shapes::Shape;

/// The default shapes.
const SHAPES: &str = "linchpin-13m,smollm2-135m,llama-3.2-1b";

#[derive(clap::Args)]
pub struct Options {
    /// Any of tiny, linchpin-13m, smollm2-135m, llama-3.2-1b
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = SHAPES, value_parser = shapes::named)]
    shapes: Vec<&'static Shape>,
    /// A built page to measure
    #[arg(long = "no-build", value_name = "DIR")]
    dist: Option<PathBuf>,
    /// Builds a larger and slower page in a fraction of the time
    #[arg(long)]
    dev: bool,
    /// A built command, instead of building one
    #[arg(long, value_name = "PATH")]
    native: Option<PathBuf>,
    /// The browser, instead of the one from `setup`
    #[arg(long, value_name = "PATH")]
    browser: Option<PathBuf>,
    /// Measures in the browser only
    #[arg(long)]
    skip_native: bool,
    /// Measures the command only
    #[arg(long)]
    skip_browser: bool,
    /// Keeps everything as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The file for the section, instead of docs/benchmarks.md
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The most seconds for a page
    #[arg(long, value_name = "S", default_value_t = 900)]
    timeout: u64,
    /// Flags for the browser
    #[arg(last = true, value_name = "BROWSER FLAG")]
    browser_flags: Vec<String>,
}

#[derive(clap::Args)]
pub struct ModelOptions {
    /// The folder for the model's files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One of bench's shapes, smollm2-360m, or smollm2-360m-21-layers (507 MB)
    #[arg(long, value_name = "NAME", value_parser = shapes::named)]
    shape: &'static Shape,
    /// The type of the weights: bf16 or f32
    #[arg(long, default_value = "bf16", value_parser = models::dtype_named)]
    dtype: safetensors::Dtype,
    /// The seed of the weights
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// The most files of weights
    #[arg(long, default_value_t = 1)]
    shards: u32,
}

impl Options {
    /// The command without its paths, which belong to one machine.
    fn shown(&self) -> String {
        let names = self.shapes.iter().map(|shape| shape.name).collect::<Vec<_>>().join(",");
        let mut words = vec![format!("cargo xtask bench --shapes {names}")];
        words.extend(self.dev.then(|| "--dev".to_owned()));
        words.extend(self.skip_native.then(|| "--skip-native".to_owned()));
        words.extend(self.skip_browser.then(|| "--skip-browser".to_owned()));
        if !self.browser_flags.is_empty() {
            words.push(format!("-- {}", self.browser_flags.join(" ")));
        }
        words.join(" ")
    }
}

/// `cargo xtask bench`.
pub fn run(options: &Options) -> Result<(), String> {
    let folder = env::target_dir().join("bench");
    let models = folder.join("models");
    std::fs::create_dir_all(&models).map_err(|why| format!("cannot make {}: {why}", models.display()))?;
    let native = if options.skip_native { None } else { Some(native_command(options)?) };
    let dist = if options.skip_browser { None } else { Some(built_page(options)?) };
    let browser = dist.map(|dist| open_browser(options, &folder, dist)).transpose()?;

    let mut runs = Vec::new();
    for shape in &options.shapes {
        let model = match &shape.random {
            Some(sizes) => models::write(&models, shape, sizes)?,
            None => bundled(options, shape)?,
        };
        if let Some(browser) = &browser {
            measure_in_browser(browser, shape, &mut runs)?;
        }
        if let Some(native) = &native {
            runs.push(measure_natively(native, shape, Place::NativeGpu, &model));
            if shape.on_cpu {
                runs.push(measure_natively(native, shape, Place::NativeCpu, &model));
            }
        }
        // After each run, so that an interrupted bench keeps its results.
        keep(options, &runs)?;
    }
    let path = options.markdown.clone().unwrap_or_else(|| env::root().join("docs/benchmarks.md"));
    add_section(&options.shown(), &runs, &path)
}

/// `cargo xtask model`: writes one model of random weights, for tests of downloading and loading.
pub fn write_model(options: &ModelOptions) -> Result<(), String> {
    let ModelOptions { out, shape, dtype, seed, shards } = options;
    let sizes = shape.random.as_ref().ok_or_else(|| format!("{} is there already, under public/models/", shape.name))?;
    let spelling = models::Spelling { dtype: *dtype, seed: u64::from(*seed), shards: (*shards).max(1) as usize };
    models::write_folder(out, &shape.title(), sizes, spelling)
}

/// Adds the measurements to a file. Failures are written there, too, and also returned as an error.
fn add_section(command: &str, runs: &[Run], path: &Path) -> Result<(), String> {
    let section = report::section(command, runs);
    println!("\n{section}");
    let failures = runs.iter().filter_map(|run| Some(format!("\n    {}, {}", run.shape, run.failure()?))).collect::<String>();
    if !runs.iter().any(Run::has_figures) {
        return Err(format!("nothing was measured, and {} is as it was{failures}", path.display()));
    }
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let gap = if before.is_empty() { "" } else { "\n" };
    std::fs::write(path, format!("{before}{gap}{section}")).map_err(|why| format!("cannot write {}: {why}", path.display()))?;
    if failures.is_empty() { Ok(()) } else { Err(format!("not everything was measured{failures}")) }
}

fn keep(options: &Options, runs: &[Run]) -> Result<(), String> {
    let Some(out) = &options.out else { return Ok(()) };
    let all = json!({ "command": options.shown(), "runs": runs.iter().map(Run::json).collect::<Vec<_>>() });
    std::fs::write(out, format!("{all:#}\n")).map_err(|why| format!("cannot write {}: {why}", out.display()))
}

fn built_page(options: &Options) -> Result<PathBuf, String> {
    let dist = match &options.dist {
        Some(dist) => dist.clone(),
        None => web::build(&web::BuildOptions { dev: options.dev, ..Default::default() })?,
    };
    if dist.join("engine_loader.js").is_file() { Ok(dist) } else { Err(format!("{} is not a built page", dist.display())) }
}

fn native_command(options: &Options) -> Result<PathBuf, String> {
    if let Some(native) = &options.native {
        // A bare name would be searched in the search path.
        return native.canonicalize().map_err(|why| format!("--native {}: {why}", native.display()));
    }
    let mut cargo = env::command("cargo");
    cargo.args(["build", "--locked", "--release", "--bin", "linchpin"]);
    process::run(&mut cargo)?;
    Ok(env::target_dir().join("release").join(format!("linchpin{}", std::env::consts::EXE_SUFFIX)))
}

/// A bundled model is next to the page, or in the repository.
fn bundled(options: &Options, shape: &Shape) -> Result<PathBuf, String> {
    let beside = options.dist.iter().cloned().chain([env::root().join("public"), env::root().join("dist")]);
    let found = beside.map(|folder| folder.join("models").join(shape.name)).find(|folder| folder.join("config.json").is_file());
    found.ok_or_else(|| format!("the bundled model {} is neither next to the page nor in the repository", shape.name))
}

/// Starts the server of the pages, which also receives their figures.
fn open_browser(options: &Options, folder: &Path, dist: PathBuf) -> Result<Browser, String> {
    let benches = env::root().join("benches");
    if !benches.join("engine.html").is_file() {
        return Err(format!("{} does not exist: start this in the repository, or next to its folder benches", benches.display()));
    }
    let program = match &options.browser {
        Some(program) => program.clone(),
        None => setup::chromium()?,
    };
    let (sender, results) = std::sync::mpsc::channel();
    let site = Site { folders: vec![dist, benches, folder.to_owned()], base: "/".into(), results: Some(sender) };
    let serving = site.serve(0).map_err(|why| format!("cannot serve the page: {why}"))?;
    let flags = options.browser_flags.clone();
    Ok(Browser { program, flags, folder: folder.to_owned(), serving, results, timeout: Duration::from_secs(options.timeout) })
}

fn measure_in_browser(browser: &Browser, shape: &Shape, runs: &mut Vec<Run>) -> Result<(), String> {
    let floor = format!("floor.html?shapes={}", shape.name);
    let (figures, problem) = browser.figures(&floor)?;
    runs.push(Run { shape: shape.name, place: Place::Floor, figures, problem });
    for (place, backend, wanted) in [(Place::BrowserGpu, "gpu", true), (Place::BrowserCpu, "cpu", shape.on_cpu)] {
        if wanted {
            let page = format!("engine.html?backends={backend}&models=models/{}", shape.id());
            let (figures, problem) = browser.figures(&page)?;
            runs.push(Run { shape: shape.name, place, figures, problem });
        }
    }
    Ok(())
}

fn measure_natively(native: &Path, shape: &'static Shape, place: Place, model: &Path) -> Run {
    let device = if place == Place::NativeCpu { "cpu" } else { "gpu" };
    let mut command = Command::new(native);
    command.args(["measure", "--json", "--device", device, "--model"]).arg(model);
    println!("[bench] linchpin measure --device {device}, {}", shape.id());
    let outcome = process::output(&mut command)
        .and_then(|printed| serde_json::from_str::<Value>(&printed).map_err(|why| format!("what it printed is no JSON: {why}")));
    let (figures, problem) = match outcome {
        Ok(figures) => (figures, None),
        Err(why) => (Value::Null, Some(why)),
    };
    Run { shape: shape.name, place, figures, problem }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Result<Options, clap::Error> {
        let words = line.split_whitespace();
        Line::try_parse_from(std::iter::once("bench").chain(words)).map(|line| line.options)
    }

    #[test]
    fn commands_are_shown_without_paths() {
        let read =
            options("--shapes tiny,linchpin-13m --no-build d --native /a/b --skip-browser --timeout 5 -- --use-angle=vulkan").unwrap();
        assert_eq!(read.shown(), "cargo xtask bench --shapes tiny,linchpin-13m --skip-browser -- --use-angle=vulkan");
        assert_eq!((read.timeout, read.dist), (5, Some("d".into())));
        assert_eq!(options("").unwrap().shapes.len(), 3);
        assert!(options("--shapes huge").is_err() && options("--timeout soon").is_err() && options("--what").is_err());
    }

    fn natively(figures: Value, problem: Option<&str>) -> Run {
        Run { shape: "tiny", place: Place::NativeCpu, figures, problem: problem.map(str::to_owned) }
    }

    #[test]
    fn sections_are_added_if_anything_was_measured() {
        let path = std::env::temp_dir().join(format!("linchpin-bench-{}.md", std::process::id()));
        std::fs::write(&path, "before\n").unwrap();
        let text = || std::fs::read_to_string(&path).unwrap();
        let figures = || json!({ "measured": [{ "name": "prefill", "value": 3.0, "unit": "ms", "of": "512 tokens" }] });

        let nothing = add_section("bench", &[natively(Value::Null, Some("it crashed"))], &path).unwrap_err();
        assert!(nothing.contains("nothing was measured") && nothing.contains("tiny, native, CPU: it crashed"), "{nothing}");
        assert!(add_section("bench", &[], &path).is_err());
        assert_eq!(text(), "before\n");

        assert_eq!(add_section("bench", &[natively(figures(), None)], &path), Ok(()));
        let after_one = text();
        assert!(after_one.starts_with("before\n\n## ") && after_one.contains("3.00 ms"), "{after_one}");

        let half = add_section("bench", &[natively(figures(), None), natively(Value::Null, Some("it crashed"))], &path).unwrap_err();
        assert!(half.contains("not everything") && half.contains("it crashed"), "{half}");
        assert!(text().len() > after_one.len() && text().contains("\nnative, CPU: it crashed.\n"));
        std::fs::remove_file(path).unwrap();
    }
}
