//! Attention as kernels: two products around a masked softmax, with heads read and written in place.

use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::backend::{TensorMetadata, ops::FloatTensorOps};
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;

use super::kernel::{Kernel, REDUCE, ROW, launch, rows};
use super::product::{Place, Problem, multiply};

const WEIGHTS: Kernel = Kernel {
    name: "attention_weights",
    inputs: &["x: array<f32>", "mask: array<f32>"],
    outputs: &["y: array<f32>"],
    info: "rows: u32, width: u32, seq: u32, scale: f32",
    parts: &[ROW, REDUCE, include_str!("wgsl/attention_weights.wgsl")],
};
const WEIGHTS_BACKWARD: Kernel = Kernel {
    name: "attention_weights_backward",
    inputs: &["x: array<f32>", "grad: array<f32>"],
    parts: &[ROW, REDUCE, include_str!("wgsl/attention_weights_backward.wgsl")],
    ..WEIGHTS
};

/// The sizes of an attention.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    kv_heads: usize,
    seq: usize,
    total: usize,
    head_dim: usize,
}

impl Sizes {
    fn of(query: &CubeTensor, key: &CubeTensor) -> Self {
        let ([heads, seq, head_dim], [kv_heads, total, _]) = (query.shape().dims(), key.shape().dims());
        Self { heads, kv_heads, seq, total, head_dim }
    }

    fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    /// The layout of queries, `[heads, seq, head_dim]`.
    fn queries(self) -> Place {
        Place { pitch: self.head_dim, stride: self.seq * self.head_dim }
    }

    /// The layout of scores, `[heads, seq, total]`.
    fn scores(self) -> Place {
        Place { pitch: self.total, stride: self.seq * self.total }
    }

    /// The layout of heads side by side, `[seq, heads * head_dim]`.
    fn merged(self) -> Place {
        Place { pitch: self.heads * self.head_dim, stride: self.head_dim }
    }

    /// One product for each query head, which shares its key head with its group.
    fn by_head(self, m: usize, k: usize, n: usize) -> Problem {
        Problem { batch: self.heads, m, k, n, share: self.group(), ..Problem::default() }
    }

    /// One product for each key head, over all rows of its group.
    fn by_kv_head(self, a: Place, b: Place) -> Problem {
        let (group, total, head_dim) = (self.group(), self.total, self.head_dim);
        let of_group = |place: Place| Place { stride: group * place.stride, ..place };
        let y = Place { pitch: head_dim, stride: total * head_dim };
        let (m, k, n) = (total, group * self.seq, head_dim);
        Problem { batch: self.kv_heads, m, k, n, a_transposed: true, a: of_group(a), b: of_group(b), y, share: 1, ..Problem::default() }
    }
}

/// The layout of keys or values, `[kv_heads, total, head_dim]` with any strides of the first two.
fn place_of(x: &CubeTensor) -> Place {
    let strides = x.meta.strides();
    Place { pitch: strides[1], stride: strides[0] }
}

/// Copies `x` unless the values of each row are contiguous; the rows may have any strides.
fn with_whole_rows(x: CubeTensor) -> CubeTensor {
    if x.meta.strides()[2] == 1 { x } else { into_contiguous(x) }
}

/// See [`super::stock::attention`].
pub(super) fn attention(query: CubeTensor, key: CubeTensor, value: CubeTensor, mask: CubeTensor, scale: f64) -> (CubeTensor, CubeTensor) {
    let (query, key, value, mask) = (into_contiguous(query), with_whole_rows(key), with_whole_rows(value), into_contiguous(mask));
    let sizes = Sizes::of(&query, &key);
    let Sizes { heads, seq, total, head_dim, .. } = sizes;

    let problem =
        Problem { b_transposed: true, a: sizes.queries(), b: place_of(&key), y: sizes.scores(), ..sizes.by_head(seq, head_dim, total) };
    let scores = multiply(&problem, &query, &key, false, Shape::new([heads, seq, total]));

    let (n, width, grid) = rows(&scores);
    let info = [n as u32, width as u32, seq as u32, (scale as f32).to_bits()];
    let [weights] = launch(&WEIGHTS, grid, &[&scores, &mask], [(scores.shape(), DType::F32)], &info);

    let problem = Problem { a: sizes.scores(), b: place_of(&value), y: sizes.merged(), ..sizes.by_head(seq, total, head_dim) };
    let out = multiply(&problem, &weights, &value, false, Shape::new([seq, heads * head_dim]));
    (out, weights)
}

/// See [`super::stock::attention_backward`].
pub(super) fn attention_backward(
    query: CubeTensor,
    key: CubeTensor,
    value: CubeTensor,
    weights: CubeTensor,
    grad: CubeTensor,
    scale: f64,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let (query, key, value, grad) = (into_contiguous(query), with_whole_rows(key), with_whole_rows(value), into_contiguous(grad));
    let sizes = Sizes::of(&query, &key);
    let Sizes { heads, kv_heads, seq, total, head_dim } = sizes;

    let problem =
        Problem { b_transposed: true, a: sizes.merged(), b: place_of(&value), y: sizes.scores(), ..sizes.by_head(seq, head_dim, total) };
    let of_weights = multiply(&problem, &grad, &value, false, weights.shape());

    let (n, width, grid) = rows(&weights);
    let info = [n as u32, width as u32, seq as u32, (scale as f32).to_bits()];
    let [of_scores] = launch(&WEIGHTS_BACKWARD, grid, &[&weights, &of_weights], [(weights.shape(), DType::F32)], &info);

    let problem = Problem { a: sizes.scores(), b: place_of(&key), y: sizes.queries(), ..sizes.by_head(seq, total, head_dim) };
    let of_query = multiply(&problem, &of_scores, &key, false, query.shape());
    let kv_shape = Shape::new([kv_heads, total, head_dim]);
    let of_key = multiply(&sizes.by_kv_head(sizes.scores(), sizes.queries()), &of_scores, &query, false, kv_shape.clone());

    // The rows of a group must be contiguous, unlike those of merged heads.
    let grad = CubeBackend::float_reshape(grad, Shape::new([seq, heads, head_dim]));
    let grad = into_contiguous(CubeBackend::float_swap_dims(grad, 0, 1));
    let of_value = multiply(&sizes.by_kv_head(sizes.scores(), sizes.queries()), &weights, &grad, false, kv_shape);
    (of_query, of_key, of_value)
}
