//! Has a GPU compile its kernels while the weights are on their way: a browser compiles beside the page's own work, and
//! waits only when something is read back.

use burn::tensor::Device;

use crate::decode::{DecodeGpu, DecodePlan};
use crate::model::config::ModelConfig;
use crate::model::probe::Probe;
use crate::model::{KvCache, Positions, families};
use crate::weights::Weights;

/// Tokens of the pass; those of a short prompt choose the same kernels.
const N: usize = 8;
/// The stand-in is no larger than this, bytes: on a GPU that a model fills there must be room for it.
const MAX_BYTES: u64 = 256 << 20;

/// Runs one layer of zeros in the model's own shapes, through prompt, token and plan, and reads nothing.
pub(super) fn compile_kernels(gpu: &DecodeGpu, config: &ModelConfig, device: &Device) {
    let n = N.min(config.max_position_embeddings.saturating_sub(1));
    let one_layer = ModelConfig { num_hidden_layers: 1, ..config.clone() };
    let mut weights = Weights::zeros(device, config.is_bf16, MAX_BYTES);
    // A stand-in that is too large is none; whatever else is wrong with the model, loading it will say.
    let Ok(model) = families::build(&one_layer, &mut weights) else { return };
    if n == 0 {
        return;
    }
    let mut cache = KvCache::default();
    for ids in [vec![0; n], vec![0]] {
        let _ = model.forward(&ids, Some(&mut cache), Positions::Last, &mut Probe::empty());
    }
    if let Ok(mut plan) = DecodePlan::new(gpu, &model, &[], &[], n + 1) {
        let _ = plan.start(&cache);
    }
}
