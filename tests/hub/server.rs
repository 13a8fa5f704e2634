//! A local Hub with one model, and a home folder for the cache.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use linchpin::platform::HubSettings;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::files_in;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const REPO: &str = "org/tiny";
/// A token without access to any gated model (`OUTSIDER` in server/src/hub.rs).
pub const TOKEN: &str = "hf_was_not_let_in";

/// The requests for a file's header, which come before the one for its rest.
const N_HEADER_REQUESTS: u64 = 2;

/// The server's files, and its behaviour.
#[derive(Clone, Default)]
pub struct Held {
    /// Files of this disk, by name.
    pub files: BTreeMap<String, PathBuf>,
    pub is_gated: bool,
    /// The byte of a large file before which the connection breaks, once, if the rest of the file is requested.
    pub breaks_before: Option<u64>,
    /// Sends whole files, even if a range is requested.
    pub knows_no_ranges: bool,
    /// Lists only the files' names, as some mirrors do.
    pub lists_names_alone: bool,
}

impl Held {
    pub fn folder(dir: &Path) -> Self {
        Self { files: files_in(dir).into_iter().map(|file| (file.name, file.url.into())).collect(), ..Self::default() }
    }

    /// The contents of a file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(&self.files[name]).unwrap()
    }
}

/// One request: `Asked` in server/src/log.rs.
#[derive(Debug, Clone, Deserialize)]
pub struct Asked {
    /// The part of the Hub; `cdn` is its storage of large files.
    pub on: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// The local Hub of server/, which runs until it is dropped. It is a process of its own: linked into these tests, its HTTP library would
/// turn on features of crates that Burn is built with, and Burn would be built twice.
pub struct Server {
    process: Child,
    wire: RefCell<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    endpoint: String,
}

impl Server {
    pub fn start(held: Held) -> Self {
        let mut process = xtask().arg("hub").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let mut answers = BufReader::new(answers).lines();
        let endpoint = answer(&mut answers)["url"].as_str().unwrap().to_owned();
        let server = Self { process, wire: RefCell::new((orders, answers)), endpoint };
        if let Some(at) = held.breaks_before {
            // A server without ranges answers requests for the header with the whole file, too.
            let n_headers = if held.knows_no_ranges { N_HEADER_REQUESTS } else { 0 };
            server.order(&json!({ "fail": { "kind": "cut", "on": "cdn", "at": at, "after": n_headers } }));
        }
        if held.knows_no_ranges {
            server.order(&json!({ "fail": { "kind": "no-range", "on": "cdn", "times": 1000 } }));
        }
        let repo = json!({
            "files": held.files, "revision": COMMIT, "names": ["step1"], "gated": held.is_gated.then_some("manual"),
            "namesAlone": held.lists_names_alone,
        });
        server.order(&json!({ "publish": { "id": REPO, "repo": repo } }));
        server
    }

    fn order(&self, order: &Value) -> Value {
        let (orders, answers) = &mut *self.wire.borrow_mut();
        writeln!(orders, "{order}").unwrap();
        answer(answers)
    }

    pub fn asked(&self) -> Vec<Asked> {
        serde_json::from_value(self.order(&json!("requests"))["requests"].take()).unwrap()
    }

    /// The requests for large files, whole or from some byte on.
    pub fn downloads(&self) -> Vec<Asked> {
        let is_download = |asked: &Asked| asked.on == "cdn" && asked.range.as_ref().is_none_or(|range| range.ends_with('-'));
        self.asked().into_iter().filter(is_download).collect()
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn answer(answers: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = answers.next().expect("the local Hub has ended").unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(answer.get("error"), None);
    answer
}

/// The project's chores: `cargo xtask test` says where the program is, and Cargo finds it otherwise.
fn xtask() -> Command {
    match std::env::var_os("LINCHPIN_XTASK") {
        Some(program) => Command::new(program),
        None => {
            let mut cargo = Command::new("cargo");
            cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--profile", "xtask", "--package", "xtask", "--"]);
            cargo
        }
    }
}

/// A home folder for the cache, removed at the end.
pub struct Home(pub PathBuf);

impl Home {
    pub fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("linchpin-{}-hub-{test}", std::process::id())))
    }

    pub fn settings(&self, endpoint: &str) -> HubSettings {
        HubSettings { endpoint: endpoint.into(), cache: self.0.join("hub"), token: Some(TOKEN.into()), is_offline: false }
    }

    pub fn repo(&self) -> PathBuf {
        self.0.join("hub/models--org--tiny")
    }

    pub fn blobs(&self) -> PathBuf {
        self.repo().join("blobs")
    }

    pub fn snapshot(&self) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT)
    }

    /// The command, with the environment of a user with this home folder.
    pub fn linchpin(&self, endpoint: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linchpin"));
        for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.env("HF_HOME", &self.0).env("HF_ENDPOINT", endpoint).env("HF_TOKEN", TOKEN);
        command.args(args).args(["--device", "cpu"]).output().unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
