//! The catalogue of models, as data: the bundled models, and models of the Hugging Face Hub, with published findings
//! on their super weights.
//!
//! The tables are constants, so nothing is built at the start, and entries that the page does not use are not in its
//! wasm.

mod bundled;
pub mod hub;
mod model;
mod native;
pub mod published;
pub mod shape;

pub use bundled::{CatalogModel, MODELS, Suggestion, default_model, find};
pub use hub::{HubModel, find_hub};
