//! The part of a pass before a model's first change, kept between the passes of several changed models.
//!
//! A confirmation, a sweep or an experiment runs the same text through many models that differ from the loaded one
//! only from some layer on. Up to there, every pass computes the same residual stream, so it is kept where a change
//! begins, and the next model with a change there, or further on, starts from it. Losses are equal to the bit, because
//! the same operations run on the same values.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::model::Model;
use crate::model::probe::Probe;
use crate::model::stack::Layers;

/// The most bytes of residual streams kept: a browser shares its memory, and that of its GPU, with everything else.
pub const LIMIT: u64 = if usize::BITS == 32 { 64 << 20 } else { 512 << 20 };

/// Residual streams of one loaded model over passages.
#[derive(Debug)]
pub struct Prefixes {
    limit: u64,
    bytes: u64,
    /// The layers of the model whose streams these are.
    of: Option<Layers>,
    /// Streams that enter a layer, by layer and by the passage's ids.
    kept: BTreeMap<usize, BTreeMap<Vec<u32>, Tensor<2>>>,
    /// Kept layers, the least recently used first.
    used: Vec<usize>,
    n_spared: usize,
}

impl Default for Prefixes {
    /// Keeps at most 512 MiB; 64 MiB in a browser.
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl Prefixes {
    /// Keeps nothing: every pass begins at the embeddings.
    pub fn none() -> Self {
        Self::with_limit(0)
    }

    /// Keeps at most `limit` bytes.
    pub fn with_limit(limit: u64) -> Self {
        Self { limit, bytes: 0, of: None, kept: BTreeMap::new(), used: Vec::new(), n_spared: 0 }
    }

    /// Computes the residual stream that leaves the last layer, `[seq, hidden_size]`, for a passage. The pass begins at
    /// the last kept stream before the first change by the model or the probe.
    ///
    /// # Panics
    ///
    /// In the cases of [`Model::forward`].
    pub(crate) fn run(&mut self, model: &Model, ids: &[u32], probe: &mut Probe<'_>) -> Tensor<2> {
        if !self.of.as_ref().is_some_and(|layers| layers.have_one_origin(&model.layers)) {
            *self = Self { of: Some(model.layers.clone()), n_spared: self.n_spared, ..Self::with_limit(self.limit) };
        }
        let n_same = model.layers.n_intact().min(probe.first_layer());
        let begun = self.kept.range(..=n_same).rev().find_map(|(layer, streams)| Some((*layer, streams.get(ids)?.clone())));
        let (first, x) = begun.unwrap_or_else(|| (0, model.embed(ids, 0)));
        self.touch(first);
        self.n_spared += first;
        let mut entering = None;
        let y = model.without_head_from(first, x, probe, |layer, x| {
            if layer == n_same && layer > first {
                entering = Some(x.clone());
            }
        });
        if let Some(x) = entering {
            self.keep(n_same, ids, x);
        }
        y
    }

    /// The number of layers that passes did not have to run.
    pub fn n_spared(&self) -> usize {
        self.n_spared
    }

    /// Keeps a stream if there is room. Streams of the layers that were not used for the longest time give way.
    fn keep(&mut self, layer: usize, ids: &[u32], x: Tensor<2>) {
        self.touch(layer);
        let bytes = size_of(&x);
        while self.bytes + bytes > self.limit && self.used.first().is_some_and(|oldest| *oldest != layer) {
            let streams = self.kept.remove(&self.used.remove(0)).unwrap_or_default();
            self.bytes -= streams.values().map(size_of).sum::<u64>();
        }
        if self.bytes + bytes <= self.limit {
            self.bytes += bytes;
            self.kept.entry(layer).or_default().insert(ids.to_vec(), x);
        }
    }

    /// Marks a layer as used last.
    fn touch(&mut self, layer: usize) {
        self.used.retain(|used| *used != layer);
        self.used.push(layer);
    }
}

fn size_of(x: &Tensor<2>) -> u64 {
    4 * x.dims().iter().product::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn stream() -> Tensor<2> {
        Tensor::zeros([5, 4], &Device::flex())
    }

    #[test]
    fn streams_of_layers_that_are_not_used_give_way() {
        let mut prefixes = Prefixes::with_limit(4 * 80);
        for (layer, passage) in [(3, 0), (3, 1), (7, 0)] {
            prefixes.keep(layer, &[passage], stream());
        }
        prefixes.touch(3);
        prefixes.keep(9, &[0], stream());
        assert_eq!(prefixes.bytes, 4 * 80);
        prefixes.keep(9, &[1], stream());
        // Layer 7 was used before layer 3.
        assert_eq!(prefixes.kept.keys().collect::<Vec<_>>(), [&3, &9]);
        assert_eq!(prefixes.bytes, 4 * 80);
    }

    #[test]
    fn stream_without_room_is_not_kept() {
        let mut prefixes = Prefixes::with_limit(3 * 80 - 1);
        for passage in 0..4 {
            prefixes.keep(5, &[passage], stream());
        }
        assert_eq!((prefixes.kept[&5].len(), prefixes.bytes), (2, 2 * 80));
        let mut none = Prefixes::none();
        none.keep(1, &[0], stream());
        assert!(none.kept.is_empty());
    }
}
