//! Puts a [`Model`] together from a checkpoint's tensors, one file per family.
//!
//! To add a family: a variant in [`Architecture`], a file here that spells its tensor names and shapes, a line in
//! [`build`], and a fixture with golden values (`tests/fixtures/README.md`).

mod gpt2;
mod llama;
mod qwen2;
mod qwen3;

use super::Model;
use super::config::{Architecture, ModelConfig};
use crate::weights::{Weights, WeightsError};

/// Builds the model that `config` describes. Run once with [`Weights::plan`] it tells which tensors that takes; run
/// with loaded weights it is the model.
///
/// # Errors
///
/// A missing tensor, or one whose shape contradicts the configuration.
pub fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    match config.architecture {
        Architecture::Llama | Architecture::Mistral => llama::build(config, weights),
        Architecture::Qwen2 => qwen2::build(config, weights),
        Architecture::Qwen3 => qwen3::build(config, weights),
        Architecture::Gpt2 => gpt2::build(config, weights),
    }
}
