//! Tensors of a model whose layers are on several devices.

use burn::tensor::kind::{self, Basic};
use burn::tensor::{self, Device, ExecutionError, Tensor, TensorData};

/// The tensor on a device, without a copy if it is already there.
pub fn moved_to<const D: usize, K: Basic>(tensor: Tensor<D, K>, device: &Device) -> Tensor<D, K> {
    if tensor.device() == *device { tensor } else { tensor.to_device(device) }
}

/// Reads several tensors at once, like Burn's transaction, which reads from a single device. A tensor on another
/// device is first moved to the first tensor's.
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

    /// The tensors' values, in the order of registration.
    ///
    /// # Errors
    ///
    /// A failing device.
    pub async fn execute_async(self) -> Result<Vec<TensorData>, ExecutionError> {
        self.read.execute_async().await
    }
}
