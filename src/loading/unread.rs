//! The tensors of a checkpoint that the model does not take: those that mean another kind of checkpoint, which is refused,
//! and those that the reader is told of.

use std::collections::{BTreeMap, BTreeSet};

use super::shard::Shard;
use crate::model::weights::Weights;
use crate::weights::WeightsError;

/// The last parts of names that only quantised checkpoints have: GPTQ and AWQ, compressed-tensors, fp8, bitsandbytes,
/// MLX, HQQ, AQLM and QuIP#, MXFP4.
const OF_QUANTISATION: [&str; 22] = [
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
    "weight_packed",
    "weight_scale",
    "weight_scale_2",
    "weight_global_scale",
    "weight_scale_inv",
    "weight_zero_point",
    "weight_shape",
    "SCB",
    "weight_format",
    "absmax",
    "quant_map",
    "nested_absmax",
    "W_q",
    "codebooks",
    "codes",
    "Qidxs",
    "gate_up_proj_blocks",
    "down_proj_blocks",
];

/// The parts of names that only adapters have: LoRA, DoRA, and what prompt tuning adds.
const OF_ADAPTERS: [&str; 7] =
    ["lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "prompt_embeddings", "base_layer"];

/// The last parts of names of buffers, which transformers computes itself and leaves unread, too: angles of positions,
/// masks of attention, and their constant.
const OF_BUFFERS: [&str; 5] = ["rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias"];

/// The most names in one note.
const MAX_NAMES: usize = 6;

/// Takes each tensor from the file that the index names, and returns the names of those that are there.
pub fn counting(shards: &mut [Shard], index: &BTreeMap<String, String>) -> BTreeSet<String> {
    for shard in &mut *shards {
        let elsewhere = shard.header.tensors.keys().filter(|name| index.get(*name).is_some_and(|file| *file != shard.name));
        shard.superseded = elsewhere.cloned().collect();
    }
    shards.iter().flat_map(|shard| shard.header.tensors.keys().filter(|name| !shard.superseded.contains(*name)).cloned()).collect()
}

/// Refuses a checkpoint whose names are those of another kind.
///
/// # Errors
///
/// [`WeightsError::Quantised`], [`WeightsError::Adapter`].
pub fn check_form(known: &BTreeSet<String>) -> Result<(), WeightsError> {
    // bitsandbytes writes its state behind the weight's name: `weight.quant_state.bitsandbytes__nf4`.
    let is_quantised = |name: &str| {
        name.rsplit('.').next().is_some_and(|last| OF_QUANTISATION.contains(&last)) || name.split('.').any(|part| part == "quant_state")
    };
    if let Some(name) = known.iter().find(|name| is_quantised(name)) {
        return Err(WeightsError::Quantised { name: name.clone() });
    }
    match known.iter().find(|name| name.split('.').any(|part| OF_ADAPTERS.contains(&part))) {
        Some(name) => Err(WeightsError::Adapter { name: name.clone() }),
        None => Ok(()),
    }
}

/// Adds to the error of a missing tensor the file that should have it, or some of the names that there are: those with
/// the same ending, or else any.
pub fn explained(fault: WeightsError, known: &BTreeSet<String>, index: &BTreeMap<String, String>) -> WeightsError {
    let WeightsError::MissingTensor { name, .. } = fault else { return fault };
    if let Some(file) = index.get(&name) {
        return WeightsError::NotInShard { name, file: file.clone() };
    }
    let ending = name.split_once('.').map_or(name.as_str(), |(_, ending)| ending).to_owned();
    let short = name.rsplitn(3, '.').take(2).collect::<Vec<_>>();
    let alike = known.iter().filter(|other| other.ends_with(&ending) || short.iter().all(|part| other.split('.').any(|of| of == *part)));
    let mut others = alike.take(3).map(String::as_str).collect::<Vec<_>>();
    if others.is_empty() {
        others = known.iter().take(3).map(String::as_str).collect();
    }
    WeightsError::MissingTensor { name, others: others.join(", ") }
}

/// Checks that every wanted tensor is in one file only.
///
/// # Errors
///
/// [`WeightsError::InTwoShards`].
pub fn check_places(shards: &[Shard], plan: &Weights) -> Result<(), WeightsError> {
    for name in plan.wanted.keys() {
        let mut files = shards.iter().filter(|shard| shard.header.tensors.contains_key(name) && shard.has_wanted(plan, name));
        if let (Some(one), Some(other)) = (files.next(), files.next()) {
            return Err(WeightsError::InTwoShards { name: name.clone(), file: one.name.clone(), other: other.name.clone() });
        }
    }
    Ok(())
}

/// Sentences about tensors that are not used.
pub fn notes(shards: &[Shard], plan: &Weights) -> Vec<String> {
    let all = || shards.iter().flat_map(|shard| shard.header.tensors.keys().map(move |name| (shard, name)));
    let is_buffer = |name: &str| {
        OF_BUFFERS.iter().any(|buffer| name.strip_suffix(buffer).is_some_and(|before| before.is_empty() || before.ends_with('.')))
    };
    let unread = all().map(|(_, name)| name.as_str()).filter(|name| !plan.wanted.contains_key(*name) && !is_buffer(name));
    let (beyond, unread): (BTreeSet<_>, BTreeSet<_>) = unread.partition(|name| layer_beyond(name, plan).is_some());
    let layers = beyond.iter().filter_map(|name| layer_beyond(name, plan)).collect::<BTreeSet<_>>();
    let twice = all().filter(|(shard, name)| shard.superseded.contains(*name)).map(|(_, name)| name.as_str()).collect::<BTreeSet<_>>();
    let mut notes = Vec::new();
    if let (Some((first, n)), Some((last, _))) = (layers.first(), layers.last()) {
        let which = if first == last { format!("layer {first}") } else { format!("layers {first} to {last}") };
        let are = counted(beyond.len(), "tensor is", "tensors are");
        notes.push(format!(
            "The checkpoint has weights of {which}, but config.json names only {n} layers (0 to {}): {are} not used, as in transformers: {}.",
            n - 1,
            listed(&beyond)
        ));
    }
    if !unread.is_empty() {
        let are = counted(unread.len(), "tensor that is", "tensors that are");
        notes.push(format!(
            "The checkpoint has {are} not part of the configured model and not used, as in transformers: {}.",
            listed(&unread)
        ));
    }
    if !twice.is_empty() {
        let are = counted(twice.len(), "tensor", "tensors");
        notes.push(format!("Another file has {are} once more; the one in the file that the index names was read: {}.", listed(&twice)));
    }
    notes
}

/// The layer of a tensor that the model would have if it had more layers, and the number of layers that it has.
fn layer_beyond(name: &str, plan: &Weights) -> Option<(usize, usize)> {
    let parts = name.split('.').map(String::from).collect::<Vec<_>>();
    parts.iter().enumerate().find_map(|(at, part)| {
        let layer = part.parse().ok()?;
        let has = |other: &usize| {
            let mut parts = parts.clone();
            parts[at] = other.to_string();
            plan.wanted.contains_key(&parts.join("."))
        };
        let n = (0..layer).take_while(has).count();
        (n > 0).then_some((layer, n))
    })
}

fn counted(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

/// The first names, and the number of the others.
fn listed(names: &BTreeSet<&str>) -> String {
    let first = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => first,
        others => format!("{first}, and {others} more"),
    }
}
