//! The files of a repository at one commit: some in the cache, the others still on the Hub.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::cache::{RepoCache, blob_name};
use super::client::{Client, Remote};
use super::download::Download;
use super::settings::HubSettings;
use super::snapshot::{Expected, Place, Snapshot};
use crate::platform::hub::{self, Listing};
use crate::platform::native::stream::ByteStream;
use crate::platform::{Peeked, PlatformError};
use crate::terms::{HubSource, hex};

/// Bytes that are read and hashed at once.
const PIECE_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub struct Repository {
    source: HubSource,
    listing: Listing,
    snapshot: Rc<Snapshot>,
    client: Rc<Client>,
    /// The reason why the Hub could not be asked for the revision.
    offline: Option<String>,
    /// The Hub's descriptions of files that are not in the cache, as far as requested.
    remotes: RefCell<BTreeMap<String, Rc<Remote>>>,
    /// The first bytes of such files, as far as read.
    beginnings: RefCell<BTreeMap<String, Vec<u8>>>,
}

/// A file, before it is opened.
struct Located {
    place: Place,
    sha256: Option<String>,
    /// `None` for a file on this disk.
    remote: Option<Rc<Remote>>,
}

impl Repository {
    /// Finds a revision in the cache, or requests it from the Hub.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub fn find(source: &HubSource, settings: &HubSettings) -> Result<Self, PlatformError> {
        hub::check(source)?;
        let cache = RepoCache::new(&settings.cache, &source.repo);
        // A commit never changes.
        if let Some(listing) = Some(&source.revision).filter(|revision| hub::is_commit(revision)).and_then(|commit| cache.whole(commit)) {
            return Self::listed(source, cache, listing, None);
        }
        let listed = match settings.is_offline {
            true => Err(PlatformError::Unreachable { name: source.origin(), why: "HF_HUB_OFFLINE is set".into() }),
            false => Client::new(source).listing(),
        };
        match listed {
            Ok(listing) => Self::listed(source, cache, listing, None),
            Err(PlatformError::Unreachable { why, .. }) => Self::from_cache(source, cache, why),
            Err(error) => Err(error),
        }
    }

    /// Takes a revision from the cache, with its last known commit.
    fn from_cache(source: &HubSource, cache: RepoCache, why: String) -> Result<Self, PlatformError> {
        match cache.resolve(&source.revision).and_then(|commit| cache.whole(&commit)) {
            Some(listing) => Self::listed(source, cache, listing, Some(why)),
            None => Err(PlatformError::NotCached { name: source.repo.clone(), revision: source.revision.clone(), why }),
        }
    }

    fn listed(source: &HubSource, cache: RepoCache, mut listing: Listing, offline: Option<String>) -> Result<Self, PlatformError> {
        listing.join(&source.known)?;
        let commit = listing.commit.clone().unwrap_or_default();
        let branch = Some(source.revision.clone()).filter(|revision| offline.is_none() && !hub::is_commit(revision));
        let (snapshot, client) = (Rc::new(Snapshot { cache, commit, branch }), Rc::new(Client::new(source)));
        snapshot.remember()?;
        Ok(Self { source: source.clone(), listing, snapshot, client, offline, remotes: RefCell::default(), beginnings: RefCell::default() })
    }

    pub fn origin(&self) -> String {
        self.source.origin()
    }

    pub fn commit(&self) -> &str {
        &self.snapshot.commit
    }

    pub fn notes(&self) -> Vec<String> {
        let note = |why: &String| format!("From the cache, because the Hub could not be asked: {why}");
        self.offline.iter().map(note).collect()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.listing.find(name).is_some()
    }

    /// The first `n` bytes of a file, without downloading the rest; `None` if there is no file of that name.
    pub fn peek(&self, name: &str, n: usize) -> Result<Option<Peeked>, PlatformError> {
        let Some(located) = self.locate(name)? else { return Ok(None) };
        let (path, remote) = match (&located.place, &located.remote) {
            (Place::Cached(path) | Place::Shared(path), _) => (path, None),
            (Place::Coming { part, .. }, remote) => (part, remote.as_ref()),
        };
        let on_disk = path.metadata().map_or(0, |part| part.len());
        let mut bytes = Vec::new();
        let Some(remote) = remote else {
            let read = File::open(path).and_then(|file| file.take(n as u64).read_to_end(&mut bytes));
            read.map_err(|error| PlatformError::Read { name: path.display().to_string(), why: error.to_string() })?;
            return Ok(Some(Peeked { bytes, len: on_disk, to_fetch: 0 }));
        };
        let (_, body) = self.client.get(self.commit(), name, 0, Some(n as u64))?;
        let read = body.take(n as u64).read_to_end(&mut bytes);
        read.map_err(|error| PlatformError::Cut { name: name.into(), why: error.to_string() })?;
        self.beginnings.borrow_mut().insert(name.into(), bytes.clone());
        Ok(Some(Peeked { bytes, len: remote.bytes, to_fetch: remote.bytes.saturating_sub(on_disk) }))
    }

    /// Opens a file for reading from front to back; `None` if there is no file of that name.
    pub fn open(&self, name: &str) -> Result<Option<ByteStream>, PlatformError> {
        let Some(Located { place, sha256, remote }) = self.locate(name)? else { return Ok(None) };
        let stream = match (&place, remote) {
            (Place::Coming { part, .. }, Some(remote)) => {
                let beginnings = self.beginnings.borrow();
                let begin = beginnings.get(name).map_or(&[][..], Vec::as_slice);
                Some(ByteStream::of_download(Download::open(self.client.clone(), self.commit(), name, &remote, (part, begin))?))
            }
            (Place::Cached(path) | Place::Shared(path) | Place::Coming { blob: path, .. }, _) => ByteStream::on_disk(path)?,
        };
        let expected = Expected { snapshot: self.snapshot.clone(), name: name.into(), sha256, place };
        Ok(stream.map(|stream| stream.expecting(expected)))
    }

    /// See [`crate::platform::Files::suspect`].
    pub async fn suspect(&self, name: &str) -> Result<(), PlatformError> {
        let Some(located) = self.locate(name)? else { return Ok(()) };
        if let Place::Coming { part, .. } = &located.place {
            let _ = std::fs::remove_file(part);
            return Ok(());
        }
        let Some(mut stream) = self.open(name)?.filter(|_| located.sha256.is_some()) else { return Ok(()) };
        let mut hasher = Sha256::new();
        loop {
            let piece = stream.next(PIECE_BYTES).await?;
            if piece.is_empty() {
                break;
            }
            hasher.update(piece);
        }
        stream.finish(&hex(&hasher.finalize())).map(drop)
    }

    fn locate(&self, name: &str) -> Result<Option<Located>, PlatformError> {
        let Some(known) = self.listing.find(name).filter(|_| hub::is_plain_name(name)) else { return Ok(None) };
        let agreed = |etag: &str| hub::agreed(name, known.sha256.clone(), Some(etag.to_owned()).filter(|etag| hub::is_sha256(etag)));
        let path = self.snapshot.cache.path(self.commit(), name);
        if path.is_file() {
            let sha256 = agreed(&blob_name(&path))?;
            return Ok(Some(Located { place: Place::Cached(path), sha256, remote: None }));
        }
        let remote = self.remote(name)?;
        hub::agreed(name, known.size, Some(remote.bytes))?;
        let (sha256, blob) = (agreed(&remote.etag)?, self.snapshot.cache.blob(&remote.etag));
        if blob.metadata().is_ok_and(|blob| blob.len() == remote.bytes) {
            return Ok(Some(Located { place: Place::Shared(blob), sha256, remote: None }));
        }
        // The name is the same as in the Hub's own tools.
        let part = blob.with_added_extension("incomplete");
        Ok(Some(Located { place: Place::Coming { part, blob }, sha256, remote: Some(remote) }))
    }

    fn remote(&self, name: &str) -> Result<Rc<Remote>, PlatformError> {
        if let Some(known) = self.remotes.borrow().get(name) {
            return Ok(known.clone());
        }
        let remote = Rc::new(self.client.head(self.commit(), name)?);
        self.remotes.borrow_mut().insert(name.into(), remote.clone());
        Ok(remote)
    }
}
