//! Streams one file of weights from its source to its copy: untouched tensors as they are, changed ones rewritten.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::change::TensorChange;
use super::error::SavingError;
use super::rewrite::Rewrite;
use crate::loading::checkpoint::Shard;
pub use crate::loading::reader::Pass;
use crate::loading::reader::{PIECE_BYTES, Reader};
use crate::platform::{Files, OutputFile};
use crate::terms::{ChangedTensor, FileProof, hex};
use crate::weights::safetensors::TensorEntry;

/// A file of weights after its copy was written.
pub struct Copied {
    /// The source, as it was read.
    pub source: FileProof,
    /// Size and SHA-256 of the copy.
    pub size: u64,
    pub sha256: String,
    /// The SHA-256 of the bytes that belong to each tensor in the copy, by its name in the file.
    pub tensors: BTreeMap<String, String>,
    pub changed: Vec<ChangedTensor>,
}

/// A copy that is being written, and the digest of its bytes so far. Without a file, the bytes are only hashed.
struct Sink<'a> {
    file: Option<&'a mut OutputFile>,
    hasher: Sha256,
    size: u64,
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SavingError> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        match &mut self.file {
            Some(file) => Ok(file.write(bytes)?),
            None => Ok(()),
        }
    }
}

impl Pass<'_> {
    /// Copies a file with the changes of its tensors.
    ///
    /// # Errors
    ///
    /// An error of the source or the copy, a value that its type cannot hold, or a stop.
    pub async fn copy(
        &mut self,
        files: &Files,
        shard: &Shard,
        changes: &BTreeMap<String, TensorChange>,
        file: Option<&mut OutputFile>,
    ) -> Result<Copied, SavingError> {
        let mut source = self.open(files, shard).await?;
        let mut sink = Sink { file, hasher: Sha256::new(), size: 0 };
        let is_cut = changes.iter().any(|(name, change)| shard.header.tensors.contains_key(name) && is_cut(change));
        sink.write(&if is_cut { cut_header(shard, changes) } else { shard.begin.clone() })?;
        let mut entries = shard.header.tensors.values().collect::<Vec<_>>();
        entries.sort_by_key(|entry| entry.begin);
        let (mut tensors, mut changed) = (BTreeMap::new(), Vec::new());
        for entry in entries {
            let digest = match changes.get(&entry.name) {
                Some(change) => {
                    let (digest, tensor) = self.rewrite(&mut source, entry, change, &mut sink).await?;
                    changed.push(tensor);
                    digest
                }
                None => self.untouched(&mut source, entry, &mut sink).await?,
            };
            tensors.insert(shard.name_in_file(&entry.name).to_owned(), digest);
        }
        self.before += shard.len;
        let (source, _) = source.finish()?;
        Ok(Copied { source, size: sink.size, sha256: hex(&sink.hasher.finalize()), tensors, changed })
    }

    /// Reads a written file again, and compares every tensor and the whole file with the digests of what was written.
    ///
    /// # Errors
    ///
    /// [`SavingError::ReadBack`], or an error in the file.
    pub async fn check(&mut self, saved: &Files, name: &str, copied: &Copied) -> Result<(), SavingError> {
        let shard = Shard::read(saved, name).await?;
        let again = self.copy(saved, &shard, &BTreeMap::new(), None).await?;
        same(name, &copied.sha256, &again.sha256)?;
        for (tensor, expected) in &copied.tensors {
            let got = again.tensors.get(tensor).map_or("", String::as_str);
            same(&format!("{tensor} in {name}"), expected, got)?;
        }
        Ok(())
    }

    /// Copies a tensor as it is, and returns the SHA-256 of its bytes.
    async fn untouched(&self, source: &mut Reader<'_>, entry: &TensorEntry, sink: &mut Sink<'_>) -> Result<String, SavingError> {
        let (mut left, mut hasher) = (entry.n_bytes(), Sha256::new());
        while left > 0 {
            let piece = self.next(source, left).await?;
            hasher.update(piece);
            sink.write(piece)?;
            left -= piece.len() as u64;
        }
        Ok(hex(&hasher.finalize()))
    }

    /// Copies a tensor with a change, and returns the SHA-256 of its new bytes.
    async fn rewrite(
        &self,
        source: &mut Reader<'_>,
        entry: &TensorEntry,
        change: &TensorChange,
        sink: &mut Sink<'_>,
    ) -> Result<(String, ChangedTensor), SavingError> {
        // A bias is a column.
        let cols = entry.shape.get(1).copied().unwrap_or(1);
        let mut rewrite = Rewrite::new(entry, change, cols);
        let row_bytes = (cols as u64 * entry.dtype.size_bits() / 8).max(1);
        let (step, mut left, mut hasher) = ((PIECE_BYTES / row_bytes).max(1) * row_bytes, entry.n_bytes(), Sha256::new());
        let mut rows = Vec::new();
        while left > 0 {
            let n = left.min(step);
            rows.clear();
            while (rows.len() as u64) < n {
                rows.extend_from_slice(self.next(source, n - rows.len() as u64).await?);
            }
            let written = rewrite.rows(&rows)?;
            hasher.update(&written);
            sink.write(&written)?;
            left -= n;
        }
        let (shape, n_changed, n_rounded_back) = (rewrite.shape(), rewrite.n_changed, rewrite.n_rounded_back);
        Ok((
            hex(&hasher.finalize()),
            ChangedTensor { name: source.shard.name_in_file(&entry.name).to_owned(), shape, n_changed, n_rounded_back },
        ))
    }
}

/// Checks that the digest of what was read back is the digest of what was written.
///
/// # Errors
///
/// [`SavingError::ReadBack`] if the digests differ.
pub fn same(name: &str, expected: &str, got: &str) -> Result<(), SavingError> {
    match expected == got {
        true => Ok(()),
        false => Err(SavingError::ReadBack { name: name.into(), expected: expected.into(), got: got.into() }),
    }
}

fn is_cut(change: &TensorChange) -> bool {
    change.rows.is_some() || change.cols.is_some()
}

/// The bytes before the data of a file some of whose tensors are cut: length and header, with spaces up to a multiple
/// of 8 bytes, as the format's own writer aligns it.
fn cut_header(shard: &Shard, changes: &BTreeMap<String, TensorChange>) -> Vec<u8> {
    let mut parts = Vec::new();
    if !shard.header.metadata.is_empty() {
        parts.push(format!("\"__metadata__\":{}", json(&shard.header.metadata)));
    }
    let mut entries = shard.header.tensors.values().collect::<Vec<_>>();
    entries.sort_by_key(|entry| entry.begin);
    let mut begin = 0;
    for entry in entries {
        let shape = match changes.get(&entry.name) {
            Some(change) => Rewrite::new(entry, change, 1).shape(),
            None => entry.shape.clone(),
        };
        let end = begin + shape.iter().map(|len| *len as u64).product::<u64>() * entry.dtype.size_bits() / 8;
        let (name, dtype, shape) = (json(&shard.name_in_file(&entry.name)), entry.dtype.name(), json(&shape));
        parts.push(format!("{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}"));
        begin = end;
    }
    let mut header = format!("{{{}}}", parts.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header].concat()
}

/// A text, a list of numbers or a map of texts as JSON, which always have one.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
