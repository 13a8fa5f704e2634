//! Experiments: their super weights come from a scan, from the edits or from a link; their texts go to the engine
//! first; a link's figures are compared with an outcome.

use crate::protocol::Request;
use crate::share::{Compared, ExperimentLink};
use crate::terms::{Experiment, ExperimentKind, MAX_VALUES, ModelRef, OnTasks, Outcome, TextRef, WeightCoord, text_digest};
use crate::ui::state::entry::Entry;
use crate::ui::state::experiments::{Experiments, Scalars, Shared};
use crate::ui::state::{AppState, LinkState};

/// Tokens of a passage, as the engine cuts the bundled text.
const MAX_TOKENS: usize = 128;
/// The beginning of the bundled held-out text's name.
const BUNDLED_TEXT: &str = "held-out passages";

impl AppState {
    pub(crate) fn note_sent_text(&mut self, request: &Request) {
        if matches!(request, Request::UseText { .. } | Request::UseBundledText) {
            // The evaluations were measured on the previous text.
            (self.panes.intact_evaluation, self.panes.ablated_evaluation) = (None, None);
        }
        self.experiments.note_sent(request);
    }

    /// The outcomes of the loaded model.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        let model = self.model.info.as_ref().map(|info| &info.model);
        self.experiments.outcomes.iter().filter(move |outcome| Some(&outcome.model) == model)
    }

    pub fn outcome(&self, kind: ExperimentKind) -> Option<&Outcome> {
        self.outcomes().find(|outcome| outcome.experiment.kind() == kind)
    }

    /// The scalars of one source.
    pub fn scalars(&self, from: Scalars) -> Vec<WeightCoord> {
        let mut found: Vec<WeightCoord> = match from {
            Scalars::Scan => self.scan.report.iter().flat_map(|scan| &scan.candidates).map(|candidate| candidate.at).collect(),
            Scalars::Edits => self.edits.rows.iter().filter(|row| row.on).filter_map(|row| row.target.as_scalar()).collect(),
            Scalars::Link => self.link_held().map(|link| link.experiment.super_weights.clone()).unwrap_or_default(),
        };
        found.truncate(MAX_VALUES);
        found
    }

    /// The chosen experiment with its current inputs, or a message about a missing input.
    pub fn experiment(&self) -> Result<Experiment, &'static str> {
        let of = &self.experiments;
        let mut experiment = Experiment::new(of.setting().clone(), self.scalars(of.scalars));
        let parts = experiment.settings.parts();
        if experiment.super_weights.is_empty() && parts.needs_super_weights {
            return Err("There is no scalar to measure yet: scan, or edit one.");
        }
        if parts.prompt.is_some_and(|prompt| prompt.trim().is_empty()) {
            return Err("The text to read is empty.");
        }
        if let Some(tasks) = parts.tasks {
            tasks.tasks = of.tasks.iter().map(|task| TextRef { name: task.name.clone(), digest: String::new() }).collect();
            if tasks.tasks.is_empty() {
                *tasks = OnTasks::default();
            }
        }
        Ok(experiment)
    }

    pub fn run_experiment(&mut self) {
        if let Ok(experiment) = self.experiment() {
            self.ask_for(experiment);
        }
    }

    /// Requests an experiment, after its text and tasks.
    fn ask_for(&mut self, experiment: Experiment) {
        self.failure = None;
        if let Some(of) = experiment.text() {
            // A link may be about the bundled text even if another text was opened here.
            let wants_bundled = of.text.as_ref().is_some_and(|text| text.name.starts_with(BUNDLED_TEXT));
            match self.experiments.text.clone().filter(|_| !wants_bundled) {
                Some((name, text)) if self.experiments.engine_text != Some(text_digest(&text)) => {
                    self.queue.push(Request::UseText { name, text, max_tokens: MAX_TOKENS });
                }
                None if self.experiments.engine_text.is_some() => self.queue.push(Request::UseBundledText),
                _ => {}
            }
        }
        if experiment.tasks().is_some_and(|of| !of.tasks.is_empty())
            && !self.experiments.engine_has_tasks
            && !self.experiments.tasks.is_empty()
        {
            self.queue.push(Request::UseTasks { tasks: self.experiments.tasks.clone() });
        }
        self.queue.push(Request::Experiment(experiment));
    }

    fn link_held(&self) -> Option<&ExperimentLink> {
        if let Shared::Held(link) = &self.experiments.shared { Some(link) } else { None }
    }

    /// Accepts the experiment of the link that opened the page. Its model and kind are chosen and its settings filled
    /// in, but nothing is requested. The address holds one link, so a run of an earlier one is closed.
    pub fn open_experiment(&mut self, shared: Shared) {
        self.link = LinkState::None;
        if let Shared::Held(link) = &shared {
            if let Some(entry) = Entry::find(&link.model.id) {
                self.choose(entry.id());
            }
            let Experiments { kind, scalars, .. } = &mut self.experiments;
            (*kind, *scalars) = (link.experiment.kind(), Scalars::Link);
            let mut settings = link.experiment.settings.clone();
            let parts = settings.parts();
            if let Some(text) = parts.text {
                text.text = None;
            }
            if let Some(tasks) = parts.tasks {
                tasks.tasks = Vec::new();
            }
            self.experiments.filled += 1;
            *self.experiments.setting_mut() = settings;
        }
        self.experiments.shared = shared;
    }

    pub fn is_experiment_shared(&self) -> bool {
        self.link_held().is_some()
    }

    pub fn close_experiment(&mut self) {
        self.experiments.shared = Shared::None;
        if self.experiments.scalars == Scalars::Link {
            self.experiments.scalars = Scalars::Scan;
        }
    }

    /// Measures the link's experiment exactly. The engine compares the digests of the texts.
    pub fn recompute_experiment(&mut self) {
        if let Some(link) = self.link_held() {
            self.ask_for(link.experiment.clone());
        }
    }

    /// The link's figures and those measured here, and the differences between the two measurements.
    pub fn shared_verdict(&self) -> (Vec<Compared>, Vec<String>) {
        let Some(link) = self.link_held() else { return Default::default() };
        let outcome = self.outcome(link.experiment.kind()).filter(|outcome| link.is_of(outcome));
        let mut other = Vec::new();
        if let Some(info) = &self.model.info
            && info.model.revision != link.model.revision
        {
            let ModelRef { id, revision, .. } = &info.model;
            other.push(format!(
                "The link is about {} ({}), but another model is loaded: {id} ({revision}).",
                link.model.id, link.model.revision
            ));
        } else if let Some(info) = &self.model.info
            && info.model.added_bos != link.model.added_bos
        {
            let [there, here] = [&link.model, &info.model].map(|model| match model.added_bos {
                Some(bos) => format!("with token {bos}, the BOS, before every text"),
                None => "as tokenizer.json says, without an added BOS".into(),
            });
            other.push(format!("The link's figures were measured {there}; the model is loaded {here}. Load it as in the link first."));
        }
        if let Some(outcome) = outcome {
            let [there, here] = [&link.experiment, &outcome.experiment].map(Experiment::texts);
            if there.len() != here.len() || !there.iter().all(|there| here.iter().any(|here| there.digest == here.digest)) {
                other.push("Another text or other tasks were measured here.".into());
            }
        }
        (link.compare(outcome), other)
    }

    /// The catalogue's model of the link, unless it is loaded, and `true` if its BOS was put before every text.
    pub fn shared_entry(&self) -> Option<(Entry, bool)> {
        let link = self.link_held()?;
        let is_here = self.model.info.as_ref().is_some_and(|info| info.model.is_same_as(&link.model));
        Entry::find(&link.model.id).filter(|_| !is_here).map(|entry| (entry, link.model.added_bos.is_some()))
    }

    /// The texts and tasks that the visitor must open before the link can be recomputed.
    pub fn shared_needs(&self) -> Vec<String> {
        let Some(link) = self.link_held() else { return Vec::new() };
        // A task's file is never bundled, even if its name matches.
        let own = link.experiment.text().and_then(|of| of.text).filter(|text| !text.name.starts_with(BUNDLED_TEXT));
        let texts = own.into_iter().chain(link.experiment.tasks().unwrap_or_default().tasks);
        texts.map(|text| format!("{} (digest {})", text.name, text.digest)).collect()
    }

    /// The first candidates from the weights alone, and `true` if the scan's first candidate is among them.
    pub fn cold_candidates(&self) -> Option<(Vec<WeightCoord>, Option<bool>)> {
        let table = self.outcome(ExperimentKind::WeightsOnly)?.table("candidates")?;
        let number = |row, column| Some(table.cell(row, column)?.number()? as usize);
        let at = |row| Some(WeightCoord::new(number(row, "layer")?, number(row, "row")?, number(row, "col")?));
        let first: Vec<_> = (0..3).map_while(at).collect();
        let scanned = self.scan.report.as_ref().and_then(|scan| scan.candidates.first());
        let is_same = scanned.map(|candidate| first.contains(&candidate.at));
        Some((first, is_same)).filter(|(first, _)| !first.is_empty())
    }
}
