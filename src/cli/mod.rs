//! The `linchpin` command: turns arguments into the page's requests, and prints the same JSON.

mod args;
mod check;
mod compare;
mod deletions;
mod experiment;
mod model;
mod models;
mod print;
mod prune;
mod repeat;
mod report;
mod report_page;
mod surround;
mod sweep;
mod table;
mod training;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;

use crate::engine::{self, Engine};
use crate::job::control::Control;
use crate::protocol::{Event, Export, Figure, Request};
use crate::terms::{CalibrationText, Evaluation, ModelFile, ModelInfo, ModelSource, Pane, Sampling, text_digest};
use args::{Args, Command, SamplingArgs, parse_coord};
use model::Found;
use prune::ScoringArgs;
use repeat::RepeatArgs;

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

/// A callback that gets events as they come.
type Watcher = Box<dyn FnMut(&Event)>;

/// The engine with a collection of its events.
struct Session {
    /// True if only the result is printed.
    is_quiet: bool,
    engine: Engine,
    control: Control,
    events: Rc<RefCell<Vec<Event>>>,
    watcher: Rc<RefCell<Option<Watcher>>>,
    started: Instant,
    /// Digest of the text that loss is measured on.
    text_digest: String,
}

impl Session {
    fn new(is_quiet: bool) -> Self {
        let (events, watcher) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(None::<Watcher>)));
        let (basket, of_sink) = (events.clone(), watcher.clone());
        let control = Control::new(move |event| {
            if !is_quiet {
                print::live(&event);
            }
            if let Some(watch) = of_sink.borrow_mut().as_mut() {
                watch(&event);
            }
            basket.borrow_mut().push(event);
        });
        Self {
            is_quiet,
            engine: Engine::new(control.clone()),
            control,
            events,
            watcher,
            started: Instant::now(),
            text_digest: engine::held_out_digest(),
        }
    }

    /// Returns the time since the engine was created, as a figure.
    fn since_start(&self, name: &str, of: &str) -> Figure {
        figure(name, self.started, of)
    }

    /// Sends a request and returns its events.
    async fn ask(&mut self, request: Request) -> anyhow::Result<Vec<Event>> {
        self.engine.handle(request).await;
        let events = self.events.take();
        match events.last() {
            Some(Event::Failed(failure)) => bail!("{}: {}\n{}", failure.what, failure.why, failure.next_step),
            _ => Ok(events),
        }
    }

    /// Sends a request, and passes each event to a watcher as it comes; if the watcher fails, the request is stopped.
    async fn watch(
        &mut self,
        request: Request,
        mut watcher: impl FnMut(&Event) -> anyhow::Result<()> + 'static,
    ) -> anyhow::Result<Vec<Event>> {
        let (control, failed) = (self.control.clone(), Rc::new(RefCell::new(None)));
        let of_watcher = failed.clone();
        self.watcher.replace(Some(Box::new(move |event| {
            if let Err(error) = watcher(event) {
                of_watcher.borrow_mut().get_or_insert(error);
                control.request_stop();
            }
        })));
        let answered = self.ask(request).await;
        self.watcher.take();
        failed.take().map_or(answered, Err)
    }

    /// Evaluates the intact model on the held-out text.
    async fn intact(&mut self) -> anyhow::Result<Evaluation> {
        let events = self.ask(Request::Evaluate).await?;
        let found = events.into_iter().find_map(|event| match event {
            Event::Evaluated { pane: Pane::Intact, evaluation } => Some(evaluation),
            _ => None,
        });
        found.context("the engine evaluated nothing")
    }

    /// Loads a model, and sets the text of the arguments for its measurements.
    async fn load(&mut self, args: &Args, Found { id, files, brought }: Found) -> anyhow::Result<ModelInfo> {
        let events = self.ask(Request::Load { id, source: ModelSource::Files(files), backend: args.device.into() }).await?;
        let mut info = events.into_iter().find_map(|event| if let Event::Loaded(info) = event { Some(info) } else { None });
        if let Some(info) = &mut info {
            Found::attest(brought, &mut info.provenance);
        }
        // `score` and `surround` score channels over the text; all other commands measure loss on it.
        let is_scoring = matches!(args.command, Command::Score { .. } | Command::Surround(_));
        if let Some(CalibrationText { name, text }) = given_text(args)?.filter(|_| !is_scoring) {
            self.text_digest = text_digest(&text);
            self.ask(Request::UseText { name, text, max_tokens: args.max_tokens }).await?;
        }
        info.context("the engine loaded nothing")
    }
}

/// Returns the time since `since`, as a figure.
fn figure(name: &str, since: Instant, of: &str) -> Figure {
    let value = Some(since.elapsed().as_secs_f64() * 1e3);
    Figure { name: name.into(), value, unit: "ms".into(), of: of.into(), missing: None }
}

async fn run(args: &Args) -> anyhow::Result<bool> {
    let csv = matches!(args.command, Command::Score { csv: true, .. });
    let mut session = Session::new(args.json || csv);
    let (export, is_positive) = match &args.command {
        Command::Models { id } => return models::run(id.as_deref(), args.json),
        Command::Check(asked) => return check::run(&mut session, args, asked).await,
        Command::Training(asked) => (training::run(&mut session, args, asked).await?, true),
        Command::Repeat(asked) => return again(&mut session, args, asked).await,
        Command::Report(asked) => {
            report::check(asked)?;
            let (export, is_whole) = report::run(&mut session, args, asked).await?;
            if args.json {
                print::json(&export)?;
            }
            return Ok(is_whole);
        }
        _ => of_one_model(&mut session, args).await?,
    };
    match (&export.scores, csv) {
        (Some(scores), true) => print::csv(scores),
        _ if args.json => print::json(&export)?,
        _ => print::report(&export),
    }
    Ok(is_positive)
}

/// Runs `repeat`, and prints the comparison of the earlier figures with the new ones.
async fn again(session: &mut Session, args: &Args, asked: &RepeatArgs) -> anyhow::Result<bool> {
    let (export, compared) = repeat::run(session, args, asked).await?;
    if args.json {
        let mut document = serde_json::to_value(&export)?;
        document["repeated"] = serde_json::to_value(&compared)?;
        print::text(&serde_json::to_string_pretty(&document)?);
        return Ok(compare::agrees(&compared));
    }
    Ok(compare::report(&compared, asked.tolerance))
}

async fn of_one_model(session: &mut Session, args: &Args) -> anyhow::Result<(Export, bool)> {
    if let Some((kind, asked)) = args.command.experiment() {
        asked.check(&[kind])?;
    }
    let info = session.load(args, Found::named(args.model(), session.is_quiet)?).await?;
    let mut export = Export::new(info.model.clone());
    let is_positive = execute(session, args, &info, &mut export).await?;
    export.info = Some(info);
    Ok((export, is_positive))
}

/// Reads the text of `--text`.
fn given_text(args: &Args) -> anyhow::Result<Option<CalibrationText>> {
    let Some(path) = &args.text else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the text {}", path.display()))?;
    let name = path.file_name().map_or_else(|| "text".into(), |name| name.to_string_lossy().into_owned());
    Ok(Some(CalibrationText { name, text }))
}

async fn execute(session: &mut Session, args: &Args, info: &ModelInfo, export: &mut Export) -> anyhow::Result<bool> {
    let is_quiet = args.json;
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
            let (text, sequences, length, started) = (given_text(args)?, *sequences, *length, Instant::now());
            events.extend(session.ask(Request::Score { text, sequences, length, super_weights, resume: false }).await?);
            export.measured.push(figure("score", started, "all sequences, kernels compiled and weights' norms read within"));
        }
        Command::Prune(asked) => events.extend(prune::run(session, asked).await?),
        Command::Sweep(asked) => events.extend(sweep::run(session, asked, info).await?),
        Command::Deletions(asked) => events.extend(deletions::run(session, asked, info).await?),
        Command::Surround(asked) => events.extend(surround::run(session, asked, given_text(args)?).await?),
        Command::Training(_) | Command::Check(_) | Command::Models { .. } | Command::Repeat(_) | Command::Report(_) => {
            bail!("this command has a run of its own")
        }
        Command::Importance(_)
        | Command::Propagation(_)
        | Command::Scaling(_)
        | Command::TokenShift(_)
        | Command::ActivationQuantisation(_)
        | Command::WeightQuantisation(_)
        | Command::WeightsOnly(_)
        | Command::Sinks(_) => {
            let (kind, asked) = args.command.experiment().context("one of the experiments")?;
            events.extend(experiment::run(session, kind, asked, info).await?);
        }
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

/// Adds the events' results to the export. Returns whether a candidate was confirmed; `None` without a confirmation.
fn collect(events: Vec<Event>, export: &mut Export) -> Option<bool> {
    for event in events {
        match event {
            Event::Scanned(scan) => export.scan = Some(scan),
            Event::Confirmed(confirm) => export.confirm = Some(confirm),
            Event::Evaluated { pane, evaluation } => export.evaluations.push((pane, evaluation)),
            Event::Generated(run) => export.run = Some(run),
            Event::Applied { pruned, .. } => export.pruned = pruned,
            Event::Scored(scores) => export.scores = Some(scores),
            Event::Measured { figures } => export.measured.extend(figures),
            Event::Surrounded(surroundings) => export.surroundings = Some(surroundings),
            Event::Swept(sweep) => export.sweep = Some(sweep),
            Event::Deleted(deletions) => export.deletions = Some(deletions),
            Event::Outcome(outcome) if !outcome.is_partial => export.outcomes.push(outcome),
            _ => {}
        }
    }
    export.confirm.as_ref().map(|confirm| confirm.verdicts.iter().any(|verdict| verdict.confirmed))
}

/// Measures the engine's figures, preceded by the times of a fresh start.
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
