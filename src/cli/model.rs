//! Finds the model that `--model` names.

use std::path::Path;

use anyhow::{Context, bail};

use super::print;
use crate::hub::{self, Against, HubError, HubRepo, Settings, Snapshot};
use crate::share::model_id_from;
use crate::terms::{FileProof, ModelFile, Provenance, without_scheme};

/// A model whose files are on this machine.
#[derive(Debug)]
pub struct Found {
    pub id: String,
    pub files: Vec<ModelFile>,
    /// Provenance of the files, if they are from the Hub.
    pub brought: Option<Provenance>,
}

impl Found {
    /// Finds the model in a folder, or downloads it from the Hub.
    ///
    /// # Errors
    ///
    /// The model does not exist, or the Hub refused the request.
    pub fn named(name: &str, is_quiet: bool) -> anyhow::Result<Self> {
        let dir = Path::new(name);
        if dir.is_dir() {
            let id = dir.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
            return Self::folder(dir, id);
        }
        match HubRepo::parse(name) {
            Some(asked) => Self::of_hub(name, asked, is_quiet),
            None => bail!(
                "{name} is no folder, no model of the catalogue (`linchpin models` lists them) and no repository of the Hub \
                 (ORGANISATION/NAME)"
            ),
        }
    }

    /// Lists every file of a folder as a model.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read.
    pub fn folder(dir: &Path, id: String) -> anyhow::Result<Self> {
        let entries = std::fs::read_dir(dir).with_context(|| format!("cannot open the model's folder {}", dir.display()))?;
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            files.push(ModelFile { name: entry.file_name().to_string_lossy().into_owned(), url: entry.path().display().to_string() });
        }
        Ok(Self { id, files, brought: None })
    }

    fn of_hub(name: &str, asked: HubRepo, is_quiet: bool) -> anyhow::Result<Self> {
        let mut shown = None;
        let mut tell = |doing: &str, file: &str, done: u64, total: u64| {
            let percent = 100 * done / total.max(1);
            if !is_quiet && shown.replace(percent) != Some(percent) {
                print::transfer(doing, file, done, total);
            }
        };
        let settings = Settings::from_env();
        let snapshot = hub::fetch(&asked, &settings, &mut tell).map_err(|error| match error {
            HubError::NoRepo { .. } if asked.entry.is_none() => anyhow::anyhow!("there is no folder {name}, and {error}"),
            error => error.into(),
        })?;
        if !is_quiet {
            report(&asked, &snapshot);
        }
        let id = asked.entry_at(&snapshot.commit).map_or_else(|| own_id(&asked), |entry| entry.id.into());
        let brought = Some(brought(&asked, &settings, &snapshot));
        Ok(Self { id, files: snapshot.files, brought })
    }

    /// Adds repository, revision and checksums to the engine's description; only the downloader knows them.
    pub fn attest(brought: Option<Provenance>, said: &mut Provenance) {
        let Some(brought) = brought else { return };
        (said.origin, said.commit) = (brought.origin, brought.commit);
        said.notes.extend(brought.notes);
        for file in &mut said.files {
            file.verified = brought.files.iter().any(|known| known.verified && known.sha256 == file.sha256);
        }
    }
}

/// Returns the provenance of a snapshot, and which of its weights were compared with a digest.
fn brought(asked: &HubRepo, settings: &Settings, snapshot: &Snapshot) -> Provenance {
    let proof = |file: &hub::Checked| FileProof {
        name: file.name.clone(),
        size: 0,
        sha256: file.sha256.clone(),
        verified: file.against != Against::Nothing,
    };
    let offline = |why: &String| format!("From the cache, because the Hub could not be asked: {why}");
    Provenance {
        origin: format!("{}/{}", without_scheme(&settings.endpoint), asked.repo),
        commit: Some(snapshot.commit.clone()),
        files: snapshot.weights.iter().map(proof).collect(),
        stored: false,
        notes: snapshot.offline.iter().map(offline).collect(),
    }
}

/// Returns the id of a model outside the catalogue. If the catalogue has another revision of the repository, the id
/// contains the revision, since the entry's id and findings are not this model's.
fn own_id(asked: &HubRepo) -> String {
    let name = asked.repo.rsplit('/').next().unwrap_or_default();
    if asked.entry.is_none() {
        return model_id_from(name);
    }
    let revision = if asked.is_pinned() { &asked.revision[..12] } else { asked.revision.as_str() };
    model_id_from(&format!("{name}-{revision}"))
}

/// Prints the repository's commit, and the digests that its weights were compared with.
fn report(asked: &HubRepo, snapshot: &Snapshot) {
    let HubRepo { repo, revision, .. } = asked;
    match &snapshot.offline {
        Some(why) => print::note(&format!("from the cache, because the Hub could not be asked: {why}")),
        None if !asked.is_pinned() => print::note(&format!("{repo} is not pinned: {revision} is {} now", snapshot.commit)),
        None => {}
    }
    for file in &snapshot.weights {
        let against = match file.against {
            Against::Catalog => "verified against the catalogue",
            Against::Hub => "verified against the Hub's digest",
            Against::Nothing => "not verified, the Hub tells no digest",
        };
        print::note(&format!("{}: SHA-256 {} ({against})", file.name, file.sha256));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_revision_of_a_catalogued_repository_has_an_id_of_its_own() {
        let id = |name: &str| own_id(&HubRepo::parse(name).unwrap());
        assert_eq!(id("olmo-1b-0724@step1000-tokens4B"), "olmo-1b-0724-hf-step1000-tokens4b");
        // The name alone would be the catalogue's id.
        assert_eq!(id("Qwen/Qwen2.5-0.5B@main"), "qwen2.5-0.5b-main");
        assert_eq!(id(&format!("openai-community/gpt2@{}", "0123456789".repeat(4))), "gpt2-012345678901");
        assert_eq!(id("org/tiny@main"), "tiny");
    }
}
