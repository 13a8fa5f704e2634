//! The operations as our own kernels, on a GPU that takes WGSL. Other runtimes (CUDA) use the stock definitions.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::CubeCount;
use burn_cubecl::kernel::into_contiguous;

use super::kernel::{Kernel, REDUCE, ROW, launch, on_rows, rows, runs_wgsl};
use super::ops::ModelOps;
use super::product::{Weights, product};
use super::{N_CHANNEL_SUMS, attention, stock};

const SIGMOID: &str = include_str!("wgsl/sigmoid.wgsl");

const RMS_NORM: Kernel = Kernel {
    name: "rms_norm",
    inputs: &["x: array<f32>", "weight: array<f32>"],
    outputs: &["y: array<f32>"],
    info: "rows: u32, width: u32, eps: f32",
    parts: &[ROW, REDUCE, include_str!("wgsl/rms_norm.wgsl")],
};
const RMS_NORM_BACKWARD: Kernel = Kernel {
    name: "rms_norm_backward",
    inputs: &["x: array<f32>", "weight: array<f32>", "grad: array<f32>"],
    parts: &[ROW, REDUCE, include_str!("wgsl/rms_norm_backward.wgsl")],
    ..RMS_NORM
};
const ROTATE: Kernel = Kernel {
    name: "rotate",
    inputs: &["x: array<f32>", "cosines: array<f32>", "signed_sines: array<f32>"],
    outputs: &["y: array<f32>"],
    info: "len: u32, seq: u32, width: u32, dim: u32, head_stride: u32, position_stride: u32, sign: f32",
    parts: &[ROW, include_str!("wgsl/rotate.wgsl")],
};
const SILU_GATE: Kernel = Kernel {
    name: "silu_gate",
    inputs: &["gate: array<f32>", "up: array<f32>"],
    outputs: &["y: array<f32>"],
    info: "len: u32",
    parts: &[ROW, SIGMOID, include_str!("wgsl/silu_gate.wgsl")],
};
const SILU_GATE_BACKWARD: Kernel = Kernel {
    name: "silu_gate_backward",
    inputs: &["gate: array<f32>", "up: array<f32>", "grad: array<f32>"],
    outputs: &["of_gate: array<f32>", "of_up: array<f32>"],
    parts: &[ROW, SIGMOID, include_str!("wgsl/silu_gate_backward.wgsl")],
    ..SILU_GATE
};
const PEAKS: Kernel = Kernel {
    name: "peaks",
    inputs: &["x: array<f32>"],
    outputs: &["values: array<f32>", "columns: array<i32>"],
    info: "rows: u32, width: u32",
    parts: &[ROW, include_str!("wgsl/peaks.wgsl")],
};
const LOG_SUM_EXP: &str = include_str!("wgsl/log_sum_exp.wgsl");
const CROSS_ENTROPY: Kernel = Kernel {
    name: "cross_entropy",
    inputs: &["x: array<f32>", "targets: array<i32>"],
    outputs: &["y: array<f32>"],
    info: "rows: u32, width: u32",
    parts: &[ROW, REDUCE, LOG_SUM_EXP, include_str!("wgsl/cross_entropy.wgsl")],
};
const CROSS_ENTROPY_BACKWARD: Kernel = Kernel {
    name: "cross_entropy_backward",
    inputs: &["x: array<f32>", "targets: array<i32>", "grad: array<f32>"],
    parts: &[ROW, REDUCE, LOG_SUM_EXP, include_str!("wgsl/cross_entropy_backward.wgsl")],
    ..CROSS_ENTROPY
};
const SOFTMAX_MASS: Kernel = Kernel {
    name: "softmax_mass",
    inputs: &["x: array<f32>", "mask: array<f32>"],
    parts: &[ROW, REDUCE, LOG_SUM_EXP, include_str!("wgsl/softmax_mass.wgsl")],
    ..CROSS_ENTROPY
};
const UNPACK_BF16: Kernel = Kernel {
    name: "unpack_bf16",
    inputs: &["words: array<u32>"],
    outputs: &["y: array<f32>"],
    info: "len: u32",
    parts: &[ROW, include_str!("wgsl/unpack_bf16.wgsl")],
};
const CHANNEL_SUMS: Kernel = Kernel {
    name: "channel_sums",
    inputs: &["u: array<f32>", "grad: array<f32>"],
    outputs: &["y: array<f32>"],
    info: "rows: u32, width: u32",
    parts: &[include_str!("wgsl/channel_sums.wgsl")],
};
/// Columns of a workgroup; see `channel_sums.wgsl`.
const CHANNEL_SUMS_COLUMNS: usize = 32;

/// Number of elements, and the grid that gives each of them an invocation.
fn elements(x: &CubeTensor) -> (usize, CubeCount) {
    let len = x.meta.num_elements();
    (len, on_rows(len.div_ceil(256)))
}

impl ModelOps for CubeBackend {
    fn product(x: CubeTensor, weight: CubeTensor, transposed: bool) -> CubeTensor {
        match runs_wgsl(&x) {
            true => product(x, Weights::F32(weight), transposed),
            false => stock::product::<Self>(x, weight, transposed),
        }
    }

    fn product_bf16(x: CubeTensor, words: CubeTensor, transposed: bool) -> CubeTensor {
        product(x, Weights::Bf16(words), transposed)
    }

    fn unpack_bf16(words: CubeTensor) -> CubeTensor {
        let words = into_contiguous(words);
        let [rows, width] = words.shape().dims();
        let (len, grid) = elements(&words);
        let outputs = [(Shape::new([rows, 2 * width]), DType::F32)];
        let [y] = launch(&UNPACK_BF16, grid, &[&words], outputs, &[len as u32, 0, 0, 0]);
        y
    }

    fn rms_norm(x: CubeTensor, weight: CubeTensor, eps: f64) -> CubeTensor {
        if !runs_wgsl(&x) {
            return stock::rms_norm::<Self>(x, weight, eps);
        }
        let x = into_contiguous(x);
        let (n, width, grid) = rows(&x);
        let info = [n as u32, width as u32, (eps as f32).to_bits(), 0];
        let [y] = launch(&RMS_NORM, grid, &[&x, &weight], [(x.shape(), DType::F32)], &info);
        y
    }

    fn rms_norm_backward(x: CubeTensor, weight: CubeTensor, grad: CubeTensor, eps: f64) -> CubeTensor {
        if !runs_wgsl(&x) {
            return stock::rms_norm_backward::<Self>(x, weight, grad, eps);
        }
        let (x, grad) = (into_contiguous(x), into_contiguous(grad));
        let (n, width, grid) = rows(&x);
        let info = [n as u32, width as u32, (eps as f32).to_bits(), 0];
        let [y] = launch(&RMS_NORM_BACKWARD, grid, &[&x, &weight, &grad], [(x.shape(), DType::F32)], &info);
        y
    }

    fn rotate(x: CubeTensor, cos: CubeTensor, signed_sin: CubeTensor, sign: f32) -> CubeTensor {
        if !runs_wgsl(&x) {
            return stock::rotate::<Self>(x, cos, signed_sin, sign);
        }
        // Heads that a projection left interleaved are read in place.
        let x = if x.meta.strides()[2] == 1 { x } else { into_contiguous(x) };
        let [_, seq, width] = x.shape().dims();
        let (len, grid) = elements(&x);
        let strides = x.meta.strides();
        let dim = cos.shape()[2];
        let info = [len, seq, width, dim, strides[0], strides[1]].map(|n| n as u32);
        let info = [info.as_slice(), &[sign.to_bits(), 0]].concat();
        let [y] = launch(&ROTATE, grid, &[&x, &cos, &signed_sin], [(x.shape(), DType::F32)], &info);
        y
    }

    fn attend(query: CubeTensor, key: CubeTensor, value: CubeTensor, mask: CubeTensor, scale: f64) -> (CubeTensor, CubeTensor) {
        match runs_wgsl(&query) {
            true => attention::attention(query, key, value, mask, scale),
            false => stock::attention::<Self>(query, key, value, mask, scale),
        }
    }

    fn attend_backward(
        query: CubeTensor,
        key: CubeTensor,
        value: CubeTensor,
        weights: CubeTensor,
        grad: CubeTensor,
        scale: f64,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        match runs_wgsl(&query) {
            true => attention::attention_backward(query, key, value, weights, grad, scale),
            false => stock::attention_backward::<Self>(query, key, value, weights, grad, scale),
        }
    }

    fn silu_gate(gate: CubeTensor, up: CubeTensor) -> CubeTensor {
        if !runs_wgsl(&gate) {
            return stock::silu_gate::<Self>(gate, up);
        }
        let (gate, up) = (into_contiguous(gate), into_contiguous(up));
        let (len, grid) = elements(&gate);
        let [y] = launch(&SILU_GATE, grid, &[&gate, &up], [(gate.shape(), DType::F32)], &[len as u32, 0, 0, 0]);
        y
    }

    fn silu_gate_backward(gate: CubeTensor, up: CubeTensor, grad: CubeTensor) -> (CubeTensor, CubeTensor) {
        if !runs_wgsl(&gate) {
            return stock::silu_gate_backward::<Self>(gate, up, grad);
        }
        let (gate, up, grad) = (into_contiguous(gate), into_contiguous(up), into_contiguous(grad));
        let (len, grid) = elements(&gate);
        let outputs = [(gate.shape(), DType::F32), (gate.shape(), DType::F32)];
        let [of_gate, of_up] = launch(&SILU_GATE_BACKWARD, grid, &[&gate, &up, &grad], outputs, &[len as u32, 0, 0, 0]);
        (of_gate, of_up)
    }

    fn cross_entropy(logits: CubeTensor, targets: CubeTensor) -> CubeTensor {
        if !runs_wgsl(&logits) {
            return stock::cross_entropy::<Self>(logits, targets);
        }
        let logits = into_contiguous(logits);
        let (n, width, grid) = rows(&logits);
        let outputs = [(Shape::new([n, 1]), DType::F32)];
        let [y] = launch(&CROSS_ENTROPY, grid, &[&logits, &targets], outputs, &[n as u32, width as u32, 0, 0]);
        y
    }

    fn cross_entropy_backward(logits: CubeTensor, targets: CubeTensor, grad: CubeTensor) -> CubeTensor {
        if !runs_wgsl(&logits) {
            return stock::cross_entropy_backward::<Self>(logits, targets, grad);
        }
        let (logits, grad) = (into_contiguous(logits), into_contiguous(grad));
        let (n, width, grid) = rows(&logits);
        let outputs = [(logits.shape(), DType::F32)];
        let [y] = launch(&CROSS_ENTROPY_BACKWARD, grid, &[&logits, &targets, &grad], outputs, &[n as u32, width as u32, 0, 0]);
        y
    }

    fn softmax_mass(logits: CubeTensor, mask: CubeTensor) -> CubeTensor {
        if !runs_wgsl(&logits) {
            return stock::softmax_mass::<Self>(logits, mask);
        }
        let logits = into_contiguous(logits);
        let (n, width, grid) = rows(&logits);
        let outputs = [(Shape::new([n, 1]), DType::F32)];
        let [y] = launch(&SOFTMAX_MASS, grid, &[&logits, &mask], outputs, &[n as u32, width as u32, 0, 0]);
        y
    }

    fn peaks(x: CubeTensor) -> (CubeTensor, CubeTensor) {
        if !runs_wgsl(&x) {
            return stock::peaks::<Self>(x);
        }
        let x = into_contiguous(x);
        let (n, width, grid) = rows(&x);
        let outputs = [(Shape::new([n, 1]), DType::F32), (Shape::new([n, 1]), DType::I32)];
        let [values, columns] = launch(&PEAKS, grid, &[&x], outputs, &[n as u32, width as u32, 0, 0]);
        (values, columns)
    }

    fn channel_sums(u: CubeTensor, grad: CubeTensor) -> CubeTensor {
        if !runs_wgsl(&u) {
            return stock::channel_sums::<Self>(u, grad);
        }
        let (u, grad) = (into_contiguous(u), into_contiguous(grad));
        let [n, width] = u.shape().dims();
        let grid = CubeCount::Static(width.div_ceil(CHANNEL_SUMS_COLUMNS) as u32, 1, 1);
        let outputs = [(Shape::new([N_CHANNEL_SUMS, width]), DType::F32)];
        let [y] = launch(&CHANNEL_SUMS, grid, &[&u, &grad], outputs, &[n as u32, width as u32, 0, 0]);
        y
    }
}
