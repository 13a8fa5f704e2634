//! Path B: one token at a time, in kernels of our own on Burn's device.
//!
//! Tensor operations one by one cost a browser some 30 tokens a second. A [`DecodePlan`] records a token's dispatches once
//! (five a layer, and four more when greedy, up to fourteen when drawing), binds Burn's own weight buffers where they lie,
//! packed or not, feeds each token back on the GPU, and reads only every few tokens. The prompt stays on Path A ([`crate::model::Model::forward`]), whose cache
//! is copied over; the tests hold the two to each other token by token.
//!
//! An ablated model is a plan of its own: it shares every matrix that it did not edit with the intact one, and the
//! pipelines, and both are encoded into the same submission.
//!
//! Interventions on activations of new tokens are dispatches of their own, in the layers that have any; those on the
//! prompt's tokens are Path A's.

mod batch;
mod buffers;
mod cache;
mod choose;
pub mod error;
mod gpu;
mod intervene;
mod kernels;
mod read;
mod shape;

use burn::tensor::wgpu::wgpu;
use wgpu::BufferUsages as Usage;

use crate::model::attention::QkvProj;
use crate::model::layers::Layout;
use crate::model::mlp::Hidden;
use crate::model::rotary::RotaryEmbedding;
use crate::model::{KvCache, Model};
use crate::terms::{Intervention, Sampling, Site};
pub use batch::{Batch, Drawn, Logits, MAX_BATCH, submit};
use buffers::{Bound, Weights};
use cache::Cache;
use choose::Chooser;
use error::DecodeError;
pub use gpu::DecodeGpu;
use gpu::Step;
use intervene::Interventions;
use kernels::{Input, Output, Product, SPLITS};
use read::{Reading, to_bytes};
use shape::{Shape, unsupported};

/// See the module's head.
pub struct DecodePlan {
    gpu: DecodeGpu,
    shape: Shape,
    products: Products,
    weights: Weights,
    rotary: Option<RotaryEmbedding>,
    interventions: Interventions,
    scratch: Scratch,
    chooser: Chooser,
    cache: Cache,
    /// From the state's token to its logits.
    forward: Vec<Step>,
    /// From the logits to the next token in the state.
    choose: Vec<Step>,
    /// Position of the next token to be fed.
    position: usize,
}

/// The matrix-vector products of a layer, and the head.
struct Products {
    qkv: Product,
    output: Product,
    hidden: Product,
    down: Product,
    head: Product,
}

/// Activations of one token.
struct Scratch {
    state: wgpu::Buffer,
    x: wgpu::Buffer,
    qkv: wgpu::Buffer,
    parts: wgpu::Buffer,
    u: wgpu::Buffer,
    /// What `down_proj` adds to `x`, where an intervention comes between.
    y: wgpu::Buffer,
}

impl DecodePlan {
    /// A greedy plan for sequences of up to `positions` tokens. The model's tensors stay where they are, and stay alive.
    /// Interventions act on the tokens that the plan is fed.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the model is not on a GPU or of a shape that the kernels do not cover.
    pub fn new(
        gpu: &DecodeGpu,
        model: &Model,
        interventions: &[Intervention],
        stopword_ids: &[u32],
        positions: usize,
    ) -> Result<Self, DecodeError> {
        let shape = Shape::of(model)?;
        let products = Products::of(model)?;
        let weights = Weights::bind(gpu, model)?;
        // Whether all of it would fit is asked now, and only a first part made.
        let longest = (positions * shape.cache_width() * 4) as u64;
        if positions > shape.max_position_embeddings || longest > gpu.max_binding_bytes() {
            return Err(unsupported(&format!("{positions} positions")));
        }
        let cache = Cache::new(gpu, &shape, model.layers.len(), model.rotary_emb.first(), 1)?;
        let mut plan = Self {
            gpu: gpu.clone(),
            interventions: Interventions::new(gpu, interventions),
            scratch: Scratch::new(gpu, &shape, &products),
            chooser: Chooser::new(gpu, shape.vocab_size, stopword_ids),
            products,
            weights,
            rotary: model.rotary_emb.first().cloned(),
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

    /// Has the GPU draw as these settings say, as [`crate::generate::Sampler`] would. The seed is the caller's business.
    pub fn sample(&mut self, sampling: Sampling) {
        self.choose = self.chooser.steps(&self.scratch.state, sampling);
    }

    /// Dispatches a token takes.
    pub fn dispatches(&self) -> usize {
        self.forward.len() + self.choose.len()
    }

    /// Takes over where Path A stands.
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

    /// The token to feed next; what was drawn on the GPU needs no feeding.
    pub fn feed(&self, token_id: u32) {
        let state = to_bytes([token_id, self.position as u32, 0, 0]);
        self.gpu.queue.write_buffer(&self.scratch.state, 0, &state);
    }

    /// Feeds one token and starts to read the logits after it.
    ///
    /// # Errors
    ///
    /// The cache cannot grow.
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

    /// Room for this many positions.
    fn reserve(&mut self, positions: usize) -> Result<(), DecodeError> {
        if positions <= self.cache.capacity {
            return Ok(());
        }
        // Doubling, so that a long text is not copied over and over.
        let wanted = positions.max(2 * self.cache.capacity).min(self.shape.max_position_embeddings).max(positions);
        let larger = Cache::new(&self.gpu, &self.shape, self.cache.layers.len(), self.rotary.as_ref(), wanted)?;
        larger.copy_from(&self.gpu, &self.cache);
        self.cache = larger;
        self.record();
        Ok(())
    }

    /// Makes the bind groups; again after the cache has moved.
    fn record(&mut self) {
        let Self { weights, products, scratch, .. } = &*self;
        let mut forward = vec![embed(&self.gpu, &self.shape, weights, scratch)];
        let n_layers = weights.layers.len();
        forward.extend((0..n_layers).flat_map(|index| self.layer(index)));
        forward.push(self.product(&products.head, n_layers, &[&scratch.x], std::slice::from_ref(&weights.head), &self.chooser.logits));
        self.forward = forward;
    }

    fn layer(&self, index: usize) -> Vec<Step> {
        let Self { products, weights, scratch, .. } = self;
        let Scratch { state, x, qkv, parts, u, y } = scratch;
        let layer = &weights.layers[index];
        let hidden_size = self.shape.hidden_size;
        let intervene = |site, x, width| self.interventions.step(index, site, state, x, width);
        let mut steps = Vec::new();
        steps.extend(intervene(Site::ResidPre, x, hidden_size));
        steps.push(self.product(&products.qkv, index, &[x], &layer.qkv, qkv));
        steps.push(self.attention(index));
        steps.push(self.product(&products.output, index, &[parts, state], std::slice::from_ref(&layer.output), x));
        steps.push(self.product(&products.hidden, index, &[x], &layer.hidden, u));
        steps.extend(intervene(Site::DownProjInput, u, products.down.in_width));
        let down = std::slice::from_ref(&layer.down);
        if let Some(step) = intervene(Site::DownProjOutput, y, hidden_size) {
            // The sum would not give back exactly what was added to it.
            let store = Product { output: Output::Store, ..products.down.clone() };
            steps.extend([self.product(&store, index, &[u], down, y), step, intervene::add(&self.gpu, y, x, hidden_size)]);
        } else {
            steps.push(self.product(&products.down, index, &[u], down, x));
        }
        steps.extend(intervene(Site::ResidPost, x, hidden_size));
        steps
    }

    fn product(&self, product: &Product, layer: usize, input: &[&wgpu::Buffer], matrices: &[Bound], out: &wgpu::Buffer) -> Step {
        let mut resources = vec![self.weights.params_of(layer)];
        resources.extend(input.iter().map(|buffer| buffer.as_entire_binding()));
        resources.push(self.weights.vectors.as_entire_binding());
        resources.extend(matrices.iter().map(Bound::binding));
        resources.push(out.as_entire_binding());
        let is_bf16 = matrices.iter().map(Bound::is_bf16).collect::<Vec<_>>();
        self.gpu.step(&product.kernel(&self.shape, &is_bf16), &resources, product.grid())
    }

    fn attention(&self, layer: usize) -> Step {
        let Scratch { state, qkv, parts, .. } = &self.scratch;
        let buffers = [state, qkv, &self.weights.vectors, &self.cache.rotation, &self.cache.layers[layer], parts];
        let resources = std::iter::once(self.weights.params_of(layer)).chain(buffers.map(|buffer| buffer.as_entire_binding()));
        let grid = [self.shape.num_heads as u32, SPLITS as u32, 1];
        self.gpu.step(&kernels::attention(&self.shape), &resources.collect::<Vec<_>>(), grid)
    }
}

fn embed(gpu: &DecodeGpu, shape: &Shape, weights: &Weights, scratch: &Scratch) -> Step {
    let tables = std::iter::once(&weights.embed_tokens).chain(&weights.embed_positions);
    let is_bf16 = tables.clone().map(Bound::is_bf16).collect::<Vec<_>>();
    let mut resources = vec![scratch.state.as_entire_binding()];
    resources.extend(tables.map(Bound::binding));
    resources.push(scratch.x.as_entire_binding());
    let grid = [(shape.hidden_size / 4).div_ceil(kernels::WORKGROUP) as u32, 1, 1];
    gpu.step(&kernels::embed(shape, &is_bf16), &resources, grid)
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
            let rows = linears.iter().map(|linear| linear.shape()[0]).collect();
            Ok(Product { label, input, output, layout, in_width, rows, gated, bias: has_bias.then_some(bias) })
        };
        let (first, second) = (Input::Norm { second: false }, Input::Norm { second: true });
        let act = Output::Activate(layer.mlp.activation);
        Ok(Self {
            qkv: product("qkv", first, Output::Store, &qkv, qkv_gated, "qkv_bias")?,
            output: product("output", Input::Merge, Output::Add, &[&layer.self_attn.o_proj], false, "o_bias")?,
            hidden: product("hidden", second, act, &hidden, gated, "hidden_bias")?,
            down: product("down", Input::Plain, Output::Add, &[&layer.mlp.down_proj], false, "down_bias")?,
            head: product("head", first, Output::Store, &[&model.lm_head], false, "qkv_bias")?,
        })
    }
}

impl Scratch {
    fn new(gpu: &DecodeGpu, shape: &Shape, products: &Products) -> Self {
        let storage = |label, floats: usize| gpu.storage(label, floats as u64);
        Self {
            state: storage("state", 4),
            x: storage("x", shape.hidden_size),
            qkv: storage("qkv", products.qkv.rows.iter().sum()),
            parts: storage("parts", shape.num_heads * SPLITS * 4 * (shape.head4() + 1)),
            u: storage("u", products.down.in_width),
            y: storage("y", shape.hidden_size),
        }
    }
}
