//! The run that the page was opened with: how far it is restored, and the result of recomputing it.

use crate::protocol::Request;
use crate::share::{LinkedSelection, Recomputed, ShareLink};
use crate::terms::{Ablation, Calibration, CalibrationText, Finish, ModelRef, RunRecord, RunSetup, Sampling, WeightEdit};
use crate::ui::state::AppState;
use crate::ui::state::channels::check_pruning;
use crate::ui::state::edits::{EditList, Origin};
use crate::ui::state::entry::Entry;

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
    /// No model was loaded for the link: the reader has not pressed yet.
    Waiting,
    Loading,
    Restored,
    /// The link cannot be restored here, for this reason.
    Mismatch(String),
    /// The link is restored, but a recomputation could not be judged at present, for this reason.
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

impl AppState {
    /// Takes the link that the page was opened with. Its model is chosen in the controls, with its card and its server,
    /// but nothing is requested.
    pub fn open_link(&mut self, link: LinkState) {
        if let LinkState::Held { link, .. } = &link
            && let Some(entry) = Entry::find(&link.setup.model.id)
        {
            self.choose(entry.id());
        }
        self.link = link;
        if !self.holds_model_of_link()
            && let LinkState::Held { link, stage: stage @ LinkStage::Waiting } = &mut self.link
            && let Some(why) = other_weights(&link.setup.model)
        {
            *stage = LinkStage::Mismatch(why);
        }
    }

    /// Restores the link from the loaded model, and returns `true`; `false` if the link's own model has to be loaded
    /// first.
    pub fn restore_link(&mut self) -> bool {
        let is_here = self.is_live() && self.holds_model_of_link();
        if let LinkState::Held { link, stage } = &mut self.link
            && (is_here || Entry::find(&link.setup.model.id).is_some())
        {
            *stage = LinkStage::Loading;
        }
        if is_here {
            self.restore_loading_link();
            self.put_back();
        }
        is_here
    }

    /// Applies what the page has switched on, unless it is a link's pruning that would be picked by scores of another text.
    pub(crate) fn put_back(&mut self) {
        let is_unjudged = matches!(&self.link, LinkState::Held { link, stage: LinkStage::Unjudged(_) }
            if link.selection.is_some() && link.setup.ablation.pruning == self.pruning);
        if !is_unjudged {
            self.apply_edits();
        }
    }

    /// Returns `true` if the loaded model is the link's: the same weights, whatever the folder was called.
    pub fn holds_model_of_link(&self) -> bool {
        let (LinkState::Held { link, .. }, Some(info)) = (&self.link, &self.info) else { return false };
        link.setup.model.revision == info.model.revision
    }

    /// Runs the link's setup exactly.
    pub fn recompute(&mut self) {
        let (LinkState::Held { link, stage }, Some(info)) = (&mut self.link, &self.info) else { return };
        if let Some(why) = mismatch(&link.setup.model, &info.model) {
            *stage = LinkStage::Mismatch(why);
            return;
        }
        let link = link.clone();
        self.restored(&link);
        if matches!(&self.link, LinkState::Held { stage: LinkStage::Restored, .. }) {
            self.set_stage(LinkStage::Recomputing);
            self.score_as_in(&link);
            self.generate();
        }
    }

    /// Scores channels as in the link, unless the engine has these scores and no other scoring is queued.
    fn score_as_in(&mut self, link: &ShareLink) {
        let Some(linked) = &link.selection else { return };
        if !self.is_scored_for(linked) || self.queue.any(|request| matches!(request, Request::Score { .. })) {
            self.score(true);
        }
    }

    fn is_scored_for(&self, linked: &LinkedSelection) -> bool {
        self.engine_calibration.as_ref().is_some_and(|calibration| is_of(linked, calibration))
    }

    fn set_stage(&mut self, now: LinkStage) {
        if let LinkState::Held { stage, .. } = &mut self.link {
            *stage = now;
        }
    }

    /// Restores a waiting link if the loaded model is the link's.
    pub(crate) fn restore_loading_link(&mut self) {
        let (LinkState::Held { link, stage }, Some(info)) = (&mut self.link, &self.info) else { return };
        let waits = match stage {
            LinkStage::Loading | LinkStage::Mismatch(_) => true,
            // A model that does not come with the page needs no button: opening its files is the request.
            LinkStage::Waiting => Entry::find(&link.setup.model.id).is_none(),
            LinkStage::Restored | LinkStage::Unjudged(_) | LinkStage::Recomputing | LinkStage::Verdict { .. } => false,
        };
        if !waits {
            return;
        }
        if let Some(why) = mismatch(&link.setup.model, &info.model) {
            *stage = LinkStage::Mismatch(why);
            return;
        }
        let link = link.clone();
        self.restored(&link);
    }

    /// Restores a link, and sets the stage that it reached.
    fn restored(&mut self, link: &ShareLink) {
        let stage = match self.restore(link) {
            Err(why) => LinkStage::Mismatch(why),
            Ok(()) => self.lacks_text(link).map_or(LinkStage::Restored, LinkStage::Unjudged),
        };
        self.set_stage(stage);
    }

    /// Puts prompt, sampling, edits and pruning of a link into the page's controls, or explains why it cannot.
    fn restore(&mut self, link: &ShareLink) -> Result<(), String> {
        let Some(info) = &self.info else { return Err("There is no model to restore it on.".into()) };
        let mut edits = EditList::default();
        for edit in &link.setup.ablation.weight_edits {
            if edits.rows.iter().any(|row| row.target == edit.target) {
                return Err(format!("The link changes {} twice, and the list of edits holds it once.", edit.target));
            }
            edits
                .add(edit.target, edit.scale, true, Origin::Link, info)
                .map_err(|why| format!("The link changes {}, which this model does not have. {why}", edit.target))?;
        }
        if let Some(pruning) = &link.setup.ablation.pruning {
            check_pruning(pruning, info).map_err(|why| format!("The link removes channels as this model cannot. {why}"))?;
        }
        self.prompt.clone_from(&link.setup.prompt);
        self.sampling = link.setup.sampling;
        self.edits = edits;
        self.pruning = link.setup.ablation.pruning;
        if let Some(linked) = &link.selection {
            (self.score_setup.sequences, self.score_setup.length) = (linked.sequences, linked.length);
            if linked.text_digest == CalibrationText::BUNDLED_DIGEST {
                self.score_setup.text = None;
            }
        }
        Ok(())
    }

    /// Explains which text is missing for scoring the link's channels as before: one that does not come with the page.
    fn lacks_text(&self, link: &ShareLink) -> Option<String> {
        let linked = link.selection.as_ref()?;
        let chosen = || self.score_setup.text.as_ref().is_some_and(|text| text.digest() == linked.text_digest);
        if linked.text_digest == CalibrationText::BUNDLED_DIGEST || self.is_scored_for(linked) || chosen() {
            return None;
        }
        Some(format!(
            "The channels of the link were scored over a text of its sender's own (digest {}), which is not in it. The rest \
             is restored. If you have the same text file, choose it where channels are scored and score again; then press “Recompute”.",
            linked.text_digest
        ))
    }

    /// Compares a finished run with the link, if it is the link's: another may have been running.
    pub(crate) fn judge(&mut self, run: &RunRecord) {
        let LinkState::Held { link, stage } = &mut self.link else { return };
        let RunSetup { model, prompt, sampling, ablation } = &run.setup;
        let is_its = model.revision == link.setup.model.revision && asks_for(link, prompt, sampling, ablation);
        let stopped = run.intact.finish == Finish::Stopped || run.ablated.finish == Finish::Stopped;
        if *stage == LinkStage::Recomputing && is_its && !stopped {
            *stage = verdict(link, run);
        }
    }

    /// Takes the link back to a stage from which a recomputation or a load without a result can be requested again.
    pub(crate) fn leave_link_stage(&mut self) {
        // Text that is requested will be written with the edits as they are in the list.
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

/// The verdict of a run of the link's setup.
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
fn is_of(linked: &LinkedSelection, calibration: &Calibration) -> bool {
    (linked.sequences, linked.length, &linked.text_digest) == (calibration.n_sequences, calibration.length, &calibration.text_digest)
}

/// Returns `true` if this is the run of the link, on its model.
fn asks_for(link: &ShareLink, prompt: &str, sampling: &Sampling, ablation: &Ablation) -> bool {
    // A scale of 1 changes nothing, and the page leaves it out.
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

/// The reason why a link about one model cannot be restored on another. Weights decide: they may have another name
/// here.
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
    let remedy = match loadable_entry(want) {
        Some(entry) => match entry.download() {
            None => "Press “Load and restore” to load that one.".to_string(),
            Some(size) => format!("Press “Download and restore, {size}” to load that one."),
        },
        None => format!("Open the files of “{}” below to restore it.", want.id),
    };
    Some(format!("The link is about the model “{}”, and “{}” is loaded. {remedy}", want.id, have.id))
}

/// The catalogue's model that a link may be about; `None` if its weights are known to differ.
pub fn loadable_entry(want: &ModelRef) -> Option<Entry> {
    Entry::find(&want.id).filter(|_| other_weights(want).is_none())
}

/// The reason why the catalogue's model of that name cannot be the link's, where its only file is known.
fn other_weights(want: &ModelRef) -> Option<String> {
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
