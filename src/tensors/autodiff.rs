//! Hand-written gradients for every backend. Each backward pass is again one of [`ModelOps`].

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind, unary};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend};

use super::ops::ModelOps;

/// Registers an output, with the state for its backward pass.
fn record<B, C, W, const N: usize>(backward: W, nodes: [NodeGuard; N], state: W::State, out: FloatTensor<B>) -> FloatTensor<Autodiff<B, C>>
where
    B: Backend,
    C: CheckpointStrategy,
    W: Backward<B, N>,
{
    match backward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}

/// Passes gradients to the parents that need one.
macro_rules! register {
    ($grads:expr, $parents:expr, $all:expr) => {
        for (parent, grad) in $parents.into_iter().zip($all) {
            if let Some(node) = parent {
                $grads.register::<B>(node.id, grad);
            }
        }
    };
}

/// A backward pass of one input, as a function of the state and the gradient.
macro_rules! backward_of_one {
    ($name:ident, $state:ty, |$kept:pat_param, $grad:ident| $body:expr) => {
        #[derive(Debug)]
        struct $name;

        impl<B: Backend + ModelOps> Backward<B, 1> for $name {
            type State = $state;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let $kept = ops.state;
                unary::<B, _>(ops.parents, ops.node, grads, |$grad| $body);
            }
        }
    };
}

backward_of_one!(Product, (FloatTensor<B>, bool), |(weight, transposed), grad| B::product(grad, weight, !transposed));
backward_of_one!(ProductBf16, (IntTensor<B>, bool), |(words, transposed), grad| B::product_bf16(grad, words, !transposed));
backward_of_one!(RmsNorm, (FloatTensor<B>, FloatTensor<B>, f64), |(x, weight, eps), grad| B::rms_norm_backward(x, weight, grad, eps));
backward_of_one!(Rotate, (FloatTensor<B>, FloatTensor<B>, f32), |(cos, sin, sign), grad| B::rotate(grad, cos, sin, -sign));

backward_of_one!(CrossEntropy, (FloatTensor<B>, IntTensor<B>), |(logits, targets), grad| B::cross_entropy_backward(logits, targets, grad));

#[derive(Debug)]
struct Attention;

impl<B: Backend + ModelOps> Backward<B, 3> for Attention {
    /// Query, key, value, weights, scale.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let (query, key, value, weights, scale) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (of_query, of_key, of_value) = B::attend_backward(query, key, value, weights, grad, scale);
        register!(grads, ops.parents, [of_query, of_key, of_value]);
    }
}

#[derive(Debug)]
struct SiluGate;

impl<B: Backend + ModelOps> Backward<B, 2> for SiluGate {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let (gate, up) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let (of_gate, of_up) = B::silu_gate_backward(gate, up, grad);
        register!(grads, ops.parents, [of_gate, of_up]);
    }
}

#[derive(Debug)]
struct Tap;

impl<B: Backend + ModelOps> Backward<B, 2> for Tap {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let sums = B::channel_sums(ops.state, grad.clone());
        register!(grads, ops.parents, [grad, sums]);
    }
}

impl<B: Backend + ModelOps, C: CheckpointStrategy> ModelOps for Autodiff<B, C> {
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let weight = weight.into_primitive();
        let out = B::product(x, weight.clone(), transposed);
        record::<B, C, _, 1>(Product, [node], (weight, transposed), out)
    }

    fn product_bf16(x: FloatTensor<Self>, words: IntTensor<Self>, transposed: bool) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let out = B::product_bf16(x, words.clone(), transposed);
        record::<B, C, _, 1>(ProductBf16, [node], (words, transposed), out)
    }

    fn unpack_bf16(words: IntTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::unpack_bf16(words))
    }

    fn softmax_mass(logits: FloatTensor<Self>, mask: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::softmax_mass(logits.into_primitive(), mask.into_primitive()))
    }

    fn peaks(x: FloatTensor<Self>) -> (FloatTensor<Self>, IntTensor<Self>) {
        let (values, columns) = B::peaks(x.into_primitive());
        (Self::from_inner(values), columns)
    }

    fn channel_sums(u: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::channel_sums(u.into_primitive(), grad.into_primitive()))
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let weight = weight.into_primitive();
        let out = B::rms_norm(x.clone(), weight.clone(), eps);
        record::<B, C, _, 1>(RmsNorm, [node], (x, weight, eps), out)
    }

    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, signed_sin: FloatTensor<Self>, sign: f32) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (cos, signed_sin) = (cos.into_primitive(), signed_sin.into_primitive());
        let out = B::rotate(x, cos.clone(), signed_sin.clone(), sign);
        record::<B, C, _, 1>(Rotate, [node], (cos, signed_sin, sign), out)
    }

    fn attend(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ((query, node_q), (key, node_k), (value, node_v)) = (query.into_parts(), key.into_parts(), value.into_parts());
        let (out, weights) = B::attend(query.clone(), key.clone(), value.clone(), mask.into_primitive(), scale);
        let state = (query, key, value, weights.clone(), scale);
        let out = record::<B, C, _, 3>(Attention, [node_q, node_k, node_v], state, out);
        // The weights are only for inspection: no gradient goes back through them.
        (out, Self::from_inner(weights))
    }

    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let out = B::cross_entropy(logits.clone(), targets.clone());
        record::<B, C, _, 1>(CrossEntropy, [node], (logits, targets), out)
    }

    fn silu_gate(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((gate, node_gate), (up, node_up)) = (gate.into_parts(), up.into_parts());
        let out = B::silu_gate(gate.clone(), up.clone());
        record::<B, C, _, 2>(SiluGate, [node_gate, node_up], (gate, up), out)
    }

    fn tap(u: FloatTensor<Self>, sink: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((u, node), (_, node_sink)) = (u.into_parts(), sink.into_parts());
        record::<B, C, _, 2>(Tap, [node, node_sink], u.clone(), u)
    }
}
