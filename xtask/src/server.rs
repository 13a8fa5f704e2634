//! A static file server for this machine only: what `serve` and the end-to-end tests use.
//!
//! It does what any static host does (types, ranges, index files) and nothing that some lack (no headers that turn
//! on cross-origin isolation, no compression), so that what works here works there.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, UNIX_EPOCH};

/// Longest request line or header accepted, and how many headers.
const MAX_LINE_BYTES: u64 = 8 * 1024;
const MAX_HEADERS: usize = 100;
/// Longest result that a page may post.
const MAX_BODY_BYTES: u64 = 16 << 20;
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The folders that are served, and how.
pub struct Site {
    /// Where a file is looked for, in this order.
    pub folders: Vec<PathBuf>,
    /// The path that the site lies under.
    pub base: String,
    /// Where what pages post to `__result` goes; without it nothing may be posted.
    pub results: Option<Sender<String>>,
}

/// Serves `folder` under the path `base` until the process ends.
pub fn serve(folder: &Path, port: u16, base: &str, until_stdin_closes: bool) -> Result<(), String> {
    if !folder.is_dir() {
        return Err(format!("there is no folder {} to serve", folder.display()));
    }
    let base = format!("/{}/", base.trim_matches('/')).replace("//", "/");
    let (listener, port) = listen(port)?;
    // The tests wait for this line.
    println!("serving {} on http://127.0.0.1:{port}{base}", folder.display());
    if until_stdin_closes {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
    }
    accept(&listener, Site { folders: vec![folder.to_owned()], base, results: None });
    Ok(())
}

/// Opens a port of this machine only, and tells which; 0 picks a free one.
pub fn listen(port: u16) -> Result<(TcpListener, u16), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|why| format!("cannot listen on port {port}: {why}\n  is another server running? --port picks another port"))?;
    let port = listener.local_addr().map_err(|why| why.to_string())?.port();
    Ok((listener, port))
}

/// Answers until the process ends.
pub fn accept(listener: &TcpListener, site: Site) {
    let site = Arc::new(site);
    for stream in listener.incoming().flatten() {
        let site = site.clone();
        // A visitor who hangs up in the middle is no error of ours.
        std::thread::spawn(move || drop(answer(&stream, &site)));
    }
}

fn answer(stream: &TcpStream, site: &Site) -> std::io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.set_nodelay(true)?;
    let Some(request) = Request::read(BufReader::new(stream))? else {
        return Ok(());
    };
    let reply = reply_to(&request, site);
    send(stream, reply, request.method == "HEAD")
}

#[derive(Default)]
struct Request {
    method: String,
    target: String,
    range: Option<String>,
    /// The version that the browser has already.
    if_none_match: Option<String>,
    body: String,
}

impl Request {
    fn read(mut reader: impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = || {
            let mut line = String::new();
            reader.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)?;
            Ok::<_, std::io::Error>(line.trim_end().to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Ok(None);
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut request = Self { method, target, ..Self::default() };
        let mut body_len = 0;
        for _ in 0..MAX_HEADERS {
            let header = line()?;
            if header.is_empty() {
                break;
            }
            let Some((name, value)) = header.split_once(':') else { continue };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value.to_owned()),
                "if-none-match" => request.if_none_match = Some(value.to_owned()),
                "content-length" => body_len = value.parse().unwrap_or(0).min(MAX_BODY_BYTES),
                _ => {}
            }
        }
        reader.take(body_len).read_to_string(&mut request.body)?;
        Ok(Some(request))
    }
}

/// A reply: status, extra headers, and a body from memory or from a file.
struct Reply {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
    Text(&'static str),
    File { file: File, start: u64, len: u64 },
}

impl Reply {
    fn text(status: &'static str) -> Self {
        let headers = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
        let body = Body::Text(status);
        Self { status, headers, body }
    }
}

fn reply_to(request: &Request, Site { folders, base, results }: &Site) -> Reply {
    if let ("POST", Some(results), Some("__result")) = (request.method.as_str(), results, request.target.strip_prefix(base.as_str())) {
        // Whoever waited for it may be gone.
        drop(results.send(request.body.clone()));
        return Reply::text("200 OK");
    }
    if request.method != "GET" && request.method != "HEAD" {
        return Reply::text("405 Method Not Allowed");
    }
    let path = request.target.split(['?', '#']).next().unwrap_or_default();
    if path.len() + 1 == base.len() && base.starts_with(path) {
        return redirect(base.to_owned());
    }
    let Some(relative) = path.strip_prefix(base.as_str()).and_then(relative_path) else {
        return Reply::text("404 Not Found");
    };
    let candidates = || folders.iter().map(|folder| folder.join(&relative));
    let Some(mut file_path) = candidates().find(|path| path.exists()) else {
        return Reply::text("404 Not Found");
    };
    if file_path.is_dir() {
        if !path.ends_with('/') {
            return redirect(format!("{path}/"));
        }
        file_path.push("index.html");
    }
    match file_reply(&file_path, request) {
        Ok(reply) => reply,
        Err(_) => Reply::text("404 Not Found"),
    }
}

fn redirect(to: String) -> Reply {
    let mut reply = Reply::text("301 Moved Permanently");
    reply.headers.push(("Location", to));
    reply
}

fn file_reply(path: &Path, request: &Request) -> std::io::Result<Reply> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let size = metadata.len();
    let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let etag = format!("\"{size:x}-{:x}\"", written.as_nanos());
    if request.range.is_none() && request.if_none_match.as_ref() == Some(&etag) {
        let headers = vec![("ETag", etag)];
        return Ok(Reply { status: "304 Not Modified", headers, body: Body::Text("") });
    }
    let mut headers = vec![("Content-Type", content_type(path).to_owned()), ("Accept-Ranges", "bytes".to_owned()), ("ETag", etag)];
    let (status, start, len) = match request.range.as_deref().and_then(|range| parse_range(range, size)) {
        None => ("200 OK", 0, size),
        Some(Ok((start, end))) => {
            headers.push(("Content-Range", format!("bytes {start}-{end}/{size}")));
            ("206 Partial Content", start, end + 1 - start)
        }
        Some(Err(Unsatisfiable)) => {
            let mut reply = Reply::text("416 Range Not Satisfiable");
            reply.headers.push(("Content-Range", format!("bytes */{size}")));
            return Ok(reply);
        }
    };
    let body = Body::File { file, start, len };
    Ok(Reply { status, headers, body })
}

fn send(mut stream: &TcpStream, reply: Reply, head_only: bool) -> std::io::Result<()> {
    let len = match &reply.body {
        Body::Text(text) => text.len() as u64,
        Body::File { len, .. } => *len,
    };
    let mut head = format!("HTTP/1.1 {}\r\nContent-Length: {len}\r\n", reply.status);
    for (name, value) in &reply.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    // A build replaces files under the same names: ask each time.
    head.push_str("Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    if head_only {
        return Ok(());
    }
    match reply.body {
        Body::Text(text) => stream.write_all(text.as_bytes()),
        Body::File { mut file, start, len } => {
            file.seek(SeekFrom::Start(start))?;
            std::io::copy(&mut file.take(len), &mut stream).map(drop)
        }
    }
}

/// The file that a path of a URL names, relative to the served folder; nothing for a path that tries to leave it.
fn relative_path(url_path: &str) -> Option<PathBuf> {
    let decoded = percent_decoded(url_path)?;
    if decoded.contains(['\\', '\0', ':']) {
        return None;
    }
    let path = PathBuf::from(decoded.trim_matches('/'));
    let stays_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    stays_inside.then_some(path)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A range that starts behind the end of the file.
#[derive(Debug, PartialEq)]
struct Unsatisfiable;

/// First and last byte that a `Range` header asks for; `None` for one to be ignored (several ranges, other units).
fn parse_range(header: &str, size: u64) -> Option<Result<(u64, u64), Unsatisfiable>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let (start, end) = if first.is_empty() {
        let len = last.parse::<u64>().ok()?.min(size);
        (size - len, size.checked_sub(1))
    } else {
        let start = first.parse().ok()?;
        let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
        if last < start {
            return None;
        }
        (start, size.checked_sub(1).map(|end| end.min(last)))
    };
    Some(match end {
        Some(end) if start <= end => Ok((start, end)),
        _ => Err(Unsatisfiable),
    })
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9", 100), Some(Ok((0, 9))));
        assert_eq!(parse_range("bytes=90-", 100), Some(Ok((90, 99))));
        assert_eq!(parse_range("bytes=90-1000", 100), Some(Ok((90, 99))));
        assert_eq!(parse_range("bytes=-10", 100), Some(Ok((90, 99))));
        assert_eq!(parse_range("bytes=-1000", 100), Some(Ok((0, 99))));
        assert_eq!(parse_range("bytes=100-", 100), Some(Err(Unsatisfiable)));
        assert_eq!(parse_range("bytes=-0", 100), Some(Err(Unsatisfiable)));
        assert_eq!(parse_range("bytes=0-", 0), Some(Err(Unsatisfiable)));
        for ignored in ["bytes=9-1", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes"] {
            assert_eq!(parse_range(ignored, 100), None, "{ignored}");
        }
    }

    #[test]
    fn paths_never_leave_the_folder() {
        assert_eq!(relative_path("a/b%20c.js"), Some("a/b c.js".into()));
        assert_eq!(relative_path(""), Some("".into()));
        for hostile in ["../x", "a/../../x", "%2e%2e/x", "a\\..\\x", "C:/x", "%00", "%zz", "%f"] {
            assert_eq!(relative_path(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn results_are_taken_only_where_somebody_waits_for_them() {
        let request =
            |method: &str, target: &str| Request { method: method.into(), target: target.into(), body: "{}".into(), ..Request::default() };
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut site = Site { folders: Vec::new(), base: "/x/".into(), results: Some(sender) };
        assert_eq!(reply_to(&request("POST", "/x/__result"), &site).status, "200 OK");
        assert_eq!(receiver.try_recv().as_deref(), Ok("{}"));
        assert!(reply_to(&request("POST", "/x/index.html"), &site).status.starts_with("405"));
        site.results = None;
        assert!(reply_to(&request("POST", "/x/__result"), &site).status.starts_with("405"));
    }

    #[test]
    fn files_are_looked_for_in_every_folder_and_not_sent_twice() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let site = Site { folders: vec![here.join("src"), here.to_owned()], base: "/".into(), results: None };
        let get = |target: &str, etag: Option<String>| {
            let request = Request { method: "GET".into(), target: target.into(), if_none_match: etag, ..Request::default() };
            reply_to(&request, &site)
        };
        let reply = get("/Cargo.toml", None);
        assert_eq!(reply.status, "200 OK");
        let etag = reply.headers.iter().find(|(name, _)| *name == "ETag").map(|(_, etag)| etag.clone());
        assert_eq!(get("/Cargo.toml", etag).status, "304 Not Modified");
        assert_eq!(get("/Cargo.toml", Some("\"0-0\"".into())).status, "200 OK");
        assert!(get("/nothing", None).status.starts_with("404"));
    }

    #[test]
    fn weights_and_modules_have_the_types_that_browsers_want() {
        assert_eq!(content_type(Path::new("engine_bg.wasm")), "application/wasm");
        assert_eq!(content_type(Path::new("model.safetensors")), "application/octet-stream");
        assert!(content_type(Path::new("engine.js")).starts_with("text/javascript"));
    }
}
