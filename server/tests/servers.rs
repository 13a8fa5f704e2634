//! The servers from a client's view, as far as the program's own tests do not cover them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use local_server::{Asked, Folder, Hub, Kind, OUTSIDER, Repo, Rule, Site, TOKEN};

const CONFIG: &str = "{\"model_type\":\"llama\"}\n";
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS_PATH: &str = "/org/open/resolve/main/model.safetensors";
const CONFIG_PATH: &str = "/org/open/resolve/main/config.json";
/// More bytes than are sent at once, and not a multiple of that.
const N: usize = (5 << 18) + 17;

/// A folder with a model in it, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("linchpin-{}-server-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), CONFIG).unwrap();
        std::fs::write(folder.join("model.safetensors"), weights()).unwrap();
        Self(folder)
    }

    fn hub(&self) -> Hub {
        let hub = Hub::start().unwrap();
        let open = Repo { folder: Some(self.0.clone()), revision: Some(REVISION.into()), ..Repo::default() };
        hub.publish("org/open", &open).unwrap();
        hub.publish("org/gated", &Repo { gated: Some("manual".into()), ..open }).unwrap();
        let folder = |ranges, cors| Folder { folder: Some(self.0.clone()), files: BTreeMap::new(), ranges, cors };
        hub.add_folder("plain", folder(true, true)).unwrap();
        hub.add_folder("no-ranges", folder(false, true)).unwrap();
        hub.add_folder("no-cors", folder(true, false)).unwrap();
        hub
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn weights() -> Vec<u8> {
    (0..N).map(|i| ((i * 31 + (i >> 11)) % 256) as u8).collect()
}

/// The result of a request.
struct Came {
    status: u16,
    headers: BTreeMap<String, String>,
    bytes: Vec<u8>,
    /// `true` if the body was complete.
    is_whole: bool,
}

impl Came {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Sends a request with headers; `None` if there is no answer.
fn ask(url: &str, headers: &[(&str, &str)], redirects: u32) -> Option<Came> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(redirects).max_redirects_will_error(false);
    let agent = config.timeout_global(Some(Duration::from_secs(10))).build().new_agent();
    let request = headers.iter().fold(agent.get(url), |request, (name, value)| request.header(*name, *value));
    let answer = request.call().ok()?;
    let (status, mut bytes) = (answer.status().as_u16(), Vec::new());
    let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let is_whole = answer.into_body().into_reader().read_to_end(&mut bytes).is_ok();
    Some(Came { status, headers, bytes, is_whole })
}

fn get(hub: &Hub, path: &str, range: &str) -> Came {
    let headers = [("Range", range), ("Origin", "http://page.example")];
    ask(&format!("{}{path}", hub.url), &headers[usize::from(range.is_empty())..], 5).unwrap()
}

/// A fault of the storage that happens once.
fn fault(kind: Kind) -> Rule {
    Rule { on: Some("cdn".into()), ..Rule::new(kind) }
}

#[test]
fn files_are_at_the_addresses_of_the_hub() {
    let scratch = Scratch::new("addresses");
    let hub = scratch.hub();
    let first = |path: &str| ask(&format!("{}{path}", hub.url), &[], 0).unwrap();
    let small = first(CONFIG_PATH);
    assert_eq!((small.status, small.header("x-repo-commit")), (307, REVISION));
    assert!(small.header("location").starts_with("/api/resolve-cache/models/org/open/"));
    let large = first(WEIGHTS_PATH);
    assert_eq!((large.status, large.header("x-linked-size")), (302, N.to_string().as_str()));
    let sha256 = large.header("x-linked-etag").trim_matches('"').to_owned();
    assert!(large.header("location").starts_with("http://localhost:") && sha256.len() == 64);
    let list = String::from_utf8(get(&hub, "/api/models/org/open/revision/main?blobs=true", "").bytes).unwrap();
    assert!(list.contains(&sha256) && list.contains(REVISION) && !list.contains("Last-Modified"), "{list}");
    assert_eq!(get(&hub, CONFIG_PATH, "").bytes, CONFIG.as_bytes());
    assert_eq!(get(&hub, WEIGHTS_PATH, "").bytes, weights());
    // Another commit moves `main`; the earlier one stays.
    let newer = hub.publish("org/open", &Repo { folder: Some(scratch.0.clone()), ..Repo::default() }).unwrap();
    assert_eq!(first(CONFIG_PATH).header("x-repo-commit"), newer);
    assert_eq!(first(&CONFIG_PATH.replace("main", REVISION)).header("x-repo-commit"), REVISION);
}

#[test]
fn refusals_depend_on_the_token() {
    let scratch = Scratch::new("refusals");
    let hub = scratch.hub();
    let ask = |path: &str, token: &str| {
        let came = ask(&format!("{}{path}", hub.url), &[("Authorization", &format!("Bearer {token}"))], 5).unwrap();
        (came.status, came.header("x-error-code").to_owned())
    };
    for (path, token, status, code) in [
        ("/api/models/org/nobody", "hf_wrong", 401, ""),
        ("/api/models/org/nobody", TOKEN, 404, "RepoNotFound"),
        ("/api/models/org/open/revision/v9", "", 404, "RevisionNotFound"),
        ("/org/open/resolve/v9/config.json", "", 404, "RevisionNotFound"),
        ("/org/open/resolve/main/pytorch_model.bin", "", 404, "EntryNotFound"),
        ("/api/models/org/gated", "", 200, ""),
        ("/org/gated/resolve/main/config.json", "hf_wrong", 401, "GatedRepo"),
        ("/org/gated/resolve/main/config.json", OUTSIDER, 403, "GatedRepo"),
        ("/org/gated/resolve/main/model.safetensors", TOKEN, 200, ""),
        ("/folder/plain/nothing", "", 404, ""),
        ("/folder/nowhere/config.json", "", 404, ""),
    ] {
        assert_eq!(ask(path, token), (status, code.to_owned()), "{path} {token}");
    }
}

#[test]
fn ranges_are_answered_where_a_server_has_them() {
    let scratch = Scratch::new("ranges");
    let hub = scratch.hub();
    for path in [WEIGHTS_PATH, "/folder/plain/model.safetensors"] {
        for (range, start, end) in [("bytes=0-9", 0, 10), ("bytes=1200000-", 1_200_000, N), ("bytes=-3", N - 3, N)] {
            let came = get(&hub, path, range);
            assert_eq!((came.status, came.header("content-range")), (206, format!("bytes {start}-{}/{N}", end - 1).as_str()));
            assert!(came.is_whole && came.bytes == weights()[start..end], "{range}");
        }
        assert_eq!(get(&hub, path, &format!("bytes={N}-")).status, 416);
    }
    let whole = get(&hub, "/folder/no-ranges/model.safetensors", "bytes=5-9");
    assert_eq!((whole.status, whole.header("accept-ranges"), whole.bytes.len()), (200, "", N));
    assert_eq!(get(&hub, "/folder/plain/config.json", "").header("access-control-allow-origin"), "*");
    assert_eq!(get(&hub, "/folder/no-cors/config.json", "").header("access-control-allow-origin"), "");
    assert_eq!(get(&hub, "/api/models/org/open", "").header("access-control-allow-origin"), "http://page.example");
}

#[test]
fn faults_of_a_body_are_what_they_say() {
    let scratch = Scratch::new("bodies");
    let hub = scratch.hub();
    let (whole, at) = (weights(), 1_200_000);
    let with = |rule: Rule, range: &str| {
        hub.fail(rule);
        get(&hub, WEIGHTS_PATH, range)
    };
    for n in [0, 1, 70_000, (1 << 20) + 5] {
        let came = with(Rule { bytes: Some(n as u64), ..fault(Kind::Cut) }, "");
        assert_eq!(came.header("content-length"), N.to_string());
        assert!(!came.is_whole && came.bytes == whole[..n], "{} of {n}", came.bytes.len());
        let Asked { bytes_sent, ended, .. } = hub.requests().pop().unwrap();
        assert_eq!((bytes_sent, ended), (n as u64, Some("cut")));
    }
    hub.fail(Rule { at: Some(at as u64), times: 2, ..fault(Kind::Cut) });
    assert!(get(&hub, WEIGHTS_PATH, "bytes=0-1199999").is_whole, "a range without that byte is whole");
    for start in [700_000, at - 1] {
        let came = get(&hub, WEIGHTS_PATH, &format!("bytes={start}-"));
        assert!(!came.is_whole && came.bytes == whole[start..at], "{}", came.bytes.len());
    }
    assert!(get(&hub, WEIGHTS_PATH, "").is_whole, "twice is over");
    assert!(!with(Rule { bytes: Some(1 << 20), reset: true, ..fault(Kind::Cut) }, "").is_whole);

    let mut damaged = whole.clone();
    damaged[at] ^= 1;
    hub.fail(Rule { at: Some(at as u64), times: 2, ..fault(Kind::Flip) });
    for start in [0, at] {
        assert_eq!(get(&hub, WEIGHTS_PATH, &format!("bytes={start}-")).bytes, damaged[start..]);
    }
    let short = with(Rule { bytes: Some(3), ..fault(Kind::Short) }, "bytes=10-19");
    assert_eq!((short.header("content-range"), &short.bytes[..]), (format!("bytes 10-16/{N}").as_str(), &whole[10..17]));
    let long = with(Rule { bytes: Some(2), ..fault(Kind::Long) }, "bytes=10-19");
    assert_eq!((long.header("content-range"), &long.bytes), (format!("bytes 10-19/{N}").as_str(), &[&whole[10..20], &[0, 0]].concat()));
    let all = with(fault(Kind::NoRange), "bytes=10-19");
    assert_eq!((all.status, all.header("content-range"), all.bytes.len()), (200, "", N));
    let more = with(Rule { by: Some(10), ..fault(Kind::WrongLength) }, "");
    assert!(!more.is_whole && more.header("content-length") == (N + 10).to_string() && more.bytes == whole);
    assert_eq!(with(Rule { by: Some(-10), ..fault(Kind::WrongLength) }, "").bytes, whole[..N - 10]);
    assert_eq!(
        with(Rule { by: Some(-100), ..fault(Kind::WrongTotal) }, "bytes=5-9").header("content-range"),
        format!("bytes 5-9/{}", N - 100)
    );
    assert_eq!(with(fault(Kind::WrongStart), "bytes=5-9").header("content-range"), format!("bytes 6-10/{N}"));
    // Two at once.
    hub.fail(Rule { at: Some(0), ..fault(Kind::Flip) });
    assert_eq!(with(Rule { bytes: Some(4), ..fault(Kind::Cut) }, "").bytes, [&[whole[0] ^ 1], &whole[1..4]].concat());
}

#[test]
fn slow_and_compressed_bodies_are_whole() {
    let scratch = Scratch::new("slow");
    let hub = scratch.hub();
    hub.fail(Rule { bytes_per_second: Some(100), on: Some("cache".into()), ..Rule::new(Kind::Slow) });
    let began = Instant::now();
    assert_eq!(get(&hub, CONFIG_PATH, "").bytes, CONFIG.as_bytes());
    assert!(began.elapsed() > Duration::from_millis(150), "{:?}", began.elapsed());
    hub.fail(Rule { on: Some("cache".into()), ..Rule::new(Kind::Gzip) });
    let zipped = get(&hub, CONFIG_PATH, "");
    assert_eq!((zipped.header("content-length"), &zipped.bytes), ("", &CONFIG.as_bytes().to_vec()));
    assert_eq!(hub.requests().pop().unwrap().faults, [Kind::Gzip]);
}

#[test]
fn faults_of_headers_are_what_they_say() {
    let scratch = Scratch::new("headers");
    let hub = scratch.hub();
    let etag = || get(&hub, WEIGHTS_PATH, "bytes=0-0").header("etag").to_owned();
    let usual = etag();
    hub.fail(Rule { times: 2, ..fault(Kind::Etag) });
    let (first, second) = (etag(), etag());
    assert!(first != usual && second != usual && first != second && etag() == usual);
    let headers = BTreeMap::from([("ETag".to_owned(), None), ("X-New".to_owned(), Some("1".to_owned()))]);
    hub.fail(Rule { headers, ..fault(Kind::Headers) });
    let came = get(&hub, WEIGHTS_PATH, "");
    assert_eq!((came.header("etag"), came.header("x-new"), came.header("access-control-allow-origin")), ("", "1", "*"));
    hub.fail(fault(Kind::NoCors));
    assert_eq!(get(&hub, WEIGHTS_PATH, "").header("access-control-allow-origin"), "");
}

#[test]
fn faults_take_the_place_of_an_answer() {
    let scratch = Scratch::new("answers");
    let hub = scratch.hub();
    let url = format!("{}/folder/plain/config.json", hub.url);
    let with = |rule: Rule| {
        hub.fail(rule);
        ask(&url, &[], 5)
    };
    assert!(with(Rule::new(Kind::Drop)).is_none());
    let limited = with(Rule { status: Some(429), retry_after: Some(3), ..Rule::new(Kind::Status) }).unwrap();
    assert_eq!((limited.status, limited.header("retry-after")), (429, "3"));
    assert_eq!(with(Rule { times: 100, ..Rule::new(Kind::RedirectLoop) }).unwrap().status, 302);
    hub.clear();
    assert!(with(Rule::new(Kind::Html)).unwrap().header("content-type").starts_with("text/html"));
    // One answer is spared, then the fault happens.
    hub.fail(Rule { after: 1, path: "config".into(), ..Rule::new(Kind::Status) });
    assert_eq!([(); 3].map(|()| ask(&url, &[], 5).unwrap().status), [200, 503, 200]);
    for kind in [Kind::Silence, Kind::Stall] {
        hub.fail(Rule::new(kind));
        let (sender, receiver) = std::sync::mpsc::channel();
        let url = url.clone();
        std::thread::spawn(move || sender.send(ask(&url, &[], 5).is_some_and(|came| came.is_whole)));
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err(), "{kind:?}");
    }
}

#[test]
fn clients_that_leave_are_noted() {
    let scratch = Scratch::new("leave");
    let hub = scratch.hub();
    hub.fail(Rule { bytes_per_second: Some(1000), ..Rule::new(Kind::Slow) });
    let url = format!("{}/folder/plain/model.safetensors", hub.url);
    let mut body = ureq::get(&url).call().unwrap().into_body().into_reader();
    body.read_exact(&mut [0; 10]).unwrap();
    drop(body);
    while hub.requests()[0].ended.is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(hub.requests()[0].ended, Some("client left"));
    assert_eq!(get(&hub, CONFIG_PATH, "").bytes, CONFIG.as_bytes());
}

#[test]
fn sites_serve_their_folders_and_take_results_only_where_somebody_waits() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (sender, results) = std::sync::mpsc::channel();
    let site = |folders: Vec<PathBuf>, results| Site { folders, base: "x".into(), results }.serve(0).unwrap();
    let serving = site(vec![here.join("src"), here.to_owned()], Some(sender));
    let get = |path: &str| ask(&format!("{}{path}", serving.url()), &[], 0).unwrap();
    let manifest = get("Cargo.toml");
    assert_eq!((manifest.status, manifest.bytes), (200, std::fs::read(here.join("Cargo.toml")).unwrap()));
    assert_eq!((manifest.headers["cache-control"].as_str(), get("lib.rs").status, get("nothing").status), ("no-cache", 200, 404));
    for hostile in ["../Cargo.toml", "%2e%2e/Cargo.toml", "src/%2e%2e/%2e%2e/Cargo.toml", "..%5cCargo.toml", "%00", "%zz"] {
        assert_ne!(get(hostile).status, 200, "{hostile}");
    }
    let again = ask(&format!("{}Cargo.toml", serving.url()), &[("If-Modified-Since", &manifest.headers["last-modified"])], 0).unwrap();
    assert_eq!((again.status, again.bytes.len()), (304, 0));
    let below = get("src");
    assert_eq!((below.status, below.header("location")), (301, "/x/src/"));
    let base = ask(serving.url().trim_end_matches('/'), &[], 0).unwrap();
    assert_eq!((base.status, base.header("location")), (301, "/x/"));

    let post = |url: String| ureq::post(&url).config().http_status_as_error(false).build().send("{}").unwrap().status().as_u16();
    assert_eq!(post(format!("{}__result", serving.url())), 200);
    assert_eq!(results.try_recv().as_deref(), Ok("{}"));
    assert_eq!(post(format!("{}Cargo.toml", serving.url())), 405);
    let deaf = site(vec![here.to_owned()], None);
    assert_eq!(post(format!("{}__result", deaf.url())), 405);
}

#[test]
fn sites_name_the_types_that_browsers_want() {
    let scratch = Scratch::new("types");
    let serving = Site { folders: vec![scratch.0.clone()], base: "/".into(), results: None }.serve(0).unwrap();
    for (name, kind) in [("a.wasm", "application/wasm"), ("a.js", "text/javascript"), ("a.css", "text/css")] {
        std::fs::write(scratch.0.join(name), "x").unwrap();
        let came = ask(&format!("{}{name}", serving.url()), &[], 0).unwrap();
        assert!(came.header("content-type").starts_with(kind), "{name}: {}", came.header("content-type"));
    }
    let weights = ask(&format!("{}model.safetensors", serving.url()), &[], 0).unwrap();
    assert_eq!(weights.header("content-type"), "application/octet-stream");
}
