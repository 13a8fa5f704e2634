//! The differences between a browser and a machine of one's own: files, yielding, and how a GPU is opened.
//!
//! Both sides have the same names: [`Files`], [`ByteStream`], the store ([`stored_models`], [`forget_stored`],
//! [`free_storage`]), [`yield_now`], [`open_gpu`] and [`finish_gpu_work`]. No other module asks which target it is built for.
//! A machine of one's own has settings of the Hub besides ([`HubSettings`]), which the command reads.

pub mod hub;

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod web;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use burn::tensor::Device;
use burn::tensor::wgpu::wgpu;
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

#[cfg(not(target_family = "wasm"))]
pub use native::{ByteStream, Files, HubSettings, finish_gpu_work, forget_stored, free_storage, open_gpu, stored_models, yield_now};
#[cfg(target_family = "wasm")]
pub use web::{ByteStream, Files, finish_gpu_work, forget_stored, free_storage, open_gpu, stored_models, yield_now};

use crate::terms::hex;

/// True in a browser, where every GPU takes WGSL and every tensor has a buffer of its own.
pub const IN_BROWSER: bool = cfg!(target_family = "wasm");

/// Largest file that is read whole (configuration, tokenizer, index), in bytes.
pub const MAX_WHOLE_FILE_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum PlatformError {
    #[error("{name} could not be read: {why}")]
    Read { name: String, why: String },
    #[error("{name} is {got} bytes long, more than the {limit} expected of such a file")]
    TooLarge { name: String, got: u64, limit: u64 },
    #[error("{what:?} is not {expected}")]
    Address { what: String, expected: String },
    #[error("there is no model {origin}, or it is private")]
    NoRepository { origin: String },
    #[error("{origin} has no revision {revision}")]
    NoRevision { origin: String, revision: String },
    #[error("{name}: {why}")]
    Denied { name: String, why: String },
    #[error("{name} could not be fetched to its end: {why}")]
    Cut { name: String, why: String },
    #[error("{name}: no answer ({why})")]
    Unreachable { name: String, why: String },
    #[error("{name} is not the same any more: {why}")]
    Changed { name: String, why: String },
    #[error("{name} has the SHA-256 {got}, and it should be {expected}")]
    Corrupt { name: String, expected: String, got: String },
    #[error("{path} has the SHA-256 {got}, and it should be {expected}")]
    Altered { path: PathBuf, expected: String, got: String },
    #[error("{name} at {revision} is not in the cache whole, and the Hub could not be asked: {why}")]
    NotCached { name: String, revision: String, why: String },
    #[error("{what} could not be written to the cache: {why}")]
    Cache { what: String, why: String },
    #[error("what was stored of {name} is damaged")]
    Damaged { name: String },
    #[error("the stored models could not be changed: {why}")]
    Store { why: String },
}

impl PlatformError {
    /// The error of a file or folder of the cache on this disk.
    #[cfg(not(target_family = "wasm"))]
    fn cache(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Cache { what: path.display().to_string(), why: error.to_string() }
    }
}

impl Files {
    /// Reads a small file whole; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        match self.read_once(name).await {
            // The second time, what is damaged is fetched.
            Err(PlatformError::Damaged { .. }) => self.read_once(name).await,
            read => read,
        }
    }

    /// Reads a small file that need not be there. A server that lists nothing may forbid, or not answer for, a file
    /// that it does not have.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn read_optional(&self, name: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        match self.read(name).await {
            Err(PlatformError::Denied { .. } | PlatformError::Unreachable { .. }) if !self.is_listed() => Ok(None),
            read => read,
        }
    }

    async fn read_once(&self, name: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        let Some(mut stream) = self.open(name).await? else { return Ok(None) };
        if stream.len() > MAX_WHOLE_FILE_BYTES {
            return Err(PlatformError::TooLarge { name: name.into(), got: stream.len(), limit: MAX_WHOLE_FILE_BYTES });
        }
        let len = usize::try_from(stream.len()).unwrap_or(usize::MAX);
        let bytes = stream.read(len).await?;
        if stream.known_sha256().is_none() {
            stream.finish(&hex(&Sha256::digest(&bytes)))?;
        }
        Ok(Some(bytes))
    }
}

/// Waits until the GPU has taken all that was handed to it. A lost device is reported by [`GpuHealth`], not here.
pub async fn settle(gpu: &GpuHandles) {
    let state = Arc::new(Mutex::new((false, None::<Waker>)));
    let of_callback = state.clone();
    gpu.queue.submit([]);
    gpu.queue.on_submitted_work_done(move || {
        if let Ok(mut state) = of_callback.lock() {
            state.0 = true;
            if let Some(waker) = state.1.take() {
                waker.wake();
            }
        }
    });
    finish_gpu_work(&gpu.device);
    std::future::poll_fn(|context| match state.lock() {
        Ok(mut state) if !state.0 => {
            state.1 = Some(context.waker().clone());
            Poll::Pending
        }
        _ => Poll::Ready(()),
    })
    .await;
}

/// The beginning of a file.
#[derive(Debug)]
pub struct Peeked {
    pub bytes: Vec<u8>,
    /// Bytes of the whole file; `to_fetch` of them still have to come over the network.
    pub len: u64,
    pub to_fetch: u64,
}

/// An opened GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub device: Device,
    /// `webgpu`, `vulkan`, ...
    pub kind: String,
    /// The adapter's name.
    pub name: String,
    /// A GPU made of software (SwiftShader, llvmpipe): correct, and slower than the CPU backend.
    pub is_software: bool,
    /// Largest buffer that a shader can be given, bytes.
    pub max_binding_bytes: u64,
    pub health: GpuHealth,
    pub handles: GpuHandles,
}

/// The device and queue that Burn computes on, for kernels of our own.
#[derive(Debug, Clone)]
pub struct GpuHandles {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

/// The first thing that went wrong on the GPU since it was opened. Once set, nothing that it computes is believed.
#[derive(Debug, Clone, Default)]
pub struct GpuHealth(Arc<Mutex<Option<String>>>);

impl GpuHealth {
    pub fn report(&self, error: String) {
        if let Ok(mut first) = self.0.lock() {
            first.get_or_insert(error);
        }
    }

    pub fn error(&self) -> Option<String> {
        self.0.lock().map_or_else(|_| Some("its state was lost in a crash".into()), |first| first.clone())
    }
}

/// Wires a freshly opened device's errors to its [`GpuHealth`]. CubeCL's own handler panics, which in a browser would
/// kill the worker before anybody learns why.
fn watch(setup: &burn::tensor::wgpu::WgpuSetup) -> GpuHealth {
    let health = GpuHealth::default();
    let on_error = health.clone();
    setup.device.on_uncaptured_error(Arc::new(move |error| on_error.report(error.to_string())));
    let on_lost = health.clone();
    setup.device.set_device_lost_callback(move |reason, message| on_lost.report(format!("device lost ({reason:?}): {message}")));
    health
}

fn gpu_of(device: Device, setup: &burn::tensor::wgpu::WgpuSetup, kind: &str) -> Gpu {
    let limits = setup.device.limits();
    let info = setup.adapter.get_info();
    let is_software = info.device_type == wgpu::DeviceType::Cpu;
    let name = [info.name, info.driver].into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| "unnamed adapter".into());
    Gpu {
        device,
        kind: kind.into(),
        name,
        is_software,
        max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        health: watch(setup),
        handles: GpuHandles { device: setup.device.clone(), queue: setup.queue.clone() },
    }
}
