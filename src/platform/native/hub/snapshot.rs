//! One commit of a repository in the cache, and what is known of its files.

use std::path::PathBuf;
use std::rc::Rc;

use super::cache::RepoCache;
use crate::platform::PlatformError;

/// One commit of a repository, as far as the cache has it.
#[derive(Debug)]
pub struct Snapshot {
    pub cache: RepoCache,
    pub commit: String,
    /// The branch or tag that the Hub has just said to be at this commit.
    pub branch: Option<String>,
}

impl Snapshot {
    /// Gives a file that was read to its end its name in the cache.
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

    /// Notes that the branch or tag is at this commit, once the cache has all of it: until then, a machine without a network
    /// goes by the commit of before.
    pub fn remember(&self) -> Result<(), PlatformError> {
        match self.branch.as_ref().filter(|_| self.cache.whole(&self.commit).is_some()) {
            Some(branch) => self.cache.remember(branch, &self.commit),
            None => Ok(()),
        }
    }
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum Place {
    /// At its name in the cache.
    Cached(PathBuf),
    /// In the cache, because another commit has the same contents.
    Shared(PathBuf),
    /// On their way: `part` becomes `blob`.
    Coming { part: PathBuf, blob: PathBuf },
}

/// What is known of a file, and where it belongs once it was read to its end.
#[derive(Debug)]
pub struct Expected {
    pub snapshot: Rc<Snapshot>,
    pub name: String,
    /// 64 hex digits, if anybody tells.
    pub sha256: Option<String>,
    pub place: Place,
}

impl Expected {
    /// Compares the digest of the bytes that were read with the one expected, and takes the file into the cache. True if
    /// there was one to compare with.
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
            // The file itself, not the link to it.
            Place::Cached(path) | Place::Shared(path) => {
                PlatformError::Altered { path: path.canonicalize().unwrap_or_else(|_| path.clone()), expected, got }
            }
            Place::Coming { part, .. } => {
                // A later call could not go on from this part.
                let _ = std::fs::remove_file(part);
                PlatformError::Corrupt { name: self.name.clone(), expected, got }
            }
        }
    }
}
