//! Finds the model that `--model` names.

use std::path::Path;

use anyhow::{Context, bail};

use super::hub_repo::HubRepo;
use super::print;
use crate::platform::hub;
use crate::share::model_id_from;
use crate::terms::{Failure, FailureKind, FileProof, ModelFile, ModelSource, Provenance};

/// A model that the engine can load.
#[derive(Debug)]
pub struct Found {
    pub id: String,
    pub source: ModelSource,
    /// The repository, if the model is from the Hub.
    asked: Option<HubRepo>,
    /// The choice of a snapshot in the Hub's cache, as a sentence.
    snapshot: Option<String>,
}

impl Found {
    /// Finds the model in a folder, or, if there is no such folder, on the Hub.
    ///
    /// # Errors
    ///
    /// A name that is neither a folder nor a repository.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        let dir = Path::new(name);
        if let Some((repo, commit)) = in_cache(dir)? {
            let found = Self::folder(&dir.join("snapshots").join(&commit), model_id_from(&repo))?;
            return Ok(Self { snapshot: Some(format!("{name} is a folder of the Hub's cache: its snapshot {commit} is taken")), ..found });
        }
        if dir.is_dir() {
            let id = dir.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
            return Self::folder(dir, id);
        }
        match HubRepo::parse(name) {
            Some(asked) => Ok(Self { id: asked.id(), source: asked.source(), asked: Some(asked), snapshot: None }),
            None => bail!(
                "{name} is not a folder, nor a model of the catalogue (`linchpin models` lists them), nor a repository of the Hub \
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
        Ok(Self { id, source: ModelSource::Files(files), asked: None, snapshot: None })
    }

    /// Adds to the engine's refusal that there is no folder of this name either, if the name may mean a folder.
    pub fn explain(&self, failure: &Failure, error: anyhow::Error) -> anyhow::Error {
        match &self.asked {
            Some(HubRepo { repo, entry: None, .. }) if failure.kind() == FailureKind::Input => {
                error.context(format!("there is no folder {repo}, so the Hub was asked for it"))
            }
            _ => error,
        }
    }

    /// Prints the notes on the model, the repository's commit, and the source of the digests that its weights were compared with.
    pub fn report(&self, provenance: &Provenance) {
        self.snapshot.iter().chain(&provenance.notes).for_each(|note| print::note(note));
        let Some(asked) = &self.asked else { return };
        if let Some(commit) = provenance.commit.as_ref().filter(|_| !asked.is_pinned()) {
            print::note(&format!("{} is not pinned: {} is {commit} here", asked.repo, asked.revision));
        }
        provenance.files.iter().for_each(|file| print::note(&proof(asked, file)));
    }
}

/// The name of the repository and the commit, if this is a repository's folder in the Hub's cache: its files lie in a
/// folder for each commit. The commit is that of `main`, or the only one.
fn in_cache(dir: &Path) -> anyhow::Result<Option<(String, String)>> {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((_, repo)) = name.strip_prefix("models--").and_then(|rest| rest.rsplit_once("--").or(Some(("", rest)))) else {
        return Ok(None);
    };
    let snapshots = dir.join("snapshots");
    if dir.join("config.json").exists() || !snapshots.is_dir() {
        return Ok(None);
    }
    let of_main = std::fs::read_to_string(dir.join("refs").join("main")).map(|commit| commit.trim().to_owned());
    if let Ok(commit) = of_main
        && hub::is_commit(&commit)
        && snapshots.join(&commit).is_dir()
    {
        return Ok(Some((repo.into(), commit)));
    }
    let entries = std::fs::read_dir(&snapshots).with_context(|| format!("cannot open {}", snapshots.display()))?;
    let mut commits = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>();
    commits.sort();
    match &commits[..] {
        [only] => Ok(Some((repo.into(), only.clone()))),
        [] => bail!("{} is a folder of the Hub's cache without any files: name the repository instead, to download it", dir.display()),
        several => bail!(
            "{} is a folder of the Hub's cache with several snapshots, and refs/main names none of them: take one of {}",
            dir.display(),
            several.iter().map(|commit| snapshots.join(commit).display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn proof(asked: &HubRepo, FileProof { name, sha256, verified, .. }: &FileProof) -> String {
    let of_catalog = asked.entry_at(&asked.revision).and_then(|entry| entry.weights);
    let against = match verified {
        true if of_catalog.is_some_and(|file| file.sha256 == sha256) => "verified against the catalogue",
        true => "verified against the Hub's digest",
        false => "not verified, because the Hub gives no digest",
    };
    format!("{name}: SHA-256 {sha256} ({against})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_name_who_gave_the_digest() {
        let proof = |asked: &str, sha256: &str, verified| {
            let file = FileProof { name: "model.safetensors".into(), size: 0, sha256: sha256.into(), verified };
            proof(&HubRepo::parse(asked).unwrap(), &file)
        };
        let known = HubRepo::parse("smollm2-135m").unwrap().entry.unwrap().weights.unwrap().sha256;
        assert!(proof("smollm2-135m", known, true).ends_with(&format!("SHA-256 {known} (verified against the catalogue)")));
        // Another commit than the catalogue's.
        assert!(proof("smollm2-135m@main", known, true).ends_with("(verified against the Hub's digest)"));
        assert!(proof("org/tiny", &"0".repeat(64), false).ends_with("(not verified, because the Hub gives no digest)"));
    }
}
