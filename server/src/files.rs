//! Files in the form in which a Hub publishes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Extensions of files that the Hub stores elsewhere, whatever their size. Larger files are stored there, too.
const LARGE: [&str; 9] = ["safetensors", "bin", "pt", "pth", "gguf", "onnx", "h5", "msgpack", "npz"];
const LARGE_BYTES: u64 = 10 << 20;

/// A file on this disk, with its published name.
pub struct Published {
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
    pub is_large: bool,
    sha256: Option<String>,
    digests: OnceLock<Digests>,
}

/// Git's id of a file (for a large file, of its pointer), and the SHA-256 of a large file.
pub struct Digests {
    pub blob_id: String,
    pub sha256: String,
    pointer_size: usize,
}

/// Files by name.
pub type Files = BTreeMap<String, Arc<Published>>;

/// The files of a folder, and single files; `sha256` has the known digests.
pub fn publish(folder: Option<&Path>, files: &BTreeMap<String, PathBuf>, sha256: &BTreeMap<String, String>) -> io::Result<Files> {
    let mut paths = files.clone();
    if let Some(folder) = folder {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.path().is_file() {
                paths.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
            }
        }
    }
    let published = paths.into_iter().map(|(name, path)| {
        let size = path.metadata()?.len();
        let is_large = size >= LARGE_BYTES || path.extension().is_some_and(|extension| LARGE.iter().any(|large| extension == *large));
        let sha256 = sha256.get(&name).cloned();
        let file = Published { name: name.clone(), path, size, is_large, sha256, digests: OnceLock::new() };
        Ok((name, Arc::new(file)))
    });
    published.collect()
}

impl Published {
    /// The digests, computed at the first call.
    pub fn digests(&self) -> io::Result<&Digests> {
        if let Some(digests) = self.digests.get() {
            return Ok(digests);
        }
        let digests = tokio::task::block_in_place(|| self.compute())?;
        Ok(self.digests.get_or_init(|| digests))
    }

    fn compute(&self) -> io::Result<Digests> {
        if !self.is_large {
            let blob_id = hashed(Sha1::new_with_prefix(format!("blob {}\0", self.size)), &self.path)?;
            return Ok(Digests { blob_id, sha256: String::new(), pointer_size: 0 });
        }
        let sha256 = self.sha256.clone().map_or_else(|| hashed(Sha256::new(), &self.path), Ok)?;
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {}\n", self.size);
        let blob_id = hex(&Sha1::digest(format!("blob {}\0{pointer}", pointer.len())));
        Ok(Digests { blob_id, sha256, pointer_size: pointer.len() })
    }

    /// The file's entry in a model's listing.
    pub fn sibling(&self, with_blobs: bool) -> io::Result<Value> {
        if !with_blobs {
            return Ok(json!({ "rfilename": self.name }));
        }
        let Digests { blob_id, sha256, pointer_size } = self.digests()?;
        let mut sibling = json!({ "rfilename": self.name, "blobId": blob_id, "size": self.size });
        if self.is_large {
            sibling["lfs"] = json!({ "sha256": sha256, "size": self.size, "pointerSize": pointer_size });
        }
        Ok(sibling)
    }
}

fn hashed<D: Digest + io::Write>(mut hash: D, path: &Path) -> io::Result<String> {
    io::copy(&mut io::BufReader::with_capacity(1 << 20, File::open(path)?), &mut hash)?;
    Ok(hex(&hash.finalize()))
}

/// A digest of a text, in hex.
pub fn sha256_of(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
