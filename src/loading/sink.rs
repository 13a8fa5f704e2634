//! One tensor on its way from a file to a device, piece by piece.

use burn::tensor::Device;
use half::{bf16, f16};

use super::largest::{BF16_INFINITY, Largest, first_above};
use crate::model::weights::Arrived;
use crate::platform::GpuHandles;
use crate::tensors::{self, Upload};
use crate::terms::Matrix;
use crate::weights::WeightsError;
use crate::weights::safetensors::{Dtype, TensorEntry};

/// A tensor that is being filled: as a whole, or, for a table, in chunks of rows.
pub struct Sink<'a> {
    entry: &'a TensorEntry,
    is_bf16: bool,
    /// Full chunks.
    full: Vec<Upload>,
    filling: Upload,
    /// Number of values in a chunk.
    step: usize,
    /// Number of values received so far.
    len: usize,
    device: Device,
    gpu: Option<GpuHandles>,
    /// Widened values of the current piece; the memory is reused.
    widened: Vec<f32>,
}

/// `true` if a tensor stays bf16 on the device. A packed matrix has an even number of columns, so that no word spans
/// two rows.
fn stays_bf16(entry: &TensorEntry, device: &Device) -> bool {
    let is_even = matches!(entry.shape.as_slice(), [_, cols] if cols.is_multiple_of(2));
    entry.dtype == Dtype::BF16 && is_even && tensors::packs(device)
}

/// Bytes that a value of this tensor takes on a device.
pub fn bytes_per_value(entry: &TensorEntry, device: &Device) -> usize {
    if stays_bf16(entry, device) { 2 } else { 4 }
}

/// Bytes that a tensor will take on a device.
pub fn bytes_of(entry: &TensorEntry, device: &Device) -> u64 {
    entry.shape.iter().fold(bytes_per_value(entry, device) as u64, |bytes, size| bytes.saturating_mul(*size as u64))
}

impl<'a> Sink<'a> {
    /// Begins a tensor. `chunk_rows` is the number of rows in each chunk of a table, if it is split.
    pub fn new(entry: &'a TensorEntry, chunk_rows: Option<usize>, device: &Device, gpu: Option<&GpuHandles>) -> Self {
        let len = entry.shape.iter().product::<usize>();
        let row = entry.shape.get(1).copied().unwrap_or(1);
        let step = chunk_rows.map_or(len, |rows| rows * row);
        let is_bf16 = stays_bf16(entry, device);
        let filling = Upload::new(step.min(len), is_bf16, device, gpu);
        let (device, gpu) = (device.clone(), gpu.cloned());
        Self { entry, is_bf16, full: Vec::new(), filling, step, len: 0, device, gpu, widened: Vec::new() }
    }

    /// Appends the next bytes of the file, in whole values. `place` is the layer and matrix of the tensor, if it
    /// belongs to a layer.
    ///
    /// # Errors
    ///
    /// [`WeightsError::NonFinite`]: such a weight would turn every measurement into NaN, which looks like a collapse
    /// caused by an ablation.
    pub fn push(&mut self, bytes: &[u8], place: Option<(usize, Matrix)>, largest: &mut Largest) -> Result<(), WeightsError> {
        let bad = match self.is_bf16 {
            true => {
                let bad = match place {
                    Some(place) => largest.look_at_bf16(place, self.len, bytes),
                    None => first_above(bytes, BF16_INFINITY - 1),
                };
                self.fill(bytes.len() / 2, |upload, range| upload.push_words(&bytes[2 * range.start..2 * range.end]));
                bad
            }
            false => {
                let mut values = std::mem::take(&mut self.widened);
                widen(self.entry.dtype, bytes, &mut values);
                if let Some(place) = place {
                    largest.look_at(place, self.len, &values);
                }
                self.fill(values.len(), |upload, range| upload.push_f32(&values[range]));
                let bad = values.iter().position(|value| !value.is_finite());
                self.widened = values;
                bad
            }
        };
        match bad {
            Some(index) => Err(WeightsError::NonFinite { name: self.entry.name.clone(), index: self.len + index }),
            None => {
                self.len += bytes.len() / (self.entry.dtype.size_bits() as usize / 8);
                Ok(())
            }
        }
    }

    /// Passes on `n` values, cut where a chunk ends and the next begins.
    fn fill(&mut self, n: usize, push: impl Fn(&mut Upload, std::ops::Range<usize>)) {
        let (mut begin, all) = (0, self.entry.shape.iter().product::<usize>());
        while begin < n {
            let at = self.len + begin;
            if at > 0 && at.is_multiple_of(self.step) && self.full.len() < at / self.step {
                let next = Upload::new(self.step.min(all - at), self.is_bf16, &self.device, self.gpu.as_ref());
                self.full.push(std::mem::replace(&mut self.filling, next));
            }
            let end = n.min(begin + self.step - at % self.step);
            push(&mut self.filling, begin..end);
            begin = end;
        }
    }

    pub fn finish(mut self) -> Arrived {
        if self.full.is_empty() {
            return self.filling.finish().into();
        }
        self.full.push(self.filling);
        Arrived::Chunks(self.full.into_iter().map(|chunk| chunk.finish().into()).collect())
    }
}

/// Widens bytes of the file to f32, exactly.
fn widen(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    values.clear();
    match dtype {
        Dtype::BF16 => values.extend(bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32())),
        Dtype::F16 => values.extend(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
        _ => values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
    }
}
