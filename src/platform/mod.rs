//! The differences between a browser and a native machine: files, patterns, yielding, and opening a GPU.
//!
//! Both sides have the same names: [`Files`], [`ByteStream`], [`Output`], the store ([`stored_models`], [`forget_stored`],
//! [`free_storage`]), [`Regex`], [`yield_now`], [`sleep`], [`Worker`] and [`machine`], [`warn`], [`open_gpu`] and [`finish_gpu_work`]. No other module depends on the target.
//! Natively there are also settings of the Hub ([`HubSettings`]), which the command reads.

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
pub use native::{
    ByteStream, Files, HubSettings, Output, OutputFile, Regex, Worker, finish_gpu_work, forget_stored, free_storage, machine, open_gpu,
    sleep, stored_models, warn, yield_now,
};
#[cfg(target_family = "wasm")]
pub use web::{
    ByteStream, Files, Output, OutputFile, Regex, Worker, finish_gpu_work, forget_stored, free_storage, hold_a_lock, machine, open_gpu,
    sleep, stored_models, warn, yield_now,
};

use crate::terms::hex;

/// `true` in a browser, where every GPU takes WGSL and every tensor has its own buffer.
pub const IN_BROWSER: bool = cfg!(target_family = "wasm");

/// The largest file that is read as a whole (configuration, tokenizer, index), in bytes.
pub const MAX_WHOLE_FILE_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize, Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum PlatformError {
    #[error("{name} could not be read: {why}")]
    Read { name: String, why: String },
    #[error("{name} has {got} bytes; such a file has at most {limit}")]
    TooLarge { name: String, got: u64, limit: u64 },
    #[error("{name} is a pointer of Git LFS, a short text in place of the contents")]
    LfsPointer { name: String },
    #[error("{what:?} is not {expected}")]
    Address { what: String, expected: String },
    #[error("there is no model {origin}, or it is private")]
    NoRepository { origin: String },
    #[error("{origin} has no revision {revision}")]
    NoRevision { origin: String, revision: String },
    #[error("{name}: {why}")]
    Denied { name: String, why: String },
    #[error("{name} could not be downloaded completely: {why}")]
    Cut { name: String, why: String },
    #[error("{name}: no answer ({why})")]
    Unreachable { name: String, why: String },
    #[error("{name} has changed: {why}")]
    Changed { name: String, why: String },
    #[error("{name} has the SHA-256 {got}, but {expected} is expected")]
    Corrupt { name: String, expected: String, got: String },
    #[error("{path} has the SHA-256 {got}, but {expected} is expected")]
    Altered { path: PathBuf, expected: String, got: String },
    #[error("{name} at {revision} is not completely in the cache, and the Hub could not be asked: {why}")]
    NotCached { name: String, revision: String, why: String },
    #[error("{what} could not be written to the cache: {why}")]
    Cache { what: String, why: String },
    #[error("{name} could not be written: {why}")]
    Write { name: String, why: String },
    #[error("the stored part of {name} is damaged")]
    Damaged { name: String },
    #[error("the stored models could not be changed: {why}")]
    Store { why: String },
}

impl PlatformError {
    /// The error of a file or folder in the cache on this disk.
    #[cfg(not(target_family = "wasm"))]
    fn cache(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Cache { what: path.display().to_string(), why: error.to_string() }
    }
}

impl Files {
    /// Reads a small file as a whole; `None` if there is no file of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError`].
    pub async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        match self.read_once(name).await {
            // On the second attempt the damaged part is downloaded.
            Err(PlatformError::Damaged { .. }) => self.read_once(name).await,
            read => read,
        }
    }

    /// Reads an optional small file. A server without a listing may refuse, or not answer, a request for a file that
    /// it does not have.
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
        check_contents(name, &bytes)?;
        Ok(Some(bytes))
    }
}

/// Bytes that [`check_contents`] needs of a file.
pub const POINTER_BYTES: usize = LFS.len();

/// The beginning of every pointer of Git LFS.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Checks that a file which begins with these bytes is not a pointer, which a clone without git-lfs leaves in its place.
///
/// # Errors
///
/// [`PlatformError::LfsPointer`].
pub fn check_contents(name: &str, begin: &[u8]) -> Result<(), PlatformError> {
    if begin.starts_with(LFS) { Err(PlatformError::LfsPointer { name: name.into() }) } else { Ok(()) }
}

/// Waits until the GPU has received all data passed to it. A lost device is reported by [`GpuHealth`], not here.
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

/// The machine of a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Logical processors.
    pub processors: usize,
    /// Bytes of memory, rounded, and at most 8 GiB; `None` if the browser does not say.
    pub memory: Option<u64>,
}

/// The beginning of a file.
#[derive(Debug)]
pub struct Peeked {
    pub bytes: Vec<u8>,
    /// Bytes of the whole file; `to_fetch` of them must still be downloaded.
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
    /// A GPU emulated in software (SwiftShader, llvmpipe): correct, but slower than the CPU backend.
    pub is_software: bool,
    /// The largest buffer that a shader can bind, in bytes.
    pub max_binding_bytes: u64,
    pub health: GpuHealth,
    pub handles: GpuHandles,
}

/// The device and queue that Burn computes on, for our own kernels.
#[derive(Debug, Clone)]
pub struct GpuHandles {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

/// The first error of the GPU since it was opened. Once it is set, no result of the GPU is trusted.
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

/// Connects a freshly opened device's errors to its [`GpuHealth`]. CubeCL's own handler panics, which in a browser
/// would kill the worker before the error could be reported.
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
