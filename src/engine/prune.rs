//! Prunings: a selection of channels resolved by the kept scores, and the model without them.

use super::Loaded;
use super::error::EngineError;
use super::scored::{Scored, Surroundings};
use crate::analysis::halo::{default_support, layer_halo};
use crate::analysis::prune::{self, Around, Layer};
use crate::analysis::redundancy;
use crate::job::SettingError;
use crate::job::control::Control;
use crate::model::{Model, ModelError};
use crate::terms::{Pick, Pruned, Pruning, Replacement, Selection};

/// The channels of each layer that a pruning removes.
pub(super) struct Removal {
    pub channels: Vec<Vec<usize>>,
    pub pruned: Pruned,
}

impl Loaded {
    /// What a pruning comes to by the kept scores.
    ///
    /// # Errors
    ///
    /// A selection that the model has no place for, no scores, a stop, or a failing device.
    pub(super) async fn resolved(&mut self, pruning: &Pruning, control: &Control) -> Result<Removal, EngineError> {
        check(&pruning.selection, &self.intact)?;
        let mut scored = self.scored.take().ok_or(EngineError::NotScored)?;
        let channels = scored.resolve(&self.intact, &pruning.selection, control).await;
        let calibration = scored.calibration();
        self.scored = Some(scored);
        let channels = channels?;
        self.check_gpu()?;
        Ok(Removal { pruned: Pruned::of(*pruning, calibration, &channels), channels })
    }

    /// The intact model without what was resolved by the scores that are still kept.
    pub(super) fn without(&self, removal: &Removal) -> Model {
        let scored = self.scored.as_ref().filter(|_| removal.pruned.pruning.replacement == Replacement::Mean);
        self.intact.without_channels(&removal.channels, scored.and_then(Scored::means).as_deref())
    }
}

/// Checks that the model has a place for a selection.
///
/// # Errors
///
/// [`SettingError`], [`EngineError::Support`] or [`ModelError::OutOfRange`] for the first setting outside its range.
pub(super) fn check(selection: &Selection, model: &Model) -> Result<(), EngineError> {
    let setting = |key, got: f64, expected| Err(SettingError { key, got: got.to_string(), expected }.into());
    let Selection { pick, rho, eta, support, layer, .. } = *selection;
    if !(rho > 0.0 && rho < 1.0) {
        return setting("rho", rho, "more than 0 and less than 1");
    }
    if !(eta > 0.0 && eta <= 1.0) {
        return setting("eta", eta, "more than 0 and at most 1");
    }
    if let Pick::Lowest { share, .. } | Pick::Highest { share, .. } = pick
        && !(0.0..=1.0).contains(&share)
    {
        return setting("share", share, "0 to 1");
    }
    let (limit, n_layers) = (model.config.hidden_size, model.config.num_hidden_layers);
    if let Some(got) = support.filter(|support| !(1..=limit).contains(support)) {
        return Err(EngineError::Support { got, limit });
    }
    if let Some(got) = layer.filter(|layer| *layer >= n_layers) {
        return Err(ModelError::OutOfRange { what: "layer", got, limit: n_layers }.into());
    }
    let n_layers = if layer.is_some() { 1 } else { n_layers };
    check_pairs(selection, model.config.intermediate_size, n_layers)
}

/// What redundancy would be summed for fits into memory.
fn check_pairs(selection: &Selection, n_channels: usize, n_layers: usize) -> Result<(), EngineError> {
    let Selection { pick, rho, eta, .. } = *selection;
    let n = redundancy::n_pairs(rho, eta, n_channels, n_layers);
    if prune::needs_protection(pick) && n > redundancy::MAX_PAIRS {
        let expected = "67108864 or fewer: choose a smaller core or halo, or one layer";
        return Err(SettingError { key: "the number of pairs of a core's and a halo's channels", got: n.to_string(), expected }.into());
    }
    Ok(())
}

impl Scored {
    /// The channels of each layer that a selection picks.
    async fn resolve(&mut self, model: &Model, selection: &Selection, control: &Control) -> Result<Vec<Vec<usize>>, EngineError> {
        let known = self.surroundings.take();
        let surroundings = self.surroundings(model, selection, known, control).await?;
        let layers = self.channels.iter().zip(&surroundings.layers);
        let channels = layers.map(|(scores, around)| prune::channels(selection, Layer { scores, around })).collect();
        self.surroundings = Some(surroundings);
        Ok(channels)
    }

    /// As much as the selection needs, of the layers that it is of; what is `known` of cores of the same size is gone on from.
    pub(super) async fn surroundings(
        &self,
        model: &Model,
        selection: &Selection,
        known: Option<Surroundings>,
        control: &Control,
    ) -> Result<Surroundings, EngineError> {
        let Selection { rho, eta, support, pick, .. } = *selection;
        let n_support = support.unwrap_or_else(|| default_support(model.config.hidden_size));
        let known = known.filter(|known| (known.rho, known.eta, known.n_support) == (rho, eta, n_support));
        let mut layers = known.map_or_else(
            || self.channels.iter().map(|layer| Around { core: prune::core(layer, rho), ..Around::default() }).collect::<Vec<_>>(),
            |known| known.layers,
        );
        if prune::needs_halo(pick) {
            for (layer, around) in wanted(&mut layers, selection) {
                control.checkpoint().await?;
                if around.halo.is_none() {
                    around.halo = Some(layer_halo(model, layer, around.core.clone(), n_support, eta).await?);
                }
            }
        }
        if prune::needs_protection(pick) && wanted(&mut layers, selection).any(|(_, around)| around.protect.is_none()) {
            self.protect(model, &mut layers, selection, control).await?;
        }
        Ok(Surroundings { rho, eta, n_support, layers })
    }

    /// Finds how redundant the halos are that nothing is known of.
    async fn protect(&self, model: &Model, layers: &mut [Around], selection: &Selection, control: &Control) -> Result<(), EngineError> {
        let missing = wanted(layers, selection).filter(|(_, around)| around.protect.is_none());
        let missing = missing.map(|(layer, _)| layer).collect::<Vec<_>>();
        let halos = layers.iter().enumerate().map(|(layer, around)| around.halo.as_ref().filter(|_| missing.contains(&layer)));
        let halos = halos.collect::<Vec<_>>();
        // Those that were asked for and not scored would make another scoring of as many pick other channels.
        let scored = &self.sequences.ids[..self.scores.n_sequences];
        let redundancies = redundancy::redundancies(model, &halos, scored, control).await?;
        for (around, redundancy) in layers.iter_mut().zip(redundancies) {
            let (Some(halo), Some(redundancy)) = (&around.halo, redundancy) else { continue };
            around.protect = Some(redundancy::protections(model.config.intermediate_size, &halo.halo, &redundancy));
            around.redundancy = Some(redundancy);
        }
        Ok(())
    }
}

/// The layers that a selection is of, with their places.
fn wanted<'a>(layers: &'a mut [Around], selection: &Selection) -> impl Iterator<Item = (usize, &'a mut Around)> {
    let only = selection.layer;
    layers.iter_mut().enumerate().filter(move |(layer, _)| only.is_none_or(|only| only == *layer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Ranking;

    #[test]
    fn too_many_pairs_are_refused_before_anything_is_read() {
        let by = |by, rho| Selection { rho, eta: 1.0, ..Selection::new(Pick::Lowest { by, share: 0.5 }) };
        assert!(check_pairs(&by(Ranking::Protected, 0.5), 448, 20).is_ok());
        // 7168² of each layer.
        assert!(check_pairs(&by(Ranking::Protected, 0.5), 14336, 1).is_ok());
        let refused = check_pairs(&by(Ranking::Connected, 0.5), 14336, 2).unwrap_err();
        assert!(refused.to_string().contains("is 102760448, expected 67108864 or fewer"), "{refused}");
        assert_eq!(redundancy::MAX_PAIRS, 67_108_864);
        assert!(check_pairs(&by(Ranking::LossProxy, 0.5), 14336, 32).is_ok(), "it needs no redundancy");
    }
}
