//! The super-weight paper's experiments on the page: the chosen kind, its settings, texts and tasks, and the outcomes.

use crate::catalog;
use crate::protocol::{Event, FailureKind, Request};
use crate::share::{Compared, ExperimentLink};
use crate::terms::{
    CalibrationText, Delta, Experiment, ExperimentKind, MAX_VALUES, ModelRef, OnTasks, Outcome, SettingError, SettingId, Settings,
    TaskFile, TextRef, WeightCoord, text_digest,
};
use crate::ui::state::AppState;
use crate::ui::state::entry::Entry;
use crate::ui::state::part::Part;
use crate::ui::state::queue::Running;

/// Tokens of a passage, as the engine cuts the bundled text.
const MAX_TOKENS: usize = 128;
const TASK_ITEMS: usize = 50;

/// The source of an experiment's scalars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scalars {
    #[default]
    Scan,
    Edits,
    Link,
}

/// An experiment that came in the address.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Shared {
    #[default]
    None,
    Refused(String),
    Held(Box<ExperimentLink>),
}

/// What is wrong with the visitor's last input.
#[derive(Debug, Clone, PartialEq)]
pub enum Wrong {
    Setting(SettingError),
    /// The reason why a file could not be read.
    File(String),
}

impl Wrong {
    /// The setting, if it is one.
    pub fn setting(&self) -> Option<SettingId> {
        if let Self::Setting(error) = self { Some(error.id) } else { None }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Experiments {
    pub kind: ExperimentKind,
    /// Settings of each kind, in the order of [`ExperimentKind::ALL`].
    pub settings: Vec<Settings>,
    pub scalars: Scalars,
    /// Name and content of the text that was opened.
    pub text: Option<(String, String)>,
    pub tasks: Vec<TaskFile>,
    /// The latest outcome of each kind, including one measured while the model loads.
    outcomes: Vec<Outcome>,
    pub shared: Shared,
    /// The setting that was typed wrong, or the file that could not be opened.
    pub error: Option<Wrong>,
    /// A link to the outcome that is shared, or the reason why there is none.
    pub made: Option<Result<String, String>>,
    /// Number of changes to outcomes; `filled` counts how often settings were filled in.
    pub version: u32,
    pub filled: u32,
    /// Digest of the text that the engine has in place of the bundled one; `engine_has_tasks` tells if it has the
    /// tasks.
    engine_text: Option<String>,
    engine_has_tasks: bool,
}

impl Default for Experiments {
    fn default() -> Self {
        let settings = |kind: &ExperimentKind| {
            let mut settings = kind.default_settings();
            match (&settings, settings.clone().number(SettingId::Limit)) {
                // Prompts have a limit of their own.
                (Settings::TokenShift(_), _) | (_, None) => {}
                _ => settings.parts().tasks.into_iter().for_each(|of| of.limit = Some(TASK_ITEMS)),
            }
            settings
        };
        Self {
            kind: ExperimentKind::Importance,
            settings: ExperimentKind::ALL.iter().map(settings).collect(),
            scalars: Scalars::Scan,
            text: None,
            tasks: Vec::new(),
            outcomes: Vec::new(),
            shared: Shared::None,
            error: None,
            made: None,
            version: 0,
            filled: 0,
            engine_text: None,
            engine_has_tasks: false,
        }
    }
}

impl Experiments {
    /// The settings that are shown.
    pub fn setting(&self) -> &Settings {
        &self.settings[self.kind as usize]
    }

    pub fn setting_mut(&mut self) -> &mut Settings {
        &mut self.settings[self.kind as usize]
    }

    /// Takes a file that was opened, or the reason why it could not be.
    pub fn take_file(&mut self, is_text: bool, read: Result<CalibrationText, String>) {
        match read {
            Ok(CalibrationText { name, text }) if is_text => self.text = Some((name, text)),
            Ok(CalibrationText { name, text }) => self.add_task(&name, text),
            Err(why) => return self.error = Some(Wrong::File(why)),
        }
        self.error = None;
    }

    /// Takes the text typed into a setting. The error of another setting is kept.
    pub fn take_setting(&mut self, id: SettingId, typed: &str) {
        let Some(value) = self.setting_mut().number(id) else { return };
        match id.take(value, typed) {
            Err(why) => self.error = Some(Wrong::Setting(why)),
            Ok(()) => self.error = self.error.take().filter(|wrong| wrong.setting() != Some(id)),
        }
    }

    pub fn choose(&mut self, kind: ExperimentKind) {
        (self.kind, self.error, self.made) = (kind, None, None);
    }

    /// Drops the partial outcome that a faulty device had computed: it is no finding.
    pub(crate) fn disown(&mut self, of: &Experiment) {
        self.outcomes.retain(|outcome| !(outcome.is_partial && outcome.experiment.kind() == of.kind()));
        self.changed();
    }

    /// Takes a task's file, in place of one of the same name.
    pub fn add_task(&mut self, file_name: &str, jsonl: String) {
        let name = file_name.rsplit_once('.').map_or(file_name, |(name, _)| name);
        self.tasks.retain(|task| task.name != name);
        self.tasks.push(TaskFile { name: name.into(), jsonl });
        self.engine_has_tasks = false;
    }

    pub(crate) fn take(&mut self, outcome: Outcome) {
        let key = |outcome: &Outcome| (outcome.experiment.kind(), outcome.model.clone());
        self.outcomes.retain(|known| key(known) != key(&outcome));
        self.outcomes.push(outcome);
        self.changed();
    }

    /// Takes what was added to the outcome that is being measured.
    pub(crate) fn grow(&mut self, delta: Delta) {
        let growing = self.outcomes.iter_mut().rfind(|outcome| outcome.is_partial && outcome.experiment.kind() == delta.kind);
        if let Some(outcome) = growing {
            outcome.apply(delta);
        }
        self.changed();
    }

    /// Notes that a model was loaded, the same again or another one.
    pub(crate) fn loaded(&mut self, model: &ModelRef) {
        self.outcomes.retain(|outcome| outcome.model == *model);
        self.engine_forgot();
        // The page's own models never saw a text without a BOS; the settings of a link are kept.
        let of_link = if let Shared::Held(link) = &self.shared { Some(link.experiment.kind()) } else { None };
        for settings in self.settings.iter_mut().filter(|settings| Some(ExperimentKind::from(&**settings)) != of_link) {
            if let Some(text) = settings.parts().text {
                text.bos = catalog::find(&model.id).is_some();
            }
        }
        self.filled += 1;
        self.error = None;
        self.changed();
    }

    /// Drops the link, since a link of an earlier outcome beside a new one would mislead.
    fn changed(&mut self) {
        self.version += 1;
        self.made = None;
    }

    pub(crate) fn engine_forgot(&mut self) {
        (self.engine_text, self.engine_has_tasks) = (None, false);
    }

    /// Notes that the engine refused a text or tasks, and so does not have them.
    pub(crate) fn refused(&mut self, request: &Request) {
        match request {
            // The engine still has an earlier text, unknown here.
            Request::UseText { .. } | Request::UseBundledText => self.engine_text = Some(String::new()),
            Request::UseTasks { .. } => self.engine_has_tasks = false,
            _ => {}
        }
    }

    /// Notes the text or tasks that are handed to the engine.
    fn handed(&mut self, request: &Request) {
        match request {
            Request::UseText { text, .. } => self.engine_text = Some(text_digest(text)),
            Request::UseBundledText => self.engine_text = None,
            // Other files may have been opened since the request was made.
            Request::UseTasks { tasks } => self.engine_has_tasks = *tasks == self.tasks,
            _ => {}
        }
    }
}

impl Part for Experiments {
    fn reduce(&mut self, event: &Event) {
        match event {
            Event::Outcome(outcome) => self.take(outcome.clone()),
            Event::OutcomeDelta(delta) => self.grow(delta.clone()),
            _ => {}
        }
    }

    fn fails(&mut self, over: &Running, kind: FailureKind) {
        if let (Request::Experiment(of), FailureKind::Device) = (&over.request, kind) {
            self.disown(of);
        }
        self.refused(&over.request);
    }

    fn forget_engine(&mut self) {
        self.engine_forgot();
    }
}

pub fn is_experiment(request: &Request) -> bool {
    matches!(request, Request::Experiment(_))
}

impl AppState {
    pub(crate) fn handed_text(&mut self, request: &Request) {
        if matches!(request, Request::UseText { .. } | Request::UseBundledText) {
            // The evaluations are of the text before it.
            (self.panes.intact_evaluation, self.panes.ablated_evaluation) = (None, None);
        }
        self.experiments.handed(request);
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

    /// The chosen experiment as it would run now, or a message on what is missing.
    pub fn experiment(&self) -> Result<Experiment, &'static str> {
        let of = &self.experiments;
        let mut experiment = Experiment::new(of.setting().clone(), self.scalars(of.scalars));
        let parts = experiment.settings.parts();
        if experiment.super_weights.is_empty() && parts.needs_super_weights {
            return Err("There is no scalar to measure yet: scan, or pull one.");
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

    /// Requests an experiment, after the text and tasks that it is measured on.
    fn ask_for(&mut self, experiment: Experiment) {
        self.failure = None;
        if let Some(of) = experiment.text() {
            // A link may be about the bundled text, whatever was opened here.
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

    /// Takes the experiment that the page was opened with. Its model and kind are chosen and its settings filled in,
    /// but nothing is requested.
    pub fn open_experiment(&mut self, shared: Shared) {
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

    /// The link's figures beside those measured here, and the differences between the two measurements.
    pub fn shared_verdict(&self) -> (Vec<Compared>, Vec<String>) {
        let Some(link) = self.link_held() else { return Default::default() };
        let outcome = self.outcome(link.experiment.kind()).filter(|outcome| link.is_of(outcome));
        let mut other = Vec::new();
        if let Some(info) = &self.model.info
            && info.model.revision != link.model.revision
        {
            let ModelRef { id, revision } = &info.model;
            other.push(format!(
                "The link is about {} ({}), and {id} ({revision}) is loaded: another model.",
                link.model.id, link.model.revision
            ));
        }
        if let Some(outcome) = outcome {
            let [there, here] = [&link.experiment, &outcome.experiment].map(Experiment::texts);
            if there.len() != here.len() || !there.iter().all(|there| here.iter().any(|here| there.digest == here.digest)) {
                other.push("It was measured on another text or on other tasks here.".into());
            }
        }
        (link.compare(outcome), other)
    }

    /// The catalogue's model that the link is about, unless it is loaded.
    pub fn shared_entry(&self) -> Option<Entry> {
        let link = self.link_held()?;
        let is_here = self.model.info.as_ref().is_some_and(|info| info.model.revision == link.model.revision);
        Entry::find(&link.model.id).filter(|_| !is_here)
    }

    /// The texts and tasks that the visitor has to open before the link can be recomputed.
    pub fn shared_needs(&self) -> Vec<String> {
        let Some(link) = self.link_held() else { return Vec::new() };
        // A task's file is never bundled, whatever it is named.
        let own = link.experiment.text().and_then(|of| of.text).filter(|text| !text.name.starts_with(BUNDLED_TEXT));
        let texts = own.into_iter().chain(link.experiment.tasks().unwrap_or_default().tasks);
        texts.map(|text| format!("{} (digest {})", text.name, text.digest)).collect()
    }

    /// The first candidates of the weights alone, and whether the scan's first is among them.
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

/// The beginning of the bundled held-out text's name.
const BUNDLED_TEXT: &str = "held-out passages";

#[cfg(test)]
#[path = "experiments_tests.rs"]
pub(crate) mod tests;
