//! A model with its layers on two devices, compared with the same model on one.

use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{Device, DeviceKind, Tensor};
use linchpin::analysis::backward::{Limits, sequence_sums};
use linchpin::decode::{DecodeGpu, DecodePlan};
use linchpin::model::layers::{Linear, Norm};
use linchpin::model::probe::Probe;
use linchpin::model::{DecoderLayer, KvCache, Model, Positions};
use linchpin::tensors::{Packed, Weight};
use linchpin::terms::{Ablation, EditTarget, Matrix, WeightEdit};

use crate::support::{model_on, on_gpu};

const IDS: [u32; 7] = [0, 5, 9, 2, 2, 60, 31];

fn move_norm(norm: &mut Norm, device: &Device) {
    let moved = |vector: &mut Tensor<1>| *vector = vector.clone().to_device(device);
    match norm {
        Norm::Rms { weight, .. } => moved(weight),
        Norm::Layer { weight, bias, .. } => [weight, bias].into_iter().for_each(moved),
    }
}

fn move_linear(linear: &mut Linear, device: &Device) {
    linear.weight = match &linear.weight {
        Weight::F32(weight) => Weight::F32(weight.clone().to_device(device)),
        Weight::Bf16(Packed { words }) => Weight::Bf16(Packed { words: words.clone().to_device(device) }),
    };
    linear.bias = linear.bias.take().map(|bias| bias.to_device(device));
}

fn move_layer(layer: &mut DecoderLayer, device: &Device) {
    Matrix::ALL.into_iter().for_each(|matrix| {
        if let Some(linear) = layer.matrix_mut(matrix) {
            move_linear(linear, device);
        }
    });
    let norms = [
        &mut layer.input_layernorm,
        &mut layer.post_attention_layernorm,
        &mut layer.pre_feedforward_layernorm,
        &mut layer.post_feedforward_layernorm,
    ];
    norms.into_iter().flatten().for_each(|norm| move_norm(norm, device));
    if let Some(norms) = &mut layer.self_attn.qk_norm {
        move_norm(&mut norms.q_norm, device);
        move_norm(&mut norms.k_norm, device);
    }
}

/// The same model with every second layer on another device.
fn split(model: &Model, device: &Device) -> Model {
    let mut model = model.clone();
    model.layers.iter_mut().skip(1).step_by(2).for_each(|layer| move_layer(layer, device));
    model
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().unwrap()
}

/// Logits of a whole pass, of a pass in two parts with a cache, and of an edited model; sums of a backward pass.
fn all_of(model: &Model) -> Vec<Vec<f32>> {
    let whole = model.forward(&IDS, None, Positions::All, &mut Probe::empty());
    let mut cache = KvCache::default();
    let first = model.forward(&IDS[..4], Some(&mut cache), Positions::Last, &mut Probe::empty());
    let second = model.forward(&IDS[4..], Some(&mut cache), Positions::Last, &mut Probe::empty());
    let targets = [EditTarget::channel(1, 3), EditTarget::row(2, 1), EditTarget::scalar(0, 2, 3)];
    let weight_edits = targets.map(|target| WeightEdit { target, scale: 0.0 }).to_vec();
    let edited = model.with_ablation(&Ablation { weight_edits, ..Ablation::default() }).unwrap();
    let edited = edited.forward(&IDS, None, Positions::All, &mut Probe::empty());
    let sums = pollster::block_on(sequence_sums(model, &IDS, Limits { kept_bytes: 1, ..Limits::default() })).unwrap();
    let sums = sums.layers.into_iter().flat_map(|layer| [layer.channels, layer.input_squares]);
    [whole, first, second, edited].map(floats).into_iter().chain(sums).collect()
}

#[track_caller]
fn assert_near(name: &str, computed: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(computed.len(), expected.len());
    for (index, (computed, expected)) in computed.iter().zip(expected).enumerate() {
        let largest = expected.iter().fold(1e-6_f32, |largest, value| largest.max(value.abs()));
        let apart = computed.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(computed.len() == expected.len() && apart <= 1e-4 * largest, "{name}, {index}: {apart} of {largest}");
    }
}

#[test]
fn layers_on_two_gpu_devices_compute_what_one_device_does() {
    on_gpu(|gpu| {
        // A second device of the software renderer, with its own memory and queue.
        let other = Device::wgpu_options().device_kind(DeviceKind::Cpu).graphics_api(WgpuBackend::Vulkan).init();
        let other = other.expect("this test needs Mesa's lavapipe: install mesa-vulkan-drivers");
        assert_ne!(other, gpu.device);
        for name in ["llama", "gpt2", "gemma3"] {
            let one = model_on(name, &gpu.device);
            let two = split(&one, &other);
            assert_eq!([0, 1, 2].map(|layer| two.layers[layer].device() == gpu.device), [true, false, true]);
            let (computed, expected) = (all_of(&two), all_of(&one));
            match gpu.is_software {
                true => assert_eq!(computed, expected, "{name}"),
                // The first device is a real GPU, which rounds differently.
                false => assert_near(name, &computed, &expected),
            }
            let plan = DecodePlan::new(&DecodeGpu::new(gpu.handles.clone()), &two, &[], &[], 8);
            assert!(plan.err().expect("a plan is of one device").to_string().contains("several devices"));
        }
    });
}

#[test]
fn layers_on_cpu_and_gpu_compute_what_the_cpu_does() {
    on_gpu(|gpu| {
        for name in ["llama", "gpt-neox"] {
            let one = model_on(name, &Device::flex());
            let two = split(&one, &gpu.device);
            assert_near(name, &all_of(&two), &all_of(&one));
        }
    });
}
