//! The super-weight paper's experiments as subcommands.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};

use super::edits::coords;
use super::experiment_args::ExperimentArgs;
use super::files;
use super::print::{self, TIME};
use super::session::{Session, figure};
use crate::protocol::{Event, Figure, Request, outcome_of};
use crate::terms::{Experiment, ExperimentKind, ModelInfo, Outcome, WeightCoord};

/// Runs one of the experiments, such as `linchpin importance`.
pub async fn run(session: &mut Session, kind: ExperimentKind, args: &ExperimentArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    let tasks = args.task_files()?;
    // A broken file is told before anything is measured.
    if !tasks.is_empty() {
        session.ask(Request::UseTasks { tasks: tasks.clone() }).await?;
    }
    let super_weights = super_weights(session, &args.super_weight).await?;
    let experiment = args.on(info, kind, super_weights, &tasks)?;
    let (outcome, took) = timed(session, experiment).await?;
    if let Some(folder) = &args.tables {
        write_tables(&outcome, folder)?;
    }
    Ok(vec![Event::Measured { figures: vec![took] }, Event::Outcome(outcome)])
}

/// Returns the named super weights, or, if none is named, the candidates of a scan.
///
/// # Errors
///
/// A coordinate that cannot be parsed, or a failing device.
pub async fn super_weights(session: &mut Session, named: &[String]) -> anyhow::Result<Vec<WeightCoord>> {
    if !named.is_empty() {
        return coords(named);
    }
    let events = session.ask(Request::Scan { prompt: Experiment::PROMPT.into() }).await?;
    let found = events.into_iter().find_map(|event| if let Event::Scanned(scan) = event { Some(scan.candidates) } else { None });
    let found = found.unwrap_or_default().into_iter().map(|candidate| candidate.at).collect::<Vec<_>>();
    if !session.is_quiet {
        let names = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        print::note(&match found.is_empty() {
            true => "no --super-weight is given, and a scan finds no candidate".into(),
            false => format!("no --super-weight is given, so a scan's unconfirmed candidates are used: {names}"),
        });
    }
    Ok(found)
}

/// Returns the complete outcome, and the duration of the experiment.
///
/// # Errors
///
/// The errors of [`measure`].
pub async fn timed(session: &mut Session, experiment: Experiment) -> anyhow::Result<(Outcome, Figure)> {
    let started = Instant::now();
    let outcome = measure(session, experiment).await?;
    let took = figure(TIME, started, outcome.experiment.kind().name());
    Ok((outcome, took))
}

/// Runs an experiment, and returns its complete outcome.
///
/// # Errors
///
/// Any error of the engine.
pub async fn measure(session: &mut Session, experiment: Experiment) -> anyhow::Result<Outcome> {
    let kind = experiment.kind();
    let events = session.ask(Request::Experiment(experiment)).await?;
    let whole = outcome_of(&events).filter(|outcome| !outcome.is_partial);
    whole.with_context(|| format!("the engine sent no outcome of {}", kind.name()))
}

/// Writes every table as a file.
///
/// # Errors
///
/// A folder that cannot be written to.
pub fn write_tables(outcome: &Outcome, folder: &Path) -> anyhow::Result<()> {
    files::create_folder(folder)?;
    for table in &outcome.tables {
        let path = folder.join(format!("{}-{}.csv", outcome.experiment.kind().name(), table.name));
        files::write(&path, &table.to_csv())?;
    }
    if outcome.tables.is_empty() {
        bail!("the experiment has no tables");
    }
    Ok(())
}
