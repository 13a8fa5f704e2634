//! The texts of both panes, token by token, their controls, and the loss on held-out text.

use crate::protocol::{Event, Request};
use crate::terms::{Ablation, Evaluation, FailureKind, Finish, Generated, Pane, RunRecord, Sampling};
use crate::ui::state::part::Part;
use crate::ui::state::queue::Running;

/// One pane's new tokens as they arrive.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PaneText {
    pub ids: Vec<u32>,
    /// The text that each token adds.
    pub pieces: Vec<String>,
    pub done: Option<Generated>,
}

/// An evaluation of the right-hand pane, with the ablation it was measured with.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub of: Ablation,
    /// Digest of the channels that the ablation's pruning picked.
    pub selection: Option<String>,
    pub evaluation: Evaluation,
}

/// The part of the state behind the two texts of the section "Pull".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PaneState {
    pub prompt: String,
    pub sampling: Sampling,
    /// Prompt of the text in the panes.
    pub shown_prompt: String,
    /// The request whose text the panes show.
    pub text_of: Option<u32>,
    pub intact: PaneText,
    pub ablated: PaneText,
    pub run: Option<RunRecord>,
    /// `true` if text is generated again whenever an edit changes.
    pub live: bool,
    pub intact_evaluation: Option<Evaluation>,
    pub ablated_evaluation: Option<Measured>,
}

impl PaneState {
    /// Clears both panes when the first token of a new text arrives, so that a text that never comes clears nothing.
    pub(crate) fn begin_text(&mut self, id: Option<u32>, running: Option<&Running>) {
        let Some(Running { id: running, request: Request::Generate { prompt, .. }, .. }) = running else { return };
        if id == Some(*running) && self.text_of != id {
            (self.intact, self.ablated, self.run) = Default::default();
            self.shown_prompt.clone_from(prompt);
            self.text_of = id;
        }
    }

    fn token(&mut self, pane: Pane, index: usize, token_id: u32, text: &str) {
        let pane = self.pane_mut(pane);
        // Tokens arrive in order; one out of order belongs to a run whose panes were cleared.
        if index == pane.ids.len() {
            pane.ids.push(token_id);
            pane.pieces.push(text.into());
        }
    }

    pub fn pane(&self, pane: Pane) -> &PaneText {
        match pane {
            Pane::Intact => &self.intact,
            Pane::Ablated => &self.ablated,
        }
    }

    fn pane_mut(&mut self, pane: Pane) -> &mut PaneText {
        match pane {
            Pane::Intact => &mut self.intact,
            Pane::Ablated => &mut self.ablated,
        }
    }

    /// Returns `true` if both texts ended without a stop.
    pub fn is_whole(&self) -> bool {
        [&self.intact, &self.ablated].iter().all(|pane| pane.done.as_ref().is_some_and(|done| done.finish != Finish::Stopped))
    }

    /// Index of the first new token that differs, among the tokens that both panes have.
    pub fn first_difference(&self) -> Option<usize> {
        let (a, b) = (&self.intact, &self.ablated);
        if self.is_whole() {
            return crate::terms::first_difference(&a.ids, &b.ids);
        }
        a.ids.iter().zip(&b.ids).position(|(x, y)| x != y)
    }

    fn forget_text(&mut self) {
        (self.intact, self.ablated, self.run, self.shown_prompt) = Default::default();
    }

    fn forget_evaluations(&mut self) {
        (self.intact_evaluation, self.ablated_evaluation) = (None, None);
    }
}

impl Part for PaneState {
    fn reduce(&mut self, event: &Event) {
        match event {
            Event::Token { pane, index, token_id, text } => self.token(*pane, *index, *token_id, text),
            Event::PaneDone { pane, generated } => self.pane_mut(*pane).done = Some(generated.clone()),
            Event::Generated(run) => self.run = Some(run.clone()),
            Event::Evaluated { pane: Pane::Intact, evaluation } => self.intact_evaluation = Some(evaluation.clone()),
            Event::Swept(report) => self.intact_evaluation = Some(report.intact.clone()),
            _ => {}
        }
    }

    fn fails(&mut self, over: &Running, kind: FailureKind) {
        match over.request {
            _ if kind != FailureKind::Device => {}
            // If this request wrote no token, the text in the panes is from before the device failed.
            Request::Generate { .. } if self.text_of == Some(over.id) => self.forget_text(),
            Request::Evaluate => self.forget_evaluations(),
            _ => {}
        }
    }

    fn forget_model(&mut self) {
        self.forget_text();
        self.forget_evaluations();
    }
}
