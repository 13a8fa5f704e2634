//! The helpers of a page's engine on the CPU: further workers with the engine's own script, to which it hands its model,
//! and with which it shares the arms of a job.
//!
//! A browser's worker has one thread, and shared memory would need headers that a static folder cannot send; so each
//! helper has its own copy of the weights. It gets them from the engine's memory, through files that the browser holds
//! ([`crate::loading::hand_over`]): nothing is downloaded again, whatever the source. It is used once it has computed the
//! same sums as the engine, to the bit, for the beginning of a text. A helper that fails costs only time: its pieces are
//! measured by others, and the page is told.

mod helper;

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use helper::{Helper, Shared, Stage, start};

use super::error::EngineError;
use super::{Engine, Loaded};
use crate::analysis::deal;
use crate::analysis::eval;
use crate::analysis::many::{Crew, Heard, OWN};
use crate::analysis::prefix::{self, Prefixes};
use crate::job::control::Control;
use crate::loading::LoadingError;
use crate::loading::hand_over::hand_over;
use crate::model::probe::Probe;
use crate::platform::{self, Machine, Output};
use crate::protocol::{Event, Request};
use crate::terms::{Ablation, Change, Help, HelperText, ModelSource, Piece, Sharing};

/// The most workers by default; a visitor may choose more.
const USUAL: usize = 4;
/// The share of the machine's memory that helpers take by default.
const SHARE_OF_MEMORY: u64 = 8;
/// The bytes that helpers take by default if the browser does not tell the machine's memory.
const OF_UNKNOWN_MEMORY: u64 = 512 << 20;
/// Tokens of the text that a new helper is compared with the engine on.
const CHECK_TOKENS: usize = 16;
/// See [`crate::analysis::many::Bench::patience`].
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The helpers of the loaded model.
pub(super) struct Helpers {
    control: Control,
    /// The number of workers that the visitor chose, this one included.
    chosen: Option<usize>,
    list: Vec<Rc<Helper>>,
    /// The number of the helper that was started last.
    last_number: deal::Worker,
    shared: Rc<Shared>,
    /// The files of the model, until every helper has read them.
    handed: Option<Output>,
    /// Helpers that were lost; the page knows of `told_lost`.
    lost: usize,
    told_lost: usize,
}

/// Returns how the arms of a model can be shared on this machine; `None` natively, and for a model on a GPU.
fn limits(loaded: &Loaded) -> Option<(Machine, u64)> {
    let machine = platform::machine().filter(|_| loaded.info.backend.kind == "cpu")?;
    // An arm copies the matrices that it changes, at most all of them.
    Some((machine, 2 * loaded.info.weight_bytes + prefix::LIMIT))
}

/// The number of workers that a machine uses unless the visitor chooses another: half of its processors, but 2 of 2, as
/// long as the helpers take little of its memory.
fn usual(machine: Machine, helper_bytes: u64) -> usize {
    let budget = machine.memory.map_or(OF_UNKNOWN_MEMORY, |memory| memory / SHARE_OF_MEMORY);
    let by_memory = 1 + usize::try_from(budget / helper_bytes.max(1)).unwrap_or(usize::MAX - 1);
    (machine.processors / 2).clamp(2, USUAL).min(machine.processors).min(by_memory)
}

impl Engine {
    /// Answers [`Request::UseWorkers`].
    pub(super) fn use_workers(&mut self, workers: usize) -> Result<(), EngineError> {
        let loaded = self.loaded.as_ref().ok_or(EngineError::NotLoaded)?;
        self.helpers.choose(workers, loaded);
        self.helpers.tell(loaded);
        Ok(())
    }
}

impl Helpers {
    pub(super) fn new(control: Control) -> Self {
        Self { control, chosen: None, list: Vec::new(), last_number: OWN, shared: Rc::default(), handed: None, lost: 0, told_lost: 0 }
    }

    /// Sets the number of workers, this one included. Helpers that are not needed end at once; the others start with the
    /// next job.
    fn choose(&mut self, workers: usize, loaded: &Loaded) {
        self.chosen = Some(workers.max(1));
        // Those that failed may be tried again.
        self.list.retain(|helper| helper.stage.get() != Stage::Lost);
        (self.lost, self.told_lost) = (0, 0);
        if let Some(sharing) = self.sharing(loaded) {
            self.list.truncate(sharing.workers - 1);
        }
    }

    /// Ends all helpers, because their model is dropped.
    pub(super) fn dismiss(&mut self) {
        (self.list, self.handed, self.lost, self.told_lost) = (Vec::new(), None, 0, 0);
    }

    /// Tells the page how the arms of this model are shared.
    pub(super) fn tell(&self, loaded: &Loaded) {
        if let Some(sharing) = self.sharing(loaded) {
            self.control.emit(Event::Sharing(sharing));
        }
    }

    fn sharing(&self, loaded: &Loaded) -> Option<Sharing> {
        let (machine, helper_bytes) = limits(loaded)?;
        let workers = self.chosen.unwrap_or_else(|| usual(machine, helper_bytes)).clamp(1, machine.processors.max(1));
        Some(Sharing { workers, most: machine.processors.max(1), helper_bytes, lost: self.lost })
    }

    /// Prepares a job on the held-out text: starts the helpers that are missing, and gives the text to all. Probabilities on
    /// stopwords and means of channels are passed on if the job needs them.
    ///
    /// # Errors
    ///
    /// A failing device, or a stop. If a helper cannot be started, the job has fewer of them.
    pub(super) async fn begin(&mut self, loaded: &Loaded, with_stopwords: bool, means: Option<&[Vec<f32>]>) -> Result<(), EngineError> {
        let text = &loaded.held_out;
        self.settle();
        let Some(sharing) = self.sharing(loaded).filter(|sharing| sharing.workers > 1) else { return Ok(()) };
        let stopword_ids = if with_stopwords { text.stopword_ids.clone() } else { Vec::new() };
        let read = Help::Read(HelperText { passages: text.passages.clone(), stopword_ids, means: means.map(<[_]>::to_vec) });
        for helper in self.list.iter().filter(|helper| helper.stage.get() != Stage::Lost) {
            helper.send(Request::Help(read.clone()));
            helper.arm.set(None);
            if helper.stage.get() == Stage::Ready {
                self.shared.push(Heard::Ready(helper.number));
            }
        }
        let first = self.list.len();
        let missing = (sharing.workers - 1).saturating_sub(first);
        if missing == 0 {
            return Ok(());
        }
        // They start while the files are written.
        self.list.extend((1..=missing).map(|n| start(self.last_number + n, &self.shared)));
        self.last_number += missing;
        match self.introduce(first, loaded, &read).await {
            // Without the files nobody can help, but the work can be done.
            Err(EngineError::Loading(LoadingError::Platform(why))) => {
                self.list[first..].iter().for_each(|helper| helper.lose(&self.shared, &why.to_string()));
                Ok(())
            }
            // A helper that knows nothing is of no use.
            introduced => introduced.inspect_err(|_| self.list.truncate(first)),
        }
    }

    /// Hands the model to the helpers from `first` on, with the beginning of a text to be checked on, and the job's text.
    async fn introduce(&mut self, first: usize, loaded: &Loaded, read: &Help) -> Result<(), EngineError> {
        let Help::Read(HelperText { passages, .. }) = read else { return Ok(()) };
        let ids = passages.first().map(|ids| ids[..ids.len().min(CHECK_TOKENS)].to_vec()).unwrap_or_default();
        let output = Output::new(None).map_err(LoadingError::from)?;
        let files = hand_over(&loaded.config_json, &loaded.tensors, &output, &self.control).await?;
        let expected = eval::passage(&loaded.intact, &ids, None, &mut Probe::empty(), &mut Prefixes::none()).await?;
        let check = Help::Read(HelperText { passages: vec![ids], ..HelperText::default() });
        let change = Some(Change::Edit(Ablation::default()));
        for helper in &self.list[first..] {
            helper.send(Request::Help(Help::Join { source: ModelSource::Files(files.clone()) }));
            helper.send(Request::Help(check.clone()));
            let id = helper.send(Request::Help(Help::Measure { piece: Piece { arm: 0, passage: 0 }, change: change.clone() }));
            if helper.stage.get() == Stage::New {
                helper.stage.set(Stage::Checking(id, expected));
            }
            helper.send(Request::Help(read.clone()));
        }
        self.handed = Some(output);
        Ok(())
    }

    /// Takes in what was heard between two jobs.
    fn settle(&mut self) {
        while self.poll_heard(&mut Context::from_waker(Waker::noop())).is_ready() {}
    }

    /// Ends a job: pieces that are no longer needed are dropped, and the page is told if helpers were lost.
    pub(super) fn end(&mut self, loaded: &Loaded) {
        self.settle();
        for helper in &self.list {
            if !std::mem::take(&mut *helper.asked.borrow_mut()).is_empty() {
                helper.send(Request::Stop);
            }
        }
        if self.lost != self.told_lost {
            self.told_lost = self.lost;
            self.tell(loaded);
        }
    }
}

impl Crew for Helpers {
    fn n_helpers(&self) -> usize {
        self.list.iter().filter(|helper| helper.stage.get() != Stage::Lost).count()
    }

    fn poll_heard(&mut self, context: &mut Context<'_>) -> Poll<Heard> {
        let Some(heard) = self.shared.heard.borrow_mut().pop_front() else {
            self.shared.waker.set(Some(context.waker().clone()));
            return Poll::Pending;
        };
        if let Heard::Lost(number) = heard {
            for helper in self.list.iter().filter(|helper| helper.number == number) {
                helper.worker.take();
            }
            self.lost += 1;
        }
        // Once all have read the files, or never will, the browser need not hold them.
        if self.list.iter().all(|helper| matches!(helper.stage.get(), Stage::Ready | Stage::Lost)) {
            self.handed = None;
        }
        Poll::Ready(heard)
    }

    fn ask(&mut self, helper: deal::Worker, piece: Piece, change: &Change) {
        let Some(helper) = self.list.iter().find(|known| known.number == helper) else { return };
        let is_known = helper.arm.replace(Some(piece.arm)) == Some(piece.arm);
        let id = helper.send(Request::Help(Help::Measure { piece, change: (!is_known).then(|| change.clone()) }));
        helper.asked.borrow_mut().insert(id, piece);
    }

    fn give_up(&mut self, helper: deal::Worker) {
        if let Some(helper) = self.list.iter().find(|known| known.number == helper) {
            helper.lose(&self.shared, "it does not answer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_workers_are_usual_where_memory_is_short() {
        const MIB: u64 = 1 << 20;
        let of = |processors, memory: Option<u64>, helper_bytes| {
            usual(Machine { processors, memory: memory.map(|gibibytes| gibibytes * 1024 * MIB) }, helper_bytes * MIB)
        };
        assert_eq!([1, 2, 3, 4, 8, 64].map(|processors| of(processors, Some(8), 170)), [1, 2, 2, 2, 4, 4]);
        assert_eq!([1, 2, 4, 8].map(|memory| of(8, Some(memory), 170)), [1, 2, 4, 4]);
        assert_eq!(of(8, None, 170), 4);
        // SmolLM2-135M and a model of 360 million parameters, in f32.
        assert_eq!([1_100, 2_900].map(|helper_bytes| of(16, Some(8), helper_bytes)), [1, 1]);
    }
}
