//! The engine of one run of the command, and the events of its requests.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use thiserror::Error;

use super::model::Found;
use super::options::Options;
use super::print;
use crate::engine::{self, Engine};
use crate::job::control::Control;
use crate::language::{self, FailureWords};
use crate::protocol::{Event, Export, Figure, Request};
use crate::terms::{CalibrationText, Evaluation, Failure, ModelInfo, Pane, text_digest};

/// A request that is out of its range for the model.
#[derive(Debug, Error)]
#[error("{}", in_words(.0))]
struct OutOfRange(Failure);

/// A failure with the engine's text.
#[derive(Debug, Error)]
#[error("{}", in_words(.0))]
struct Refused(Failure);

fn in_words(failure: &Failure) -> String {
    let FailureWords { problem, reason, next_step } = language::failure(failure);
    format!("{problem}: {reason}\n{next_step}")
}

/// The exit code after an interruption, as shells have it for SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// A function that sees events as they arrive.
type Watcher = Box<dyn FnMut(&Event)>;

/// The engine, and a buffer for its events.
pub struct Session {
    /// If `true`, only the result is printed.
    pub is_quiet: bool,
    engine: Engine,
    control: Control,
    events: Rc<RefCell<Vec<Event>>>,
    watcher: Rc<RefCell<Option<Watcher>>>,
    started: Instant,
    /// The digest of the text that loss is measured on.
    pub text_digest: String,
}

impl Session {
    /// A session without a model.
    pub fn new(is_quiet: bool) -> Self {
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

    /// Makes Ctrl-C and a request to end (SIGTERM) stop the work at its next step. A second one ends the program at once.
    ///
    /// # Errors
    ///
    /// A system without such signals.
    pub fn stop_on_signal(&self) -> anyhow::Result<()> {
        let interrupted = self.control.interruption();
        for signal in [SIGINT, SIGTERM] {
            // The first signal finds the flag unset, and sets it.
            let registered = flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, interrupted.clone());
            registered.and_then(|_| flag::register(signal, interrupted.clone())).context("cannot listen for Ctrl-C")?;
        }
        Ok(())
    }

    /// Returns `true` once the work was stopped by a signal.
    pub fn is_interrupted(&self) -> bool {
        self.control.is_interrupted()
    }

    /// The time since the engine was created.
    pub fn since_start(&self, name: &str, of: &str) -> Figure {
        figure(name, self.started, of)
    }

    /// Sends a request and returns its events.
    ///
    /// # Errors
    ///
    /// The engine's failure, with its text.
    pub async fn ask(&mut self, request: Request) -> anyhow::Result<Vec<Event>> {
        self.engine.handle(request).await;
        let events = self.events.take();
        match events.last() {
            Some(Event::Failed(failure)) => Err(Refused(failure.clone()).into()),
            _ => Ok(events),
        }
    }

    /// Like [`Self::ask`], but shows each event to a watcher as it arrives; if the watcher fails, the request is
    /// stopped.
    ///
    /// # Errors
    ///
    /// The engine's failure, or the watcher's.
    pub async fn watch(
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

    /// Measures the intact model on the held-out text.
    ///
    /// # Errors
    ///
    /// The engine's failure.
    pub async fn intact(&mut self) -> anyhow::Result<Evaluation> {
        let events = self.ask(Request::Evaluate).await?;
        let found = events.into_iter().find_map(|event| match event {
            Event::Evaluated { pane: Pane::Intact, evaluation } => Some(evaluation),
            _ => None,
        });
        found.context("the engine sent no evaluation")
    }

    /// Loads a model, and measures it on `text`, or, if that is `None`, on the bundled text. The requests `ahead` are
    /// checked against the model's sizes as soon as its headers are read.
    ///
    /// # Errors
    ///
    /// The engine's failure, or a request out of its range, for which no weights are read.
    pub async fn load(
        &mut self,
        options: &Options,
        found: Found,
        text: Option<CalibrationText>,
        ahead: &[Request],
    ) -> anyhow::Result<ModelInfo> {
        let ahead = ahead.to_vec();
        let check = move |event: &Event| match event {
            Event::Inspected(of) => {
                let checked = ahead.iter().try_for_each(|request| request.check(&of.sizes));
                Ok(checked.map_err(|error| OutOfRange(engine::refusal(error)))?)
            }
            _ => Ok(()),
        };
        let load = Request::Load { id: found.id.clone(), source: found.source.clone(), backend: options.device.into(), bos: options.bos() };
        let events = self.watch(load, check).await.map_err(|error| match error.downcast_ref() {
            Some(Refused(failure)) => found.explain(&failure.clone(), error),
            None => error,
        })?;
        let info = events.into_iter().find_map(|event| if let Event::Loaded(info) = event { Some(info) } else { None });
        let info = info.context("the engine loaded no model")?;
        if !self.is_quiet {
            found.report(&info.provenance);
        }
        if let Some(CalibrationText { name, text }) = text {
            self.text_digest = text_digest(&text);
            self.ask(Request::UseText { name, text, max_tokens: options.max_tokens }).await?;
        }
        Ok(info)
    }
}

/// The time since `since`, in milliseconds, as a figure.
pub fn figure(name: &str, since: Instant, of: &str) -> Figure {
    let value = Some(since.elapsed().as_secs_f64() * 1e3);
    Figure { name: name.into(), value, unit: "ms".into(), of: of.into(), missing: None }
}

/// Puts the results of events into the export. Returns `true` if something was confirmed, `None` if that was not
/// tried.
pub fn collect(events: Vec<Event>, export: &mut Export) -> Option<bool> {
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
