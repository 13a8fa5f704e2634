//! Checks if a model fits, from its configuration and the headers of its weights, before the weights are downloaded.

use super::device::{self, Chosen, Devices};
use super::error::EngineError;
use crate::job::control::Control;
use crate::loading::checkpoint::{Checkpoint, Onto};
use crate::model::config::ModelConfig;
use crate::platform::{self, Files, IN_BROWSER};
use crate::protocol::BackendChoice;
use crate::tensors::DeviceError;
use crate::terms::{FitCheck, FitKind, Inspection};
use crate::weights::WeightsError;

/// Bytes of f32 weights that fit into a page's 4 GiB together with everything else; natively no limit is known in
/// advance.
const ON_CPU: Option<u64> = if IN_BROWSER { Some(3 << 30) } else { None };

/// The name of the download and of its place.
const DOWNLOAD: &str = if IN_BROWSER { "download, in this browser's storage" } else { "download, in the cache on disk" };

/// An inspected model and the device that it would run on.
pub(super) struct Prepared {
    /// The bytes of `config.json`.
    pub config_json: Vec<u8>,
    pub config: ModelConfig,
    pub chosen: Chosen,
    pub onto: Onto,
    pub checkpoint: Checkpoint,
}

impl Prepared {
    /// Reads the small files, and picks a device that is large enough if there is a choice.
    ///
    /// # Errors
    ///
    /// Broken or unsupported files, or no device of the wanted kind.
    pub async fn of(files: &Files, backend: BackendChoice, devices: &mut Devices, control: &Control) -> Result<Self, EngineError> {
        let json = control.unless_stopped(required(files, "config.json")).await??;
        let config = ModelConfig::from_json(&json)?;
        // The choice of a device must not be dropped half way, because a GPU is opened only once.
        let chosen = devices.choose(backend).await?;
        let is_gpu = chosen.health.is_some();
        let prepared = control.unless_stopped(Self::on(files, (json, config), chosen)).await??;
        match prepared.checkpoint.check_sizes() {
            Err(why) if backend == BackendChoice::Auto && is_gpu => {
                Self::on(files, (prepared.config_json, prepared.config), device::cpu(why.to_string())).await
            }
            _ => Ok(prepared),
        }
    }

    async fn on(files: &Files, (config_json, config): (Vec<u8>, ModelConfig), chosen: Chosen) -> Result<Self, EngineError> {
        let onto = Onto { health: chosen.health.clone(), ..Onto::new(&chosen.device, chosen.handles.clone()) };
        let checkpoint = Checkpoint::inspect(files, &config, &onto).await?;
        Ok(Self { config_json, config, chosen, onto, checkpoint })
    }

    /// Replaces the reason for the choice of device.
    pub fn because(mut self, reason: String) -> Self {
        self.chosen.info.reason = reason;
        self
    }

    /// Checks that the model can run on its chosen device.
    ///
    /// # Errors
    ///
    /// [`DeviceError::GpuTooSmall`], [`EngineError::MemoryTooSmall`].
    pub fn check(&self) -> Result<(), EngineError> {
        self.checkpoint.check_sizes()?;
        let needed = self.checkpoint.weight_bytes();
        match ON_CPU.filter(|limit| self.onto.largest_buffer.is_none() && needed > *limit) {
            Some(limit) => Err(EngineError::MemoryTooSmall { needed, limit }),
            None => Ok(()),
        }
    }

    /// `true` if the model fits in addition to another one whose weights take `resident` bytes of the CPU's memory.
    pub fn fits_beside(&self, resident: u64) -> bool {
        let is_on_cpu = self.onto.largest_buffer.is_none();
        ON_CPU.is_none_or(|limit| !is_on_cpu || self.checkpoint.weight_bytes() + resident <= limit)
    }

    /// Describes the model before its weights are downloaded: sizes, checks and advice.
    pub async fn inspection(&self, id: &str) -> Inspection {
        let checkpoint = &self.checkpoint;
        let weight_bytes = checkpoint.weight_bytes();
        let mut checks = Vec::new();
        let mut check = |kind, what: &str, needed: u64, limit: Option<u64>| {
            checks.push(FitCheck { kind, what: what.into(), needed, limit, ok: limit.is_none_or(|limit| needed <= limit) });
        };
        match self.onto.largest_buffer {
            Some(limit) => {
                check(FitKind::Buffer, "largest matrix, in one GPU buffer", checkpoint.largest_bytes(), Some(limit));
                // An adapter's limits do not include the size of its memory.
                check(FitKind::Memory, "all weights, in GPU memory", weight_bytes, None);
            }
            None => check(FitKind::Memory, "all weights, in the CPU's memory", weight_bytes, ON_CPU),
        }
        let to_fetch = checkpoint.to_fetch();
        if to_fetch > 0 {
            check(FitKind::Storage, DOWNLOAD, to_fetch, platform::free_storage().await);
        }
        let fits = self.check();
        let advice = advice(&fits, &checks);
        Inspection {
            id: id.into(),
            architecture: self.config.model_type.into(),
            num_parameters: checkpoint.num_parameters(),
            sizes: self.config.sizes(),
            file_bytes: checkpoint.file_bytes(),
            to_fetch,
            weight_bytes,
            backend: self.chosen.info.clone(),
            fits: fits.is_ok(),
            checks,
            advice: advice.into(),
        }
    }
}

/// Checks that a loaded model leaves room for a second one that shares no matrix with it, both in f32.
///
/// # Errors
///
/// [`EngineError::MemoryTooSmall`] on the CPU path of a page. A GPU is not checked, because its limits do not include
/// the size of its memory.
pub(super) fn check_second(weight_bytes: u64, is_on_cpu: bool) -> Result<(), EngineError> {
    let needed = 2 * weight_bytes;
    match ON_CPU.filter(|limit| is_on_cpu && needed > *limit) {
        Some(limit) => Err(EngineError::MemoryTooSmall { needed, limit }),
        None => Ok(()),
    }
}

/// Returns advice for the user, as far as the checks allow.
fn advice(fits: &Result<(), EngineError>, checks: &[FitCheck]) -> &'static str {
    match fits {
        Ok(()) if checks.iter().any(|check| !check.ok) => {
            "It can run, but there is no room to keep it: the next visit would have to download it again."
        }
        Ok(()) if checks.iter().any(|check| check.kind == FitKind::Memory && check.limit.is_none()) => {
            "Whether there is memory enough for it shows when it is loaded."
        }
        Ok(()) => "It fits.",
        Err(EngineError::Device(DeviceError::GpuTooSmall { .. })) => "Run it on the CPU, or choose a smaller model.",
        Err(_) => "Choose a smaller model, or run it with the command on a machine of your own.",
    }
}

/// Reads a file that every model must have.
pub(super) async fn required(files: &Files, name: &str) -> Result<Vec<u8>, EngineError> {
    let bytes = files.read(name).await?;
    bytes.ok_or_else(|| WeightsError::MissingFile { name: name.into() }.into())
}
