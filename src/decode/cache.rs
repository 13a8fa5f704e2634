//! The plan's own cache of keys and values, and the rotary angles of the same positions.

use burn::tensor::wgpu::wgpu;

use super::attention;
use super::buffers::{Bound, PARAMS_STRIDE};
use super::error::DecodeError;
use super::gpu::DecodeGpu;
use super::grid::MAX_GRID;
use super::read::to_bytes;
use super::shape::{Shape, unsupported};
use crate::model::KvCache;

/// The first cache is a multiple of this many positions; later ones are twice as long.
const STEP: usize = 64;

pub(super) struct Cache {
    /// One buffer for each layer, `[capacity][cache_width]`.
    pub layers: Vec<wgpu::Buffer>,
    /// `(cos, sin)` by position, kind of layer and pair, computed as in Path A, because a shader's own are less
    /// exact.
    pub rotation: wgpu::Buffer,
    pub capacity: usize,
}

impl Cache {
    /// # Errors
    ///
    /// [`DecodeError::Unsupported`] if a layer's part is larger than a shader can bind.
    pub fn new(gpu: &DecodeGpu, shape: &Shape, n_layers: usize, needed: usize) -> Result<Self, DecodeError> {
        let capacity = needed.next_multiple_of(STEP).min(shape.max_position_embeddings).max(needed);
        let floats = (capacity * shape.cache_width()) as u64;
        if 4 * floats > gpu.max_binding_bytes() {
            return Err(unsupported(&format!("a context of {needed} positions on this GPU")));
        }
        let angles = (0..capacity).flat_map(|position| {
            shape.ropes.iter().flat_map(move |rope| rope.angles(position)).flat_map(|(cos, sin)| [cos.to_bits(), sin.to_bits()])
        });
        Ok(Self {
            layers: (0..n_layers).map(|_| gpu.storage("cache", floats)).collect(),
            rotation: gpu.filled("rotation", &to_bytes(angles), wgpu::BufferUsages::STORAGE),
            capacity,
        })
    }

    /// Copies the contents of a smaller cache.
    pub fn copy_from(&self, gpu: &DecodeGpu, smaller: &Self) {
        let mut encoder = gpu.encoder();
        for (from, to) in smaller.layers.iter().zip(&self.layers) {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size().min(to.size()));
        }
        gpu.queue.submit([encoder.finish()]);
    }

    /// Copies the keys and values that Path A has computed for the prompt.
    pub fn import(&self, gpu: &DecodeGpu, shape: &Shape, from: &KvCache) -> Result<(), DecodeError> {
        let kernel = attention::import(shape);
        let mut bound = Vec::new();
        let mut sources = Vec::new();
        for (keys, values) in from.key_values() {
            let (keys, values) = (Bound::strided("cached keys", keys)?, Bound::strided("cached values", values)?);
            sources.push(from.len() as u32);
            sources.extend(keys.strides.iter().chain(&values.strides).map(|stride| *stride as u32));
            sources.resize(sources.len().next_multiple_of(PARAMS_STRIDE as usize / 4), 0);
            bound.push((keys, values));
        }
        let Some((first, _)) = bound.first() else { return Ok(()) };
        first.flush()?;
        let sources = gpu.filled("sources", &to_bytes(sources), wgpu::BufferUsages::UNIFORM);
        let grid = [from.len().min(MAX_GRID) as u32, from.len().div_ceil(MAX_GRID) as u32, 1];
        let steps = bound.iter().zip(&self.layers).enumerate().map(|(layer, ((keys, values), cache))| {
            let size = std::num::NonZeroU64::new(32);
            let source = wgpu::BufferBinding { buffer: &sources, offset: PARAMS_STRIDE * layer as u64, size };
            let resources = [wgpu::BindingResource::Buffer(source), keys.binding(), values.binding(), cache.as_entire_binding()];
            gpu.step(&kernel, &resources, grid)
        });
        let steps = steps.collect::<Vec<_>>();
        let mut encoder = gpu.encoder();
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("import"), timestamp_writes: None });
        steps.iter().for_each(|step| step.encode(&mut pass));
        drop(pass);
        gpu.queue.submit([encoder.finish()]);
        Ok(())
    }
}
