//! The buffers behind Burn's tensors, bound in place, and the small vectors packed into one.

use std::ops::Range;

use burn::backend::Wgpu;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::wgpu::wgpu;
use burn::tensor::{DType, Tensor};

use super::error::DecodeError;
use super::gpu::DecodeGpu;
use super::shape::Shape;
use crate::model::attention::{QkNorm, QkvProj};
use crate::model::layers::{Linear, Norm};
use crate::model::mlp::Hidden;
use crate::model::{DecoderLayer, Model};
use crate::tensors::{Packed, Table, Weight, resource_of};

/// A tensor's memory on the GPU. Holds the tensor, so that Burn neither frees nor reuses it.
pub(super) struct Bound {
    buffer: wgpu::Buffer,
    offset: u64,
    bytes: u64,
    pub strides: Vec<usize>,
    tensor: CubeTensor,
}

impl Bound {
    /// # Errors
    ///
    /// [`DecodeError::Buffer`] if the tensor is on another device, or is not f32.
    pub fn strided<const D: usize>(name: &'static str, tensor: &Tensor<D>) -> Result<Self, DecodeError> {
        let failed = |error| DecodeError::Buffer { name, why: format!("{error:?}") };
        Self::of(name, tensor.clone().try_into_primitive::<Wgpu>().map_err(failed)?, DType::F32)
    }

    /// Binds a matrix in either form; see [`Self::is_bf16`].
    ///
    /// # Errors
    ///
    /// The errors of [`Self::new`].
    pub fn weight(name: &'static str, weight: &Weight) -> Result<Self, DecodeError> {
        let failed = |error| DecodeError::Buffer { name, why: format!("{error:?}") };
        match weight {
            Weight::F32(weight) => Self::new(name, weight),
            Weight::Bf16(Packed { words }) => {
                let bound = Self::of(name, words.clone().try_into_primitive::<Wgpu>().map_err(failed)?, DType::I32)?;
                bound.row_major(name, &words.dims())
            }
        }
    }

    fn of(name: &'static str, tensor: CubeTensor, dtype: DType) -> Result<Self, DecodeError> {
        let failed = |why: String| DecodeError::Buffer { name, why };
        if tensor.dtype != dtype {
            return Err(failed(format!("its type is {:?}", tensor.dtype)));
        }
        let resource = resource_of(&tensor).map_err(failed)?;
        let strides = tensor.meta.strides().iter().copied().collect();
        Ok(Self { buffer: resource.buffer, offset: resource.offset, bytes: resource.size.next_multiple_of(4), strides, tensor })
    }

    /// # Errors
    ///
    /// The errors of [`Self::strided`], and [`DecodeError::Buffer`] for a tensor whose values are not in row-major
    /// order.
    pub fn new<const D: usize>(name: &'static str, tensor: &Tensor<D>) -> Result<Self, DecodeError> {
        Self::strided(name, tensor)?.row_major(name, &tensor.dims())
    }

    fn row_major(self, name: &'static str, dims: &[usize]) -> Result<Self, DecodeError> {
        let mut expected = 1;
        for (dim, stride) in dims.iter().zip(&self.strides).rev() {
            if *dim > 1 && *stride != expected {
                return Err(DecodeError::Buffer { name, why: format!("its strides are {:?}", self.strides) });
            }
            expected *= dim;
        }
        Ok(self)
    }

    /// `true` if the buffer holds bf16 values, two in each word.
    pub fn is_bf16(&self) -> bool {
        self.tensor.dtype == DType::I32
    }

    pub fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.bytes),
        })
    }

    /// Submits the commands that Burn has recorded, so that our next ones come after them.
    pub fn flush(&self) -> Result<(), DecodeError> {
        self.tensor.client.flush().map_err(|error| DecodeError::Buffer { name: "Burn's queue", why: format!("{error:?}") })
    }
}

/// Consecutive rows of a table: all of them, or a chunk's.
pub(super) struct BoundRows {
    pub rows: Range<usize>,
    pub bound: Bound,
}

impl BoundRows {
    fn of(name: &'static str, table: &Table) -> Result<Vec<Self>, DecodeError> {
        table.chunks().map(|(rows, chunk)| Ok(Self { rows, bound: Bound::weight(name, chunk)? })).collect()
    }
}

/// A layer's matrices.
pub(super) struct LayerWeights {
    pub qkv: Vec<Bound>,
    pub output: Bound,
    pub hidden: Vec<Bound>,
    pub down: Bound,
    pub params: LayerParams,
}

/// Offsets of a layer's small vectors: norms in vec4s, the rest in floats.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LayerParams {
    norm1: [u32; 2],
    norm2: [u32; 2],
    /// The norm after the attention; `post2` is the norm after the feed-forward block.
    post1: [u32; 2],
    post2: [u32; 2],
    qk_norm: [u32; 2],
    qkv_bias: u32,
    o_bias: u32,
    hidden_bias: u32,
    down_bias: u32,
    window: u32,
    /// Index of the layer's angles in the shape's `ropes`.
    rope: u32,
}

/// Bytes between two layers' parameters: the largest alignment that WebGPU requires for a uniform.
pub(super) const PARAMS_STRIDE: u64 = 256;

impl LayerParams {
    /// The parameters as words, in the order of `struct Layer`.
    pub fn words(&self) -> [u32; 16] {
        let Self { norm1, norm2, post1, post2, qk_norm, qkv_bias, o_bias, hidden_bias, down_bias, window, rope } = *self;
        let [[a, b], [c, d], [e, f], [g, h], [i, j]] = [norm1, norm2, post1, post2, qk_norm];
        [a, b, c, d, e, f, g, h, i, j, qkv_bias, o_bias, hidden_bias, down_bias, window, rope]
    }
}

/// Norms and biases one after the other, because bound separately they would exceed the 8 buffers of a stage.
#[derive(Default)]
struct Vectors {
    parts: Vec<(Bound, u64)>,
    floats: u64,
}

impl Vectors {
    /// Appends a vector at the next vec4, and returns its offset in floats.
    fn align_and_push(&mut self, name: &'static str, vector: &Tensor<1>) -> Result<u32, DecodeError> {
        self.floats = self.floats.next_multiple_of(4);
        let at = self.floats;
        self.push(name, vector)?;
        Ok(at as u32)
    }

    fn push(&mut self, name: &'static str, vector: &Tensor<1>) -> Result<(), DecodeError> {
        self.parts.push((Bound::new(name, vector)?, self.floats));
        self.floats += vector.dims()[0] as u64;
        Ok(())
    }

    /// Appends a norm, and returns the offsets of its weight and its bias in vec4s.
    fn norm(&mut self, norm: &Norm) -> Result<[u32; 2], DecodeError> {
        Ok(match norm {
            Norm::Rms { weight, .. } => [self.align_and_push("a norm's weight", weight)? / 4, 0],
            Norm::Layer { weight, bias, .. } => {
                [self.align_and_push("a norm's weight", weight)? / 4, self.align_and_push("a norm's bias", bias)? / 4]
            }
        })
    }

    /// Appends a norm that may be absent; its offsets are then 0.
    fn norm_if_any(&mut self, norm: Option<&Norm>) -> Result<[u32; 2], DecodeError> {
        norm.map_or(Ok([0, 0]), |norm| self.norm(norm))
    }

    /// Appends the biases of matrices that one kernel reads together, and returns their offset in floats.
    fn biases(&mut self, linears: &[&Linear]) -> Result<u32, DecodeError> {
        self.floats = self.floats.next_multiple_of(4);
        let at = self.floats as u32;
        for bias in linears.iter().filter_map(|linear| linear.bias.as_ref()) {
            self.push("a bias", bias)?;
        }
        Ok(at)
    }

    fn into_buffer(self, gpu: &DecodeGpu) -> Result<wgpu::Buffer, DecodeError> {
        let buffer = gpu.storage("vectors", self.floats);
        if let Some((first, _)) = self.parts.first() {
            first.flush()?;
        }
        let mut encoder = gpu.encoder();
        for (bound, at) in &self.parts {
            let bytes = 4 * bound.tensor.meta.shape().num_elements() as u64;
            encoder.copy_buffer_to_buffer(&bound.buffer, bound.offset, &buffer, 4 * at, bytes);
        }
        gpu.queue.submit([encoder.finish()]);
        Ok(buffer)
    }
}

/// A model's weights, bound for a plan.
pub(super) struct Weights {
    pub embed_tokens: Vec<BoundRows>,
    /// Rows of the position table; empty if positions are not learned.
    pub embed_positions: Vec<BoundRows>,
    pub layers: Vec<LayerWeights>,
    pub head: Vec<BoundRows>,
    pub vectors: wgpu::Buffer,
    /// Every layer's parameters, then those of the final norm.
    pub params: wgpu::Buffer,
}

impl Weights {
    pub fn bind(gpu: &DecodeGpu, shape: &Shape, model: &Model) -> Result<Self, DecodeError> {
        let mut vectors = Vectors::default();
        let windows = &model.config.sliding_window;
        let layers = model.layers.iter().enumerate().map(|(index, layer)| {
            let window = windows.get(index).copied().flatten().unwrap_or(0);
            let rope = model.rotary_emb.get(index).and_then(|rope| shape.ropes.iter().position(|known| known == rope));
            bind_layer(layer, window as u32, rope.unwrap_or(0) as u32, &mut vectors)
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let last = LayerParams { norm1: vectors.norm(&model.norm)?, ..LayerParams::default() };
        let slots = layers.iter().map(|layer| &layer.params).chain([&last]);
        let padding = PARAMS_STRIDE as usize / 4 - last.words().len();
        let params = slots.flat_map(|params| params.words().into_iter().chain(std::iter::repeat_n(0, padding)));
        let params = gpu.filled("params", &super::read::to_bytes(params), wgpu::BufferUsages::UNIFORM);
        Ok(Self {
            embed_tokens: BoundRows::of("embed_tokens", &model.embed_tokens)?,
            embed_positions: match &model.embed_positions {
                Some(table) => BoundRows::of("embed_positions", table)?,
                None => Vec::new(),
            },
            layers,
            head: BoundRows::of("lm_head", &model.lm_head.weight)?,
            vectors: vectors.into_buffer(gpu)?,
            params,
        })
    }

    /// A layer's parameters; the index after the last layer has the final norm's.
    pub fn params_of(&self, layer: usize) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.params,
            offset: PARAMS_STRIDE * layer as u64,
            size: std::num::NonZeroU64::new(64),
        })
    }
}

fn bind_layer(layer: &DecoderLayer, window: u32, rope: u32, vectors: &mut Vectors) -> Result<LayerWeights, DecodeError> {
    let attention = &layer.self_attn;
    let qkv = match &attention.qkv_proj {
        QkvProj::Separate { q_proj, k_proj, v_proj } => vec![q_proj, k_proj, v_proj],
        QkvProj::Fused(qkv) => vec![qkv],
    };
    let hidden = match &layer.mlp.hidden {
        Hidden::Gated { gate_proj, up_proj } => vec![gate_proj, up_proj],
        Hidden::Plain { c_fc } => vec![c_fc],
    };
    let bind = |linears: &[&Linear]| linears.iter().map(|linear| Bound::weight("a matrix", &linear.weight)).collect::<Result<Vec<_>, _>>();
    let qk_norm = match &attention.qk_norm {
        Some(QkNorm { q_norm, k_norm, .. }) => [4 * vectors.norm(q_norm)?[0], 4 * vectors.norm(k_norm)?[0]],
        None => [0, 0],
    };
    let params = LayerParams {
        norm1: vectors.norm_if_any(layer.input_layernorm.as_ref())?,
        norm2: vectors.norm_if_any(layer.pre_feedforward_layernorm.as_ref())?,
        post1: vectors.norm_if_any(layer.post_attention_layernorm.as_ref())?,
        post2: vectors.norm_if_any(layer.post_feedforward_layernorm.as_ref())?,
        qk_norm,
        qkv_bias: vectors.biases(&qkv)?,
        o_bias: vectors.biases(&[&attention.o_proj])?,
        hidden_bias: vectors.biases(&hidden)?,
        down_bias: vectors.biases(&[&layer.mlp.down_proj])?,
        window,
        rope,
    };
    Ok(LayerWeights {
        qkv: bind(&qkv)?,
        output: Bound::weight("o_proj", &attention.o_proj.weight)?,
        hidden: bind(&hidden)?,
        down: Bound::weight("down_proj", &layer.mlp.down_proj.weight)?,
        params,
    })
}
