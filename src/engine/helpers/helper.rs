//! One helper: its worker, and the messages to it and from it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use crate::analysis::deal;
use crate::analysis::many::Heard;
use crate::platform::{self, Worker};
use crate::protocol::{Envelope, Event, EventEnvelope, PROTOCOL_VERSION, Request};
use crate::terms::{PassageSums, Piece};

/// One helper. Its messages change it.
pub(super) struct Helper {
    pub(super) number: deal::Worker,
    pub(super) worker: RefCell<Option<Worker>>,
    pub(super) stage: Cell<Stage>,
    /// Messages that wait until it listens; `None` from then on.
    waiting: RefCell<Option<Vec<Envelope>>>,
    last_id: Cell<u32>,
    /// The requests of this job's pieces that were not answered.
    pub(super) asked: RefCell<BTreeMap<u32, Piece>>,
    /// The arm whose change the helper has.
    pub(super) arm: Cell<Option<usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    New,
    /// The answer to the request with this number must be these sums.
    Checking(u32, PassageSums),
    Ready,
    Lost,
}

/// The news of all helpers, for the job that waits for them.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) heard: RefCell<VecDeque<Heard>>,
    pub(super) waker: Cell<Option<Waker>>,
}

impl Shared {
    pub(super) fn push(&self, heard: Heard) {
        self.heard.borrow_mut().push_back(heard);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Starts a helper. Its messages go to `shared`.
pub(super) fn start(number: deal::Worker, shared: &Rc<Shared>) -> Rc<Helper> {
    let helper = Rc::new(Helper {
        number,
        worker: RefCell::default(),
        stage: Cell::new(Stage::New),
        waiting: RefCell::new(Some(Vec::new())),
        last_id: Cell::new(0),
        asked: RefCell::default(),
        arm: Cell::new(None),
    });
    let (of_worker, shared) = (Rc::downgrade(&helper), shared.clone());
    let hearing = shared.clone();
    let started = Worker::start(move |message| {
        if let Some(helper) = of_worker.upgrade() {
            helper.hear(message, &hearing);
        }
    });
    match started {
        Ok(worker) => drop(helper.worker.replace(Some(worker))),
        Err(why) => helper.lose(&shared, &why),
    }
    helper
}

impl Helper {
    /// Sends a request as soon as the helper listens, and returns its number.
    pub(super) fn send(&self, request: Request) -> u32 {
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        let envelope = Envelope { id, request };
        match &mut *self.waiting.borrow_mut() {
            Some(waiting) => waiting.push(envelope),
            None => self.post(&envelope),
        }
        id
    }

    fn post(&self, envelope: &Envelope) {
        if let Some(worker) = &*self.worker.borrow() {
            // A message that is not posted is never answered, and the helper is given up.
            let _ = worker.post(envelope);
        }
    }

    fn hear(&self, message: Result<EventEnvelope, String>, shared: &Shared) {
        if self.stage.get() == Stage::Lost {
            return;
        }
        let EventEnvelope { id, event } = match message {
            Ok(envelope) => envelope,
            Err(why) => return self.lose(shared, &why),
        };
        match event {
            Event::Ready { protocol_version: PROTOCOL_VERSION, .. } => {
                self.waiting.take().iter().flatten().for_each(|envelope| self.post(envelope));
            }
            Event::Ready { .. } => self.lose(shared, "it is of another version"),
            Event::Failed(failure) => self.lose(shared, &failure.detail),
            Event::Helped(sums) => self.answered(id, sums, shared),
            _ => {}
        }
    }

    fn answered(&self, id: Option<u32>, sums: PassageSums, shared: &Shared) {
        match self.stage.get() {
            Stage::Checking(check, expected) if id == Some(check) => {
                if sums.loss_nats.to_bits() != expected.loss_nats.to_bits() {
                    return self.lose(shared, "its loss is not the engine's");
                }
                self.stage.set(Stage::Ready);
                shared.push(Heard::Ready(self.number));
            }
            // The pieces of earlier jobs are known no more.
            _ => {
                if let Some(piece) = id.and_then(|id| self.asked.borrow_mut().remove(&id)) {
                    shared.push(Heard::Measured(self.number, piece, sums));
                }
            }
        }
    }

    /// Marks a helper as lost. Its worker is ended later, because this may run in the worker's own closure.
    pub(super) fn lose(&self, shared: &Shared, why: &str) {
        if self.stage.replace(Stage::Lost) != Stage::Lost {
            platform::warn(&format!("Helper {} is lost, and others do its share: {why}", self.number));
            shared.push(Heard::Lost(self.number));
        }
    }
}
