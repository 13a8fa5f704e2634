//! Models by name, as data: those that come with the page, and those of the Hugging Face Hub, with what others have published
//! on their super weights.
//!
//! Tables of constants and nothing to build at the start: what the page does not name is not in its wasm.

mod bundled;
pub mod hub;
mod model;
mod native;
pub mod published;
pub mod shape;

pub use bundled::{CatalogModel, MODELS, Suggestion, default_model, find};
pub use hub::{HubModel, find_hub};
