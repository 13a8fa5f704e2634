//! `linchpin repeat`: runs the experiments of an export again.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::compare::{Compared, compare};
use super::experiment::measure;
use super::experiment_args::ExperimentArgs;
use super::files;
use super::model::Found;
use super::options::{DeviceArg, Options};
use super::print;
use super::ranges;
use super::session::Session;
use crate::platform::hub;
use crate::protocol::{Export, Request};
use crate::share::{earlier, is_model_id};
use crate::terms::{CalibrationText, ModelRef, Outcome, TaskFile, TextRef, text_digest, without_scheme};

#[derive(Debug, Clone, clap::Args)]
pub struct RepeatArgs {
    /// An export of the page or of the command (--json) with experiments. Its model is loaded unless --model gives
    /// another place of the same model, on the same kind of device unless --device differs. Texts and tasks that are
    /// not bundled must be given again (--text, --task), with the export's digests.
    pub file: PathBuf,
    /// NAME=FILE or FILE, as for the experiment itself.
    #[arg(long)]
    pub task: Vec<String>,
    /// The largest accepted difference of a figure, relative to its own magnitude or to its column's median magnitude,
    /// if that is larger. The same device gives the same figures; another kind of device mostly stays below 1e-3.
    #[arg(long, allow_negative_numbers = true, default_value_t = 1e-3, value_parser = ranges::tolerance)]
    pub tolerance: f64,
}

/// Repeats the measurements and compares them; the vector has one comparison for each column.
pub async fn run(session: &mut Session, options: &Options, asked: &RepeatArgs) -> anyhow::Result<(Export, Vec<Compared>)> {
    let before = read(&asked.file)?;
    let tasks = ExperimentArgs { task: asked.task.clone(), ..ExperimentArgs::default() }.task_files()?;
    check_tasks(&before.outcomes, &tasks)?;
    let text = options.given_text()?;
    check_text(&before.outcomes, text.as_ref())?;
    let device = match (options.device, before.outcomes.first()) {
        (DeviceArg::Auto, Some(outcome)) if outcome.backend.kind == "cpu" => DeviceArg::Cpu,
        (DeviceArg::Auto, Some(outcome)) if outcome.backend.kind == "cuda" => DeviceArg::Cuda,
        (device, _) => device,
    };
    let model = options.model.clone().map_or_else(|| model_of(&before), Ok)?;
    let sought = || format!("the export is of {}, which was not found as {model}: give its folder with --model", before.model.id);
    let found = Found::named(&model).with_context(sought)?;
    // What stands before a text is a part of what reproduces a figure, so the export decides it.
    let bos = before.outcomes.iter().any(|outcome| outcome.model.added_bos.is_some());
    if options.bos() && !bos {
        bail!("the export was measured without a BOS that --bos adds: leave it out, or the figures do not compare");
    }
    let bos = if bos { vec![1.0] } else { Vec::new() };
    let ahead = before.outcomes.iter().map(|outcome| Request::Experiment(outcome.experiment.clone())).collect::<Vec<_>>();
    let info = session.load(&Options { device, bos, ..options.clone() }, found, text, &ahead).await.with_context(sought)?;
    if let Some(theirs) = before.outcomes.iter().map(|outcome| &outcome.model).find(|theirs| theirs.revision != info.model.revision) {
        let ours = &info.model.revision;
        bail!(
            "the export is of {} with weights {}, but {model} has weights {ours}: name the export's model with --model",
            theirs.id,
            theirs.revision
        );
    }
    if let Some(theirs) = before.outcomes.iter().map(|outcome| &outcome.model).find(|theirs| !theirs.is_same_as(&info.model)) {
        let of = |model: &ModelRef| model.added_bos.map_or_else(|| "none".into(), |bos| format!("token {bos}"));
        bail!(
            "the export was measured with another BOS put before every text ({}) than {model} gets here ({}), because their tokenizers \
             differ: name the export's model with --model",
            of(theirs),
            of(&info.model)
        );
    }
    if !tasks.is_empty() {
        session.ask(Request::UseTasks { tasks }).await?;
    }
    let mut export = Export { info: Some(info), ..Export::new(before.model) };
    let mut compared = Vec::new();
    for outcome in &before.outcomes {
        let again = measure(session, outcome.experiment.clone()).await?;
        compared.extend(compare(outcome, &again, asked.tolerance));
        if !session.is_quiet {
            beside(outcome, &again);
        }
        export.outcomes.push(again);
    }
    Ok((export, compared))
}

/// Prints the software and device of both outcomes, which may explain a difference.
fn beside(before: &Outcome, again: &Outcome) {
    let name = before.experiment.kind().name();
    let of = |outcome: &Outcome| format!("{} on {} ({})", outcome.software, outcome.backend.name, outcome.backend.kind);
    match of(before) == of(again) {
        true => print::note(&format!("{name}: made by {}, as before", of(again))),
        false => print::note(&format!("{name}: made by {}, and now by {}", of(before), of(again))),
    }
    if before.is_partial {
        print::note(&format!("{name}: the export's run was stopped early, so only its part is compared"));
    }
}

/// Reads an export that has experiments.
///
/// # Errors
///
/// A file that is not an export, or has no experiments.
pub fn read(path: &Path) -> anyhow::Result<Export> {
    let text = files::read(path, "the export")?;
    let mut export: Export = serde_json::from_str(&text).with_context(|| format!("{} is not an export of Linchpin", path.display()))?;
    if export.format != Export::FORMAT || !(1..=Export::VERSION).contains(&export.version) {
        let (format, newest) = (Export::FORMAT, Export::VERSION);
        bail!("{} is {} {}, but this command reads {format} 1 to {newest}", path.display(), export.format, export.version);
    }
    for outcome in &mut export.outcomes {
        if export.version == 1 {
            earlier::convert(outcome);
        }
        outcome.findings.iter_mut().for_each(earlier::finding);
        outcome.convention = outcome.convention.as_ref().map(earlier::convention);
    }
    if export.outcomes.is_empty() {
        bail!("{} has no experiments", path.display());
    }
    Ok(export)
}

/// Checks the tasks before a model is loaded. A file is identified by its digest, because a task may have several
/// names.
fn check_tasks(outcomes: &[Outcome], given: &[TaskFile]) -> anyhow::Result<()> {
    let digests = given.iter().map(|file| text_digest(&file.jsonl)).collect::<Vec<_>>();
    let tasks = || outcomes.iter().filter_map(|outcome| outcome.experiment.tasks()).flat_map(|of| of.tasks);
    if let Some(TextRef { name, digest }) = tasks().find(|task| !digests.contains(&task.digest)) {
        match given.iter().zip(&digests).find(|(file, _)| file.name == name) {
            None => bail!("the export has the task {name} (digest {digest}): name its file with --task {name}=FILE"),
            Some((_, ours)) => bail!("the export's task {name} has the digest {digest}, but the file has {ours}: name the export's file"),
        }
    }
    match given.iter().zip(&digests).find(|(_, digest)| tasks().all(|task| task.digest != **digest)) {
        Some((file, _)) => bail!("the export has no task with the file named {}: leave it out", file.name),
        None => Ok(()),
    }
}

/// Checks the text before a model is loaded.
fn check_text(outcomes: &[Outcome], given: Option<&CalibrationText>) -> anyhow::Result<()> {
    let ours = given.map_or_else(crate::engine::held_out_digest, |text| text_digest(&text.text));
    let mut texts = outcomes.iter().filter_map(|outcome| outcome.experiment.text()?.text);
    if let Some(TextRef { name, digest }) = texts.find(|text| !text.digest.is_empty() && text.digest != ours) {
        match given {
            None => {
                bail!("the export measured loss on the text {name} (digest {digest}), not on the bundled one: give its file with --text")
            }
            Some(given) => bail!(
                "the export measured loss on the text {name} (digest {digest}), but {} has the digest {ours}: give the same text with \
                 --text, or leave it out for the bundled one",
                given.name
            ),
        }
    }
    Ok(())
}

/// Returns the source of an export's model: its commit on the Hub, its name in the catalogue, or the bundled folder. An export comes from
/// anywhere, so that no other folder is opened, whatever it names.
fn model_of(export: &Export) -> anyhow::Result<String> {
    let provenance = export.info.as_ref().map(|info| &info.provenance);
    if let Some((origin, commit)) = provenance.and_then(|of| Some((of.origin.as_str(), of.commit.as_deref()?)))
        && let Some(repo) = origin.strip_prefix(&format!("{}/", without_scheme(crate::terms::HUB)))
        && hub::is_repo(repo)
        && hub::is_commit(commit)
    {
        return Ok(format!("{repo}@{commit}"));
    }
    place_of(&export.model.id)
}

/// Returns the name in `--model` of a model with this id: its name in the catalogue, or the bundled folder.
///
/// # Errors
///
/// An id of neither.
pub fn place_of(id: &str) -> anyhow::Result<String> {
    let bundled = format!("public/models/{id}");
    let is_a_name = is_model_id(id) && !id.starts_with('.');
    match crate::catalog::hub::find_any(id) {
        Some(_) => Ok(id.into()),
        None if is_a_name && Path::new(&bundled).is_dir() => Ok(bundled),
        None => bail!("the model {id} is not in the catalogue: give its folder with --model"),
    }
}
