//! The model saved with its edits, from the files that it came from.

use std::collections::{BTreeMap, BTreeSet};

use super::error::EngineError;
use super::{Engine, Loaded};
use crate::job::control::Control;
use crate::model::Model;
use crate::platform::{Files, Output};
use crate::protocol::Event;
use crate::saving::{Changes, SavingError, Target, save};
use crate::terms::{Ablation, EditTarget, ModelSource, Pruned, Replacement, SaveOrder, Saved};

impl Engine {
    pub(super) async fn save(&mut self, order: SaveOrder) -> Result<(), EngineError> {
        let SaveOrder { source, ablation, cut, folder } = order;
        let control = self.control.clone();
        self.saved = None;
        if !ablation.interventions.is_empty() {
            return Err(SavingError::Interventions.into());
        }
        let (changes, pruned) = match &source {
            // Without a model, only edits that need no measurement are known.
            Some(_) if !needs_model(&ablation) => (Changes { edits: ablation.weight_edits.clone(), ..Changes::default() }, None),
            Some(_) => return Err(EngineError::NotLoaded),
            None => self.loaded.as_mut().ok_or(EngineError::NotLoaded)?.changes(&ablation, &control).await?,
        };
        let loaded = if source.is_none() { self.loaded.as_ref() } else { None };
        let source: &ModelSource = source.as_ref().or(loaded.map(|loaded| &loaded.source)).ok_or(EngineError::NotLoaded)?;
        let files = control.unless_stopped(Files::find(source)).await??;
        let output = Output::new(folder.as_deref())?;
        let known = loaded.map_or(&[][..], |loaded| &loaded.info.provenance.files);
        let target = Target { output: &output, is_whole: folder.is_some(), cut, loaded: known };
        let saved = save(&files, &changes, &target, &control).await?;
        let added_bos = loaded.and_then(|loaded| loaded.info.model.added_bos);
        control.emit(Event::Saved(Saved { ablation, pruned, added_bos, ..saved }));
        self.saved = Some(output);
        Ok(())
    }
}

/// `true` for an ablation whose weights depend on measurements: scores of channels, or their means.
fn needs_model(ablation: &Ablation) -> bool {
    ablation.pruning.is_some() || ablation.weight_edits.iter().any(|edit| is_mean(&edit.target) && edit.scale != 1.0)
}

fn is_mean(target: &EditTarget) -> bool {
    matches!(target, EditTarget::ChannelMean(_))
}

impl Loaded {
    /// Resolves an ablation to changes of weights.
    async fn changes(&mut self, ablation: &Ablation, control: &Control) -> Result<(Changes, Option<Pruned>), EngineError> {
        self.intact.check_ablation(ablation)?;
        let means = ablation.weight_edits.iter().filter(|edit| is_mean(&edit.target) && edit.scale != 1.0);
        let mut layers = means.map(|edit| edit.target.layer()).collect::<BTreeSet<_>>();
        if !layers.is_empty() {
            self.know_means(control).await?;
        }
        let removal = match &ablation.pruning {
            Some(pruning) => Some(self.resolved(pruning, control).await?),
            None => None,
        };
        let base = removal.as_ref().map_or_else(|| self.intact.clone(), |removal| self.without(removal));
        let removed = removal.as_ref().map(|removal| removal.channels.clone()).unwrap_or_default();
        if ablation.pruning.is_some_and(|pruning| pruning.replacement == Replacement::Mean) {
            layers.extend(removed.iter().enumerate().filter(|(_, channels)| !channels.is_empty()).map(|(layer, _)| layer));
        }
        let down_biases = match layers.is_empty() {
            true => BTreeMap::new(),
            false => down_biases(&base.with_ablation_by(ablation, self.means.as_deref())?, &layers).await?,
        };
        self.check_gpu()?;
        Ok((Changes { edits: ablation.weight_edits.clone(), removed, down_biases }, removal.map(|removal| removal.pruned)))
    }
}

/// The biases of `down_proj` of some layers, as the edited model has them.
async fn down_biases(edited: &Model, layers: &BTreeSet<usize>) -> Result<BTreeMap<usize, Vec<f32>>, EngineError> {
    let mut found = BTreeMap::new();
    for layer in layers {
        if let Some(bias) = edited.layers[*layer].mlp.down_proj.bias.clone() {
            let values = bias.into_data_async().await?.try_into_vec::<f32>();
            found.insert(*layer, values.map_err(|error| crate::tensors::DeviceError::Execution { why: error.to_string() })?);
        }
    }
    Ok(found)
}
