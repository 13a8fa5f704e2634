//! Tensors of a model whose layers lie on several devices.

use burn::tensor::kind::{self, Basic};
use burn::tensor::{self, Device, ExecutionError, Tensor, TensorData};

/// The tensor on a device: itself where it lies there already.
pub fn moved_to<const D: usize, K: Basic>(tensor: Tensor<D, K>, device: &Device) -> Tensor<D, K> {
    if tensor.device() == *device { tensor } else { tensor.to_device(device) }
}

/// Reads several tensors at once, as Burn's transaction does. That one reads from a single device; here a tensor that lies
/// elsewhere is moved to the first one's.
#[derive(Default)]
pub struct Transaction {
    read: tensor::Transaction,
    device: Option<Device>,
}

impl Transaction {
    #[must_use]
    pub fn register<const D: usize, K: kind::Transaction>(mut self, tensor: Tensor<D, K>) -> Self {
        let device = self.device.get_or_insert_with(|| tensor.device());
        self.read = self.read.register(moved_to(tensor, device));
        self
    }

    /// The tensors' values, in the order in which they were registered.
    ///
    /// # Errors
    ///
    /// A failing device.
    pub async fn execute_async(self) -> Result<Vec<TensorData>, ExecutionError> {
        self.read.execute_async().await
    }
}
