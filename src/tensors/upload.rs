//! Tensors that are filled while their bytes arrive, so that a host with a GPU never holds more than a piece.

use burn::backend::Wgpu;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::wgpu::wgpu;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use cubecl_wgpu::{AutoCompiler, WgpuResource, WgpuServer};

use crate::platform::GpuHandles;

/// Bytes passed to a GPU at once. A browser copies them through memory that it reuses after they are submitted: with
/// more at once, or one submission for several parts, an upload took three to four times as long in Chromium
/// (docs/benchmarks.md).
const PART_BYTES: usize = 1 << 20;

/// A flat tensor whose values have arrived, or are arriving.
#[derive(Debug)]
pub enum Flat {
    F32(Tensor<1>),
    /// bf16 values, two in a word.
    Bf16(Tensor<1, Int>),
}

/// A flat tensor that is filled from front to back.
pub struct Upload {
    device: Device,
    place: Place,
}

enum Place {
    HostF32(Vec<f32>),
    HostWords(Vec<u8>),
    Gpu(Writing),
}

/// A tensor's buffer, and the number of bytes written.
struct Writing {
    tensor: Flat,
    queue: wgpu::Queue,
    buffer: wgpu::Buffer,
    at: u64,
}

/// The buffer behind a tensor on a GPU, after Burn's pending operations have been queued.
///
/// # Errors
///
/// The reason why there is no such buffer.
pub fn resource_of(tensor: &CubeTensor) -> Result<WgpuResource, String> {
    let managed = tensor.client.get_resource::<WgpuServer<AutoCompiler>>(tensor.handle.clone());
    Ok(managed.map_err(|error| format!("{error:?}"))?.resource().clone())
}

impl Upload {
    /// Allocates `len` values: f32, or an even number in bf16. With the GPU's handles, values are sent there as they
    /// arrive.
    pub fn new(len: usize, is_bf16: bool, device: &Device, gpu: Option<&GpuHandles>) -> Self {
        let place = gpu.filter(|_| len > 0).and_then(|gpu| Writing::new(len, is_bf16, device, gpu)).map_or_else(
            || match is_bf16 {
                true => Place::HostWords(Vec::with_capacity(2 * len)),
                false => Place::HostF32(Vec::with_capacity(len)),
            },
            Place::Gpu,
        );
        Self { device: device.clone(), place }
    }

    /// Appends values.
    pub fn push_f32(&mut self, values: &[f32]) {
        match &mut self.place {
            Place::HostF32(all) => all.extend_from_slice(values),
            Place::HostWords(_) => debug_assert!(false, "f32 into bf16"),
            Place::Gpu(writing) => writing.push(bytemuck::cast_slice(values)),
        }
    }

    /// Appends bf16 values in a file's byte order, in whole words except at the end.
    pub fn push_words(&mut self, bytes: &[u8]) {
        match &mut self.place {
            Place::HostWords(all) => all.extend_from_slice(bytes),
            Place::HostF32(_) => debug_assert!(false, "bf16 into f32"),
            Place::Gpu(writing) => writing.push(bytes),
        }
    }

    pub fn finish(self) -> Flat {
        match self.place {
            Place::HostF32(values) => {
                let len = values.len();
                Flat::F32(Tensor::from_data(TensorData::new(values, [len]), &self.device))
            }
            Place::HostWords(bytes) => {
                let words = [bytes.len() / 4];
                Flat::Bf16(Tensor::from_data(TensorData::from_bytes_vec(bytes, words, DType::I32), &self.device))
            }
            Place::Gpu(writing) => writing.tensor,
        }
    }
}

impl Writing {
    /// `None` if the tensor's buffer is inaccessible.
    fn new(len: usize, is_bf16: bool, device: &Device, gpu: &GpuHandles) -> Option<Self> {
        let (tensor, primitive) = match is_bf16 {
            true => {
                let words = Tensor::<1, Int>::empty([len / 2], device);
                (Flat::Bf16(words.clone()), words.try_into_primitive::<Wgpu>().ok()?)
            }
            false => {
                let values = Tensor::<1>::empty([len], device);
                (Flat::F32(values.clone()), values.try_into_primitive::<Wgpu>().ok()?)
            }
        };
        let resource = resource_of(&primitive).ok()?;
        // Commands that Burn has recorded may still use this memory for a dropped tensor; our writes must come after
        // them.
        primitive.client.flush().ok()?;
        Some(Self { tensor, queue: gpu.queue.clone(), buffer: resource.buffer, at: resource.offset })
    }

    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(PART_BYTES) {
            self.queue.write_buffer(&self.buffer, self.at, part);
            self.queue.submit([]);
            self.at += part.len() as u64;
        }
    }
}
