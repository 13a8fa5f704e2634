//! Where a model comes from, what is known of its files before they are fetched, and whether it fits.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::BackendInfo;

/// One file of a model: `config.json`, `model.safetensors`, ... and where to read it (a relative or `blob:` URL; natively
/// a path).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    pub name: String,
    pub url: String,
}

/// Where a model's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// Each by its own address: beside the page, picked by the visitor, or on a disk. Nothing of it is stored.
    Files(Vec<ModelFile>),
    /// A repository of the Hugging Face Hub, or of a server with the Hub's addresses.
    Hub(HubSource),
    /// A folder on a web server, by its address.
    Folder { url: String },
}

/// A repository, and who serves it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubSource {
    /// `https://huggingface.co`, or a mirror's address.
    pub endpoint: String,
    /// `HuggingFaceTB/SmolLM2-135M`
    pub repo: String,
    /// A commit of 40 hex digits, or a branch or tag that is looked up.
    pub revision: String,
    /// For gated repositories. Kept in memory only, and sent to `endpoint` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What a catalogue knows of the files.
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
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.endpoint, self.repo, self.revision)
    }
}

/// The Hub's own address.
pub const HUB: &str = "https://huggingface.co";

/// What is known of a file before it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    pub name: String,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Where a loaded model came from, and how far that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// For people: "huggingface.co/HuggingFaceTB/SmolLM2-135M".
    pub origin: String,
    /// The commit that the files belong to, where the server tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The weights' files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileProof>,
    /// The whole model lies in this browser's storage.
    #[serde(default)]
    pub stored: bool,
    /// What a reader should know, as sentences: why nothing was stored, what was read although offline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A file of weights as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProof {
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of the bytes that were read, 64 hex digits.
    pub sha256: String,
    /// It equals what the catalogue or the Hub says; false where nobody says anything. (A contradiction is a failure.)
    pub verified: bool,
}

/// Whether a model fits, found out from its configuration and the headers of its weights, before these are fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub id: String,
    pub architecture: String,
    pub num_parameters: u64,
    /// Bytes of the files of weights, and those of them that have still to come over the network.
    pub file_bytes: u64,
    pub to_fetch: u64,
    /// Bytes that the weights take on the device.
    pub weight_bytes: u64,
    /// Where it would run.
    pub backend: BackendInfo,
    /// It can run there.
    pub fits: bool,
    pub checks: Vec<FitCheck>,
    /// What to do: for people.
    pub advice: String,
}

/// One thing that has to be large enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitCheck {
    pub kind: FitKind,
    /// For people: "largest matrix, in one GPU buffer".
    pub what: String,
    /// Bytes.
    pub needed: u64,
    /// Absent where nobody tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `needed <= limit`; true also where nobody tells, since nothing speaks against it. Storage that is too small only
    /// means that nothing is kept; see [`Inspection::fits`].
    pub ok: bool,
}

/// What has to be large enough.
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
    /// Names it in [`crate::protocol::Request::Forget`].
    pub key: String,
    /// See [`Provenance::origin`].
    pub origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Bytes that are there, and those of the whole model as far as known.
    pub bytes: u64,
    pub total: u64,
}
