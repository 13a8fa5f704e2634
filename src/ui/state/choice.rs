//! The model that is chosen in the controls, but not yet requested.

use crate::catalog;
use crate::catalog::hub::{self, HubModel};
use crate::protocol::BackendChoice;
use crate::share::model_id_from;
use crate::terms::{HUB, HubSource, ModelSource};
use crate::ui::state::Source;
use crate::ui::state::entry::{Entry, MAIN, endpoint_of, hub_source};

/// The values of the section's controls. They are kept for this visit only, and none goes into a link or an export.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// A model's id, [`REPO`] or [`FOLDER`].
    pub picked: String,
    /// A server with the Hub's paths.
    pub endpoint: String,
    /// Access token for gated repositories.
    pub token: String,
    /// Name of a repository: `owner/name`.
    pub repo: String,
    pub revision: String,
    /// The address of a folder with a model's files.
    pub folder: String,
}

/// The choice of any repository, by its name.
pub const REPO: &str = "*repo";
/// The choice of a folder on a server.
pub const FOLDER: &str = "*folder";
impl Default for Choice {
    fn default() -> Self {
        let text = String::new;
        Self {
            picked: catalog::default_model().id.into(),
            endpoint: HUB.into(),
            token: text(),
            repo: text(),
            revision: MAIN.into(),
            folder: text(),
        }
    }
}

impl Choice {
    pub fn entry(&self) -> Option<Entry> {
        Entry::find(&self.picked)
    }

    /// Returns `true` if the choice is on the Hub or a similar server.
    pub fn is_of_hub(&self) -> bool {
        self.picked == REPO || self.entry().is_some_and(|entry| entry.hub().is_some())
    }

    /// Sets the server. The token is dropped, because it was typed for another server.
    pub fn set_endpoint(&mut self, endpoint: String) {
        if endpoint_of(&endpoint) != endpoint_of(&self.endpoint) {
            self.token.clear();
        }
        self.endpoint = endpoint;
    }

    /// The source to load an entry of the catalogue from.
    pub fn source_of(&self, entry: Entry, backend: BackendChoice) -> Source {
        let from = match entry {
            Entry::Bundled(model) => ModelSource::Files(model.files()),
            Entry::Hub(model) => hub_source(model, endpoint_of(&self.endpoint), self.token()),
        };
        Source { id: entry.id().into(), title: entry.title().into(), from, backend, bos: false }
    }

    /// The chosen source; `None` while a field is empty.
    pub fn source(&self, backend: BackendChoice) -> Option<Source> {
        if let Some(entry) = self.entry() {
            return Some(self.source_of(entry, backend));
        }
        let (id, name, from) = match (self.picked.as_str(), self.known_repo()) {
            (REPO, Some(model)) => (model.id.into(), self.typed_repo(), hub_source(model, endpoint_of(&self.endpoint), self.token())),
            (REPO, None) => (self.id_of_repo(), self.typed_repo(), self.repository()),
            _ => {
                let url = self.folder.trim().trim_end_matches('/');
                let name = url.rsplit('/').next().unwrap_or_default();
                (model_id_from(name), name, ModelSource::Folder { url: url.into() })
            }
        };
        (!name.is_empty()).then(|| Source { id, title: name.into(), from, backend, bos: false })
    }

    /// The catalogue's model of the typed repository, at the pinned commit or without a revision. Another revision is
    /// another model, which the catalogue does not describe.
    pub fn known_repo(&self) -> Option<&'static HubModel> {
        let revision = self.typed_revision();
        let is_typed =
            |model: &&HubModel| model.repo.eq_ignore_ascii_case(self.typed_repo()) && (revision == MAIN || model.revision == revision);
        hub::MODELS.iter().filter(|_| self.picked == REPO).find(is_typed)
    }

    /// The typed repository's name, also if its page's address was typed.
    fn typed_repo(&self) -> &str {
        self.repo.trim().trim_start_matches(HUB).trim_matches('/')
    }

    fn typed_revision(&self) -> &str {
        Some(self.revision.trim()).filter(|revision| !revision.is_empty()).unwrap_or(MAIN)
    }

    fn id_of_repo(&self) -> String {
        match self.typed_revision() {
            MAIN => model_id_from(self.typed_repo()),
            // The first 12 characters of a commit identify it and keep the id short.
            revision => model_id_from(&format!("{}-{}", self.typed_repo(), revision.get(..12).unwrap_or(revision))),
        }
    }

    fn repository(&self) -> ModelSource {
        ModelSource::Hub(HubSource {
            endpoint: endpoint_of(&self.endpoint).into(),
            repo: self.typed_repo().into(),
            revision: self.typed_revision().into(),
            token: self.token(),
            known: Vec::new(),
        })
    }

    fn token(&self) -> Option<String> {
        Some(self.token.trim()).filter(|token| !token.is_empty()).map(String::from)
    }
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
