//! Matrix products: the problem, the choice of tiles, and the launch.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::CubeCount;
use burn_cubecl::kernel::into_contiguous;

use super::kernel::{Kernel, Specialised, launch_specialised};
use super::tile::{Operand, Tile, Variant};

/// A matrix of weights.
pub(super) enum Weights {
    F32(CubeTensor),
    Bf16(CubeTensor),
}

/// `y[z] = a[z] b[z / share]` for `z` in `0..batch`, of `[m, k]` and `[k, n]`. Either may be stored transposed.
/// Pitches and batch strides are in elements.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Problem {
    pub batch: usize,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// True if `a` is stored `[k, m]`.
    pub a_transposed: bool,
    /// True if `b` is stored `[n, k]`.
    pub b_transposed: bool,
    pub a: Place,
    pub b: Place,
    pub y: Place,
    /// Number of neighbours in the batch that share one `b`: query heads with the same key head.
    pub share: usize,
}

/// Steps between the matrices of a batch: `pitch` from one row to the next, `stride` from one matrix to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub pitch: usize,
    pub stride: usize,
}

const INPUTS: [&[&str]; 4] = [
    &["a: array<f32>", "b: array<f32>"],
    &["a: array<vec4<f32>>", "b: array<f32>"],
    &["a: array<f32>", "b: array<vec4<f32>>"],
    &["a: array<vec4<f32>>", "b: array<vec4<f32>>"],
];
const INPUTS_BF16: [&[&str]; 4] = [
    &["a: array<f32>", "b: array<u32>"],
    &["a: array<vec4<f32>>", "b: array<u32>"],
    &["a: array<f32>", "b: array<vec2<u32>>"],
    &["a: array<vec4<f32>>", "b: array<vec2<u32>>"],
];

/// `x weight` or `x weightᵀ`.
pub(super) fn product(x: CubeTensor, weight: Weights, transposed: bool) -> CubeTensor {
    let x = into_contiguous(x);
    let (weight, is_bf16) = match weight {
        Weights::F32(weight) => (into_contiguous(weight), false),
        Weights::Bf16(words) => (into_contiguous(words), true),
    };
    let [m, k] = x.shape().dims();
    let [rows, width] = weight.shape().dims();
    let cols = if is_bf16 { 2 * width } else { width };
    let n = if transposed { rows } else { cols };
    let problem = Problem {
        batch: 1,
        m,
        k,
        n,
        b_transposed: transposed,
        a: Place { pitch: k, stride: 0 },
        b: Place { pitch: cols, stride: 0 },
        y: Place { pitch: n, stride: 0 },
        share: 1,
        ..Problem::default()
    };
    multiply(&problem, &x, &weight, is_bf16, Shape::new([m, n]))
}

/// Launches a problem on tensors with its sizes and layouts.
pub(super) fn multiply(problem: &Problem, a: &CubeTensor, b: &CubeTensor, is_bf16: bool, out: Shape) -> CubeTensor {
    let Problem { batch, m, k, n, a_transposed, b_transposed, share, .. } = *problem;
    let tile = Tile::for_shape(m, n, batch);
    let in_fours = |place: Place, across: usize| [place.pitch, place.stride, across].iter().all(|n| n.is_multiple_of(4));
    let a_operand = Operand { along_k: !a_transposed, in_fours: in_fours(problem.a, if a_transposed { m } else { k }), is_bf16: false };
    let b_operand = Operand { along_k: b_transposed, in_fours: in_fours(problem.b, if b_transposed { k } else { n }), is_bf16 };
    let y_in_fours = in_fours(problem.y, n);
    let inputs = if is_bf16 { INPUTS_BF16 } else { INPUTS };
    let kernel = Kernel {
        name: "product",
        inputs: inputs[usize::from(a_operand.in_fours) + 2 * usize::from(b_operand.in_fours)],
        outputs: if y_in_fours { &["y: array<vec4<f32>>"] } else { &["y: array<f32>"] },
        info: "m: u32, k: u32, n: u32, a_pitch: u32, a_stride: u32, b_pitch: u32, b_stride: u32, y_pitch: u32, y_stride: u32, share: u32",
        parts: &[],
    };
    let variant = Variant { a: a_operand, b: b_operand, y_in_fours, in_blocks: Variant::sums_in_blocks(k) };
    let source = move || tile.source(variant);
    let kernel = Specialised { kernel, key: tile.key(variant), threads: tile.threads() as u32, body: Box::new(source) };
    let info = [
        [m, k, n, problem.a.pitch],
        [problem.a.stride, problem.b.pitch, problem.b.stride, problem.y.pitch],
        [problem.y.stride, share, 0, 0],
    ];
    let info = info.as_flattened().iter().map(|n| *n as u32).collect::<Vec<_>>();
    let grid = CubeCount::Static(n.div_ceil(tile.columns) as u32, m.div_ceil(tile.rows) as u32, batch as u32);
    let [y] = launch_specialised(kernel, grid, &[a, b], [(out, DType::F32)], &info);
    y
}
