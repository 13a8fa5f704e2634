//! A server on this machine that answers like the Hub, and a home folder for the cache.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use linchpin::platform::HubSettings;
use linchpin::terms::hex;
use sha2::{Digest, Sha256};

use crate::support::files_in;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const REPO: &str = "org/tiny";
pub const TOKEN: &str = "hf_secret";

/// The server's files, and its behaviour.
#[derive(Clone, Default)]
pub struct Held {
    pub files: BTreeMap<String, Vec<u8>>,
    pub is_gated: bool,
    /// Bytes after which the connection breaks, once, if the rest of a file is requested.
    pub breaks_after: Option<usize>,
    /// Sends whole files, even if a range is requested.
    pub knows_no_ranges: bool,
    /// Lists only the files' names, as some mirrors do.
    pub lists_names_alone: bool,
}

impl Held {
    pub fn folder(dir: &Path) -> Self {
        let read = |file: linchpin::terms::ModelFile| (file.name, std::fs::read(file.url).unwrap());
        Self { files: files_in(dir).into_iter().map(read).collect(), ..Self::default() }
    }
}

/// One request: its method and path, and its headers in lower case.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub headers: BTreeMap<String, String>,
}

/// A server that runs until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(held: Held) -> Self {
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

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests for large files, whole or from some byte on.
    pub fn downloads(&self) -> Vec<Asked> {
        let is_open = |range: &String| range.ends_with('-');
        let is_download = |asked: &Asked| asked.line.contains("/elsewhere/") && asked.headers.get("range").is_none_or(is_open);
        self.asked().into_iter().filter(is_download).collect()
    }

    pub fn endpoint(&self) -> String {
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
            // The Hub stores large files elsewhere, and describes them before it redirects.
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
        return stored(stream, &bytes, asked.headers.get("range"), held);
    }
    refuse(stream, 404, "RepoNotFound");
}

fn info(stream: &mut TcpStream, held: &Held, asked: &str) {
    let Some(revision) = asked.strip_suffix("?blobs=true") else { return refuse(stream, 400, "BadRequest") };
    if ![COMMIT, "main", "step1"].contains(&revision) {
        return refuse(stream, 404, "RevisionNotFound");
    }
    let file = |(name, bytes): (&String, &Vec<u8>)| {
        let mut file = serde_json::json!({ "rfilename": name });
        if !held.lists_names_alone {
            file["size"] = bytes.len().into();
        }
        if !held.lists_names_alone && name.ends_with(".safetensors") {
            file["lfs"] = serde_json::json!({ "sha256": hex(&Sha256::digest(bytes)), "size": bytes.len() });
        }
        file
    };
    let siblings = held.files.iter().map(file).collect::<Vec<_>>();
    let json = serde_json::json!({ "id": REPO, "sha": COMMIT, "siblings": siblings });
    send(stream, "200 OK\r\nContent-Type: application/json", json.to_string().as_bytes(), false);
}

/// A large file from the storage, or a part of it.
fn stored(stream: &mut TcpStream, bytes: &[u8], range: Option<&String>, held: &mut Held) {
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (from, end) = range.map_or((0, None), |(from, last)| (from.parse().unwrap(), last.parse::<usize>().ok().map(|last| last + 1)));
    let (status, part) = match range {
        Some(_) if !held.knows_no_ranges => {
            let end_of_part = end.unwrap_or(bytes.len()).min(bytes.len());
            let range = format!("bytes {from}-{}/{}", end_of_part - 1, bytes.len());
            (format!("206 Partial Content\r\nContent-Range: {range}"), &bytes[from..end_of_part])
        }
        _ => ("200 OK".into(), bytes),
    };
    match held.breaks_after.take_if(|_| end.is_none()) {
        Some(n) => {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", part.len()).unwrap();
            stream.write_all(&part[..n]).unwrap();
        }
        None => send(stream, &status, part, false),
    }
}

fn send(stream: &mut TcpStream, head: &str, body: &[u8], is_head: bool) {
    let mut answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).into_bytes();
    if !is_head {
        answer.extend(body);
    }
    // A client that has enough bytes may be gone.
    let _ = stream.write_all(&answer);
}

fn refuse(stream: &mut TcpStream, status: u16, code: &str) {
    send(stream, &format!("{status} Refused\r\nX-Error-Code: {code}"), b"", false);
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
