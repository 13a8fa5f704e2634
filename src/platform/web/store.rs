//! Models in the browser's own file system (OPFS): one folder for each model, and for each file its bytes and a
//! journal.

use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};

use super::js::{self, Directory, FileHandle, SyncHandle, call, get, object, reason};
use super::scope;
use super::stored_file::{Guard, StoredFile, at, head_of, records_of};
use crate::platform::hub::Listing;
use crate::terms::StoredModel;

/// The folder that holds all models.
const ROOT: &str = "linchpin-models";
/// The file in each model's folder that holds its origin.
const ABOUT: &str = "about.json";
const JOURNAL: &str = ".journal";

/// The description of a model in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    pub origin: String,
    /// The requested revision.
    pub revision: String,
    pub listing: Listing,
}

/// A model's folder.
pub struct Store {
    folder: Directory,
}

async fn root() -> Result<Directory, String> {
    let storage = get(&scope().navigator(), "storage");
    if get(&storage, "getDirectory").is_undefined() {
        return Err("this browser stores no files for this page (storage needs https or localhost)".into());
    }
    let top: Directory = call(&storage, "getDirectory", &[]).await.map_err(|error| reason(&error))?.unchecked_into();
    let root = top.directory(ROOT, &create()).await.map_err(|error| reason(&error))?;
    Ok(root.unchecked_into())
}

fn create() -> JsValue {
    object(&[("create", true.into())])
}

/// Bytes that this page may still store.
pub async fn free_bytes() -> Option<u64> {
    let storage = get(&scope().navigator(), "storage");
    let estimate = call(&storage, "estimate", &[]).await.ok()?;
    let bytes = |name| get(&estimate, name).as_f64();
    Some((bytes("quota")? - bytes("usage")?).max(0.0) as u64)
}

impl Store {
    /// # Errors
    ///
    /// A sentence with the reason why this browser stores nothing.
    pub async fn open(key: &str) -> Result<Self, String> {
        let folder = root().await?.directory(key, &create()).await.map_err(|error| reason(&error))?;
        Ok(Self { folder: folder.unchecked_into() })
    }

    /// The description of a stored model from this origin. `revision` is its commit, or the requested revision.
    pub async fn about_any(origin: &str, revision: &str) -> Option<About> {
        let root = root().await.ok()?;
        for key in keys(&root).await {
            let Ok(folder) = root.directory(&key, &JsValue::UNDEFINED).await else { continue };
            let Some(about) = (Self { folder: folder.unchecked_into() }).about().await else { continue };
            let is_wanted = about.revision == revision || about.listing.commit.as_deref() == Some(revision);
            if about.origin == origin && is_wanted && !about.listing.files.is_empty() {
                return Some(about);
            }
        }
        None
    }

    pub async fn about(&self) -> Option<About> {
        serde_json::from_slice(&read_whole(&self.folder, ABOUT).await?).ok()
    }

    /// Writes the description of the folder's model.
    ///
    /// # Errors
    ///
    /// A sentence with the reason why it cannot be written.
    pub async fn write_about(&self, about: &About) -> Result<(), String> {
        let json = serde_json::to_vec(about).map_err(|error| error.to_string())?;
        let handle = open_handle(&self.folder, ABOUT, EXCLUSIVE).await.map_err(|error| reason(&error))?;
        let written = handle.truncate(0.0).and_then(|()| handle.write(&json, &at(0)));
        handle.close();
        written.map(drop).map_err(|error| reason(&error))
    }

    /// Opens a file of the model, as far as it is stored. A complete file can be opened by several tabs at once.
    ///
    /// # Errors
    ///
    /// A sentence with the reason why it cannot be opened.
    pub async fn file(&self, name: &str) -> Result<StoredFile, String> {
        let mut tries = 0;
        loop {
            match self.open_file(name).await {
                Ok(file) => return Ok(file),
                // A load that was just stopped may hold the file for another moment.
                Err(error) if js::error_name(&error) == "NoModificationAllowedError" && tries < 5 => tries += 1,
                Err(error) if js::error_name(&error) == "NoModificationAllowedError" => {
                    return Err("another tab is storing this model".into());
                }
                Err(error) => return Err(reason(&error)),
            }
            js::sleep(200).await;
        }
    }

    async fn open_file(&self, name: &str) -> Result<StoredFile, JsValue> {
        if let Ok(file) = self.open_as(name, SHARED).await
            && file.is_complete()
        {
            return Ok(file);
        }
        self.open_as(name, EXCLUSIVE).await
    }

    async fn open_as(&self, name: &str, mode: &str) -> Result<StoredFile, JsValue> {
        let journal = Guard(open_handle(&self.folder, &format!("{name}{JOURNAL}"), mode).await?);
        let data = Guard(open_handle(&self.folder, name, mode).await?);
        Ok(StoredFile::read(data, journal))
    }

    /// Deletes a file and its journal.
    pub async fn delete(&self, name: &str) {
        // A file that cannot be deleted is overwritten next time.
        let _ = self.folder.remove(name, &JsValue::UNDEFINED).await;
        let _ = self.folder.remove(&format!("{name}{JOURNAL}"), &JsValue::UNDEFINED).await;
    }
}

/// Lists every stored model.
pub async fn list() -> Vec<StoredModel> {
    let Ok(root) = root().await else { return Vec::new() };
    let mut models = Vec::new();
    for key in keys(&root).await {
        if let Ok(folder) = root.directory(&key, &JsValue::UNDEFINED).await {
            models.push(describe(folder.unchecked_into(), key).await);
        }
    }
    models
}

async fn describe(folder: Directory, key: String) -> StoredModel {
    let about = Store { folder: folder.clone() }.about().await;
    let (mut bytes, mut total) = (0, 0);
    for name in keys(&folder).await {
        let Some(file) = name.strip_suffix(JOURNAL) else { continue };
        let Some(journal) = read_whole(&folder, &name).await else { continue };
        let head = head_of(&journal);
        bytes += records_of(&journal, head.size).iter().map(|record| u64::from(record.len)).sum::<u64>();
        total += head.size.max(about.as_ref().and_then(|about| about.listing.find(file)?.size).unwrap_or(0));
    }
    let (origin, commit) = about.map_or((key.clone(), None), |about| (about.origin, about.listing.commit));
    StoredModel { key, origin, commit, bytes, total }
}

/// Deletes a model, or all of them.
///
/// # Errors
///
/// A sentence with the reason why a model could not be deleted.
pub async fn forget(key: Option<&str>) -> Result<(), String> {
    let root = root().await?;
    let wanted = match key {
        Some(key) => vec![key.to_string()],
        None => keys(&root).await,
    };
    let recursive = object(&[("recursive", true.into())]);
    for key in wanted {
        match root.remove(&key, &recursive).await {
            Err(error) if js::error_name(&error) != "NotFoundError" => return Err(reason(&error)),
            _ => {}
        }
    }
    Ok(())
}

/// The names in a folder.
async fn keys(folder: &Directory) -> Vec<String> {
    let (iterator, mut names) = (folder.keys(), Vec::new());
    while let Ok(next) = call(&iterator, "next", &[]).await {
        let Some(name) = get(&next, "value").as_string() else { break };
        names.push(name);
    }
    names
}

/// The mode in which several tabs may open a complete file, and a tab that finds it damaged may write it. In a
/// browser without this mode, only one tab has the file.
const SHARED: &str = "readwrite-unsafe";
const EXCLUSIVE: &str = "readwrite";

/// Opens a file. If it is missing it is created, and for writing it is locked.
async fn open_handle(folder: &Directory, name: &str, mode: &str) -> Result<SyncHandle, JsValue> {
    let options = if mode == EXCLUSIVE { create() } else { JsValue::UNDEFINED };
    let file: FileHandle = folder.file(name, &options).await?.unchecked_into();
    Ok(file.open(&object(&[("mode", mode.into())])).await?.unchecked_into())
}

async fn read_whole(folder: &Directory, name: &str) -> Option<Vec<u8>> {
    // The file is not read through a sync handle, because another tab may hold it.
    let file = folder.file(name, &JsValue::UNDEFINED).await.ok()?;
    let file = call(&file, "getFile", &[]).await.ok()?;
    Some(Uint8Array::new(&call(&file, "arrayBuffer", &[]).await.ok()?).to_vec())
}
