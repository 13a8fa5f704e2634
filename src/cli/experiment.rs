//! The super-weight paper's experiments as subcommands, with one set of arguments.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};

use super::edits::parse_coord;
use super::print::{self, TIME};
use super::session::{Session, figure};
use crate::catalog;
use crate::protocol::{Event, Figure, Request};
use crate::terms::{Experiment, ExperimentKind, ModelInfo, Outcome, TaskFile, TextRef, WeightCoord, text_digest};

/// The arguments of all experiments. Each experiment reads some of these, and refuses those that it would ignore.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct ExperimentArgs {
    /// LAYER,ROW,COL: a super weight for the experiment; without any, the candidates of a scan are used.
    #[arg(long)]
    pub super_weight: Vec<String>,
    /// Tokens of each block that the text (the bundled passages, or --text) is cut into; by default 2048, or the
    /// model's context.
    #[arg(long)]
    pub block: Option<usize>,
    /// true or false: put the tokenizer's special tokens (BOS) before each block. In the paper's protocol only the
    /// whole text has them in front; that is the default, except for the page's own models, which never saw a text
    /// without a BOS.
    #[arg(long)]
    pub bos: Option<bool>,
    /// Measure only this many blocks, from the first on.
    #[arg(long)]
    pub blocks: Option<usize>,
    /// NAME=FILE or FILE: a zero-shot task, as lines of JSON; without NAME, it is the file's name without its
    /// extension.
    #[arg(long)]
    pub task: Vec<String>,
    /// Measure only this many items of each task: the first ones, or a draw by --item-seed.
    #[arg(long)]
    pub limit: Option<usize>,
    /// Seed that draws the items of --limit; without it, the first items are taken.
    #[arg(long)]
    pub item_seed: Option<u64>,
    /// Keep every choice of every item in a separate table.
    #[arg(long)]
    pub log_samples: bool,
    /// The prompt of propagation and sinks.
    #[arg(long)]
    pub prompt: Option<String>,
    /// Number of prompts for token-shift, 500 by default.
    #[arg(long)]
    pub prompts: Option<usize>,
    /// Factors that scaling multiplies the super weights by: numbers from -3 to 3, separated by commas.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    pub factors: Option<Vec<f32>>,
    /// Bits of quantisation, 2 to 16: for weight-quantisation separated by commas, for activation-quantisation one
    /// number.
    #[arg(long, value_delimiter = ',')]
    pub bits: Option<Vec<u32>>,
    /// Block sizes of weight-quantisation, separated by commas: consecutive scalars that share a scale; 0 is the whole
    /// matrix.
    #[arg(long, value_delimiter = ',')]
    pub block_sizes: Option<Vec<usize>>,
    /// Clipping thresholds z of weight-quantisation, in standard deviations above the weights' mean magnitude.
    #[arg(long, value_delimiter = ',')]
    pub clips: Option<Vec<f32>>,
    /// SmoothQuant's exponent in activation-quantisation, 0 to 1.
    #[arg(long)]
    pub alpha: Option<f32>,
    /// Number of sequences of the bundled calibration text for importance and activation-quantisation.
    #[arg(long)]
    pub calibration: Option<usize>,
    /// Seed of the random control of importance and, in a report, of the candidates' controls.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Folder for every table as a CSV file, EXPERIMENT-TABLE.csv.
    #[arg(long)]
    pub tables: Option<PathBuf>,
}

impl ExperimentArgs {
    /// Checks that one of these kinds reads each given option, and that the options are valid.
    ///
    /// # Errors
    ///
    /// An option that all kinds would ignore, a coordinate that cannot be parsed, a task's file that cannot be read, or
    /// a folder that cannot be created.
    pub fn check(&self, kinds: &[ExperimentKind]) -> anyhow::Result<()> {
        let has_tasks = !self.task.is_empty();
        let of = |reads: fn(&Experiment) -> bool| kinds.iter().any(|kind| reads(&Experiment::of(*kind, Vec::new())));
        let options = [
            (self.block.is_some(), "--block", of(|of| of.kind.reads_text())),
            (self.bos.is_some(), "--bos", of(|of| of.kind.reads_bos())),
            (self.blocks.is_some(), "--blocks", of(|of| of.kind.reads_text())),
            (has_tasks, "--task", of(|of| of.kind.reads_tasks())),
            (self.prompt.is_some(), "--prompt", of(|of| of.kind.reads_prompt())),
            (self.prompts.is_some(), "--prompts", of(|of| of.n_prompts.is_some())),
            (self.factors.is_some(), "--factors", of(|of| !of.factors.is_empty())),
            (self.bits.is_some(), "--bits", of(|of| !of.bits.is_empty())),
            (self.block_sizes.is_some(), "--block-sizes", of(|of| !of.block_sizes.is_empty())),
            (self.clips.is_some(), "--clips", of(|of| !of.clips.is_empty())),
            (self.alpha.is_some(), "--alpha", of(|of| of.alpha.is_some())),
            (self.calibration.is_some(), "--calibration", of(|of| of.n_calibration.is_some())),
        ];
        if let Some((_, option, _)) = options.into_iter().find(|(is_given, _, is_read)| *is_given && !is_read) {
            let names = kinds.iter().map(|kind| kind.name().replace('_', "-")).collect::<Vec<_>>().join(", ");
            bail!("{names} does not read {option}: leave it out");
        }
        let of_tasks = [(self.limit.is_some(), "--limit"), (self.item_seed.is_some(), "--item-seed"), (self.log_samples, "--log-samples")];
        if let Some((_, option)) = of_tasks.into_iter().find(|(is_given, _)| *is_given && !has_tasks) {
            bail!("{option} is about items of tasks, and there is none: name one with --task NAME=FILE");
        }
        self.super_weight.iter().try_for_each(|text| parse_coord(text).map(drop))?;
        self.task_files()?;
        let folder =
            |folder: &PathBuf| std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()));
        self.tables.as_ref().map_or(Ok(()), folder)
    }

    /// Fills in these arguments for an experiment of any kind, as far as the kind reads them.
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

    /// Makes an experiment on this model. The page's own models get a BOS, since they never saw a text without one.
    pub fn on(&self, info: &ModelInfo, kind: ExperimentKind, super_weights: Vec<WeightCoord>, tasks: &[TaskFile]) -> Experiment {
        let mut experiment = self.over(Experiment::of(kind, super_weights), tasks);
        experiment.bos |= self.bos.is_none() && kind.reads_bos() && catalog::find(&info.model.id).is_some();
        experiment
    }

    /// Reads the files of `--task`.
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

/// Runs one of the experiments, such as `linchpin importance`.
pub async fn run(session: &mut Session, kind: ExperimentKind, args: &ExperimentArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    let tasks = args.task_files()?;
    let super_weights = super_weights(session, &args.super_weight).await?;
    let experiment = args.on(info, kind, super_weights, &tasks);
    if !tasks.is_empty() {
        session.ask(Request::UseTasks { tasks }).await?;
    }
    let (outcome, took) = timed(session, experiment).await?;
    if let Some(folder) = &args.tables {
        write_tables(&outcome, folder)?;
    }
    Ok(vec![Event::Measured { figures: vec![took] }, Event::Outcome(outcome)])
}

/// Returns the named super weights, or else the candidates of a scan.
///
/// # Errors
///
/// A coordinate that cannot be parsed, or a failing device.
pub async fn super_weights(session: &mut Session, named: &[String]) -> anyhow::Result<Vec<WeightCoord>> {
    if !named.is_empty() {
        return named.iter().map(|text| parse_coord(text)).collect();
    }
    let events = session.ask(Request::Scan { prompt: Experiment::PROMPT.into() }).await?;
    let found = events.into_iter().find_map(|event| if let Event::Scanned(scan) = event { Some(scan.candidates) } else { None });
    let found = found.unwrap_or_default().into_iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    if !session.is_quiet {
        let names = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        print::note(&match found.is_empty() {
            true => "no --super-weight is named, and a scan finds no candidate".into(),
            false => format!("no --super-weight is named, so a scan's candidates stand in, unconfirmed: {names}"),
        });
    }
    Ok(found)
}

/// The whole outcome, and how long it took.
///
/// # Errors
///
/// The errors of [`measure`].
pub async fn timed(session: &mut Session, experiment: Experiment) -> anyhow::Result<(Outcome, Figure)> {
    let started = Instant::now();
    let outcome = measure(session, experiment).await?;
    let took = figure(TIME, started, outcome.experiment.kind.name());
    Ok((outcome, took))
}

/// Runs an experiment, and returns its complete outcome.
///
/// # Errors
///
/// Any error of the engine.
pub async fn measure(session: &mut Session, experiment: Experiment) -> anyhow::Result<Outcome> {
    let kind = experiment.kind;
    let events = session.ask(Request::Experiment(experiment)).await?;
    let whole = events.into_iter().rev().find_map(|event| match event {
        Event::Outcome(outcome) if !outcome.is_partial => Some(outcome),
        _ => None,
    });
    whole.with_context(|| format!("the engine told no outcome of {}", kind.name()))
}

/// Writes every table as a file.
///
/// # Errors
///
/// A folder that cannot be written to.
pub fn write_tables(outcome: &Outcome, folder: &Path) -> anyhow::Result<()> {
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

/// Checks that a file can be written, before anything is measured for it. An existing file is left as it is.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub fn writable(path: &Path) -> anyhow::Result<()> {
    let is_new = !path.exists();
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("cannot write {}: name another place", path.display()))?;
    if is_new {
        std::fs::remove_file(path).with_context(|| format!("cannot write {}", path.display()))?;
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
        let error = args.check(&[ExperimentKind::WeightQuantisation]).unwrap_err();
        assert_eq!(error.to_string(), "weight-quantisation does not read --alpha: leave it out");
        assert!(args.check(&ExperimentKind::ALL).is_ok());
        let args = ExperimentArgs { limit: Some(3), ..ExperimentArgs::default() };
        assert!(args.check(&[ExperimentKind::Importance]).unwrap_err().to_string().contains("name one with --task"));
        let args = ExperimentArgs { task: vec!["none.jsonl".into()], ..ExperimentArgs::default() };
        assert!(args.check(&[ExperimentKind::Importance]).unwrap_err().to_string().contains("cannot read the task none.jsonl"));
        assert!(args.check(&[ExperimentKind::Sinks]).unwrap_err().to_string().contains("--task"));
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
