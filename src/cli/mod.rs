//! The `linchpin` command: turns arguments into the page's requests, and prints the same JSON.

mod check;
mod command;
mod compare;
mod deletions;
mod edits;
mod experiment;
mod experiment_args;
mod hub_repo;
mod model;
mod models;
mod options;
mod print;
mod prune;
mod repeat;
mod report;
mod report_page;
mod save;
mod save_folder;
mod selection;
mod session;
mod surround;
mod sweep;
mod table;
mod text_file;
mod training;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::Parser;

use crate::protocol::{Event, Export, Request};
use crate::terms::{ModelFile, ModelInfo, Sampling};
use command::{Args, Command, SamplingArgs};
use edits::parse_coord;
use experiment_args::ExperimentCommand;
use model::Found;
use options::Options;
use repeat::RepeatArgs;
use selection::ScoringArgs;
use session::{Session, collect, figure};

/// Runs the command. Exit codes: 0 done, 1 a negative finding (nothing confirmed, golden values missed), 2 an error.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match pollster::block_on(run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            print::error(&error);
            ExitCode::from(2)
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<bool> {
    let options = &args.options;
    let csv = matches!(args.command, Command::Score { csv: true, .. });
    let mut session = Session::new(options.json || csv);
    let (export, is_positive) = match &args.command {
        Command::Models { id } => return models::run(id.as_deref(), options.json),
        Command::Check(asked) => return check::run(&mut session, options, asked).await,
        Command::Training(asked) => (training::run(&mut session, options, asked).await?, true),
        Command::Save(asked) => (save::run(&mut session, options, asked).await?, true),
        Command::Repeat(asked) => return again(&mut session, options, asked).await,
        Command::Report(asked) => {
            report::check(asked)?;
            let (export, is_whole) = report::run(&mut session, options, asked).await?;
            if options.json {
                print::json(&export)?;
            }
            return Ok(is_whole);
        }
        _ => of_one_model(&mut session, args).await?,
    };
    match (&export.scores, csv) {
        (Some(scores), true) => print::csv(scores),
        _ if options.json => print::json(&export)?,
        _ => print::report(&export),
    }
    Ok(is_positive)
}

/// `repeat`: measures the experiments of an export again, and compares the figures.
async fn again(session: &mut Session, options: &Options, asked: &RepeatArgs) -> anyhow::Result<bool> {
    let (export, compared) = repeat::run(session, options, asked).await?;
    if options.json {
        let mut document = serde_json::to_value(&export)?;
        document["repeated"] = serde_json::to_value(&compared)?;
        print::text(&serde_json::to_string_pretty(&document)?);
        return Ok(compare::agrees(&compared));
    }
    Ok(compare::report(&compared, asked.tolerance))
}

async fn of_one_model(session: &mut Session, args: &Args) -> anyhow::Result<(Export, bool)> {
    if let Command::Experiment(ExperimentCommand { kind, args }) = &args.command {
        args.check(&[*kind])?;
    }
    let found = Found::named(args.options.model())?;
    // Channels are scored on the given text; everything else is measured on it.
    let is_scoring = matches!(args.command, Command::Score { .. } | Command::Surround(_));
    let text = if is_scoring { None } else { args.options.given_text()? };
    let info = session.load(&args.options, found, text).await?;
    let mut export = Export::new(info.model.clone());
    let is_positive = execute(session, args, &info, &mut export).await?;
    export.info = Some(info);
    Ok((export, is_positive))
}

async fn execute(session: &mut Session, args: &Args, info: &ModelInfo, export: &mut Export) -> anyhow::Result<bool> {
    let is_quiet = args.options.json;
    let mut is_positive = true;
    let mut events = Vec::new();
    match &args.command {
        Command::Scan { prompt, confirm, seed } => {
            // Without candidates nothing is confirmed.
            is_positive = !confirm;
            events.extend(scan(session, prompt, confirm.then_some(*seed)).await?);
        }
        Command::Ablate { edits, prompt, sampling } => {
            events.extend(session.ask(Request::Apply { ablation: edits.ablation()? }).await?);
            events.extend(session.ask(Request::Evaluate).await?);
            events.extend(session.ask(generate(prompt, sampling, info)).await?);
        }
        Command::Generate { prompt, sampling } => events.extend(session.ask(generate(prompt, sampling, info)).await?),
        Command::Perplexity { edits } => {
            events.extend(session.ask(Request::Apply { ablation: edits.ablation()? }).await?);
            events.extend(session.ask(Request::Evaluate).await?);
        }
        Command::Score { scoring: ScoringArgs { sequences, length }, super_weight, .. } => {
            let super_weights = super_weight.iter().map(|text| parse_coord(text)).collect::<Result<_, _>>()?;
            let (text, sequences, length, started) = (args.options.given_text()?, *sequences, *length, Instant::now());
            events.extend(session.ask(Request::Score { text, sequences, length, super_weights, resume: false }).await?);
            export.measured.push(figure("score", started, "all sequences, kernels compiled and weights' norms read within"));
        }
        Command::Prune(asked) => events.extend(prune::run(session, asked).await?),
        Command::Sweep(asked) => events.extend(sweep::run(session, asked, info).await?),
        Command::Deletions(asked) => events.extend(deletions::run(session, asked, info).await?),
        Command::Surround(asked) => events.extend(surround::run(session, asked, args.options.given_text()?).await?),
        Command::Training(_) | Command::Check(_) | Command::Models { .. } | Command::Repeat(_) | Command::Report(_) | Command::Save(_) => {
            bail!("this command is run elsewhere")
        }
        Command::Experiment(ExperimentCommand { kind, args }) => events.extend(experiment::run(session, *kind, args, info).await?),
        Command::Measure => events.extend(measure(session, info, export).await?),
        Command::Verify { golden, tolerance } => {
            let golden = ModelFile { name: "golden.safetensors".into(), url: golden.display().to_string() };
            events.extend(session.ask(Request::Verify { golden }).await?);
            is_positive = print::verified(&events, *tolerance, is_quiet);
        }
    }
    if let Some(confirm) = collect(events, export) {
        is_positive = confirm;
    }
    Ok(is_positive)
}

/// Scans a prompt and, with a seed, confirms the candidates.
async fn scan(session: &mut Session, prompt: &str, confirm: Option<u64>) -> anyhow::Result<Vec<Event>> {
    let mut events = session.ask(Request::Scan { prompt: prompt.into() }).await?;
    let candidates = events.iter().find_map(|event| match event {
        Event::Scanned(scan) => Some(scan.candidates.iter().map(|candidate| candidate.at).collect::<Vec<_>>()),
        _ => None,
    });
    if let (Some(seed), Some(candidates)) = (confirm, candidates.filter(|candidates| !candidates.is_empty())) {
        events.extend(session.ask(Request::Confirm { candidates, rows: Vec::new(), seed }).await?);
    }
    Ok(events)
}

/// The engine's own figures, preceded by the duration of a fresh start.
async fn measure(session: &mut Session, info: &ModelInfo, export: &mut Export) -> anyhow::Result<Vec<Event>> {
    export.measured.push(session.since_start("load", "the model, from the engine's start"));
    let sampling = SamplingArgs { temperature: Some(0.0), top_k: None, top_p: None, seed: 1, max_new_tokens: Some(1) };
    session.ask(generate("It was a dark evening, and the old man", &sampling, info)).await?;
    export.measured.push(session.since_start("first_token", "from the engine's start, loading included"));
    session.ask(Request::Measure).await
}

fn generate(prompt: &str, args: &SamplingArgs, info: &ModelInfo) -> Request {
    let defaults = info.sampling;
    let sampling = Sampling {
        temperature: args.temperature.unwrap_or(defaults.temperature),
        top_k: args.top_k.unwrap_or(defaults.top_k),
        top_p: args.top_p.unwrap_or(defaults.top_p),
        seed: args.seed,
        max_new_tokens: args.max_new_tokens.unwrap_or(defaults.max_new_tokens),
    };
    Request::Generate { prompt: prompt.into(), sampling }
}
