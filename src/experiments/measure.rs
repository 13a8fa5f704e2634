//! Measures loss and accuracy of several models in turn, side by side in tables.

use super::{Bench, Draft, ExperimentError};
use crate::analysis::AnalysisError;
use crate::analysis::eval;
use crate::analysis::tasks::{self, AVERAGE, ItemScore, TaskKind, TaskScore, mean_acc};
use crate::model::Model;
use crate::model::probe::{PeakEdit, Probe};
use crate::tensors::DeviceError;
use crate::terms::{Cell, DataTable, Evaluation, Experiment, Message};

/// One model of an experiment. It is built when its turn comes, and dropped afterwards.
pub struct Arm {
    /// The arm's code, such as `prune_sw`.
    pub name: String,
    pub model: Model,
    /// Edits at activation peaks while the model runs.
    pub at_peaks: Vec<PeakEdit>,
}

/// The results of one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub evaluation: Evaluation,
    /// Scores of the tasks, in the order in which the experiment names them.
    pub tasks: Vec<TaskScore>,
}

impl Measured {
    /// Returns the mean accuracy over tasks; `None` without tasks.
    pub fn mean_acc(&self) -> Option<f64> {
        mean_acc(&self.tasks)
    }
}

impl Arm {
    /// Creates an arm with no edits while the model runs.
    pub fn new(name: impl Into<String>, model: Model) -> Self {
        Self { name: name.into(), model, at_peaks: Vec::new() }
    }
}

impl Bench<'_> {
    /// Measures the loss on the text and the scores of the tasks. `at` is the arm's index and the number of arms, for
    /// progress. A loss that overflows is a finding ([`Evaluation::OVERFLOW`]); a GPU failure is not.
    ///
    /// # Errors
    ///
    /// A failing device, or a stop.
    pub async fn measure(&self, arm: &Arm, at: (usize, usize)) -> Result<Measured, ExperimentError> {
        let text = self.text.as_ref().ok_or(AnalysisError::EmptyText)?;
        let doing = Message::new("arm").with("arm", arm.name.as_str()).with("index", at.0 + 1).with("of", at.1);
        // Computed in f64, because a browser's usize has 32 bits.
        let of_arm = self.tasks.iter().map(|task| task.n_tokens() as f64).sum::<f64>() + text.n_tokens() as f64;
        let progress = |before: f64, done: usize| {
            self.control.progress(doing.clone(), at.0 as f64 * of_arm + before + done as f64, at.1 as f64 * of_arm, "tokens");
        };
        let probe = || Probe::empty().at_peaks(&arm.at_peaks);
        let mut prefixes = self.prefixes.take();
        let measured = eval::measure_with(&arm.model, probe, text, &mut prefixes, self.control, |done| progress(0.0, done)).await;
        self.prefixes.replace(prefixes);
        let evaluation = match measured {
            Err(AnalysisError::Device(DeviceError::NonFinite { .. })) => eval::overflowed(text),
            evaluated => evaluated?.evaluation,
        };
        let (mut tasks, mut before) = (Vec::new(), text.n_tokens() as f64);
        for task in &self.tasks {
            let is_whole = !arm.at_peaks.is_empty();
            tasks.push(tasks::measure(&arm.model, task, probe, is_whole, self.control, |done| progress(before, done)).await?);
            before += task.n_tokens() as f64;
        }
        self.check_gpu()?;
        Ok(Measured { evaluation, tasks })
    }
}

/// The tables that report arms. Their first columns name the arm. `loss` has a row for each arm; `tasks`, if there
/// are tasks, a row for each task and one for their mean; and `samples`, if requested, a row for every choice of
/// every item.
pub struct Sheet {
    intact: Option<f32>,
}

impl Sheet {
    /// Adds empty tables to the draft; `keys` are the columns that name an arm.
    pub fn new(draft: &mut Draft<'_>, keys: &[&str]) -> Self {
        let of_loss = ["loss (nats)", "perplexity", "change (nats)", "stopword_mass (probability)", "tokens"];
        let mut tables = vec![DataTable::new("loss", "loss_on_text", &[keys, &of_loss].concat())];
        if has_tasks(&draft.outcome.experiment) {
            let of_task =
                ["task", "items", "acc (share)", "acc_stderr (share)", "acc_norm (share)", "acc_norm_stderr (share)", "perplexity"];
            tables.push(DataTable::new("tasks", "zero_shot_accuracy", &[keys, &of_task].concat()));
            if logs_samples(&draft.outcome.experiment) {
                let of_choice =
                    ["task", "line", "choice", "loglikelihood (nats)", "greedy", "tokens", "characters", "gold", "chosen", "chosen_norm"];
                tables.push(DataTable::new("samples", "choices", &[keys, &of_choice].concat()));
            }
        }
        draft.outcome.tables.append(&mut tables);
        Self { intact: None }
    }

    /// Adds an arm and reports the outcome.
    pub fn push(&mut self, draft: &mut Draft<'_>, keys: Vec<Cell>, measured: &Measured) {
        self.add(draft, keys, measured);
        draft.send();
    }

    /// Adds an arm. Changes are relative to the first arm.
    pub fn add(&mut self, draft: &mut Draft<'_>, keys: Vec<Cell>, measured: &Measured) {
        let Evaluation { loss_nats, perplexity, stopword_mass, n_tokens, .. } = measured.evaluation;
        let intact = *self.intact.get_or_insert(loss_nats);
        let row = [loss_nats.into(), perplexity.into(), (loss_nats - intact).into(), stopword_mass.into(), n_tokens.into()];
        let tables = &mut draft.outcome.tables;
        let mut push = |name: &str, row: &[Cell]| {
            if let Some(table) = tables.iter_mut().find(|table| table.name == name) {
                table.push([keys.as_slice(), row].concat());
            }
        };
        push("loss", &row);
        for row in measured.tasks.iter().map(task_row).chain(average_row(&measured.tasks)) {
            push("tasks", &row);
        }
        if logs_samples(&draft.outcome.experiment) {
            for task in &measured.tasks {
                task.items.iter().flat_map(|item| sample_rows(task.kind, item)).for_each(|row| push("samples", &row));
            }
        }
    }
}

fn has_tasks(experiment: &Experiment) -> bool {
    experiment.tasks().is_some_and(|of| !of.tasks.is_empty())
}

fn logs_samples(experiment: &Experiment) -> bool {
    experiment.tasks().is_some_and(|of| of.log_samples)
}

/// `true` if a value is not finite or is [`Evaluation::OVERFLOW`].
pub fn has_overflowed(value: f32) -> bool {
    !value.is_finite() || value >= Evaluation::OVERFLOW
}

fn task_row(task: &TaskScore) -> Vec<Cell> {
    let TaskScore { kind, items, acc, acc_stderr, acc_norm, acc_norm_stderr, perplexity } = task;
    let figures = [*acc_stderr, *acc_norm, *acc_norm_stderr, *perplexity].map(Cell::from);
    [vec![kind.name().into(), items.len().into(), (*acc).into()], figures.to_vec()].concat()
}

/// Returns the row for the mean over tasks, if there are several.
fn average_row(tasks: &[TaskScore]) -> Option<Vec<Cell>> {
    let acc = mean_acc(tasks).filter(|_| tasks.len() > 1)?;
    let n_items = tasks.iter().map(|task| task.items.len()).sum::<usize>();
    let row = [AVERAGE.into(), n_items.into(), acc.into(), Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing];
    Some(row.to_vec())
}

/// Returns the rows of one item's choices. `gold`, `chosen` and `chosen_norm` are 1 or 0: the choice is right, is the
/// likeliest, and is the likeliest per character. The last is empty for tasks without such a score.
fn sample_rows(kind: TaskKind, item: &ItemScore) -> impl Iterator<Item = Vec<Cell>> {
    let flag = |is: bool| Cell::from(usize::from(is));
    let (chosen, by_length) = (item.chosen(), item.chosen_by_length());
    item.choices.iter().enumerate().map(move |(index, choice)| {
        let figures = [item.line.into(), index.into(), choice.loglikelihood.into(), flag(choice.is_greedy)];
        let lengths = [choice.n_tokens.into(), choice.n_characters.into()];
        let flags = [flag(index == item.gold), flag(chosen == Some(index)), kind.has_norm().then(|| flag(by_length == Some(index))).into()];
        [vec![Cell::from(kind.name())], figures.to_vec(), lengths.to_vec(), flags.to_vec()].concat()
    })
}
