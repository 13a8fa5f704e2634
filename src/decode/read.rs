//! Reads back without blocking, because a browser cannot wait for its GPU.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use burn::tensor::wgpu::wgpu;

use super::error::DecodeError;
use super::gpu::DecodeGpu;
use crate::platform;

/// Bytes requested from the GPU. The request was made at once; [`Self::bytes`] waits for the answer.
#[derive(Debug)]
pub(super) struct Reading {
    device: wgpu::Device,
    staging: wgpu::Buffer,
    answer: Arc<Mutex<Answer>>,
}

#[derive(Debug, Default)]
struct Answer {
    result: Option<Result<(), String>>,
    waker: Option<Waker>,
}

impl Reading {
    /// Requests the contents of a staging buffer that submitted work fills.
    pub fn start(gpu: &DecodeGpu, staging: wgpu::Buffer) -> Self {
        let answer = Arc::new(Mutex::new(Answer::default()));
        let sender = answer.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            if let Ok(mut answer) = sender.lock() {
                answer.result = Some(result.map_err(|error| error.to_string()));
                if let Some(waker) = answer.waker.take() {
                    waker.wake();
                }
            }
        });
        Self { device: gpu.device.clone(), staging, answer }
    }

    /// # Errors
    ///
    /// [`DecodeError::Read`], as after a device loss.
    pub async fn bytes(self) -> Result<Vec<u8>, DecodeError> {
        platform::finish_gpu_work(&self.device);
        let mapped = poll_fn(|context| {
            let Ok(mut answer) = self.answer.lock() else { return Poll::Ready(Err("a crash in the callback".into())) };
            match answer.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    answer.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        });
        mapped.await.map_err(|why: String| DecodeError::Read { why })?;
        let view = self.staging.get_mapped_range(..).map_err(|error| DecodeError::Read { why: error.to_string() })?;
        Ok(view.to_vec())
    }
}

/// Reads bytes as little-endian words.
pub(super) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

pub(super) fn to_bytes(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}
