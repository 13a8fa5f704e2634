//! The page's client of the engine: starts the worker, posts requests, and passes its events to the state.
//!
//! Tokens arrive faster than a screen shows them, so additive events are collected for one frame.

use std::cell::RefCell;
use std::rc::Rc;

use gloo_timers::callback::{Interval, Timeout};
use leptos::prelude::*;
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use crate::protocol::boundary::{from_js, to_js};
use crate::protocol::{Envelope, Event, EventEnvelope};
use crate::terms::{Failure, Message, Problem};
use crate::ui::page::{dom, life};
use crate::ui::state::{AppState, EngineStatus};

/// The worker's script next to index.html; Trunk names it after the worker's binary. A build for visitors puts its
/// exact address, with its hash, in `<meta name="linchpin-engine">`, so that this page never gets another build's
/// engine from the cache.
const WORKER_SCRIPT: &str = "./engine_loader.js";
const WORKER_META: &str = "linchpin-engine";
const READY_TIMEOUT_MS: u32 = 30_000;
const FRAME_MS: u32 = 16;
/// The interval of progress updates, because people read no more than ten figures a second.
const PROGRESS_MS: u32 = 100;
/// The time that an error which ended the worker may take to arrive. It says more than the end alone.
const LAST_WORDS_MS: u32 = 500;
/// The silence of a working engine after which the page mentions it.
const QUIET_MS: u32 = 45_000;

/// A running worker, and the closures that must live as long.
struct Connection {
    worker: Worker,
    /// The lock that the worker holds as long as it lives, once it has told it.
    lock: Option<String>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_error: Closure<dyn FnMut(ErrorEvent)>,
    _on_message_error: Closure<dyn FnMut(MessageEvent)>,
    ready_timeout: Option<Timeout>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

#[derive(Default)]
struct Inner {
    connection: Option<Connection>,
    inbox: Vec<EventEnvelope>,
    flush: Option<Timeout>,
    heard_since_check: bool,
}

/// The client of the engine, cheap to copy; the page has one.
#[derive(Clone, Copy)]
pub struct Client {
    state: RwSignal<AppState>,
    inner: StoredValue<Rc<RefCell<Inner>>, LocalStorage>,
    /// `true` if the engine is working and has been silent for long.
    pub quiet: RwSignal<bool>,
}

impl Client {
    pub fn new(state: RwSignal<AppState>) -> Self {
        let client = Self { state, inner: StoredValue::new_local(Rc::default()), quiet: RwSignal::new(false) };
        Interval::new(QUIET_MS, move || client.check_quiet()).forget();
        client
    }

    /// Changes the state, then posts the requests that the engine can take.
    pub fn act(&self, change: impl FnOnce(&mut AppState)) {
        self.state.update(change);
        self.post_next();
    }

    /// Makes a request that needs the engine, and starts the engine if necessary.
    pub fn ask(&self, change: impl FnOnce(&mut AppState)) {
        if self.state.with_untracked(|state| state.engine.needs_start()) {
            self.start();
        }
        self.act(change);
    }

    pub fn stop(&self) {
        if let Some(Some(message)) = self.state.try_update(AppState::stop) {
            self.post(&message);
        }
    }

    /// Applies a visitor's change of the edits.
    pub fn edit(&self, change: impl FnOnce(&mut AppState)) {
        let stop = self.state.try_update(|state| {
            change(state);
            state.edits_changed()
        });
        if let Some(Some(message)) = stop {
            self.post(&message);
        }
        self.post_next();
    }

    /// Ends the worker, even if it is working, and starts another.
    pub fn restart(&self) {
        self.quiet.set(false);
        self.start();
        self.act(|state| {
            state.failure = None;
            state.engine_restarts();
        });
    }

    fn start(&self) {
        let client = *self;
        self.with_inner(|inner| {
            inner.inbox.clear();
            inner.connection = None;
        });
        self.state.update(|state| state.engine = EngineStatus::Starting);
        match connect(client) {
            Ok(connection) => self.with_inner(|inner| inner.connection = Some(connection)),
            Err(_) => self.died(Failure::new(Problem::EngineNotCreated, "")),
        }
    }

    fn post_next(&self) {
        if let Some(Some(message)) = self.state.try_update(AppState::next_message) {
            self.post(&message);
        }
    }

    fn post(&self, message: &Envelope) {
        let posted = self.with_inner(|inner| match (&inner.connection, to_js(message)) {
            (Some(connection), Ok(value)) => connection.worker.post_message(&value).is_ok(),
            _ => false,
        });
        if !posted {
            self.died(Failure::new(Problem::EngineUnreachable, ""));
        }
    }

    fn receive(&self, data: JsValue) {
        let envelope = match from_js::<EventEnvelope>(data) {
            Ok(envelope) => envelope,
            Err(why) => return self.died(Failure::new(Problem::MessageUnknown, why.to_string())),
        };
        // An additive event can wait for the next frame; every other event is applied at once.
        let waits = matches!(
            envelope.event,
            Event::Token { .. } | Event::Progress(_) | Event::ScoreProgress(_) | Event::SweepPoint(_) | Event::Deletion(_)
        );
        let wait_ms = if matches!(envelope.event, Event::Progress(_)) { PROGRESS_MS } else { FRAME_MS };
        let client = *self;
        self.with_inner(|inner| {
            inner.heard_since_check = true;
            if let (Event::Ready { lock, .. }, Some(connection)) = (&envelope.event, &mut inner.connection) {
                connection.ready_timeout = None;
                connection.lock.clone_from(lock);
                if let Some(lock) = lock.clone() {
                    life::when_ended(&lock.clone(), move || {
                        Timeout::new(LAST_WORDS_MS, move || client.ended(&lock)).forget();
                    });
                }
            }
            inner.inbox.push(envelope);
            if waits && inner.flush.is_none() {
                inner.flush = Some(Timeout::new(wait_ms, move || client.flush()));
            }
        });
        if !waits {
            self.flush();
        }
    }

    /// Applies all events since the last frame, as one change.
    fn flush(&self) {
        let events = self.with_inner(|inner| {
            inner.flush = None;
            std::mem::take(&mut inner.inbox)
        });
        if events.is_empty() {
            return;
        }
        self.quiet.set(false);
        self.act(|state| {
            state.work.now_ms = dom::now_ms();
            events.into_iter().for_each(|event| state.apply(event));
        });
        if self.state.with_untracked(|state| state.engine == EngineStatus::Dead) {
            self.with_inner(|inner| inner.connection = None);
        }
    }

    fn died(&self, failure: Failure) {
        self.flush();
        self.with_inner(|inner| inner.connection = None);
        self.state.update(|state| state.engine_died(failure));
    }

    /// Records that the worker with this lock ended without a word, if it is the present one and the page has not heard of its end
    /// otherwise.
    fn ended(&self, lock: &str) {
        if self.with_inner(|inner| inner.connection.as_ref().is_some_and(|connection| connection.lock.as_deref() == Some(lock))) {
            self.died(Failure { cause: Some(Message::new("ended")), ..Failure::new(Problem::EngineStopped, "") });
        }
    }

    fn check_quiet(&self) {
        let heard = self.with_inner(|inner| std::mem::take(&mut inner.heard_since_check));
        let works = self.state.with_untracked(|state| state.queue.running.is_some());
        self.quiet.set(works && !heard);
    }

    fn with_inner<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        self.inner.with_value(|inner| f(&mut inner.borrow_mut()))
    }
}

fn connect(client: Client) -> Result<Connection, JsValue> {
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    let worker = Worker::new_with_options(&dom::meta(WORKER_META).unwrap_or_else(|| WORKER_SCRIPT.into()), &options)?;
    let on_message = Closure::new(move |event: MessageEvent| client.receive(event.data()));
    worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    let on_error = Closure::new(move |event: ErrorEvent| {
        // If the script could not be downloaded, the event has no message.
        let message = js_sys::Reflect::get(&event, &"message".into()).ok().and_then(|message| message.as_string());
        let failure = Failure::new(Problem::EngineStopped, message.unwrap_or_default());
        // The call is deferred, because it drops the closure that is running along with the connection.
        Timeout::new(0, move || client.died(failure)).forget();
    });
    worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    let on_message_error = Closure::new(move |_: MessageEvent| {
        Timeout::new(0, move || client.died(Failure::new(Problem::MessageDamaged, ""))).forget();
    });
    worker.add_event_listener_with_callback("messageerror", on_message_error.as_ref().unchecked_ref())?;
    let ready_timeout = Timeout::new(READY_TIMEOUT_MS, move || {
        let cause = Message::new("silence").with("seconds", (READY_TIMEOUT_MS / 1000) as usize);
        client.died(Failure { cause: Some(cause), ..Failure::new(Problem::EngineNotStarted, "") });
    });
    Ok(Connection {
        worker,
        lock: None,
        _on_message: on_message,
        _on_error: on_error,
        _on_message_error: on_message_error,
        ready_timeout: Some(ready_timeout),
    })
}
