//! An entry of the catalogue: a repository of the Hugging Face Hub.

use super::Suggestion;
use super::published::Fact;
use super::shape::{Dtype, Place, Shape};
use crate::terms::{EditTarget, KnownFile};

/// A repository of the Hub.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HubModel {
    pub id: &'static str,
    pub title: &'static str,
    /// `organisation/name`.
    pub repo: &'static str,
    /// A commit, 40 hex digits.
    pub revision: &'static str,
    /// `model.safetensors` at that commit, if the weights are one file with a known size and digest.
    pub weights: Option<WeightsFile>,
    /// The licence's SPDX identifier, or the model card's name for it.
    pub license: &'static str,
    /// `true` if the Hub requires that the licence be accepted first.
    pub is_gated: bool,
    pub dtype: Dtype,
    pub shape: Shape,
    /// Known branches of the repository with checkpoints of its training, earliest first.
    pub checkpoints: &'static [&'static str],
    pub facts: &'static [Fact],
}

/// One file, with its size and digest from public records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightsFile {
    pub bytes: u64,
    pub sha256: &'static str,
}

const APACHE: &str = "Apache-2.0";

impl HubModel {
    /// Bytes of the weights to download: recorded, or computed from the number of parameters (a file may be a little
    /// larger).
    pub fn download_bytes(&self) -> u64 {
        self.weights.map_or_else(|| self.dtype.bytes() * self.shape.num_parameters(), |file| file.bytes)
    }

    /// Bytes that the weights take on a GPU or a CPU.
    pub fn device_bytes(&self, place: Place) -> u64 {
        self.shape.device_bytes(self.dtype, place)
    }

    /// The files with known size and digest.
    pub fn known_files(&self) -> Vec<KnownFile> {
        let known =
            |file: WeightsFile| KnownFile { name: "model.safetensors".into(), size: Some(file.bytes), sha256: Some(file.sha256.into()) };
        self.weights.map(known).into_iter().collect()
    }

    /// Suggested edits from the published findings; empty if nothing is known.
    pub fn suggestions(&self) -> Vec<Suggestion> {
        let of = |fact: &Fact| fact.at.iter().map(|target| Suggestion { target: *target, because: fact.kind.words() }).collect::<Vec<_>>();
        let mut suggestions = self.facts.iter().flat_map(of).collect::<Vec<_>>();
        if let Some(at) = suggestions.first().and_then(|suggestion| suggestion.target.as_scalar()) {
            suggestions.push(Suggestion { target: EditTarget::Channel(at.channel()), because: "the whole channel of the first" });
        }
        suggestions
    }
}

/// An entry without facts about its files, to be overwritten. `at` is the repository and its revision.
pub(super) const fn model(id: &'static str, title: &'static str, at: [&'static str; 2], dtype: Dtype, shape: Shape) -> HubModel {
    let [repo, revision] = at;
    HubModel { id, title, repo, revision, weights: None, license: APACHE, is_gated: false, dtype, shape, checkpoints: &[], facts: &[] }
}

/// A file of `bytes` bytes with the digest `sha256`.
pub(super) const fn file(bytes: u64, sha256: &'static str) -> Option<WeightsFile> {
    Some(WeightsFile { bytes, sha256 })
}
