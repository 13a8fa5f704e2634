//! The requested changes of the model (the list of edits and the removal of channels), and the applied ones.

use crate::protocol::Event;
use crate::share::MAX_EDITS;
use crate::terms::{
    Ablation, Candidate, Coordinate, EditTarget, LimitError, ModelInfo, Pruned, Pruning, RunRecord, SCALES, ShareOf, Sizes, Unit,
    WeightEdit, parse_layer,
};
use crate::ui::state::part::Part;

/// One line of the list: a switch, a name and a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditRow {
    /// Identifier of the line, which stays the same when other lines change.
    pub key: u32,
    pub target: EditTarget,
    pub scale: f32,
    /// If `false`, the line stays and its weights are intact.
    pub on: bool,
    pub origin: Origin,
}

/// The source of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Scan,
    Hand,
    Link,
}

/// The part of the state behind the section "Pull", without its texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EditState {
    pub rows: Vec<EditRow>,
    /// Key of the newest row. It only grows, because a view is kept by its key and would show a later row under an
    /// earlier row's name.
    last_key: u32,
    /// The active removal of channels, in addition to the edits: see [`EditState::ablation`].
    pub pruning: Option<Pruning>,
    /// The ablation that the engine has applied, and the time this took in milliseconds.
    pub applied: Option<(Ablation, f64)>,
    /// Outcome of the applied pruning.
    pub pruned: Option<Pruned>,
}

impl EditState {
    /// Adds a line after checking it against the model.
    pub fn add(&mut self, target: EditTarget, scale: f32, on: bool, origin: Origin, info: &ModelInfo) -> Result<(), String> {
        Sizes::from(info).check_edit(&WeightEdit { target, scale }).map_err(in_words)?;
        if let Some(row) = self.rows.iter_mut().find(|row| row.target == target) {
            // Adding a listed target again switches it on.
            (row.scale, row.on) = (scale, on || row.on);
            return Ok(());
        }
        if self.rows.len() >= MAX_EDITS {
            return Err(format!("The list has {MAX_EDITS} edits already; remove one first."));
        }
        self.last_key += 1;
        self.rows.push(EditRow { key: self.last_key, target, scale, on, origin });
        Ok(())
    }

    pub fn remove(&mut self, key: u32) {
        self.rows.retain(|row| row.key != key);
    }

    pub fn set(&mut self, key: u32, change: impl FnOnce(&mut EditRow)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.key == key) {
            change(row);
        }
    }

    /// Updates the lines of a scan. Its candidates are listed, switched off. Earlier candidates that are neither
    /// switched on nor found again are removed.
    pub fn offer(&mut self, candidates: &[Candidate], info: &ModelInfo) {
        self.rows.retain(|row| row.on || row.origin != Origin::Scan);
        for candidate in candidates {
            let target = EditTarget::from(candidate.at);
            if !self.rows.iter().any(|row| row.target == target) {
                // A candidate outside the model cannot be removed; the scan still shows it.
                let _ = self.add(target, 0.0, false, Origin::Scan, info);
            }
        }
    }

    /// The requested ablation: the edits in the list, and the pruning.
    pub fn ablation(&self) -> Ablation {
        let active = self.rows.iter().filter(|row| row.on && row.scale != 1.0);
        let weight_edits = active.map(|row| WeightEdit { target: row.target, scale: row.scale }).collect();
        Ablation { weight_edits, pruning: self.pruning, ..Ablation::default() }
    }

    /// The ablation that the engine has applied.
    pub(crate) fn in_place(&self) -> Ablation {
        self.applied.as_ref().map(|(ablation, _)| ablation.clone()).unwrap_or_default()
    }

    /// Returns `true` if a run was made with the current edits and channels.
    pub fn is_current(&self, run: &RunRecord) -> bool {
        run.setup.ablation == self.ablation() && self.picks(run.pruned.as_ref().map(|pruned| pruned.digest.as_str()))
    }

    /// Returns `true` if an earlier selection equals the current one, or the current one is unknown.
    pub(crate) fn picks(&self, digest: Option<&str>) -> bool {
        self.pruned.as_ref().zip(digest).is_none_or(|(now, then)| now.digest == then)
    }
}

impl Part for EditState {
    fn reduce(&mut self, event: &Event) {
        if let Event::Applied { ablation, took_ms, pruned } = event {
            (self.applied, self.pruned) = (Some((ablation.clone(), *took_ms)), pruned.clone());
        }
    }

    fn forget_model(&mut self) {
        self.rows.clear();
        self.pruning = None;
    }

    fn forget_engine(&mut self) {
        (self.applied, self.pruned) = (None, None);
    }
}

/// Explains why a pruning is invalid for this model.
pub fn check_pruning(pruning: &Pruning, info: &ModelInfo) -> Result<(), String> {
    Sizes::from(info).check_selection(&pruning.selection).map_err(in_words)
}

/// The units in the form, with their names there.
const UNITS: [(&str, Unit); 5] =
    [("scalar", Unit::Scalar), ("row", Unit::Row), ("column", Unit::Column), ("channel", Unit::Channel), ("mean", Unit::ChannelMean)];

/// The page's sentence for a number outside its limits.
pub fn in_words(error: LimitError) -> String {
    match error {
        LimitError::Outside { what, got, limit } => {
            format!("This model's {}s run from 0 to {}; {got} is not one of them.", what.name(), limit.saturating_sub(1))
        }
        LimitError::NoExperts { got } => format!("This model has no experts; {got} is not one of them."),
        LimitError::Scale { got } => format!("The scale must be from {} to {}; {got} is not.", SCALES.start(), SCALES.end()),
        LimitError::Support { got, limit } => {
            format!("The write support K must be from 1 to {limit} residual channels; {got} is not.")
        }
        LimitError::Share { what: ShareOf::Core, got } => {
            format!("The core must be more than none and less than all of a layer's channels; {got} is not.")
        }
        LimitError::Share { what: ShareOf::Halo, got } => {
            format!("The halo must be more than none of the channels, and at most all; {got} is not.")
        }
        LimitError::Share { what: ShareOf::Removed, got } => format!("The share must be from 0 to 1; {got} is not."),
        other => format!("{other}."),
    }
}

/// The unit named by the four fields of the form; the layer may name an expert after a dot.
pub fn parse_target(unit: &str, layer: &str, row: &str, col: &str) -> Result<EditTarget, String> {
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map_or(Unit::Scalar, |(_, unit)| *unit);
    let refused = |what: &str, text: &str| match text.trim() {
        "" => format!("Type a {what}."),
        text => format!("The {what} must be a whole number; “{text}” is not."),
    };
    let (layer, expert) = parse_layer(layer).ok_or_else(|| refused("layer", layer))?;
    let number = |what: &Coordinate| {
        let text = if *what == Coordinate::Row { row } else { col };
        text.trim().parse::<usize>().map_err(|_| refused(what.name(), text))
    };
    let numbers = unit.coordinates().iter().map(number).collect::<Result<Vec<_>, _>>()?;
    Ok(unit.target(layer, expert, &numbers).expect("a number for each coordinate"))
}

/// Snaps a dragged slider to 1, which changes nothing; the keyboard reaches every step.
pub fn snap(scale: f32, dragged: bool) -> f32 {
    let scale = ((scale * 20.0).round() / 20.0).clamp(*SCALES.start(), *SCALES.end());
    if dragged && (scale - 1.0).abs() < 0.11 { 1.0 } else { scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{WeightCoord, edits_at_the_limits};
    use crate::ui::state::samples::{candidate, info};

    #[test]
    fn coordinates_are_checked_against_the_model() {
        let add = |target, scale| EditState::default().add(target, scale, true, Origin::Hand, &info());
        assert_eq!(add(EditTarget::scalar(19, 255, 447), 0.0), Ok(()));
        let message = add(EditTarget::scalar(20, 0, 0), 0.0).unwrap_err();
        assert_eq!(message, "This model's layers run from 0 to 19; 20 is not one of them.");
        let message = add(EditTarget::row(0, 0), 3.5).unwrap_err();
        assert_eq!(message, "The scale must be from -3 to 3; 3.5 is not.");
    }

    /// The table that links and the engine are tested with, too.
    #[test]
    fn list_takes_every_edit_within_the_limits_and_no_other() {
        let info = info();
        for (edit, can) in edits_at_the_limits(Sizes::from(&info)) {
            let mut list = EditState::default();
            let added = list.add(edit.target, edit.scale, true, Origin::Link, &info);
            assert_eq!(added.is_ok(), can, "{edit:?}: {added:?}");
            let asked = if can && edit.scale != 1.0 { vec![edit] } else { Vec::new() };
            assert_eq!(list.ablation().weight_edits, asked);
        }
    }

    #[test]
    fn typed_coordinates_are_read() {
        assert_eq!(parse_target("scalar", "2", " 12", "86 "), Ok(EditTarget::scalar(2, 12, 86)));
        assert_eq!(parse_target("row", "2", "12", ""), Ok(EditTarget::row(2, 12)));
        assert_eq!(parse_target("channel", "2", "", "86"), Ok(EditTarget::channel(2, 86)));
        assert_eq!(parse_target("mean", "2", "", "86"), Ok(EditTarget::channel_mean(2, 86)));
        assert_eq!(parse_target("column", "2", "", ""), Err("Type a column.".into()));
        assert!(parse_target("scalar", "-1", "0", "0").is_err());
        let in_expert = parse_target("scalar", "2.5", "12", "86");
        assert_eq!(in_expert, Ok(WeightCoord { expert: Some(5), ..WeightCoord::new(2, 12, 86) }.into()));
        let refused = EditState::default().add(in_expert.unwrap(), 0.0, true, Origin::Hand, &info());
        assert_eq!(refused, Err("This model has no experts; 5 is not one of them.".into()));
    }

    #[test]
    fn only_switched_on_lines_change_the_model() {
        let (info, mut list) = (info(), EditState::default());
        list.offer(&[candidate(2, 12, 86)], &info);
        assert!(list.ablation().is_empty());
        let key = list.rows[0].key;
        list.set(key, |row| row.on = true);
        assert_eq!(list.ablation().weight_edits.len(), 1);
        list.set(key, |row| row.scale = 1.0);
        assert!(list.ablation().is_empty(), "times one changes nothing");
    }

    #[test]
    fn new_scan_keeps_the_edits_that_are_pulled() {
        let (info, mut list) = (info(), EditState::default());
        list.offer(&[candidate(2, 12, 86), candidate(3, 1, 1)], &info);
        list.set(1, |row| row.on = true);
        list.offer(&[candidate(4, 1, 1)], &info);
        let layers: Vec<_> = list.rows.iter().map(|row| row.target.layer()).collect();
        assert_eq!(layers, [2, 4]);
    }

    #[test]
    fn drag_catches_at_one() {
        assert_eq!((snap(0.95, true), snap(0.95, false), snap(1.1, true), snap(7.0, true)), (1.0, 0.95, 1.0, 3.0));
    }
}
