//! Models by name, as data: those that come with the page, and those of the Hugging Face Hub, with what others have published
//! on their super weights.
//!
//! The tables are constants, so nothing is built at the start, and what the page does not name is not in its wasm.

mod bundled;
pub mod hub;
mod model;
mod native;
pub mod published;
pub mod shape;

pub use bundled::{CatalogModel, MODELS, Suggestion, default_model, find};
pub use hub::{HubModel, find_hub};
