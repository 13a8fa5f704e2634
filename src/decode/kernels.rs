//! The kernels' sources, specialised to a model: constants and bindings before the bodies in `wgsl/`.
//!
//! Portable WGSL: no subgroups, no f16, 256 invocations, at most 16 KiB of workgroup memory, at most 8 storage buffers.
//! A layer takes five dispatches:
//!
//! | kernel | reads | writes | grid |
//! |---|---|---|---|
//! | qkv | x, norm, q/k/v weights | qkv | rows |
//! | attention | qkv, cache | cache, parts | heads x splits |
//! | output | parts, o_proj | x += | rows |
//! | hidden | x, norm, gate and up (or c_fc) | u | rows |
//! | down | u, down_proj | x += | rows |
//!
//! If a block has a norm after it, its last product writes y instead, and one more dispatch adds the normalised y to
//! x. A token takes two more dispatches, embed and head, before the next token is chosen (`choose.rs`). If a table is
//! in chunks, each chunk of the head takes a dispatch, and so does every group of six chunks of the embeddings.

use std::fmt::Write;

use super::grid::WORKGROUP;
use super::shape::Shape;
use crate::model::config::Activation;
use crate::model::layers::Layout;

/// A kernel's use of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Uniform,
    Read,
    ReadWrite,
}

#[derive(Debug)]
pub(super) struct Kernel {
    pub label: &'static str,
    pub source: String,
    pub bindings: Vec<Access>,
}

/// The most vec4s of normalised input that fit into 16 KiB next to the reductions.
const MAX_CACHED4: usize = 768;
/// Workgroups that share a head's positions (`split.wgsl`).
pub(super) const SPLITS: usize = 8;

const STATE: &str = "struct State { token: u32, position: u32, n_drawn: u32, unused: u32 }\n";
/// Offsets into `vectors`: norms in vec4s, the rest in floats. In the order of `LayerParams::words`.
const LAYER: &str = "struct Layer { norm1_weight: u32, norm1_bias: u32, norm2_weight: u32, norm2_bias: u32, \
                     post1_weight: u32, post1_bias: u32, post2_weight: u32, post2_bias: u32, q_norm: u32, k_norm: u32, \
                     qkv_bias: u32, o_bias: u32, hidden_bias: u32, down_bias: u32, window: u32, rope: u32 }\n";

impl Kernel {
    pub(super) fn new(label: &'static str) -> Self {
        Self { label, source: String::new(), bindings: Vec::new() }
    }

    pub(super) fn bind(mut self, access: Access, name: &str, ty: &str) -> Self {
        let space = match access {
            Access::Uniform => "uniform",
            Access::Read => "storage, read",
            Access::ReadWrite => "storage, read_write",
        };
        let binding = self.bindings.len();
        self.bindings.push(access);
        self.text(&format!("@group(0) @binding({binding}) var<{space}> {name}: {ty};\n"))
    }

    pub(super) fn read(self, name: &str, ty: &str) -> Self {
        self.bind(Access::Read, name, ty)
    }

    pub(super) fn write(self, name: &str, ty: &str) -> Self {
        self.bind(Access::ReadWrite, name, ty)
    }

    pub(super) fn state(self, access: Access) -> Self {
        self.text(STATE).bind(access, "state", "State")
    }

    pub(super) fn layer(self) -> Self {
        self.text(LAYER).bind(Access::Uniform, "layer", "Layer")
    }

    /// Binds a weight, and writes the function that reads four neighbours of it as f32: the only place that depends
    /// on its type.
    pub(super) fn weight(self, index: usize, is_bf16: bool) -> Self {
        let name = format!("w{index}");
        let (ty, value) = match is_bf16 {
            // bf16 is the upper half of an f32.
            true => ("array<vec2<u32>>", "bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u))"),
            false => ("array<vec4<f32>>", "w"),
        };
        self.read(&name, ty).text(&format!("fn load_{name}(i: u32) -> vec4<f32> {{ let w = {name}[i]; return {value}; }}\n"))
    }

    pub(super) fn constant(self, name: &str, value: usize) -> Self {
        self.text(&format!("const {name}: u32 = {value}u;\n"))
    }

    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        self.text(&format!("const {name}: bool = {value};\n"))
    }

    pub(super) fn float(self, name: &str, value: f64) -> Self {
        self.text(&format!("const {name}: f32 = {value:e};\n"))
    }

    /// Writes `prepare` and `input` for a normalised `x`.
    fn norm(self, shape: &Shape, at: NormAt) -> Self {
        let name = at.name();
        self.float("EPS", shape.norm_eps)
            .flag("CENTRED", shape.centred)
            .text(&format!("fn norm_weight() -> u32 {{ return layer.{name}_weight; }}\n"))
            .text(&format!("fn norm_bias() -> u32 {{ return layer.{name}_bias; }}\n"))
            .text(include_str!("../tensors/wgsl/reduce.wgsl"))
            .text(include_str!("wgsl/input_norm.wgsl"))
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.source.push_str(text);
        self
    }
}

/// A norm's place in a layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum NormAt {
    /// Before the attention; also the final norm, as the first norm of one more layer.
    First,
    /// Before the feed-forward block.
    Second,
    /// After the attention.
    PostFirst,
    /// After the feed-forward block.
    PostSecond,
}

impl NormAt {
    /// The beginning of the names of the norm's offsets in `struct Layer`.
    fn name(self) -> &'static str {
        match self {
            Self::First => "norm1",
            Self::Second => "norm2",
            Self::PostFirst => "post1",
            Self::PostSecond => "post2",
        }
    }
}

/// The source of a product's input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input {
    Plain,
    Norm(NormAt),
    Merge,
}

/// The destination of a product's rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Output {
    /// `out[row] = sum`, plus a bias.
    Store,
    /// `out[row] = sum`, plus a bias, clipped to a bound.
    Clip(f64),
    /// `out[row] += sum`, plus a bias: the residual stream.
    Add,
    /// `out[row] = act(gate) * up`, or `act(sum)`.
    Activate(Activation),
}

/// A matrix-vector product.
#[derive(Debug, Clone)]
pub(super) struct Product {
    pub label: &'static str,
    pub input: Input,
    pub output: Output,
    pub layout: Layout,
    pub in_width: usize,
    /// Rows of each matrix. The matrices follow one another in the output, or, for a gated block, the two are side by
    /// side.
    pub rows: Vec<usize>,
    pub gated: bool,
    /// Name of the bias's offset in `struct Layer`.
    pub bias: Option<&'static str>,
}

impl Product {
    fn out(&self) -> usize {
        if self.gated { self.rows[0] } else { self.rows.iter().sum() }
    }

    /// Invocations that share a row: enough reads at once for a small matrix, few idle invocations at a row's end.
    fn lanes(&self) -> usize {
        match self.in_width / 4 {
            0..32 => 8,
            32..64 => 16,
            64..256 => 32,
            _ => 64,
        }
    }

    /// Rounds of rows that a workgroup processes: several, so that it normalises once for all of them, but one for a
    /// small matrix, so that it fills the GPU.
    fn steps(&self) -> usize {
        let rows = WORKGROUP / self.lanes();
        (self.out() / (rows * 1024)).clamp(1, 16)
    }

    fn columns(&self) -> usize {
        if self.out() <= 2048 { 4 } else { 8 }
    }

    pub fn grid(&self) -> [u32; 3] {
        let per_group = match self.layout {
            Layout::OutIn => self.steps() * WORKGROUP / self.lanes(),
            Layout::InOut => 4 * self.columns(),
        };
        [self.out().div_ceil(per_group) as u32, 1, 1]
    }

    /// Bindings: layer, x (or parts and state), vectors, the weights, out. `is_bf16` has a value for each matrix.
    pub fn kernel(&self, shape: &Shape, is_bf16: &[bool]) -> Kernel {
        let mut kernel = Kernel::new(self.label).layer();
        kernel = match self.input {
            Input::Merge => kernel.read("parts", "array<vec4<f32>>").state(Access::Read),
            Input::Plain | Input::Norm(_) => kernel.read("x", "array<vec4<f32>>"),
        };
        kernel = kernel.read("vectors", "array<vec4<f32>>");
        for (index, is_bf16) in is_bf16.iter().enumerate() {
            kernel = kernel.weight(index, *is_bf16);
        }
        let in4 = self.in_width / 4;
        kernel = kernel
            .write("out", "array<f32>")
            .constant("IN4", in4)
            .constant("OUT", self.out())
            .constant("CACHED4", if in4 <= MAX_CACHED4 { in4 } else { 1 })
            .text(&format!("alias Sum = {};\n", if self.gated { "vec2<f32>" } else { "f32" }));
        self.with_body(self.with_input(kernel, shape)).text(&self.finish())
    }

    fn with_input(&self, kernel: Kernel, shape: &Shape) -> Kernel {
        match self.input {
            Input::Plain => kernel.text(include_str!("wgsl/input_plain.wgsl")),
            Input::Merge => kernel
                .constant("HEAD_DIM", shape.head_dim)
                .constant("HEAD4", shape.head4())
                .text(include_str!("wgsl/split.wgsl"))
                .text(include_str!("wgsl/input_merge.wgsl")),
            Input::Norm(at) => kernel.norm(shape, at),
        }
    }

    fn with_body(&self, kernel: Kernel) -> Kernel {
        match self.layout {
            Layout::OutIn => {
                let lanes = self.lanes();
                kernel
                    .constant("LANES", lanes)
                    .constant("ROUND", if lanes >= 32 { 8 } else { 4 })
                    .constant("STEPS", self.steps())
                    .text(&self.row_product())
                    .text(include_str!("wgsl/rows.wgsl"))
            }
            Layout::InOut => kernel.constant("COLUMNS", self.columns()).text(include_str!("wgsl/columns.wgsl")),
        }
    }

    /// Writes `row_product`: an invocation's share of a row, from the row's matrix, or from both matrices of a gated
    /// block.
    fn row_product(&self) -> String {
        let mut text = String::from("fn row_product(row: u32, lane: u32) -> Sum {\n");
        // Writing to a string cannot fail.
        let mut line = |args: std::fmt::Arguments<'_>| text.write_fmt(args).unwrap_or_default();
        let over_lanes = "for (var i = lane; i < IN4; i += LANES)";
        if self.gated {
            line(format_args!("  let first = row * IN4; var gate = vec4<f32>(); var up = vec4<f32>();\n"));
            line(format_args!("  {over_lanes} {{ let v = input(i); gate += v * load_w0(first + i); up += v * load_w1(first + i); }}\n"));
            line(format_args!("  return vec2<f32>(dot(gate, vec4<f32>(1.0)), dot(up, vec4<f32>(1.0)));\n}}\n"));
            return text;
        }
        line(format_args!("  var sum = vec4<f32>();\n"));
        let mut start = 0;
        for (index, rows) in self.rows.iter().enumerate() {
            let end = start + rows;
            line(format_args!("  if (row >= {start}u && row < {end}u) {{ let first = (row - {start}u) * IN4;\n"));
            line(format_args!("    {over_lanes} {{ sum += input(i) * load_w{index}(first + i); }} }}\n"));
            start = end;
        }
        line(format_args!("  return dot(sum, vec4<f32>(1.0));\n}}\n"));
        text
    }

    /// Writes `finish`, which puts a row's sum into the output.
    fn finish(&self) -> String {
        let bias = |plus: usize| match self.bias {
            Some(bias) => format!("vectors[(layer.{bias} + row + {plus}u) / 4u][(layer.{bias} + row + {plus}u) % 4u]"),
            None => "0.0".into(),
        };
        let value = match (self.output, self.gated) {
            (Output::Activate(_), true) => format!("act(sum.x + {}) * (sum.y + {})", bias(0), bias(self.out())),
            (Output::Activate(_), false) => format!("act(sum + {})", bias(0)),
            (Output::Add, _) => format!("out[row] + sum + {}", bias(0)),
            (Output::Store, _) => format!("sum + {}", bias(0)),
            (Output::Clip(bound), _) => format!("clamp(sum + {}, -f32({bound:e}), f32({bound:e}))", bias(0)),
        };
        let act = match self.output {
            Output::Activate(activation) => activation_source(activation),
            Output::Store | Output::Clip(_) | Output::Add => "",
        };
        format!("{act}fn finish(row: u32, sum: Sum) {{ out[row] = {value}; }}\n")
    }
}

/// The source of `act`, with arguments clamped so that `exp` and `tanh` are finite in every driver.
fn activation_source(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "fn act(x: f32) -> f32 { return x / (1.0 + exp(min(-x, 80.0))); }\n",
        Activation::GeluTanh => {
            "fn act(x: f32) -> f32 { let inner = clamp(0.7978845608 * (x + 0.044715 * x * x * x), -15.0, 15.0);\n  \
             return 0.5 * x * (1.0 + tanh(inner)); }\n"
        }
        // Abramowitz and Stegun 7.1.26: erf within 1.5e-7.
        Activation::Gelu => {
            "fn act(x: f32) -> f32 { let z = abs(x) * 0.7071067812; let t = 1.0 / (1.0 + 0.3275911 * z);\n  \
             let poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;\n  \
             let erf = 1.0 - poly * exp(-min(z * z, 80.0)); return 0.5 * x * (1.0 + select(-erf, erf, x >= 0.0)); }\n"
        }
    }
}

/// Bindings: layer, x, vectors, out. `out += norm(x)`.
pub(super) fn add_normed(shape: &Shape, at: NormAt) -> Kernel {
    Kernel::new("add_normed")
        .layer()
        .read("x", "array<vec4<f32>>")
        .read("vectors", "array<vec4<f32>>")
        .write("out", "array<vec4<f32>>")
        .constant("IN4", shape.hidden_size / 4)
        .constant("CACHED4", 1)
        .norm(shape, at)
        .text(include_str!("wgsl/add_normed.wgsl"))
}
