//! The cache on disk: `models--organisation--name` with the files' contents in `blobs`, links to them in
//! `snapshots/<commit>`, and the last known commit of each branch in `refs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};

use crate::platform::PlatformError;
use crate::platform::hub::{Listing, is_commit, is_plain_name};
use crate::terms::KnownFile;
use crate::weights::safetensors::{INDEX_FILE, SINGLE_FILE, parse_index};

/// One model's part of the cache.
#[derive(Debug)]
pub struct RepoCache {
    cache: Cache,
    repo: String,
    dir: PathBuf,
}

impl RepoCache {
    pub fn new(folder: &Path, repo: &str) -> Self {
        let dir = folder.join(Repo::model(repo.into()).folder_name());
        Self { cache: Cache::new(folder.into()), repo: repo.into(), dir }
    }

    /// The path of a file of a commit, whether or not it exists.
    pub fn path(&self, commit: &str, name: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit).join(name)
    }

    /// The files of a commit; `None` unless the cache has all files that a model needs, with all of the weights.
    pub fn whole(&self, commit: &str) -> Option<Listing> {
        let entries = fs::read_dir(self.path(commit, "")).ok()?.filter_map(Result::ok);
        // A link whose target was removed does not count.
        let files = entries.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = files.filter(|name| is_plain_name(name)).collect::<BTreeSet<_>>();
        let weights = match names.contains(SINGLE_FILE) {
            true => BTreeSet::from([SINGLE_FILE.to_owned()]),
            false => parse_index(&fs::read(self.path(commit, INDEX_FILE)).ok()?).ok()?.into_values().collect(),
        };
        let is_whole = ["config.json", "tokenizer.json"].iter().all(|name| names.contains(*name)) && names.is_superset(&weights);
        let files = names.into_iter().map(|name| KnownFile { name, size: None, sha256: None });
        is_whole.then(|| Listing { commit: Some(commit.into()), files: files.collect() })
    }

    /// The path of the contents with this `etag` of the Hub.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.dir.join("blobs").join(etag)
    }

    /// The last known commit of a branch or tag; a commit stands for itself.
    pub fn resolve(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.into());
        }
        let commit = fs::read_to_string(self.dir.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Records the commit of a branch or tag.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<(), PlatformError> {
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Model, revision.into());
        self.cache.repo(repo).create_ref(commit).map_err(|error| PlatformError::cache(&self.dir, &error))
    }

    /// Links `path`, a file of a snapshot, to its contents; copies them if links are not allowed.
    pub fn link(&self, blob: &Path, path: &Path) -> Result<(), PlatformError> {
        let failed = |error| PlatformError::cache(path, &error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        // An old link is removed first. Its target may be gone, and a copy through the link would empty the contents.
        let _ = fs::remove_file(path);
        let target = Path::new("..").join("..").join("blobs").join(blob.file_name().unwrap_or_default());
        #[allow(deprecated, reason = "the one name that it has on every system; where links are not allowed, a copy")]
        let linked = fs::soft_link(target, path);
        linked.or_else(|_| fs::copy(blob, path).map(drop)).map_err(failed)
    }
}

/// The name of the blob that a file of a snapshot links to.
pub fn blob_name(path: &Path) -> String {
    let blob = path.canonicalize().ok();
    blob.and_then(|blob| blob.file_name().map(|name| name.to_string_lossy().into_owned())).unwrap_or_default()
}
