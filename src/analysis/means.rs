//! Mean activation of channels, which replaces a channel in a mean-ablation.

use burn::tensor::Tensor;

use super::calibration::Sequences;
use super::error::AnalysisError;
use super::residual::floats;
use crate::job::control::Control;
use crate::model::probe::{Keep, Kept, Probe};
use crate::model::{Model, Positions};
use crate::tensors::{DeviceError, Transaction};
use crate::terms::Site;
use crate::tokenizer::Tokenizer;

/// Number of sequences of the bundled calibration text. It and their length in tokens are fixed, so that a link has
/// the same meaning everywhere.
const N_SEQUENCES: usize = 8;
const LENGTH: usize = 256;

/// Computes the mean of every channel of every layer over the calibration tokens, at the input of `down_proj`.
///
/// # Errors
///
/// A failing device, or a stop.
pub async fn channel_means(
    model: &Model,
    tokenizer: &Tokenizer,
    max_position_embeddings: usize,
    control: &Control,
) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let sequences = Sequences::of(None, N_SEQUENCES, LENGTH, tokenizer, max_position_embeddings)?;
    let mut sums = Vec::<Tensor<2>>::new();
    let mut n_tokens = 0;
    for (index, ids) in sequences.ids.iter().enumerate() {
        control.progress("channel_means", index as f64, sequences.ids.len() as f64, "sequences");
        control.checkpoint().await?;
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Sums);
        model.forward(ids, None, Positions::Last, &mut probe);
        let of_layers =
            probe.captured.into_iter().filter_map(|captured| if let Kept::Sums(sum) = captured.kept { Some(sum) } else { None });
        sums = match sums.is_empty() {
            true => of_layers.collect(),
            false => sums.into_iter().zip(of_layers).map(|(all, sum)| all + sum).collect(),
        };
        n_tokens += ids.len();
    }
    let scale = 1.0 / n_tokens.max(1) as f32;
    let read = sums.into_iter().fold(Transaction::default(), |read, sum| read.register(sum * scale)).execute_async().await?;
    let means = read.into_iter().map(floats).collect::<Vec<_>>();
    if means.iter().flatten().any(|mean| !mean.is_finite()) {
        return Err(DeviceError::NonFinite { what: "the mean of a channel" }.into());
    }
    Ok(means)
}
