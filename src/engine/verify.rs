//! Compares a model with reference values computed by PyTorch transformers.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::Deserialize;

use super::error::EngineError;
use crate::analysis::loss::mean_loss;
use crate::model::probe::{Captured, Keep, Kept, Probe};
use crate::model::{KvCache, Model, ModelError, Positions};
use crate::platform::Files;
use crate::protocol::TensorError;
use crate::tensors::{DeviceError, Transaction};
use crate::terms::{ModelFile, Site};
use crate::weights::WeightsError;
use crate::weights::safetensors::{Dtype, header_len, parse_header};

/// The optional `reference.json` of a model's folder, made with transformers in f32. It is used to check the model at
/// load.
#[derive(Debug, Deserialize)]
struct Reference {
    input_ids: Vec<u32>,
    /// The likeliest next token at every position.
    top1: Vec<u32>,
    /// Lead of the likeliest token at every position, in logits. A narrow lead may be reversed on another device.
    margins: Vec<f32>,
    /// Some logits of the last position: `[token id, value]`.
    last_logits: Vec<(usize, f32)>,
}

/// The least lead that rounding cannot reverse.
const SAFE_MARGIN: f32 = 0.02;
/// Tolerance relative to the largest logit; bf16 weights are exact, so only f32 rounding through the layers remains.
const LOGIT_TOLERANCE: f32 = 2e-3;

/// Checks a device on a known prompt. A device with a wrong result is not used, because a broken f16 path or a
/// skipped shader looks exactly like an ablated model.
///
/// # Errors
///
/// [`EngineError::SelfCheck`] if the model's results differ from those of transformers.
pub async fn self_check(model: &Model, reference: &[u8]) -> Result<(), EngineError> {
    let reference: Reference =
        serde_json::from_slice(reference).map_err(|error| ModelError::Config { key: "reference.json".into(), why: error.to_string() })?;
    let is_usable = !reference.input_ids.is_empty()
        && reference.input_ids.len() <= model.config.max_position_embeddings
        && reference.input_ids.iter().all(|id| (*id as usize) < model.config.vocab_size);
    if !is_usable {
        return Err(ModelError::Config { key: "reference.json".into(), why: "does not fit the model".into() }.into());
    }
    let logits = model.forward(&reference.input_ids, None, Positions::All, &mut Probe::empty());
    let logits = logits.into_data_async().await?.convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
    let rows = logits.chunks(model.config.vocab_size).collect::<Vec<_>>();
    let wrong = rows
        .iter()
        .zip(reference.top1.iter().zip(&reference.margins))
        .position(|(row, (top1, margin))| *margin > SAFE_MARGIN && argmax(row) != Some(*top1 as usize));
    let last = rows.last().copied().unwrap_or_default();
    let scale = reference.last_logits.iter().map(|(_, value)| value.abs()).fold(1.0, f32::max);
    let is_near = |got: &f32, value: f32| (got - value).abs() <= LOGIT_TOLERANCE * scale;
    let far = reference.last_logits.iter().find(|(id, value)| !last.get(*id).is_some_and(|got| is_near(got, *value)));
    match (wrong, far) {
        (None, None) => Ok(()),
        (Some(position), _) => Err(EngineError::SelfCheck { why: format!("another token is the likeliest at position {position}") }),
        (_, Some((id, value))) => {
            let got = last.get(*id).copied().unwrap_or(f32::NAN);
            Err(EngineError::SelfCheck { why: format!("expected a score of {value} for token {id} and got {got}") })
        }
    }
}

fn argmax(row: &[f32]) -> Option<usize> {
    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map(|(index, _)| index)
}

/// Golden tensors by name.
struct Golden {
    /// Values of each tensor, with the width of a row.
    floats: BTreeMap<String, (usize, Vec<f32>)>,
    ids: BTreeMap<String, Vec<u32>>,
}

impl Golden {
    async fn read(file: &ModelFile) -> Result<Self, EngineError> {
        let missing = || WeightsError::MissingFile { name: file.name.clone() };
        let bytes = Files::new(vec![file.clone()]).read(&file.name).await?.ok_or_else(missing)?;
        let file_len = bytes.len() as u64;
        let truncated = || WeightsError::Truncated { file: file.name.clone(), expected: 8, got: file_len };
        let prefix = bytes.first_chunk::<8>().ok_or_else(truncated)?;
        let n = usize::try_from(header_len(prefix, file_len)?).map_err(|_overflow| truncated())?;
        let header = parse_header(bytes.get(8..8 + n).ok_or_else(truncated)?, file_len)?;
        let mut golden = Self { floats: BTreeMap::new(), ids: BTreeMap::new() };
        for (name, entry) in header.tensors {
            let raw = bytes.get(entry.begin as usize..entry.end as usize).ok_or_else(truncated)?;
            if entry.dtype == Dtype::F32 {
                let values = raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                golden.floats.insert(name, (entry.shape.last().copied().unwrap_or(1), values));
            } else {
                let ids = raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
                golden.ids.insert(name, ids.map(|id| u32::try_from(id).unwrap_or(0)).collect());
            }
        }
        Ok(golden)
    }

    fn ids(&self, name: &str) -> Result<&[u32], EngineError> {
        self.ids.get(name).map(Vec::as_slice).ok_or_else(|| WeightsError::missing_tensor(name).into())
    }

    fn compare(&self, name: String, ours: &[f32]) -> Result<TensorError, EngineError> {
        let (width, golden) = self.floats.get(&name).ok_or_else(|| WeightsError::missing_tensor(&name))?;
        Ok(TensorError { relative: relative_error(ours, golden, *width), name })
    }
}

/// Returns the largest, over rows of `width` values, of `max |ours - golden| / rms(golden)`. Rows are compared one by
/// one, because one spike in a tensor would otherwise hide errors everywhere else. The error is infinite if the
/// lengths differ, a value is NaN, or a row of zeros is not zero.
pub fn relative_error(ours: &[f32], golden: &[f32], width: usize) -> f32 {
    if ours.len() != golden.len() {
        return f32::INFINITY;
    }
    ours.chunks(width).zip(golden.chunks(width)).map(|(ours, golden)| row_error(ours, golden)).fold(0.0, f32::max)
}

fn row_error(ours: &[f32], golden: &[f32]) -> f32 {
    let mut furthest = 0.0_f32;
    for (ours, golden) in ours.iter().zip(golden) {
        let distance = (ours - golden).abs();
        if distance.is_nan() {
            return f32::INFINITY;
        }
        furthest = furthest.max(distance);
    }
    let rms = (golden.iter().map(|value| value * value).sum::<f32>() / golden.len() as f32).sqrt();
    match (furthest > 0.0, rms > 0.0) {
        (false, _) => 0.0,
        (true, false) => f32::INFINITY,
        (true, true) => furthest / rms,
    }
}

const SITES: [(Site, &str); 4] = [
    (Site::ResidPre, "resid_pre"),
    (Site::DownProjInput, "down_proj_input"),
    (Site::DownProjOutput, "down_proj_output"),
    (Site::ResidPost, "resid_post"),
];

/// Runs the golden ids through the model, forward, backward and token by token, and returns the error of each tensor.
///
/// # Errors
///
/// A golden file that cannot be read or lacks a tensor, or a failing device.
pub async fn compare(model: &Model, golden: &ModelFile) -> Result<Vec<TensorError>, EngineError> {
    let golden = Golden::read(golden).await?;
    let ids = golden.ids("input_ids")?;
    let mut compared = forward(model, ids, &golden).await?;
    compared.extend(backward(model, ids, &golden).await?);
    compared.push(cached(model, ids, &golden).await?);
    compared.push(greedy(model, ids, golden.ids("greedy_ids")?).await?);
    Ok(compared)
}

async fn forward(model: &Model, ids: &[u32], golden: &Golden) -> Result<Vec<TensorError>, EngineError> {
    let sites = SITES.map(|(site, _)| site);
    let mut probe = Probe::empty().capturing(&sites, Keep::Everything);
    let logits = model.forward(ids, None, Positions::All, &mut probe);
    let mut tensors = vec![("logits".to_owned(), logits)];
    for Captured { site, layer, kept } in probe.captured {
        if let (Kept::Everything(tensor), Some((_, name))) = (kept, SITES.iter().find(|(known, _)| *known == site)) {
            tensors.push((format!("{name}.{layer}"), tensor));
        }
    }
    read_and_compare(tensors, golden).await
}

async fn backward(model: &Model, ids: &[u32], golden: &Golden) -> Result<Vec<TensorError>, EngineError> {
    let mut probe = Probe::empty().with_leaves(Site::DownProjInput);
    let loss = mean_loss(model, ids, &mut probe);
    let mut grads = loss.backward();
    let mut tensors = vec![("loss".to_owned(), loss.inner().reshape([1, 1]))];
    for (layer, leaf) in probe.leaves {
        if let Some(grad) = leaf.grad_remove(&mut grads) {
            tensors.push((format!("grad_down_proj_input.{layer}"), grad));
        }
    }
    read_and_compare(tensors, golden).await
}

async fn read_and_compare(tensors: Vec<(String, Tensor<2>)>, golden: &Golden) -> Result<Vec<TensorError>, EngineError> {
    let mut transaction = Transaction::default();
    let mut names = Vec::new();
    for (name, tensor) in tensors {
        names.push(name);
        transaction = transaction.register(tensor);
    }
    let read = transaction.execute_async().await?;
    names
        .into_iter()
        .zip(read)
        .map(|(name, data)| golden.compare(name, &data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()))
        .collect()
}

/// Compares the logits computed one token at a time with the cache.
async fn cached(model: &Model, ids: &[u32], golden: &Golden) -> Result<TensorError, EngineError> {
    let mut cache = KvCache::default();
    let mut logits = Vec::new();
    for id in ids {
        let row = model.forward(&[*id], Some(&mut cache), Positions::Last, &mut Probe::empty());
        logits.extend(row.into_data_async().await?.convert::<f32>().try_into_vec::<f32>().unwrap_or_default());
    }
    Ok(TensorError { name: "logits through the cache".into(), ..golden.compare("logits".into(), &logits)? })
}

/// Continues the first 8 ids greedily. The error is 0 if every token is the same, else 1.
async fn greedy(model: &Model, ids: &[u32], expected: &[u32]) -> Result<TensorError, EngineError> {
    let mut cache = KvCache::default();
    let mut feed = ids[..8.min(ids.len())].to_vec();
    let mut drawn = Vec::new();
    while drawn.len() < expected.len() {
        let logits = model.forward(&feed, Some(&mut cache), Positions::Last, &mut Probe::empty());
        let row = logits.into_data_async().await?.convert::<f32>().try_into_vec::<f32>().unwrap_or_default();
        let id = argmax(&row).and_then(|id| u32::try_from(id).ok()).ok_or(DeviceError::NonFinite { what: "the next token's scores" })?;
        drawn.push(id);
        feed = vec![id];
    }
    Ok(TensorError { name: "greedy_ids".into(), relative: if drawn == expected { 0.0 } else { 1.0 } })
}
