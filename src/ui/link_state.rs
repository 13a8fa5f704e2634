//! The run that the page was opened with: how far it is restored, and whether the same text came out again.

use super::edits::{EditList, Origin};
use super::state::AppState;
use crate::catalog;
use crate::protocol::Request;
use crate::share::{Recomputed, ShareLink};
use crate::terms::{Ablation, Finish, ModelRef, RunRecord, RunSetup, Sampling, WeightEdit};

/// A link that the page was opened with.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum LinkState {
    #[default]
    None,
    Refused(String),
    Held {
        link: Box<ShareLink>,
        stage: LinkStage,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum LinkStage {
    /// Nothing was loaded for it: the reader has not pressed yet.
    Waiting,
    Loading,
    Restored,
    /// It cannot be restored here, and why.
    Mismatch(String),
    Recomputing,
    Verdict(Recomputed),
}

impl AppState {
    /// Restores the link from the model that is there. Says whether it could; if not, the link's own has to be loaded.
    pub fn restore_link(&mut self) -> bool {
        let is_here = self.is_live() && self.holds_model_of_link();
        if let LinkState::Held { link, stage } = &mut self.link
            && (is_here || catalog::find(&link.setup.model.id).is_some())
        {
            *stage = LinkStage::Loading;
        }
        if is_here {
            self.restore_loading_link();
            self.apply_edits();
        }
        is_here
    }

    /// Whether the loaded model is the link's: the same weights, whatever the folder was called.
    pub fn holds_model_of_link(&self) -> bool {
        let (LinkState::Held { link, .. }, Some(info)) = (&self.link, &self.info) else { return false };
        link.setup.model.revision == info.model.revision
    }

    /// Runs what the link holds, exactly.
    pub fn recompute(&mut self) {
        let (LinkState::Held { link, stage }, Some(info)) = (&mut self.link, &self.info) else { return };
        if let Some(why) = mismatch(&link.setup.model, &info.model) {
            *stage = LinkStage::Mismatch(why);
            return;
        }
        *stage = LinkStage::Recomputing;
        let link = link.clone();
        if self.restore(&link) {
            self.generate();
        }
    }

    /// A link that waited for its model: is this the one?
    pub(super) fn restore_loading_link(&mut self) {
        let (LinkState::Held { link, stage }, Some(info)) = (&mut self.link, &self.info) else { return };
        let waits = match stage {
            LinkStage::Loading | LinkStage::Mismatch(_) => true,
            // There is nothing to press for a model that does not come with the page: opening its files is the asking.
            LinkStage::Waiting => catalog::find(&link.setup.model.id).is_none(),
            LinkStage::Restored | LinkStage::Recomputing | LinkStage::Verdict(_) => false,
        };
        if !waits {
            return;
        }
        if let Some(why) = mismatch(&link.setup.model, &info.model) {
            *stage = LinkStage::Mismatch(why);
            return;
        }
        *stage = LinkStage::Restored;
        let link = link.clone();
        self.restore(&link);
    }

    /// Puts prompt, sampling and edits of a link into the page's controls, or says why it cannot.
    fn restore(&mut self, link: &ShareLink) -> bool {
        let Some(info) = &self.info else { return false };
        let mut edits = EditList::default();
        let mut refused = None;
        for edit in &link.setup.ablation.weight_edits {
            if edits.rows.iter().any(|row| row.target == edit.target) {
                refused = Some(format!("The link changes {} twice, and the list of edits holds it once.", edit.target));
            } else if let Err(why) = edits.add(edit.target, edit.scale, true, Origin::Link, info) {
                refused = Some(format!("The link changes {}, which this model does not have. {why}", edit.target));
            }
        }
        if let (Some(why), LinkState::Held { stage, .. }) = (&refused, &mut self.link) {
            *stage = LinkStage::Mismatch(why.clone());
            return false;
        }
        self.prompt.clone_from(&link.setup.prompt);
        self.sampling = link.setup.sampling;
        self.edits = edits;
        true
    }

    /// Compares a finished run with the link, if it is the link's: another may have been under way.
    pub(super) fn judge(&mut self, run: &RunRecord) {
        let LinkState::Held { link, stage } = &mut self.link else { return };
        let RunSetup { model, prompt, sampling, ablation } = &run.setup;
        let is_its = model.revision == link.setup.model.revision && asks_for(link, prompt, sampling, ablation);
        let stopped = run.intact.finish == Finish::Stopped || run.ablated.finish == Finish::Stopped;
        if *stage == LinkStage::Recomputing && is_its && !stopped {
            *stage = LinkStage::Verdict(link.compare(&run.intact.token_ids, &run.ablated.token_ids));
        }
    }

    /// A recomputation or a load that ended without a result can be asked for again.
    pub(super) fn leave_link_stage(&mut self) {
        // Text that is asked for will be written with the edits as they are in the list.
        let ablation = self.ablation();
        let LinkState::Held { link, stage } = &mut self.link else { return };
        let recomputes =
            |request: &Request| matches!(request, Request::Generate { prompt, sampling } if asks_for(link, prompt, sampling, &ablation));
        if *stage == LinkStage::Recomputing && !self.queue.any(recomputes) {
            *stage = LinkStage::Restored;
        }
        if *stage == LinkStage::Loading && !self.queue.any(|request| matches!(request, Request::Load { .. })) {
            *stage = LinkStage::Waiting;
        }
    }
}

/// Whether this is the run of the link, on its model.
fn asks_for(link: &ShareLink, prompt: &str, sampling: &Sampling, ablation: &Ablation) -> bool {
    // Times one changes nothing, and the page leaves it out.
    fn changes(ablation: &Ablation) -> impl Iterator<Item = &WeightEdit> {
        ablation.weight_edits.iter().filter(|edit| edit.scale != 1.0)
    }
    let setup = &link.setup;
    prompt == setup.prompt
        && *sampling == setup.sampling
        && ablation.interventions == setup.ablation.interventions
        && changes(ablation).eq(changes(&setup.ablation))
}

/// Why a link about one model cannot be restored on another. Weights decide: the same ones may be called otherwise here.
fn mismatch(want: &ModelRef, have: &ModelRef) -> Option<String> {
    if want.revision == have.revision {
        return None;
    }
    if want.id == have.id {
        return Some(format!(
            "The link was made with revision {} of “{}”, and the one here is {}: other weights, so other text. Nothing was restored.",
            want.revision, want.id, have.revision
        ));
    }
    let remedy = match catalog::find(&want.id) {
        Some(_) => "Press “Load and restore” to load that one.".to_string(),
        None => format!("Open the files of “{}” below to restore it.", want.id),
    };
    Some(format!("The link is about the model “{}”, and “{}” is loaded. {remedy}", want.id, have.id))
}

#[cfg(test)]
#[path = "link_state_tests.rs"]
mod tests;
