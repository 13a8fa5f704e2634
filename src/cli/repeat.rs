//! `linchpin repeat`: the experiments of an export made again, and their figures compared cell by cell.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;

use super::args::{Args, DeviceArg};
use super::experiment::{ExperimentArgs, measure};
use super::model::Found;
use super::{Session, print};
use crate::protocol::{Export, Request};
use crate::terms::{Cell, DataTable, Outcome, TaskFile, text_digest, without_scheme};

#[derive(Debug, Clone, clap::Args)]
pub struct RepeatArgs {
    /// An export of the page or of the command (--json), with experiments in it. Its model is loaded unless --model names
    /// another place that has the same, and on the same kind of device unless --device says otherwise. A text or tasks of one's
    /// own are named again (--text, --task): their digests must be those of the export.
    pub file: PathBuf,
    /// NAME=FILE or FILE, as for the experiment itself.
    #[arg(long)]
    pub task: Vec<String>,
    /// How far a figure may be off, as a share of the largest magnitude in its column.
    #[arg(long, default_value_t = 1e-3)]
    pub tolerance: f64,
}

/// How one column came out again.
#[derive(Debug, Serialize)]
pub struct Compared {
    kind: &'static str,
    table: String,
    column: String,
    cells: usize,
    /// Texts that are others, numbers that are further off than the tolerance, and cells that one of both lacks.
    differing: usize,
    /// The largest distance of two numbers, as a share of the column's largest magnitude.
    largest: f64,
}

/// What was measured again, and whether all of it agrees.
pub async fn run(session: &mut Session, args: &Args, asked: &RepeatArgs) -> anyhow::Result<(Export, Vec<Compared>)> {
    let before = read(&asked.file)?;
    let tasks = ExperimentArgs { task: asked.task.clone(), ..ExperimentArgs::default() }.task_files()?;
    check_tasks(&before.outcomes, &tasks)?;
    let device = match (args.device, before.outcomes.first()) {
        (DeviceArg::Auto, Some(outcome)) if outcome.backend.kind == "cpu" => DeviceArg::Cpu,
        (device, _) => device,
    };
    let model = args.model.clone().map_or_else(|| model_of(&before), Ok)?;
    let info = session.load(&Args { device, ..args.clone() }, Found::named(&model, session.is_quiet)?).await?;
    if info.model.revision != before.model.revision {
        let (theirs, ours) = (&before.model, &info.model);
        bail!(
            "the export is of {} with weights {}, and {model} has weights {}: name the same model with --model",
            theirs.id,
            theirs.revision,
            ours.revision
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
        export.outcomes.push(again);
    }
    Ok((export, compared))
}

/// An export with experiments in it.
///
/// # Errors
///
/// A file that is none.
pub fn read(path: &Path) -> anyhow::Result<Export> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let export: Export = serde_json::from_str(&text).with_context(|| format!("{} is no export of Linchpin", path.display()))?;
    if export.format != Export::FORMAT || export.version != Export::VERSION {
        bail!("{} is {} {}, and this reads {} {}", path.display(), export.format, export.version, Export::FORMAT, Export::VERSION);
    }
    if export.outcomes.is_empty() {
        bail!("{} has no experiment in it", path.display());
    }
    Ok(export)
}

/// Before a model is loaded for nothing.
fn check_tasks(outcomes: &[Outcome], given: &[TaskFile]) -> anyhow::Result<()> {
    for task in outcomes.iter().flat_map(|outcome| &outcome.experiment.tasks) {
        match given.iter().find(|given| given.name == task.name) {
            None => bail!("the export has the task {} (digest {}): name its file with --task {}=FILE", task.name, task.digest, task.name),
            Some(file) if text_digest(&file.jsonl) != task.digest => {
                bail!("the export's task {} has the digest {}, and the file {}", task.name, task.digest, text_digest(&file.jsonl))
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Where the model of an export is: at its commit on the Hub, in the catalogue, or bundled.
fn model_of(export: &Export) -> anyhow::Result<String> {
    let provenance = export.info.as_ref().map(|info| &info.provenance);
    if let Some((origin, commit)) = provenance.and_then(|of| Some((of.origin.as_str(), of.commit.as_deref()?)))
        && let Some(repo) = origin.strip_prefix(&format!("{}/", without_scheme(crate::terms::HUB)))
    {
        return Ok(format!("{repo}@{commit}"));
    }
    let id = &export.model.id;
    let bundled = format!("public/models/{id}");
    match crate::catalog::hub::find_any(id) {
        Some(_) => Ok(id.clone()),
        None if Path::new(&bundled).is_dir() => Ok(bundled),
        None => bail!("the export is of {id}, a model of somebody's own: name its folder with --model"),
    }
}

fn compare(before: &Outcome, again: &Outcome, tolerance: f64) -> Vec<Compared> {
    let of = |table: &DataTable| {
        let other = again.table(&table.name);
        (0..table.columns.len()).map(|at| column(before.experiment.kind.name(), table, other, at, tolerance)).collect::<Vec<_>>()
    };
    before.tables.iter().flat_map(of).collect()
}

fn column(kind: &'static str, table: &DataTable, other: Option<&DataTable>, at: usize, tolerance: f64) -> Compared {
    let name = &table.columns[at].name;
    let theirs = other.and_then(|other| other.column(name).map(|column| (other, column)));
    let cells = table.rows.len().max(other.map_or(0, |other| other.rows.len()));
    let largest_of = table.rows.iter().filter_map(|row| row[at].number()).fold(0.0_f64, |most, number| most.max(number.abs()));
    let (mut differing, mut largest) = (0, 0.0_f64);
    for row in 0..cells {
        let ours = table.rows.get(row).map(|row| &row[at]);
        let other = theirs.and_then(|(other, column)| other.rows.get(row)?.get(column));
        let agrees = match (ours, other) {
            (Some(Cell::Number(a)), Some(Cell::Number(b))) => {
                let apart = if a == b { 0.0 } else { (a - b).abs() / largest_of.max(b.abs()) };
                largest = largest.max(apart);
                apart <= tolerance
            }
            (Some(a), Some(b)) => a == b,
            _ => false,
        };
        differing += usize::from(!agrees);
    }
    Compared { kind, table: table.name.clone(), column: name.clone(), cells, differing, largest }
}

/// What came of it, in words; whether all of it agrees.
pub fn report(compared: &[Compared], tolerance: f64) -> bool {
    for of in compared.iter().filter(|of| of.differing > 0) {
        print::text(&format!(
            "{}, table {}, {}: {} of {} cells differ, by {:.1e} of the largest at most",
            of.kind, of.table, of.column, of.differing, of.cells, of.largest
        ));
    }
    let cells = compared.iter().map(|of| of.cells).sum::<usize>();
    let differing = compared.iter().map(|of| of.differing).sum::<usize>();
    let largest = compared.iter().map(|of| of.largest).fold(0.0, f64::max);
    let verdict = if differing == 0 { "reproduced" } else { "not reproduced" };
    print::text(&format!(
        "{verdict}: {differing} of {cells} cells differ by more than {tolerance:.0e}; the largest distance is {largest:.1e}"
    ));
    agrees(compared)
}

pub fn agrees(compared: &[Compared]) -> bool {
    compared.iter().all(|of| of.differing == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(f64, &str)]) -> DataTable {
        let mut table = DataTable::new("loss", "Loss", &["arm", "loss (nats)"]);
        rows.iter().for_each(|(loss, arm)| table.push([(*arm).into(), (*loss).into()]));
        table
    }

    #[test]
    fn a_column_is_compared_by_its_largest() {
        let before = table(&[(10.0, "a"), (0.001, "b")]);
        let of = |other: Option<&DataTable>, at| {
            let found = column("scaling", &before, other, at, 1e-3);
            (found.cells, found.differing)
        };
        assert_eq!(of(Some(&table(&[(10.009, "a"), (0.002, "b")])), 1), (2, 0));
        assert_eq!(of(Some(&table(&[(10.011, "a"), (0.002, "b")])), 1), (2, 1));
        assert_eq!(of(Some(&table(&[(10.0, "a"), (0.001, "c")])), 0), (2, 1));
        assert_eq!(of(Some(&table(&[(10.0, "a")])), 1), (2, 1));
        assert_eq!(of(Some(&table(&[(10.0, "a"), (0.001, "b"), (1.0, "c")])), 1), (3, 1));
        assert_eq!(of(None, 0), (2, 2));
    }
}
