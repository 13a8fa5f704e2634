//! The run in the link that opened the page: its stage, and the result of recomputing it.

use crate::protocol::{Event, Request};
use crate::share::{LinkedSelection, Recomputed, ShareLink};
use crate::terms::{Ablation, Calibration, Finish, ModelInfo, ModelRef, RunRecord, RunSetup, Sampling, WeightEdit};
use crate::ui::state::entry::Entry;
use crate::ui::state::part::Part;
use crate::ui::state::queue::Queue;

/// The link that opened the page.
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
    /// No model was loaded for the link, because the reader has not pressed the button yet.
    Waiting,
    Loading,
    Restored,
    /// The link cannot be restored here; the text has the reason.
    Mismatch(String),
    /// The link is restored, but a recomputation cannot be judged at present; the text has the reason.
    Unjudged(String),
    Recomputing,
    Verdict {
        text: Recomputed,
        /// The link's rule picked other channels here.
        picked: Option<OtherChannels>,
    },
}

/// Digests of the channels that one rule picked, here and where the link was made.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherChannels {
    pub here: String,
    pub there: String,
}

impl LinkState {
    /// Returns `true` if a model has the link's weights, under any name.
    pub(crate) fn is_about(&self, info: Option<&ModelInfo>) -> bool {
        let (Self::Held { link, .. }, Some(info)) = (self, info) else { return false };
        link.setup.model.revision == info.model.revision
    }

    pub(crate) fn set_stage(&mut self, now: LinkStage) {
        if let Self::Held { stage, .. } = self {
            *stage = now;
        }
    }

    /// The link, if it waits for the model that was just loaded.
    pub(crate) fn awaiting(&self) -> Option<&ShareLink> {
        let Self::Held { link, stage } = self else { return None };
        let waits = match stage {
            LinkStage::Loading | LinkStage::Mismatch(_) => true,
            // A model from the visitor's files needs no button: opening the files is the request.
            LinkStage::Waiting => Entry::find(&link.setup.model.id).is_none(),
            LinkStage::Restored | LinkStage::Unjudged(_) | LinkStage::Recomputing | LinkStage::Verdict { .. } => false,
        };
        waits.then_some(link)
    }

    /// Compares a finished run with the link, if it is the link's run.
    fn judge(&mut self, run: &RunRecord) {
        let Self::Held { link, stage } = self else { return };
        let RunSetup { model, prompt, sampling, ablation } = &run.setup;
        let is_its = model.is_same_as(&link.setup.model) && asks_for(link, prompt, sampling, ablation);
        let stopped = run.intact.finish == Finish::Stopped || run.ablated.finish == Finish::Stopped;
        if *stage == LinkStage::Recomputing && is_its && !stopped {
            *stage = verdict(link, run);
        }
    }

    /// Returns the link to a stage from which an unfinished recomputation or load can be requested again. Requested
    /// text will be written with the list's ablation.
    pub(crate) fn leave_stage(&mut self, queue: &Queue, ablation: &Ablation) {
        let Self::Held { link, stage } = self else { return };
        let recomputes =
            |request: &Request| matches!(request, Request::Generate { prompt, sampling } if asks_for(link, prompt, sampling, ablation));
        if *stage == LinkStage::Recomputing && !queue.any(recomputes) {
            *stage = LinkStage::Restored;
        }
        if *stage == LinkStage::Loading && !queue.any(|request| matches!(request, Request::Load { .. })) {
            *stage = LinkStage::Waiting;
        }
    }
}

impl Part for LinkState {
    fn reduce(&mut self, event: &Event) {
        if let Event::Generated(run) = event {
            self.judge(run);
        }
    }
}

/// The verdict on a run of the link's setup.
fn verdict(link: &ShareLink, run: &RunRecord) -> LinkStage {
    let text = link.compare(&run.intact.token_ids, &run.ablated.token_ids);
    let (Some(linked), Some(pruned)) = (&link.selection, &run.pruned) else { return LinkStage::Verdict { text, picked: None } };
    if !is_of(linked, &pruned.calibration) {
        let Calibration { n_sequences, length, text_digest, .. } = &pruned.calibration;
        return LinkStage::Unjudged(format!(
            "Here, channels were scored over {n_sequences} sequences of {length} tokens of the text {text_digest}; in the link, over {} of {} \
             tokens of {}. So the texts do not compare.",
            linked.sequences, linked.length, linked.text_digest
        ));
    }
    let differs = pruned.digest != linked.digest;
    let picked = differs.then(|| OtherChannels { here: pruned.digest.clone(), there: linked.digest.clone() });
    LinkStage::Verdict { text, picked }
}

/// Returns `true` if scores are over the same tokens as the link's.
pub(super) fn is_of(linked: &LinkedSelection, calibration: &Calibration) -> bool {
    (linked.sequences, linked.length, &linked.text_digest) == (calibration.n_sequences, calibration.length, &calibration.text_digest)
}

/// Returns `true` if this is the run of the link, on its model.
fn asks_for(link: &ShareLink, prompt: &str, sampling: &Sampling, ablation: &Ablation) -> bool {
    // A scale of 1 changes nothing, so the page leaves it out.
    fn changes(ablation: &Ablation) -> impl Iterator<Item = &WeightEdit> {
        ablation.weight_edits.iter().filter(|edit| edit.scale != 1.0)
    }
    let setup = &link.setup;
    prompt == setup.prompt
        && *sampling == setup.sampling
        && ablation.pruning == setup.ablation.pruning
        && ablation.interventions == setup.ablation.interventions
        && changes(ablation).eq(changes(&setup.ablation))
}

/// The reason why a link about one model cannot be restored on another. The weights decide, because they may have
/// another name here.
pub(super) fn mismatch(want: &ModelRef, have: &ModelRef) -> Option<String> {
    if want.revision == have.revision {
        return None;
    }
    if want.id == have.id {
        return Some(format!(
            "The link was made with revision {} of “{}”, but {} is loaded: other weights write other text. Nothing was restored.",
            want.revision, want.id, have.revision
        ));
    }
    let remedy = match loadable_entry(want) {
        Some(entry) => match entry.download() {
            None => "Press “Load and restore” to load that one.".to_string(),
            Some(size) => format!("Press “Download and restore, {size}” to load that one."),
        },
        None => format!("Open the files of “{}” below to restore it.", want.id),
    };
    Some(format!("The link is about the model “{}”, and “{}” is loaded. {remedy}", want.id, have.id))
}

/// The reason why texts do not begin here as in the link, although its BOS was asked for.
pub(super) fn other_bos(want: &ModelRef, have: &ModelRef) -> String {
    let here = match have.added_bos {
        Some(bos) => format!("token {bos} is put there"),
        None => "its tokenizer.json puts its own beginning there".into(),
    };
    let there = want.added_bos.map_or_else(|| "nothing was put".into(), |bos| format!("token {bos}, the BOS, was put"));
    format!(
        "In the link, {there} before every text, because tokenizer.json did not do it. In the loaded copy of “{}”, {here}. So the texts do \
         not compare, and nothing was restored: load the copy that the link was made with.",
        have.id
    )
}

/// The catalogue's model for a link; `None` if its weights are known to differ.
pub fn loadable_entry(want: &ModelRef) -> Option<Entry> {
    Entry::find(&want.id).filter(|_| other_weights(want).is_none())
}

/// The reason why the catalogue's model of that name cannot be the link's, if its only file is known.
pub(super) fn other_weights(want: &ModelRef) -> Option<String> {
    let known = Entry::find(&want.id)?.hub()?.weights?.sha256.get(..16)?;
    (known != want.revision).then(|| {
        format!(
            "The link was made with revision {} of “{}”, and the one that this page can download is {known}: other weights, so other text. \
             If you have the link's, open them below; the run is restored if they are the same.",
            want.revision, want.id
        )
    })
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "link_prune_tests.rs"]
mod prune_tests;
