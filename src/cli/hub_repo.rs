//! A repository of the Hub, from the argument of `--model`.

use crate::catalog::hub::{HubModel, find_any, find_repo};
use crate::platform::{HubSettings, hub};
use crate::share::model_id_from;
use crate::terms::ModelSource;

/// A model of the Hub at one point of its history.
#[derive(Debug, Clone, PartialEq)]
pub struct HubRepo {
    /// `organisation/name`.
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The catalogue's entry of the repository, which describes one commit: see [`Self::entry_at`].
    pub entry: Option<&'static HubModel>,
}

impl HubRepo {
    /// Reads a catalogue id or `organisation/name`, either with `@revision`. The default revision is the catalogue's,
    /// or `main`. `None` if the text is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').map_or((text, None), |(name, revision)| (name, Some(revision)));
        let entry = find_any(name).or_else(|| find_repo(name));
        let repo = entry.map_or(name, |entry| entry.repo);
        let revision = revision.or_else(|| entry.map(|entry| entry.revision)).unwrap_or("main");
        let is_valid = hub::is_repo(repo) && hub::is_revision(revision);
        is_valid.then(|| Self { repo: repo.into(), revision: revision.into(), entry })
    }

    /// `true` if the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        hub::is_commit(&self.revision)
    }

    /// The catalogue's entry, if it describes this commit.
    pub fn entry_at(&self, commit: &str) -> Option<&'static HubModel> {
        self.entry.filter(|entry| entry.revision == commit)
    }

    /// The repository as a source for the engine, with the Hub's address and the token from the environment. The
    /// catalogue's sizes and digests are only used for its own commit.
    pub fn source(&self) -> ModelSource {
        let known = self.entry_at(&self.revision).map(HubModel::known_files).unwrap_or_default();
        ModelSource::Hub(HubSettings::from_env().source(&self.repo, &self.revision, known))
    }

    /// The id of the model: the catalogue's, at the catalogue's commit. If the catalogue has another revision of the
    /// repository, the id contains the revision, because the entry's findings are not about this model.
    pub fn id(&self) -> String {
        if let Some(entry) = self.entry_at(&self.revision) {
            return entry.id.into();
        }
        let name = self.repo.rsplit('/').next().unwrap_or_default();
        if self.entry.is_none() {
            return model_id_from(name);
        }
        let revision = if self.is_pinned() { &self.revision[..12] } else { self.revision.as_str() };
        model_id_from(&format!("{name}-{revision}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_of_the_catalogue_or_of_a_repository() {
        let parse = |text| HubRepo::parse(text).map(|found| (found.repo, found.revision, found.entry.map(|entry| entry.id)));
        let smol = "93efa2f097d58c2a74874c7e644dbc9b0cee75a2";
        let pinned = Some(("HuggingFaceTB/SmolLM2-135M".into(), smol.into(), Some("smollm2-135m")));
        assert_eq!(parse("smollm2-135m"), pinned);
        assert_eq!(parse("HuggingFaceTB/SmolLM2-135M"), pinned);
        let stage = parse("olmo-2-1124-7b@stage1-step150-tokens1B").unwrap();
        assert_eq!((stage.0.as_str(), stage.1.as_str()), ("allenai/OLMo-2-1124-7B", "stage1-step150-tokens1B"));
        assert_eq!(parse("org/name@refs/pr/1"), Some(("org/name".into(), "refs/pr/1".into(), None)));
        assert_eq!(parse("org/name"), Some(("org/name".into(), "main".into(), None)));
        for wrong in [
            "",
            "nothing",
            "a/b/c",
            "../models",
            "./models/x",
            "/models",
            "org/",
            "org/a b",
            "org/name@",
            "org/name@../x",
            "org/name@a/../b",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn digests_of_the_catalogue_are_of_its_own_commit() {
        let known = |name: &str| match HubRepo::parse(name).unwrap().source() {
            ModelSource::Hub(source) => source.known,
            other => panic!("{other:?}"),
        };
        let file = find_any("smollm2-135m").unwrap().weights.unwrap();
        let [only] = <[_; 1]>::try_from(known("smollm2-135m")).unwrap();
        assert_eq!((only.size, only.sha256.as_deref()), (Some(file.bytes), Some(file.sha256)));
        assert_eq!(known("smollm2-135m@main"), []);
        assert_eq!(known("org/tiny"), []);
    }

    #[test]
    fn ids_of_other_revisions_of_a_catalogued_repository_are_their_own() {
        let id = |name: &str| HubRepo::parse(name).unwrap().id();
        assert_eq!(id("olmo-1b-0724"), "olmo-1b-0724");
        assert_eq!(id("olmo-1b-0724@step1000-tokens4B"), "olmo-1b-0724-hf-step1000-tokens4b");
        // The name alone would be the catalogue's id.
        assert_eq!(id("Qwen/Qwen2.5-0.5B@main"), "qwen2.5-0.5b-main");
        assert_eq!(id(&format!("openai-community/gpt2@{}", "0123456789".repeat(4))), "gpt2-012345678901");
        assert_eq!(id("org/tiny@main"), "tiny");
    }
}
