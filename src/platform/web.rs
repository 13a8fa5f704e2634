//! A browser's worker: `fetch`, and WebGPU.

use std::collections::{BTreeMap, VecDeque};

use burn::tensor::Device;
use js_sys::{Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DedicatedWorkerGlobalScope, MessageChannel, ReadableStreamDefaultReader, Response};

use super::{Gpu, PlatformError, gpu_of};
use crate::protocol::ModelFile;

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// The files of a model by name, each behind a URL.
#[derive(Debug, Clone)]
pub struct Files {
    urls: BTreeMap<String, String>,
}

impl Files {
    pub fn new(files: Vec<ModelFile>) -> Self {
        Self { urls: files.into_iter().map(|file| (file.name, file.url)).collect() }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.urls.contains_key(name)
    }

    /// Opens a file for reading front to back; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// [`PlatformError::Read`] with the network's or the server's reason.
    pub async fn open(&self, name: &str) -> Result<Option<ByteStream>, PlatformError> {
        let Some(url) = self.urls.get(name) else { return Ok(None) };
        let failed = |why: String| PlatformError::Read { name: name.into(), why };
        let response = JsFuture::from(scope().fetch_with_str(url)).await.map_err(|error| failed(reason(&error)))?;
        let response: Response = response.unchecked_into();
        if response.status() == 404 {
            return Ok(None);
        }
        if !response.ok() {
            return Err(failed(format!("the server answered {} {}", response.status(), response.status_text())));
        }
        let header = |name| response.headers().get(name).ok().flatten();
        // Of a compressed answer the header tells the compressed length, which says nothing about the file.
        let len = header("content-length").filter(|_| header("content-encoding").is_none()).and_then(|len| len.parse().ok());
        let body = response.body().ok_or_else(|| failed("the server sent no body".into()))?;
        let reader = body.get_reader().unchecked_into();
        let mut stream =
            ByteStream { name: name.into(), reader, len: len.unwrap_or(0), chunks: VecDeque::new(), pending: 0, is_done: false };
        if len.is_none() {
            stream.buffer_all().await?;
        }
        Ok(Some(stream))
    }
}

#[derive(Debug)]
pub struct ByteStream {
    name: String,
    reader: ReadableStreamDefaultReader,
    len: u64,
    /// Read but not handed out yet, as the browser gave them: a byte is copied into the wasm once.
    chunks: VecDeque<Uint8Array>,
    /// Bytes in them.
    pending: usize,
    is_done: bool,
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
    /// [`PlatformError::Read`] if the connection breaks.
    pub async fn read(&mut self, n: usize) -> Result<Vec<u8>, PlatformError> {
        while self.pending < n && !self.is_done {
            self.pull().await?;
        }
        let mut bytes = vec![0; n.min(self.pending)];
        let mut at = 0;
        while at < bytes.len() {
            let Some(chunk) = self.chunks.pop_front() else { break };
            let taken = (chunk.length() as usize).min(bytes.len() - at);
            chunk.subarray(0, taken as u32).copy_to(&mut bytes[at..at + taken]);
            if taken < chunk.length() as usize {
                self.chunks.push_front(chunk.subarray(taken as u32, chunk.length()));
            }
            at += taken;
        }
        self.pending -= bytes.len();
        Ok(bytes)
    }

    /// For servers that do not tell the length: reads to the end to learn it.
    async fn buffer_all(&mut self) -> Result<(), PlatformError> {
        while !self.is_done {
            self.pull().await?;
        }
        self.len = self.pending as u64;
        Ok(())
    }

    async fn pull(&mut self) -> Result<(), PlatformError> {
        let failed = |error: JsValue| PlatformError::Read { name: self.name.clone(), why: reason(&error) };
        let result = JsFuture::from(self.reader.read()).await.map_err(failed)?;
        self.is_done = Reflect::get(&result, &"done".into()).map_err(failed)?.is_truthy();
        if !self.is_done {
            let chunk: Uint8Array = Reflect::get(&result, &"value".into()).map_err(failed)?.unchecked_into();
            self.pending += chunk.length() as usize;
            self.chunks.push_back(chunk);
        }
        Ok(())
    }
}

/// What a JavaScript error says.
fn reason(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |error| error.message().into())
}

/// Lets the worker's queue of messages run. A message to oneself comes back at once, where a timer of 0 ms is held back
/// to 4 ms after a few rounds.
pub async fn yield_now() {
    let Ok(channel) = MessageChannel::new() else { return };
    let (sender, receiver) = (channel.port1(), channel.port2());
    let promise = Promise::new(&mut |resolve: Function, _reject| receiver.set_onmessage(Some(&resolve)));
    if sender.post_message(&JsValue::NULL).is_ok() {
        // The promise has no way to fail.
        let _ = JsFuture::from(promise).await;
    }
    sender.close();
}

/// A browser calls back by itself.
pub fn finish_gpu_work(_device: &burn::tensor::wgpu::wgpu::Device) {}

/// Opens WebGPU.
///
/// # Errors
///
/// Why there is none, as a sentence.
pub async fn open_gpu() -> Result<Gpu, String> {
    let navigator = scope().navigator();
    let gpu = Reflect::get(&navigator, &"gpu".into()).unwrap_or(JsValue::UNDEFINED);
    if gpu.is_undefined() {
        return Err("this browser has no WebGPU".into());
    }
    let request: Function = Reflect::get(&gpu, &"requestAdapter".into()).map_err(|error| reason(&error))?.unchecked_into();
    let promise: Promise = request.call0(&gpu).map_err(|error| reason(&error))?.unchecked_into();
    let adapter = JsFuture::from(promise).await.map_err(|error| reason(&error))?;
    if adapter.is_null() {
        return Err("this browser offers no WebGPU adapter".into());
    }
    // wgpu asks for an adapter of its own; the one above only tells that there is one, without a panic if not.
    let (device, setup) = Device::wgpu_options().init_with_setup_async().await.map_err(|error| error.to_string())?;
    let mut gpu = gpu_of(device, &setup, "webgpu");
    // wgpu does not pass on what the browser says of its adapter.
    let info = Reflect::get(&adapter, &"info".into()).unwrap_or(JsValue::UNDEFINED);
    if let Some(name) = adapter_name(&info) {
        gpu.name = name;
    }
    let is_fallback = Reflect::get(&info, &"isFallbackAdapter".into()).is_ok_and(|value| value.is_truthy());
    gpu.is_software |= is_fallback || gpu.name.contains("swiftshader");
    Ok(gpu)
}

/// The browser's own description of an adapter, as far as it gives one.
fn adapter_name(info: &JsValue) -> Option<String> {
    let field = |name: &str| Reflect::get(info, &name.into()).ok().and_then(|value| value.as_string()).filter(|text| !text.is_empty());
    let words = ["vendor", "architecture", "device", "description"].into_iter().filter_map(field).collect::<Vec<_>>();
    (!words.is_empty()).then(|| words.join(" "))
}
