//! A link, which fills in the controls of several parts.

use crate::protocol::Request;
use crate::share::{LinkedSelection, ShareLink};
use crate::terms::{CalibrationText, ModelRef};
use crate::ui::state::edits::{Origin, check_pruning};
use crate::ui::state::entry::Entry;
use crate::ui::state::link::{LinkStage, LinkState, is_of, mismatch, other_bos, other_weights};
use crate::ui::state::{AppState, Source};

impl AppState {
    /// Accepts the link that opened the page. Its model is chosen in the controls, with its card and its server, but
    /// nothing is requested. The address holds one link, so an experiment of an earlier one is closed.
    pub fn open_link(&mut self, link: LinkState) {
        self.close_experiment();
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

    /// Restores the link on the loaded model, and returns `true`; returns `false` if the link's model must be loaded
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

    /// Applies the page's current edits, unless they are a link's pruning and its channels would be picked by scores
    /// of another text.
    pub(super) fn put_back(&mut self) {
        let is_unjudged = matches!(&self.link, LinkState::Held { link, stage: LinkStage::Unjudged(_) }
            if link.selection.is_some() && link.setup.ablation.pruning == self.edits.pruning);
        if !is_unjudged {
            self.apply_edits();
        }
    }

    /// Returns `true` if the loaded model has the link's weights, under any name.
    pub fn holds_model_of_link(&self) -> bool {
        self.link.is_about(self.model.info.as_ref())
    }

    /// Runs the link's setup exactly.
    pub fn recompute(&mut self) {
        let (LinkState::Held { link, stage }, Some(info)) = (&mut self.link, &self.model.info) else { return };
        if let Some(why) = mismatch(&link.setup.model, &info.model) {
            *stage = LinkStage::Mismatch(why);
            return;
        }
        if !link.setup.model.is_same_as(&info.model) {
            *stage = LinkStage::Loading;
            self.restore_loading_link();
            return;
        }
        let link = link.clone();
        self.restored(&link);
        if matches!(&self.link, LinkState::Held { stage: LinkStage::Restored, .. }) {
            self.link.set_stage(LinkStage::Recomputing);
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
        self.scores.engine_calibration.as_ref().is_some_and(|calibration| is_of(linked, calibration))
    }

    /// Restores a waiting link if the loaded model is the link's.
    pub(super) fn restore_loading_link(&mut self) {
        let (Some(link), Some(info)) = (self.link.awaiting().cloned(), &self.model.info) else { return };
        match mismatch(&link.setup.model, &info.model) {
            Some(why) => self.link.set_stage(LinkStage::Mismatch(why)),
            None if link.setup.model.is_same_as(&info.model) => self.restored(&link),
            None => self.load_as_in(&link.setup.model),
        }
    }

    /// Loads the model again with the BOS before every text if the link has one, or without it.
    fn load_as_in(&mut self, want: &ModelRef) {
        let bos = want.added_bos.is_some();
        let (Some(source), Some(info)) = (self.model.source.clone(), &self.model.info) else { return };
        if source.bos == bos {
            self.link.set_stage(LinkStage::Mismatch(other_bos(want, &info.model)));
            return;
        }
        self.link.set_stage(LinkStage::Loading);
        self.load(Source { bos, ..source });
    }

    /// Restores a link, and sets the resulting stage.
    fn restored(&mut self, link: &ShareLink) {
        let stage = match self.restore(link) {
            Err(why) => LinkStage::Mismatch(why),
            Ok(()) => self.lacks_text(link).map_or(LinkStage::Restored, LinkStage::Unjudged),
        };
        self.link.set_stage(stage);
    }

    /// Puts prompt, sampling, edits and pruning of a link into the page's controls, or explains why this is
    /// impossible.
    fn restore(&mut self, link: &ShareLink) -> Result<(), String> {
        let Some(info) = &self.model.info else { return Err("No model is loaded.".into()) };
        let mut edits = self.edits.clone();
        edits.rows.clear();
        for edit in &link.setup.ablation.weight_edits {
            if edits.rows.iter().any(|row| row.target == edit.target) {
                return Err(format!("The link changes {} twice, but the list of edits allows it once.", edit.target));
            }
            edits
                .add(edit.target, edit.scale, true, Origin::Link, info)
                .map_err(|why| format!("The link changes {}, which this model does not have. {why}", edit.target))?;
        }
        if let Some(pruning) = &link.setup.ablation.pruning {
            check_pruning(pruning, info).map_err(|why| format!("The link's removal of channels is invalid for this model. {why}"))?;
        }
        self.panes.prompt.clone_from(&link.setup.prompt);
        self.panes.sampling = link.setup.sampling;
        edits.pruning = link.setup.ablation.pruning;
        self.edits = edits;
        if let Some(linked) = &link.selection {
            (self.scores.setup.sequences, self.scores.setup.length) = (linked.sequences, linked.length);
            if linked.text_digest == CalibrationText::BUNDLED_DIGEST {
                self.scores.setup.text = None;
            }
        }
        Ok(())
    }

    /// Explains which text is missing for scoring the link's channels, if it does not come with the page.
    fn lacks_text(&self, link: &ShareLink) -> Option<String> {
        let linked = link.selection.as_ref()?;
        let chosen = || self.scores.setup.text.as_ref().is_some_and(|text| text.digest() == linked.text_digest);
        if linked.text_digest == CalibrationText::BUNDLED_DIGEST || self.is_scored_for(linked) || chosen() {
            return None;
        }
        Some(format!(
            "The channels of the link were scored over a text of its sender's own (digest {}), which is not in it. The rest \
             is restored. If you have the same text file, choose it where channels are scored and score again; then press “Recompute”.",
            linked.text_digest
        ))
    }

    /// Returns the link to a stage from which an unfinished recomputation or load can be requested again.
    pub(crate) fn leave_link_stage(&mut self) {
        let ablation = self.edits.ablation();
        self.link.leave_stage(&self.queue, &ablation);
    }
}
