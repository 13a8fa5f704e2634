//! Deals out pieces of work, each one passage through one changed model, to several workers.
//!
//! A worker keeps the residual streams of the passages that it has measured ([`super::prefix`]), so it gets the same
//! passages of every arm, first the passages that nobody has had, and takes another worker's only when its own are
//! done. Arms are handed out in their order. A piece that a worker holds may be given to another as well, and the first
//! result counts: whoever measures it, it is the same.

use std::collections::BTreeMap;

use crate::terms::{PassageSums, Piece};

/// The number of a worker.
pub type Worker = usize;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Waiting,
    Out,
    Done(PassageSums),
}

/// The pieces of a job on one text.
#[derive(Debug)]
pub struct Deal {
    /// The arms that were begun and whose result was not taken yet, with the state of each passage.
    arms: BTreeMap<usize, Vec<State>>,
    /// The worker that had each passage last.
    home: Vec<Option<Worker>>,
    /// The pieces that each worker has and has not answered, in the order in which it got them.
    held: BTreeMap<Worker, Vec<Piece>>,
}

impl Deal {
    /// A job on a text of so many passages.
    pub fn new(n_passages: usize) -> Self {
        Self { arms: BTreeMap::new(), home: vec![None; n_passages], held: BTreeMap::new() }
    }

    /// Begins an arm; if it needs no measurement, it is complete at once.
    pub fn open(&mut self, arm: usize, needs_measurement: bool) {
        self.arms.insert(arm, if needs_measurement { vec![State::Waiting; self.home.len()] } else { Vec::new() });
    }

    /// Gives a worker its next piece; `None` if nobody waits for one.
    pub fn next(&mut self, worker: Worker) -> Option<Piece> {
        let waiting = |is: &dyn Fn(Option<Worker>) -> bool, from_end: bool| {
            self.arms.iter().find_map(|(arm, states)| {
                let mut fitting = (0..states.len()).filter(|at| states[*at] == State::Waiting && is(self.home[*at]));
                let passage = if from_end { fitting.next_back() } else { fitting.next() };
                Some(Piece { arm: *arm, passage: passage? })
            })
        };
        // Another worker takes its own passages from the first on, so the last is the one that it comes to latest.
        let piece = waiting(&|home| home.is_none_or(|home| home == worker), false).or_else(|| waiting(&|_| true, true))?;
        self.home[piece.passage] = Some(worker);
        self.give(piece, worker);
        Some(piece)
    }

    /// Gives an idle worker a piece that another worker has not begun yet, because it holds an earlier one.
    pub fn spare(&mut self, worker: Worker) -> Option<Piece> {
        let mine = self.held.get(&worker).cloned().unwrap_or_default();
        let others = self.held.iter().filter(|(other, pieces)| **other != worker && pieces.len() > 1);
        let piece =
            others.flat_map(|(_, pieces)| pieces[1..].iter().rev()).find(|piece| !mine.contains(piece) && self.is_out(**piece)).copied()?;
        self.give(piece, worker);
        Some(piece)
    }

    /// Notes a result, and returns `true` if it is the piece's first.
    pub fn done(&mut self, worker: Worker, piece: Piece, sums: PassageSums) -> bool {
        if let Some(pieces) = self.held.get_mut(&worker) {
            pieces.retain(|held| *held != piece);
        }
        let is_first = self.is_out(piece);
        if let Some(state) = self.state(piece).filter(|_| is_first) {
            *state = State::Done(sums);
        }
        is_first
    }

    /// Puts the pieces of a worker that is gone back, unless another has them, too.
    pub fn lost(&mut self, worker: Worker) {
        let pieces = self.held.remove(&worker).unwrap_or_default();
        self.home.iter_mut().for_each(|home| *home = home.filter(|home| *home != worker));
        for piece in pieces {
            let is_held = self.held.values().flatten().any(|held| *held == piece);
            if let Some(state) = self.state(piece).filter(|state| **state == State::Out && !is_held) {
                *state = State::Waiting;
            }
        }
    }

    /// The number of pieces that a worker has not answered.
    pub fn n_held(&self, worker: Worker) -> usize {
        self.held.get(&worker).map_or(0, Vec::len)
    }

    /// The workers that hold pieces.
    pub fn holders(&self) -> Vec<Worker> {
        self.held.iter().filter(|(_, pieces)| !pieces.is_empty()).map(|(worker, _)| *worker).collect()
    }

    /// Takes the result of a complete arm: the sums of each passage.
    pub fn take(&mut self, arm: usize) -> Option<Vec<PassageSums>> {
        let done = |state: &State| if let State::Done(sums) = state { Some(*sums) } else { None };
        let sums = self.arms.get(&arm)?.iter().map(done).collect::<Option<Vec<_>>>()?;
        self.arms.remove(&arm);
        Some(sums)
    }

    fn give(&mut self, piece: Piece, worker: Worker) {
        self.held.entry(worker).or_default().push(piece);
        if let Some(state) = self.state(piece) {
            *state = State::Out;
        }
    }

    fn state(&mut self, piece: Piece) -> Option<&mut State> {
        self.arms.get_mut(&piece.arm)?.get_mut(piece.passage)
    }

    fn is_out(&self, piece: Piece) -> bool {
        self.arms.get(&piece.arm).and_then(|states| states.get(piece.passage)) == Some(&State::Out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(arm: usize, passage: usize) -> Piece {
        Piece { arm, passage }
    }

    fn sums(loss_nats: f64) -> PassageSums {
        PassageSums { loss_nats, stopwords: 0.0, n_tokens: 1 }
    }

    fn with_arms(n_passages: usize, n_arms: usize) -> Deal {
        let mut deal = Deal::new(n_passages);
        (0..n_arms).for_each(|arm| deal.open(arm, true));
        deal
    }

    #[test]
    fn worker_alone_gets_arm_after_arm_in_the_order_of_the_text() {
        let mut deal = with_arms(2, 2);
        let all = std::iter::from_fn(|| deal.next(0)).collect::<Vec<_>>();
        assert_eq!(all, [piece(0, 0), piece(0, 1), piece(1, 0), piece(1, 1)]);
    }

    #[test]
    fn workers_get_the_same_passages_of_every_arm() {
        let mut deal = with_arms(4, 2);
        let turns = [0, 1, 1, 0, 1, 0, 0, 1].map(|worker| (worker, deal.next(worker).unwrap()));
        let of = |worker: Worker, arm: usize| {
            let mut passages =
                turns.iter().filter(|(of, piece)| (*of, piece.arm) == (worker, arm)).map(|(_, piece)| piece.passage).collect::<Vec<_>>();
            passages.sort_unstable();
            passages
        };
        assert_eq!((of(0, 0), of(0, 1)), (vec![0, 3], vec![0, 3]));
        assert_eq!((of(1, 0), of(1, 1)), (vec![1, 2], vec![1, 2]));
        assert_eq!(deal.next(0), None);
    }

    #[test]
    fn worker_without_passages_of_its_own_takes_the_last_of_another() {
        let mut deal = with_arms(3, 1);
        (0..3).for_each(|passage| assert_eq!(deal.next(0), Some(piece(0, passage))));
        deal.open(1, true);
        assert_eq!(deal.next(1), Some(piece(1, 2)));
        deal.open(2, true);
        assert_eq!(deal.next(1), Some(piece(2, 2)), "from now on it is its own");
        assert_eq!(deal.next(0), Some(piece(1, 0)));
    }

    #[test]
    fn results_are_those_of_each_passage_whoever_came_first() {
        let mut deal = with_arms(2, 1);
        assert_eq!((deal.next(0), deal.next(1)), (Some(piece(0, 0)), Some(piece(0, 1))));
        assert!(deal.done(1, piece(0, 1), sums(2.0)));
        assert_eq!(deal.take(0), None);
        assert!(deal.done(0, piece(0, 0), sums(1.0)));
        assert_eq!(deal.take(0), Some(vec![sums(1.0), sums(2.0)]));
        assert_eq!(deal.take(0), None, "it is taken once");
    }

    #[test]
    fn idle_worker_takes_what_another_has_not_begun() {
        let mut deal = with_arms(3, 1);
        (0..3).for_each(|passage| assert_eq!(deal.next(1), Some(piece(0, passage))));
        assert_eq!(deal.spare(0), Some(piece(0, 2)));
        assert_eq!(deal.spare(0), Some(piece(0, 1)));
        assert_eq!(deal.spare(0), None, "the first is under way");
        assert!(deal.done(0, piece(0, 2), sums(2.0)));
        assert!(!deal.done(1, piece(0, 2), sums(2.0)), "the second result is not counted");
        assert_eq!(deal.n_held(1), 2);
    }

    #[test]
    fn units_of_a_lost_worker_go_to_others() {
        let mut deal = with_arms(3, 1);
        assert_eq!((deal.next(1), deal.next(1), deal.next(0)), (Some(piece(0, 0)), Some(piece(0, 1)), Some(piece(0, 2))));
        assert!(deal.done(1, piece(0, 0), sums(1.0)));
        deal.lost(1);
        assert_eq!(deal.holders(), [0]);
        assert_eq!((deal.next(0), deal.next(0)), (Some(piece(0, 1)), None));
        assert!(!deal.done(1, piece(0, 0), sums(9.0)), "its earlier result stays");
    }

    #[test]
    fn arm_without_a_measurement_is_complete_at_once() {
        let mut deal = Deal::new(3);
        deal.open(0, false);
        assert_eq!((deal.next(0), deal.take(0)), (None, Some(Vec::new())));
    }
}
