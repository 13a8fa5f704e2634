//! The cache on disk: `models--organisation--name` with the files' contents in `blobs`, links to them in
//! `snapshots/<commit>`, and in `refs` the commit that a branch was at.

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

    /// The path that a file of a commit has, or will have.
    pub fn path(&self, commit: &str, name: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit).join(name)
    }

    /// The files of a commit; `None` unless the cache has what a model needs, with all of the weights.
    pub fn whole(&self, commit: &str) -> Option<Listing> {
        let entries = fs::read_dir(self.path(commit, "")).ok()?.filter_map(Result::ok);
        // A link whose contents were removed is no file.
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

    /// The path of the contents that the Hub names by `etag`.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.dir.join("blobs").join(etag)
    }

    /// The commit that a branch or tag was at when it was last asked for; a commit is its own.
    pub fn resolve(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.into());
        }
        let commit = fs::read_to_string(self.dir.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit that a branch or tag is at.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<(), PlatformError> {
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Model, revision.into());
        self.cache.repo(repo).create_ref(commit).map_err(|error| PlatformError::cache(&self.dir, &error))
    }

    /// Links `path`, a file of a snapshot, to its contents; where links are not allowed, copies them.
    pub fn link(&self, blob: &Path, path: &Path) -> Result<(), PlatformError> {
        let failed = |error| PlatformError::cache(path, &error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        // An old link goes first: its contents may have been removed, and a copy through it would empty them.
        let _ = fs::remove_file(path);
        let target = Path::new("..").join("..").join("blobs").join(blob.file_name().unwrap_or_default());
        #[allow(deprecated, reason = "the one name that it has on every system; where links are not allowed, a copy")]
        let linked = fs::soft_link(target, path);
        linked.or_else(|_| fs::copy(blob, path).map(drop)).map_err(failed)
    }
}

/// The name of the contents that a file of a snapshot links to.
pub fn blob_name(path: &Path) -> String {
    let blob = path.canonicalize().ok();
    blob.and_then(|blob| blob.file_name().map(|name| name.to_string_lossy().into_owned())).unwrap_or_default()
}
