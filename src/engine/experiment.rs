//! The super-weight paper's experiments: checks their settings, fills in defaults and the current text, and reports
//! the outcome as it grows.

use std::cell::RefCell;

use super::error::EngineError;
use super::{Engine, Loaded, fit};
use crate::analysis::eval::{Cut, HeldOut, Source};
use crate::analysis::tasks::{EncodedTask, Task, TaskKind};
use crate::experiments::{self, Bench, Draft, ExperimentError};
use crate::job::control::Control;
use crate::terms::{Ablation, Experiment, MAX_TEXT_BYTES, OnTasks, OnText, SettingId, Settings, TaskFile, TextRef};

impl Engine {
    /// Answers [`crate::protocol::Request::UseText`].
    pub(super) fn use_text(&mut self, name: String, text: String, max_tokens: usize) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        check_size(&name, &text)?;
        let held_out = HeldOut::of(&name, &text, max_tokens, &loaded.tokenizer, loaded.info.max_position_embeddings)?;
        loaded.check_length(held_out.passages.iter().map(Vec::len).max().unwrap_or(0))?;
        loaded.measure_on(Source::new(name, text), held_out);
        Ok(())
    }

    /// Answers [`crate::protocol::Request::UseBundledText`].
    pub(super) fn use_bundled_text(&mut self) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        let held_out = HeldOut::bundled(&loaded.tokenizer, loaded.info.max_position_embeddings)?;
        loaded.measure_on(Source::bundled(), held_out);
        Ok(())
    }

    /// Answers [`crate::protocol::Request::UseTasks`].
    pub(super) fn use_tasks(&mut self, tasks: Vec<TaskFile>) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        tasks.iter().try_for_each(|task| check_size(&task.name, &task.jsonl))?;
        // All files are parsed before any is used.
        for task in tasks.iter().map(Task::of).collect::<Result<Vec<_>, _>>()? {
            loaded.tasks.retain(|known| known.kind != task.kind);
            loaded.tasks.push(task);
        }
        Ok(())
    }

    /// Answers [`crate::protocol::Request::Experiment`].
    pub(super) async fn experiment(&mut self, experiment: Experiment) -> Result<(), EngineError> {
        let loaded = self.model()?;
        let experiment = loaded.complete(experiment)?;
        let cut = experiment.text().map(|OnText { block, n_blocks, bos, .. }| Cut { block, n_blocks, bos });
        let text = cut.map(|cut| loaded.in_blocks(cut)).transpose()?;
        let convention = text.as_ref().map(|text| text.convention.clone());
        let tasks = loaded.encoded_tasks(&experiment, &self.control).await?;
        let bench = Bench {
            model: &loaded.intact,
            info: &loaded.info,
            tokenizer: &loaded.tokenizer,
            largest: &loaded.largest,
            largest_by_tensor: &loaded.largest_by_tensor,
            tasks,
            text,
            prefixes: RefCell::default(),
            health: loaded.health.as_ref(),
            control: &self.control,
        };
        let mut draft = Draft::new(experiment, &loaded.info, convention, &self.control);
        let ran = experiments::run(&bench, &mut draft).await;
        // Results of a failed GPU are not findings.
        bench.check_gpu()?;
        match ran {
            Ok(()) => draft.finish(),
            Err(_) => draft.send(),
        }
        Ok(ran?)
    }
}

impl Loaded {
    /// Measures on this text from now on, and drops the evaluation on the previous text.
    fn measure_on(&mut self, text: Source, held_out: HeldOut) {
        (self.text, self.held_out, self.intact_evaluation) = (text, held_out, None);
    }

    /// Checks an experiment's settings against the model, and fills in its text and tasks.
    fn complete(&self, mut experiment: Experiment) -> Result<Experiment, EngineError> {
        fill_in(&mut experiment);
        experiment.check().map_err(ExperimentError::Bounds)?;
        self.intact.check_ablation(&Ablation::zeroing(experiment.super_weights.iter().copied()))?;
        let kind = experiment.kind();
        let parts = experiment.settings.parts();
        if experiment.super_weights.is_empty() && parts.needs_super_weights {
            return Err(ExperimentError::NoSuperWeights { experiment: kind.name() }.into());
        }
        if let Some(prompt) = parts.prompt {
            self.prompt_ids(prompt)?;
        }
        if let Some(of) = parts.tasks {
            self.name_tasks(of)?;
        }
        if let Some(of) = parts.text {
            self.name_text(of)?;
        }
        if matches!(experiment.settings, Settings::ActivationQuantisation(_) | Settings::WeightQuantisation(_)) {
            fit::check_second(self.info.weight_bytes, self.health.is_none())?;
        }
        Ok(experiment)
    }

    /// Fills in the current text, if it is the requested one.
    fn name_text(&self, of: &mut OnText) -> Result<(), EngineError> {
        let used = TextRef { name: self.text.name.clone(), digest: self.text.digest.clone() };
        match of.text.replace(used) {
            Some(asked) if !asked.digest.is_empty() && asked.digest != self.text.digest => {
                let (asked, used) = (format!("{} ({})", asked.name, asked.digest), format!("{} ({})", self.text.name, self.text.digest));
                Err(EngineError::OtherText { asked, used })
            }
            _ => Ok(()),
        }
    }

    /// Fills in the requested tasks, each once, with the names and digests of the current files.
    fn name_tasks(&self, of: &mut OnTasks) -> Result<(), EngineError> {
        let asked = std::mem::take(&mut of.tasks);
        if asked.is_empty() {
            *of = OnTasks::default();
        }
        for TextRef { name, digest } in asked {
            let task = self.task(&name)?;
            if !digest.is_empty() && digest != task.digest {
                let (asked, used) = (format!("{name} ({digest})"), format!("{name} ({})", task.digest));
                return Err(EngineError::OtherText { asked, used });
            }
            let used = TextRef { name: task.kind.name().into(), digest: task.digest.clone() };
            if !of.tasks.contains(&used) {
                of.tasks.push(used);
            }
        }
        Ok(())
    }

    fn task(&self, name: &str) -> Result<&Task, EngineError> {
        let kind = TaskKind::of_name(name)?;
        self.tasks.iter().find(|task| task.kind == kind).ok_or_else(|| {
            let given = self.tasks.iter().map(|task| task.kind.name()).collect::<Vec<_>>().join(", ");
            EngineError::NoTask { name: name.into(), given: if given.is_empty() { "none".into() } else { given } }
        })
    }

    async fn encoded_tasks(&self, experiment: &Experiment, control: &Control) -> Result<Vec<EncodedTask>, EngineError> {
        let Some(of) = experiment.tasks() else { return Ok(Vec::new()) };
        let mut tasks = Vec::new();
        let limit = self.info.max_position_embeddings;
        // An experiment on a number of prompts uses this many items, even if a task has more.
        let n_prompts = match &experiment.settings {
            Settings::TokenShift(settings) => settings.n_prompts,
            _ => None,
        };
        let n_items = of.limit.into_iter().chain(n_prompts).min();
        for TextRef { name, .. } in &of.tasks {
            let task = self.task(name)?;
            let encoded = EncodedTask::of(task, n_items, of.item_seed, &self.tokenizer, limit, control).await?;
            self.check_length(encoded.longest())?;
            tasks.push(encoded);
        }
        Ok(tasks)
    }

    fn in_blocks(&self, cut: Cut) -> Result<HeldOut, EngineError> {
        let text = HeldOut::concatenated(&self.text, cut, &self.tokenizer, self.info.max_position_embeddings)?;
        self.check_length(text.passages.first().map_or(0, Vec::len))?;
        Ok(text)
    }
}

/// Checks the size of a text or of a task's file.
pub(super) fn check_size(name: &str, text: &str) -> Result<(), EngineError> {
    match text.len() {
        got if got > MAX_TEXT_BYTES => Err(EngineError::TextTooLarge { name: name.into(), got, limit: MAX_TEXT_BYTES }),
        _ => Ok(()),
    }
}

/// Drops repeated values and fills in defaults, so that the outcome names the settings that ran. Clipping thresholds
/// may be empty (no clipping); any other setting needs a value.
fn fill_in(experiment: &mut Experiment) {
    let mut once = Vec::with_capacity(experiment.super_weights.len());
    for at in experiment.super_weights.drain(..) {
        if !once.contains(&at) {
            once.push(at);
        }
    }
    experiment.super_weights = once;
    let mut default = experiment.kind().default_settings();
    for (id, value) in experiment.settings.numbers() {
        value.drop_repeated();
        if value.get().is_empty() && value.least() > 0 && id != SettingId::Clips {
            let default = default.number(id).map(|default| default.get());
            value.set(&default.unwrap_or_default());
        }
    }
}
