//! The kernels of `src/tensors` compared with their definitions in stock operations, forward and backward, on a
//! Vulkan device; and the hand-written gradients compared with central differences.

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::bf16;
use linchpin::engine::verify::relative_error;
use linchpin::tensors::{self, Packed, Weight};

use crate::support::on_vulkan;

const TOLERANCE: f32 = 5e-5;
/// More rows than workgroups along one side of a grid.
const MANY_ROWS: usize = 32_770;

/// Numbers between -1 and 1 that depend only on `seed`.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    let n = shape.iter().product();
    Tensor::from_data(TensorData::new(numbers(n, seed), shape), device)
}

/// The same bf16 numbers on a device: packed or in f32.
fn weight(rows: usize, cols: usize, packed: bool, device: &Device) -> Weight {
    let values = numbers(rows * cols, 99).into_iter().map(bf16::from_f32).collect::<Vec<_>>();
    if packed {
        let words = values.as_chunks().0.iter().map(|[low, high]| i32::from(low.to_bits()) | i32::from(high.to_bits()) << 16);
        let data = TensorData::new(words.collect::<Vec<_>>(), [rows, cols / 2]);
        return Weight::Bf16(Packed { words: Tensor::<2, Int>::from_data(data, device) });
    }
    let values = values.into_iter().map(bf16::to_f32).collect::<Vec<_>>();
    Weight::F32(Tensor::from_data(TensorData::new(values, [rows, cols]), device))
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// The result of an operation, and the gradient of `Σ y · weights` with regard to each input.
fn with_gradients<const D: usize>(inputs: &[Tensor<D>], operation: impl Fn(&[Tensor<D>]) -> Tensor<D>) -> Vec<Vec<f32>> {
    let leaves = inputs.iter().map(|input| input.clone().autodiff().require_grad()).collect::<Vec<_>>();
    let y = operation(&leaves);
    let weights = tensor(y.dims(), 7, &y.device().without_autodiff()).autodiff();
    let grads = (y.clone() * weights).sum().backward();
    let gradients = leaves.iter().map(|leaf| floats(leaf.grad(&grads).unwrap()));
    std::iter::once(floats(y.inner())).chain(gradients).collect()
}

/// Runs the same on the CPU and on the GPU, and compares all results.
#[track_caller]
fn same_on_both(name: &str, gpu: &Device, compute: impl Fn(&Device) -> Vec<Vec<f32>>) {
    let (ours, stock) = (compute(gpu), compute(&Device::flex()));
    assert_eq!(ours.len(), stock.len());
    for (index, (ours, stock)) in ours.iter().zip(&stock).enumerate() {
        let error = relative_error(ours, stock, stock.len());
        assert!(error <= TOLERANCE, "{name}, result {index}: {error}");
    }
}

#[test]
fn products_are_those_of_the_cpu() {
    on_vulkan(|gpu| {
        // The last ones are large enough for the larger tiles, including sizes that are not divisible by four.
        for (m, k, n) in [
            (1, 4, 6),
            (3, 68, 36),
            (5, 6, 10),
            (70, 132, 66),
            (64, 64, 128),
            (130, 256, 64),
            (2, 512, 1000),
            (100, 36, 4100),
            (70, 66, 4098),
            (300, 40, 12_000),
            (300, 42, 12_002),
        ] {
            for transposed in [true, false] {
                for packed in [false, true] {
                    same_on_both(&format!("{m} x {k} x {n}, transposed {transposed}, packed {packed}"), gpu, |device| {
                        let (rows, cols) = if transposed { (n, k) } else { (k, n) };
                        let packed = packed && tensors::packs(device);
                        let weight = weight(rows, cols, packed, device);
                        with_gradients(&[tensor([m, k], 1, device)], |x| weight.product(x[0].clone(), transposed))
                    });
                }
            }
        }
    });
}

#[test]
fn norms_are_those_of_the_cpu() {
    on_vulkan(|gpu| {
        for (rows, width) in [(1, 5), (3, 64), (7, 577), (MANY_ROWS, 2)] {
            same_on_both(&format!("{rows} x {width}"), gpu, |device| {
                let weight = tensor([width], 3, device);
                with_gradients(&[tensor([rows, width], 1, device)], |x| tensors::rms_norm(x[0].clone(), &weight, 1e-5))
            });
        }
    });
}

#[test]
fn rotations_are_those_of_the_cpu_for_interleaved_heads() {
    on_vulkan(|gpu| {
        // Whole heads, and a part of each.
        for dim in [16, 10] {
            same_on_both(&format!("rotate {dim} of 16"), gpu, |device| {
                let (cos, sin) = (tensor([1, 9, dim], 3, device), tensor([1, 9, dim / 2], 4, device));
                let signed_sin = Tensor::cat(vec![-sin.clone(), sin], 2);
                let rotate = |x: &[Tensor<3>]| tensors::rotate(x[0].clone().swap_dims(0, 1), &cos, &signed_sin);
                with_gradients(&[tensor([9, 3, 16], 1, device)], rotate)
            });
        }
    });
}

/// A causal mask: 0 where a position may look, -1e9 where it must not.
fn causal(seq: usize, total: usize, device: &Device) -> Tensor<2> {
    let hidden = |i: usize| i % total > i / total + total - seq;
    let mask = (0..seq * total).map(|i| if hidden(i) { -1e9_f32 } else { 0.0 }).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(mask, [seq, total]), device)
}

#[test]
fn attention_is_that_of_the_cpu() {
    on_vulkan(|gpu| {
        // The last ones have enough heads for the larger tiles, forward and backward.
        for (heads, kv_heads, seq, total, head_dim) in [
            (1, 1, 1, 1, 4),
            (6, 2, 17, 40, 6),
            (4, 4, 70, 70, 16),
            (9, 3, 5, 300, 64),
            (36, 9, 130, 170, 20),
            (33, 33, 70, 170, 18),
            (100, 100, 70, 130, 6),
        ] {
            same_on_both(&format!("{heads}, {kv_heads} x {seq} x {total} x {head_dim}"), gpu, |device| {
                let mask = causal(seq, total, device);
                let inputs = [
                    tensor([heads, seq, head_dim], 1, device) * 3.0,
                    tensor([kv_heads, total, head_dim], 2, device),
                    // The layout after a projection: heads interleaved.
                    tensor([total, kv_heads, head_dim], 3, device).swap_dims(0, 1),
                ];
                with_gradients(&inputs, |x| attend(x, &mask))
            });
        }
    });
}

/// Attention on the inputs' three tensors.
fn attend(x: &[Tensor<3>], mask: &Tensor<2>) -> Tensor<3> {
    tensors::attention(x[0].clone(), x[1].clone(), x[2].clone(), mask, 0.7).unsqueeze()
}

#[test]
fn gates_are_those_of_the_cpu() {
    on_vulkan(|gpu| {
        same_on_both("silu_gate", gpu, |device| {
            let inputs = [tensor([5, 77], 1, device) * 30.0, tensor([5, 77], 2, device)];
            with_gradients(&inputs, |x| tensors::silu_gate(x[0].clone(), x[1].clone()))
        });
    });
}

#[test]
fn losses_are_those_of_the_cpu() {
    on_vulkan(|gpu| {
        for (rows, vocab) in [(1, 7), (4, 1000), (MANY_ROWS, 2)] {
            same_on_both(&format!("{rows} x {vocab}"), gpu, |device| {
                let targets = (0..rows).map(|row| (row * 389 % vocab) as i32).collect::<Vec<_>>();
                let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [rows]), device);
                let logits = tensor([rows, vocab], 1, device) * 10.0;
                let mask = tensor([vocab], 5, device);
                let mut all = with_gradients(std::slice::from_ref(&logits), |x| tensors::cross_entropy(x[0].clone(), targets.clone()));
                all.push(floats(tensors::softmax_mass(logits, &mask)));
                all
            });
        }
    });
}

#[test]
fn channel_sums_are_those_of_the_cpu_and_of_the_formulas() {
    on_vulkan(|gpu| {
        for (rows, width) in [(1, 1), (5, 3), (70, 33), (130, 448)] {
            let (u, grad) = (numbers(rows * width, 1), numbers(rows * width, 2));
            let mut expected = vec![0.0_f64; tensors::N_CHANNEL_SUMS * width];
            for (index, (u, g)) in u.iter().zip(&grad).map(|(u, g)| (f64::from(*u), f64::from(*g))).enumerate() {
                let row = |n: usize| n * width + index % width;
                expected[row(0)] += u;
                expected[row(1)] += u * u;
                expected[row(2)] = expected[row(2)].max(u.abs());
                expected[row(3)] += g * g;
                expected[row(4)] += (u * g).abs();
                expected[row(5)] += (u * g) * (u * g);
            }
            let expected = expected.into_iter().map(|value| value as f32).collect::<Vec<_>>();
            for device in [gpu, &Device::flex()] {
                let [u, grad] = [&u, &grad].map(|x| Tensor::from_data(TensorData::new(x.clone(), [rows, width]), device));
                let error = relative_error(&floats(tensors::channel_sums(u, grad)), &expected, width);
                assert!(error <= TOLERANCE, "{rows} x {width}: {error}");
            }
        }
    });
}

#[test]
fn tap_changes_nothing_and_leaves_the_channel_sums_behind() {
    on_vulkan(|gpu| {
        for device in [gpu, &Device::flex()] {
            let (x, factor) = (tensor([5, 40], 1, device), tensor([5, 40], 2, device));
            let sink = || Tensor::<2>::zeros([tensors::N_CHANNEL_SUMS, 40], device).autodiff().require_grad();
            let (leaf, sinks) = (x.clone().autodiff().require_grad(), [sink(), sink()]);
            // Nothing before the first one needs a gradient.
            let first = tensors::tap(x.clone(), &sinks[0]);
            let y = tensors::tap(first + leaf.clone(), &sinks[1]);
            assert_eq!(floats(y.clone().inner()), floats(x.clone() * 2.0));
            let mut grads = (y * factor.clone().autodiff()).sum().backward();
            assert_eq!(floats(leaf.grad(&grads).unwrap()), floats(factor.clone()));
            for (sink, u) in sinks.iter().zip([x.clone(), x.clone() * 2.0]) {
                let sums = floats(sink.grad_remove(&mut grads).unwrap());
                assert_eq!(sums, floats(tensors::channel_sums(u, factor.clone())));
            }
        }
    });
}

#[test]
fn peaks_are_the_largest_magnitudes_and_of_equals_the_first() {
    on_vulkan(|gpu| {
        for device in [gpu, &Device::flex()] {
            let mut values = numbers(4 * 700, 1);
            (values[650], values[20], values[1400 + 3]) = (-8.0, 8.0, -9.0);
            values[2100..].fill(0.0);
            let (peaks, columns) = tensors::peaks(Tensor::from_data(TensorData::new(values.clone(), [4, 700]), device));
            let columns = columns.into_data().convert::<i32>().try_into_vec::<i32>().unwrap();
            let peaks = floats(peaks);
            assert_eq!((columns[0], columns[2], columns[3]), (20, 3, 0));
            assert_eq!((peaks[0], peaks[2]), (8.0, -9.0));
            for (i, row) in values.chunks(700).enumerate() {
                assert_eq!(peaks[i], row[columns[i] as usize], "row {i}");
                assert_eq!(peaks[i].abs(), row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs())), "row {i}");
            }
        }
    });
}

#[test]
fn nan_peak_is_seen_on_the_gpu() {
    on_vulkan(|gpu| {
        let mut values = numbers(2 * 700, 1);
        (values[300], values[301], values[700 + 699]) = (f32::INFINITY, f32::NAN, f32::NEG_INFINITY);
        let (peaks, columns) = tensors::peaks(Tensor::from_data(TensorData::new(values, [2, 700]), gpu));
        assert_eq!(columns.into_data().convert::<i32>().try_into_vec::<i32>().unwrap(), [301, 699]);
        let peaks = floats(peaks);
        assert!(peaks[0].is_nan() && peaks[1] == f32::NEG_INFINITY, "{peaks:?}");
    });
}

#[test]
fn more_words_than_a_side_of_a_grid_reaches_are_unpacked() {
    on_vulkan(|gpu| {
        let (rows, cols) = (4100, 4096);
        let expected = numbers(rows * cols, 99).into_iter().map(|value| bf16::from_f32(value).to_f32());
        let got = floats(weight(rows, cols, true, gpu).to_f32());
        assert_eq!(got.iter().copied().zip(expected).position(|(got, expected)| got != expected), None);
        assert_eq!(got.len(), rows * cols);
    });
}

/// Every kind of edit, on the packed matrix and on the same values in f32, bit for bit.
#[test]
fn packed_weights_are_edited_as_those_in_f32() {
    on_vulkan(|gpu| {
        let (rows, cols) = (6, 10);
        let edits =
            [(2..3, 4..5, 0.0), (2..3, 7..8, 0.0), (3..4, 0..cols, 0.0), (0..rows, 5..6, 0.0), (1..2, 1..2, 0.3), (0..rows, 2..3, -2.0)];
        for (edited_rows, edited_cols, scale) in edits {
            let [mut packed, mut plain] = [true, false].map(|packed| weight(rows, cols, packed, gpu));
            let intact = packed.clone();
            for weight in [&mut packed, &mut plain] {
                weight.scale(edited_rows.clone(), edited_cols.clone(), scale);
            }
            assert_eq!(floats(packed.to_f32()), floats(plain.to_f32()), "{edited_rows:?} {edited_cols:?} {scale}");
            assert_eq!(matches!(packed, Weight::Bf16(_)), scale == 0.0);
            assert_eq!(floats(intact.to_f32()), floats(weight(rows, cols, false, gpu).to_f32()), "the intact one changed");
            let block = |weight: &Weight| floats(weight.block(edited_rows.clone(), edited_cols.clone()));
            assert_eq!(block(&intact), block(&weight(rows, cols, false, gpu)));
        }
        let [mut packed, mut plain] = [true, false].map(|packed| weight(rows, cols, packed, gpu));
        packed.zero_flat(&[0, 13, 59]);
        plain.zero_flat(&[0, 13, 59]);
        assert_eq!(floats(packed.to_f32()), floats(plain.to_f32()));
        let ids = Tensor::<1, Int>::from_data([5, 0, 5], gpu);
        assert_eq!(floats(packed.select_rows(ids.clone())), floats(plain.select_rows(ids)));
    });
}

/// `(f(x + h) - f(x - h)) / 2h` of `Σ y · weights`, for each element of each input.
fn assert_central_differences<const D: usize>(name: &str, inputs: &[Tensor<D>], operation: impl Fn(&[Tensor<D>]) -> Tensor<D>) {
    let analytic = with_gradients(inputs, &operation);
    let value = |inputs: &[Tensor<D>]| {
        let y = operation(inputs);
        let weights = tensor(y.dims(), 7, &y.device());
        floats((y * weights).sum().reshape([1]))[0]
    };
    for (index, input) in inputs.iter().enumerate() {
        let data = floats(input.clone());
        let moved = |at: usize, by: f32| {
            let mut data = data.clone();
            data[at] += by;
            let mut inputs = inputs.to_vec();
            inputs[index] = Tensor::from_data(TensorData::new(data, input.dims()), &input.device());
            value(&inputs)
        };
        const H: f32 = 1e-2;
        let numeric = (0..data.len()).map(|at| (moved(at, H) - moved(at, -H)) / (2.0 * H)).collect::<Vec<_>>();
        let error = relative_error(&analytic[index + 1], &numeric, numeric.len());
        assert!(error < 5e-3, "{name}, input {index}: {error}\n{:?}\n{numeric:?}", analytic[index + 1]);
    }
}

#[test]
fn gradients_are_central_differences() {
    let cpu = Device::flex();
    let norm = tensor([6], 3, &cpu);
    assert_central_differences("rms_norm", &[tensor([2, 6], 1, &cpu)], |x| tensors::rms_norm(x[0].clone(), &norm, 1e-5));
    assert_central_differences("silu_gate", &[tensor([2, 3], 1, &cpu), tensor([2, 3], 2, &cpu)], |x| {
        tensors::silu_gate(x[0].clone(), x[1].clone())
    });
    let weight = weight(4, 6, false, &cpu);
    assert_central_differences("product", &[tensor([2, 6], 1, &cpu)], |x| weight.product(x[0].clone(), true));
    assert_central_differences("product, plain", &[tensor([2, 4], 1, &cpu)], |x| weight.product(x[0].clone(), false));
    let (cos, sin) = (tensor([1, 2, 4], 3, &cpu), tensor([1, 2, 2], 4, &cpu));
    let signed_sin = Tensor::cat(vec![-sin.clone(), sin], 2);
    for width in [4, 6] {
        let x = tensor([1, 2, width], 1, &cpu);
        assert_central_differences("rotate", &[x], |x| tensors::rotate(x[0].clone(), &cos, &signed_sin));
    }
    let mask = causal(2, 3, &cpu);
    let inputs = [tensor([2, 2, 4], 1, &cpu), tensor([1, 3, 4], 2, &cpu), tensor([1, 3, 4], 3, &cpu)];
    assert_central_differences("attention", &inputs, |x| attend(x, &mask));
    let targets = Tensor::<1, Int>::from_data([2, 0], &cpu);
    assert_central_differences("cross_entropy", &[tensor([2, 4], 1, &cpu)], |x| tensors::cross_entropy(x[0].clone(), targets.clone()));
}
