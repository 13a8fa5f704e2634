//! The texts of both panes, token by token.

use crate::protocol::Request;
use crate::terms::{Finish, Generated, Pane};
use crate::ui::state::AppState;
use crate::ui::state::queue::Running;

/// One pane's new tokens as they arrive.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PaneText {
    pub ids: Vec<u32>,
    /// The text that each token adds.
    pub pieces: Vec<String>,
    pub done: Option<Generated>,
}

impl AppState {
    /// Empties both panes together when the first token of a new text arrives, so that a text that never comes clears
    /// nothing.
    pub(crate) fn begin_text(&mut self, id: Option<u32>) {
        let Some(Running { id: running, request: Request::Generate { prompt, .. }, .. }) = &self.queue.running else { return };
        if id == Some(*running) && self.text_of != id {
            (self.intact, self.ablated, self.run) = Default::default();
            self.shown_prompt.clone_from(prompt);
            self.text_of = id;
        }
    }

    pub(crate) fn token(&mut self, pane: Pane, index: usize, token_id: u32, text: String) {
        let pane = self.pane_mut(pane);
        // Tokens come in order; one out of order belongs to a run whose panes were cleared since.
        if index == pane.ids.len() {
            pane.ids.push(token_id);
            pane.pieces.push(text);
        }
    }

    pub fn pane(&self, pane: Pane) -> &PaneText {
        match pane {
            Pane::Intact => &self.intact,
            Pane::Ablated => &self.ablated,
        }
    }

    pub(crate) fn pane_mut(&mut self, pane: Pane) -> &mut PaneText {
        match pane {
            Pane::Intact => &mut self.intact,
            Pane::Ablated => &mut self.ablated,
        }
    }

    /// Returns `true` if both texts ended without being stopped.
    pub fn is_whole(&self) -> bool {
        [&self.intact, &self.ablated].iter().all(|pane| pane.done.as_ref().is_some_and(|done| done.finish != Finish::Stopped))
    }

    /// Index of the first new token that differs, as far as both panes are filled.
    pub fn first_difference(&self) -> Option<usize> {
        let (a, b) = (&self.intact, &self.ablated);
        if self.is_whole() {
            return crate::terms::first_difference(&a.ids, &b.ids);
        }
        a.ids.iter().zip(&b.ids).position(|(x, y)| x != y)
    }
}
