//! Measures many changed models on one text, alone or together with helpers.
//!
//! The caller describes each arm by its change and gets the totals in the arms' order, whoever measured the parts.
//! They are equal to the bit with any number of helpers: each passage runs the same operations on the same values, and
//! the passages' sums are added up in the text's order. A helper that fails, or never answers, costs only time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use burn::tensor::Tensor;
use web_time::Instant;

use super::change::changed;
use super::deal::{Deal, Worker};
use super::error::AnalysisError;
use super::eval::{self, HeldOut, Totals};
use super::prefix::Prefixes;
use crate::job::control::Control;
use crate::model::Model;
use crate::model::probe::Probe;
use crate::terms::{Change, PassageSums, Piece};

/// Pieces that a helper has at once: one that it measures, and one for when it is done, since it is heard only between
/// two passages of this worker.
const PIECES_OF_HELPER: usize = 2;
/// This worker, among those of a [`Deal`]. Helpers have the numbers after it.
pub const OWN: Worker = 0;

/// News of a helper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Heard {
    /// It has the same model and the text of this job.
    Ready(Worker),
    Measured(Worker, Piece, PassageSums),
    /// It takes no more pieces.
    Lost(Worker),
}

/// The helpers of a job, which have its model and its text, or will have them.
pub trait Crew {
    /// Number of helpers that take pieces, or will take them.
    fn n_helpers(&self) -> usize;
    fn poll_heard(&mut self, context: &mut Context<'_>) -> Poll<Heard>;
    /// Hands a piece to a helper that is ready.
    fn ask(&mut self, helper: Worker, piece: Piece, change: &Change);
    /// Ends a helper that does not answer.
    fn give_up(&mut self, helper: Worker);
}

/// The model, the text and the workers of a job.
pub struct Bench<'a> {
    pub model: &'a Model,
    pub text: &'a HeldOut,
    /// The mean of every channel of every layer, for changes that need it.
    pub means: Option<&'a [Vec<f32>]>,
    /// `true` if the probability on stopwords is wanted, too.
    pub with_stopwords: bool,
    pub crew: &'a mut dyn Crew,
    /// The longest time that this worker waits for a helper that it has nothing left to do without, in addition to
    /// four times its own longest passage.
    pub patience: Duration,
    pub control: &'a Control,
}

/// A job: arms on one text, in one or several runs.
pub struct Many<'a> {
    bench: Bench<'a>,
    mask: Option<Tensor<1>>,
    prefixes: Prefixes,
    deal: Deal,
    /// The changes of the arms that are being measured.
    changes: BTreeMap<usize, Change>,
    /// The changed model of this worker's last piece.
    current: Option<(usize, Model)>,
    ready: BTreeSet<Worker>,
    /// Arms of this and earlier runs.
    n_arms: usize,
    /// Positions measured so far, of all arms.
    n_tokens: usize,
    longest: Duration,
}

impl<'a> Many<'a> {
    pub fn new(bench: Bench<'a>) -> Self {
        Self {
            mask: bench.with_stopwords.then(|| eval::stopword_mask(bench.model, &bench.text.stopword_ids)),
            prefixes: Prefixes::default(),
            deal: Deal::new(bench.text.passages.len()),
            changes: BTreeMap::new(),
            current: None,
            ready: BTreeSet::new(),
            n_arms: 0,
            n_tokens: 0,
            longest: Duration::ZERO,
            bench,
        }
    }

    /// Measures `n` arms. `change` describes an arm by its index when its turn comes; without a change there is
    /// nothing to measure, and its totals are `None`. `tell` gets the totals in the arms' order. `progress` gets the
    /// number of arms told and the positions measured, of this and earlier runs.
    ///
    /// # Errors
    ///
    /// A failing device, a stop, or an error of `change` or `tell`.
    pub async fn run<E: From<AnalysisError>>(
        &mut self,
        n: usize,
        mut change: impl AsyncFnMut(usize) -> Result<Option<Change>, E>,
        mut tell: impl FnMut(usize, Option<Totals>) -> Result<(), E>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<(), E> {
        let first = self.n_arms;
        let (mut begun, mut told) = (0, 0);
        loop {
            self.listen();
            while let Some(passages) = self.deal.take(first + told) {
                let is_measured = self.changes.remove(&(first + told)).is_some();
                self.current.take_if(|(arm, _)| *arm == first + told);
                tell(told, is_measured.then(|| Totals::of(&passages)))?;
                told += 1;
            }
            if told == n {
                return Ok(());
            }
            // Helpers may be ahead by one arm each. Alone, an arm is begun when the one before is complete.
            while begun < n && begun - told <= self.bench.crew.n_helpers() {
                let change = change(begun).await?;
                self.deal.open(first + begun, change.is_some());
                self.changes.extend(change.map(|change| (first + begun, change)));
                (begun, self.n_arms) = (begun + 1, first + begun + 1);
            }
            self.hand_out();
            match self.deal.next(OWN).or_else(|| self.deal.spare(OWN)) {
                Some(piece) => self.measure(piece).await?,
                None if self.deal.holders().is_empty() => {}
                None => self.wait().await?,
            }
            progress(first + told, self.n_tokens);
            self.bench.control.checkpoint().await.map_err(AnalysisError::from)?;
        }
    }

    /// Measures a piece here.
    async fn measure(&mut self, piece: Piece) -> Result<(), AnalysisError> {
        let Bench { model, text, means, .. } = &self.bench;
        let began = Instant::now();
        if self.current.as_ref().is_none_or(|(arm, _)| *arm != piece.arm) {
            // The model before is dropped first, so that there is never a second one.
            self.current = None;
            let model = changed(model, &self.changes[&piece.arm], *means)?;
            self.current = Some((piece.arm, model));
        }
        let Some((_, model)) = &self.current else { return Ok(()) };
        let (ids, mask) = (&text.passages[piece.passage], self.mask.as_ref());
        let sums = eval::passage(model, ids, mask, &mut Probe::empty(), &mut self.prefixes).await?;
        self.longest = self.longest.max(began.elapsed());
        self.done(OWN, piece, sums);
        Ok(())
    }

    fn done(&mut self, worker: Worker, piece: Piece, sums: PassageSums) {
        if self.deal.done(worker, piece, sums) {
            self.n_tokens += sums.n_tokens;
        }
    }

    /// Takes in what was heard since the last time.
    fn listen(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(heard) = self.bench.crew.poll_heard(&mut context) {
            self.take_in(heard);
        }
    }

    fn take_in(&mut self, heard: Heard) {
        match heard {
            Heard::Ready(helper) => drop(self.ready.insert(helper)),
            Heard::Measured(helper, piece, sums) => self.done(helper, piece, sums),
            Heard::Lost(helper) => {
                self.ready.remove(&helper);
                self.deal.lost(helper);
            }
        }
    }

    fn hand_out(&mut self) {
        for helper in &self.ready {
            while self.deal.n_held(*helper) < PIECES_OF_HELPER {
                let Some(piece) = self.deal.next(*helper) else { break };
                self.bench.crew.ask(*helper, piece, &self.changes[&piece.arm]);
            }
        }
    }

    /// Waits for the helpers that have the last pieces. Those that stay silent for long are given up.
    async fn wait(&mut self) -> Result<(), AnalysisError> {
        let limit = self.bench.patience + 4 * self.longest;
        let crew = &mut self.bench.crew;
        match self.bench.control.within(limit, poll_fn(|context| crew.poll_heard(context))).await? {
            Some(heard) => self.take_in(heard),
            None => {
                for helper in self.deal.holders() {
                    self.bench.crew.give_up(helper);
                    self.take_in(Heard::Lost(helper));
                }
            }
        }
        Ok(())
    }
}
