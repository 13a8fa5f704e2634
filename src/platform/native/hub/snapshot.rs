//! One commit of a repository in the cache, and the known facts about its files.

use std::path::PathBuf;
use std::rc::Rc;

use super::cache::RepoCache;
use crate::platform::PlatformError;

/// One commit of a repository, as far as it is in the cache.
#[derive(Debug)]
pub struct Snapshot {
    pub cache: RepoCache,
    pub commit: String,
    /// The branch or tag that is at this commit, according to the Hub's latest answer.
    pub branch: Option<String>,
}

impl Snapshot {
    /// Gives a completely read file its name in the cache.
    fn keep(&self, name: &str, place: &Place) -> Result<(), PlatformError> {
        let blob = match place {
            Place::Cached(_) => return Ok(()),
            Place::Shared(blob) => blob,
            Place::Coming { part, blob } => {
                std::fs::rename(part, blob).map_err(|error| PlatformError::cache(blob, &error))?;
                blob
            }
        };
        self.cache.link(blob, &self.cache.path(&self.commit, name))?;
        self.remember()
    }

    /// Records that the branch or tag is at this commit, once the cache has all of it. Until then, a machine without
    /// a network uses the previous commit.
    pub fn remember(&self) -> Result<(), PlatformError> {
        match self.branch.as_ref().filter(|_| self.cache.whole(&self.commit).is_some()) {
            Some(branch) => self.cache.remember(branch, &self.commit),
            None => Ok(()),
        }
    }
}

/// The place of a file's bytes.
#[derive(Debug, Clone)]
pub enum Place {
    /// At its name in the cache.
    Cached(PathBuf),
    /// In the cache, because another commit has the same contents.
    Shared(PathBuf),
    /// Being downloaded: `part` becomes `blob`.
    Coming { part: PathBuf, blob: PathBuf },
}

/// The known facts about a file, and its destination once it is completely read.
#[derive(Debug)]
pub struct Expected {
    pub snapshot: Rc<Snapshot>,
    pub name: String,
    /// 64 hex digits, if known.
    pub sha256: Option<String>,
    pub place: Place,
}

impl Expected {
    /// Compares the digest of the bytes with the expected one, and moves the file into the cache. Returns `true` if
    /// there was an expected digest.
    pub fn finish(&self, sha256: &str) -> Result<bool, PlatformError> {
        if let Some(expected) = self.sha256.as_ref().filter(|expected| *expected != sha256) {
            return Err(self.refused(expected, sha256));
        }
        self.snapshot.keep(&self.name, &self.place)?;
        Ok(self.sha256.is_some())
    }

    fn refused(&self, expected: &str, got: &str) -> PlatformError {
        let (expected, got) = (expected.into(), got.into());
        match &self.place {
            // The file itself is removed, not only the link to it.
            Place::Cached(path) | Place::Shared(path) => {
                PlatformError::Altered { path: path.canonicalize().unwrap_or_else(|_| path.clone()), expected, got }
            }
            Place::Coming { part, .. } => {
                // A later download cannot continue this part.
                let _ = std::fs::remove_file(part);
                PlatformError::Corrupt { name: self.name.clone(), expected, got }
            }
        }
    }
}
