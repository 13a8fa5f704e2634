//! Saves a model with its edits as a checkpoint that transformers loads: the same files, names and types.
//!
//! Files are streamed, a few megabytes at a time, whatever the size of the model. A tensor without an edit is copied
//! byte for byte. After writing, every file is read again and compared, tensor by tensor, with the digests of what was
//! to be written; those of untouched tensors are the digests of the original's bytes.

mod change;
mod config;
mod error;
mod rewrite;
mod shard;

use std::collections::BTreeMap;

use burn::tensor::Device;
use sha2::{Digest, Sha256};

use crate::job::control::Control;
use crate::loading::checkpoint::{Checkpoint, Onto, Shard};
use crate::model::config::ModelConfig;
use crate::platform::{Files, Output, PlatformError};
use crate::terms::{Ablation, ChangedTensor, Cut, FileProof, Message, ModelFile, Saved, SavedFile, SavedState, hex, revision_of};
use crate::weights::WeightsError;
use crate::weights::safetensors::{INDEX_FILE, SINGLE_FILE};
pub use change::Changes;
use change::TensorChange;
pub use error::SavingError;
use shard::{Copied, Pass, same};

const CONFIG_FILE: &str = "config.json";
/// The files next to the weights that belong to a model, as far as it has them. `reference.json` is left out, because
/// the edited model has other results.
const SMALL_FILES: [&str; 19] = [
    CONFIG_FILE,
    INDEX_FILE,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
];

/// The place and form of a saved model.
pub struct Target<'a> {
    pub output: &'a Output,
    /// If `true`, unchanged files are copied, too.
    pub is_whole: bool,
    /// If `true`, removed channels are cut out.
    pub cut: bool,
    /// The files that the model was loaded from, if it is loaded; the source must still be the same.
    pub loaded: &'a [FileProof],
}

/// Saves the model in `files` with these changes. The caller adds the ablation and its pruning to the result.
///
/// # Errors
///
/// A change that weights cannot hold, an error of the source or the output, or a stop.
pub async fn save(files: &Files, changes: &Changes, target: &Target<'_>, control: &Control) -> Result<Saved, SavingError> {
    let json = files.read(CONFIG_FILE).await?.ok_or_else(|| WeightsError::MissingFile { name: CONFIG_FILE.into() })?;
    let config = ModelConfig::from_json(&json)?;
    let sizes = config.sizes();
    changes.edits.iter().try_for_each(|edit| sizes.check_edit(edit))?;
    let cut = if target.cut { Some(changes.cut(&config)?) } else { None };
    let checkpoint = Checkpoint::inspect(files, &config, &Onto::new(&Device::flex(), None)).await?;
    let tensors = changes.of_tensors(&config, &checkpoint.plan, cut.as_ref())?;
    if tensors.is_empty() {
        return Err(SavingError::NoEdit);
    }
    let mut saving = Saving { files, target, tensors: &tensors, control, written: Vec::new(), copies: Vec::new() };
    let sources = saving.weights(&checkpoint.shards).await?;
    saving.small_files(&config, cut.as_ref(), &checkpoint.shards).await?;
    saving.check().await?;
    let Saving { mut written, copies, .. } = saving;
    let mut changed = copies.iter().flat_map(|(_, copied)| copied.changed.iter().cloned()).collect::<Vec<ChangedTensor>>();
    changed.sort_by(|a, b| a.name.cmp(&b.name));
    let n_tensors = checkpoint.shards.iter().map(|shard| shard.header.tensors.len()).sum::<usize>();
    let shards = checkpoint.shards.iter().filter_map(|shard| written.iter().find(|file| file.name == shard.name));
    let revision = revision_of(shards.map(|file| file.sha256.as_str()));
    written.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Saved {
        base_revision: revision_of(sources.iter().map(|file| file.sha256.as_str())),
        origin: files.origin().to_string(),
        commit: files.commit().map(String::from),
        ablation: Ablation::default(),
        pruned: None,
        added_bos: None,
        cut,
        revision,
        n_untouched: n_tensors - changed.len(),
        tensors: changed,
        files: written,
    })
}

/// The state of one saving.
struct Saving<'a> {
    files: &'a Files,
    target: &'a Target<'a>,
    tensors: &'a BTreeMap<String, TensorChange>,
    control: &'a Control,
    written: Vec<SavedFile>,
    /// The files of weights that were written, by name.
    copies: Vec<(String, Copied)>,
}

impl<'a> Saving<'a> {
    /// Writes the files of weights, and returns the sources as they were read.
    async fn weights(&mut self, shards: &[Shard]) -> Result<Vec<FileProof>, SavingError> {
        let mut pass = self.pass("saving_file", shards.iter().map(|shard| shard.len).sum());
        let mut sources = Vec::new();
        for (index, shard) in shards.iter().enumerate() {
            pass.doing = Message::new("saving_file").with("index", index + 1).with("of", shards.len());
            let is_changed = shard.header.tensors.keys().any(|name| self.tensors.contains_key(name));
            let known = self.target.loaded.iter().find(|file| file.name == shard.name);
            if let Some(known) = known.filter(|_| !is_changed && !self.target.is_whole) {
                sources.push(known.clone());
                self.written.push(file(&shard.name, shard.len, known.sha256.clone(), SavedState::Original, None));
                pass.before += shard.len;
                continue;
            }
            let mut output = if is_changed || self.target.is_whole { Some(self.target.output.create(&shard.name)?) } else { None };
            let copied = pass.copy(self.files, shard, self.tensors, output.as_mut()).await?;
            if let Some(known) = known.filter(|known| known.sha256 != copied.source.sha256) {
                let why = format!("its SHA-256 is {}, but {} was loaded", copied.source.sha256, known.sha256);
                return Err(PlatformError::Changed { name: shard.name.clone(), why }.into());
            }
            sources.push(copied.source.clone());
            let state = match (is_changed, &output) {
                (true, _) => SavedState::Changed,
                (false, Some(_)) => SavedState::Copied,
                (false, None) => SavedState::Original,
            };
            let url = output.map(|output| output.finish()).transpose()?;
            self.written.push(file(&shard.name, copied.size, copied.sha256.clone(), state, url));
            self.copies.push((shard.name.clone(), copied));
        }
        Ok(sources)
    }

    /// Copies the other files, with those changed that a cut changes.
    async fn small_files(&mut self, config: &ModelConfig, cut: Option<&Cut>, shards: &[Shard]) -> Result<(), SavingError> {
        for name in SMALL_FILES {
            // The single file has precedence over an index, which then describes other files.
            let is_unused = name == INDEX_FILE && shards.iter().any(|shard| shard.name == SINGLE_FILE);
            let Some(bytes) = self.files.read_optional(name).await?.filter(|_| !is_unused) else { continue };
            let changed = match (name, cut) {
                (CONFIG_FILE, Some(cut)) => Some(config::with_width(&bytes, config, cut.after)?),
                (INDEX_FILE, Some(_)) => {
                    let (n_bytes, n_values) = self.totals(shards);
                    Some(config::with_totals(&bytes, n_bytes, n_values)?)
                }
                _ => None,
            };
            let state = match changed {
                Some(_) => SavedState::Changed,
                None if self.target.is_whole => SavedState::Copied,
                None => SavedState::Original,
            };
            let bytes = changed.unwrap_or(bytes);
            let url = match state {
                SavedState::Original => None,
                SavedState::Changed | SavedState::Copied => {
                    let mut output = self.target.output.create(name)?;
                    output.write(&bytes)?;
                    Some(output.finish()?)
                }
            };
            self.written.push(file(name, bytes.len() as u64, hex(&Sha256::digest(&bytes)), state, url));
        }
        Ok(())
    }

    /// Bytes and number of values of all tensors after a cut.
    fn totals(&self, shards: &[Shard]) -> (u64, u64) {
        let shape = |name: &str| self.copies.iter().flat_map(|(_, copied)| &copied.changed).find(|tensor| tensor.name == name);
        let entries = shards.iter().flat_map(|shard| shard.header.tensors.values());
        entries.fold((0, 0), |(bytes, values), entry| {
            let shape = shape(&entry.name).map_or(&entry.shape, |tensor| &tensor.shape);
            let n = shape.iter().map(|len| *len as u64).product::<u64>();
            (bytes + n * entry.dtype.size_bits() / 8, values + n)
        })
    }

    /// Reads every written file again, and compares it with what was to be written.
    async fn check(&self) -> Result<(), SavingError> {
        let saved = Files::new(self.written.iter().filter_map(written_file).collect());
        let of_weights = |file: &&SavedFile| file.url.is_some() && self.copies.iter().any(|(name, _)| *name == file.name);
        let mut pass = self.pass("checking_saved", self.written.iter().filter(of_weights).map(|file| file.size).sum());
        for file in self.written.iter().filter(|file| file.url.is_some()) {
            match self.copies.iter().find(|(name, _)| *name == file.name) {
                Some((name, copied)) => pass.check(&saved, name, copied).await?,
                None => {
                    let bytes = saved.read(&file.name).await?.unwrap_or_default();
                    same(&file.name, &file.sha256, &hex(&Sha256::digest(&bytes)))?;
                }
            }
        }
        Ok(())
    }

    fn pass(&self, doing: &str, total: u64) -> Pass<'a> {
        Pass { control: self.control, doing: doing.into(), before: 0, total }
    }
}

fn file(name: &str, size: u64, sha256: String, state: SavedState, url: Option<String>) -> SavedFile {
    SavedFile { name: name.into(), size, sha256, state, url }
}

fn written_file(file: &SavedFile) -> Option<ModelFile> {
    file.url.clone().map(|url| ModelFile { name: file.name.clone(), url })
}
