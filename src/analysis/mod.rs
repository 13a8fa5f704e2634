//! Measurements of a model: spikes, held-out loss, confirmation of candidates, channel scores, pruning by them, the
//! cost of single channels, tasks, and quantisation.

pub mod backward;
pub mod calibration;
pub mod change;
pub mod channel_weights;
pub mod cold;
pub mod concentration;
pub mod confirm;
pub mod controls;
pub mod deal;
pub mod deletion;
pub mod effect;
pub mod error;
pub mod eval;
pub mod halo;
pub mod loss;
pub mod many;
pub mod means;
pub mod next_token;
pub mod plane;
pub mod prefix;
pub mod products;
pub mod prompts;
pub mod prune;
pub mod quantise;
pub mod redundancy;
pub mod residual;
pub mod score;
pub mod sinks;
pub mod spikes;
pub mod stopwords;
pub mod tasks;
pub mod w8a8;

pub use error::AnalysisError;
