//! A machine of one's own: a folder of files, and Vulkan.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuBackend, wgpu};

use super::{Gpu, PlatformError, gpu_of};
use crate::protocol::ModelFile;

/// The files of a model by name, each with its path.
#[derive(Debug, Clone)]
pub struct Files {
    paths: BTreeMap<String, PathBuf>,
}

impl Files {
    pub fn new(files: Vec<ModelFile>) -> Self {
        Self { paths: files.into_iter().map(|file| (file.name, file.url.into())).collect() }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.paths.contains_key(name)
    }

    /// Opens a file for reading front to back; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Read`].
    pub async fn open(&self, name: &str) -> Result<Option<ByteStream>, PlatformError> {
        let Some(path) = self.paths.get(name) else { return Ok(None) };
        let failed = |error: std::io::Error| PlatformError::Read { name: path.display().to_string(), why: error.to_string() };
        match File::open(path) {
            Ok(file) => {
                let len = file.metadata().map_err(failed)?.len();
                Ok(Some(ByteStream { name: path.display().to_string(), file, len }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

#[derive(Debug)]
pub struct ByteStream {
    name: String,
    file: File,
    len: u64,
}

impl ByteStream {
    /// Length of the whole file, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `n` bytes, fewer only at the end of the file.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Read`].
    pub async fn read(&mut self, n: usize) -> Result<Vec<u8>, PlatformError> {
        let mut bytes = Vec::with_capacity(n);
        let read = (&mut self.file).take(n as u64).read_to_end(&mut bytes);
        read.map_err(|error| PlatformError::Read { name: self.name.clone(), why: error.to_string() })?;
        Ok(bytes)
    }
}

/// Lets other work run. Natively nothing waits on this thread.
pub async fn yield_now() {}

/// Waits for the GPU, so that the callbacks of what it has done are called.
pub fn finish_gpu_work(device: &wgpu::Device) {
    // A lost device calls them too, with errors.
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
}

/// Opens a GPU through Vulkan, with the shaders that a browser gets (WGSL).
///
/// # Errors
///
/// Why there is none, as a sentence.
pub async fn open_gpu() -> Result<Gpu, String> {
    // Once in a process: Burn registers one runtime for it.
    static OPENED: OnceLock<Result<Gpu, String>> = OnceLock::new();
    OPENED.get_or_init(open_vulkan).clone()
}

fn open_vulkan() -> Result<Gpu, String> {
    // wgpu panics where no Vulkan loader can be found; to the caller that is one more way of having no GPU.
    let opened = std::panic::catch_unwind(|| Device::wgpu_options().graphics_api(WgpuBackend::Vulkan).init_with_setup());
    match opened {
        Ok(Ok((device, setup))) => Ok(gpu_of(device, &setup, "vulkan")),
        Ok(Err(error)) => Err(format!("no Vulkan device: {error}")),
        Err(_) => Err("no Vulkan device could be opened".into()),
    }
}
