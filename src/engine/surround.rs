//! Reports the surroundings of the cores, for a picture, a table, or a file.

use super::error::EngineError;
use super::{Engine, Loaded};
use crate::analysis::halo::{LayerHalo, around, writes};
use crate::analysis::plane::plane;
use crate::analysis::prune::Around;
use crate::job::control::Control;
use crate::model::Model;
use crate::protocol::Event;
use crate::terms::{LayerSurroundings, Pick, Ranking, Selection, SurroundingsReport};

/// Parameters of [`crate::protocol::Request::Surround`].
pub(super) struct Asked {
    pub rho: f64,
    pub eta: f64,
    pub support: Option<usize>,
    pub layer: Option<usize>,
    pub redundancy: bool,
}

impl Engine {
    pub(super) async fn surround(&mut self, asked: Asked) -> Result<(), EngineError> {
        let control = self.control.clone();
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        let report = loaded.surroundings_report(&asked, &control).await?;
        loaded.check_gpu()?;
        control.emit(Event::Surrounded(report));
        Ok(())
    }
}

impl Loaded {
    async fn surroundings_report(&mut self, asked: &Asked, control: &Control) -> Result<SurroundingsReport, EngineError> {
        let Asked { rho, eta, support, layer, redundancy } = *asked;
        // This pick needs exactly the requested surroundings.
        let pick = if redundancy { Pick::Lowest { by: Ranking::Protected, share: 0.0 } } else { Pick::Core };
        let selection = Selection { rho, eta, support, layer, ..Selection::new(pick) };
        let mut scored = self.scored.take().ok_or(EngineError::NotScored)?;
        let known = scored.surroundings.take();
        let found = scored.surroundings(&self.intact, &selection, known, control).await;
        let calibration = scored.calibration();
        let kept = self.scored.insert(scored);
        let found = kept.surroundings.insert(found?);
        let mut layers = Vec::new();
        for (index, around) in found.layers.iter().enumerate().filter(|(index, _)| layer.is_none_or(|layer| layer == *index)) {
            control.checkpoint().await?;
            layers.push(layer_surroundings(&self.intact, index, around, found.n_support, eta).await?);
        }
        Ok(SurroundingsReport { model: self.info.model.clone(), calibration, rho, eta, n_support: found.n_support, layers })
    }
}

async fn layer_surroundings(
    model: &Model,
    layer: usize,
    known: &Around,
    n_support: usize,
    eta: f64,
) -> Result<LayerSurroundings, EngineError> {
    let n_channels = model.config.intermediate_size.at(layer);
    let writes = writes(model, layer).await?;
    let LayerHalo { core, support, connections, halo } =
        known.halo.clone().unwrap_or_else(|| around(&writes, n_channels, known.core.clone(), n_support, eta));
    let protect = known.protect.as_ref().map(|protect| halo.iter().map(|channel| protect[*channel]).collect());
    Ok(LayerSurroundings {
        layer,
        plane: plane(&writes, n_channels, &core),
        core,
        support,
        halo,
        connections,
        redundancy: known.redundancy.clone().unwrap_or_default(),
        protect: protect.unwrap_or_default(),
    })
}
