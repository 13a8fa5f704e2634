//! An outcome while it grows. Partial outcomes arrive while somebody reads, so each part is a memo of its own, and only
//! what changed is drawn anew.

use leptos::prelude::*;

use crate::terms::{ExperimentKind, Outcome};
use crate::ui::page::context::{App, app};
use crate::ui::page::dom;

/// The outcome of one kind, as it grows.
#[derive(Clone, Copy)]
pub struct Growing {
    pub app: App,
    pub kind: ExperimentKind,
    /// Changes with every outcome and every model that is loaded.
    version: Memo<u32>,
}

impl Growing {
    pub fn new(kind: ExperimentKind) -> Self {
        let app = app();
        Self { app, kind, version: app.part(|state| state.experiments.version) }
    }

    /// A part of the outcome, read again with every outcome that arrives.
    pub fn part<T>(self, get: impl Fn(&Outcome) -> T + Send + Sync + 'static) -> Memo<T>
    where
        T: Default + PartialEq + Send + Sync + 'static,
    {
        self.app.drawn(self.version, move |state| state.outcome(self.kind).map(&get).unwrap_or_default())
    }

    /// Saves the picture or the table of this number as a file.
    pub fn save(self, number: usize, extension: &str, mime: &str, content: fn(&Outcome, usize) -> Option<String>) {
        let content = self.app.state.with_untracked(|state| state.outcome(self.kind).and_then(|outcome| content(outcome, number)));
        if let Some(content) = content {
            dom::download(&format!("linchpin-{}-{number}.{extension}", self.kind.name()), mime, &content);
        }
    }

    /// One view for each of several things in their order. A view stays while things are added behind it.
    pub fn each(self, count: Memo<usize>, view: fn(Self, usize) -> AnyView) -> AnyView {
        view! { <For each=move || 0..count.get() key=|number| *number children=move |number| view(self, number) /> }.into_any()
    }
}
