//! The platform of a browser's worker: the network, its own store, and WebGPU.

mod files;
mod http;
mod js;
mod life;
mod output;
mod regex;
mod store;
mod stored_file;
mod stream;
mod whole;
mod worker;

use std::time::Duration;

use burn::tensor::Device;
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DedicatedWorkerGlobalScope, MessageChannel};

pub use files::Files;
use js::reason;
pub use life::hold_a_lock;
pub use output::{Output, OutputFile};
pub use regex::Regex;
pub use store::{forget as forget_stored, free_bytes as free_storage, list as stored_models};
pub use stream::ByteStream;
pub use worker::Worker;

use super::{Gpu, Machine, gpu_of};

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Lets the worker's queue of messages run. A message to the worker itself arrives at once, while a timer of 0 ms is
/// delayed to 4 ms after a few rounds.
pub async fn yield_now() {
    let Ok(channel) = MessageChannel::new() else { return };
    let (sender, receiver) = (channel.port1(), channel.port2());
    let promise = Promise::new(&mut |resolve: Function, _reject| receiver.set_onmessage(Some(&resolve)));
    if sender.post_message(&JsValue::NULL).is_ok() {
        // This promise cannot fail.
        let _ = JsFuture::from(promise).await;
    }
    sender.close();
}

pub async fn sleep(limit: Duration) {
    js::sleep(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX)).await;
}

/// The machine, as far as the browser describes it.
pub fn machine() -> Option<Machine> {
    let navigator = scope().navigator();
    let number = |name| js::get(&navigator, name).as_f64().filter(|value| *value > 0.0);
    let memory = number("deviceMemory").map(|gibibytes| (gibibytes * f64::from(1 << 30)) as u64);
    Some(Machine { processors: number("hardwareConcurrency").map_or(1, |n| n as usize), memory })
}

/// Writes a warning to the browser's console.
pub fn warn(text: &str) {
    js::warn(text);
}

/// Does nothing, because a browser calls the callbacks itself.
pub fn finish_gpu_work(_device: &burn::tensor::wgpu::wgpu::Device) {}

/// Opens WebGPU.
///
/// # Errors
///
/// A sentence with the reason why there is no GPU.
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
    // wgpu requests its own adapter. The one above only shows that there is one; without it, wgpu would panic.
    let (device, setup) = Device::wgpu_options().init_with_setup_async().await.map_err(|error| error.to_string())?;
    let mut gpu = gpu_of(device, &setup, "webgpu");
    // wgpu does not pass on the browser's description of its adapter.
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
