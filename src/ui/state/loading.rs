//! The model chosen but not yet requested, its fit, and the part of it in this browser's storage.

use crate::catalog::hub::{self, HubModel};
use crate::catalog::shape::Place;
use crate::catalog::{self};
use crate::protocol::{BackendChoice, Progress, Request};
use crate::share::model_id_from;
use crate::terms::{EditTarget, FitCheck, FitKind, HUB, HubSource, Inspection, ModelSource, StoredModel};
use crate::ui::state::entry::{Entry, MAIN, endpoint_of, hub_source, origin};
use crate::ui::state::rate::Rate;
use crate::ui::state::{AppState, Source};
use crate::words::bytes;

/// The values of the section's controls. They are kept for this visit only, and none goes into a link or an export.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// A model's id, [`REPO`] or [`FOLDER`].
    pub picked: String,
    /// A server with the Hub's addresses.
    pub endpoint: String,
    /// Access token for gated repositories.
    pub token: String,
    /// Name of a repository: `owner/name`.
    pub repo: String,
    pub revision: String,
    /// The address of a folder with a model's files.
    pub folder: String,
}

/// The choice of any repository by its name.
pub const REPO: &str = "*repo";
/// The choice of a folder on a server.
pub const FOLDER: &str = "*folder";
/// The least stored bytes that count as a begun download. An inspection stores a model's configuration and the header
/// of its weights, which is less.
const BEGUN_BYTES: u64 = 1 << 20;

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

    /// Returns `true` if the choice is on the Hub, or on a server like it.
    pub fn is_of_hub(&self) -> bool {
        self.picked == REPO || self.entry().is_some_and(|entry| entry.hub().is_some())
    }

    /// Sets the server. A token is dropped with the server that it was typed for.
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
        Source { id: entry.id().into(), title: entry.title().into(), from, backend }
    }

    /// The chosen source; `None` while something has still to be typed.
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
        (!name.is_empty()).then(|| Source { id, title: name.into(), from, backend })
    }

    /// The catalogue's model of the typed repository, at the pinned commit or without a revision. Another revision is
    /// another model, which the catalogue does not describe.
    pub fn known_repo(&self) -> Option<&'static HubModel> {
        let revision = self.typed_revision();
        let is_typed =
            |model: &&HubModel| model.repo.eq_ignore_ascii_case(self.typed_repo()) && (revision == MAIN || model.revision == revision);
        hub::MODELS.iter().filter(|_| self.picked == REPO).find(is_typed)
    }

    /// The typed repository's name; the address of its page is accepted as well.
    fn typed_repo(&self) -> &str {
        self.repo.trim().trim_start_matches(HUB).trim_matches('/')
    }

    fn typed_revision(&self) -> &str {
        Some(self.revision.trim()).filter(|revision| !revision.is_empty()).unwrap_or(MAIN)
    }

    fn id_of_repo(&self) -> String {
        match self.typed_revision() {
            MAIN => model_id_from(self.typed_repo()),
            // The beginning of a commit identifies it, and an id is short.
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

/// The engine's inspection of a model before its weights are fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub title: String,
    pub of: ModelSource,
    pub inspection: Inspection,
}

impl AppState {
    /// The catalogue's entry of the model that is loaded, or else of the one asked for.
    pub fn entry(&self) -> Option<Entry> {
        match (&self.info, &self.requested) {
            (Some(info), _) => Entry::find(&info.model.id).filter(|entry| entry.is_shaped_as(info)),
            (None, requested) => Entry::find(&requested.as_ref()?.id),
        }
    }

    /// Pulls the targets of published findings on the loaded model, beside controls.
    pub fn confirm_published(&mut self) {
        let Some(entry) = self.entry() else { return };
        let candidates = entry.published().filter_map(EditTarget::as_scalar).collect();
        self.confirm_these(candidates, entry.published().filter_map(EditTarget::as_row).collect());
    }

    /// Requests an inspection of a model, without fetching its weights.
    pub fn inspect(&mut self, source: Source) {
        (self.fit, self.failure) = (None, None);
        self.queue.push(Request::Inspect { id: source.id, source: source.from, backend: source.backend });
    }

    /// Chooses another model. The storage is listed only if an engine is already started.
    pub fn choose(&mut self, picked: &str) {
        self.choice.picked = picked.into();
        self.fit = None;
        if self.choice.is_of_hub() && self.stored.is_none() && !self.engine.needs_start() {
            self.queue.push(Request::Stored);
        }
    }

    /// Edits the choice as the visitor types. The inspection is dropped, since it is of another address.
    pub fn edit_choice(&mut self, edit: impl FnOnce(&mut Choice)) {
        edit(&mut self.choice);
        self.fit = None;
    }

    pub(crate) fn inspected(&mut self, inspection: Inspection) {
        let Some(running) = &self.queue.running else { return };
        let (is_asked, id, source) = match &running.request {
            Request::Inspect { id, source, .. } => (true, id, source),
            Request::Load { id, source, .. } => (false, id, source),
            _ => return,
        };
        // The fit of the page's own models is not worth showing.
        if is_asked || !inspection.fits || catalog::find(id).is_none() {
            self.fit = Some(Fit { title: self.title_of(id, source), of: source.clone(), inspection });
        }
    }

    pub(crate) fn progressed(&mut self, progress: Progress) {
        if progress.unit == "bytes" {
            self.rate.see(self.now_ms, progress.done);
        } else {
            self.rate = Rate::default();
        }
        self.progress = Some(progress);
    }

    /// The title of a model.
    pub(crate) fn title_of(&self, id: &str, source: &ModelSource) -> String {
        match &self.requested {
            Some(requested) if requested.from == *source => requested.title.clone(),
            _ => match Entry::find(id) {
                Some(entry) => entry.title().into(),
                None => origin(source).unwrap_or_else(|| id.into()),
            },
        }
    }

    /// Lists the storage again after a request that may have stored something.
    pub(crate) fn look_into_store(&mut self, over: &Request) {
        if let Request::Load { source, .. } | Request::Inspect { source, .. } = over
            && origin(source).is_some()
        {
            self.queue.push(Request::Stored);
        }
    }

    /// The stored part of a model, at its commit where one is pinned.
    fn stored_of(&self, source: &ModelSource) -> Option<&StoredModel> {
        let origin = origin(source)?;
        let commit = match source {
            ModelSource::Hub(source) if source.revision.len() == 40 => Some(source.revision.as_str()),
            _ => None,
        };
        let is_it = |model: &&StoredModel| {
            model.origin == origin && commit.is_none_or(|commit| model.commit.as_deref().is_none_or(|its| its == commit))
        };
        self.stored.iter().flatten().filter(is_it).max_by_key(|model| model.bytes)
    }

    /// The label of the load button, with the bytes that have to be fetched.
    pub fn load_label(&self) -> String {
        let Some(source) = self.choice.source(BackendChoice::Auto).filter(|source| origin(&source.from).is_some()) else {
            return "Load".into();
        };
        let known = self.choice.entry().and_then(Entry::hub).map(HubModel::download_bytes);
        let inspected = self.fit.as_ref().filter(|fit| is_same(&fit.of, &source.from)).map(|fit| fit.inspection.file_bytes);
        let total = inspected.or(known);
        let stored = self.stored_of(&source.from).filter(|stored| stored.bytes > 0);
        let missing = match stored {
            None => total,
            Some(stored) => {
                let of_known = stored.total.saturating_sub(stored.bytes);
                total.map(|total| of_known.max(total.saturating_sub(stored.bytes)))
            }
        };
        let verb = if stored.is_some_and(|stored| stored.bytes >= BEGUN_BYTES) { "Go on" } else { "Download and load" };
        match missing {
            Some(0) => "Load what is stored here".into(),
            Some(missing) => format!("{verb}, {}", bytes(missing as f64)),
            None => verb.into(),
        }
    }
}

impl Fit {
    /// The headline, which claims no more than is known.
    pub fn verdict(&self) -> &'static str {
        let is_unknown = |check: &FitCheck| check.kind == FitKind::Memory && check.limit.is_none();
        match self.inspection.fits {
            false => "does not fit.",
            true if self.inspection.checks.iter().any(is_unknown) => {
                "may fit: nothing known speaks against it, but a browser does not tell how much GPU memory there is."
            }
            true => "fits.",
        }
    }
}

/// A word on whether one resource is large enough; `fits` says whether the model can run.
pub fn enough(check: &FitCheck, fits: bool) -> &'static str {
    match (check.ok, check.limit) {
        (true, None) => "not known",
        (true, Some(_)) => "yes",
        (false, _) if fits && check.kind == FitKind::Storage => "no, but it runs",
        (false, _) => "no",
    }
}

/// Returns `true` if two sources are the same place, whatever their tokens.
fn is_same(a: &ModelSource, b: &ModelSource) -> bool {
    match (a, b) {
        (ModelSource::Hub(a), ModelSource::Hub(b)) => (&a.endpoint, &a.repo, &a.revision) == (&b.endpoint, &b.repo, &b.revision),
        _ => a == b,
    }
}

/// The largest models of the catalogue that pass the checks that another one failed, at most three.
pub fn that_fit(inspection: &Inspection) -> Vec<&'static HubModel> {
    let place = if inspection.backend.kind == "cpu" { Place::Cpu } else { Place::Gpu };
    let passes =
        |model: &HubModel| model.id != inspection.id && inspection.checks.iter().all(|check| is_met(check, model, place, inspection));
    let size = |model: &&HubModel| model.shape.num_parameters();
    let mut fitting: Vec<_> = hub::MODELS.iter().filter(|model| passes(model)).collect();
    fitting.sort_by_key(|model| std::cmp::Reverse(size(model)));
    fitting.truncate(3);
    fitting
}

/// Returns `true` if a model of the catalogue would pass a check that was made for another model. The requirement grows
/// with the weights; for a single matrix, the embeddings count as the largest.
fn is_met(check: &FitCheck, model: &HubModel, place: Place, inspection: &Inspection) -> bool {
    let Some(limit) = check.limit else { return true };
    let all = model.device_bytes(place) as f64;
    let needed = match check.kind {
        FitKind::Buffer => {
            let embeddings = u64::from(model.shape.vocab_size) * u64::from(model.shape.hidden_size);
            all * (embeddings as f64 / model.shape.num_parameters() as f64)
        }
        FitKind::Memory => check.needed as f64 * all / inspection.weight_bytes.max(1) as f64,
        // Too little storage does not keep a model from running.
        FitKind::Storage => return true,
    };
    needed <= limit as f64
}

#[cfg(test)]
#[path = "loading_tests.rs"]
mod tests;
