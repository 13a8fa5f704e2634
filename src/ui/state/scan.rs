//! The scan of a text, and the confirmation of its candidates.

use crate::protocol::{Event, Request};
use crate::terms::{ConfirmArm, ConfirmReport, FailureKind, ScanReport};
use crate::ui::state::part::Part;
use crate::ui::state::queue::Running;

/// The part of the state behind the sections "Find" and "Prove".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScanState {
    /// The text to read.
    pub prompt: String,
    pub report: Option<ScanReport>,
    /// Arms of the confirmation, as they arrive.
    pub arms: Vec<ConfirmArm>,
    pub confirm: Option<ConfirmReport>,
}

impl Part for ScanState {
    fn reduce(&mut self, event: &Event) {
        match event {
            Event::Scanned(report) => (self.arms, self.confirm, self.report) = (Vec::new(), None, Some(report.clone())),
            Event::Arm { arm } => self.arms.push(arm.clone()),
            Event::Confirmed(report) => {
                self.arms.clone_from(&report.arms);
                self.confirm = Some(report.clone());
            }
            _ => {}
        }
    }

    fn fails(&mut self, over: &Running, kind: FailureKind) {
        if let (Request::Confirm { .. }, FailureKind::Device) = (&over.request, kind) {
            self.arms.clear();
        }
    }

    fn forget_model(&mut self) {
        (self.arms, self.confirm, self.report) = Default::default();
    }
}
