//! `test`: runs every check and test, and reports the results.
//!
//! The page is built beside the native checks and tests, because the link of its engine keeps one core busy for minutes.
//! Nothing is skipped: a missing tool or file fails the step that needs it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::{boundary, deps, env, lint, process, real_model, setup, size, tidy};

/// The features that are checked and tested together: everything except CUDA, which needs its own toolkit. With one
/// set of them, Cargo builds the macros once.
const FEATURES: [&str; 2] = ["--features", "ui,worker,boundary,cli"];

/// The packages of the tools, in the profile in which this program is built.
const TOOLS: [&str; 6] = ["--profile", "xtask", "--package", "xtask", "--package", "local-server"];

/// The timeout for a test file whose page hangs: an hour, longer than a test waits for anything (tests/e2e/patience.mjs).
const BROWSER_TEST_TIMEOUT: &str = "--test-timeout=3600000";

/// The most files of browser tests that run at once: each starts two browsers, one of which computes WebGPU on all cores.
const MAX_BROWSER_TESTS: usize = 4;

#[derive(Clone, Copy, Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

struct Step {
    name: &'static str,
    took: Duration,
    counts: Counts,
    failure: Option<String>,
}

/// The steps that have run.
#[derive(Default)]
struct Suite(Vec<Step>);

/// `cargo xtask test`.
pub fn run(quick: bool) -> Result<(), String> {
    let mut suite = Suite::default();
    suite.check("format", || process::run(env::command("cargo").args(["fmt", "--all", "--check"])));
    suite.check("tidy", tidy::check);
    suite.check("Vulkan", setup::vulkan);
    let mut page = Err("its tools are not there".to_owned());
    if !quick {
        suite.check("setup", || {
            page = setup::setup(true).and_then(|()| PageBuild::start());
            page.as_ref().map(drop).map_err(String::clone)
        });
    }
    suite.native();
    if quick {
        println!("\n--quick: the page's release build, its size and the browser tests were left out");
    } else {
        suite.page(page);
    }
    suite.report()
}

/// The build of the page, which runs beside the native checks and tests.
struct PageBuild {
    child: Child,
    /// The build's output, shown at its end.
    log: PathBuf,
}

impl PageBuild {
    fn start() -> Result<Self, String> {
        let log = env::target_dir().join("page-build.log");
        let file = File::create(&log).map_err(|why| format!("cannot write {}: {why}", log.display()))?;
        let errors = file.try_clone().map_err(|why| format!("cannot write {}: {why}", log.display()))?;
        let mut build = env::command(this_program()?);
        build.arg("build").stdout(file).stderr(errors);
        println!("    $ {} (beside the next steps)", process::shown(&build));
        let child = build.spawn().map_err(|why| format!("cannot start the build of the page: {why}"))?;
        Ok(Self { child, log })
    }

    /// Waits for the end of the build, and returns the page's folder.
    fn finish(mut self) -> Result<PathBuf, String> {
        let status = self.child.wait().map_err(|why| format!("cannot wait for the build of the page: {why}"))?;
        let log = std::fs::read_to_string(&self.log).map_err(|why| format!("cannot read {}: {why}", self.log.display()))?;
        println!("{log}");
        if status.success() { Ok(env::root().join("dist")) } else { Err(format!("the page was not built ({status})")) }
    }
}

impl Suite {
    /// Checks and tests everything that needs no browser.
    fn native(&mut self) {
        self.check("page dependencies", deps::check_page);
        self.check("engine dependencies", deps::check_engine);
        self.check("lint of tools", || lint::check(&TOOLS));
        self.step("tests of tools", || cargo_test(&TOOLS));
        self.check("real model", || real_model::folder().map(drop));
        self.check("lint of page, engine", || lint::check(&FEATURES));
        self.step("tests of page, engine", || cargo_test(&FEATURES));
    }

    /// Checks the page and runs the browser tests.
    fn page(&mut self, build: Result<PageBuild, String>) {
        let mut samples = Err("the samples of messages were not built".to_owned());
        self.check("samples of messages", || {
            samples = boundary::build();
            samples.clone().map(drop)
        });
        let mut dist = Err("the page was not built".to_owned());
        self.check("rest of page build", || {
            dist = build.and_then(PageBuild::finish);
            dist.clone().map(drop)
        });
        self.check("size", || check_size(&dist.clone()?));
        self.step("browser tests", || browser_tests(&dist.clone().map_err(not_run)?, &samples.clone().map_err(not_run)?));
    }

    fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<(), String>) {
        let passed = Counts { passed: 1, failed: 0 };
        self.step(name, || check().map(|()| passed).map_err(|why| (Counts::default(), why)));
    }

    fn step<F>(&mut self, name: &'static str, step: F)
    where
        F: FnOnce() -> Result<Counts, (Counts, String)>,
    {
        println!("\n=== {name}");
        let began = Instant::now();
        let (counts, failure) = match step() {
            Ok(counts) => (counts, None),
            Err((mut counts, why)) => {
                println!("FAILED: {why}");
                // A step that fails as a whole also counts.
                counts.failed = counts.failed.max(1);
                (counts, Some(why))
            }
        };
        let took = began.elapsed();
        self.0.push(Step { name, took, counts, failure });
    }

    fn report(&self) -> Result<(), String> {
        println!("\n{:<22} {:>8} {:>8} {:>9}", "step", "passed", "failed", "seconds");
        let mut sum = Counts::default();
        for Step { name, took, counts, .. } in &self.0 {
            println!("{name:<22} {:>8} {:>8} {:>9.1}", counts.passed, counts.failed, took.as_secs_f64());
            sum.passed += counts.passed;
            sum.failed += counts.failed;
        }
        let failures = self.0.iter().filter_map(|step| Some((step.name, step.failure.as_ref()?)));
        for (name, why) in failures {
            println!("\nFAILED {name}: {why}");
        }
        println!("\n{} passed, {} failed", sum.passed, sum.failed);
        if sum.failed == 0 { Ok(()) } else { Err(format!("{} failed", sum.failed)) }
    }
}

/// The result of a step that could not run.
fn not_run(why: String) -> (Counts, String) {
    (Counts::default(), why)
}

fn cargo_test(what: &[&str]) -> Result<Counts, (Counts, String)> {
    let mut cargo = lint::cargo().map_err(not_run)?;
    cargo.args(["test", "--locked"]).args(what);
    cargo.env("LINCHPIN_XTASK", this_program().map_err(not_run)?);
    let (succeeded, heard) = process::run_and_listen(&mut cargo).map_err(not_run)?;
    let (counts, n_ignored) = cargo_counts(&heard);
    verdict(counts, n_ignored, succeeded)
}

/// The path of this program, which tests start as a local Hub or server.
fn this_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|why| format!("cannot find this program: {why}"))
}

fn browser_tests(dist: &Path, samples: &Path) -> Result<Counts, (Counts, String)> {
    let tests = browser_test_files().map_err(not_run)?;
    let browser = setup::chromium().map_err(not_run)?;
    let xtask = this_program().map_err(not_run)?;
    let at_once = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_BROWSER_TESTS));
    let mut node: Command = env::command("node");
    node.args(["--test", "--test-reporter=spec", BROWSER_TEST_TIMEOUT]).arg(format!("--test-concurrency={at_once}")).args(tests);
    node.env("LINCHPIN_DIST", dist).env("LINCHPIN_BOUNDARY", samples).env("LINCHPIN_XTASK", xtask).env("CHROME", browser);
    let (succeeded, heard) = process::run_and_listen(&mut node).map_err(not_run)?;
    let (counts, n_skipped) = node_counts(&heard);
    verdict(counts, n_skipped, succeeded)
}

fn browser_test_files() -> Result<Vec<PathBuf>, String> {
    let folder = env::e2e_dir();
    let entries = std::fs::read_dir(&folder).map_err(|why| format!("cannot read {}: {why}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut tests: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(".test.mjs")).collect();
    tests.sort();
    if tests.is_empty() {
        return Err(format!("{} has no *.test.mjs", folder.display()));
    }
    Ok(tests)
}

fn verdict(counts: Counts, n_skipped: usize, succeeded: bool) -> Result<Counts, (Counts, String)> {
    if counts.failed > 0 {
        Err((counts, format!("{} tests failed", counts.failed)))
    } else if !succeeded {
        Err((counts, "the tests could not be built or run".to_owned()))
    } else if n_skipped > 0 {
        Err((counts, format!("{n_skipped} tests were skipped; nothing here may be")))
    } else if counts.passed == 0 {
        Err((counts, "there was not one test".to_owned()))
    } else {
        Ok(counts)
    }
}

/// Sums the lines `test result: ok. 3 passed; 0 failed; 0 ignored; ...`, and returns the number of ignored tests.
fn cargo_counts(heard: &str) -> (Counts, usize) {
    let mut counts = Counts::default();
    let mut n_ignored = 0;
    for line in heard.lines().filter(|line| line.starts_with("test result:")) {
        let words: Vec<_> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let n = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed" => counts.passed += n,
                "failed" => counts.failed += n,
                "ignored" => n_ignored += n,
                _ => {}
            }
        }
    }
    (counts, n_ignored)
}

/// Reads the final lines `ℹ pass 3`, `ℹ fail 0`, ...: the counts, and the number of skipped or unfinished tests.
fn node_counts(heard: &str) -> (Counts, usize) {
    let mut counts = Counts::default();
    let mut n_skipped = 0;
    for line in heard.lines().filter_map(|line| line.strip_prefix("ℹ ")) {
        let Some((what, Ok(n))) = line.split_once(' ').map(|(what, n)| (what, n.parse::<usize>())) else {
            continue;
        };
        match what {
            "pass" => counts.passed += n,
            "fail" | "cancelled" => counts.failed += n,
            "skipped" | "todo" => n_skipped += n,
            _ => {}
        }
    }
    (counts, n_skipped)
}

fn check_size(dist: &Path) -> Result<(), String> {
    let files = size::measure(dist)?;
    println!("{}", size::table(&files));
    size::check(&files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_and_node_are_counted() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1s";
        let (counts, n_ignored) = cargo_counts(&format!("running\n{line}\n{line}\n"));
        assert_eq!((counts.passed, counts.failed, n_ignored), (6, 2, 4));

        let (counts, n_skipped) = node_counts("✔ a (1ms)\nℹ tests 4\nℹ pass 2\nℹ fail 1\nℹ cancelled 1\nℹ skipped 1\n");
        assert_eq!((counts.passed, counts.failed, n_skipped), (2, 2, 1));
    }

    #[test]
    fn silence_is_no_success() {
        let passed = Counts { passed: 1, failed: 0 };
        assert!(verdict(passed, 0, true).is_ok());
        assert!(verdict(passed, 1, true).is_err());
        assert!(verdict(passed, 0, false).is_err());
        assert!(verdict(Counts::default(), 0, true).is_err());
    }
}
