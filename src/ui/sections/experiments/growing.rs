//! An outcome while it grows. Partial outcomes arrive while somebody reads, so each part is its own memo, and only
//! changed parts are drawn again.

use leptos::prelude::*;

use crate::terms::{ExperimentKind, Outcome};
use crate::ui::page::context::{App, app};
use crate::ui::page::dom;

/// The outcome of one kind, as it grows.
#[derive(Clone, Copy)]
pub struct Growing {
    pub app: App,
    pub kind: ExperimentKind,
    /// Changes with every outcome and every loaded model.
    version: Memo<u32>,
}

impl Growing {
    pub fn new(kind: ExperimentKind) -> Self {
        let app = app();
        Self { app, kind, version: app.part(|state| state.experiments.version) }
    }

    /// A part of the outcome, read again with every new outcome.
    pub fn part<T>(self, get: impl Fn(&Outcome) -> T + Send + Sync + 'static) -> Memo<T>
    where
        T: Default + PartialEq + Send + Sync + 'static,
    {
        self.app.drawn(self.version, move |state| state.outcome(self.kind).map(&get).unwrap_or_default())
    }

    /// Saves the picture or table with this number as a file.
    pub fn save(self, number: usize, extension: &str, mime: &str, content: fn(&Outcome, usize) -> Option<String>) {
        let content = self.app.state.with_untracked(|state| state.outcome(self.kind).and_then(|outcome| content(outcome, number)));
        if let Some(content) = content {
            dom::download(&format!("linchpin-{}-{number}.{extension}", self.kind.name()), mime, &content);
        }
    }

    /// One view for each of `count` things, in their order. Views stay when things are added at the end.
    pub fn each(self, count: Memo<usize>, view: fn(Self, usize) -> AnyView) -> AnyView {
        view! { <For each=move || 0..count.get() key=|number| *number children=move |number| view(self, number) /> }.into_any()
    }
}
