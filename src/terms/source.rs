//! The origin of a model, the facts about its files before they are downloaded, and the check that it fits on a
//! device.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BackendInfo, Sizes};

/// One file of a model (`config.json`, `model.safetensors`, ...) and its address: a relative or `blob:` URL, or,
/// natively, a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    pub name: String,
    pub url: String,
}

/// The place of a model's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// Files with their own addresses: next to the page, picked by the visitor, or on a disk. The engine does not
    /// store them.
    Files(Vec<ModelFile>),
    /// A repository of the Hugging Face Hub, or of a server with the Hub's paths. The files are stored: natively in
    /// the cache of Hugging Face's own tools, in a browser in its storage.
    Hub(HubSource),
    /// A folder on a web server; only a browser reads it.
    Folder { url: String },
}

/// A repository, and the server that holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubSource {
    /// `https://huggingface.co`, or a mirror's address.
    pub endpoint: String,
    /// Name of the repository: `HuggingFaceTB/SmolLM2-135M`.
    pub repo: String,
    /// A commit of 40 hex digits, or a branch or tag.
    pub revision: String,
    /// Access token for gated repositories. It is kept in memory only, and sent to `endpoint` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The facts that a catalogue has about the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<KnownFile>,
}

impl HubSource {
    /// The server and the repository, for people: `huggingface.co/HuggingFaceTB/SmolLM2-135M`.
    pub fn origin(&self) -> String {
        format!("{}/{}", without_scheme(&self.endpoint), self.repo)
    }
}

/// An address without its scheme, and without slashes at its end.
pub fn without_scheme(url: &str) -> String {
    let url = url.trim_end_matches('/');
    url.split_once("://").map_or(url, |(_, rest)| rest).into()
}

impl fmt::Debug for HubSource {
    /// Writes the source without its token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.endpoint, self.repo, self.revision)
    }
}

/// The Hub's own address.
pub const HUB: &str = "https://huggingface.co";

/// The facts known about a file before it is downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    pub name: String,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The origin of a loaded model, and the digests of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The server and repository, for people: "huggingface.co/HuggingFaceTB/SmolLM2-135M".
    pub origin: String,
    /// The commit that the files belong to, if the server reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The weights' files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileProof>,
    /// `true` if the whole model is in this browser's storage.
    #[serde(default)]
    pub stored: bool,
    /// Notes for the reader, as sentences: for example why nothing was stored, or that files were read offline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A file of weights as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProof {
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the bytes that were read, 64 hex digits.
    pub sha256: String,
    /// `true` if the digest equals that of the catalogue or the Hub; `false` if neither gives one. (A contradiction
    /// is a failure.)
    pub verified: bool,
}

/// The assessment of a model's fit on the device, made from its configuration and the headers of its weights before
/// the download.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub id: String,
    pub architecture: String,
    pub num_parameters: u64,
    pub sizes: Sizes,
    /// Bytes of the weights' files; `to_fetch` counts the bytes that must still be downloaded.
    pub file_bytes: u64,
    pub to_fetch: u64,
    /// Bytes that the weights take on the device.
    pub weight_bytes: u64,
    /// The device that the model would run on.
    pub backend: BackendInfo,
    /// `true` if the model can run there.
    pub fits: bool,
    pub checks: Vec<FitCheck>,
    /// Advice on what to do, for people.
    pub advice: String,
}

/// One requirement on a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitCheck {
    pub kind: FitKind,
    /// For people: "largest matrix, in one GPU buffer".
    pub what: String,
    /// Bytes needed.
    pub needed: u64,
    /// Bytes available; `None` if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `needed <= limit`, or `true` if the limit is unknown. If only the storage is too small, the model still runs
    /// but is not stored; see [`Inspection::fits`].
    pub ok: bool,
}

/// The resource that must be large enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FitKind {
    /// One GPU buffer, for the largest matrix.
    Buffer,
    /// The device's memory, for all weights.
    Memory,
    /// This browser's storage, for the download.
    Storage,
}

/// A model in this browser's storage, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredModel {
    /// Name of the model in [`crate::protocol::Request::Forget`].
    pub key: String,
    /// Origin as in [`Provenance::origin`].
    pub origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Bytes that are stored; `total` is the size of the whole model, as far as known.
    pub bytes: u64,
    pub total: u64,
}
