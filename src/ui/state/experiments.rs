//! The super-weight paper's experiments on the page: the chosen kind, its settings, texts and tasks, and the outcomes.

use crate::catalog;
use crate::protocol::{Event, Request};
use crate::share::ExperimentLink;
use crate::terms::{
    CalibrationText, Delta, Experiment, ExperimentKind, FailureKind, ModelRef, Outcome, SettingError, SettingId, Settings, TaskFile,
    text_digest,
};
use crate::ui::state::part::Part;
use crate::ui::state::queue::Running;

const TASK_ITEMS: usize = 50;

/// The source of an experiment's scalars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scalars {
    #[default]
    Scan,
    Edits,
    Link,
}

/// The experiment of a link.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Shared {
    #[default]
    None,
    Refused(String),
    Held(Box<ExperimentLink>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Experiments {
    pub kind: ExperimentKind,
    /// Settings of each kind, in the order of [`ExperimentKind::ALL`].
    pub settings: Vec<Settings>,
    pub scalars: Scalars,
    /// Name and content of the opened text.
    pub text: Option<(String, String)>,
    pub tasks: Vec<TaskFile>,
    /// The latest outcome of each kind, including one measured while the model loads.
    pub(crate) outcomes: Vec<Outcome>,
    pub shared: Shared,
    /// The settings whose typed text is refused, the last one last; each keeps its value from before.
    pub wrong: Vec<SettingError>,
    /// The reason why a file could not be opened.
    pub error: Option<String>,
    /// A link to the shown outcome, or the reason why there is none.
    pub made: Option<Result<String, String>>,
    /// Number of changes to outcomes; `filled` counts how often settings were filled in.
    pub version: u32,
    pub filled: u32,
    /// Digest of the engine's text, if it is not the bundled one; `engine_has_tasks` is `true` if it has the tasks.
    pub(crate) engine_text: Option<String>,
    pub(crate) engine_has_tasks: bool,
}

impl Default for Experiments {
    fn default() -> Self {
        let settings = |kind: &ExperimentKind| {
            let mut settings = kind.default_settings();
            match (&settings, settings.clone().number(SettingId::Limit)) {
                // The number of prompts has its own limit.
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
            wrong: Vec::new(),
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
    /// The settings on the page.
    pub fn setting(&self) -> &Settings {
        &self.settings[self.kind as usize]
    }

    pub fn setting_mut(&mut self) -> &mut Settings {
        &mut self.settings[self.kind as usize]
    }

    /// Accepts an opened file, or the reason why it could not be opened.
    pub fn take_file(&mut self, is_text: bool, read: Result<CalibrationText, String>) {
        match read {
            Ok(CalibrationText { name, text }) if is_text => self.text = Some((name, text)),
            Ok(CalibrationText { name, text }) => self.add_task(&name, text),
            Err(why) => return self.error = Some(why),
        }
        self.error = None;
    }

    /// Accepts the text typed into a setting. The errors of other settings are kept.
    pub fn take_setting(&mut self, id: SettingId, typed: &str) {
        let Some(value) = self.setting_mut().number(id) else { return };
        let taken = id.take(value, typed);
        self.wrong.retain(|wrong| wrong.id != id);
        self.wrong.extend(taken.err());
    }

    pub fn choose(&mut self, kind: ExperimentKind) {
        (self.kind, self.error, self.made) = (kind, None, None);
        self.wrong.clear();
    }

    /// Drops a faulty device's partial outcome, which is not a finding.
    pub(crate) fn drop_partial(&mut self, of: &Experiment) {
        self.outcomes.retain(|outcome| !(outcome.is_partial && outcome.experiment.kind() == of.kind()));
        self.changed();
    }

    /// Accepts a task's file, which replaces one of the same name.
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

    /// Accepts an addition to the current outcome.
    pub(crate) fn grow(&mut self, delta: Delta) {
        let growing = self.outcomes.iter_mut().rfind(|outcome| outcome.is_partial && outcome.experiment.kind() == delta.kind);
        // The engine sends the first state of an outcome before any addition.
        debug_assert!(growing.is_some(), "an addition to an outcome that was not begun: {delta:?}");
        if let Some(outcome) = growing {
            outcome.apply(delta);
        }
        self.changed();
    }

    /// Records that a model was loaded, the same or another one.
    pub(crate) fn loaded(&mut self, model: &ModelRef) {
        self.outcomes.retain(|outcome| outcome.model == *model);
        self.engine_forgot();
        // The bundled models never saw a text without a BOS. A link's settings are kept.
        let of_link = if let Shared::Held(link) = &self.shared { Some(link.experiment.kind()) } else { None };
        for settings in self.settings.iter_mut().filter(|settings| Some(ExperimentKind::from(&**settings)) != of_link) {
            if let Some(text) = settings.parts().text {
                text.bos = catalog::find(&model.id).is_some();
            }
        }
        self.filled += 1;
        self.error = None;
        self.wrong.clear();
        self.changed();
    }

    /// Drops the link, because a link to an earlier outcome would mislead next to a new one.
    fn changed(&mut self) {
        self.version += 1;
        self.made = None;
    }

    pub(crate) fn engine_forgot(&mut self) {
        (self.engine_text, self.engine_has_tasks) = (None, false);
    }

    /// Records that the engine refused a text or tasks, and so lacks them.
    pub(crate) fn refused(&mut self, request: &Request) {
        match request {
            // The engine still has an earlier text, which is unknown here.
            Request::UseText { .. } | Request::UseBundledText => self.engine_text = Some(String::new()),
            Request::UseTasks { .. } => self.engine_has_tasks = false,
            _ => {}
        }
    }

    /// Records the text or tasks that are sent to the engine.
    pub(crate) fn note_sent(&mut self, request: &Request) {
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
            self.drop_partial(of);
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

#[cfg(test)]
#[path = "experiments_tests.rs"]
pub(crate) mod tests;
