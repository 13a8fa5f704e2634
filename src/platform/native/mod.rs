//! The native platform: folders of files, the Hub through a cache on disk, and Vulkan.

mod files;
mod gpu;
mod hub;
mod output;
mod stream;

pub use files::Files;
pub use gpu::{finish_gpu_work, open_gpu};
pub use hub::HubSettings;
pub use output::{Output, OutputFile};
pub use stream::ByteStream;

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
