//! The check of a request against a model's sizes, before any work. The command makes it as soon as a model's headers are
//! read, and the engine for every request, because links and exports may hold anything.

use serde::Serialize;
use thiserror::Error;

use super::Request;
use crate::terms::{Ablation, Count, EditTarget, Experiment, LimitError, Pick, Ranking, Selection, SettingError, Sizes};

/// A setting of a request is out of its range.
#[derive(Debug, Clone, PartialEq, Serialize, Error)]
#[error(transparent)]
#[serde(untagged)]
pub enum RangeError {
    Limit(#[from] LimitError),
    Setting(#[from] SettingError),
}

impl Request {
    /// Checks every number of the request against its range and against the model.
    ///
    /// # Errors
    ///
    /// [`RangeError`] with the setting's name, its value and its range, for the first one that is outside.
    pub fn check(&self, sizes: &Sizes) -> Result<(), RangeError> {
        match self {
            Self::Load { .. }
            | Self::Inspect { .. }
            | Self::Stored
            | Self::Forget { .. }
            | Self::Scan { .. }
            | Self::UseBundledText
            | Self::UseTasks { .. }
            | Self::Evaluate
            | Self::Verify { .. }
            | Self::Measure
            | Self::Help(_)
            | Self::Stop => Ok(()),
            Self::Confirm { candidates, rows, seed } => {
                Count::Seed.check(*seed)?;
                check_places(sizes, candidates.iter().map(|at| (*at).into()).chain(rows.iter().map(|row| EditTarget::Row(*row))))
            }
            Self::Apply { ablation } => check_ablation(sizes, ablation),
            Self::Save(order) => check_ablation(sizes, &order.ablation),
            Self::UseText { max_tokens, .. } => Ok(Count::MaxTokens.check(*max_tokens as u64)?),
            Self::Experiment(experiment) => check_experiment(sizes, experiment),
            Self::Generate { sampling, .. } => Ok(sampling.check()?),
            Self::Score { sequences, length, super_weights, .. } => {
                Count::Sequences.check(*sequences as u64)?;
                Count::Length.check(*length as u64)?;
                check_places(sizes, super_weights.iter().map(|at| (*at).into()))
            }
            Self::Surround { rho, eta, support, layer, redundancy } => {
                // This pick needs exactly the requested surroundings.
                let pick = if *redundancy { Pick::Lowest { by: Ranking::Protected, share: 0.0 } } else { Pick::Core };
                let selection = Selection { rho: *rho, eta: *eta, support: *support, layer: *layer, ..Selection::new(pick) };
                check_selection(sizes, &selection)
            }
            Self::Sweep { prunings } => {
                Count::Prunings.check(prunings.len() as u64)?;
                prunings.iter().try_for_each(|pruning| check_selection(sizes, &pruning.selection))
            }
            Self::Delete { per_layer, n_quantiles, layer, seed, .. } => {
                Count::PerLayer.check(*per_layer as u64)?;
                Count::Seed.check(*seed)?;
                layer.map_or(Ok(()), |layer| sizes.check_layer(layer))?;
                let widths = &sizes.intermediate_size;
                let width = layer.map_or(widths.range().0, |layer| widths.at(layer));
                Ok(Count::Quantiles.check_up_to(*n_quantiles as u64, width as u64)?)
            }
            Self::UseWorkers { workers } => Ok(Count::Workers.check(*workers as u64)?),
        }
    }
}

fn check_places(sizes: &Sizes, mut places: impl Iterator<Item = EditTarget>) -> Result<(), RangeError> {
    Ok(places.try_for_each(|place| sizes.check_target(&place))?)
}

fn check_ablation(sizes: &Sizes, ablation: &Ablation) -> Result<(), RangeError> {
    sizes.check_ablation(ablation)?;
    Ok(ablation.pruning.map_or(Ok(()), |pruning| sizes.check_pairs(&pruning.selection))?)
}

fn check_selection(sizes: &Sizes, selection: &Selection) -> Result<(), RangeError> {
    sizes.check_selection(selection)?;
    Ok(sizes.check_pairs(selection)?)
}

fn check_experiment(sizes: &Sizes, experiment: &Experiment) -> Result<(), RangeError> {
    experiment.check()?;
    Count::SuperWeights.check(experiment.super_weights.len() as u64)?;
    check_places(sizes, experiment.super_weights.iter().map(|at| (*at).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{ExperimentKind, Pruning, Replacement, RowCoord, Sampling, SaveOrder, SettingId, WeightCoord, WeightEdit};

    fn sizes() -> Sizes {
        Sizes { num_hidden_layers: 3, hidden_size: 32, intermediate_size: 64.into(), max_position_embeddings: 128, num_experts: None }
    }

    fn pruned(change: fn(&mut Selection)) -> Pruning {
        let mut selection = Selection::new(Pick::Lowest { by: Ranking::Wanda, share: 0.5 });
        change(&mut selection);
        Pruning { selection, replacement: Replacement::Zero }
    }

    /// Every request with a number, each within its range and just outside, with a part of the refusal.
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn table() -> Vec<(Request, Option<&'static str>)> {
        let at = WeightCoord::new;
        let edit = |target, scale| Ablation { weight_edits: vec![WeightEdit { target, scale }], ..Ablation::default() };
        let save = |ablation| Request::Save(SaveOrder { source: None, ablation, cut: false, folder: None });
        let score =
            |sequences, length, scalar| Request::Score { text: None, sequences, length, super_weights: vec![scalar], resume: false };
        let surround = |rho, eta, support, layer| Request::Surround { rho, eta, support, layer, redundancy: true };
        let delete =
            |per_layer, n_quantiles, layer, seed| Request::Delete { per_layer, n_quantiles, layer, seed, replacement: Replacement::Zero };
        let confirm = |scalar, row, seed| Request::Confirm { candidates: vec![scalar], rows: vec![row], seed };
        let generate = |sampling| Request::Generate { prompt: "a".into(), sampling };
        let text = |max_tokens| Request::UseText { name: "a".into(), text: "b".into(), max_tokens };
        let good = Sampling::default();
        let too_many = vec![pruned(|_| ()); 10_001];
        let experiment = |scalars, bits: f64| {
            let mut experiment = Experiment::with_defaults(ExperimentKind::WeightQuantisation, scalars);
            experiment.settings.number(SettingId::Bits).unwrap().set(&[bits]);
            Request::Experiment(experiment)
        };
        vec![
            (confirm(at(2, 31, 63), RowCoord::new(2, 31), 1), None),
            (confirm(at(3, 0, 0), RowCoord::new(0, 0), 1), Some("layer is 3, but the model has 3 (0 to 2)")),
            (confirm(at(0, 0, 0), RowCoord::new(0, 32), 1), Some("row is 32")),
            (confirm(at(0, 0, 0), RowCoord::new(0, 0), 1 << 53), Some("seed is 9007199254740992")),
            (Request::Apply { ablation: edit(EditTarget::channel(2, 63), 0.0) }, None),
            (Request::Apply { ablation: edit(EditTarget::channel(2, 64), 0.0) }, Some("channel is 64")),
            (Request::Apply { ablation: edit(EditTarget::channel(2, 63), 9.0) }, Some("scale 9")),
            (Request::Apply { ablation: Ablation::pruning(pruned(|of| of.layer = Some(2))) }, None),
            (Request::Apply { ablation: Ablation::pruning(pruned(|of| of.layer = Some(3))) }, Some("layer is 3")),
            (save(edit(EditTarget::row(2, 31), 0.0)), None),
            (save(edit(EditTarget::row(2, 32), 0.0)), Some("row is 32")),
            (save(Ablation::pruning(pruned(|of| of.eta = 2.0))), Some("eta is 2")),
            (text(2), None),
            (text(1), Some("max_tokens is 1, expected 2 to 1048576")),
            (generate(good), None),
            (generate(Sampling { temperature: 5.5, ..good }), Some("temperature is 5.5, expected 0 to 5")),
            (generate(Sampling { max_new_tokens: 0, ..good }), Some("max_new_tokens is 0")),
            (score(1, 2, at(2, 31, 63)), None),
            (score(0, 2, at(0, 0, 0)), Some("sequences is 0, expected 1 to 100000")),
            (score(1, 1, at(0, 0, 0)), Some("length is 1, expected 2")),
            (score(1, 2, at(0, 0, 64)), Some("column is 64")),
            (surround(0.01, 0.1, Some(32), Some(2)), None),
            (surround(1.0, 0.1, None, None), Some("rho is 1")),
            (surround(0.01, 0.0, None, None), Some("eta is 0")),
            (surround(0.01, 0.1, Some(33), None), Some("support K is 33, expected 1 to 32")),
            (surround(0.01, 0.1, None, Some(3)), Some("layer is 3")),
            (Request::Sweep { prunings: vec![pruned(|_| ())] }, None),
            (
                Request::Sweep { prunings: vec![pruned(|_| ()), pruned(|of| of.pick = Pick::Core), pruned(|of| of.rho = 0.0)] },
                Some("rho is 0"),
            ),
            (Request::Sweep { prunings: too_many }, Some("prunings is 10001")),
            (delete(1, 64, Some(2), 1), None),
            (delete(0, 8, None, 1), Some("per_layer is 0")),
            (delete(8, 0, None, 1), Some("quantiles is 0, expected 1 to 64")),
            (delete(8, 65, None, 1), Some("quantiles is 65, expected 1 to 64")),
            (delete(8, 8, Some(3), 1), Some("layer is 3")),
            (delete(8, 8, None, u64::MAX), Some("seed is")),
            (experiment(vec![at(2, 31, 63)], 16.0), None),
            (experiment(vec![at(2, 31, 64)], 16.0), Some("column is 64")),
            (experiment(vec![], 17.0), Some("bits: 17 is not a whole number from 2 to 16")),
            (experiment((0..65).map(|row| at(0, row % 32, row % 64)).collect(), 8.0), Some("super_weights is 65, expected 0 to 64")),
            (Request::UseWorkers { workers: 1 }, None),
            (Request::UseWorkers { workers: 0 }, Some("workers is 0")),
        ]
    }

    #[test]
    fn requests_are_refused_for_every_number_out_of_its_range() {
        for (request, refused) in table() {
            let found = request.check(&sizes());
            match refused {
                None => assert_eq!(found, Ok(()), "{request:?}"),
                Some(part) => {
                    let why = found.expect_err(part).to_string();
                    assert!(why.contains(part), "{why}");
                }
            }
        }
    }

    #[test]
    fn quantiles_are_limited_by_the_narrowest_layer_or_the_one_that_is_asked_for() {
        let sizes = Sizes { num_hidden_layers: 2, intermediate_size: crate::terms::PerLayer::Each(vec![8, 12]), ..sizes() };
        let with = |n_quantiles, layer| {
            let request = Request::Delete { per_layer: 1, n_quantiles, layer, seed: 1, replacement: Replacement::Zero };
            request.check(&sizes).is_ok()
        };
        assert!(with(8, None) && !with(9, None) && with(12, Some(1)) && !with(13, Some(1)));
    }
}
