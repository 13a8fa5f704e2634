//! The link between a long job and its requester: a stop flag, events, and turns for waiting messages.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use web_time::Instant;

use super::Stopped;
use crate::platform;
use crate::protocol::{Event, Progress};
use crate::terms::Message;

/// The longest time without a turn. A worker receives "stop" only between turns.
const TURN: Duration = Duration::from_millis(15);
/// The shortest time between two updates of a progress bar.
const PROGRESS: Duration = Duration::from_millis(100);

/// State shared by everything that runs for one engine.
#[derive(Clone)]
pub struct Control {
    stop: Arc<AtomicBool>,
    /// Set once, for this request and all later ones.
    interrupted: Arc<AtomicBool>,
    sink: Rc<dyn Fn(Event)>,
    last_turn: Rc<Cell<Instant>>,
    last_progress: Rc<Cell<Option<Instant>>>,
    /// Waker of the work that a stop ends ([`Self::unless_stopped`]).
    waiting: Rc<Cell<Option<Waker>>>,
}

impl Control {
    pub fn new(sink: impl Fn(Event) + 'static) -> Self {
        Self {
            stop: Arc::default(),
            interrupted: Arc::default(),
            sink: Rc::new(sink),
            last_turn: Rc::new(Cell::new(Instant::now())),
            last_progress: Rc::default(),
            waiting: Rc::default(),
        }
    }

    /// A control that drops events and never stops.
    pub fn silent() -> Self {
        Self::new(|_event| {})
    }

    pub fn emit(&self, event: Event) {
        (self.sink)(event);
    }

    /// Reports progress at most ten times a second; the end is always reported.
    pub fn progress(&self, doing: impl Into<Message>, done: f64, total: f64, unit: &str) {
        let is_due = self.last_progress.get().is_none_or(|last| last.elapsed() >= PROGRESS);
        if is_due || done >= total {
            self.last_progress.set(Some(Instant::now()));
            self.emit(Event::Progress(Progress { doing: doing.into(), done, total, unit: unit.into() }));
        }
    }

    /// Gives waiting messages a turn at regular intervals.
    ///
    /// # Errors
    ///
    /// [`Stopped`] once a stop was requested.
    pub async fn checkpoint(&self) -> Result<(), Stopped> {
        if self.last_turn.get().elapsed() >= TURN {
            platform::yield_now().await;
            self.last_turn.set(Instant::now());
        }
        if self.is_stopped() { Err(Stopped) } else { Ok(()) }
    }

    fn is_stopped(&self) -> bool {
        [&self.stop, &self.interrupted].iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// A flag that stops this request and all later ones at their next step, to be set by another thread or a signal.
    pub fn interruption(&self) -> Arc<AtomicBool> {
        self.interrupted.clone()
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for external work (a server, a disk), and drops it as soon as a stop is requested.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if self.is_stopped() {
                return Poll::Ready(Err(Stopped));
            }
            let done = work.as_mut().poll(context);
            if done.is_pending() {
                self.waiting.set(Some(context.waker().clone()));
            }
            done.map(Ok)
        })
        .await
    }

    /// Waits like [`Self::unless_stopped`], at most for `limit`: then the result is `None`.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<Option<T>, Stopped> {
        let (mut work, mut clock) = (pin!(work), pin!(platform::sleep(limit)));
        let first = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => clock.as_mut().poll(context).map(|()| None),
        });
        self.unless_stopped(first).await
    }

    /// Clears an earlier stop; called at the start of each request.
    pub fn clear_stop(&self) {
        self.stop.store(false, Ordering::Relaxed);
    }
}
