//! A matrix with a checkpoint's values: f32, or bf16 in half the memory.

use std::ops::Range;

use super::kernel::takes_wgsl;
use super::ops::ModelOps;
use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A matrix of weights, `[rows, cols]`, row-major. Cloning shares it.
#[derive(Debug, Clone)]
pub enum Weight {
    F32(Tensor<2>),
    /// bf16 values, exact: unpacking is a shift.
    Bf16(Packed),
}

/// bf16 values, two in each word, the first in the low half: `[rows, cols / 2]`.
#[derive(Debug, Clone)]
pub struct Packed {
    pub words: Tensor<2, Int>,
}

/// `true` if bf16 matrices stay bf16 on this device. The CPU's kernels need f32.
pub fn packs(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(device) if takes_wgsl(&device.client()))
}

/// Bytes of the largest tensor that a GPU can hold, or that a shader can bind; `None` for the CPU.
pub fn largest_buffer(device: &Device) -> Option<u64> {
    match device.as_dispatch() {
        DispatchDevice::Cube(device) => Some(device.client().properties().memory.max_page_size),
        _ => None,
    }
}

impl Weight {
    /// `[rows, cols]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::F32(weight) => weight.dims(),
            Self::Bf16(Packed { words }) => {
                let [rows, width] = words.dims();
                [rows, 2 * width]
            }
        }
    }

    pub fn device(&self) -> Device {
        match self {
            Self::F32(weight) => weight.device(),
            Self::Bf16(packed) => packed.words.device(),
        }
    }

    /// `x weightᵀ` if `transposed`, else `x weight`; with gradients with regard to `x`.
    pub fn product(&self, x: Tensor<2>, transposed: bool) -> Tensor<2> {
        let x = x.into_dispatch();
        Tensor::from_dispatch(match self {
            Self::F32(weight) => Dispatch::product(x, weight.clone().into_dispatch(), transposed),
            Self::Bf16(packed) => Dispatch::product_bf16(x, packed.words.clone().into_dispatch(), transposed),
        })
    }

    /// Rows by index, in f32.
    pub fn select_rows(&self, indices: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::F32(weight) => weight.clone().select(0, indices),
            Self::Bf16(packed) => unpack(packed.words.clone().select(0, indices)),
        }
    }

    /// A block of the matrix, in f32.
    pub fn block(&self, rows: Range<usize>, cols: Range<usize>) -> Tensor<2> {
        match self {
            Self::F32(weight) => weight.clone().slice([rows, cols]),
            Self::Bf16(packed) => {
                let (words, n) = (words_of(&cols), rows.len());
                let unpacked = unpack(packed.words.clone().slice([rows, words.clone()]));
                let first = cols.start - 2 * words.start;
                unpacked.slice([0..n, first..first + cols.len()])
            }
        }
    }

    /// A new matrix from the rows `rows` of each of `rounds` equal runs of rows.
    pub fn rows_of_rounds(&self, rounds: usize, rows: Range<usize>) -> Self {
        let [all, cols] = self.dims();
        let (period, n) = (all / rounds, rounds * rows.len());
        match self {
            Self::F32(weight) => {
                Self::F32(weight.clone().reshape([rounds, period, cols]).slice([0..rounds, rows, 0..cols]).reshape([n, cols]))
            }
            Self::Bf16(Packed { words }) => {
                let width = cols / 2;
                let words = words.clone().reshape([rounds, period, width]).slice([0..rounds, rows, 0..width]).reshape([n, width]);
                Self::Bf16(Packed { words })
            }
        }
    }

    /// The whole matrix, in f32.
    pub fn to_f32(&self) -> Tensor<2> {
        match self {
            Self::F32(weight) => weight.clone(),
            Self::Bf16(packed) => unpack(packed.words.clone()),
        }
    }

    /// Multiplies a block by `scale`: whole rows, or a single column of some rows. At 0 a packed matrix stays packed;
    /// other scales turn it into f32, because bf16 could not hold the products.
    pub fn scale(&mut self, rows: Range<usize>, cols: Range<usize>, scale: f32) {
        if scale == 1.0 {
            return;
        }
        match self {
            Self::Bf16(packed) if scale == 0.0 => packed.zero(rows, cols),
            Self::Bf16(_) => {
                *self = Self::F32(self.to_f32());
                self.scale(rows, cols, scale);
            }
            Self::F32(weight) => weight.inplace(|weight| {
                let range = [rows, cols];
                let old = weight.clone().slice(range.clone());
                // Exactly 0, without a negative sign.
                let new = if scale == 0.0 { Tensor::zeros_like(&old) } else { old * scale };
                weight.slice_assign(range, new)
            }),
        }
    }

    /// Zeroes scalars, given by their indices in row-major order.
    pub fn zero_flat(&mut self, flat: &[usize]) {
        let [rows, cols] = self.dims();
        match self {
            Self::F32(weight) => {
                let mut keep = vec![1.0_f32; rows * cols];
                flat.iter().for_each(|index| keep[*index] = 0.0);
                multiply(weight, TensorData::new(keep, [rows, cols]));
            }
            Self::Bf16(packed) => {
                let mut keep = vec![-1_i32; rows * cols / 2];
                flat.iter().for_each(|index| keep[index / 2] &= keeping_all_but(*index));
                packed.keep(TensorData::new(keep, [rows, cols / 2]));
            }
        }
    }

    /// Zeroes whole rows, or whole columns, in one pass; a packed matrix stays packed.
    pub fn zero_lines(&mut self, is_row: bool, indices: &[usize]) {
        if indices.is_empty() {
            return;
        }
        let [rows, cols] = self.dims();
        match self {
            Self::F32(weight) => {
                let shape = if is_row { [rows, 1] } else { [1, cols] };
                let mut keep = vec![1.0_f32; shape[0] * shape[1]];
                indices.iter().for_each(|index| keep[*index] = 0.0);
                multiply(weight, TensorData::new(keep, shape));
            }
            Self::Bf16(packed) => {
                let shape = if is_row { [rows, 1] } else { [1, cols / 2] };
                let mut keep = vec![-1_i32; shape[0] * shape[1]];
                for index in indices {
                    match is_row {
                        true => keep[*index] = 0,
                        false => keep[index / 2] &= keeping_all_but(*index),
                    }
                }
                packed.keep(TensorData::new(keep, shape));
            }
        }
    }
}

/// Multiplies a matrix by a mask, `[rows, cols]` or one that repeats along a side.
fn multiply(weight: &mut Tensor<2>, mask: TensorData) {
    weight.inplace(|weight| {
        let mask = Tensor::from_data(mask, &weight.device());
        weight * mask
    });
}

impl Packed {
    /// Keeps the bits of a mask of words, which may repeat along a side.
    fn keep(&mut self, mask: TensorData) {
        self.words.inplace(|words| {
            let mask = Tensor::<2, Int>::from_data(mask, &words.device());
            words.bitwise_and(mask)
        });
    }

    fn zero(&mut self, rows: Range<usize>, cols: Range<usize>) {
        debug_assert!(cols.len() == 1 || cols.start.is_multiple_of(2) && cols.len().is_multiple_of(2), "{cols:?} splits a word");
        let range = [rows, words_of(&cols)];
        self.words.inplace(|words| {
            let old = words.clone().slice(range.clone());
            let new = match cols.len() {
                1 => old.bitwise_and_scalar(keeping_all_but(cols.start)),
                _ => Tensor::zeros_like(&old),
            };
            words.slice_assign(range, new)
        });
    }
}

fn words_of(cols: &Range<usize>) -> Range<usize> {
    cols.start / 2..cols.end.div_ceil(2)
}

/// The mask that clears one of a word's two values.
fn keeping_all_but(column: usize) -> i32 {
    if column.is_multiple_of(2) { 0xffff_0000_u32.cast_signed() } else { 0x0000_ffff }
}

fn unpack(words: Tensor<2, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::unpack_bf16(words.into_dispatch()))
}
