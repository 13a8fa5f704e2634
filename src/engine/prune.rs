//! Prunings: a selection resolved to channels by the kept scores, and the model without them.

use super::Loaded;
use super::error::EngineError;
use super::scored::{Scored, Surroundings};
use crate::analysis::halo::{default_support, layer_halo};
use crate::analysis::prune::{self, Around, Layer};
use crate::analysis::redundancy;
use crate::job::control::Control;
use crate::model::Model;
use crate::terms::{Pruned, Pruning, Replacement, Selection};

/// The channels of each layer that a pruning removes.
pub(super) struct Removal {
    pub channels: Vec<Vec<usize>>,
    pub pruned: Pruned,
}

impl Loaded {
    /// Resolves a pruning to channels by the kept scores.
    ///
    /// # Errors
    ///
    /// No scores, a stop, or a failing device.
    pub(super) async fn resolved(&mut self, pruning: &Pruning, control: &Control) -> Result<Removal, EngineError> {
        let mut scored = self.scored.take().ok_or(EngineError::NotScored)?;
        let channels = scored.resolve(&self.intact, &pruning.selection, control).await;
        let calibration = scored.calibration();
        self.scored = Some(scored);
        let channels = channels?;
        self.check_gpu()?;
        Ok(Removal { pruned: Pruned::of(*pruning, calibration, &channels), channels })
    }

    /// Removes the resolved channels from the intact model. Their means come from the kept scores.
    pub(super) fn without(&self, removal: &Removal) -> Model {
        let scored = self.scored.as_ref().filter(|_| removal.pruned.pruning.replacement == Replacement::Mean);
        self.intact.without_channels(&removal.channels, scored.and_then(Scored::means).as_deref())
    }
}

impl Scored {
    /// Returns the channels of each layer that a selection picks.
    async fn resolve(&mut self, model: &Model, selection: &Selection, control: &Control) -> Result<Vec<Vec<usize>>, EngineError> {
        let known = self.surroundings.take();
        let surroundings = self.surroundings(model, selection, known, control).await?;
        let layers = self.channels.iter().zip(&surroundings.layers);
        let channels = layers.map(|(scores, around)| prune::channels(selection, Layer { scores, around })).collect();
        self.surroundings = Some(surroundings);
        Ok(channels)
    }

    /// Computes the surroundings that a selection needs, in its layers. `known` is reused if its cores have the same
    /// size.
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
        if pick.needs_protection() && wanted(&mut layers, selection).any(|(_, around)| around.protect.is_none()) {
            self.protect(model, &mut layers, selection, control).await?;
        }
        Ok(Surroundings { rho, eta, n_support, layers })
    }

    /// Computes redundancy and protection of the halos that lack them.
    async fn protect(&self, model: &Model, layers: &mut [Around], selection: &Selection, control: &Control) -> Result<(), EngineError> {
        let missing = wanted(layers, selection).filter(|(_, around)| around.protect.is_none());
        let missing = missing.map(|(layer, _)| layer).collect::<Vec<_>>();
        let halos = layers.iter().enumerate().map(|(layer, around)| around.halo.as_ref().filter(|_| missing.contains(&layer)));
        let halos = halos.collect::<Vec<_>>();
        // Only scored sequences count. With the requested ones, another scoring of as many sequences would pick other
        // channels.
        let scored = &self.sequences.ids[..self.scores.n_sequences];
        let redundancies = redundancy::redundancies(model, &halos, scored, control).await?;
        for ((layer, around), redundancy) in layers.iter_mut().enumerate().zip(redundancies) {
            let (Some(halo), Some(redundancy)) = (&around.halo, redundancy) else { continue };
            around.protect = Some(redundancy::protections(model.config.intermediate_size.at(layer), &halo.halo, &redundancy));
            around.redundancy = Some(redundancy);
        }
        Ok(())
    }
}

/// Yields the layers of a selection, with their indices.
fn wanted<'a>(layers: &'a mut [Around], selection: &Selection) -> impl Iterator<Item = (usize, &'a mut Around)> {
    let only = selection.layer;
    layers.iter_mut().enumerate().filter(move |(layer, _)| only.is_none_or(|only| only == *layer))
}
