//! The context of every section: the state and the client, both cheap to copy.

use leptos::prelude::*;

use crate::catalog;
use crate::protocol::BackendChoice;
use crate::terms::ModelSource;
use crate::ui::page::client::Client;
use crate::ui::page::dom;
use crate::ui::state::entry::{Entry, out_of_reach};
use crate::ui::state::{AppState, Source};

#[derive(Clone, Copy)]
pub struct App {
    pub state: RwSignal<AppState>,
    pub client: Client,
    /// The device that the visitor chose.
    pub backend: RwSignal<BackendChoice>,
}

impl App {
    pub fn new() -> Self {
        let opening = catalog::default_model().prompts[0];
        let state = RwSignal::new(AppState::new(opening));
        Self { state, client: Client::new(state), backend: RwSignal::new(BackendChoice::Auto) }
    }

    /// A part of the state, which notifies its readers only when it changed.
    pub fn part<T: Clone + PartialEq + Send + Sync + 'static>(self, get: impl Fn(&AppState) -> T + Send + Sync + 'static) -> Memo<T> {
        Memo::new(move |_| self.state.with(&get))
    }

    /// A value computed from the state only when `key` changes, so that a chart of thousands of channels is not drawn
    /// again for every token.
    pub fn drawn<K, T>(self, key: Memo<K>, draw: impl Fn(&AppState) -> T + Send + Sync + 'static) -> Memo<T>
    where
        K: PartialEq + Send + Sync + 'static,
        T: PartialEq + Send + Sync + 'static,
    {
        Memo::new(move |_| {
            // The key is read, not only tracked: a memo without a reader tracks nothing and would never notify.
            key.with(|_| ());
            self.state.with_untracked(&draw)
        })
    }

    /// Loads a model of the catalogue from the server that the visitor has chosen, with the BOS put before every text if
    /// `bos`.
    pub fn load_entry(self, entry: Entry, bos: bool) {
        let source = self.state.with_untracked(|state| state.model.choice.source_of(entry, self.backend.get_untracked()));
        self.load(Source { bos, ..source });
    }

    pub fn load_default(self) {
        self.load_entry(Entry::Bundled(catalog::default_model()), false);
    }

    /// Inspects a model: checks if it fits.
    pub fn inspect(self, source: Source) {
        if self.can_reach(&source.from) {
            self.client.ask(|state| state.inspect(source));
        }
    }

    /// Returns `true` if this page can read the source, and shows a failure otherwise.
    fn can_reach(self, from: &ModelSource) -> bool {
        let Some(failure) = out_of_reach(&dom::address(), from) else { return true };
        self.state.update(|state| {
            state.failure = Some(failure);
            state.leave_link_stage();
        });
        false
    }

    /// Loads a model, and ends the engine's current work.
    pub fn load(self, source: Source) {
        if !self.can_reach(&source.from) {
            return;
        }
        if !matches!(source.from, ModelSource::Files(_)) {
            dom::keep_storage();
        }
        self.client.stop();
        self.client.ask(|state| state.load(source));
    }

    /// Returns `true` if a model is loaded and ready for work.
    pub fn is_live(self) -> Memo<bool> {
        self.part(AppState::is_live)
    }

    /// The catalogue's entry of the loaded model, or, if there is none, of the requested one.
    pub fn entry(self) -> Memo<Option<Entry>> {
        self.part(|state| state.model.entry())
    }
}

pub fn app() -> App {
    expect_context()
}
