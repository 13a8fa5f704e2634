//! The edited model that the engine has saved, as files to download.

use crate::protocol::{Event, Request};
use crate::terms::{Ablation, Saved};
use crate::ui::state::part::Part;

/// The part of the state behind "The edited model".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SaveState {
    /// The saved model; its files live as long as the engine, or until it saves again.
    pub saved: Option<Saved>,
}

impl SaveState {
    /// The saved model, if it has these edits.
    pub fn of(&self, ablation: &Ablation) -> Option<&Saved> {
        self.saved.as_ref().filter(|saved| saved.ablation == *ablation)
    }
}

impl Part for SaveState {
    fn reduce(&mut self, event: &Event) {
        if let Event::Saved(saved) = event {
            self.saved = Some(saved.clone());
        }
    }

    fn begins(&mut self, request: &Request) {
        if let Request::Save(_) = request {
            self.saved = None;
        }
    }

    fn forget_model(&mut self) {
        self.saved = None;
    }

    fn forget_engine(&mut self) {
        self.saved = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Problem;
    use crate::ui::state::samples::{answer, info, loaded, pull, starts};

    fn saved(ablation: &Ablation) -> Saved {
        let json = r#"{"base_revision":"b","origin":"o","ablation":{},"revision":"r","tensors":[],"n_untouched":1,"files":[]}"#;
        Saved { ablation: ablation.clone(), ..serde_json::from_str(json).unwrap() }
    }

    #[test]
    fn saved_files_are_those_of_the_listed_edits_and_of_a_living_engine() {
        let mut state = loaded();
        pull(&mut state);
        while state.next_message().is_some() {
            answer(&mut state, Event::Done);
        }
        state.save_edited(false);
        let sent = std::iter::from_fn(|| {
            let sent = state.next_message()?;
            answer(&mut state, Event::Done);
            Some(sent.request)
        });
        let Some(Request::Save(order)) = sent.last() else { panic!("the edits are saved") };
        assert_eq!((&order.ablation, order.source, order.folder), (&state.edits.ablation(), None, None));
        answer(&mut state, Event::Saved(saved(&order.ablation)));
        assert!(state.saves.of(&state.edits.ablation()).is_some());
        assert!(state.saves.of(&Ablation::default()).is_none(), "the list has other edits");
        state.engine_died(crate::terms::Failure::new(Problem::EngineStopped, ""));
        assert!(state.saves.saved.is_none(), "its files died with it");
        state.engine_restarts();
        starts(&mut state);
        state.next_message();
        answer(&mut state, Event::Loaded(info()));
    }
}
