//! The Hub by way of the cache that its Python library keeps.
//!
//! A commit that is in the cache whole is not asked for again, and without a network a branch is what it was when it
//! was last asked for. Every file is hashed while it is read, whether it arrives or lies in the cache: the Hub names the large
//! files by their SHA-256, and a catalogue may know some, too.
//!
//! Downloads go through `ureq`, and the cache's layout is `hf-hub`'s; that crate's own downloads would turn on features
//! of crates that Burn is built on.

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
