//! The loaded model, the requested one, and facts about others before they are downloaded.

use crate::catalog;
use crate::catalog::hub::HubModel;
use crate::protocol::{BackendChoice, Event, Request};
use crate::terms::{Inspection, ModelInfo, ModelSource, Sharing, StoredModel};
use crate::ui::state::Source;
use crate::ui::state::choice::Choice;
use crate::ui::state::entry::{Entry, origin};
use crate::ui::state::fit::Fit;
use crate::ui::state::part::Part;
use crate::ui::state::queue::Running;
use crate::words::bytes;

/// The least stored bytes that count as a started download. An inspection stores only a model's configuration and the
/// header of its weights.
const BEGUN_BYTES: u64 = 1 << 20;

/// The part of the state behind the section "The model".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelState {
    /// The loaded model.
    pub source: Option<Source>,
    /// The model requested last; it becomes [`ModelState::source`] once it is loaded.
    pub requested: Option<Source>,
    pub info: Option<ModelInfo>,
    /// The values of the controls in the section "The model".
    pub choice: Choice,
    /// The inspection of the last inspected model.
    pub fit: Option<Fit>,
    /// The models in this browser's storage, if they were listed.
    pub stored: Option<Vec<StoredModel>>,
    /// The workers that share the loaded model's measurements; `None` on a GPU.
    pub sharing: Option<Sharing>,
    /// The number of workers that the visitor chose.
    pub workers: Option<usize>,
}

impl ModelState {
    /// The catalogue's entry of the loaded model, or, if there is none, of the requested one.
    pub fn entry(&self) -> Option<Entry> {
        match (&self.info, &self.requested) {
            (Some(info), _) => Entry::find(&info.model.id).filter(|entry| entry.is_shaped_as(info)),
            (None, requested) => Entry::find(&requested.as_ref()?.id),
        }
    }

    /// Chooses another model. The previous model's inspection is dropped.
    pub(crate) fn choose(&mut self, picked: &str) {
        self.choice.picked = picked.into();
        self.fit = None;
    }

    /// Edits the choice as the visitor types. The previous address's inspection is dropped.
    pub fn edit_choice(&mut self, edit: impl FnOnce(&mut Choice)) {
        edit(&mut self.choice);
        self.fit = None;
    }

    /// Accepts the inspection of a running request.
    pub(crate) fn inspected(&mut self, inspection: Inspection, running: Option<&Running>) {
        let (is_asked, id, source) = match running.map(|running| &running.request) {
            Some(Request::Inspect { id, source, .. }) => (true, id, source),
            Some(Request::Load { id, source, .. }) => (false, id, source),
            _ => return,
        };
        // The fit of the page's own models is not worth showing.
        if is_asked || !inspection.fits || catalog::find(id).is_none() {
            self.fit = Some(Fit { title: self.title_of(id, source), of: source.clone(), inspection });
        }
    }

    /// Accepts the model that the engine has loaded, which may differ from the last requested one.
    pub(crate) fn loaded(&mut self, info: ModelInfo, running: Option<&Running>) {
        self.info = Some(info);
        if let Some(Request::Load { id, source, backend, bos }) = running.map(|running| &running.request) {
            let title = self.title_of(id, source);
            self.source = Some(Source { id: id.clone(), title, from: source.clone(), backend: *backend, bos: *bos });
        }
    }

    /// The loaded model with its BOS put before every text, or without it if it is there by request; `None` if
    /// tokenizer.json puts there what belongs there.
    pub fn with_other_bos(&self) -> Option<Source> {
        let (source, info) = (self.source.clone()?, self.info.as_ref()?);
        (info.left_out_bos.is_some() || info.model.added_bos.is_some()).then(|| Source { bos: info.model.added_bos.is_none(), ..source })
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

    /// The stored part of a model, at its commit if one is pinned.
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

    /// The label of the load button, with the bytes to download.
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
            Some(0) => "Load from storage".into(),
            Some(missing) => format!("{verb}, {}", bytes(missing as f64)),
            None => verb.into(),
        }
    }
}

impl Part for ModelState {
    fn reduce(&mut self, event: &Event) {
        if let Event::Stored { models } = event {
            self.stored = Some(models.clone());
        }
    }

    fn forget_engine(&mut self) {
        self.sharing = None;
    }
}

/// Returns `true` if two sources are the same place, ignoring their tokens.
fn is_same(a: &ModelSource, b: &ModelSource) -> bool {
    match (a, b) {
        (ModelSource::Hub(a), ModelSource::Hub(b)) => (&a.endpoint, &a.repo, &a.revision) == (&b.endpoint, &b.repo, &b.revision),
        _ => a == b,
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
pub(crate) mod tests;
