//! Limits that the page, a link and the engine share, each written once, and the checks against a model's sizes.
//!
//! A refusal is a [`LimitError`] with the numbers in it. Its text is the engine's sentence; the page and a link say the same in
//! words of their own.

use std::ops::RangeInclusive;

use super::{EditTarget, ModelInfo, Pick, Selection, WeightEdit};

/// Scales of an edit, and factors of the super weights; the papers' sweeps stop at 3.
pub const SCALES: RangeInclusive<f32> = -3.0..=3.0;
/// Layers, rows and columns in a link lie below this, whatever the model.
pub const MAX_INDEX: usize = 1 << 20;
/// The largest whole number that JavaScript holds exactly: seeds cross the worker boundary as one.
pub const MAX_SEED: u64 = (1 << 53) - 1;
/// Values of one setting of an experiment, and scalars of one experiment.
pub const MAX_VALUES: usize = 64;
/// Sequences that channels are scored over: more than anybody waits for.
pub const MAX_SEQUENCES: usize = 100_000;

/// What a coordinate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinate {
    Layer,
    Row,
    Column,
    Channel,
    Token,
}

impl Coordinate {
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Row => "row",
            Self::Column => "column",
            Self::Channel => "channel",
            Self::Token => "token",
        }
    }
}

/// A share of the channels in a [`Selection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareOf {
    /// [`Selection::rho`].
    Core,
    /// [`Selection::eta`].
    Halo,
    /// The share of a [`Pick`] that ranks.
    Removed,
}

impl ShareOf {
    /// The name of the field.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "rho",
            Self::Halo => "eta",
            Self::Removed => "share",
        }
    }

    /// The shares that are accepted, in words.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Core => "more than 0 and less than 1",
            Self::Halo => "more than 0 and at most 1",
            Self::Removed => "0 to 1",
        }
    }

    fn accepts(self, share: f64) -> bool {
        match self {
            Self::Core => share > 0.0 && share < 1.0,
            Self::Halo => share > 0.0 && share <= 1.0,
            Self::Removed => (0.0..=1.0).contains(&share),
        }
    }

    fn check(self, got: f64) -> Result<(), LimitError> {
        if self.accepts(got) { Ok(()) } else { Err(LimitError::Share { what: self, got }) }
    }
}

/// A number that lies outside its limits.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum LimitError {
    #[error("{} is {got}, but the model has {limit} (0 to {})", what.name(), limit.saturating_sub(1))]
    Outside { what: Coordinate, got: usize, limit: usize },
    #[error("scale {got} is not between {} and {}", SCALES.start(), SCALES.end())]
    Scale { got: f32 },
    #[error("{} is {got}, expected {}", what.name(), what.expected())]
    Share { what: ShareOf, got: f64 },
    #[error("the write support K is {got}, expected 1 to {limit}")]
    Support { got: usize, limit: usize },
    #[error("sequences is {got}, expected 1 to {MAX_SEQUENCES}")]
    Sequences { got: usize },
    #[error("the number of values of one setting is {got}, expected {MAX_VALUES} or fewer")]
    Values { got: usize },
}

/// The sizes of a model that edits and selections are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub num_hidden_layers: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
}

impl From<&ModelInfo> for Sizes {
    fn from(info: &ModelInfo) -> Self {
        Self { num_hidden_layers: info.num_hidden_layers, hidden_size: info.hidden_size, intermediate_size: info.intermediate_size }
    }
}

impl Sizes {
    /// The sizes that a link is checked against before its model is there.
    pub const LARGEST: Self = Self { num_hidden_layers: MAX_INDEX, hidden_size: MAX_INDEX, intermediate_size: MAX_INDEX };

    /// Checks the unit and the scale of an edit: the one check of the page, of a link and of the engine.
    ///
    /// # Errors
    ///
    /// [`LimitError::Outside`] for the first coordinate outside, [`LimitError::Scale`] for a scale that is not in [`SCALES`].
    pub fn check_edit(&self, edit: &WeightEdit) -> Result<(), LimitError> {
        self.check_target(&edit.target)?;
        check_scale(edit.scale)
    }

    /// Checks the unit of an edit alone.
    ///
    /// # Errors
    ///
    /// [`LimitError::Outside`] for the first coordinate outside.
    pub fn check_target(&self, target: &EditTarget) -> Result<(), LimitError> {
        self.check_layer(target.layer())?;
        let row = |row| check_below(Coordinate::Row, row, self.hidden_size);
        let col = |col| check_below(Coordinate::Column, col, self.intermediate_size);
        match *target {
            EditTarget::Scalar { row: of_row, col: of_col, .. } => row(of_row).and_then(|()| col(of_col)),
            EditTarget::Row { row: of_row, .. } => row(of_row),
            EditTarget::Column { col: of_col, .. } => col(of_col),
            EditTarget::Channel { channel, .. } | EditTarget::ChannelMean { channel, .. } => {
                check_below(Coordinate::Channel, channel, self.intermediate_size)
            }
        }
    }

    /// Checks every number of a selection: the one check of the page, of a link and of the engine.
    ///
    /// # Errors
    ///
    /// [`LimitError::Share`], [`LimitError::Support`] or [`LimitError::Outside`] for the first that is outside its limits.
    pub fn check_selection(&self, selection: &Selection) -> Result<(), LimitError> {
        let Selection { pick, rho, eta, support, layer, .. } = *selection;
        ShareOf::Core.check(rho)?;
        ShareOf::Halo.check(eta)?;
        if let Pick::Lowest { share, .. } | Pick::Highest { share, .. } = pick {
            ShareOf::Removed.check(share)?;
        }
        if let Some(got) = support.filter(|support| !(1..=self.hidden_size).contains(support)) {
            return Err(LimitError::Support { got, limit: self.hidden_size });
        }
        layer.map_or(Ok(()), |layer| self.check_layer(layer))
    }

    /// # Errors
    ///
    /// [`LimitError::Outside`].
    pub fn check_layer(&self, layer: usize) -> Result<(), LimitError> {
        check_below(Coordinate::Layer, layer, self.num_hidden_layers)
    }
}

/// Checks that a coordinate lies below the model's size.
///
/// # Errors
///
/// [`LimitError::Outside`].
pub fn check_below(what: Coordinate, got: usize, limit: usize) -> Result<(), LimitError> {
    if got < limit { Ok(()) } else { Err(LimitError::Outside { what, got, limit }) }
}

/// Checks a scale against [`SCALES`]; a number that is not finite is outside of them.
///
/// # Errors
///
/// [`LimitError::Scale`].
pub fn check_scale(got: f32) -> Result<(), LimitError> {
    if SCALES.contains(&got) { Ok(()) } else { Err(LimitError::Scale { got }) }
}

/// Edits at every limit of a model, just inside and just outside, each with whether it can be made. The page, a link and the
/// engine are each tried with this table.
#[cfg(test)]
pub(crate) fn edits_at_the_limits(sizes: Sizes) -> Vec<(WeightEdit, bool)> {
    let Sizes { num_hidden_layers, hidden_size, intermediate_size } = sizes;
    let units = |layer, row, col| {
        [
            EditTarget::Scalar { layer, row, col },
            EditTarget::Row { layer, row },
            EditTarget::Column { layer, col },
            EditTarget::Channel { layer, channel: col },
            EditTarget::ChannelMean { layer, channel: col },
        ]
    };
    let first = units(0, 0, 0);
    let last = units(num_hidden_layers - 1, hidden_size - 1, intermediate_size - 1);
    let places = [
        (first, [true; 5]),
        (last, [true; 5]),
        (units(num_hidden_layers, 0, 0), [false; 5]),
        (units(0, hidden_size, 0), [false, false, true, true, true]),
        (units(0, 0, intermediate_size), [false, true, false, false, false]),
    ];
    let places = places.into_iter().flat_map(|(targets, can)| targets.into_iter().zip(can));
    let scales = [-3.0, -1.5, -0.0, 0.0, 1.0, 3.0].map(|scale| (scale, true));
    let outside = [(-3.0f32).next_down(), 3.0f32.next_up(), f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|scale| (scale, false));
    let scales = scales.into_iter().chain(outside).collect::<Vec<_>>();
    let scaled = last
        .into_iter()
        .flat_map(|target| scales.iter().map(move |(scale, can)| (WeightEdit { target, scale: *scale }, *can)).collect::<Vec<_>>());
    places.map(|(target, can)| (WeightEdit { target, scale: 0.0 }, can)).chain(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Ranking;

    const SIZES: Sizes = Sizes { num_hidden_layers: 20, hidden_size: 256, intermediate_size: 448 };

    #[test]
    fn a_refused_edit_is_told_with_its_numbers() {
        for (edit, can) in edits_at_the_limits(SIZES) {
            assert_eq!(SIZES.check_edit(&edit).is_ok(), can, "{edit:?}");
        }
        let refused = |target, scale| SIZES.check_edit(&WeightEdit { target, scale }).unwrap_err();
        let outside = refused(EditTarget::Column { layer: 0, col: 448 }, 0.0);
        assert_eq!(outside, LimitError::Outside { what: Coordinate::Column, got: 448, limit: 448 });
        assert_eq!(outside.to_string(), "column is 448, but the model has 448 (0 to 447)");
        let scale = refused(EditTarget::Row { layer: 0, row: 0 }, 3.5);
        assert_eq!(scale.to_string(), "scale 3.5 is not between -3 and 3");
    }

    #[test]
    fn a_selection_is_checked_at_every_limit() {
        let with = |change: fn(&mut Selection)| {
            let mut selection = Selection::new(Pick::Lowest { by: Ranking::Wanda, share: 0.5 });
            change(&mut selection);
            SIZES.check_selection(&selection)
        };
        for inside in [
            |of: &mut Selection| of.rho = f64::MIN_POSITIVE,
            |of: &mut Selection| of.eta = 1.0,
            |of: &mut Selection| of.pick = Pick::Highest { by: Ranking::Wanda, share: 1.0 },
            |of: &mut Selection| of.pick = Pick::Lowest { by: Ranking::Wanda, share: 0.0 },
            |of: &mut Selection| of.support = Some(256),
            |of: &mut Selection| of.layer = Some(19),
        ] {
            assert_eq!(with(inside), Ok(()));
        }
        let share = |what, got| Err(LimitError::Share { what, got });
        assert_eq!(with(|of| of.rho = 0.0), share(ShareOf::Core, 0.0));
        assert_eq!(with(|of| of.rho = 1.0), share(ShareOf::Core, 1.0));
        assert_eq!(with(|of| of.eta = 0.0), share(ShareOf::Halo, 0.0));
        assert_eq!(with(|of| of.pick = Pick::Highest { by: Ranking::Wanda, share: 1.5 }), share(ShareOf::Removed, 1.5));
        assert!(with(|of| of.eta = f64::NAN).is_err());
        assert_eq!(with(|of| of.support = Some(0)), Err(LimitError::Support { got: 0, limit: 256 }));
        assert_eq!(with(|of| of.support = Some(257)), Err(LimitError::Support { got: 257, limit: 256 }));
        assert_eq!(with(|of| of.layer = Some(20)), Err(LimitError::Outside { what: Coordinate::Layer, got: 20, limit: 20 }));
        assert_eq!(with(|of| of.rho = 1.0).unwrap_err().to_string(), "rho is 1, expected more than 0 and less than 1");
    }
}
