//! The page's knowledge as plain data, and the only place where an event of the engine changes it.
//!
//! The state has one part for each section of the page. A part is a file with a struct that implements
//! [`Part`](part::Part): it processes the engine's events, and drops results that become invalid with a new model, a
//! lost engine or a faulty device. Rules that need several parts are in [`across`].
//!
//! Results are stored here and not in the worker, so that nothing is lost if the worker must be killed.

mod across;
pub mod choice;
pub mod comparisons;
pub mod edits;
pub mod engine;
pub mod entry;
pub mod experiments;
pub mod fit;
pub mod link;
pub mod model;
pub mod panes;
mod part;
pub mod queue;
pub mod rate;
#[cfg(test)]
pub(crate) mod samples;
pub mod saves;
pub mod scan;
pub mod scores;
pub mod work;

use crate::protocol::{Event, EventEnvelope};
use crate::terms::Failure;
pub use engine::{EngineStatus, Source};

use crate::ui::state::comparisons::ComparisonState;
use crate::ui::state::edits::EditState;
use crate::ui::state::experiments::Experiments;
use crate::ui::state::link::LinkState;
use crate::ui::state::model::ModelState;
use crate::ui::state::panes::PaneState;
use crate::ui::state::part::Part;
use crate::ui::state::queue::Queue;
use crate::ui::state::saves::SaveState;
use crate::ui::state::scan::ScanState;
use crate::ui::state::scores::ScoreState;
use crate::ui::state::work::Work;

/// The whole state: the engine and its work, and the parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AppState {
    pub engine: EngineStatus,
    pub queue: Queue,
    pub work: Work,
    pub failure: Option<Failure>,
    pub model: ModelState,
    pub edits: EditState,
    pub scan: ScanState,
    pub scores: ScoreState,
    pub comparisons: ComparisonState,
    pub experiments: Experiments,
    pub panes: PaneState,
    pub link: LinkState,
    pub saves: SaveState,
}

impl AppState {
    /// The initial state of a page, with an example opening.
    pub fn new(opening: &str) -> Self {
        let scan = ScanState { prompt: opening.into(), ..ScanState::default() };
        let panes = PaneState { prompt: opening.into(), live: true, ..PaneState::default() };
        Self { scan, panes, ..Self::default() }
    }

    /// Every part, each of which takes every event.
    fn parts(&mut self) -> [&mut dyn Part; 9] {
        // Every field is named, so that a part that is not listed does not compile.
        let Self { engine: _, queue: _, work: _, failure: _, model, edits, scan, scores, comparisons, experiments, panes, link, saves } =
            self;
        [model, edits, scan, scores, comparisons, experiments, panes, link, saves]
    }

    /// The reducer: every message of the engine passes through here.
    pub fn apply(&mut self, EventEnvelope { id, event }: EventEnvelope) {
        self.relate(id, &event);
        self.parts().into_iter().for_each(|part| part.reduce(&event));
        match event {
            Event::Ready { protocol_version, .. } => self.ready(protocol_version),
            Event::Progress(progress) => self.work.progressed(progress),
            Event::Inspected(inspection) => self.model.inspected(inspection, self.queue.running.as_ref()),
            Event::Loaded(info) => self.loaded(info),
            Event::Sharing(sharing) => self.shared(sharing),
            Event::Scored(_) => self.scored(),
            Event::Done | Event::Stopped => self.finished(id),
            Event::Failed(failure) => self.failed(id, failure),
            // The parts process the other events; those left answer requests that only tests and the command make.
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
