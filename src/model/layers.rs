//! The small parts: linear maps in the checkpoint's layout, and norms.

use burn::tensor::{Device, Tensor, activation as act};

use super::config::Activation;
use super::rounding::InputRounding;
use crate::tensors::{self, Table, Weight};

/// The layout of a matrix in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `weight[out, in]`: PyTorch's `Linear`.
    OutIn,
    /// `weight[in, out]`: the `Conv1D` of GPT-2.
    InOut,
}

/// `y = x Wᵀ + b`. W keeps the checkpoint's layout, so that a coordinate means the same here and there.
#[derive(Debug, Clone)]
pub struct Linear {
    pub weight: Weight,
    pub bias: Option<Tensor<1>>,
    pub layout: Layout,
    /// Rounding of the input in a model with quantised activations; `None` in a loaded model.
    pub input_rounding: Option<InputRounding>,
}

impl Linear {
    /// # Shapes
    ///
    /// `[seq, in]` to `[seq, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.input_rounding {
            Some(rounding) => rounding.apply(x),
            None => x,
        };
        plus_bias(self.weight.product(x, self.layout == Layout::OutIn), self.bias.as_ref())
    }

    /// Index of `weight[row, col]` (`[out, in]`) in the checkpoint's flat order.
    pub fn flat_index(&self, row: usize, col: usize) -> usize {
        let [out, input] = self.shape();
        match self.layout {
            Layout::OutIn => row * input + col,
            Layout::InOut => col * out + row,
        }
    }

    /// The shape `[out, in]`, for either layout.
    pub fn shape(&self) -> [usize; 2] {
        let [rows, cols] = self.weight.dims();
        match self.layout {
            Layout::OutIn => [rows, cols],
            Layout::InOut => [cols, rows],
        }
    }
}

/// `logits = x Wᵀ + b`. The weight is a table like that of the embeddings, and often the same table.
#[derive(Debug, Clone)]
pub struct LmHead {
    /// `[vocab_size, hidden_size]`.
    pub weight: Table,
    pub bias: Option<Tensor<1>>,
}

impl LmHead {
    pub fn device(&self) -> Device {
        self.weight.device()
    }

    /// # Shapes
    ///
    /// `[seq, hidden_size]` to `[seq, vocab_size]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        plus_bias(self.weight.product(x), self.bias.as_ref())
    }
}

fn plus_bias(y: Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
    match bias {
        Some(bias) => y + bias.clone().unsqueeze::<2>(),
        None => y,
    }
}

/// Root-mean-square or mean-and-variance normalisation over the last dimension, in f32.
#[derive(Debug, Clone)]
pub enum Norm {
    /// `x / √(mean(x²) + eps) · weight`.
    Rms { weight: Tensor<1>, eps: f64 },
    /// `(x - mean(x)) / √(var(x) + eps) · weight + bias`, biased variance.
    Layer { weight: Tensor<1>, bias: Tensor<1>, eps: f64 },
}

impl Norm {
    /// # Shapes
    ///
    /// `[.., width]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Rms { weight, eps } => tensors::rms_norm(x, weight, *eps),
            Self::Layer { weight, bias, eps } => {
                let centred = x.clone() - x.mean_dim(D - 1);
                tensors::rms_norm(centred, weight, *eps) + bias.clone().unsqueeze::<D>()
            }
        }
    }
}

impl Activation {
    /// `act(gate) · up`.
    pub fn gate(self, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Silu => tensors::silu_gate(gate, up),
            Self::Gelu | Self::GeluTanh => self.forward(gate) * up,
        }
    }

    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Silu => act::silu(x),
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
        }
    }
}

/// `x/2 (1 + erf(x/√2))`. On a GPU, Burn's version has the tanh form's gradient, which is 2.5e-3 off.
fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let erf = (x.clone() * core::f64::consts::FRAC_1_SQRT_2).erf();
    x * (erf + 1.0) * 0.5
}

/// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`. Burn's version cubes with `powf`, which is NaN for negative x in WGSL.
fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    const SQRT_2_OVER_PI: f64 = core::f64::consts::FRAC_2_SQRT_PI * core::f64::consts::FRAC_1_SQRT_2;
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube * 0.044_715) * SQRT_2_OVER_PI;
    x * (inner.tanh() + 1.0) * 0.5
}
