//! The super-weight paper's experiments as subcommands, with one set of arguments.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Session;
use super::args::parse_coord;
use crate::catalog;
use crate::protocol::{Event, Request};
use crate::terms::{Experiment, ExperimentKind, ModelInfo, Outcome, TaskFile, TextRef, WeightCoord, text_digest};

/// What an experiment can be told. Each reads some of these, and refuses what it would ignore.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ExperimentArgs {
    /// LAYER,ROW,COL: a scalar that the experiment is about; the candidates of a scan where none is named.
    #[arg(long)]
    pub super_weight: Vec<String>,
    /// Tokens of each block that the text (the bundled passages, or --text) is cut into; 2048, or the model's context.
    #[arg(long)]
    pub block: Option<usize>,
    /// Put the tokenizer's special tokens (BOS) before each block. The paper's protocol has them before the whole text only;
    /// without this option each block gets them for the page's own models only, which never saw a text without.
    #[arg(long)]
    pub bos: Option<bool>,
    /// Only so many blocks, from the first on.
    #[arg(long)]
    pub blocks: Option<usize>,
    /// NAME=FILE or FILE: a zero-shot task, as lines of JSON; its name is the file's without an extension, if it is not given.
    #[arg(long)]
    pub task: Vec<String>,
    /// Only so many items of each task: the first, or drawn with --item-seed.
    #[arg(long)]
    pub limit: Option<usize>,
    #[arg(long)]
    pub item_seed: Option<u64>,
    /// Keep every choice of every item, in a table of its own.
    #[arg(long)]
    pub log_samples: bool,
    #[arg(long)]
    pub prompt: Option<String>,
    /// Prompts whose next token is looked at.
    #[arg(long)]
    pub prompts: Option<usize>,
    /// What the super weights are multiplied by.
    #[arg(long, value_delimiter = ',')]
    pub factors: Option<Vec<f32>>,
    #[arg(long, value_delimiter = ',')]
    pub bits: Option<Vec<u32>>,
    /// Scalars that share a scale; 0 is the whole matrix.
    #[arg(long, value_delimiter = ',')]
    pub block_sizes: Option<Vec<usize>>,
    /// z: weights are clipped at so many standard deviations above their mean magnitude.
    #[arg(long, value_delimiter = ',')]
    pub clips: Option<Vec<f32>>,
    /// Of SmoothQuant.
    #[arg(long)]
    pub alpha: Option<f32>,
    /// Sequences of the bundled calibration text.
    #[arg(long)]
    pub calibration: Option<usize>,
    /// Draws controls.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Write every table as a CSV file into this folder: EXPERIMENT-TABLE.csv.
    #[arg(long)]
    pub tables: Option<PathBuf>,
}

impl ExperimentArgs {
    /// The experiment that they ask for.
    ///
    /// # Errors
    ///
    /// An argument that this kind does not read: it would be ignored silently.
    pub fn experiment(&self, kind: ExperimentKind, super_weights: Vec<WeightCoord>, tasks: &[TaskFile]) -> anyhow::Result<Experiment> {
        let of = Experiment::of(kind, super_weights);
        let name = kind.name().replace('_', "-");
        let refuse = |given: bool, option: &str, reads: bool| match given && !reads {
            true => Err(anyhow::anyhow!("{name} does not read {option}")),
            false => Ok(()),
        };
        refuse(self.block.is_some(), "--block", kind.reads_text())?;
        refuse(self.bos.is_some(), "--bos", kind.reads_bos())?;
        refuse(self.blocks.is_some(), "--blocks", kind.reads_text())?;
        refuse(!self.task.is_empty(), "--task", kind.reads_tasks())?;
        refuse(self.limit.is_some(), "--limit", !tasks.is_empty())?;
        refuse(self.item_seed.is_some(), "--item-seed", !tasks.is_empty())?;
        refuse(self.log_samples, "--log-samples", !tasks.is_empty())?;
        refuse(self.prompt.is_some(), "--prompt", kind.reads_prompt())?;
        refuse(self.prompts.is_some(), "--prompts", of.n_prompts.is_some())?;
        refuse(self.factors.is_some(), "--factors", !of.factors.is_empty())?;
        refuse(self.bits.is_some(), "--bits", !of.bits.is_empty())?;
        refuse(self.block_sizes.is_some(), "--block-sizes", !of.block_sizes.is_empty())?;
        refuse(self.clips.is_some(), "--clips", !of.clips.is_empty())?;
        refuse(self.alpha.is_some(), "--alpha", of.alpha.is_some())?;
        refuse(self.calibration.is_some(), "--calibration", of.n_calibration.is_some())?;
        Ok(self.over(of, tasks))
    }

    /// The same of every kind at once, each with what it reads.
    pub fn over(&self, of: Experiment, tasks: &[TaskFile]) -> Experiment {
        let kind = of.kind;
        let tasks = tasks.iter().filter(|_| kind.reads_tasks());
        let tasks = tasks.map(|task| TextRef { name: task.name.clone(), digest: text_digest(&task.jsonl) }).collect::<Vec<_>>();
        let has_tasks = !tasks.is_empty();
        let (limit, item_seed) = if has_tasks { (self.limit, self.item_seed) } else { (None, None) };
        let list = |given: &Option<Vec<f32>>, default: Vec<f32>| given.clone().filter(|_| !default.is_empty()).unwrap_or(default);
        Experiment {
            block: of.block.map(|block| self.block.unwrap_or(block)),
            bos: kind.reads_bos() && self.bos.unwrap_or(of.bos),
            n_blocks: self.blocks.filter(|_| kind.reads_text()),
            tasks,
            limit,
            item_seed,
            log_samples: has_tasks && self.log_samples,
            prompt: self.prompt.clone().filter(|_| kind.reads_prompt()).unwrap_or(of.prompt),
            n_prompts: of.n_prompts.map(|n| self.prompts.unwrap_or(n)),
            factors: list(&self.factors, of.factors),
            bits: self.bits.clone().filter(|_| !of.bits.is_empty()).unwrap_or(of.bits),
            block_sizes: self.block_sizes.clone().filter(|_| !of.block_sizes.is_empty()).unwrap_or(of.block_sizes),
            clips: list(&self.clips, of.clips),
            alpha: of.alpha.map(|alpha| self.alpha.unwrap_or(alpha)),
            n_calibration: of.n_calibration.map(|n| self.calibration.unwrap_or(n)),
            seed: self.seed.unwrap_or(of.seed),
            ..of
        }
    }

    /// The files of `--task`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub fn task_files(&self) -> anyhow::Result<Vec<TaskFile>> {
        self.task.iter().map(|text| task_file(text)).collect()
    }
}

fn task_file(text: &str) -> anyhow::Result<TaskFile> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) => (name.to_owned(), Path::new(path)),
        None => (Path::new(text).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()), Path::new(text)),
    };
    let jsonl = std::fs::read_to_string(path).with_context(|| format!("cannot read the task {}", path.display()))?;
    Ok(TaskFile { name, jsonl })
}

/// `linchpin importance` and its like.
pub async fn run(session: &mut Session, kind: ExperimentKind, args: &ExperimentArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    let tasks = args.task_files()?;
    // Before anything is paid for.
    args.experiment(kind, Vec::new(), &tasks)?;
    let super_weights = super_weights(session, &args.super_weight).await?;
    let mut experiment = args.experiment(kind, super_weights, &tasks)?;
    experiment.bos |= args.bos.is_none() && kind.reads_bos() && catalog::find(&info.model.id).is_some();
    if !tasks.is_empty() {
        session.ask(Request::UseTasks { tasks }).await?;
    }
    let outcome = measure(session, experiment).await?;
    if let Some(folder) = &args.tables {
        write_tables(&outcome, folder)?;
    }
    Ok(vec![Event::Outcome(outcome)])
}

/// Those that were named, or else what a scan finds.
///
/// # Errors
///
/// A coordinate that is none, or a failing device.
pub async fn super_weights(session: &mut Session, named: &[String]) -> anyhow::Result<Vec<WeightCoord>> {
    if !named.is_empty() {
        return named.iter().map(|text| parse_coord(text)).collect();
    }
    let events = session.ask(Request::Scan { prompt: Experiment::PROMPT.into() }).await?;
    let found = events.into_iter().find_map(|event| if let Event::Scanned(scan) = event { Some(scan.candidates) } else { None });
    Ok(found.unwrap_or_default().into_iter().map(|candidate| candidate.at).collect())
}

/// The whole outcome.
///
/// # Errors
///
/// Whatever the engine has against it.
pub async fn measure(session: &mut Session, experiment: Experiment) -> anyhow::Result<Outcome> {
    let kind = experiment.kind;
    let events = session.ask(Request::Experiment(experiment)).await?;
    let whole = events.into_iter().rev().find_map(|event| match event {
        Event::Outcome(outcome) if !outcome.is_partial => Some(outcome),
        _ => None,
    });
    whole.with_context(|| format!("the engine told no outcome of {}", kind.name()))
}

/// Every table as a file.
///
/// # Errors
///
/// A folder that cannot be written to.
fn write_tables(outcome: &Outcome, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for table in &outcome.tables {
        let path = folder.join(format!("{}-{}.csv", outcome.experiment.kind.name(), table.name));
        std::fs::write(&path, table.to_csv()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if outcome.tables.is_empty() {
        bail!("the experiment came to no table");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Vec<TaskFile> {
        vec![TaskFile { name: "sciq".into(), jsonl: "{}".into() }]
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        let args = ExperimentArgs { alpha: Some(0.5), ..ExperimentArgs::default() };
        let error = args.experiment(ExperimentKind::WeightQuantisation, Vec::new(), &[]).unwrap_err();
        assert_eq!(error.to_string(), "weight-quantisation does not read --alpha");
        assert_eq!(args.experiment(ExperimentKind::ActivationQuantisation, Vec::new(), &[]).unwrap().alpha, Some(0.5));
        let args = ExperimentArgs { limit: Some(3), ..ExperimentArgs::default() };
        assert!(args.experiment(ExperimentKind::Importance, Vec::new(), &[]).is_err());
        assert_eq!(args.experiment(ExperimentKind::Importance, Vec::new(), &tasks()).unwrap().limit, Some(3));
    }

    #[test]
    fn each_kind_keeps_what_it_reads() {
        let args = ExperimentArgs {
            block: Some(128),
            prompt: Some("a b".into()),
            factors: Some(vec![0.5]),
            bits: Some(vec![4]),
            limit: Some(2),
            ..ExperimentArgs::default()
        };
        for kind in ExperimentKind::ALL {
            let of = Experiment::of(kind, Vec::new());
            let ours = args.over(of.clone(), &tasks());
            assert_eq!(ours.block.is_some(), of.block.is_some(), "{kind:?}");
            assert_eq!(ours.prompt.is_empty(), of.prompt.is_empty(), "{kind:?}");
            assert_eq!((ours.factors.len(), ours.bits.len()), (of.factors.len().min(1), of.bits.len().min(1)), "{kind:?}");
            assert_eq!(ours.limit.is_some(), kind.reads_tasks(), "{kind:?}");
        }
    }
}
