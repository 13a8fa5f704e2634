//! `linchpin report`: writes every experiment on one model, or all reports of an export, as a static page, and the
//! data next to it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::experiment::{super_weights, timed, write_tables};
use super::experiment_args::{ExperimentArgs, subcommand};
use super::model::Found;
use super::options::Options;
use super::report_page::{Missing, page, parts};
use super::session::{Session, collect};
use super::{files, print, repeat};
use crate::protocol::{Export, Request};
use crate::terms::{Experiment, ExperimentKind, SettingId, WeightCoord};

#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// File of the page; the data is written next to it, as an export that `repeat` can run again.
    #[arg(long, default_value = "linchpin-report.html")]
    pub out: PathBuf,
    /// Create the page from this export, without measuring.
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// Run only these experiments, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub kinds: Vec<String>,
    #[command(flatten)]
    pub settings: ExperimentArgs,
}

/// Runs the requested experiments, and writes the page. The `bool` is `true` if all of them could be measured.
pub async fn run(session: &mut Session, options: &Options, asked: &ReportArgs) -> anyhow::Result<(Export, bool)> {
    let (export, missing) = match &asked.from {
        Some(path) => (repeat::read(path)?, Vec::new()),
        None => measured(session, options, asked).await?,
    };
    if let Some(folder) = &asked.settings.tables {
        write_all_tables(&export, folder)?;
    }
    let json = asked.out.with_extension("json");
    if asked.from.is_none() {
        files::write(&json, &serde_json::to_string(&export)?)?;
    }
    files::write(&asked.out, &page(&export, &missing))?;
    if !session.is_quiet {
        print::note(&format!("{} is written{}", asked.out.display(), if asked.from.is_none() { ", and its data next to it" } else { "" }));
    }
    Ok((export, missing.is_empty()))
}

/// Writes every table of every report and experiment as a file.
fn write_all_tables(export: &Export, folder: &Path) -> anyhow::Result<()> {
    files::create_folder(folder)?;
    for part in parts(export) {
        part.tables
            .iter()
            .try_for_each(|table| files::write(&folder.join(format!("{}-{}.csv", part.name, table.name)), &table.to_csv()))?;
    }
    export.outcomes.iter().try_for_each(|outcome| write_tables(outcome, folder))
}

async fn measured(session: &mut Session, options: &Options, asked: &ReportArgs) -> anyhow::Result<(Export, Missing)> {
    let kinds = kinds(&asked.kinds)?;
    let tasks = asked.settings.task_files()?;
    let found = Found::named(options.model())?;
    let ahead = kinds.iter().map(|kind| asked.settings.ahead(*kind)).collect::<anyhow::Result<Vec<_>>>()?;
    let info = session.load(options, found, options.given_text()?, &ahead).await?;
    if !tasks.is_empty() {
        session.ask(Request::UseTasks { tasks: tasks.clone() }).await?;
    }
    let mut export = Export::new(info.model.clone());
    let candidates = candidates(session, &asked.settings.super_weight, &mut export).await?;
    if !candidates.is_empty() {
        let seed = asked.settings.settings.0.get(&SettingId::Seed).and_then(|values| values.first()).map_or(1, |seed| *seed as u64);
        collect(session.ask(Request::Confirm { candidates: candidates.clone(), rows: Vec::new(), seed }).await?, &mut export);
    }
    let mut missing = Vec::new();
    for kind in kinds {
        let experiment = asked.settings.on(&info, kind, candidates.clone(), &tasks)?;
        match timed(session, experiment).await {
            Ok((outcome, took)) => {
                export.outcomes.push(outcome);
                export.measured.push(took);
            }
            Err(error) => {
                if !session.is_quiet {
                    print::note(&format!("{}: {error:#}", kind.name()));
                }
                missing.push((kind, format!("{error:#}")));
            }
        }
    }
    export.info = Some(info);
    Ok((export, missing))
}

/// Scans the model into the export, and returns the named super weights, or, if none is named, the candidates of the
/// scan.
async fn candidates(session: &mut Session, named: &[String], export: &mut Export) -> anyhow::Result<Vec<WeightCoord>> {
    collect(session.ask(Request::Scan { prompt: Experiment::PROMPT.into() }).await?, export);
    if !named.is_empty() {
        return super_weights(session, named).await;
    }
    let found = export.scan.iter().flat_map(|scan| &scan.candidates).map(|candidate| candidate.at).collect::<Vec<_>>();
    if !session.is_quiet {
        let names = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        print::note(&match found.is_empty() {
            true => "no --super-weight is given, and the scan finds no candidate".into(),
            false => format!("no --super-weight is given, so the scan's candidates are used: {names}"),
        });
    }
    Ok(found)
}

fn kinds(named: &[String]) -> anyhow::Result<Vec<ExperimentKind>> {
    if named.is_empty() {
        return Ok(ExperimentKind::ALL.to_vec());
    }
    let known = |name: &String| ExperimentKind::ALL.iter().copied().find(|kind| subcommand(*kind) == name.replace('_', "-"));
    named.iter().map(|name| known(name).with_context(|| format!("{name} is not one of {}", all_names()))).collect()
}

fn all_names() -> String {
    ExperimentKind::ALL.iter().map(|kind| subcommand(*kind)).collect::<Vec<_>>().join(", ")
}

/// Checks the arguments before anything is measured.
///
/// # Errors
///
/// Settings that would be ignored, or files that cannot be written.
pub fn check(asked: &ReportArgs) -> anyhow::Result<()> {
    let tables = asked.settings.tables.clone();
    let is_default = asked.settings == ExperimentArgs { tables, ..ExperimentArgs::default() };
    if asked.from.is_some() && !(asked.kinds.is_empty() && is_default) {
        bail!("--from creates the page from an export without measuring: leave out --kinds and all settings");
    }
    if asked.from.as_deref() == Some(asked.out.as_path()) {
        bail!("--out would overwrite the file of --from");
    }
    let json = asked.out.with_extension("json");
    if json == asked.out {
        bail!("--out names the page, and its data goes to {}: give it another extension, such as .html", json.display());
    }
    if asked.from.is_none() {
        asked.settings.check(&kinds(&asked.kinds)?)?;
        files::check_output(&json)?;
    }
    files::check_output(&asked.out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_the_subcommands() {
        assert_eq!(
            kinds(&["token-shift".into(), "weights_only".into()]).unwrap(),
            [ExperimentKind::TokenShift, ExperimentKind::WeightsOnly]
        );
        assert!(kinds(&["magic".into()]).unwrap_err().to_string().contains("importance, propagation"));
        assert_eq!(kinds(&[]).unwrap().len(), 8);
    }
}
