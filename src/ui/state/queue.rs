//! The queue of requests to the engine, which runs one at a time.

use std::collections::VecDeque;

use crate::protocol::{Envelope, Request};

/// A request that the engine is working on.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    pub id: u32,
    pub request: Request,
    /// `true` if the visitor, or a newer request, has stopped it.
    pub stopping: bool,
}

/// Requests in order. Pure: the caller posts the envelopes that it returns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queue {
    pub running: Option<Running>,
    waiting: VecDeque<Request>,
    last_id: u32,
}

impl Queue {
    /// Adds a request. It replaces a waiting request of its kind for `Score`, `Apply`, `Evaluate`, `Generate`,
    /// `Inspect`, `Stored` and `UseWorkers`. An `Apply` goes before waiting texts and figures, which depend on it, and a `Score`
    /// before the `Apply` that uses the scores.
    pub fn push(&mut self, request: Request) {
        self.drop_same(&request);
        let is_score = |waiting: &Request| matches!(waiting, Request::Score { .. });
        let is_of_edits = |waiting: &Request| matches!(waiting, Request::Evaluate | Request::Generate { .. });
        let at = match request {
            Request::Score { .. } => self.waiting.iter().position(|waiting| matches!(waiting, Request::Apply { .. })),
            Request::Apply { .. } => {
                let first = self.waiting.iter().position(is_score).map_or(0, |at| at + 1);
                self.waiting.iter().skip(first).position(is_of_edits).map(|at| first + at)
            }
            _ => None,
        };
        self.waiting.insert(at.unwrap_or(self.waiting.len()), request);
    }

    /// Adds a request before all waiting ones.
    pub fn push_first(&mut self, request: Request) {
        self.drop_same(&request);
        self.waiting.push_front(request);
    }

    fn drop_same(&mut self, request: &Request) {
        use Request::{Apply, Evaluate, Generate, Inspect, Score, Stored, UseWorkers};
        let kind = std::mem::discriminant(request);
        if matches!(request, Score { .. } | Apply { .. } | Evaluate | Generate { .. } | Inspect { .. } | Stored | UseWorkers { .. }) {
            self.waiting.retain(|waiting| std::mem::discriminant(waiting) != kind);
        }
    }

    /// The next request to post, if the engine is free.
    pub fn upcoming(&self) -> Option<&Request> {
        self.waiting.front().filter(|_| self.running.is_none())
    }

    /// The next request to post, mutable, if the engine is free.
    pub fn upcoming_mut(&mut self) -> Option<&mut Request> {
        if self.running.is_some() { None } else { self.waiting.front_mut() }
    }

    /// Removes the first waiting request.
    pub fn drop_upcoming(&mut self) {
        self.waiting.pop_front();
    }

    /// The next message to post, if the engine is free. Its request is then running.
    pub fn next(&mut self) -> Option<Envelope> {
        if self.running.is_some() {
            return None;
        }
        let request = self.waiting.pop_front()?;
        let id = self.new_id();
        self.running = Some(Running { id, request: request.clone(), stopping: false });
        Some(Envelope { id, request })
    }

    /// The message that ends the running request; `None` if nothing runs or if it was already sent.
    pub fn stop(&mut self) -> Option<Envelope> {
        match &mut self.running {
            Some(running) if !running.stopping => running.stopping = true,
            _ => return None,
        }
        Some(Envelope { id: self.new_id(), request: Request::Stop })
    }

    /// Ends the request with this number, and returns it if it was running.
    pub fn finish(&mut self, id: Option<u32>) -> Option<Running> {
        self.running.take_if(|running| id.is_none_or(|id| id == running.id))
    }

    /// Clears the queue, because its engine is gone.
    pub fn clear(&mut self) {
        self.running = None;
        self.waiting.clear();
    }

    /// Drops the waiting requests (not the running one), except deletions from the storage.
    pub fn clear_waiting(&mut self) {
        self.waiting.retain(|request| matches!(request, Request::Forget { .. }));
    }

    /// Drops requests that wait for a model that may be gone. A newly chosen model still loads.
    pub fn keep_loads(&mut self) {
        self.waiting.retain(|request| matches!(request, Request::Load { .. } | Request::Forget { .. }));
    }

    /// Returns `true` if a running or waiting request satisfies `is`.
    pub fn any(&self, is: impl Fn(&Request) -> bool) -> bool {
        self.running.as_ref().is_some_and(|running| is(&running.request)) || self.waiting.iter().any(is)
    }

    pub fn runs(&self, is: impl Fn(&Request) -> bool) -> bool {
        self.running.as_ref().is_some_and(|running| is(&running.request))
    }

    fn new_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Ablation;

    #[test]
    fn requests_run_one_at_a_time() {
        let mut queue = Queue::default();
        queue.push(Request::Scan { prompt: "a".into() });
        queue.push(Request::Evaluate);
        let first = queue.next().unwrap();
        assert_eq!(queue.next(), None);
        assert_eq!(queue.finish(Some(first.id + 100)), None, "an event of another request");
        assert_eq!(queue.finish(Some(first.id)).map(|running| running.request), Some(first.request));
        assert_eq!(queue.next().unwrap().request, Request::Evaluate);
    }

    #[test]
    fn only_the_last_apply_is_sent() {
        let mut queue = Queue::default();
        queue.push(Request::Evaluate);
        queue.next();
        for scale in 0..5 {
            let mut ablation = Ablation::zeroing([]);
            ablation.weight_edits.push(crate::terms::WeightEdit { target: crate::terms::EditTarget::row(0, 0), scale: scale as f32 });
            queue.push(Request::Apply { ablation });
        }
        queue.finish(None);
        let Request::Apply { ablation } = queue.next().unwrap().request else { panic!() };
        assert_eq!(ablation.weight_edits[0].scale, 4.0);
        queue.finish(None);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn scores_come_before_what_picks_by_them_and_both_before_the_text() {
        let apply = || Request::Apply { ablation: Ablation::default() };
        let score = |sequences| Request::Score { text: None, sequences, length: 512, super_weights: Vec::new(), resume: false };
        let scan = || Request::Scan { prompt: "a".into() };
        let mut queue = Queue::default();
        for request in [Request::Evaluate, score(4), scan(), apply(), score(8)] {
            queue.push(request);
        }
        assert_eq!(queue.waiting, [Request::Evaluate, scan(), score(8), apply()]);
        queue.clear_waiting();
        for request in [scan(), Request::Evaluate, apply(), score(4), apply()] {
            queue.push(request);
        }
        assert_eq!(queue.waiting, [scan(), score(4), apply(), Request::Evaluate]);
        queue.push_first(score(2));
        assert_eq!(queue.upcoming(), Some(&score(2)));
        assert_eq!(queue.waiting.len(), 4);
        queue.next();
        assert_eq!(queue.upcoming(), None);
    }

    #[test]
    fn deletions_from_the_storage_stay_whatever_else_is_dropped() {
        let forget = || Request::Forget { key: Some("a".into()) };
        let mut queue = Queue::default();
        for request in [Request::Stored, forget(), Request::Evaluate, Request::Stored] {
            queue.push(request);
        }
        assert_eq!(queue.waiting, [forget(), Request::Evaluate, Request::Stored]);
        queue.keep_loads();
        queue.clear_waiting();
        assert_eq!(queue.waiting, [forget()]);
    }

    #[test]
    fn stop_is_sent_once() {
        let mut queue = Queue::default();
        assert_eq!(queue.stop(), None);
        queue.push(Request::Evaluate);
        queue.next();
        assert_eq!(queue.stop().unwrap().request, Request::Stop);
        assert_eq!(queue.stop(), None);
    }
}
