//! A model's files: next to the page, picked by the visitor, on the Hub or a mirror, in a folder of some server, or
//! in this browser's store.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::http::{Probe, Remote};
use super::store::{About, Store};
use super::stream::{ByteStream, Serving};
use crate::platform::hub::{self, Listing};
use crate::platform::{MAX_WHOLE_FILE_BYTES, Peeked, PlatformError};
use crate::terms::{HubSource, KnownFile, ModelFile, ModelSource, without_scheme};

/// The files of a model by name.
#[derive(Clone)]
pub struct Files(Rc<Inner>);

struct Inner {
    origin: String,
    commit: Option<String>,
    /// Addresses given one by one.
    urls: BTreeMap<String, String>,
    /// The common beginning of the addresses of all other files.
    base: Option<String>,
    /// The files known in advance. If the listing is complete, there are no others.
    listing: Listing,
    is_listed: bool,
    authorization: Option<String>,
    store: RefCell<Option<Rc<Store>>>,
    /// `true` once the server did not answer.
    is_down: Cell<bool>,
    /// `true` once nothing more is to be stored.
    is_frozen: Cell<bool>,
    /// Files that were opened to check that they exist, and not read yet.
    opened: RefCell<BTreeMap<String, ByteStream>>,
    notes: Rc<RefCell<Vec<String>>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files({})", self.0.origin)
    }
}

impl Files {
    /// Files given by their own addresses.
    pub fn new(files: Vec<ModelFile>) -> Self {
        let urls = files.into_iter().map(|file| (file.name, file.url)).collect();
        Self(Rc::new(Inner { urls, is_listed: true, ..Inner::empty("files of your own".into()) }))
    }

    /// Finds the files of a source. For a repository, asks its server for a listing.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn find(source: &ModelSource) -> Result<Self, PlatformError> {
        match source {
            ModelSource::Files(files) => Ok(Self::new(files.clone())),
            ModelSource::Folder { url } => Self::in_folder(url).await,
            ModelSource::Hub(source) => Self::in_repository(source).await,
        }
    }

    async fn in_folder(url: &str) -> Result<Self, PlatformError> {
        if !hub::is_web_address(url) {
            let expected = "the address of a folder that begins with https:// or http://".into();
            return Err(PlatformError::Address { what: url.into(), expected });
        }
        let base = format!("{}/", url.trim_end_matches('/'));
        let mut inner = Inner { base: Some(base), ..Inner::empty(without_scheme(url)) };
        inner.open_store("", "").await;
        Ok(Self(Rc::new(inner)))
    }

    async fn in_repository(source: &HubSource) -> Result<Self, PlatformError> {
        hub::check(source)?;
        let mut inner = Inner::empty(source.origin());
        inner.authorization = source.token.as_ref().map(|token| format!("Bearer {token}"));
        (inner.listing, inner.is_listed) = inner.listing_of(source).await?;
        inner.listing.join(&source.known)?;
        let pinned = hub::is_commit(&source.revision).then(|| source.revision.clone());
        inner.commit = inner.listing.commit.clone().or(pinned);
        let revision = inner.commit.clone().unwrap_or_else(|| source.revision.clone());
        inner.base = Some(hub::base_url(source, &revision));
        inner.open_store(&revision, &source.revision).await;
        Ok(Self(Rc::new(inner)))
    }

    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    pub fn commit(&self) -> Option<&str> {
        self.0.commit.as_deref()
    }

    /// Sentences about these files for the reader.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.0.notes.borrow().clone();
        notes.dedup();
        notes
    }

    /// `true` if all of this file is in the store.
    pub fn is_kept(&self, stream: &ByteStream) -> bool {
        self.0.store.borrow().is_some() && stream.is_stored()
    }

    /// `true` if the names of all files are known; otherwise each file must be requested.
    pub fn is_listed(&self) -> bool {
        self.0.is_listed
    }

    /// `true` if there is a file of this name.
    ///
    /// # Errors
    ///
    /// [`PlatformError`] if the server must be asked.
    pub async fn contains(&self, name: &str) -> Result<bool, PlatformError> {
        if self.0.is_listed || self.0.urls.contains_key(name) {
            return Ok(self.0.urls.contains_key(name) || self.0.listing.find(name).is_some());
        }
        let Some(stream) = self.open(name).await? else { return Ok(false) };
        self.0.opened.borrow_mut().insert(name.into(), stream);
        Ok(true)
    }

    /// The first `n` bytes of a file, without downloading the rest; `None` if there is no file of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn peek(&self, name: &str, n: usize) -> Result<Option<Peeked>, PlatformError> {
        let Some(mut stream) = self.open(name).await? else { return Ok(None) };
        let peeked =
            Peeked { bytes: stream.peek(n).await?, len: stream.len(), to_fetch: if self.0.base.is_some() { stream.to_fetch() } else { 0 } };
        self.0.opened.borrow_mut().insert(name.into(), stream);
        Ok(Some(peeked))
    }

    /// Opens a file for reading from front to back; `None` if there is no file of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError`] with the network's or the server's reason.
    pub async fn open(&self, name: &str) -> Result<Option<ByteStream>, PlatformError> {
        if let Some(stream) = self.0.opened.borrow_mut().remove(name) {
            return Ok(Some(stream));
        }
        let Some((url, known)) = self.0.locate(name) else { return Ok(None) };
        let size = known.as_ref().and_then(|known| known.size);
        let remote = Remote::new(name, url, size, self.0.authorization.clone());
        // If the server did not answer for one file, the others get one attempt each.
        let remote = Rc::new(if self.0.is_down.get() { remote.with_tries(1) } else { remote });
        let store = self.0.store.borrow().clone();
        match store {
            Some(store) => self.open_stored(&store, remote, known).await,
            None => self.open_remote(remote, known.and_then(|known| known.sha256)).await,
        }
    }

    /// Stops storing, and notes the reason. Stored files are still read.
    pub fn keep_nothing(&self, why: &str) {
        if self.0.store.borrow().is_some() {
            self.0.is_frozen.set(true);
            self.0.opened.borrow().values().for_each(ByteStream::freeze);
            self.0.note(format!("Nothing is kept in this browser's storage: {why}."));
        }
    }

    /// Does nothing, because stored slabs have their own digests.
    ///
    /// # Errors
    ///
    /// Never; natively a file in the cache may have been altered.
    pub async fn suspect(&self, _name: &str) -> Result<(), PlatformError> {
        Ok(())
    }

    async fn open_remote(&self, remote: Rc<Remote>, expected: Option<String>) -> Result<Option<ByteStream>, PlatformError> {
        let is_local = self.0.base.is_none();
        let serving = match is_local {
            // A file next to the page or on the visitor's disk is never resumed.
            true => match remote.whole().await? {
                Some(whole) => Probe::Whole(whole),
                None => Probe::Missing,
            },
            false => remote.probe().await?,
        };
        let notes = self.0.notes.clone();
        let serving = match serving {
            Probe::Missing => return Ok(None),
            Probe::Ranges => Serving::Ranges,
            Probe::Whole(mut whole) if remote.size().is_none() => {
                let chunks = whole.to_end(&remote, MAX_WHOLE_FILE_BYTES.max(if is_local { u64::from(u32::MAX) } else { 0 })).await?;
                return Ok(Some(ByteStream::of_chunks(remote, chunks, notes)));
            }
            Probe::Whole(whole) => Serving::Whole(Rc::new(RefCell::new(whole))),
        };
        let len = remote.size().unwrap_or(0);
        Ok(Some(ByteStream::new(remote, None, serving, len, expected, notes)))
    }

    async fn open_stored(&self, store: &Store, remote: Rc<Remote>, known: Option<KnownFile>) -> Result<Option<ByteStream>, PlatformError> {
        let (name, expected) = (remote.name.clone(), known.and_then(|known| known.sha256));
        let file = match store.file(&name).await {
            Ok(file) => Rc::new(file),
            Err(why) => {
                self.0.note(format!("{name} is not kept in this browser's storage: {why}"));
                return self.open_remote(remote, expected).await;
            }
        };
        if self.0.is_frozen.get() {
            file.freeze();
        }
        let head = file.head();
        let notes = self.0.notes.clone();
        let is_same = remote.size().is_none_or(|size| size == head.size);
        let agrees = expected.as_ref().is_none_or(|expected| head.sha256.as_ref() == Some(expected));
        // A commit or a digest identifies the contents for ever; a file in a folder may change.
        let is_named = self.0.commit.is_some() || expected.is_some();
        let is_usable = file.is_complete() && is_same && agrees;
        if is_usable && is_named {
            return Ok(Some(ByteStream::new(remote, Some(file), Serving::Ranges, head.size, expected, notes)));
        }
        let probed = remote.probe().await;
        self.0.is_down.set(matches!(probed, Err(PlatformError::Unreachable { .. })));
        let probed = match probed {
            Err(PlatformError::Cut { why, .. } | PlatformError::Unreachable { why, .. }) if is_usable => {
                self.0.note(format!("The server could not be asked whether {name} has changed ({why}); what is stored here is used."));
                return Ok(Some(ByteStream::new(remote, Some(file), Serving::Ranges, head.size, expected, notes)));
            }
            probed => probed?,
        };
        let serving = match probed {
            Probe::Missing => {
                drop(file);
                store.delete(&name).await;
                return Ok(None);
            }
            Probe::Ranges => Serving::Ranges,
            Probe::Whole(whole) if remote.size().is_some() => Serving::Whole(Rc::new(RefCell::new(whole))),
            Probe::Whole(mut whole) => {
                let chunks = whole.to_end(&remote, MAX_WHOLE_FILE_BYTES).await?;
                return Ok(Some(ByteStream::of_chunks(remote, chunks, self.0.notes.clone())));
            }
        };
        let len = remote.size().unwrap_or(0);
        if !file.is_of(len, remote.version().as_deref(), is_named) {
            file.begin(len, remote.version());
        }
        Ok(Some(ByteStream::new(remote, Some(file), serving, len, expected, self.0.notes.clone())))
    }
}

impl Inner {
    fn empty(origin: String) -> Self {
        Self {
            origin,
            commit: None,
            urls: BTreeMap::new(),
            base: None,
            listing: Listing::default(),
            is_listed: false,
            authorization: None,
            store: RefCell::default(),
            is_down: Cell::new(false),
            is_frozen: Cell::new(false),
            opened: RefCell::default(),
            notes: Rc::default(),
        }
    }

    fn note(&self, note: String) {
        self.notes.borrow_mut().push(note);
    }

    fn locate(&self, name: &str) -> Option<(String, Option<KnownFile>)> {
        if let Some(url) = self.urls.get(name) {
            return Some((url.clone(), None));
        }
        let known = self.listing.find(name).cloned();
        let base = self.base.as_ref().filter(|_| hub::is_plain_name(name) && (known.is_some() || !self.is_listed))?;
        Some((format!("{base}{name}"), known))
    }

    /// A repository's listing, and `true` if it is complete. A server without a listing is accepted if it serves
    /// files. If the network is down, the stored listing is used.
    async fn listing_of(&self, source: &HubSource) -> Result<(Listing, bool), PlatformError> {
        let stored = Store::about_any(&self.origin, &source.revision).await;
        if let Some(about) = stored.clone().filter(|_| hub::is_commit(&source.revision)) {
            return Ok((about.listing, true));
        }
        let remote = Remote::new(&source.repo, hub::listing_url(source), None, self.authorization.clone()).with_tries(2);
        let answer = match remote.whole().await {
            Ok(Some(mut whole)) => whole.to_end(&remote, hub::MAX_LISTING_BYTES).await,
            Ok(None) => match hub::refusal(source, remote.error_code().as_deref()) {
                Some(refusal) => return Err(refusal),
                None => Err(PlatformError::Cut { name: source.repo.clone(), why: "the server lists no files".into() }),
            },
            Err(error) => Err(error),
        };
        let why = match answer {
            Ok(chunks) => {
                let bytes = chunks.iter().flat_map(|chunk| chunk.to_vec()).collect::<Vec<_>>();
                match Listing::parse(&bytes) {
                    Ok(listing) => return Ok((listing, true)),
                    Err(why) => why,
                }
            }
            Err(denied @ PlatformError::Denied { .. }) => return Err(denied),
            Err(error) => error.to_string(),
        };
        match stored {
            Some(about) => {
                self.note(format!("The server could not be asked for the newest revision ({why}); what is stored here is used."));
                Ok((about.listing, true))
            }
            None => {
                self.note(format!("The server did not list its files ({why}), so nothing says what their SHA-256 should be."));
                Ok((Listing::default(), false))
            }
        }
    }

    async fn open_store(&mut self, commit: &str, revision: &str) {
        let opened = Store::open(&hub::store_key(&self.origin, commit)).await;
        let written = match opened {
            Ok(store) => {
                let about = About { origin: self.origin.clone(), revision: revision.into(), listing: self.listing.clone() };
                let is_new = store.about().await.is_none_or(|before| before.listing.files.is_empty() && !about.listing.files.is_empty());
                let written = if is_new { store.write_about(&about).await } else { Ok(()) };
                written.map(|()| store)
            }
            Err(why) => Err(why),
        };
        match written {
            Ok(store) => self.store = RefCell::new(Some(Rc::new(store))),
            Err(why) => self.note(format!("Nothing is kept in this browser's storage: {why}.")),
        }
    }
}
