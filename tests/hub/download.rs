//! Downloads from the Hub, and their place in the cache.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::tensor::Device;
use linchpin::job::Stopped;
use linchpin::job::control::Control;
use linchpin::loading::LoadingError;
use linchpin::loading::checkpoint::Onto;
use linchpin::loading::load::load_weights;
use linchpin::model::config::ModelConfig;
use linchpin::platform::{Files, HubSettings, PlatformError};
use linchpin::protocol::Event;
use linchpin::terms::{FileProof, KnownFile, ModelSource, hex};
use linchpin::weights::error::WeightsError;
use sha2::{Digest, Sha256};

use super::server::{COMMIT, Held, Home, REPO, Server, TOKEN};
use super::stderr;
use crate::support::{Copy, files_in, fixture, load_in};

/// A loaded repository.
#[derive(Debug)]
struct Brought {
    commit: String,
    notes: Vec<String>,
    weights: Vec<FileProof>,
}

fn get(asked: &str, settings: &HubSettings) -> Result<Brought, LoadingError> {
    load(asked, settings, Vec::new(), &Control::silent())
}

/// Loads a repository as the engine does, with the settings of a test instead of the environment's.
fn load(asked: &str, settings: &HubSettings, known: Vec<KnownFile>, control: &Control) -> Result<Brought, LoadingError> {
    let (repo, revision) = asked.split_once('@').unwrap_or((asked, "main"));
    let files = Files::find_with(&ModelSource::Hub(settings.source(repo, revision, known)), settings)?;
    pollster::block_on(async {
        let config = ModelConfig::from_json(&files.read("config.json").await?.unwrap()).unwrap();
        files.read("tokenizer.json").await?.unwrap();
        files.read_optional("generation_config.json").await?;
        let weights = load_weights(&files, &config, &Onto::new(&Device::flex(), None), control).await?;
        Ok(Brought { commit: files.commit().unwrap().into(), notes: files.notes(), weights: weights.files })
    })
}

/// The platform's error, which comes from a server or a disk.
fn of_platform<T: std::fmt::Debug>(loaded: Result<T, LoadingError>) -> PlatformError {
    match loaded {
        Err(LoadingError::Platform(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cache_is_laid_out_as_pythons() {
    let home = Home::new("layout");
    let server = Server::start(Held::folder(&fixture("mistral")));
    let brought = get(REPO, &home.settings(server.endpoint())).unwrap();
    assert_eq!(brought.commit, COMMIT);
    assert_eq!(std::fs::read_to_string(home.repo().join("refs/main")).unwrap(), COMMIT);
    let names = files_in(&home.snapshot()).into_iter().map(|file| file.name).collect::<BTreeSet<_>>();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let others = ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors.index.json"];
    assert_eq!(names, [&others[..], &shards[..]].concat().into_iter().map(String::from).collect(), "nothing else is fetched");
    assert_eq!(brought.weights.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), shards);
    for file in &brought.weights {
        let link = std::fs::read_link(home.snapshot().join(&file.name)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(&file.sha256));
        assert!(file.verified, "{file:?}");
    }
    load_in(&home.snapshot(), &Device::flex()).unwrap();
    // The token went to the Hub, but not to its storage of large files.
    for asked in server.asked() {
        let expected = (asked.on != "cdn").then(|| format!("Bearer {TOKEN}"));
        assert_eq!(asked.authorization, expected, "{asked:?}");
    }
    // Now nothing is downloaded, and a commit is not even requested.
    let before = server.asked().len();
    get(REPO, &home.settings(server.endpoint())).unwrap();
    assert_eq!(server.asked().len(), before + 1);
    let pinned = get(&format!("{REPO}@{COMMIT}"), &home.settings(server.endpoint())).unwrap();
    assert_eq!((pinned.notes, pinned.weights), (Vec::new(), brought.weights));
    assert_eq!(server.asked().len(), before + 1);
}

#[test]
fn contents_that_another_commit_brought_are_not_downloaded_again() {
    let home = Home::new("contents");
    let server = Server::start(Held::folder(&fixture("llama")));
    let settings = home.settings(server.endpoint());
    let first = get(REPO, &settings).unwrap();
    std::fs::remove_dir_all(home.snapshot()).unwrap();
    let n_elsewhere = |server: &Server| server.asked().iter().filter(|asked| asked.on == "cdn").count();
    let before = n_elsewhere(&server);
    assert_eq!(get(REPO, &settings).unwrap().weights, first.weights);
    assert_eq!(n_elsewhere(&server), before);
    assert!(home.snapshot().join("model.safetensors").is_symlink());
}

#[test]
fn offline_means_that_nobody_is_asked() {
    let home = Home::new("offline");
    let server = Server::start(Held::folder(&fixture("llama")));
    let offline = HubSettings { is_offline: true, ..home.settings(server.endpoint()) };
    let refused = of_platform(get(REPO, &offline));
    assert!(matches!(refused, PlatformError::NotCached { .. }) && refused.to_string().contains("HF_HUB_OFFLINE"), "{refused}");
    get(&format!("{REPO}@step1"), &home.settings(server.endpoint())).unwrap();
    let n = server.asked().len();
    let notes = get(&format!("{REPO}@step1"), &offline).unwrap().notes;
    assert!(matches!(notes.as_slice(), [note] if note.contains("HF_HUB_OFFLINE")), "{notes:?}");
    // Another branch was never requested.
    assert!(matches!(of_platform(get(REPO, &offline)), PlatformError::NotCached { .. }));
    assert_eq!(server.asked().len(), n);
}

#[test]
fn hub_out_of_reach_with_nothing_cached_is_told_in_words() {
    let home = Home::new("nothing");
    // A port that was free a moment ago may be another test's by now; nobody listens at this one.
    let refused = of_platform(get(REPO, &home.settings("http://127.0.0.1:1")));
    assert!(matches!(refused, PlatformError::NotCached { .. }), "{refused}");
    assert!(refused.to_string().starts_with("org/tiny at main is not completely in the cache"), "{refused}");
}

/// The paths of partial downloads.
fn parts(home: &Home) -> Vec<PathBuf> {
    let blobs = std::fs::read_dir(home.blobs()).unwrap().map(|entry| entry.unwrap().path());
    blobs.filter(|path| path.extension().is_some()).collect()
}

#[test]
fn download_that_was_cut_goes_on_where_it_was() {
    for knows_no_ranges in [false, true] {
        let home = Home::new(&format!("interrupted-{knows_no_ranges}"));
        let held = Held { breaks_before: Some(100_000), knows_no_ranges, ..Held::folder(&fixture("llama")) };
        let bytes = held.bytes("model.safetensors");
        let server = Server::start(held);
        let settings = home.settings(server.endpoint());
        let refused = of_platform(get(REPO, &settings));
        assert!(matches!(refused, PlatformError::Cut { .. }), "{refused}");
        assert!(refused.to_string().contains(&format!("after 100000 of {} bytes", bytes.len())), "{refused}");
        assert_eq!(std::fs::read(&parts(&home)[0]).unwrap(), bytes[..100_000]);
        let offline = HubSettings { is_offline: true, ..settings.clone() };
        assert!(matches!(of_platform(get(REPO, &offline)), PlatformError::NotCached { .. }));
        assert!(!home.repo().join("refs/main").exists(), "a commit that is not whole is not what a branch is at");
        get(REPO, &settings).unwrap();
        assert_eq!(std::fs::read(home.snapshot().join("model.safetensors")).unwrap(), bytes);
        assert_eq!(server.downloads().last().unwrap().range.as_deref(), Some("bytes=100000-"));
        assert!(parts(&home).is_empty(), "no part is left");
        get(REPO, &offline).unwrap();
    }
}

#[test]
fn download_reports_its_progress_and_obeys_a_stop() {
    let home = Home::new("stop");
    let held = Held::folder(&fixture("llama"));
    let total = held.bytes("model.safetensors").len() as f64;
    let server = Server::start(held);
    let settings = home.settings(server.endpoint());
    let (seen, own) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(None::<Control>)));
    let (of_sink, control_of_sink) = (seen.clone(), own.clone());
    let control = Control::new(move |event| {
        if let (Event::Progress(progress), Some(control)) = (&event, control_of_sink.borrow().as_ref()) {
            of_sink.borrow_mut().push(progress.clone());
            control.request_stop();
        }
    });
    *own.borrow_mut() = Some(control.clone());
    let stopped = load(REPO, &settings, Vec::new(), &control);
    assert!(matches!(stopped, Err(LoadingError::Stopped(Stopped))), "{stopped:?}");
    let [progress] = &seen.borrow()[..] else { panic!("{seen:?}") };
    assert_eq!((progress.doing.code.as_str(), progress.unit.as_str(), progress.total), ("loading_weights", "bytes", total));
    let arrived = std::fs::metadata(&parts(&home)[0]).unwrap().len();
    assert!(0.0 < progress.done && progress.done < total && progress.done == arrived as f64, "{progress:?}");
    // Bytes that have arrived are not downloaded again.
    get(REPO, &settings).unwrap();
    assert_eq!(server.downloads().last().unwrap().range, Some(format!("bytes={arrived}-")));
}

#[test]
fn download_begun_with_other_bytes_is_begun_anew() {
    let home = Home::new("begun");
    let held = Held::folder(&fixture("llama"));
    let bytes = held.bytes("model.safetensors");
    let etag = hex(&Sha256::digest(&bytes));
    let server = Server::start(held);
    let settings = home.settings(server.endpoint());
    let part = home.blobs().join(format!("{etag}.incomplete"));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    // The digest shows, at the latest, that a part belongs to another file.
    let mut other = bytes[..100_000].to_vec();
    other[50_000] ^= 1;
    let altered = hex(&Sha256::digest([&other, &bytes[100_000..]].concat()));
    std::fs::write(&part, &other).unwrap();
    let refused = of_platform(get(REPO, &settings));
    assert!(matches!(&refused, PlatformError::Corrupt { expected, got, .. } if *expected == etag && *got == altered), "{refused}");
    assert!(refused.to_string().contains(&etag) && refused.to_string().contains(&altered), "{refused}");
    assert!(!part.exists());
    get(REPO, &settings).unwrap();
    // The beginning shows it before anything is used.
    std::fs::remove_dir_all(home.repo()).unwrap();
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, b"something else").unwrap();
    get(REPO, &settings).unwrap();
    assert_eq!(std::fs::read(home.snapshot().join("model.safetensors")).unwrap(), bytes);
}

#[test]
fn weights_that_are_not_numbers_are_not_gone_on_with() {
    let home = Home::new("nan");
    let held = Held::folder(&fixture("llama"));
    let bytes = held.bytes("model.safetensors");
    let etag = hex(&Sha256::digest(&bytes));
    let server = Server::start(held);
    let part = home.blobs().join(format!("{etag}.incomplete"));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    let mut other = bytes[..100_000].to_vec();
    other[50_000..50_008].fill(0xff);
    std::fs::write(&part, &other).unwrap();
    let settings = home.settings(server.endpoint());
    let refused = get(REPO, &settings).unwrap_err();
    assert!(matches!(refused, LoadingError::Weights(WeightsError::NonFinite { .. })), "{refused}");
    get(REPO, &settings).unwrap();
}

#[test]
fn cached_file_that_has_changed_is_refused() {
    // One change in the data, and one in the header.
    for place in [5000, 3] {
        let home = Home::new(&format!("changed-{place}"));
        let server = Server::start(Held::folder(&fixture("llama")));
        let settings = home.settings(server.endpoint());
        let sha256 = get(REPO, &settings).unwrap().weights[0].sha256.clone();
        let blob = home.blobs().join(&sha256);
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[place] ^= 1;
        std::fs::write(&blob, &bytes).unwrap();
        let refused = of_platform(get(REPO, &settings));
        let PlatformError::Altered { expected, got, path } = &refused else { panic!("{refused}") };
        assert_eq!((expected, got), (&sha256, &hex(&Sha256::digest(&bytes))));
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), sha256);
        let told = stderr(&home.linchpin(server.endpoint(), &["perplexity", "--model", REPO]));
        for part in [&sha256, got, "Remove that file", path.to_str().unwrap()] {
            assert!(told.contains(part), "{part}: {told}");
        }
        // The next step in the message.
        std::fs::remove_file(path).unwrap();
        assert_eq!(get(REPO, &settings).unwrap().weights[0].sha256, sha256);
        assert!(home.snapshot().join("model.safetensors").is_symlink());
    }
}

#[test]
fn digests_of_the_catalogue_and_of_the_hub_have_to_agree() {
    for lists_names_alone in [false, true] {
        let home = Home::new(&format!("digests-{lists_names_alone}"));
        let held = Held { lists_names_alone, ..Held::folder(&fixture("llama")) };
        let of_hub = hex(&Sha256::digest(held.bytes("model.safetensors")));
        let server = Server::start(held);
        let settings = home.settings(server.endpoint());
        let known = |sha256: &str| vec![KnownFile { name: "model.safetensors".into(), size: None, sha256: Some(sha256.into()) }];
        let other = "0".repeat(64);
        let refused = |settings: &HubSettings| {
            let refused = of_platform(load(REPO, settings, known(&other), &Control::silent()));
            assert!(matches!(refused, PlatformError::Changed { .. }), "{refused}");
            assert!(refused.to_string().contains(&of_hub) && refused.to_string().contains(&other), "{refused}");
        };
        refused(&settings);
        assert_eq!(server.downloads().len(), 0);
        let brought = load(REPO, &settings, known(&of_hub), &Control::silent()).unwrap();
        assert!(brought.weights[0].verified, "{brought:?}");
        // In the cache, the name of the contents is the Hub's digest.
        refused(&HubSettings { is_offline: true, ..settings });
    }
}

#[test]
fn files_that_are_named_like_paths_are_refused() {
    let copy = Copy::of("mistral", "hub-index");
    copy.edit("model.safetensors.index.json", |json| {
        *json = String::from_utf8_lossy(json).replace("model-00002-of-00002", "../../../escaped").into_bytes();
    });
    let (home, server) = (Home::new("paths"), Server::start(Held::folder(copy.dir())));
    let refused = get(REPO, &home.settings(server.endpoint())).unwrap_err();
    assert!(matches!(refused, LoadingError::Weights(WeightsError::ShardName { .. })), "{refused}");
}
