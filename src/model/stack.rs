//! A model's layers, with the knowledge of how many are still those that were loaded.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::DecoderLayer;

/// The layers of a model, from the first to the last. Cloning shares their weights.
///
/// A changed model is a clone with edits. For the layers before the first edit its passes are those of the loaded
/// model, so a measurement may begin where the edits do ([`crate::analysis::prefix`]). Any mutable access counts as an
/// edit of all layers, except through [`Self::edit`] and [`Self::reshape`].
#[derive(Debug, Clone)]
pub struct Layers {
    layers: Vec<DecoderLayer>,
    /// The same for all models that were made from one loaded model.
    origin: Arc<()>,
    n_intact: usize,
}

impl From<Vec<DecoderLayer>> for Layers {
    /// The layers of a loaded model.
    fn from(layers: Vec<DecoderLayer>) -> Self {
        Self { n_intact: layers.len(), layers, origin: Arc::default() }
    }
}

impl Deref for Layers {
    type Target = [DecoderLayer];

    fn deref(&self) -> &Self::Target {
        &self.layers
    }
}

impl DerefMut for Layers {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.n_intact = 0;
        &mut self.layers
    }
}

impl Layers {
    /// One layer, to be changed.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    pub fn edit(&mut self, index: usize) -> &mut DecoderLayer {
        self.n_intact = self.n_intact.min(index);
        &mut self.layers[index]
    }

    /// Changes how every layer is stored. The change must leave what a layer computes as it is.
    pub(super) fn reshape(&mut self, change: impl FnMut(&mut DecoderLayer)) {
        self.layers.iter_mut().for_each(change);
    }

    /// The same layers, counted as those of a loaded model: edits of the result are changes of these.
    #[must_use]
    pub fn as_loaded(&self) -> Self {
        Self::from(self.layers.clone())
    }

    /// The number of layers, from the first on, that compute what those of the loaded model compute.
    pub fn n_intact(&self) -> usize {
        self.n_intact
    }

    /// `true` if both were made from the same loaded model.
    pub fn have_one_origin(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.origin, &other.origin)
    }
}
