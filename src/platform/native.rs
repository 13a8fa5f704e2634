//! A machine of one's own: a folder of files, and Vulkan.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuBackend, wgpu};

use super::{Gpu, Peeked, PlatformError, gpu_of};
use crate::terms::{ModelFile, ModelSource, StoredModel};

/// The files of a model by name, each with its path.
#[derive(Debug, Clone)]
pub struct Files {
    paths: BTreeMap<String, PathBuf>,
}

impl Files {
    pub fn new(files: Vec<ModelFile>) -> Self {
        Self { paths: files.into_iter().map(|file| (file.name, file.url.into())).collect() }
    }

    /// # Errors
    ///
    /// [`PlatformError::Address`] for a source on a server: the command downloads its files before it asks the engine.
    pub async fn find(source: &ModelSource) -> Result<Self, PlatformError> {
        let what = match source {
            ModelSource::Files(files) => return Ok(Self::new(files.clone())),
            ModelSource::Folder { url } => url.clone(),
            ModelSource::Hub(source) => source.origin(),
        };
        Err(PlatformError::Address { what, expected: "a list of files".into() })
    }

    pub fn origin(&self) -> &'static str {
        "files of your own"
    }

    pub fn commit(&self) -> Option<&str> {
        None
    }

    pub fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    pub fn is_listed(&self) -> bool {
        true
    }

    /// Always false: files are read where they lie, and never copied.
    pub fn is_kept(&self, _stream: &ByteStream) -> bool {
        false
    }

    /// # Errors
    ///
    /// None here; in a browser a server may have to be asked.
    pub async fn contains(&self, name: &str) -> Result<bool, PlatformError> {
        Ok(self.paths.contains_key(name))
    }

    /// The first `n` bytes of a file; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Read`].
    pub async fn peek(&self, name: &str, n: usize) -> Result<Option<Peeked>, PlatformError> {
        let Some(mut stream) = self.open(name).await? else { return Ok(None) };
        Ok(Some(Peeked { bytes: stream.read(n).await?, len: stream.len(), to_fetch: 0 }))
    }

    /// Does nothing, since nothing is stored.
    pub fn keep_nothing(&self, _why: &str) {}

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
                Ok(Some(ByteStream { name: path.display().to_string(), file, len, at: 0, piece: Vec::new() }))
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
    at: u64,
    /// The bytes that were read last.
    piece: Vec<u8>,
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
        self.next(n).await?;
        Ok(std::mem::take(&mut self.piece))
    }

    /// The next bytes where they lie: `n` of them, or fewer at the end of the file.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::read`].
    pub async fn next(&mut self, n: usize) -> Result<&[u8], PlatformError> {
        self.piece.clear();
        let read = (&mut self.file).take(n as u64).read_to_end(&mut self.piece);
        read.map_err(|error| PlatformError::Read { name: self.name.clone(), why: error.to_string() })?;
        self.at += self.piece.len() as u64;
        Ok(&self.piece)
    }

    pub fn to_fetch(&self) -> u64 {
        0
    }

    pub fn arrived(&self) -> u64 {
        self.at
    }

    pub fn waiting_for(&self) -> Option<String> {
        None
    }

    pub fn known_sha256(&self) -> Option<String> {
        None
    }

    /// Always true: a disk is not waited for.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn wait(&mut self, _n: usize) -> Result<bool, PlatformError> {
        Ok(true)
    }

    /// Always false: nothing says what the digest of a file on disk should be.
    ///
    /// # Errors
    ///
    /// None.
    pub fn finish(&self, _sha256: &str) -> Result<bool, PlatformError> {
        Ok(false)
    }
}

pub async fn stored_models() -> Vec<StoredModel> {
    Vec::new()
}

/// # Errors
///
/// None.
pub async fn forget_stored(_key: Option<&str>) -> Result<(), String> {
    Ok(())
}

pub async fn free_storage() -> Option<u64> {
    None
}

/// Does nothing: natively no other work waits on this thread.
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
/// A sentence that says why there is no GPU.
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
