//! Models with bf16 matrices on a Vulkan device, compared with the same values in f32 on the CPU.

use burn::tensor::{Device, Tensor};
use linchpin::decode::{DecodeGpu, DecodePlan};
use linchpin::engine::verify::relative_error;
use linchpin::model::probe::Probe;
use linchpin::model::{Model, Positions};
use linchpin::protocol::{BackendChoice, Event, Request};
use linchpin::tensors::Weight;
use linchpin::terms::{Ablation, EditTarget, Matrix, Sampling, WeightEdit};
use safetensors::SafeTensors;

use crate::support::{Copy, Session, fixtures, load_in, model_in, on_gpu, on_vulkan};
use crate::the_event;

const TOLERANCE: f32 = 1e-4;
const EMBED_TOKENS: &str = "model.embed_tokens.weight";
const IDS: [u32; 10] = [1, 17, 42, 9, 250, 3, 99, 180, 7, 64];

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    values(model.forward(&IDS, None, Positions::All, &mut Probe::empty()))
}

#[track_caller]
fn assert_same_logits(name: &str, packed: &Model, plain: &Model) {
    let error = relative_error(&logits(packed), &logits(plain), plain.config.vocab_size);
    assert!(error <= TOLERANCE, "{name}: {error}");
}

/// Every matrix of the layers: its layer and name, `true` if it is packed, and its values.
fn matrices(model: &Model) -> Vec<((usize, Matrix), bool, Vec<f32>)> {
    let mut layers = model.layers.clone();
    let mut all = Vec::new();
    for (index, layer) in layers.iter_mut().enumerate() {
        for matrix in Matrix::ALL {
            if let Some(linear) = layer.matrix_mut(matrix) {
                all.push(((index, matrix), matches!(linear.weight, Weight::Bf16(_)), values(linear.weight.to_f32())));
            }
        }
    }
    all
}

/// Both models have the same values, bit for bit, and all matrices are packed except the named ones.
#[track_caller]
fn assert_same_matrices(name: &str, packed: &Model, plain: &Model, in_f32: &[(usize, Matrix)]) {
    for ((at, is_packed, packed), (_, _, plain)) in matrices(packed).into_iter().zip(matrices(plain)) {
        assert_eq!(is_packed, !in_f32.contains(&at), "{name}: {at:?}");
        assert_eq!(packed, plain, "{name}: {at:?}");
    }
}

fn ablation(edits: &[(EditTarget, f32)]) -> Ablation {
    let weight_edits = edits.iter().map(|(target, scale)| WeightEdit { target: *target, scale: *scale }).collect();
    Ablation { weight_edits, ..Ablation::default() }
}

/// A scalar in each half of a word, a row, a column and a channel.
fn zeroing() -> Ablation {
    let targets = [
        EditTarget::scalar(1, 5, 17),
        EditTarget::scalar(1, 6, 16),
        EditTarget::row(0, 3),
        EditTarget::column(2, 8),
        EditTarget::channel(2, 9),
    ];
    ablation(&targets.map(|target| (target, 0.0)))
}

/// Scales that turn two `down_proj` into f32, and a channel that is zeroed in one of them.
fn scaling() -> Ablation {
    ablation(&[(EditTarget::scalar(1, 5, 17), -3.0), (EditTarget::row(0, 3), 0.5), (EditTarget::channel(1, 9), 0.0)])
}

const SCALED: [(usize, Matrix); 2] = [(0, Matrix::DownProj), (1, Matrix::DownProj)];

fn on_both(copy: &Copy, gpu: &Device) -> [Model; 2] {
    [gpu, &Device::flex()].map(|device| model_in(copy.dir(), device))
}

#[test]
fn every_family_in_bf16_computes_what_the_cpu_computes() {
    on_vulkan(|gpu| {
        for name in &fixtures() {
            let copy = Copy::in_bf16(name, "packed-families");
            let [packed, plain] = [gpu, &Device::flex()].map(|device| load_in(copy.dir(), device).unwrap());
            assert_eq!(packed.largest, plain.largest, "{name}");
            assert_eq!((&packed.revision, packed.num_parameters), (&plain.revision, plain.num_parameters), "{name}");
            assert!(packed.weight_bytes < plain.weight_bytes * 11 / 20, "{name}: {} bytes", packed.weight_bytes);
            let (packed, plain) = (packed.model, plain.model);
            assert_same_matrices(name, &packed, &plain, &[]);
            assert_same_logits(name, &packed, &plain);
        }
    });
}

/// Both layouts; and undoing an edit leaves no trace.
#[test]
fn packed_models_are_edited_as_those_in_f32() {
    on_vulkan(|gpu| {
        for name in ["llama3", "gpt2"] {
            let [packed, plain] = on_both(&Copy::in_bf16(name, "packed-edits"), gpu);
            let before = logits(&packed);
            for (edits, in_f32) in [(zeroing(), &[][..]), (scaling(), &SCALED[..])] {
                let [packed, plain] = [&packed, &plain].map(|model| model.with_ablation(&edits).unwrap());
                assert_same_matrices(name, &packed, &plain, in_f32);
                assert_same_logits(name, &packed, &plain);
                assert_ne!(logits(&packed), before, "{name}: the edits did something");
            }
            let scalars =
                (0..3).flat_map(|layer| Matrix::ALL.into_iter().flat_map(move |matrix| [0, 13, 575].map(|flat| (layer, matrix, flat))));
            let scalars = scalars.collect::<Vec<_>>();
            let [zeroed, plain_zeroed] = [&packed, &plain].map(|model| model.with_zeroed(&scalars));
            assert_same_matrices(name, &zeroed, &plain_zeroed, &[]);
            assert_same_logits(name, &zeroed, &plain_zeroed);
            assert_same_matrices(name, &packed, &plain, &[]);
            assert_eq!(logits(&packed), before, "{name}: the intact model changed");
        }
    });
}

/// A model one channel narrower than its fixture, which has an even number of them.
fn narrower(name: &str) -> (Copy, Vec<(usize, Matrix)>) {
    let is_gpt2 = name == "gpt2";
    let (key, of_channels, odd) = match is_gpt2 {
        true => ("n_inner", ["mlp.c_fc.", "mlp.c_proj.weight"], vec![Matrix::UpProj]),
        false => ("intermediate_size", ["mlp.gate_proj.", "mlp.up_proj."], vec![Matrix::DownProj]),
    };
    let channels = if is_gpt2 { 4 * 24 } else { 80 };
    let copy = Copy::of(name, "packed-odd").with_tensors(|tensor, shape| {
        let has_channels = tensor.contains("mlp.down_proj.") || of_channels.iter().any(|part| tensor.contains(part));
        shape.iter().map(|size| if has_channels && *size == channels { channels - 1 } else { *size }).collect()
    });
    copy.edit_config(|config| config[key] = (channels - 1).into());
    let in_f32 = (0..3).flat_map(|layer| odd.iter().map(move |matrix| (layer, *matrix)).collect::<Vec<_>>()).collect();
    (copy, in_f32)
}

#[test]
fn matrix_of_an_odd_width_is_in_f32_among_packed_ones() {
    on_gpu(|gpu| {
        for name in ["llama3", "gpt2"] {
            let (copy, in_f32) = narrower(name);
            let [packed, plain] = on_both(&copy, &gpu.device);
            assert_same_matrices(name, &packed, &plain, &in_f32);
            assert_same_logits(name, &packed, &plain);
            for edits in [zeroing(), scaling()] {
                let [packed, plain] = [&packed, &plain].map(|model| model.with_ablation(&edits).unwrap());
                assert_same_logits(name, &packed, &plain);
            }
            // The decoding kernels read four values at a time, so such a model is decoded without them.
            assert!(DecodePlan::new(&DecodeGpu::new(gpu.handles.clone()), &packed, &[], &[], 8).is_err(), "{name}");
            let [on_gpu, on_cpu] = [BackendChoice::Gpu, BackendChoice::Cpu].map(|backend| {
                let mut session = Session::with_model_on(copy.dir(), backend);
                let sampling = Sampling { temperature: 0.0, max_new_tokens: 12, ..Sampling::default() };
                let request = Request::Generate { prompt: "the old man".into(), sampling };
                the_event!(session.ask(request).unwrap(), Event::Generated(record) => record.intact.token_ids)
            });
            assert_eq!(on_gpu, on_cpu, "{name}");
        }
    });
}

/// The place of a tensor's values in a file.
fn begin_of(file: &[u8], tensor: &str) -> usize {
    let (header, metadata) = SafeTensors::read_metadata(file).unwrap();
    8 + header + metadata.info(tensor).unwrap().data_offsets.0
}

#[test]
fn packed_weights_that_are_not_finite_are_refused_by_their_place() {
    const VOCAB: usize = 50_000;
    const LARGEST: u16 = 0x7f7f;
    on_vulkan(|gpu| {
        // More than the loader takes at once.
        let copy = Copy::of("llama3", "packed-nan")
            .with_tensors(|name, shape| if name == EMBED_TOKENS { vec![VOCAB, shape[1]] } else { shape.to_vec() });
        copy.edit_config(|config| config["vocab_size"] = VOCAB.into());
        let set = |index: usize, bits: u16| {
            copy.edit("model.safetensors", |bytes| {
                let at = begin_of(bytes, EMBED_TOKENS) + 2 * index;
                bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
            });
        };
        let last = 48 * VOCAB - 1;
        for (index, bits) in [(last, 0x7fc0), ((4 << 20) / 2, 0xff80), ((4 << 20) / 2 - 1, 0x7f80), (1, 0xff81)] {
            // Values that were set earlier come after it.
            set(index, bits);
            let error = load_in(copy.dir(), gpu).expect_err("a weight that is not finite").to_string();
            assert!(error.contains(&format!("value {index} is NaN or infinite, in tensor {EMBED_TOKENS}")), "{error}");
        }
        for index in [last, (4 << 20) / 2, (4 << 20) / 2 - 1, 1] {
            set(index, LARGEST);
        }
        assert!(load_in(copy.dir(), gpu).is_ok());
    });
}
