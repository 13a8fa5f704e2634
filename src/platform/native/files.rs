//! A model's files, on a disk or in a repository of the Hub.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::hub::{HubSettings, Repository};
use super::stream::ByteStream;
use crate::platform::{Peeked, PlatformError};
use crate::terms::{ModelFile, ModelSource};

/// The files of a model by name.
#[derive(Debug, Clone)]
pub struct Files(Place);

#[derive(Debug, Clone)]
enum Place {
    /// The path of each file.
    Disk(BTreeMap<String, PathBuf>),
    Hub(Rc<Repository>),
}

impl Files {
    /// Files given by their own paths.
    pub fn new(files: Vec<ModelFile>) -> Self {
        Self(Place::Disk(files.into_iter().map(|file| (file.name, file.url.into())).collect()))
    }

    /// Finds the files of a source. For a repository that is not completely in the cache, asks the Hub for a listing.
    /// The environment gives the cache's folder.
    ///
    /// # Errors
    ///
    /// [`PlatformError`] if the Hub refuses, or is out of reach with nothing cached; [`PlatformError::Address`] for a
    /// folder on a server, which only a browser reads.
    pub async fn find(source: &ModelSource) -> Result<Self, PlatformError> {
        Self::find_with(source, &HubSettings::from_env())
    }

    /// Like [`Self::find`], with the cache that `settings` name.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::find`].
    pub fn find_with(source: &ModelSource, settings: &HubSettings) -> Result<Self, PlatformError> {
        match source {
            ModelSource::Files(files) => Ok(Self::new(files.clone())),
            ModelSource::Hub(source) => Ok(Self(Place::Hub(Rc::new(Repository::find(source, settings)?)))),
            ModelSource::Folder { url } => {
                Err(PlatformError::Address { what: url.clone(), expected: "a list of files, or a repository of the Hub".into() })
            }
        }
    }

    pub fn origin(&self) -> String {
        match &self.0 {
            Place::Disk(_) => "files of your own".into(),
            Place::Hub(repository) => repository.origin(),
        }
    }

    pub fn commit(&self) -> Option<&str> {
        match &self.0 {
            Place::Disk(_) => None,
            Place::Hub(repository) => Some(repository.commit()),
        }
    }

    /// Sentences about these files for the reader.
    pub fn notes(&self) -> Vec<String> {
        match &self.0 {
            Place::Disk(_) => Vec::new(),
            Place::Hub(repository) => repository.notes(),
        }
    }

    pub fn is_listed(&self) -> bool {
        true
    }

    /// Always `false`: only a browser has a store.
    pub fn is_kept(&self, _stream: &ByteStream) -> bool {
        false
    }

    /// `true` if there is a file of this name.
    ///
    /// # Errors
    ///
    /// Never; in a browser a server may have to be asked.
    pub async fn contains(&self, name: &str) -> Result<bool, PlatformError> {
        Ok(match &self.0 {
            Place::Disk(paths) => paths.contains_key(name),
            Place::Hub(repository) => repository.contains(name),
        })
    }

    /// The first `n` bytes of a file, without downloading the rest; `None` if there is no file of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn peek(&self, name: &str, n: usize) -> Result<Option<Peeked>, PlatformError> {
        if let Place::Hub(repository) = &self.0 {
            return repository.peek(name, n);
        }
        let Some(mut stream) = self.open(name).await? else { return Ok(None) };
        Ok(Some(Peeked { bytes: stream.read(n).await?, len: stream.len(), to_fetch: 0 }))
    }

    /// Looks for the reason why a file's contents are wrong. A file in the cache is compared with its digest. A
    /// partial download is removed, so that the next one starts anew.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Altered`]: the file differs from the published one.
    pub async fn suspect(&self, name: &str) -> Result<(), PlatformError> {
        if let Place::Hub(repository) = &self.0 { repository.suspect(name).await } else { Ok(()) }
    }

    /// Does nothing, because there is no store here.
    pub fn keep_nothing(&self, _why: &str) {}

    /// Opens a file for reading from front to back; `None` if there is no file of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn open(&self, name: &str) -> Result<Option<ByteStream>, PlatformError> {
        match &self.0 {
            Place::Disk(paths) => paths.get(name).map_or(Ok(None), |path| ByteStream::on_disk(path)),
            Place::Hub(repository) => repository.open(name),
        }
    }
}
