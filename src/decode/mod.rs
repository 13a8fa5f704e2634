//! Path B: decodes one token at a time, with our own kernels on Burn's device.
//!
//! With separate tensor operations a browser reaches some 30 tokens a second. A [`DecodePlan`] records a token's
//! dispatches once (five for each layer, seven if blocks have norms after them, and four more when greedy, up to
//! fourteen when drawing; a head in chunks has one for each), binds Burn's own weight buffers in place, packed or
//! not, feeds each token back on the GPU, and reads only every few tokens. The prompt stays on Path A
//! ([`crate::model::Model::forward`]), whose cache is copied. Tests compare the two paths token by token.
//!
//! An ablated model has its own plan. It shares the pipelines with the intact model's plan, and every matrix that was
//! not edited; both are encoded into one submission.
//!
//! Interventions on activations of new tokens are separate dispatches, in the layers that have any. Path A handles
//! those on the prompt's tokens.

mod attention;
mod batch;
mod buffers;
mod cache;
mod choose;
mod embed;
pub mod error;
mod gpu;
mod grid;
mod intervene;
mod kernels;
mod read;
mod shape;

use std::ops::Range;

use burn::tensor::wgpu::wgpu;
use wgpu::BufferUsages as Usage;

use crate::model::attention::QkvProj;
use crate::model::layers::{Layout, Norm};
use crate::model::mlp::Hidden;
use crate::model::{KvCache, Model};
use crate::tensors::CHUNK_UNIT;
use crate::terms::{Intervention, Sampling, Site};
pub use batch::{Batch, Drawn, Logits, MAX_BATCH, submit};
use buffers::{Bound, BoundRows, Weights};
use cache::Cache;
use choose::Chooser;
use error::DecodeError;
pub use gpu::DecodeGpu;
use gpu::Step;
use intervene::Interventions;
use kernels::{Input, NormAt, Output, Product, SPLITS};
use read::{Reading, to_bytes};
use shape::{Shape, unsupported};

/// A token's dispatches, recorded for one model; see the module's documentation.
pub struct DecodePlan {
    gpu: DecodeGpu,
    shape: Shape,
    products: Products,
    weights: Weights,
    interventions: Interventions,
    scratch: Scratch,
    chooser: Chooser,
    cache: Cache,
    /// Dispatches from the state's token to its logits.
    forward: Vec<Step>,
    /// Dispatches from the logits to the next token in the state.
    choose: Vec<Step>,
    /// Position of the next token to feed.
    position: usize,
}

/// The matrix-vector products of a layer, and the head.
struct Products {
    qkv: Product,
    output: Last,
    hidden: Product,
    down: Last,
    /// One product for each chunk of the head's table.
    head: Vec<Product>,
}

/// The last product of a block, and the norm after it, if there is one.
struct Last {
    product: Product,
    norm: Option<NormAt>,
}

/// Activations of one token.
struct Scratch {
    state: wgpu::Buffer,
    x: wgpu::Buffer,
    qkv: wgpu::Buffer,
    parts: wgpu::Buffer,
    u: wgpu::Buffer,
    /// The vector that a block adds to `x`, if an intervention or a norm comes between.
    y: wgpu::Buffer,
}

impl DecodePlan {
    /// A greedy plan for sequences of up to `positions` tokens. The model's tensors stay in place, and alive.
    /// Interventions act on the tokens that the plan is fed.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the model is not on a GPU, or has a shape that the kernels do not cover.
    pub fn new(
        gpu: &DecodeGpu,
        model: &Model,
        interventions: &[Intervention],
        stopword_ids: &[u32],
        positions: usize,
    ) -> Result<Self, DecodeError> {
        let shape = Shape::of(model)?;
        let products = Products::of(model)?;
        let weights = Weights::bind(gpu, &shape, model)?;
        // The whole cache must fit, but only a first part is allocated now.
        let longest = (positions * shape.cache_width() * 4) as u64;
        if positions > shape.max_position_embeddings || longest > gpu.max_binding_bytes() {
            return Err(unsupported(&format!("{positions} positions")));
        }
        let cache = Cache::new(gpu, &shape, model.layers.len(), 1)?;
        let mut plan = Self {
            gpu: gpu.clone(),
            interventions: Interventions::new(gpu, interventions),
            scratch: Scratch::new(gpu, &shape, &products),
            chooser: Chooser::new(gpu, shape.vocab_size, stopword_ids),
            products,
            weights,
            cache,
            forward: Vec::new(),
            choose: Vec::new(),
            position: 0,
            shape,
        };
        plan.record();
        plan.sample(Sampling { temperature: 0.0, ..Sampling::default() });
        Ok(plan)
    }

    /// Makes the GPU draw with these settings, like [`crate::sampling::Sampler`]. The caller handles the seed.
    pub fn sample(&mut self, sampling: Sampling) {
        self.choose = self.chooser.steps(&self.scratch.state, sampling);
    }

    /// Number of dispatches for a token.
    pub fn dispatches(&self) -> usize {
        self.forward.len() + self.choose.len()
    }

    /// Continues from Path A, with its cache.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the cache is not on this GPU, or longer than the GPU can hold.
    pub fn start(&mut self, cache: &KvCache) -> Result<(), DecodeError> {
        self.reserve(cache.len() + MAX_BATCH)?;
        self.cache.import(&self.gpu, &self.shape, cache)?;
        self.position = cache.len();
        Ok(())
    }

    /// Sets the next token to feed. A token drawn on the GPU need not be fed.
    pub fn feed(&self, token_id: u32) {
        let state = to_bytes([token_id, self.position as u32, 0, 0]);
        self.gpu.queue.write_buffer(&self.scratch.state, 0, &state);
    }

    /// Feeds one token and starts to read the logits after it.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the cache cannot grow.
    pub fn logits(&mut self, token_id: u32) -> Result<Logits, DecodeError> {
        self.reserve(self.position + 1)?;
        self.feed(token_id);
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, &[&self.forward]);
        self.position += 1;
        let bytes = 4 * self.shape.vocab_size as u64;
        let staging = self.gpu.buffer("staging", bytes, Usage::MAP_READ | Usage::COPY_DST);
        encoder.copy_buffer_to_buffer(&self.chooser.logits, 0, &staging, 0, bytes);
        self.gpu.queue.submit([encoder.finish()]);
        Ok(Logits::new(Reading::start(&self.gpu, staging), self.shape.vocab_size))
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, parts: &[&[Step]]) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("token"), timestamp_writes: None });
        parts.iter().copied().flatten().for_each(|step| step.encode(&mut pass));
    }

    /// Allocates this many positions.
    fn reserve(&mut self, positions: usize) -> Result<(), DecodeError> {
        if positions <= self.cache.capacity {
            return Ok(());
        }
        // The capacity doubles, so that a long text is not copied repeatedly.
        let wanted = positions.max(2 * self.cache.capacity).min(self.shape.max_position_embeddings).max(positions);
        let larger = Cache::new(&self.gpu, &self.shape, self.cache.layers.len(), wanted)?;
        larger.copy_from(&self.gpu, &self.cache);
        self.cache = larger;
        self.record();
        Ok(())
    }

    /// Records the dispatches up to the logits, with their bind groups; repeated after the cache has moved.
    fn record(&mut self) {
        let Self { weights, products, scratch, .. } = &*self;
        let mut forward = embed::steps(&self.gpu, &self.shape, weights, scratch);
        let n_layers = weights.layers.len();
        forward.extend((0..n_layers).flat_map(|index| self.layer(index)));
        let head = products.head.iter().zip(&weights.head);
        forward.extend(head.map(|(product, BoundRows { rows, bound })| {
            let logits = wgpu::BufferBinding {
                buffer: &self.chooser.logits,
                offset: 4 * rows.start as u64,
                size: std::num::NonZeroU64::new(4 * rows.len() as u64),
            };
            self.product_into(product, n_layers, &[&scratch.x], std::slice::from_ref(bound), wgpu::BindingResource::Buffer(logits))
        }));
        self.forward = forward;
    }

    fn layer(&self, index: usize) -> Vec<Step> {
        let Self { products, weights, scratch, .. } = self;
        let Scratch { state, x, qkv, parts, u, y } = scratch;
        let layer = &weights.layers[index];
        let hidden_size = self.shape.hidden_size;
        let intervene = |site, x, width| self.interventions.step(index, site, state, x, width);
        let mut attention = vec![self.product(&products.qkv, index, &[x], &layer.qkv, qkv), self.attention(index)];
        let output = self.block(index, &products.output, &[parts, state], &layer.output, None);
        let mut hidden = vec![self.product(&products.hidden, index, &[x], &layer.hidden, u)];
        hidden.extend(intervene(Site::DownProjInput, u, products.down.product.in_width));
        let down = self.block(index, &products.down, &[u], &layer.down, intervene(Site::DownProjOutput, y, hidden_size));
        // Parallel blocks both read x before either adds to it.
        attention.extend(if self.shape.is_parallel { hidden.drain(..).chain(output).collect() } else { output });
        let steps = intervene(Site::ResidPre, x, hidden_size).into_iter().chain(attention).chain(hidden).chain(down);
        steps.chain(intervene(Site::ResidPost, x, hidden_size)).collect()
    }

    /// A block's last product, added to the residual stream. If an intervention or a norm comes between, the product
    /// is first stored, and added afterwards.
    fn block(&self, layer: usize, last: &Last, input: &[&wgpu::Buffer], matrix: &Bound, between: Option<Step>) -> Vec<Step> {
        let Scratch { x, y, .. } = &self.scratch;
        let matrix = std::slice::from_ref(matrix);
        if between.is_none() && last.norm.is_none() {
            return vec![self.product(&last.product, layer, input, matrix, x)];
        }
        // The product is stored, because it cannot be recovered exactly from a sum.
        let store = Product { output: Output::Store, ..last.product.clone() };
        let mut steps = vec![self.product(&store, layer, input, matrix, y)];
        steps.extend(between);
        steps.push(match last.norm {
            Some(at) => {
                let buffers = [y, &self.weights.vectors, x].map(|buffer| buffer.as_entire_binding());
                let resources = std::iter::once(self.weights.params_of(layer)).chain(buffers).collect::<Vec<_>>();
                self.gpu.step(&kernels::add_normed(&self.shape, at), &resources, [1, 1, 1])
            }
            None => intervene::add(&self.gpu, y, x, self.shape.hidden_size),
        });
        steps
    }

    fn product(&self, product: &Product, layer: usize, input: &[&wgpu::Buffer], matrices: &[Bound], out: &wgpu::Buffer) -> Step {
        self.product_into(product, layer, input, matrices, out.as_entire_binding())
    }

    fn product_into(
        &self,
        product: &Product,
        layer: usize,
        input: &[&wgpu::Buffer],
        matrices: &[Bound],
        out: wgpu::BindingResource<'_>,
    ) -> Step {
        let mut resources = vec![self.weights.params_of(layer)];
        resources.extend(input.iter().map(|buffer| buffer.as_entire_binding()));
        resources.push(self.weights.vectors.as_entire_binding());
        resources.extend(matrices.iter().map(Bound::binding));
        resources.push(out);
        let is_bf16 = matrices.iter().map(Bound::is_bf16).collect::<Vec<_>>();
        self.gpu.step(&product.kernel(&self.shape, &is_bf16), &resources, product.grid())
    }

    fn attention(&self, layer: usize) -> Step {
        let Scratch { state, qkv, parts, .. } = &self.scratch;
        let buffers = [state, qkv, &self.weights.vectors, &self.cache.rotation, &self.cache.layers[layer], parts];
        let resources = std::iter::once(self.weights.params_of(layer)).chain(buffers.map(|buffer| buffer.as_entire_binding()));
        let grid = [self.shape.num_heads as u32, SPLITS as u32, 1];
        self.gpu.step(&attention::kernel(&self.shape), &resources.collect::<Vec<_>>(), grid)
    }
}

impl Products {
    fn of(model: &Model) -> Result<Self, DecodeError> {
        let layer = model.layers.first().ok_or_else(|| unsupported("a model without layers"))?;
        let (qkv, qkv_gated) = match &layer.self_attn.qkv_proj {
            QkvProj::Separate { q_proj, k_proj, v_proj } => (vec![q_proj, k_proj, v_proj], false),
            QkvProj::Fused(qkv) => (vec![qkv], false),
        };
        let (hidden, gated) = match &layer.mlp.hidden {
            Hidden::Gated { gate_proj, up_proj } => (vec![gate_proj, up_proj], true),
            Hidden::Plain { c_fc } => (vec![c_fc], false),
        };
        let product = |label, input, output, linears: &[&crate::model::layers::Linear], gated, bias| {
            let [_, in_width] = linears[0].shape();
            let layout = linears[0].layout;
            if layout == Layout::InOut && (linears.len() > 1 || !linears[0].shape()[0].is_multiple_of(4)) {
                return Err(unsupported("several matrices stored [in, out], or one whose width 4 does not divide"));
            }
            let has_bias = linears[0].bias.is_some();
            if linears.iter().any(|linear| (linear.layout, linear.shape()[1], linear.bias.is_some()) != (layout, in_width, has_bias)) {
                return Err(unsupported("matrices of one input, some with a bias and some without"));
            }
            let rows = linears.iter().map(|linear| linear.shape()[0]).collect();
            Ok(Product { label, input, output, layout, in_width, rows, gated, bias: has_bias.then_some(bias) })
        };
        let in_front = |norm: &Option<Norm>, at| if norm.is_some() { Input::Norm(at) } else { Input::Plain };
        let first = in_front(&layer.input_layernorm, NormAt::First);
        let second = in_front(&layer.pre_feedforward_layernorm, NormAt::Second);
        let behind = |norm: &Option<Norm>, at| norm.is_some().then_some(at);
        let after_attention = behind(&layer.post_attention_layernorm, NormAt::PostFirst);
        let after_mlp = behind(&layer.post_feedforward_layernorm, NormAt::PostSecond);
        let act = Output::Activate(layer.mlp.activation);
        let projected = layer.self_attn.clip_qkv.map_or(Output::Store, Output::Clip);
        Ok(Self {
            qkv: product("qkv", first, projected, &qkv, qkv_gated, "qkv_bias")?,
            output: Last {
                product: product("output", Input::Merge, Output::Add, &[&layer.self_attn.o_proj], false, "o_bias")?,
                norm: after_attention,
            },
            hidden: product("hidden", second, act, &hidden, gated, "hidden_bias")?,
            down: Last {
                product: product("down", Input::Plain, Output::Add, &[&layer.mlp.down_proj], false, "down_bias")?,
                norm: after_mlp,
            },
            head: model.lm_head.weight.chunks().map(|(rows, _)| head_of(model, rows)).collect::<Result<_, _>>()?,
        })
    }
}

/// The product of the head, or of a chunk of its rows.
fn head_of(model: &Model, rows: Range<usize>) -> Result<Product, DecodeError> {
    // A chunk begins at a multiple of `CHUNK_UNIT` rows, where every GPU allows binding.
    if !rows.start.is_multiple_of(CHUNK_UNIT) {
        return Err(unsupported(&format!("a head cut at row {}", rows.start)));
    }
    Ok(Product {
        label: "head",
        input: Input::Norm(NormAt::First),
        output: Output::Store,
        layout: Layout::OutIn,
        in_width: model.config.hidden_size,
        rows: vec![rows.len()],
        gated: false,
        bias: None,
    })
}

impl Scratch {
    fn new(gpu: &DecodeGpu, shape: &Shape, products: &Products) -> Self {
        let storage = |label, floats: usize| gpu.storage(label, floats as u64);
        Self {
            state: storage("state", 4),
            x: storage("x", shape.hidden_size),
            qkv: storage("qkv", products.qkv.rows.iter().sum()),
            parts: storage("parts", shape.num_heads * SPLITS * 4 * (shape.head4() + 1)),
            u: storage("u", products.down.product.in_width),
            y: storage("y", shape.hidden_size),
        }
    }
}
