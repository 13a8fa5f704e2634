//! Loading a model: configuration, tokenizer, device, weights, and a check that it computes what it should.

use serde::Deserialize;

use super::Loaded;
use super::control::Control;
use super::decoder;
use super::device::Devices;
use super::error::EngineError;
use super::verify;
use crate::analysis::eval::HeldOut;
use crate::decode::DecodeGpu;
use crate::model::ModelError;
use crate::model::config::ModelConfig;
use crate::platform::{Files, GpuHealth};
use crate::protocol::BackendChoice;
use crate::terms::{Ablation, ModelInfo, ModelRef, Sampling};
use crate::tokenizer::Tokenizer;
use crate::weights::WeightsError;
use crate::weights::load::{largest_tensor_bytes, load_weights};

/// Loads a model; what was loaded before stays until this one is complete.
pub(super) async fn load(
    id: &str,
    files: &Files,
    backend: BackendChoice,
    devices: &mut Devices,
    control: &Control,
) -> Result<Loaded, EngineError> {
    let config = ModelConfig::from_json(&required(files, "config.json").await?)?;
    let tokenizer = Tokenizer::from_json(&required(files, "tokenizer.json").await?, config.vocab_size)?;
    let sampling = match files.read("generation_config.json").await? {
        Some(json) => sampling_defaults(&json)?,
        None => Sampling::default(),
    };
    let chosen = devices.choose(backend, largest_tensor_bytes(&config)).await?;
    let weights = load_weights(files, &config, &chosen.device, control).await?;
    if let Some(reference) = files.read("reference.json").await? {
        verify::self_check(&weights.model, &reference).await?;
    }
    let decode = match chosen.handles.map(DecodeGpu::new) {
        Some(gpu) => decoder::agrees(&gpu, &weights.model).await?.then_some(gpu),
        None => None,
    };
    if let Some(why) = chosen.health.as_ref().and_then(GpuHealth::error) {
        return Err(EngineError::Gpu { why });
    }
    let info = ModelInfo {
        model: ModelRef { id: id.into(), revision: weights.revision },
        architecture: config.architecture.name().into(),
        num_parameters: weights.num_parameters,
        num_hidden_layers: config.num_hidden_layers,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        max_position_embeddings: config.max_position_embeddings,
        weight_bytes: weights.weight_bytes,
        backend: chosen.info,
        sampling,
    };
    Ok(Loaded {
        held_out: HeldOut::bundled(&tokenizer, config.max_position_embeddings)?,
        ablated: weights.model.clone(),
        intact: weights.model,
        ablation: Ablation::default(),
        largest: weights.largest,
        tokenizer,
        info,
        intact_evaluation: None,
        health: chosen.health,
        decode,
    })
}

async fn required(files: &Files, name: &str) -> Result<Vec<u8>, EngineError> {
    let bytes = files.read(name).await?;
    bytes.ok_or_else(|| WeightsError::MissingFile { name: name.into() }.into())
}

/// The keys of `generation_config.json` that concern sampling.
#[derive(Deserialize)]
struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    max_new_tokens: Option<usize>,
}

/// transformers' reading: no `do_sample` means greedy, and what is left out has its defaults (1.0, 50, 1.0).
fn sampling_defaults(json: &[u8]) -> Result<Sampling, EngineError> {
    let read: GenerationConfig =
        serde_json::from_slice(json).map_err(|error| ModelError::Config { key: "generation_config.json", why: error.to_string() })?;
    let does_sample = read.do_sample.unwrap_or(false);
    let defaults = Sampling::default();
    Ok(Sampling {
        temperature: if does_sample { read.temperature.unwrap_or(1.0).clamp(0.0, 5.0) } else { 0.0 },
        top_k: read.top_k.unwrap_or(50),
        top_p: read.top_p.unwrap_or(1.0).clamp(0.0, 1.0),
        max_new_tokens: read.max_new_tokens.unwrap_or(defaults.max_new_tokens).clamp(1, 512),
        ..defaults
    })
}
