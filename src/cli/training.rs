//! `linchpin training`: scores and measures the checkpoints of one model in the same way.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::edits::parse_coord;
use super::model::Found;
use super::options::Options;
use super::selection::ScoringArgs;
use super::session::Session;
use super::table::Table;
use crate::protocol::{Event, Export, Request};
use crate::tables::training::{columns, figures, key};
use crate::terms::{Ablation, Checkpoint, Evaluation, ModelInfo, Pane, WeightCoord, Zeroed};

#[derive(Debug, Clone, clap::Args)]
pub struct TrainingArgs {
    /// Folder of checkpoints: every folder in it with a config.json is a checkpoint; the numbers in their names set
    /// the order.
    pub dir: PathBuf,
    /// LAYER,ROW,COL: a scalar of `down_proj` to zero in each checkpoint.
    #[arg(long)]
    pub scalar: Option<String>,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    /// File for a table of the results. Checkpoints that it already has are not scored again.
    #[arg(long)]
    pub csv: Option<PathBuf>,
}

/// The deepest nesting of folders: a run, its seeds, their steps, and one level to spare.
const MAX_DEPTH: usize = 4;

/// Loads, scores and measures the checkpoints one after the other. The export has those that the table lacked.
pub async fn run(session: &mut Session, options: &Options, asked: &TrainingArgs) -> anyhow::Result<Export> {
    let scalar = asked.scalar.as_deref().map(parse_coord).transpose()?;
    let folders = folders(&asked.dir)?;
    let ahead = [asked.scoring.request(None), Request::Apply { ablation: Ablation::zeroing(scalar) }];
    let mut table = asked.csv.as_ref().map(|path| Table::open(path, columns())).transpose()?;
    let (mut last, mut checkpoints) = (None, Vec::new());
    for Folder { path, name, step } in folders {
        let found = Found::folder(&path, name.clone())?;
        let info = session.load(options, found, options.given_text()?, &ahead).await.with_context(|| format!("checkpoint {name}"))?;
        let evaluation = session.intact().await?;
        let of = asked.scoring.measurement(&info, &evaluation.convention, &session.text_digest);
        let key = key(&name, step, asked.scalar.as_deref(), &of);
        if table.as_ref().is_none_or(|table| !table.knows(&key)) {
            let checkpoint = measured(session, asked, Folder { path, name, step }, &info, evaluation, scalar).await?;
            if let Some(table) = &mut table {
                table.add(&key, &figures(&checkpoint))?;
            }
            checkpoints.push(checkpoint);
        }
        last = Some(info);
    }
    let info = last.with_context(|| format!("{} has no folder with a config.json", asked.dir.display()))?;
    Ok(Export { info: Some(info.clone()), checkpoints, ..Export::new(info.model) })
}

/// The folder of one checkpoint.
struct Folder {
    path: PathBuf,
    /// Path of the checkpoint within the folder of all checkpoints.
    name: String,
    step: Option<u64>,
}

fn folders(dir: &Path) -> anyhow::Result<Vec<Folder>> {
    let mut found = Vec::new();
    search(dir, "", &mut found)?;
    // Checkpoints are sorted by parent folder, then by number; those without a number come last.
    let parent = |folder: &Folder| folder.name.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
    found.sort_by_cached_key(|folder| (parent(folder), folder.step.is_none(), folder.step, folder.name.clone()));
    Ok(found)
}

fn search(dir: &Path, within: &str, found: &mut Vec<Folder>) -> anyhow::Result<()> {
    let cannot = || format!("cannot open the folder {}", dir.display());
    for entry in std::fs::read_dir(dir).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let own = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        let name = if within.is_empty() { own.clone() } else { format!("{within}/{own}") };
        if path.join("config.json").is_file() {
            found.push(Folder { path, name, step: number(&own) });
        } else if path.is_dir() && name.split('/').count() < MAX_DEPTH {
            search(&path, &name, found)?;
        }
    }
    Ok(())
}

/// Returns the number after "step", or, if there is none, the first number in a name.
fn number(name: &str) -> Option<u64> {
    let name = name.split_once("step").map_or(name, |(_, behind)| behind);
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
}

async fn measured(
    session: &mut Session,
    asked: &TrainingArgs,
    Folder { name, step, .. }: Folder,
    info: &ModelInfo,
    evaluation: Evaluation,
    scalar: Option<WeightCoord>,
) -> anyhow::Result<Checkpoint> {
    let zeroed = match scalar {
        Some(at) => Some(zeroed(session, at, &evaluation).await?),
        None => None,
    };
    let events = session.ask(asked.scoring.request(None)).await?;
    let report = events.into_iter().find_map(|event| if let Event::Scored(report) = event { Some(report) } else { None });
    let report = report.context("the engine sent no scores")?;
    let (calibration, summary) = (report.calibration, report.summary);
    Ok(Checkpoint { name, step, model: info.model.clone(), calibration, summary, evaluation, zeroed })
}

async fn zeroed(session: &mut Session, at: WeightCoord, whole: &Evaluation) -> anyhow::Result<Zeroed> {
    session.ask(Request::Apply { ablation: Ablation::zeroing([at]) }).await?;
    let events = session.ask(Request::Evaluate).await?;
    let loss = events.into_iter().find_map(|event| match event {
        Event::Evaluated { pane: Pane::Ablated, evaluation } => Some(evaluation.loss_nats),
        _ => None,
    });
    let loss_nats = loss.context("the engine sent no evaluation")?;
    Ok(Zeroed { at, loss_nats, delta_nats: loss_nats - whole.loss_nats })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_is_a_number_in_a_name() {
        let names = ["step-000500", "step1000-tokens4B", "stage1-step140000", "checkpoint-12", "7", "best"];
        assert_eq!(names.map(number), [Some(500), Some(1000), Some(140_000), Some(12), Some(7), None]);
    }
}
