//! Assembles a [`Model`] from a checkpoint's tensors, with one file for each family.
//!
//! To add a family: a file here that reads its keys of `config.json` and gives its tensor names and shapes, a line in
//! [`FAMILIES`], and a fixture with golden values (`tests/fixtures/README.md`).

mod gemma3;
mod gpt2;
mod gpt_neox;
mod llama;
mod mistral;
mod olmo;
mod olmo2;
mod parts;
mod phi3;
mod qwen2;
mod qwen3;

use super::config::{Keys, ModelConfig};
use super::{Model, ModelError};
use crate::model::weights::Weights;
use crate::weights::WeightsError;

/// The parts that distinguish a family.
struct Family {
    /// `model_type` in the family's `config.json`.
    model_type: &'static str,
    /// The names of the embeddings and of the head. The part before the first dot of the embeddings' name is that of
    /// the model without its head (`base_model_prefix` of transformers).
    tables: [&'static str; 2],
    config: fn(&Keys<'_>) -> Result<ModelConfig, ModelError>,
    build: fn(&ModelConfig, &mut Weights) -> Result<Model, WeightsError>,
}

const FAMILIES: [&Family; 10] = [
    &llama::FAMILY,
    &mistral::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &gpt2::FAMILY,
    &gpt_neox::FAMILY,
    &olmo::FAMILY,
    &olmo2::FAMILY,
    &phi3::FAMILY,
    &gemma3::FAMILY,
];

/// The `model_type`s that are refused with a special reason, because they are close to a family.
const REFUSED: [(&str, &str); 1] = [gemma3::WITH_IMAGES];

/// `true` if this `model_type` belongs to a supported family.
pub fn knows(model_type: &str) -> bool {
    FAMILIES.iter().any(|family| family.model_type == model_type)
}

/// The names of the embeddings and of the head in a family's checkpoints: see [`Weights`].
///
/// # Panics
///
/// Like [`build`].
pub fn tables(config: &ModelConfig) -> [&'static str; 2] {
    of(config).tables
}

/// The family of this `model_type`.
///
/// # Errors
///
/// [`ModelError::UnknownArchitecture`], or [`ModelError::Unsupported`] for a relative of a family.
fn named(model_type: &str) -> Result<&'static Family, ModelError> {
    if let Some((_, what)) = REFUSED.iter().find(|(refused, _)| *refused == model_type) {
        return Err(ModelError::Unsupported { what: (*what).into() });
    }
    FAMILIES.into_iter().find(|family| family.model_type == model_type).ok_or_else(|| ModelError::UnknownArchitecture {
        model_type: model_type.into(),
        known: FAMILIES.map(|family| family.model_type).join(", "),
    })
}

/// Checks that a family has this `model_type`.
///
/// # Errors
///
/// [`ModelError::UnknownArchitecture`] or [`ModelError::Unsupported`].
pub(super) fn check_known(model_type: &str) -> Result<(), ModelError> {
    named(model_type).map(drop)
}

/// Reads the keys with the family of this `model_type`.
///
/// # Errors
///
/// The errors of [`check_known`], or the error found by the family.
pub(super) fn read_config(model_type: &str, keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    (named(model_type)?.config)(keys)
}

/// Builds the model that `config` describes. On [`Weights::plan`], it only records the required tensors; on loaded
/// weights, it returns the model.
///
/// # Errors
///
/// A missing tensor, or one whose shape contradicts the configuration.
///
/// # Panics
///
/// If the configuration was not read by [`ModelConfig::from_json`], and has an unknown family.
pub fn build(config: &ModelConfig, weights: &mut Weights) -> Result<Model, WeightsError> {
    (of(config).build)(config, weights)
}

fn of(config: &ModelConfig) -> &'static Family {
    FAMILIES.into_iter().find(|family| family.model_type == config.model_type).expect("a family that was read")
}

#[cfg(test)]
mod tests {
    use crate::model::ModelError;
    use crate::model::config::ModelConfig;

    #[test]
    fn families_that_are_refused_are_not_known() {
        let read = |model_type: &str| ModelConfig::from_json(format!(r#"{{"model_type": "{model_type}"}}"#).as_bytes());
        assert!(super::knows("gemma3_text") && super::knows("llama"));
        assert!(!super::knows("gemma3") && !super::knows("mamba"));
        // A model close to a family is refused with the name of the supported one.
        let refused = read("gemma3").unwrap_err();
        assert!(matches!(&refused, ModelError::Unsupported { what } if what.contains("gemma3_text")), "{refused}");
        let unknown = read("mamba").unwrap_err();
        let ModelError::UnknownArchitecture { known, .. } = &unknown else { panic!("{unknown}") };
        assert_eq!(known.split(", ").filter(|known| known.starts_with("gemma3")).collect::<Vec<_>>(), ["gemma3_text"]);
    }
}
