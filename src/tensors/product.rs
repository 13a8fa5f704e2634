//! Matrix products: which kernel for which shapes.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::CubeCount;
use burn_cubecl::kernel::into_contiguous;

use super::kernel::{Kernel, Specialised, launch_specialised};
use super::ops::Orientation;

/// A matrix of weights.
pub(super) enum Weights {
    F32(CubeTensor),
    Bf16(CubeTensor),
}

const PRODUCT: Kernel = Kernel {
    name: "product",
    inputs: &["a: array<f32>", "b: array<f32>"],
    outputs: &["y: array<f32>"],
    info: "m: u32, k: u32, n: u32",
    parts: &[include_str!("wgsl/product.wgsl")],
};
const PRODUCT_BF16: Kernel = Kernel { name: "product_bf16", inputs: &["a: array<f32>", "b: array<u32>"], ..PRODUCT };

const LOAD_A: &str = "fn load_a(batch: u32, row: u32, k: u32) -> f32 { return a[(batch * info.m + row) * info.k + k]; }\n";
const LOAD_A_TRANSPOSED: &str = "fn load_a(batch: u32, row: u32, k: u32) -> f32 { return a[(batch * info.k + k) * info.m + row]; }\n";
const LOAD_B: &str = "fn load_b(batch: u32, k: u32, column: u32) -> f32 { return b[(batch * info.k + k) * info.n + column]; }\n";
const LOAD_B_TRANSPOSED: &str = "fn load_b(batch: u32, k: u32, column: u32) -> f32 { return b[(batch * info.n + column) * info.k + k]; }\n";
const LOAD_BF16: &str = "fn load_b(batch: u32, k: u32, column: u32) -> f32 { let at = k * info.n + column; \
                         return bitcast<f32>(select(b[at / 2u] << 16u, b[at / 2u] & 0xffff0000u, at % 2u == 1u)); }\n";
const LOAD_BF16_TRANSPOSED: &str = "fn load_b(batch: u32, k: u32, column: u32) -> f32 { let at = column * info.k + k; \
                                    return bitcast<f32>(select(b[at / 2u] << 16u, b[at / 2u] & 0xffff0000u, at % 2u == 1u)); }\n";

/// `x weight` or `x weightᵀ`.
pub(super) fn product(x: CubeTensor, weight: Weights, transposed: bool) -> CubeTensor {
    let x = into_contiguous(x);
    let [m, k] = x.shape().dims();
    let (kernel, weight, per_word, load_b) = match weight {
        Weights::F32(weight) => (PRODUCT, into_contiguous(weight), 1, if transposed { LOAD_B_TRANSPOSED } else { LOAD_B }),
        Weights::Bf16(words) => (PRODUCT_BF16, into_contiguous(words), 2, if transposed { LOAD_BF16_TRANSPOSED } else { LOAD_BF16 }),
    };
    let [rows, cols] = weight.shape().dims();
    let n = if transposed { rows } else { cols * per_word };
    let kernel = Specialised { kernel, prelude: [LOAD_A, load_b].concat() };
    let [y] =
        launch_specialised(kernel, grid(m, n, 1), &[&x, &weight], [(Shape::new([m, n]), DType::F32)], &[m as u32, k as u32, n as u32, 0]);
    y
}

/// Products of a batch; see [`Orientation`].
pub(super) fn batch_product(a: CubeTensor, b: CubeTensor, orientation: Orientation) -> CubeTensor {
    let (a, b) = (into_contiguous(a), into_contiguous(b));
    let ([batch, rows, cols], [_, b_rows, b_cols]): ([usize; 3], [usize; 3]) = (a.shape().dims(), b.shape().dims());
    let (m, k, n, load_a, load_b) = match orientation {
        Orientation::Plain => (rows, cols, b_cols, LOAD_A, LOAD_B),
        Orientation::SecondTransposed => (rows, cols, b_rows, LOAD_A, LOAD_B_TRANSPOSED),
        Orientation::FirstTransposed => (cols, rows, b_cols, LOAD_A_TRANSPOSED, LOAD_B),
    };
    let kernel = Specialised { kernel: PRODUCT, prelude: [load_a, load_b].concat() };
    let outputs = [(Shape::new([batch, m, n]), DType::F32)];
    let [y] = launch_specialised(kernel, grid(m, n, batch), &[&a, &b], outputs, &[m as u32, k as u32, n as u32, 0]);
    y
}

fn grid(m: usize, n: usize, batch: usize) -> CubeCount {
    CubeCount::Static(n.div_ceil(64) as u32, m.div_ceil(64) as u32, batch as u32)
}
