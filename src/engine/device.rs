//! The choice of the device that a model runs on, with its reason.

use burn::tensor::Device;

use super::error::EngineError;
use crate::platform::{self, Gpu, GpuHandles, GpuHealth};
use crate::protocol::BackendChoice;
use crate::tensors::DeviceError;
use crate::terms::BackendInfo;

/// The devices opened so far. A GPU is opened once, because Burn registers one runtime for it.
#[derive(Default)]
pub struct Devices {
    gpu: Option<Result<Gpu, String>>,
}

/// The device chosen for one model.
pub struct Chosen {
    pub device: Device,
    pub info: BackendInfo,
    pub health: Option<GpuHealth>,
    pub handles: Option<GpuHandles>,
}

impl Devices {
    /// Picks the device for a model. Its size is checked after the inspection of the model (`fit.rs`).
    ///
    /// # Errors
    ///
    /// Fails if a GPU was requested and there is none. [`BackendChoice::Auto`] takes the CPU instead and gives the
    /// reason.
    pub async fn choose(&mut self, choice: BackendChoice) -> Result<Chosen, EngineError> {
        match choice {
            BackendChoice::Cpu => Ok(cpu("asked for".into())),
            BackendChoice::Cuda => cuda(),
            BackendChoice::Gpu => self.gpu().await,
            BackendChoice::Auto => Ok(match self.gpu().await {
                Ok(_) if self.is_software() => cpu("the only GPU is made of software, which is slower".into()),
                Ok(chosen) => chosen,
                Err(why) => cpu(why.to_string()),
            }),
        }
    }

    fn is_software(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| gpu.as_ref().is_ok_and(|gpu| gpu.is_software))
    }

    async fn gpu(&mut self) -> Result<Chosen, EngineError> {
        // A device that has failed does not recover within this process; the next worker opens a fresh one.
        let opened = match self.gpu.take() {
            Some(opened) => opened,
            None => platform::open_gpu().await,
        };
        let opened = self.gpu.insert(opened);
        let gpu = opened.as_ref().map_err(|why| EngineError::NoGpu { why: why.clone() })?;
        DeviceError::check_health(Some(&gpu.health))?;
        let info = BackendInfo { kind: gpu.kind.clone(), name: gpu.name.clone(), reason: "a GPU is there and large enough".into() };
        Ok(Chosen { device: gpu.device.clone(), info, health: Some(gpu.health.clone()), handles: Some(gpu.handles.clone()) })
    }
}

/// Chooses the CPU, with the reason.
pub fn cpu(reason: String) -> Chosen {
    let info = BackendInfo { kind: "cpu".into(), name: "Burn flex, SIMD".into(), reason };
    Chosen { device: Device::flex(), info, health: None, handles: None }
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Chosen, EngineError> {
    let info = BackendInfo { kind: "cuda".into(), name: "CUDA device 0".into(), reason: "asked for".into() };
    Ok(Chosen { device: Device::cuda(0), info, health: None, handles: None })
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Chosen, EngineError> {
    Err(EngineError::NoGpu { why: "this build has no CUDA; build it with --features cuda".into() })
}
