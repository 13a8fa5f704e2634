//! The one forward pass of all families: token ids to logits, from top to bottom.
//!
//! Prefill, decoding, capture and gradients all use this pass. Families differ in data ([`config::ModelConfig`]) and
//! in the parts that [`families`] assembles; nothing here branches on a family's name. One sequence runs at a time:
//! tensors are `[seq, width]`, without a batch dimension.

pub mod attention;
pub mod config;
pub mod edit;
pub mod families;
pub mod layers;
pub mod mlp;
pub mod probe;
pub mod prune;
mod python_json;
pub mod rotary;
pub mod rounding;
pub mod stack;
pub mod weights;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use thiserror::Error;

use crate::tensors::{self, Table};
use crate::terms::{LimitError, Site};
use attention::{Attention, LayerCache};
use config::ModelConfig;
use layers::{LmHead, Norm};
use mlp::Mlp;
use probe::{Probe, Reader};
use rotary::{RotaryEmbedding, Rotation};
use stack::Layers;

/// Errors in a model's configuration, or in a request to a model.
#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ModelError {
    #[error("config.json: {key} {why}")]
    Config { key: String, why: String },
    #[error("unknown architecture {model_type:?}; supported are {known}")]
    UnknownArchitecture { model_type: String, known: String },
    #[error("not supported yet: {what}")]
    Unsupported { what: String },
    #[error("config.json: {key} says that the weights are quantised ({method})")]
    Quantised { method: String, key: &'static str },
    #[error("a channel cannot be replaced by its mean, because the mean is unknown")]
    NoMean,
    #[error(transparent)]
    #[serde(untagged)]
    Limit(#[from] LimitError),
}

/// A decoder-only transformer with its weights on one or several devices: the embeddings, each layer, and norm with
/// head each have one. Cloning shares the weights.
#[derive(Debug, Clone)]
pub struct Model {
    pub config: ModelConfig,
    pub embed_tokens: Table,
    /// Factor of the embeddings (Gemma).
    pub embed_scale: Option<f64>,
    /// Learned position table, `[max_position_embeddings, hidden_size]` (GPT-2's `wpe`).
    pub embed_positions: Option<Table>,
    /// Rotary embedding of each layer; empty if positions are learned.
    pub rotary_emb: Vec<RotaryEmbedding>,
    pub layers: Layers,
    pub norm: Norm,
    pub lm_head: LmHead,
}

/// Attention and feed-forward block, each added to the residual stream, with norms before them, after them, or both:
///
/// ```text
/// y = x + post_attention_layernorm(self_attn(input_layernorm(x)))
/// z = y + post_feedforward_layernorm(mlp(pre_feedforward_layernorm(y)))
/// ```
///
/// The names are those of Gemma, which has all four norms. Llama has the two before, and calls the second one
/// `post_attention_layernorm`.
#[derive(Debug, Clone)]
pub struct DecoderLayer {
    pub input_layernorm: Option<Norm>,
    pub self_attn: Attention,
    pub post_attention_layernorm: Option<Norm>,
    pub pre_feedforward_layernorm: Option<Norm>,
    pub mlp: Mlp,
    pub post_feedforward_layernorm: Option<Norm>,
    /// `true` if the feed-forward block reads x, like the attention, and not y (GPT-NeoX).
    pub is_parallel: bool,
}

/// Keys and values of one sequence, for all layers.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
}

impl KvCache {
    /// Positions seen so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Each layer's keys and values, `[num_kv_heads, len, head_dim]`.
    pub fn key_values(&self) -> impl Iterator<Item = (&Tensor<3>, &Tensor<3>)> {
        self.layers.iter().filter_map(LayerCache::key_value)
    }
}

/// The positions with logits; a head over a large vocabulary costs as much as many layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    All,
    /// All positions whose next token is known.
    AllButLast,
    Last,
}

impl Model {
    /// Device of the embeddings, where a pass begins.
    pub fn device(&self) -> Device {
        self.embed_tokens.device()
    }

    /// Bytes of the largest tensor that each of the model's GPUs can hold; `None` on the CPU.
    pub fn largest_buffer(&self) -> Option<u64> {
        let devices = self.layers.iter().map(DecoderLayer::device).chain([self.device(), self.lm_head.device()]);
        devices.filter_map(|device| tensors::largest_buffer(&device)).min()
    }

    /// Computes logits from token ids.
    ///
    /// With a `cache`, the ids continue its sequence; otherwise, they are a whole sequence.
    ///
    /// # Shapes
    ///
    /// `[positions, vocab_size]`.
    ///
    /// # Panics
    ///
    /// If `input_ids` is empty, holds an id outside the vocabulary, or runs past `max_position_embeddings`; the engine
    /// checks all three first.
    pub fn forward(&self, input_ids: &[u32], cache: Option<&mut KvCache>, positions: Positions, probe: &mut Probe) -> Tensor<2> {
        self.head(self.without_head(input_ids, cache, positions, probe))
    }

    /// Computes the residual stream that leaves the last layer, `[positions, hidden_size]`: [`Self::forward`] without
    /// its head, if not all logits fit at once.
    ///
    /// # Panics
    ///
    /// In the cases of [`Self::forward`].
    pub(crate) fn without_head(
        &self,
        input_ids: &[u32],
        mut cache: Option<&mut KvCache>,
        positions: Positions,
        probe: &mut Probe,
    ) -> Tensor<2> {
        let seq = input_ids.len();
        let start = cache.as_ref().map_or(0, |cache| cache.len);
        probe.start_chunk(start);
        let (mut x, pass) = self.begin(input_ids, start);
        if let Some(cache) = cache.as_deref_mut() {
            cache.layers.resize_with(self.layers.len(), LayerCache::default);
            cache.len += seq;
        }
        for layer in 0..self.layers.len() {
            let layer_cache = cache.as_deref_mut().map(|cache| &mut cache.layers[layer]);
            x = self.layer(layer, x, &pass, layer_cache, probe);
        }
        let kept = match positions {
            Positions::All => 0..seq,
            Positions::AllButLast => 0..seq - 1,
            Positions::Last => seq - 1..seq,
        };
        if kept.len() < seq {
            x = x.slice([kept, 0..self.config.hidden_size]);
        }
        x
    }

    /// Computes the residual stream that leaves the last layer, `[seq, hidden_size]`, from the one that enters layer
    /// `first`. `entered` sees the stream before each layer.
    ///
    /// # Panics
    ///
    /// If the stream is longer than `max_position_embeddings`.
    pub(crate) fn without_head_from(
        &self,
        first: usize,
        x: Tensor<2>,
        probe: &mut Probe,
        mut entered: impl FnMut(usize, &Tensor<2>),
    ) -> Tensor<2> {
        probe.start_chunk(0);
        let pass = self.pass(x.dims()[0], 0);
        (first..self.layers.len()).fold(x, |x, layer| {
            entered(layer, &x);
            self.layer(layer, x, &pass, None, probe)
        })
    }

    /// Begins a pass over ids from position `start` on. Returns the residual stream that enters the first layer,
    /// `[seq, hidden_size]`, and the [`Pass`] that all layers share.
    ///
    /// # Panics
    ///
    /// In the cases of [`Self::forward`].
    pub(crate) fn begin(&self, input_ids: &[u32], start: usize) -> (Tensor<2>, Pass) {
        let pass = self.pass(input_ids.len(), start);
        (self.embed(input_ids, start), pass)
    }

    fn pass(&self, seq: usize, start: usize) -> Pass {
        assert!(seq > 0 && start + seq <= self.config.max_position_embeddings, "positions {start}..{} out of range", start + seq);
        let devices = self.layers.iter().map(DecoderLayer::device).collect::<Vec<_>>();
        let (rotary, windows) = (self.rotary_emb.iter().zip(&devices), self.config.sliding_window.iter().zip(&devices));
        Pass {
            rotations: Shared::new(rotary, |(rotary, device)| rotary.rotation(start, seq, device)),
            masks: Shared::new(windows, |(window, device)| mask(start, seq, *window, device)),
            devices,
        }
    }

    /// Runs one layer of a pass, from the residual stream that enters it to the one that leaves it, each
    /// `[seq, hidden_size]`. The result is on the layer's device; the input may be on another.
    pub(crate) fn layer(&self, index: usize, x: Tensor<2>, pass: &Pass, cache: Option<&mut LayerCache>, probe: &mut Probe) -> Tensor<2> {
        let layer = &self.layers[index];
        let x = probe.visit(index, Site::ResidPre, tensors::moved_to(x, &pass.devices[index]));
        let h = normed(layer.input_layernorm.as_ref(), x.clone());
        probe.see_input(index, Reader::Attention, &h);
        let (rotation, mask) = (pass.rotations.of(index), pass.masks.of(index).expect("a mask for each layer"));
        let h = layer.self_attn.forward(h, rotation, mask, cache, |weights| probe.see_attention(index, weights));
        let y = x.clone() + normed(layer.post_attention_layernorm.as_ref(), h);
        let h = normed(layer.pre_feedforward_layernorm.as_ref(), if layer.is_parallel { x } else { y.clone() });
        let h = layer.mlp.forward(h, index, probe);
        let z = y + normed(layer.post_feedforward_layernorm.as_ref(), h);
        probe.visit(index, Site::ResidPost, z)
    }

    /// Ends a pass: computes logits, `[positions, vocab_size]`, from the residual stream that leaves the last layer,
    /// `[positions, hidden_size]`.
    pub(crate) fn head(&self, x: Tensor<2>) -> Tensor<2> {
        self.lm_head.forward(self.norm.forward(tensors::moved_to(x, &self.lm_head.device())))
    }

    /// The residual stream that enters the first layer, `[seq, hidden_size]`.
    pub(crate) fn embed(&self, input_ids: &[u32], start: usize) -> Tensor<2> {
        let x = self.embed_tokens.select_rows(input_ids);
        let x = match self.embed_scale {
            Some(scale) => x * scale,
            None => x,
        };
        match &self.embed_positions {
            Some(table) => x + table.slice_rows(start..start + input_ids.len()),
            None => x,
        }
    }
}

impl DecoderLayer {
    /// Device of all of the layer's weights.
    pub fn device(&self) -> Device {
        self.mlp.down_proj.weight.device()
    }
}

/// Applies a norm to `x`; returns `x` itself if there is none.
fn normed(norm: Option<&Norm>, x: Tensor<2>) -> Tensor<2> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// The angles and masks of a pass's positions, shared by all layers on a device.
pub(crate) struct Pass {
    /// Device of each layer.
    devices: Vec<Device>,
    /// Rotary angles; empty if positions are learned.
    rotations: Shared<Rotation>,
    /// Additive causal masks, by window.
    masks: Shared<Tensor<2>>,
}

/// Values by layer; layers of the same kind on the same device share a value.
struct Shared<T> {
    distinct: Vec<T>,
    of_layer: Vec<usize>,
}

impl<T> Shared<T> {
    fn new<K: PartialEq>(kinds: impl Iterator<Item = K>, make: impl Fn(K) -> T) -> Self {
        let mut distinct = Vec::<K>::new();
        let of_layer = kinds.map(|kind| {
            distinct.iter().position(|known| *known == kind).unwrap_or_else(|| {
                distinct.push(kind);
                distinct.len() - 1
            })
        });
        let of_layer = of_layer.collect();
        Self { distinct: distinct.into_iter().map(make).collect(), of_layer }
    }

    fn of(&self, layer: usize) -> Option<&T> {
        self.distinct.get(*self.of_layer.get(layer)?)
    }
}

/// An additive causal mask, `[seq, start + seq]`: 0 where a position may look, -1e9 where it must not. It is finite
/// because an infinite literal in a shader is not portable; `exp(-1e9)` is 0, too.
fn mask(start: usize, seq: usize, window: Option<usize>, device: &Device) -> Tensor<2> {
    let total = start + seq;
    let hidden = |query: usize, key: usize| key > query || window.is_some_and(|window| key + window <= query);
    let values = (start..total).flat_map(|query| (0..total).map(move |key| if hidden(query, key) { -1e9 } else { 0.0 }));
    Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), [seq, total]), device)
}
