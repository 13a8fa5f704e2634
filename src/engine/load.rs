//! Loads a model: configuration, tokenizer, device, weights, and a check of its results.

use super::Loaded;
use super::bos::Bos;
use super::decoder;
use super::device::{Chosen, Devices};
use super::error::EngineError;
use super::fit::{Prepared, required};
use super::generation::GenerationConfig;
use super::verify;
use crate::analysis::AnalysisError;
use crate::analysis::cold::{self, Found};
use crate::analysis::eval::{HeldOut, Source};
use crate::decode::DecodeGpu;
use crate::experiments::weights_only;
use crate::job::control::Control;
use crate::loading::load::{LoadedWeights, load_checkpoint};
use crate::model::Model;
use crate::model::config::ModelConfig;
use crate::platform::Files;
use crate::protocol::{BackendChoice, Event};
use crate::tensors::DeviceError;
use crate::terms::{Ablation, FitKind, ModelInfo, ModelRef, ModelSource, Provenance, WeightCoord};
use crate::tokenizer::Tokenizer;

/// Loads a model, and with `with_bos` puts its BOS before every text. The previous model stays until the new one is
/// complete, unless a browser's memory cannot hold both.
pub(super) async fn load(
    (id, source, backend): (&str, &ModelSource, BackendChoice),
    with_bos: bool,
    before: &mut Option<Loaded>,
    devices: &mut Devices,
    control: &Control,
) -> Result<Loaded, EngineError> {
    control.progress("looking_into_model", 0.0, 0.0, "steps");
    let files = control.unless_stopped(Files::find(source)).await??;
    let prepared = Prepared::of(&files, backend, devices, control).await?;
    let inspection = prepared.inspection(id).await;
    if inspection.checks.iter().any(|check| check.kind == FitKind::Storage && !check.ok) {
        files.keep_nothing("there is not enough room");
    }
    control.emit(Event::Inspected(inspection));
    prepared.check()?;
    before.take_if(|before| before.health.is_none() && !prepared.fits_beside(before.info.weight_bytes));
    let (mut tokenizer, generation) = control.unless_stopped(read_small(&files, prepared.config.vocab_size)).await??;
    let bos = control.unless_stopped(left_out(&files, &prepared.config, &tokenizer)).await??;
    let bos = Bos::apply(bos, with_bos, &mut tokenizer)?;
    let is_gpu = prepared.chosen.health.is_some();
    let (config, config_json) = (prepared.config.clone(), prepared.config_json.clone());
    let placed = match place(&files, prepared, control).await {
        // A GPU with wrong results is not used.
        Err(error) if backend == BackendChoice::Auto && is_gpu && error.is_of_device() => {
            let on_cpu = Prepared::of(&files, BackendChoice::Cpu, devices, control).await?.because(error.to_string());
            on_cpu.check()?;
            place(&files, on_cpu, control).await?
        }
        placed => placed?,
    };
    let Placed { chosen, weights, candidates, decode } = placed;
    let mut info = facts(id, &files, &weights, &chosen, &generation);
    (info.model.added_bos, info.left_out_bos) = (bos.added, bos.left_out);
    info.provenance.notes.extend(bos.note);
    let loaded = Loaded {
        text: Source::bundled(),
        held_out: HeldOut::bundled(&tokenizer, config.max_position_embeddings)?,
        ablated: weights.model.clone(),
        intact: weights.model,
        tensors: weights.tensors,
        config_json,
        ablation: Ablation::default(),
        pruned: None,
        largest: weights.largest,
        largest_by_tensor: weights.largest_by_tensor,
        tasks: Vec::new(),
        tokenizer,
        info,
        source: source.clone(),
        // As in transformers, generation_config.json takes precedence.
        eos_token_ids: generation.eos_token_ids().unwrap_or(config.eos_token_ids),
        intact_evaluation: None,
        scored: None,
        means: None,
        health: chosen.health,
        decode,
    };
    if let Some(candidates) = candidates {
        weights_only::send(&candidates, &loaded.info, control);
    }
    Ok(loaded)
}

/// Reads the small files: tokenizer and generation configuration.
async fn read_small(files: &Files, vocab_size: usize) -> Result<(Tokenizer, GenerationConfig), EngineError> {
    let json = required(files, "tokenizer.json").await?;
    let tokenizer = Tokenizer::from_json(&json, vocab_size)?;
    let generation = files.read_optional("generation_config.json").await?;
    Ok((tokenizer, generation.map(|json| GenerationConfig::from_json(&json)).unwrap_or_default()))
}

/// The BOS that the tokenizer leaves out.
async fn left_out(files: &Files, config: &ModelConfig, tokenizer: &Tokenizer) -> Result<Option<Bos>, EngineError> {
    // A file that only adds to the note is no reason to refuse a model.
    let of_tokenizer = files.read_optional("tokenizer_config.json").await.unwrap_or_default();
    Ok(Bos::left_out((config.bos_token_id, &config.eos_token_ids), of_tokenizer.as_deref(), tokenizer)?)
}

fn facts(id: &str, files: &Files, weights: &LoadedWeights, chosen: &Chosen, generation: &GenerationConfig) -> ModelInfo {
    let config = &weights.model.config;
    ModelInfo {
        model: ModelRef::new(id, weights.revision.as_str()),
        architecture: config.model_type.into(),
        num_parameters: weights.num_parameters,
        num_hidden_layers: config.num_hidden_layers,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size.clone(),
        vocab_size: config.vocab_size,
        max_position_embeddings: config.max_position_embeddings,
        weight_bytes: weights.weight_bytes,
        backend: chosen.info.clone(),
        sampling: generation.sampling(),
        left_out_bos: None,
        provenance: provenance(files, weights, generation),
    }
}

fn provenance(of: &Files, weights: &LoadedWeights, generation: &GenerationConfig) -> Provenance {
    Provenance {
        origin: of.origin().to_string(),
        commit: of.commit().map(String::from),
        files: weights.files.clone(),
        stored: weights.stored,
        notes: [of.notes(), weights.notes.clone(), generation.notes.clone()].concat(),
    }
}

/// A model on its device.
struct Placed {
    chosen: Chosen,
    weights: LoadedWeights,
    /// Candidates from the weights alone, before any forward pass, reported once the device has passed its checks.
    candidates: Option<Found>,
    decode: Option<DecodeGpu>,
}

/// Loads the weights onto their device, and checks the device's results.
async fn place(files: &Files, prepared: Prepared, control: &Control) -> Result<Placed, EngineError> {
    let Prepared { config, mut chosen, onto, checkpoint, .. } = prepared;
    let weights = load_checkpoint(files, &config, checkpoint, &onto, control).await?;
    let candidates = candidates(&weights.model, control).await?;
    if let Some(reference) = files.read_optional("reference.json").await? {
        verify::self_check(&weights.model, &reference).await?;
    }
    let decode = match chosen.handles.take().map(DecodeGpu::new) {
        Some(gpu) => decoder::agrees(&gpu, &weights.model).await?.then_some(gpu),
        None => None,
    };
    // Makes the GPU compile an edit's kernels now, so that the first edit is as fast as the next.
    if chosen.health.is_some() {
        let first = WeightCoord::new(0, 0, 0);
        weights.model.with_ablation(&Ablation::zeroing([first]))?;
    }
    DeviceError::check_health(chosen.health.as_ref())?;
    Ok(Placed { chosen, weights, candidates, decode })
}

/// Only a failing device or a stop ends a load here: a model whose norms overflow still runs.
async fn candidates(model: &Model, control: &Control) -> Result<Option<Found>, AnalysisError> {
    match cold::search(model, control).await {
        Ok(found) => Ok(Some(found)),
        Err(error @ (AnalysisError::Stopped(_) | AnalysisError::Device(DeviceError::Gpu { .. } | DeviceError::Execution { .. }))) => {
            Err(error)
        }
        Err(_) => Ok(None),
    }
}
