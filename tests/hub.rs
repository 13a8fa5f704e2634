//! Models of the Hub, from a server on this machine that answers as the Hub does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use linchpin::hub::{Against, HubError, HubRepo, Settings, Snapshot, fetch};
use linchpin::terms::hex;
use sha2::{Digest, Sha256};

use crate::support::{Copy, code, files_in, fixture, load_in};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPO: &str = "org/tiny";
const TOKEN: &str = "hf_secret";

/// What the server holds, and how it behaves.
#[derive(Clone, Default)]
struct Held {
    files: BTreeMap<String, Vec<u8>>,
    is_gated: bool,
    /// Bytes after which the connection breaks, once.
    breaks_after: Option<usize>,
}

impl Held {
    fn folder(dir: &Path) -> Self {
        let read = |file: linchpin::terms::ModelFile| (file.name, std::fs::read(file.url).unwrap());
        Self { files: files_in(dir).into_iter().map(read).collect(), ..Self::default() }
    }
}

/// One request: its method and path, and its headers in lower case.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
}

/// A server until it is dropped.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(held: Held) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, over) = (asked.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let mut held = held;
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                answer(&mut stream.unwrap(), &mut held, &log, address);
            }
        });
        Self { address, asked, is_over, thread: Some(thread) }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn answer(stream: &mut TcpStream, held: &mut Held, log: &Mutex<Vec<Asked>>, address: SocketAddr) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let Some(line) = lines.next() else { return };
    let headers = lines.filter_map(|line| line.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned()))).collect();
    let asked = Asked { line, headers };
    log.lock().unwrap().push(asked.clone());
    let (method, rest) = asked.line.split_once(' ').unwrap();
    let path = rest.split(' ').next().unwrap();
    let is_head = method == "HEAD";
    let resolve = format!("/{REPO}/resolve/{COMMIT}/");
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPO}/revision/")) {
        return info(stream, held, revision);
    }
    let file = |name: &str| held.files.get(name).cloned();
    if let Some(name) = path.strip_prefix(&resolve) {
        let Some(bytes) = file(name) else { return refuse(stream, 404, "EntryNotFound") };
        if held.is_gated {
            return refuse(stream, 403, "GatedRepo");
        }
        if name.ends_with(".safetensors") {
            // The Hub keeps large files elsewhere, and says what they are before it sends there.
            let (sha256, port) = (hex(&Sha256::digest(&bytes)), address.port());
            let head = format!(
                "302 Found\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{sha256}\"\r\nX-Linked-Size: {}\r\n\
                 Location: http://localhost:{port}/elsewhere/{name}",
                bytes.len()
            );
            return send(stream, &head, b"", false);
        }
        let etag = &hex(&Sha256::digest(name))[..40];
        return send(stream, &format!("200 OK\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{etag}\""), &bytes, is_head);
    }
    if let Some(bytes) = path.strip_prefix("/elsewhere/").and_then(file) {
        return stored(stream, &bytes, asked.headers.get("range"), &mut held.breaks_after);
    }
    refuse(stream, 404, "RepoNotFound");
}

fn info(stream: &mut TcpStream, held: &Held, revision: &str) {
    if ![COMMIT, "main", "step1"].contains(&revision) {
        return refuse(stream, 404, "RevisionNotFound");
    }
    let siblings = held.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect::<Vec<_>>();
    let json = serde_json::json!({ "id": REPO, "sha": COMMIT, "siblings": siblings });
    send(stream, "200 OK\r\nContent-Type: application/json", json.to_string().as_bytes(), false);
}

/// A large file from where it is kept, from a byte on.
fn stored(stream: &mut TcpStream, bytes: &[u8], range: Option<&String>, breaks_after: &mut Option<usize>) {
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let rest = &bytes[from.unwrap_or(0)..];
    let status = match from {
        Some(from) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
        None => "200 OK".into(),
    };
    match breaks_after.take() {
        Some(n) => {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len()).unwrap();
            stream.write_all(&rest[..n]).unwrap();
        }
        None => send(stream, &status, rest, false),
    }
}

fn send(stream: &mut TcpStream, head: &str, body: &[u8], is_head: bool) {
    let mut answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).into_bytes();
    if !is_head {
        answer.extend(body);
    }
    // A client that knows enough may have gone.
    let _ = stream.write_all(&answer);
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) {
    send(stream, &format!("{status} Refused\r\nX-Error-Code: {code}"), b"", false);
}

/// A home for the cache, removed at the end.
struct Home(PathBuf);

impl Home {
    fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("linchpin-{}-hub-{test}", std::process::id())))
    }

    fn settings(&self, endpoint: &str) -> Settings {
        Settings { endpoint: endpoint.into(), cache: self.0.join("hub"), token: Some(TOKEN.into()), is_offline: false }
    }

    fn repo(&self) -> PathBuf {
        self.0.join("hub/models--org--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.repo().join("snapshots").join(COMMIT)
    }

    /// The command, with the environment of a person who uses this home.
    fn linchpin(&self, endpoint: &str, args: &[&str]) -> Output {
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

fn get(asked: &str, settings: &Settings) -> Result<Snapshot, HubError> {
    fetch(&HubRepo::parse(asked).unwrap(), settings, &mut |_, _, _, _| {})
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_brings_a_model_and_needs_no_network_for_it_again() {
    let home = Home::new("command");
    let server = Server::start(Held::folder(&fixture("llama")));
    let endpoint = server.endpoint();
    let generate = ["generate", "--model", REPO, "--prompt", "the old man", "--max-new-tokens", "4", "--temperature", "0"];
    let first = home.linchpin(&endpoint, &generate);
    assert_eq!(code(&first), Some(0), "{}", stderr(&first));
    for part in ["verified against the Hub's digest", "not pinned: main is 0123456789abcdef", "tiny ("] {
        assert!(stderr(&first).contains(part), "{part}: {}", stderr(&first));
    }
    // Its JSON says where it came from, and what it was held against.
    let json = home.linchpin(&endpoint, &[&generate[..], &["--json"]].concat());
    let export: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let provenance = &export["info"]["provenance"];
    assert_eq!(provenance["commit"], COMMIT);
    assert!(provenance["origin"].as_str().unwrap().ends_with(REPO), "{provenance}");
    assert_eq!(provenance["files"][0]["verified"], true);
    drop(server);
    let again = home.linchpin(&endpoint, &generate);
    assert_eq!((code(&again), &again.stdout.is_empty()), (Some(0), &false), "{}", stderr(&again));
    assert!(stderr(&again).contains("from the cache, because the Hub could not be asked"), "{}", stderr(&again));
    assert_eq!(digest_line(&again), digest_line(&first));
    // What is in a folder is the same model.
    let folder = home.linchpin(&endpoint, &[&generate[..1], &["--model", fixture("llama").to_str().unwrap()], &generate[3..]].concat());
    assert_eq!(digest_line(&folder), digest_line(&first));
}

fn digest_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap().to_owned()
}

#[test]
fn the_cache_is_laid_out_as_pythons() {
    let home = Home::new("layout");
    let server = Server::start(Held::folder(&fixture("mistral")));
    let snapshot = get(REPO, &home.settings(&server.endpoint())).unwrap();
    assert_eq!(snapshot.commit, COMMIT);
    assert_eq!(std::fs::read_to_string(home.repo().join("refs/main")).unwrap(), COMMIT);
    let names = snapshot.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let others = ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors.index.json"];
    assert_eq!(names, [&others[..], &shards[..]].concat());
    for (name, checked) in shards.iter().zip(&snapshot.weights) {
        let link = std::fs::read_link(home.snapshot().join(name)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(&checked.sha256));
        assert_eq!((checked.name.as_str(), checked.against), (*name, Against::Hub));
    }
    load_in(&home.snapshot(), &burn::tensor::Device::flex()).unwrap();
    // The token went to the Hub, and not to where it keeps large files.
    for asked in server.asked() {
        let expected = (!asked.line.contains("/elsewhere/")).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(asked.headers.get("authorization"), expected.as_ref(), "{asked:?}");
    }
    // Now nothing is downloaded, and a commit is not even asked for.
    let before = server.asked().len();
    get(REPO, &home.settings(&server.endpoint())).unwrap();
    assert_eq!(server.asked().len(), before + 1);
    let pinned = get(&format!("{REPO}@{COMMIT}"), &home.settings(&server.endpoint())).unwrap();
    assert_eq!((pinned.offline, pinned.weights), (None, snapshot.weights));
    assert_eq!(server.asked().len(), before + 1);
}

#[test]
fn contents_that_another_commit_brought_are_not_downloaded_again() {
    let home = Home::new("contents");
    let server = Server::start(Held::folder(&fixture("llama")));
    let settings = home.settings(&server.endpoint());
    let first = get(REPO, &settings).unwrap();
    std::fs::remove_dir_all(home.snapshot()).unwrap();
    let downloads = |server: &Server| server.asked().iter().filter(|asked| asked.line.contains("/elsewhere/")).count();
    let before = downloads(&server);
    assert_eq!(get(REPO, &settings).unwrap().weights, first.weights);
    assert_eq!(downloads(&server), before);
}

#[test]
fn offline_means_that_nobody_is_asked() {
    let home = Home::new("offline");
    let server = Server::start(Held::folder(&fixture("llama")));
    let offline = Settings { is_offline: true, ..home.settings(&server.endpoint()) };
    let refused = get(REPO, &offline).unwrap_err();
    assert!(matches!(refused, HubError::NotCached { .. }) && refused.to_string().contains("HF_HUB_OFFLINE"), "{refused}");
    get(&format!("{REPO}@step1"), &home.settings(&server.endpoint())).unwrap();
    let n = server.asked().len();
    assert!(get(&format!("{REPO}@step1"), &offline).unwrap().offline.is_some());
    // Another branch was never asked for.
    assert!(matches!(get(REPO, &offline), Err(HubError::NotCached { .. })));
    assert_eq!(server.asked().len(), n);
}

#[test]
fn refusals_are_told_in_words() {
    let home = Home::new("refusals");
    let server = Server::start(Held { is_gated: true, ..Held::folder(&fixture("llama")) });
    let command = |model: &str| {
        let output = home.linchpin(&server.endpoint(), &["scan", "--model", model]);
        assert_eq!(code(&output), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let gated = command(REPO);
    assert!(gated.contains("accept its licence at https://huggingface.co/org/tiny") && gated.contains("HF_TOKEN"), "{gated}");
    let unknown = command("org/none");
    assert!(unknown.contains("there is no folder org/none") && unknown.contains("no model org/none on the Hub"), "{unknown}");
    assert!(command("org/tiny@nowhere").contains("no revision nowhere"));
    assert!(command("nothing-of-this-name").contains("linchpin models"));
}

#[test]
fn a_hub_out_of_reach_with_nothing_cached_is_told_in_words() {
    let home = Home::new("nothing");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = get(REPO, &home.settings(&format!("http://{closed}"))).unwrap_err();
    assert!(matches!(refused, HubError::NotCached { .. }), "{refused}");
    assert!(refused.to_string().starts_with("org/tiny at main is not in the cache whole"), "{refused}");
}

#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    let home = Home::new("interrupted");
    let held = Held { breaks_after: Some(100_000), ..Held::folder(&fixture("llama")) };
    let bytes = held.files["model.safetensors"].clone();
    let server = Server::start(held);
    let settings = home.settings(&server.endpoint());
    let refused = get(REPO, &settings).unwrap_err();
    let HubError::Interrupted { got, expected, .. } = refused else { panic!("{refused}") };
    assert_eq!((got, expected), (100_000, bytes.len() as u64));
    assert!(matches!(get(REPO, &Settings { is_offline: true, ..settings.clone() }), Err(HubError::NotCached { .. })));
    get(REPO, &settings).unwrap();
    assert_eq!(std::fs::read(home.snapshot().join("model.safetensors")).unwrap(), bytes);
    let ranges = server.asked().iter().filter_map(|asked| asked.headers.get("range").cloned()).collect::<Vec<_>>();
    assert_eq!(ranges.last().unwrap(), "bytes=100000-");
    let left = std::fs::read_dir(home.repo().join("blobs")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.filter(|path| path.extension().is_some()).count(), 0, "no part is left");
}

#[test]
fn a_download_begun_with_other_bytes_is_begun_anew() {
    let home = Home::new("begun");
    let held = Held::folder(&fixture("llama"));
    let etag = hex(&Sha256::digest(&held.files["model.safetensors"]));
    let server = Server::start(held);
    let part = home.repo().join("blobs").join(format!("{etag}.incomplete"));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, b"something else").unwrap();
    let refused = get(REPO, &home.settings(&server.endpoint())).unwrap_err();
    assert!(matches!(refused, HubError::Damaged { .. }), "{refused}");
    get(REPO, &home.settings(&server.endpoint())).unwrap();
}

#[test]
fn a_cached_file_that_has_changed_is_refused() {
    let home = Home::new("changed");
    let server = Server::start(Held::folder(&fixture("llama")));
    let settings = home.settings(&server.endpoint());
    let sha256 = get(REPO, &settings).unwrap().weights[0].sha256.clone();
    let blob = home.repo().join("blobs").join(&sha256);
    let mut bytes = Vec::new();
    std::fs::File::open(&blob).unwrap().read_to_end(&mut bytes).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let refused = get(REPO, &settings).unwrap_err();
    let HubError::Damaged { expected, path, .. } = &refused else { panic!("{refused}") };
    assert_eq!((expected, path.file_name().unwrap().to_str().unwrap()), (&sha256, sha256.as_str()));
    // As the message says.
    std::fs::remove_file(path).unwrap();
    assert_eq!(get(REPO, &settings).unwrap().weights[0].sha256, sha256);
    assert!(home.snapshot().join("model.safetensors").is_symlink());
}

#[test]
fn files_that_are_missing_or_named_like_paths_are_refused() {
    let without = |names: &[&str], test: &str| {
        let mut held = Held::folder(&fixture("mistral"));
        held.files.retain(|name, _| !names.contains(&name.as_str()));
        let (home, server) = (Home::new(test), Server::start(held));
        get(REPO, &home.settings(&server.endpoint())).err()
    };
    assert!(matches!(without(&["tokenizer.json"], "tokenizer"), Some(HubError::MissingFile { .. })));
    assert!(matches!(without(&["model.safetensors.index.json"], "index"), Some(HubError::NoSafetensors { .. })));
    assert!(without(&["generation_config.json"], "generation").is_none());
    let copy = Copy::of("mistral", "hub-index");
    copy.edit("model.safetensors.index.json", |json| {
        *json = String::from_utf8_lossy(json).replace("model-00002-of-00002", "../../../escaped").into_bytes();
    });
    let (home, server) = (Home::new("paths"), Server::start(Held::folder(copy.dir())));
    let refused = get(REPO, &home.settings(&server.endpoint())).unwrap_err();
    assert!(matches!(refused, HubError::Index(_)), "{refused}");
}

#[test]
fn published_findings_are_of_the_model_they_were_published_for() {
    let home = Home::new("published");
    let model = fixture("llama");
    let model = model.to_str().unwrap();
    let of = |args: &[&str]| home.linchpin("http://127.0.0.1:1", &[&["check", "--model", model], args].concat());
    let other = of(&["--published", "smollm2-135m"]);
    assert_eq!(code(&other), Some(2));
    assert!(stderr(&other).contains("this is not SmolLM2 135M"), "{}", stderr(&other));
    assert!(stderr(&of(&[])).contains("--published"));
    assert!(stderr(&of(&["--published", "qwen2-7b"])).contains("no coordinates are published"));
}

#[test]
fn another_revision_of_a_catalogued_model_is_another_model() {
    let home = Home::new("revision");
    let snapshot = home.0.join("hub/models--allenai--OLMo-1B-0724-hf/snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    for file in files_in(&fixture("llama")) {
        std::fs::copy(&file.url, snapshot.join(&file.name)).unwrap();
    }
    let model = format!("olmo-1b-0724@{COMMIT}");
    let of = |args: &[&str]| home.linchpin("http://127.0.0.1:1", &[args, &["--model", &model]].concat());
    let perplexity = of(&["perplexity", "--json"]);
    assert_eq!(code(&perplexity), Some(0), "{}", stderr(&perplexity));
    let perplexity: serde_json::Value = serde_json::from_slice(&perplexity.stdout).unwrap();
    assert_eq!(perplexity["model"]["id"], format!("olmo-1b-0724-hf-{}", &COMMIT[..12]));
    let refused = of(&["check"]);
    assert_eq!(code(&refused), Some(2));
    assert!(stderr(&refused).contains("--published olmo-1b-0724"), "{}", stderr(&refused));
    // Asked for, it is held to the shape, as any other model is.
    assert!(stderr(&of(&["check", "--published", "olmo-1b-0724"])).contains("this is not OLMo 1B"));
}

#[test]
fn the_catalogue_is_a_document_too() {
    let listed = Home::new("models").linchpin("http://127.0.0.1:1", &["models", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let smol = listed["models"].as_array().unwrap().iter().find(|model| model["id"] == "smollm2-135m").unwrap();
    assert_eq!(smol["published"][0]["weight_edits"][0]["row"], 507);
    assert_eq!(smol["runs"], true);
    let described = include_str!("../docs/export.md");
    for field in smol.as_object().unwrap().keys() {
        assert!(described.contains(&format!("`{field}`")), "{field} is not described");
    }
}
