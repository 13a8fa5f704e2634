//! A model saved with its edits: the order, and what was written.

use serde::{Deserialize, Serialize};

use super::{Ablation, ModelRef, ModelSource, Pruned};

/// The file of a saved folder that describes it.
pub const CARD_FILE: &str = "README.md";
/// The file of a saved folder that lists the SHA-256 of all others, as `sha256sum --check` reads it.
pub const SUMS_FILE: &str = "SHA256SUMS";

/// The order to save a model with its edits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SaveOrder {
    /// The model; `None` for the loaded one. Removals by a rule and means of channels need a loaded model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,
    pub ablation: Ablation,
    /// If `true`, removed channels are cut out of the matrices; otherwise they are zeroed.
    #[serde(default)]
    pub cut: bool,
    /// The empty folder on this disk that gets every file. `None` in a browser, where only the changed files are made,
    /// as downloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// The state of a file in a saved folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedState {
    /// The file differs from the original.
    Changed,
    /// The file is the original's, byte for byte, and was copied.
    Copied,
    /// The file is the original's, and is to be taken from there: nothing was written.
    Original,
}

/// A file of a saved model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFile {
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
    pub state: SavedState,
    /// The place of the written file: a path, or in a browser a `blob:` address that lives as long as the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A tensor that differs from the original's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedTensor {
    /// The name in the checkpoint.
    pub name: String,
    /// The shape that was written.
    pub shape: Vec<usize>,
    /// Number of values that changed, apart from values that were cut out.
    pub n_changed: u64,
    /// Number of values that an edit changes by less than their type can hold, so that they stayed as they were.
    pub n_rounded_back: u64,
}

/// The channels that were cut out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Channels of a layer (`intermediate_size`) before, and after.
    pub before: usize,
    pub after: usize,
    /// For each layer, the number of its channels after the cut that are zero: transformers has one width for all
    /// layers, so the layers that lose more channels are padded.
    pub padded: Vec<usize>,
}

/// A model that was saved with its edits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The revision of the original's weights: see [`ModelRef`].
    pub base_revision: String,
    /// The server and repository of the original, for people.
    pub origin: String,
    /// The commit of the original, if its server reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub ablation: Ablation,
    /// The channels that the ablation's pruning removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// The BOS that was put before every text by request when the original was loaded: see [`ModelRef`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bos: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// The revision of the saved weights.
    pub revision: String,
    /// Every tensor that differs, by name.
    pub tensors: Vec<ChangedTensor>,
    /// Number of tensors that are the original's, byte for byte.
    pub n_untouched: usize,
    /// Every file, by name, without [`CARD_FILE`] and [`SUMS_FILE`].
    pub files: Vec<SavedFile>,
}

impl Saved {
    /// The original model under this id.
    pub fn base(&self, id: &str) -> ModelRef {
        ModelRef { added_bos: self.added_bos, ..ModelRef::new(id, self.base_revision.as_str()) }
    }

    /// The content of [`SUMS_FILE`] for these files and a card with the SHA-256 `card`.
    pub fn sums(&self, card: &str) -> String {
        let mut lines = self.files.iter().map(|file| (file.name.as_str(), file.sha256.as_str())).collect::<Vec<_>>();
        lines.push((CARD_FILE, card));
        lines.sort_unstable();
        lines.iter().map(|(name, sha256)| format!("{sha256}  {name}\n")).collect()
    }

    /// Number of values that changed.
    pub fn n_changed(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.n_changed).sum()
    }

    /// Number of values that stayed because their type cannot hold the change.
    pub fn n_rounded_back(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.n_rounded_back).sum()
    }
}
