//! The native platform: folders of files, the Hub through a cache on disk, and Vulkan.

mod files;
mod gpu;
mod hub;
mod output;
mod regex;
mod stream;
mod worker;

pub use files::Files;
pub use gpu::{finish_gpu_work, open_gpu};
pub use hub::HubSettings;
pub use output::{Output, OutputFile};
pub use regex::Regex;
pub use stream::ByteStream;
pub use worker::Worker;

use std::time::Duration;

use super::Machine;
use crate::terms::StoredModel;

pub async fn stored_models() -> Vec<StoredModel> {
    Vec::new()
}

/// # Errors
///
/// Never.
pub async fn forget_stored(_key: Option<&str>) -> Result<(), String> {
    Ok(())
}

pub async fn free_storage() -> Option<u64> {
    None
}

/// Does nothing, because natively no other work waits on this thread.
pub async fn yield_now() {}

/// Blocks this thread, because natively nothing else waits on it.
pub async fn sleep(limit: Duration) {
    std::thread::sleep(limit);
}

/// `None`, because natively one engine uses all cores.
pub fn machine() -> Option<Machine> {
    None
}

/// Does nothing, because there is no console of a developer.
pub fn warn(_text: &str) {}
