//! A model's files from the Hugging Face Hub, by way of the cache that its Python library keeps.
//!
//! A commit that is in the cache whole is not asked for again, and without a network a branch is what it was when it
//! was last asked for. Weights are hashed while they are downloaded, and those in the cache before they are used: the
//! Hub names the large files by their SHA-256, and the catalogue knows some, too.
//!
//! Downloads go through `ureq`, and the cache's layout is `hf-hub`'s; that crate's own downloads would turn on features
//! of crates that Burn is built on.

mod cache;
mod client;
mod error;
mod settings;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use error::HubError;
pub use settings::Settings;

use cache::RepoCache;
use client::Client;

use crate::catalog::hub::{HubModel, find_any, find_repo};
use crate::terms::ModelFile;
use crate::weights::safetensors::parse_index;
use crate::words::is_lower_hex;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const GENERATION: &str = "generation_config.json";
const SINGLE_FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model of the Hub at one point of its history.
#[derive(Debug, Clone, PartialEq)]
pub struct HubRepo {
    /// `organisation/name`.
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The catalogue's entry of the repository, which is about one commit of it: see [`Self::entry_at`].
    pub entry: Option<&'static HubModel>,
}

impl HubRepo {
    /// Reads a catalogue id or `organisation/name`, either with `@revision`. Without a revision it is the catalogue's,
    /// or `main`. `None` if the text is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').map_or((text, None), |(name, revision)| (name, Some(revision)));
        let entry = find_any(name).or_else(|| find_repo(name));
        let repo = entry.map_or(name, |entry| entry.repo);
        let revision = revision.or_else(|| entry.map(|entry| entry.revision)).unwrap_or("main");
        let is_valid = is_repo(repo) && is_revision(revision);
        is_valid.then(|| Self { repo: repo.into(), revision: revision.into(), entry })
    }

    /// True if the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }

    /// The catalogue's entry, if it is about this commit.
    pub fn entry_at(&self, commit: &str) -> Option<&'static HubModel> {
        self.entry.filter(|entry| entry.revision == commit)
    }

    /// The catalogue's digest of a file at a commit.
    fn known_digest(&self, commit: &str, name: &str) -> Option<&'static str> {
        let weights = self.entry_at(commit).filter(|_| name == SINGLE_FILE)?.weights;
        weights.map(|file| file.sha256)
    }
}

fn is_repo(repo: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_part = |part: &str| (1..=96).contains(&part.len()) && !part.starts_with(['.', '-']) && part.chars().all(is_plain);
    repo.split('/').count() == 2 && repo.split('/').all(is_part) && !repo.contains("..") && !repo.contains("--")
}

/// A revision becomes part of an address and of a path, so only plain ones pass.
fn is_revision(revision: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(is_plain);
    revision.len() <= 255 && revision.split('/').all(is_part)
}

fn is_commit(text: &str) -> bool {
    is_lower_hex(text, 40)
}

fn is_sha256(text: &str) -> bool {
    is_lower_hex(text, 64)
}

/// A model's files on this machine.
#[derive(Debug)]
pub struct Snapshot {
    pub commit: String,
    pub files: Vec<ModelFile>,
    pub weights: Vec<Checked>,
    /// The reason why the Hub could not be asked; `None` if it was asked, or did not have to be.
    pub offline: Option<String>,
}

/// A file of weights, and the digest that its own was found equal to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub name: String,
    pub sha256: String,
    pub against: Against,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The catalogue's digest, which others have published.
    Catalog,
    /// The Hub's digest.
    Hub,
    /// No digest: the Hub gave none.
    Nothing,
}

/// A callback for progress: what is done with a file, its name, bytes done, and bytes in all.
pub type Tell<'a> = &'a mut dyn FnMut(&str, &str, u64, u64);

/// Brings a model's files onto this machine, unless they are there.
///
/// # Errors
///
/// [`HubError`], in words for the person who asked.
pub fn fetch(asked: &HubRepo, settings: &Settings, tell: Tell) -> Result<Snapshot, HubError> {
    let cache = RepoCache::new(settings, &asked.repo);
    // A commit never changes.
    if let Some(names) = Some(&asked.revision).filter(|revision| is_commit(revision)).and_then(|commit| whole(&cache, commit)) {
        return cached(asked, &cache, asked.revision.clone(), names, None, tell);
    }
    if settings.is_offline {
        return from_cache(asked, &cache, "HF_HUB_OFFLINE is set".into(), tell);
    }
    let client = Client::new(settings, &asked.repo);
    match client.info(&asked.revision) {
        Ok(info) => download(asked, &cache, &client, info, tell),
        Err(HubError::Unreachable { why }) => from_cache(asked, &cache, why, tell),
        Err(error) => Err(error),
    }
}

/// Takes a revision from the cache, as it was when the Hub was last asked for it.
fn from_cache(asked: &HubRepo, cache: &RepoCache, why: String, tell: Tell) -> Result<Snapshot, HubError> {
    let commit = if is_commit(&asked.revision) { Some(asked.revision.clone()) } else { cache.resolve(&asked.revision) };
    let found = commit.and_then(|commit| whole(cache, &commit).map(|names| (commit, names)));
    match found {
        Some((commit, names)) => cached(asked, cache, commit, names, Some(why), tell),
        None => Err(HubError::NotCached { repo: asked.repo.clone(), revision: asked.revision.clone(), why }),
    }
}

/// Names of the files of a commit; `None` unless the cache has what a model needs, with all of the weights.
fn whole(cache: &RepoCache, commit: &str) -> Option<Vec<String>> {
    let weights = if cache.contains(commit, SINGLE_FILE) {
        vec![SINGLE_FILE.into()]
    } else {
        let index = std::fs::read(cache.path(commit, INDEX)).ok()?;
        shards(&index).ok()?
    };
    let has = |name: &str| cache.contains(commit, name);
    let is_whole = has(CONFIG) && has(TOKENIZER) && weights.iter().all(|name| has(name));
    is_whole
        .then(|| [CONFIG, TOKENIZER, GENERATION, INDEX].into_iter().filter(|name| has(name)).map(str::to_owned).chain(weights).collect())
}

fn cached(
    asked: &HubRepo,
    cache: &RepoCache,
    commit: String,
    names: Vec<String>,
    offline: Option<String>,
    tell: Tell,
) -> Result<Snapshot, HubError> {
    let (mut files, mut weights) = (Vec::new(), Vec::new());
    for name in names {
        let path = cache.path(&commit, &name);
        if is_weights(&name) {
            let sha256 = hashed(&name, &path, tell)?;
            weights.push(check(asked, &commit, &name, sha256, &cache::blob_name(&path), &path)?);
        }
        files.push(model_file(name, &path));
    }
    Ok(Snapshot { commit, files, weights, offline })
}

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors")
}

fn model_file(name: String, path: &Path) -> ModelFile {
    ModelFile { name, url: path.display().to_string() }
}

/// Compares a digest with what is known of the file; `etag` is the Hub's name for its contents.
fn check(asked: &HubRepo, commit: &str, name: &str, sha256: String, etag: &str, path: &Path) -> Result<Checked, HubError> {
    let known = asked.known_digest(commit, name);
    let expected = known.or(Some(etag).filter(|etag| is_sha256(etag)));
    if let Some(expected) = expected.filter(|expected| *expected != sha256) {
        // The file itself, not the link to it.
        let path = path.canonicalize().unwrap_or_else(|_| PathBuf::from(path));
        return Err(HubError::Damaged { name: name.into(), path, expected: expected.into(), got: sha256 });
    }
    let against = match (known, expected) {
        (Some(_), _) => Against::Catalog,
        (None, Some(_)) => Against::Hub,
        (None, None) => Against::Nothing,
    };
    Ok(Checked { name: name.into(), sha256, against })
}

fn download(asked: &HubRepo, cache: &RepoCache, client: &Client, info: client::Info, tell: Tell) -> Result<Snapshot, HubError> {
    let commit = info.sha;
    let listed = info.siblings.iter().map(|file| file.rfilename.as_str()).collect::<BTreeSet<_>>();
    for name in [CONFIG, TOKENIZER] {
        if !listed.contains(name) {
            return Err(HubError::MissingFile { repo: asked.repo.clone(), name: name.into() });
        }
    }
    let mut fetching = Fetching { asked, cache, client, commit: &commit, files: Vec::new(), weights: Vec::new() };
    for name in [CONFIG, TOKENIZER, GENERATION].into_iter().filter(|name| listed.contains(name)) {
        fetching.file(name, tell)?;
    }
    // transformers also takes the single file, where there is one.
    if listed.contains(SINGLE_FILE) {
        fetching.file(SINGLE_FILE, tell)?;
    } else if listed.contains(INDEX) {
        let index = fetching.file(INDEX, tell)?;
        let index = std::fs::read(&index).map_err(|error| HubError::io(&index, error))?;
        for shard in shards(&index)? {
            fetching.file(&shard, tell)?;
        }
    } else {
        return Err(HubError::NoSafetensors { repo: asked.repo.clone() });
    }
    let (files, weights) = (fetching.files, fetching.weights);
    cache.remember(&asked.revision, &commit)?;
    Ok(Snapshot { commit, files, weights, offline: None })
}

fn shards(index: &[u8]) -> Result<Vec<String>, HubError> {
    Ok(parse_index(index)?.into_values().collect::<BTreeSet<_>>().into_iter().collect())
}

/// The files of one commit while they arrive.
struct Fetching<'a> {
    asked: &'a HubRepo,
    cache: &'a RepoCache,
    client: &'a Client,
    commit: &'a str,
    files: Vec<ModelFile>,
    weights: Vec<Checked>,
}

impl Fetching<'_> {
    /// Gets one file, from the cache if it is there, and returns its path.
    fn file(&mut self, name: &str, tell: Tell) -> Result<PathBuf, HubError> {
        let path = self.cache.path(self.commit, name);
        let (sha256, etag) = if path.exists() {
            (hashed(name, &path, tell)?, cache::blob_name(&path))
        } else {
            let remote = self.client.head(self.commit, name)?;
            let blob = self.cache.blob(&remote.etag);
            // Another commit may have brought the same contents.
            let sha256 = if blob.metadata().is_ok_and(|blob| blob.len() == remote.bytes) {
                hashed(name, &blob, tell)?
            } else {
                self.client.download(self.commit, name, &remote, &blob, &mut |done, total| tell("downloading", name, done, total))?
            };
            self.cache.link(&blob, &path)?;
            (sha256, remote.etag)
        };
        if is_weights(name) {
            self.weights.push(check(self.asked, self.commit, name, sha256, &etag, &path)?);
        }
        self.files.push(model_file(name.into(), &path));
        Ok(path)
    }
}

/// The SHA-256 of a file of weights. Empty for other files: nothing is known that they could be compared with.
fn hashed(name: &str, path: &Path, tell: Tell) -> Result<String, HubError> {
    if is_weights(name) { cache::digest(path, &mut |done, total| tell("checking", name, done, total)) } else { Ok(String::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_the_catalogue_or_of_a_repository() {
        let parse = |text| HubRepo::parse(text).map(|found| (found.repo, found.revision, found.entry.map(|entry| entry.id)));
        let smol = "93efa2f097d58c2a74874c7e644dbc9b0cee75a2";
        let pinned = Some(("HuggingFaceTB/SmolLM2-135M".into(), smol.into(), Some("smollm2-135m")));
        assert_eq!(parse("smollm2-135m"), pinned);
        assert_eq!(parse("HuggingFaceTB/SmolLM2-135M"), pinned);
        let stage = parse("olmo-2-1124-7b@stage1-step150-tokens1B").unwrap();
        assert_eq!((stage.0.as_str(), stage.1.as_str()), ("allenai/OLMo-2-1124-7B", "stage1-step150-tokens1B"));
        assert_eq!(parse("org/name@refs/pr/1"), Some(("org/name".into(), "refs/pr/1".into(), None)));
        assert_eq!(parse("org/name"), Some(("org/name".into(), "main".into(), None)));
        for wrong in [
            "",
            "nothing",
            "a/b/c",
            "../models",
            "./models/x",
            "/models",
            "org/",
            "org/a b",
            "org/name@",
            "org/name@../x",
            "org/name@a/../b",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn digests_are_compared_with_what_is_known() {
        let asked = HubRepo::parse("smollm2-135m").unwrap();
        let known = asked.entry.unwrap().weights.unwrap().sha256;
        let compare = |commit: &str, sha256: &str, etag: &str| check(&asked, commit, SINGLE_FILE, sha256.into(), etag, Path::new("file"));
        let against = |commit, sha256, etag| compare(commit, sha256, etag).map(|checked| checked.against).ok();
        let other = "0".repeat(64);
        assert_eq!(against(&asked.revision, known, known), Some(Against::Catalog));
        assert_eq!(against(&asked.revision, &other, &other), None);
        // Another commit is not the catalogue's.
        assert_eq!((asked.entry_at(&asked.revision), asked.entry_at("main")), (asked.entry, None));
        assert_eq!(against("main", &other, &other), Some(Against::Hub));
        assert_eq!(against("main", &other, known), None);
        assert_eq!(against("main", &other, "a git digest"), Some(Against::Nothing));
    }
}
