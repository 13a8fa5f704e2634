//! The super-weight paper's experiments: checks their settings, fills in defaults and the text in use, and reports the
//! outcome as it grows.

use super::error::EngineError;
use super::{Engine, Loaded, fit};
use crate::analysis::eval::{Cut, HeldOut, Source};
use crate::analysis::tasks::{EncodedTask, Task, TaskKind};
use crate::experiments::{self, Bench, Draft, ExperimentError};
use crate::job::SettingError;
use crate::job::control::Control;
use crate::terms::{Ablation, Experiment, ExperimentKind, LimitError, MAX_VALUES, TaskFile, TextRef, check_scale};

/// Models of one experiment.
const MAX_ROUNDINGS: usize = 1000;

impl Engine {
    /// Answers [`crate::protocol::Request::UseText`].
    pub(super) fn use_text(&mut self, name: String, text: String, max_tokens: usize) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
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
        // All files are read before any is taken into use.
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
        let text = experiment
            .block
            .map(|block| loaded.in_blocks(Cut { block, n_blocks: experiment.n_blocks, bos: experiment.bos }))
            .transpose()?;
        let convention = text.as_ref().map(|text| text.convention.clone()).unwrap_or_default();
        let tasks = loaded.encoded_tasks(&experiment, &self.control).await?;
        let bench = Bench {
            model: &loaded.intact,
            info: &loaded.info,
            tokenizer: &loaded.tokenizer,
            largest: &loaded.largest,
            largest_by_tensor: &loaded.largest_by_tensor,
            tasks,
            text,
            health: loaded.health.as_ref(),
            control: &self.control,
        };
        let mut draft = Draft::new(experiment, &loaded.info, convention, &self.control);
        let ran = experiments::run(&bench, &mut draft).await;
        // Results of a failed GPU are no finding.
        bench.check_gpu()?;
        match ran {
            Ok(()) => draft.finish(),
            Err(_) => draft.tell(),
        }
        Ok(ran?)
    }
}

impl Loaded {
    /// Measures on this text from now on, and forgets the evaluation on another text.
    fn measure_on(&mut self, text: Source, held_out: HeldOut) {
        (self.text, self.held_out, self.intact_evaluation) = (text, held_out, None);
    }

    /// Checks an experiment's settings against the model, and fills in the text and tasks that it is measured on.
    fn complete(&self, experiment: Experiment) -> Result<Experiment, EngineError> {
        check_settings(&experiment)?;
        let mut experiment = filled(experiment);
        self.intact.check_ablation(&Ablation::zeroing(experiment.super_weights.iter().copied()))?;
        if experiment.super_weights.is_empty() && experiment.kind.needs_super_weights() {
            return Err(ExperimentError::NoSuperWeights { experiment: experiment.kind.name() }.into());
        }
        if experiment.kind.reads_prompt() {
            self.prompt_ids(&experiment.prompt)?;
        }
        self.name_tasks(&mut experiment)?;
        if matches!(experiment.kind, ExperimentKind::ActivationQuantisation | ExperimentKind::WeightQuantisation) {
            fit::check_second(self.info.weight_bytes, self.health.is_none())?;
        }
        if experiment.kind.reads_text() {
            self.name_text(&mut experiment)?;
        } else {
            (experiment.text, experiment.block, experiment.n_blocks) = (None, None, None);
        }
        Ok(experiment)
    }

    /// Fills in the text in use, if it is the requested one.
    fn name_text(&self, experiment: &mut Experiment) -> Result<(), EngineError> {
        let used = TextRef { name: self.text.name.clone(), digest: self.text.digest.clone() };
        match experiment.text.replace(used) {
            Some(asked) if !asked.digest.is_empty() && asked.digest != self.text.digest => {
                let (asked, used) = (format!("{} ({})", asked.name, asked.digest), format!("{} ({})", self.text.name, self.text.digest));
                Err(EngineError::OtherText { asked, used })
            }
            _ => {
                experiment.block.get_or_insert(Experiment::BLOCK);
                Ok(())
            }
        }
    }

    /// Fills in the requested tasks, each once, with the names and digests of the files in use.
    fn name_tasks(&self, experiment: &mut Experiment) -> Result<(), EngineError> {
        let asked = std::mem::take(&mut experiment.tasks);
        if asked.is_empty() || !experiment.kind.reads_tasks() {
            (experiment.limit, experiment.item_seed, experiment.log_samples) = (None, None, false);
            return Ok(());
        }
        for TextRef { name, digest } in asked {
            let task = self.task(&name)?;
            if !digest.is_empty() && digest != task.digest {
                let (asked, used) = (format!("{name} ({digest})"), format!("{name} ({})", task.digest));
                return Err(EngineError::OtherText { asked, used });
            }
            let used = TextRef { name: task.kind.name().into(), digest: task.digest.clone() };
            if !experiment.tasks.contains(&used) {
                experiment.tasks.push(used);
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
        let mut tasks = Vec::new();
        let limit = self.info.max_position_embeddings;
        // A token-shift experiment takes `n_prompts` items, however many a task has.
        let n_prompts = experiment.n_prompts.filter(|_| experiment.kind == ExperimentKind::TokenShift);
        let n_items = experiment.limit.into_iter().chain(n_prompts).min();
        for TextRef { name, .. } in &experiment.tasks {
            let task = self.task(name)?;
            let encoded = EncodedTask::of(task, n_items, experiment.item_seed, &self.tokenizer, limit, control).await?;
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

/// Drops repeated values and fills in defaults, so that the outcome says what ran.
fn filled(mut experiment: Experiment) -> Experiment {
    let default = Experiment::of(experiment.kind, Vec::new());
    once(&mut experiment.super_weights);
    once(&mut experiment.factors);
    once(&mut experiment.bits);
    once(&mut experiment.block_sizes);
    once(&mut experiment.clips);
    if experiment.factors.is_empty() {
        experiment.factors = default.factors;
    }
    if experiment.bits.is_empty() {
        experiment.bits = default.bits;
    }
    if experiment.block_sizes.is_empty() {
        experiment.block_sizes = default.block_sizes;
    }
    if experiment.kind == ExperimentKind::ActivationQuantisation {
        experiment.bits.truncate(1);
    }
    experiment.alpha = experiment.alpha.or(default.alpha);
    experiment.n_calibration = experiment.n_calibration.or(default.n_calibration);
    experiment
}

/// Drops values that occurred before.
fn once<T: PartialEq + Copy>(values: &mut Vec<T>) {
    let mut seen = Vec::with_capacity(values.len());
    values.retain(|value| {
        let is_new = !seen.contains(value);
        seen.push(*value);
        is_new
    });
}

fn check_settings(experiment: &Experiment) -> Result<(), EngineError> {
    let setting = |key, got: String, expected| Err(SettingError { key, got, expected }.into());
    experiment.factors.iter().copied().try_for_each(check_scale)?;
    if let Some(bits) = experiment.bits.iter().find(|bits| !(2..=16).contains(*bits)) {
        return setting("bits", bits.to_string(), "2 to 16");
    }
    if let Some(clip) = experiment.clips.iter().find(|clip| !(**clip > 0.0 && clip.is_finite())) {
        return setting("z", clip.to_string(), "a number above 0");
    }
    let most = [experiment.factors.len(), experiment.bits.len(), experiment.block_sizes.len(), experiment.clips.len()];
    if let Some(got) = most.into_iter().find(|n| *n > MAX_VALUES) {
        return Err(LimitError::Values { got }.into());
    }
    let n = experiment.bits.len() * experiment.block_sizes.len() * (2 + experiment.clips.len());
    if n > MAX_ROUNDINGS {
        return setting("the number of roundings", n.to_string(), "1000 or fewer: take fewer bits, block sizes or z");
    }
    if let Some(alpha) = experiment.alpha.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
        return setting("alpha", alpha.to_string(), "0 to 1");
    }
    if let Some(block) = experiment.block.filter(|block| *block < 2) {
        return setting("the tokens of a block", block.to_string(), "2 or more");
    }
    let counts = [
        ("the number of blocks", experiment.n_blocks),
        ("the number of prompts", experiment.n_prompts),
        ("the number of items", experiment.limit),
        ("the number of calibration sequences", experiment.n_calibration),
    ];
    match counts.into_iter().find(|(_, n)| *n == Some(0)) {
        Some((key, _)) => setting(key, "0".into(), "1 or more"),
        None => Ok(()),
    }
}
