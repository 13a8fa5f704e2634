//! Path B: one token at a time, in kernels of our own on Burn's device.
//!
//! Stock tensor operations cost a browser about 0.1 ms each, some 5 tokens a second. A [`DecodePlan`] records a token's
//! dispatches once (five a layer and four more), binds Burn's own weight buffers where they lie, feeds each token back on
//! the GPU, and reads only every few tokens. The prompt stays on Path A ([`crate::model::Model::forward`]), whose cache
//! is copied over; the tests hold the two to each other token by token.
//!
//! An ablated model is a plan of its own: it shares every matrix that it did not edit with the intact one, and the
//! pipelines, and both are encoded into the same submission.
//!
//! Interventions on activations are Path A's. A plan that starts after the tokens they act on is exact all the same.

mod batch;
mod buffers;
mod cache;
pub mod error;
mod gpu;
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
use crate::terms::Sampling;
pub use batch::{Batch, Drawn, Logits, MAX_BATCH, submit};
use buffers::{Bound, Weights};
use cache::Cache;
use error::DecodeError;
pub use gpu::DecodeGpu;
use gpu::Step;
use kernels::{Input, MAX_TOP_K, Output, Product, SCAN_PARTS, SPLITS};
use read::{Reading, to_bytes};
use shape::{Shape, unsupported};

/// See the module's head.
pub struct DecodePlan {
    gpu: DecodeGpu,
    shape: Shape,
    products: Products,
    weights: Weights,
    rotary: Option<RotaryEmbedding>,
    scratch: Scratch,
    cache: Cache,
    /// From the state's token to its logits.
    forward: Vec<Step>,
    /// From the logits to the next token in the state.
    choose: Vec<Step>,
    choice: Choice,
    /// Position of the next token to be fed.
    position: usize,
}

/// How the GPU chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    Likeliest,
    Draw { temperature: f32, top_p: f32, top_k: u32 },
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
    logits: wgpu::Buffer,
    stopwords: wgpu::Buffer,
    found: wgpu::Buffer,
    drawn: wgpu::Buffer,
    /// Random numbers of a batch, 0 to 1.
    uniforms: wgpu::Buffer,
}

impl DecodePlan {
    /// A plan for sequences of up to `positions` tokens. The model's tensors stay where they are, and stay alive.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the model is not on a GPU or of a shape that the kernels do not cover.
    pub fn new(gpu: &DecodeGpu, model: &Model, stopword_ids: &[u32], positions: usize) -> Result<Self, DecodeError> {
        let shape = Shape::of(model)?;
        let products = Products::of(model)?;
        let weights = Weights::bind(gpu, model)?;
        let scratch = Scratch::new(gpu, &shape, &products, stopword_ids);
        // Whether all of it would fit is asked now, and only a first part made.
        let n_layers = model.layers.len();
        let longest = (positions * shape.cache_width() * 4) as u64;
        if positions > shape.max_position_embeddings || longest > gpu.max_binding_bytes() {
            return Err(unsupported(&format!("{positions} positions")));
        }
        let cache = Cache::new(gpu, &shape, n_layers, model.rotary_emb.as_ref(), 1)?;
        let mut plan = Self {
            gpu: gpu.clone(),
            products,
            weights,
            rotary: model.rotary_emb.clone(),
            scratch,
            cache,
            forward: Vec::new(),
            choose: Vec::new(),
            choice: Choice::Likeliest,
            position: 0,
            shape,
        };
        plan.record();
        Ok(plan)
    }

    /// Has the GPU draw as these settings say, and returns whether it can: greedily, or from at most 256 candidates.
    /// Otherwise the caller draws, from [`Self::logits`].
    pub fn sample(&mut self, sampling: Sampling) -> bool {
        let Sampling { temperature, top_k, top_p, .. } = sampling;
        let choice = match temperature > 0.0 {
            false => Choice::Likeliest,
            true if (1..=MAX_TOP_K).contains(&top_k) => Choice::Draw { temperature, top_p, top_k: top_k as u32 },
            true => return false,
        };
        if self.choice != choice {
            self.choice = choice;
            self.record();
        }
        true
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
        encoder.copy_buffer_to_buffer(&self.scratch.logits, 0, &staging, 0, bytes);
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
        let Self { gpu, shape, products, weights, scratch, cache, .. } = &*self;
        let Scratch { state, x, qkv, parts, u, logits, stopwords, found, drawn, uniforms } = scratch;
        let mut forward = vec![embed(gpu, shape, weights, scratch)];
        let product = |product: &Product, layer: usize, input: &[&wgpu::Buffer], matrices: &[Bound], out: &wgpu::Buffer| {
            let mut resources = vec![weights.params_of(layer)];
            resources.extend(input.iter().map(|buffer| buffer.as_entire_binding()));
            resources.push(weights.vectors.as_entire_binding());
            resources.extend(matrices.iter().map(Bound::binding));
            resources.push(out.as_entire_binding());
            let is_bf16 = matrices.iter().map(Bound::is_bf16).collect::<Vec<_>>();
            gpu.step(&product.kernel(shape, &is_bf16), &resources, product.grid())
        };
        let attention = kernels::attention(shape);
        for (index, (layer, cached)) in weights.layers.iter().zip(&cache.layers).enumerate() {
            forward.push(product(&products.qkv, index, &[x], &layer.qkv, qkv));
            let buffers = [state, qkv, &weights.vectors, &cache.rotation, cached, parts];
            let resources = std::iter::once(weights.params_of(index)).chain(buffers.map(|buffer| buffer.as_entire_binding()));
            let grid = [shape.num_heads as u32, SPLITS as u32, 1];
            forward.push(gpu.step(&attention, &resources.collect::<Vec<_>>(), grid));
            forward.push(product(&products.output, index, &[parts, state], std::slice::from_ref(&layer.output), x));
            forward.push(product(&products.hidden, index, &[x], &layer.hidden, u));
            forward.push(product(&products.down, index, &[u], std::slice::from_ref(&layer.down), x));
        }
        forward.push(product(&products.head, weights.layers.len(), &[x], std::slice::from_ref(&weights.head), logits));
        let scan = [logits, stopwords, found].map(|buffer| buffer.as_entire_binding());
        let mut choose = vec![gpu.step(&kernels::scan(shape), &scan, [SCAN_PARTS as u32, 1, 1])];
        let pick = [state, found, drawn].map(|buffer| buffer.as_entire_binding());
        choose.push(match self.choice {
            Choice::Likeliest => gpu.step(&kernels::pick(), &pick, [1, 1, 1]),
            Choice::Draw { temperature, top_p, top_k } => {
                let settings = to_bytes([temperature.to_bits(), top_p.to_bits(), top_k, 0]);
                let settings = gpu.filled("settings", &settings, Usage::UNIFORM);
                let more = [&settings, uniforms, logits].map(|buffer| buffer.as_entire_binding());
                gpu.step(&kernels::draw(shape), &[pick.as_slice(), &more].concat(), [1, 1, 1])
            }
        });
        (self.forward, self.choose) = (forward, choose);
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
    fn new(gpu: &DecodeGpu, shape: &Shape, products: &Products, stopword_ids: &[u32]) -> Self {
        let mut stopwords = vec![0_u32; shape.vocab_size.div_ceil(32)];
        for id in stopword_ids.iter().map(|id| *id as usize).filter(|id| *id < shape.vocab_size) {
            stopwords[id / 32] |= 1 << (id % 32);
        }
        let storage = |label, floats: usize| gpu.storage(label, floats as u64);
        Self {
            state: storage("state", 4),
            x: storage("x", shape.hidden_size),
            qkv: storage("qkv", products.qkv.rows.iter().sum()),
            parts: storage("parts", shape.num_heads * SPLITS * 4 * (shape.head4() + 1)),
            u: storage("u", products.down.in_width),
            logits: storage("logits", shape.vocab_size),
            stopwords: gpu.filled("stopwords", &to_bytes(stopwords), Usage::STORAGE),
            found: storage("found", 8 * SCAN_PARTS),
            drawn: storage("drawn", 4 * MAX_BATCH),
            uniforms: storage("uniforms", MAX_BATCH),
        }
    }
}
