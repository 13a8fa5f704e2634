//! Writes a loaded model as files that another worker loads, so that its weights need not be downloaded again, wherever
//! they came from.
//!
//! The file of weights is a checkpoint in f32, which holds exactly the values of the model in memory.

use std::collections::BTreeMap;

use serde_json::json;

use super::error::LoadingError;
use crate::job::control::Control;
use crate::model::weights::{Arrived, Given};
use crate::platform::Output;
use crate::tensors::{DeviceError, Transaction};
use crate::terms::ModelFile;
use crate::weights::safetensors::SINGLE_FILE;

/// Writes `config.json` as it was read, and the tensors of a model on the CPU
/// ([`super::load::LoadedWeights::tensors`]).
///
/// # Errors
///
/// A failing device, no room for the files, or a stop.
pub async fn hand_over(
    config: &[u8],
    tensors: &BTreeMap<String, (Vec<usize>, Given)>,
    output: &Output,
    control: &Control,
) -> Result<Vec<ModelFile>, LoadingError> {
    let mut small = output.create("config.json")?;
    small.write(config)?;
    let mut weights = output.create(SINGLE_FILE)?;
    let header = header(tensors);
    weights.write(&(header.len() as u64).to_le_bytes())?;
    weights.write(&header)?;
    for (_, given) in tensors.values() {
        for values in values(given).await? {
            weights.write(bytemuck::cast_slice(&values))?;
        }
        control.checkpoint().await?;
    }
    let file = |name: &str, url: String| ModelFile { name: name.into(), url };
    Ok(vec![file("config.json", small.finish()?), file(SINGLE_FILE, weights.finish()?)])
}

/// The JSON of the header, padded with spaces so that the data is aligned.
fn header(tensors: &BTreeMap<String, (Vec<usize>, Given)>) -> Vec<u8> {
    let (mut entries, mut begin) = (serde_json::Map::new(), 0_u64);
    for (name, (shape, _)) in tensors {
        let end = begin + shape.iter().fold(4, |bytes, size| bytes * *size as u64);
        entries.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}));
        begin = end;
    }
    let mut json = serde_json::Value::Object(entries).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    json
}

/// The values of a tensor, in pieces, in the order in which the checkpoint has them.
async fn values(given: &Given) -> Result<Vec<Vec<f32>>, LoadingError> {
    match given {
        Given::Whole(Arrived::F32(flat)) => Ok(vec![read(Transaction::default().register(flat.clone())).await?.remove(0)]),
        Given::Fused { parts, rounds } => {
            let all = parts.iter().cloned().fold(Transaction::default(), Transaction::register);
            let parts = read(all).await?;
            let of_round = |values: &Vec<f32>, round: usize| {
                let n = values.len() / rounds;
                values[n * round..n * (round + 1)].to_vec()
            };
            Ok((0..*rounds).flat_map(|round| parts.iter().map(move |values| of_round(values, round))).collect())
        }
        Given::Whole(Arrived::Bf16(_) | Arrived::Chunks(_)) => {
            Err(DeviceError::Execution { why: "only the CPU's tensors of f32 are handed over".into() }.into())
        }
    }
}

async fn read(transaction: Transaction) -> Result<Vec<Vec<f32>>, LoadingError> {
    let read = transaction.execute_async().await.map_err(DeviceError::from)?;
    Ok(read.into_iter().map(|data| data.convert::<f32>().try_into_vec::<f32>().unwrap_or_default()).collect())
}
