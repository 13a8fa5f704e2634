//! Limits that the page, a link and the engine share, and the checks against a model's sizes. Each limit is written
//! only here and in [`counts`].
//!
//! A refusal is a [`LimitError`] with its numbers. Its text is the engine's sentence; the page and a link have their
//! own words.

mod counts;

use std::ops::RangeInclusive;

pub use counts::*;
use serde::{Deserialize, Serialize};

use super::{Ablation, Coordinate, EditTarget, MAX_PAIRS, ModelInfo, PerLayer, Pick, Selection, WeightEdit, n_pairs};

/// The range of an edit's scale and of the super weights' factors; the papers' sweeps stop at 3.
pub const SCALES: RangeInclusive<f32> = -3.0..=3.0;
/// Upper bound (exclusive) of layers, rows and columns in a link, for any model.
pub const MAX_INDEX: usize = 1 << 20;
/// The largest whole number that JavaScript holds exactly. Seeds cross the worker boundary as JavaScript numbers.
pub const MAX_SEED: u64 = (1 << 53) - 1;
/// The most values of one setting, and the most scalars, of an experiment.
pub const MAX_VALUES: usize = 64;
/// The most tokens of a prompt that a scan searches for candidates, from its beginning.
pub const MAX_SEARCHED: usize = 64;
/// The most sequences that channels are scored over, beyond any useful number.
pub const MAX_SEQUENCES: usize = 100_000;

/// A share of the channels in a [`Selection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareOf {
    /// [`Selection::rho`].
    Core,
    /// [`Selection::eta`].
    Halo,
    /// The share of a [`Pick::Lowest`] or [`Pick::Highest`].
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

    /// The accepted shares, in words.
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

    /// # Errors
    ///
    /// [`LimitError::Share`].
    pub fn check(self, got: f64) -> Result<(), LimitError> {
        if self.accepts(got) { Ok(()) } else { Err(LimitError::Share { what: self, got }) }
    }
}

/// A number that lies outside its limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum LimitError {
    #[error("{} is {got}, but the model has {limit} (0 to {})", what.name(), limit.saturating_sub(1))]
    Outside { what: Coordinate, got: usize, limit: usize },
    #[error("expert is {got}, but the model has no experts (no num_experts)")]
    NoExperts { got: u16 },
    #[error("scale {got} is not between {} and {}", SCALES.start(), SCALES.end())]
    Scale { got: f32 },
    #[error("{} is {got}, expected {}", what.name(), what.expected())]
    Share { what: ShareOf, got: f64 },
    #[error("the write support K is {got}, expected 1 to {limit}")]
    Support { got: usize, limit: usize },
    #[error("{} is {got}, expected {least} to {most}", what.name())]
    Count { what: Count, got: u64, least: u64, most: u64 },
    #[error("{} is {got}, expected {} to {}", what.name(), what.range().start(), what.range().end())]
    Fraction { what: Fraction, got: f32 },
    #[error(
        "the number of pairs of a core's and a halo's channels is {got}, expected {MAX_PAIRS} or fewer: choose a smaller core or halo, or \
         one layer"
    )]
    Pairs { got: u64 },
    #[error("the number of values of one setting is {got}, expected {MAX_VALUES} or fewer")]
    Values { got: usize },
}

/// The sizes of a model that edits, selections and settings are checked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    pub num_hidden_layers: usize,
    pub hidden_size: usize,
    /// Feed-forward channels of a layer.
    pub intermediate_size: PerLayer,
    /// Tokens of the context.
    pub max_position_embeddings: usize,
    /// Experts of a layer; `None` for a model without experts, in which a coordinate must not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_experts: Option<usize>,
}

impl From<&ModelInfo> for Sizes {
    fn from(info: &ModelInfo) -> Self {
        Self {
            num_hidden_layers: info.num_hidden_layers,
            hidden_size: info.hidden_size,
            intermediate_size: info.intermediate_size.clone(),
            max_position_embeddings: info.max_position_embeddings,
            num_experts: None,
        }
    }
}

impl Sizes {
    /// The sizes that a link is checked against before its model is loaded.
    pub const LARGEST: Self = Self {
        num_hidden_layers: MAX_INDEX,
        hidden_size: MAX_INDEX,
        intermediate_size: PerLayer::Same(MAX_INDEX),
        max_position_embeddings: MAX_INDEX,
        num_experts: Some(MAX_INDEX),
    };

    /// Checks an ablation: every edit and intervention, and the rule that removes channels.
    ///
    /// # Errors
    ///
    /// [`LimitError`] for the first number outside its limits.
    pub fn check_ablation(&self, ablation: &Ablation) -> Result<(), LimitError> {
        ablation.weight_edits.iter().try_for_each(|edit| self.check_edit(edit))?;
        for intervention in &ablation.interventions {
            self.check_layer(intervention.layer)?;
            check_below(Coordinate::Token, intervention.token, self.max_position_embeddings)?;
            check_below(Coordinate::Channel, intervention.channel, self.hidden_size.max(self.intermediate_size.at(intervention.layer)))?;
        }
        ablation.pruning.map_or(Ok(()), |pruning| self.check_selection(&pruning.selection))
    }

    /// Checks the unit and the scale of an edit, for the page, a link and the engine.
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
    /// [`LimitError::Outside`] for the first coordinate outside, [`LimitError::NoExperts`] for an expert in a model
    /// without experts.
    pub fn check_target(&self, target: &EditTarget) -> Result<(), LimitError> {
        let place = target.place();
        self.check_layer(place.layer)?;
        if let Some(got) = place.expert {
            check_below(Coordinate::Expert, got.into(), self.num_experts.ok_or(LimitError::NoExperts { got })?)?;
        }
        place.coordinates().try_for_each(|(what, got)| {
            let limit = if what == Coordinate::Row { self.hidden_size } else { self.intermediate_size.at(place.layer) };
            check_below(what, got, limit)
        })
    }

    /// Checks every number of a selection, for the page, a link and the engine.
    ///
    /// # Errors
    ///
    /// [`LimitError::Share`], [`LimitError::Support`], [`LimitError::Count`] or [`LimitError::Outside`] for the first
    /// number outside its limits.
    pub fn check_selection(&self, selection: &Selection) -> Result<(), LimitError> {
        let Selection { pick, rho, eta, support, layer, seed } = *selection;
        Count::Seed.check(seed)?;
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

    /// Checks that the sums for the redundancy of halos fit into memory, if the rule needs them. The selection is within
    /// its limits.
    ///
    /// # Errors
    ///
    /// [`LimitError::Pairs`].
    pub fn check_pairs(&self, selection: &Selection) -> Result<(), LimitError> {
        let Selection { pick, rho, eta, layer, .. } = *selection;
        if !pick.needs_protection() {
            return Ok(());
        }
        let layers = layer.map_or(0..self.num_hidden_layers, |layer| layer..layer + 1);
        let got = layers.map(|layer| n_pairs(rho, eta, self.intermediate_size.at(layer))).sum::<u64>();
        if got > MAX_PAIRS { Err(LimitError::Pairs { got }) } else { Ok(()) }
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

/// Checks a scale against [`SCALES`]. A number that is not finite fails.
///
/// # Errors
///
/// [`LimitError::Scale`].
pub fn check_scale(got: f32) -> Result<(), LimitError> {
    if SCALES.contains(&got) { Ok(()) } else { Err(LimitError::Scale { got }) }
}

/// Edits just inside and just outside each limit of a model, each with `true` if it is allowed. The page, a link and
/// the engine are each tested with this table.
#[cfg(test)]
pub(crate) fn edits_at_the_limits(sizes: Sizes) -> Vec<(WeightEdit, bool)> {
    use super::{ChannelCoord, ColumnCoord, RowCoord, WeightCoord};
    let Sizes { num_hidden_layers, hidden_size, intermediate_size, num_experts, .. } = sizes;
    let units = |layer, expert, row, col| {
        [
            EditTarget::Scalar(WeightCoord { layer, expert, row, col }),
            EditTarget::Row(RowCoord { layer, expert, row }),
            EditTarget::Column(ColumnCoord { layer, expert, col }),
            EditTarget::Channel(ChannelCoord { layer, expert, channel: col }),
            EditTarget::ChannelMean(ChannelCoord { layer, expert, channel: col }),
        ]
    };
    let first = units(0, None, 0, 0);
    let last = units(num_hidden_layers - 1, None, hidden_size - 1, intermediate_size.at(num_hidden_layers - 1) - 1);
    let has = |expert: u16| num_experts.is_some_and(|n| usize::from(expert) < n);
    let places = [
        (first, [true; 5]),
        (last, [true; 5]),
        (units(num_hidden_layers, None, 0, 0), [false; 5]),
        (units(0, None, hidden_size, 0), [false, false, true, true, true]),
        (units(0, None, 0, intermediate_size.at(0)), [false, true, false, false, false]),
        (units(0, Some(0), 0, 0), [has(0); 5]),
        (units(0, Some(u16::MAX), 0, 0), [has(u16::MAX); 5]),
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
    use crate::terms::{Ranking, WeightCoord};

    const SIZES: Sizes = Sizes {
        num_hidden_layers: 20,
        hidden_size: 256,
        intermediate_size: PerLayer::Same(448),
        max_position_embeddings: 512,
        num_experts: None,
    };

    #[test]
    fn refused_edit_is_told_with_its_numbers() {
        for (edit, can) in edits_at_the_limits(SIZES) {
            assert_eq!(SIZES.check_edit(&edit).is_ok(), can, "{edit:?}");
        }
        let refused = |target, scale| SIZES.check_edit(&WeightEdit { target, scale }).unwrap_err();
        let outside = refused(EditTarget::column(0, 448), 0.0);
        assert_eq!(outside, LimitError::Outside { what: Coordinate::Column, got: 448, limit: 448 });
        assert_eq!(outside.to_string(), "column is 448, but the model has 448 (0 to 447)");
        let in_expert = |expert| EditTarget::from(WeightCoord { expert: Some(expert), ..WeightCoord::new(2, 12, 86) });
        assert_eq!(refused(in_expert(5), 0.0).to_string(), "expert is 5, but the model has no experts (no num_experts)");
        let sparse = Sizes { num_experts: Some(8), ..SIZES };
        assert_eq!(sparse.check_target(&in_expert(7)), Ok(()));
        let beyond = sparse.check_target(&in_expert(8)).unwrap_err();
        assert_eq!(beyond.to_string(), "expert is 8, but the model has 8 (0 to 7)");
        let scale = refused(EditTarget::row(0, 0), 3.5);
        assert_eq!(scale.to_string(), "scale 3.5 is not between -3 and 3");
    }

    #[test]
    fn channels_are_checked_against_the_width_of_their_layer() {
        let sizes = Sizes { num_hidden_layers: 2, intermediate_size: PerLayer::Each(vec![8, 12]), ..SIZES };
        for (edit, can) in edits_at_the_limits(sizes.clone()) {
            assert_eq!(sizes.check_edit(&edit).is_ok(), can, "{edit:?}");
        }
        let refused = |layer| sizes.check_target(&EditTarget::channel(layer, 12));
        assert_eq!(refused(0), Err(LimitError::Outside { what: Coordinate::Channel, got: 12, limit: 8 }));
        assert_eq!(refused(1), Err(LimitError::Outside { what: Coordinate::Channel, got: 12, limit: 12 }));
        assert_eq!(refused(2), Err(LimitError::Outside { what: Coordinate::Layer, got: 2, limit: 2 }));
    }

    #[test]
    fn selection_is_checked_at_every_limit() {
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

    #[test]
    fn too_many_pairs_are_refused_before_anything_is_read() {
        let by = |by, rho| Selection { rho, eta: 1.0, ..Selection::new(Pick::Lowest { by, share: 0.5 }) };
        let check = |n_layers, width: usize, selection: &Selection| {
            Sizes { num_hidden_layers: n_layers, intermediate_size: width.into(), ..SIZES }.check_pairs(selection)
        };
        assert!(check(20, 448, &by(Ranking::Protected, 0.5)).is_ok());
        // Each layer has 7168² pairs.
        assert!(check(1, 14336, &by(Ranking::Protected, 0.5)).is_ok());
        let refused = check(2, 14336, &by(Ranking::Connected, 0.5)).unwrap_err();
        assert!(refused.to_string().contains("is 102760448, expected 67108864 or fewer"), "{refused}");
        assert!(check(2, 14336, &Selection { layer: Some(1), ..by(Ranking::Connected, 0.5) }).is_ok());
        assert!(check(32, 14336, &by(Ranking::LossProxy, 0.5)).is_ok(), "it needs no redundancy");
    }
}
