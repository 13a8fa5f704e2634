//! Loading a model: configuration, tokenizer, device, weights, and a check that it computes what it should.

use serde::Deserialize;

use super::Loaded;
use super::control::Control;
use super::decoder;
use super::device::{self, Chosen, Devices};
use super::error::EngineError;
use super::verify;
use crate::analysis::eval::HeldOut;
use crate::decode::DecodeGpu;
use crate::model::ModelError;
use crate::model::config::{ModelConfig, token_ids};
use crate::platform::{Files, GpuHealth};
use crate::protocol::BackendChoice;
use crate::terms::{Ablation, ModelInfo, ModelRef, Sampling, WeightCoord};
use crate::tokenizer::Tokenizer;
use crate::weights::WeightsError;
use crate::weights::load::{LoadedWeights, largest_tensor_bytes, load_weights};

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
    let generation = match files.read("generation_config.json").await? {
        Some(json) => GenerationConfig::from_json(&json)?,
        None => GenerationConfig::default(),
    };
    let chosen = devices.choose(backend, largest_tensor_bytes(&config)).await?;
    let is_gpu = chosen.health.is_some();
    let (chosen, weights, decode) = match load_onto(files, &config, chosen, control).await {
        // A GPU that computes something else is no GPU to choose.
        Err(error) if backend == BackendChoice::Auto && is_gpu && error.is_of_device() => {
            load_onto(files, &config, device::cpu(error.to_string()), control).await?
        }
        loaded => loaded?,
    };
    let info = ModelInfo {
        model: ModelRef { id: id.into(), revision: weights.revision },
        architecture: config.model_type.into(),
        num_parameters: weights.num_parameters,
        num_hidden_layers: config.num_hidden_layers,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        max_position_embeddings: config.max_position_embeddings,
        weight_bytes: weights.weight_bytes,
        backend: chosen.info,
        sampling: generation.sampling(),
    };
    Ok(Loaded {
        held_out: HeldOut::bundled(&tokenizer, config.max_position_embeddings)?,
        ablated: weights.model.clone(),
        intact: weights.model,
        ablation: Ablation::default(),
        pruned: None,
        largest: weights.largest,
        tokenizer,
        info,
        // transformers asks generation_config.json first.
        eos_token_ids: generation.eos_token_ids().unwrap_or(config.eos_token_ids),
        intact_evaluation: None,
        scored: None,
        health: chosen.health,
        decode,
    })
}

async fn required(files: &Files, name: &str) -> Result<Vec<u8>, EngineError> {
    let bytes = files.read(name).await?;
    bytes.ok_or_else(|| WeightsError::MissingFile { name: name.into() }.into())
}

/// Loads the weights onto one device, and has it show that it computes what it should.
async fn load_onto(
    files: &Files,
    config: &ModelConfig,
    mut chosen: Chosen,
    control: &Control,
) -> Result<(Chosen, LoadedWeights, Option<DecodeGpu>), EngineError> {
    let weights = load_weights(files, config, &chosen.device, control).await?;
    if let Some(reference) = files.read("reference.json").await? {
        verify::self_check(&weights.model, &reference).await?;
    }
    let decode = match chosen.handles.take().map(DecodeGpu::new) {
        Some(gpu) => decoder::agrees(&gpu, &weights.model).await?.then_some(gpu),
        None => None,
    };
    // Has a GPU compile an edit's kernels now, so that the first edit takes no longer than the next.
    if chosen.health.is_some() {
        let first = WeightCoord { layer: 0, row: 0, col: 0 };
        weights.model.with_ablation(&Ablation::zeroing([first]))?;
    }
    match chosen.health.as_ref().and_then(GpuHealth::error) {
        Some(why) => Err(EngineError::Gpu { why }),
        None => Ok((chosen, weights, decode)),
    }
}

/// The keys of `generation_config.json` that concern us.
#[derive(Default, Deserialize)]
struct GenerationConfig {
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    max_new_tokens: Option<usize>,
    eos_token_id: Option<serde_json::Value>,
}

impl GenerationConfig {
    fn from_json(json: &[u8]) -> Result<Self, EngineError> {
        let broken = |error: serde_json::Error| ModelError::Config { key: "generation_config.json", why: error.to_string() };
        Ok(serde_json::from_slice(json).map_err(broken)?)
    }

    /// transformers' reading: `do_sample: false` means greedy, and what is left out has its defaults (1.0, 50, 1.0).
    /// Where nothing is said of sampling, the page's own default stands.
    fn sampling(&self) -> Sampling {
        let defaults = Sampling::default();
        let temperature = match self.do_sample {
            Some(true) => self.temperature.unwrap_or(1.0).clamp(0.0, 5.0),
            Some(false) => 0.0,
            None => defaults.temperature,
        };
        Sampling {
            temperature,
            top_k: self.top_k.unwrap_or(50),
            top_p: self.top_p.unwrap_or(1.0).clamp(0.0, 1.0),
            max_new_tokens: self.max_new_tokens.unwrap_or(defaults.max_new_tokens).clamp(1, 512),
            ..defaults
        }
    }

    fn eos_token_ids(&self) -> Option<Vec<u32>> {
        self.eos_token_id.as_ref().filter(|value| !value.is_null()).map(|value| token_ids(Some(value)))
    }
}
