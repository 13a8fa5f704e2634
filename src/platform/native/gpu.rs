//! Opens a GPU through Vulkan.

use std::sync::OnceLock;

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuBackend, wgpu};

use crate::platform::{Gpu, gpu_of};

/// Waits for the GPU, so that the callbacks of finished work are called.
pub fn finish_gpu_work(device: &wgpu::Device) {
    // A lost device also calls them, with errors.
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
}

/// Opens a GPU through Vulkan, with the same shaders as in a browser (WGSL).
///
/// # Errors
///
/// A sentence with the reason why there is no GPU.
pub async fn open_gpu() -> Result<Gpu, String> {
    // Once in a process, because Burn registers one runtime for it.
    static OPENED: OnceLock<Result<Gpu, String>> = OnceLock::new();
    OPENED.get_or_init(open_vulkan).clone()
}

fn open_vulkan() -> Result<Gpu, String> {
    // wgpu panics if it finds no Vulkan loader. For the caller this means that there is no GPU.
    let opened = std::panic::catch_unwind(|| Device::wgpu_options().graphics_api(WgpuBackend::Vulkan).init_with_setup());
    match opened {
        Ok(Ok((device, setup))) => Ok(gpu_of(device, &setup, "vulkan")),
        Ok(Err(error)) => Err(format!("no Vulkan device: {error}")),
        Err(_) => Err("no Vulkan device could be opened".into()),
    }
}
