//! The cache on disk: `models--organisation--name` with the files' contents in `blobs`, links to them in
//! `snapshots/<commit>`, and in `refs` the commit that a branch was at.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest, Sha256};

use super::{HubError, Settings, is_commit};
use crate::terms::hex;

/// Bytes read at once.
const SLAB_BYTES: usize = 1 << 20;

/// One model's part of the cache.
#[derive(Debug)]
pub struct RepoCache {
    cache: Cache,
    repo: String,
    dir: PathBuf,
}

impl RepoCache {
    pub fn new(settings: &Settings, repo: &str) -> Self {
        let dir = settings.cache.join(Repo::model(repo.into()).folder_name());
        Self { cache: Cache::new(settings.cache.clone()), repo: repo.into(), dir }
    }

    /// The path that a file of a commit has, or will have.
    pub fn path(&self, commit: &str, name: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit).join(name)
    }

    pub fn contains(&self, commit: &str, name: &str) -> bool {
        self.path(commit, name).is_file()
    }

    /// The path of the contents that the Hub names by `etag`.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.dir.join("blobs").join(etag)
    }

    /// The commit that a branch or tag was at when it was last asked for.
    pub fn resolve(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.dir.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit that a branch or tag is at; a commit itself needs no note.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if is_commit(revision) {
            return Ok(());
        }
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Model, revision.into());
        self.cache.repo(repo).create_ref(commit).map_err(|error| HubError::io(&self.dir, error))
    }

    /// Links `path`, a file of a snapshot, to its contents; where links are not allowed, copies them.
    pub fn link(&self, blob: &Path, path: &Path) -> Result<(), HubError> {
        let failed = |error| HubError::io(path, error);
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

/// SHA-256 of a file, 64 hex digits. `tell` gets the bytes done, and the bytes in all.
pub fn digest(path: &Path, tell: &mut dyn FnMut(u64, u64)) -> Result<String, HubError> {
    let mut hasher = Sha256::new();
    feed(path, &mut hasher, tell)?;
    Ok(hex(&hasher.finalize()))
}

/// Feeds a hasher with a file, and returns its length.
pub fn feed(path: &Path, hasher: &mut Sha256, tell: &mut dyn FnMut(u64, u64)) -> Result<u64, HubError> {
    let failed = |error| HubError::io(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let total = file.metadata().map_err(failed)?.len();
    let (mut slab, mut done) = (vec![0; SLAB_BYTES], 0);
    loop {
        let n = file.read(&mut slab).map_err(failed)?;
        if n == 0 {
            return Ok(done);
        }
        hasher.update(&slab[..n]);
        done += n as u64;
        tell(done, total);
    }
}
