//! Tables in chunks of rows compared with whole ones: operations, loading, and all computations of a model.

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::bf16;
use linchpin::analysis::backward::{Limits, sequence_sums};
use linchpin::analysis::eval::{HeldOut, evaluate};
use linchpin::analysis::loss::mean_loss;
use linchpin::analysis::prefix::Prefixes;
use linchpin::engine::verify;
use linchpin::engine::verify::relative_error;
use linchpin::job::control::Control;
use linchpin::loading::LoadingError;
use linchpin::model::Positions;
use linchpin::model::probe::Probe;
use linchpin::tensors::{CHUNK_UNIT, DeviceError, Packed, Table, Weight, chunk_rows, largest_buffer};
use linchpin::terms::Ablation;
use safetensors::SafeTensors;

use crate::support::{Copy, file, fixture, fixtures, in_chunks_of, load_within, model_in, on_vulkan, whole_and_in_chunks};

const TOLERANCE: f32 = 1e-6;
/// As for the families against transformers (tests/reference.rs).
const GOLDEN_TOLERANCE: f32 = 1e-4;
const IDS: [u32; 10] = [1, 17, 64, 9, 250, 3, 99, 180, 7, 63];

/// Numbers between -2 and 2 that bf16 holds exactly, some of them -0.
fn value(index: usize) -> f32 {
    if index % 11 == 3 { -0.0 } else { bf16::from_f32((index as f32 * 0.7).sin() * 2.0).to_f32() }
}

fn weight(rows: std::ops::Range<usize>, cols: usize, packed: bool, device: &Device) -> Weight {
    let n = rows.len();
    let values = (rows.start * cols..rows.end * cols).map(value).collect::<Vec<_>>();
    if packed {
        let bits = |value: f32| i32::from(bf16::from_f32(value).to_bits());
        let words = values.as_chunks().0.iter().map(|[low, high]| bits(*low) | bits(*high) << 16).collect::<Vec<_>>();
        return Weight::Bf16(Packed { words: Tensor::<2, Int>::from_data(TensorData::new(words, [n, cols / 2]), device) });
    }
    Weight::F32(Tensor::from_data(TensorData::new(values, [n, cols]), device))
}

/// The same table, whole and cut.
fn tables(rows: usize, cols: usize, step: usize, packed: bool, device: &Device) -> [Table; 2] {
    let chunks = (0..rows).step_by(step).map(|first| weight(first..(first + step).min(rows), cols, packed, device));
    [weight(0..rows, cols, packed, device).into(), Table::from_chunks(chunks.collect())]
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn bits(tensor: Tensor<2>) -> ([usize; 2], Vec<u32>) {
    (tensor.dims(), floats(tensor).into_iter().map(f32::to_bits).collect())
}

/// Runs a test on the CPU in f32, and on a GPU in both forms.
fn on_all(test: impl Fn(&Device, bool)) {
    test(&Device::flex(), false);
    on_vulkan(|gpu| [false, true].into_iter().for_each(|packed| test(gpu, packed)));
}

#[test]
fn rows_of_chunks_are_those_of_the_whole_bit_for_bit() {
    on_all(|device, packed| {
        for (rows, cols, step) in [(150, 6, 64), (128, 8, 64), (23, 10, 4), (9, 4, 8)] {
            let [whole, cut] = tables(rows, cols, step, packed, device);
            assert_eq!((cut.dims(), cut.chunks().count()), (whole.dims(), rows.div_ceil(step)));
            let last = rows as u32 - 1;
            let all = (0..=last).collect::<Vec<_>>();
            let reversed = all.iter().rev().copied().collect();
            let mixed = (0..50).map(|i| i * 37 % (last + 1)).collect();
            for ids in [all, reversed, mixed, vec![last], vec![0, 0], vec![last, 0, last, 1, last - 1]] {
                assert_eq!(bits(cut.select_rows(&ids)), bits(whole.select_rows(&ids)), "{rows} rows by {step}: {ids:?}");
            }
            for range in [0..rows, 0..1, rows - 1..rows, step - 1..step + 1, step..rows, 0..step] {
                assert_eq!(bits(cut.slice_rows(range.clone())), bits(whole.slice_rows(range.clone())), "{rows} rows by {step}: {range:?}");
            }
        }
    });
}

#[test]
fn products_with_chunks_are_those_with_the_whole_and_so_are_their_gradients() {
    on_all(|device, packed| {
        for (seq, rows, cols, step) in [(1, 150, 48, 64), (5, 300, 36, 64), (70, 1000, 64, 192), (3, 23, 10, 4), (2, 9, 6, 8)] {
            let x =
                Tensor::<2>::from_data(TensorData::new((0..seq * cols).map(|i| value(7 * i + 1)).collect::<Vec<_>>(), [seq, cols]), device);
            let of_y =
                Tensor::<2>::from_data(TensorData::new((0..seq * rows).map(|i| value(5 * i + 2)).collect::<Vec<_>>(), [seq, rows]), device);
            let [whole, cut] = tables(rows, cols, step, packed, device).map(|table| {
                let leaf = x.clone().autodiff().require_grad();
                let y = table.product(leaf.clone());
                assert_eq!(y.dims(), [seq, rows]);
                let grads = (y.clone() * of_y.clone().autodiff()).sum().backward();
                [floats(y.inner()), floats(leaf.grad(&grads).unwrap())]
            });
            // A gradient sums over all rows, in another order.
            let gradient = ("gradient", cols, &cut[1], &whole[1], 5.0 * TOLERANCE);
            for (what, width, cut, whole, tolerance) in [("y", rows, &cut[0], &whole[0], TOLERANCE), gradient] {
                let error = relative_error(cut, whole, width);
                assert!(error <= tolerance, "{what} of {rows} rows by {step}: {error}");
            }
        }
    });
}

/// Every family, loaded with a limit below its tables' size.
fn check_families(device: &Device, in_bf16: bool) {
    for name in &fixtures() {
        // Tests on several devices run at once.
        let test = format!("tables-{:?}", std::thread::current().id());
        let copy = if in_bf16 { Copy::in_bf16(name, &test) } else { Copy::of(name, &test) };
        let ([whole, cut], _) = whole_and_in_chunks(copy.dir(), device);
        assert_eq!((whole.embed_tokens.chunks().count(), whole.lm_head.weight.chunks().count()), (1, 1), "{name}");
        let n_chunks = (cut.embed_tokens.chunks().count(), cut.lm_head.weight.chunks().count());
        assert!(n_chunks.0 > 2 && n_chunks.1 == n_chunks.0, "{name}: chunks {n_chunks:?}");

        let [whole_logits, cut_logits] = [&whole, &cut].map(|model| floats(model.forward(&IDS, None, Positions::All, &mut Probe::empty())));
        let error = relative_error(&cut_logits, &whole_logits, whole.config.vocab_size);
        assert!(error <= TOLERANCE, "{name}: logits off by {error}");
        // The backward pass for scores.
        let [whole_sums, cut_sums] = [&whole, &cut].map(|model| {
            let sums = pollster::block_on(sequence_sums(model, &IDS, Limits::default())).unwrap();
            sums.layers.into_iter().map(|layer| layer.channels).collect::<Vec<_>>()
        });
        for (layer, (cut, whole)) in cut_sums.iter().zip(&whole_sums).enumerate() {
            let error = relative_error(cut, whole, whole.len() / linchpin::tensors::N_CHANNEL_SUMS);
            assert!(error <= 10.0 * TOLERANCE, "{name}: sums of layer {layer} off by {error}");
        }
        if !in_bf16 {
            let golden = file(&fixture(name).join("golden.safetensors"));
            for error in pollster::block_on(verify::compare(&cut, &golden)).unwrap() {
                assert!(error.relative <= GOLDEN_TOLERANCE, "{name}: {error:?}");
            }
        }
    }
}

#[test]
fn families_with_tables_in_chunks_compute_the_same_on_the_cpu() {
    check_families(&Device::flex(), false);
}

#[test]
fn families_with_tables_in_chunks_compute_the_same_on_the_gpu() {
    on_vulkan(|gpu| {
        check_families(gpu, false);
        check_families(gpu, true);
    });
}

#[test]
fn learned_positions_may_be_in_chunks() {
    on_all(|device, packed| {
        let copy = if packed { Copy::in_bf16("gpt2", "tables-positions") } else { Copy::of("gpt2", "tables-positions") };
        let ([whole, mut cut], _) = whole_and_in_chunks(copy.dir(), device);
        cut.embed_positions = cut.embed_positions.as_ref().map(|table| in_chunks_of(table, 5));
        let [whole, cut] = [whole, cut].map(|model| bits(model.forward(&IDS, None, Positions::Last, &mut Probe::empty())));
        assert_eq!(cut.0, whole.0);
        let [whole, cut] = [whole, cut].map(|(_, bits)| bits.into_iter().map(f32::from_bits).collect::<Vec<_>>());
        assert!(relative_error(&cut, &whole, whole.len()) <= TOLERANCE);
    });
}

/// A chunk has at least some rows, and a layer's matrix is never cut.
#[test]
fn limit_that_leaves_no_room_is_refused_with_what_is_needed() {
    let cpu = Device::flex();
    for (name, needed) in [("llama3", 4 * 48 * 80), ("gpt2-hub", 4 * 16 * CHUNK_UNIT as u64)] {
        let (_, limit) = whole_and_in_chunks(&fixture(name), &cpu);
        assert_eq!(limit, needed, "{name}");
        match load_within(&fixture(name), &cpu, limit - 1) {
            Err(LoadingError::Device(DeviceError::GpuTooSmall { needed, limit: told })) => {
                assert_eq!((needed, told), (limit, limit - 1), "{name}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// More than WebGPU, and many GPUs, allow to bind: the number of chunks depends on the device.
#[test]
fn table_larger_than_a_buffer_is_loaded_onto_the_gpu() {
    const VOCAB: usize = 1_500_000;
    const COLS: usize = 48;
    let table = "model.embed_tokens.weight";
    let copy =
        Copy::of("llama3", "tables-large").with_tensors(|name, shape| if name == table { vec![VOCAB, COLS] } else { shape.to_vec() });
    copy.edit_config(|config| config["vocab_size"] = VOCAB.into());
    copy.edit("model.safetensors", |bytes| {
        let (header, metadata) = SafeTensors::read_metadata(bytes).unwrap();
        let begin = 8 + header + metadata.info(table).unwrap().data_offsets.0;
        let values = bytes[begin..begin + 2 * VOCAB * COLS].as_chunks_mut().0;
        let hashed = |index: usize| (index as u32).wrapping_mul(2_654_435_761) >> 16;
        values
            .iter_mut()
            .enumerate()
            .for_each(|(index, value)| *value = bf16::from_f32(hashed(index) as f32 / 32_768.0 - 1.0).to_le_bytes());
    });
    on_vulkan(|gpu| {
        let [on_gpu, on_cpu] = [gpu, &Device::flex()].map(|device| model_in(copy.dir(), device));
        let expected = VOCAB.div_ceil(chunk_rows(VOCAB, COLS, 2, largest_buffer(gpu).unwrap()));
        assert_eq!((on_gpu.embed_tokens.chunks().count(), on_cpu.embed_tokens.chunks().count()), (expected, 1));
        let [ours, stock] = [&on_gpu, &on_cpu].map(|model| {
            let ids = [1, 700_000, 750_016, 1_499_999, 5, 749_999];
            floats(model.forward(&ids, None, Positions::All, &mut Probe::empty()))
        });
        assert!(relative_error(&ours, &stock, VOCAB) <= GOLDEN_TOLERANCE);
        // 138 MB of logits.
        let ids = (0..24).map(|i| i * 62_501 % VOCAB as u32).collect::<Vec<_>>();
        let expected = floats(mean_loss(&on_cpu, &ids, &mut Probe::empty()))[0];
        let text = HeldOut { passages: vec![ids], stopword_ids: vec![3], convention: "concat".into() };
        let measured =
            pollster::block_on(evaluate(&on_gpu, &Ablation::default(), &text, &mut Prefixes::none(), &Control::silent(), |_| ())).unwrap();
        assert!((measured.loss_nats / expected - 1.0).abs() < 1e-5, "{} is not {expected}", measured.loss_nats);
    });
}
