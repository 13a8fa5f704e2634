//! What is read out of a model: spikes, held-out loss, the confirmation of candidates, scores of channels, which
//! channels to remove by them, and what single ones cost.

pub mod backward;
pub mod calibration;
pub mod channel_weights;
pub mod concentration;
pub mod confirm;
pub mod deletion;
pub mod eval;
pub mod halo;
pub mod plane;
pub mod prune;
pub mod redundancy;
pub mod score;
pub mod spikes;
pub mod stopwords;
pub mod tasks;
