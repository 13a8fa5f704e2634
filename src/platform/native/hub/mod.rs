//! The Hub, through the cache of its Python library.
//!
//! A commit that is completely in the cache is not requested again. Without a network a branch stands for its last
//! known commit. Every file is hashed while it is read, from the network or from the cache: the Hub identifies large
//! files by their SHA-256, and a catalogue may know some, too.
//!
//! Downloads use `ureq`, and the cache's layout is that of `hf-hub`. That crate's own downloads are not used, because
//! they would enable features of crates that Burn depends on.

mod cache;
mod client;
mod download;
mod repository;
mod settings;
mod snapshot;

pub use download::Download;
pub use repository::Repository;
pub use settings::HubSettings;
pub use snapshot::Expected;
