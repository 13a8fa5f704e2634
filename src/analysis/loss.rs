//! Next-token cross-entropy.

use burn::tensor::{Int, Tensor, TensorData};

use crate::model::probe::Probe;
use crate::model::{Model, Positions};
use crate::tensors;

/// Mean next-token cross-entropy of one sequence, `[1]`, nats. All ids run through the model, so that the last has
/// activations, too; it predicts nothing, and its gradients are zero.
pub fn mean_loss(model: &Model, ids: &[u32], probe: &mut Probe) -> Tensor<1> {
    cross_entropies(model.forward(ids, None, Positions::AllButLast, probe), &ids[1..]).mean()
}

/// `-log p(target)` of each row of logits, `[targets, 1]`.
pub fn cross_entropies(logits: Tensor<2>, targets: &[u32]) -> Tensor<2> {
    let targets = targets.iter().map(|id| id.cast_signed()).collect::<Vec<i32>>();
    let shape = [targets.len()];
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, shape), &logits.device().without_autodiff());
    tensors::cross_entropy(logits, targets)
}
