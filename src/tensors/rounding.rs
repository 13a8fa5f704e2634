//! Simulated quantisation: values rounded to the nearest of equally spaced levels, row by row, and kept as f32.

use burn::tensor::Tensor;

/// Rows longer than this are reduced in two steps: on a GPU one workgroup takes a row, and sums of parts are more
/// exact.
const PART: usize = 4096;

/// Rounds each row to the nearest of `2^bits` values from its least to its largest, asymmetric, including both ends:
///
/// ```text
/// d = (max x - min x) / (2^bits - 1),   q = round((x - min x) / d),   x' = d q + min x
/// ```
///
/// Halves are rounded to the even number, as in PyTorch. A constant row stays as it is.
///
/// # Shapes
///
/// `[rows, width]` to the same.
pub fn rounded_rows(x: Tensor<2>, bits: u32) -> Tensor<2> {
    let least = reduced(x.clone(), |x| x.min_dim(1));
    let largest = reduced(x.clone(), |x| x.max_dim(1));
    let step = (largest - least.clone()) / f64::from((1_u32 << bits) - 1);
    // Every q of a constant row is 0 for any divisor.
    let divisor = step.clone().mask_fill(step.clone().lower_equal_elem(0.0), 1.0);
    ((x - least.clone()) / divisor).round() * step + least
}

/// Clips each row to its own ±(mean|x| + z std|x|), with the unbiased deviation.
///
/// # Shapes
///
/// `[rows, width]` to the same.
pub fn clipped_rows(x: Tensor<2>, z: f32) -> Tensor<2> {
    let [rows, width] = x.dims();
    let magnitude = x.clone().abs();
    let mean = row_sums(magnitude.clone()) / width as f64;
    let centred = magnitude - mean.clone();
    let variance = row_sums(centred.clone() * centred) / (width.max(2) - 1) as f64;
    let bound = (mean + variance.sqrt() * z).expand([rows, width]);
    x.min_pair(bound.clone()).max_pair(bound.neg())
}

/// Sums each row: `[rows, width]` to `[rows, 1]`.
pub fn row_sums(x: Tensor<2>) -> Tensor<2> {
    reduced(x, |x| x.sum_dim(1))
}

/// Reduces each row, `[rows, width]` to `[rows, 1]`, by an operation that can be applied part by part.
fn reduced(x: Tensor<2>, by: impl Fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let part = 1 << width.trailing_zeros().min(PART.trailing_zeros());
    if width <= PART || part < 64 {
        return by(x);
    }
    let n_parts = width / part;
    by(by(x.reshape([rows * n_parts, part])).reshape([rows, n_parts]))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn rows<const N: usize>(rows: &[[f32; N]]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(rows.as_flattened().to_vec(), [rows.len(), N]), &Device::flex())
    }

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn rows_are_rounded_each_in_its_own_range() {
        // Steps of 1 from 0 to 3, and of 10 from -10 to 20; of two halves each goes to the even one.
        let x = rows(&[[0.0, 0.5, 1.5, 3.0], [-10.0, 4.0, 6.0, 20.0]]);
        assert_eq!(values(rounded_rows(x, 2)), [0.0, 0.0, 2.0, 3.0, -10.0, 0.0, 10.0, 20.0]);
    }

    #[test]
    fn constant_rows_stay_and_many_bits_change_little() {
        let x = rows(&[[0.3, 0.3, 0.3], [0.0, 0.0, 0.0], [-0.7, 0.1, 0.9]]);
        assert_eq!(values(rounded_rows(x.clone(), 3))[..6], values(x.clone())[..6]);
        for (ours, exact) in values(rounded_rows(x.clone(), 16)).into_iter().zip(values(x)) {
            assert!((ours - exact).abs() <= 0.5 * 1.6 / 65535.0 + 1e-7, "{ours} {exact}");
        }
    }

    #[test]
    fn rows_are_clipped_by_the_unbiased_deviation() {
        // |x| is 1, 1, 1, 5: mean 2, deviation 2.
        let clipped = values(clipped_rows(rows(&[[1.0, -1.0, 1.0, -5.0], [2.0, 2.0, 2.0, 2.0]]), 1.0));
        assert_eq!(clipped, [1.0, -1.0, 1.0, -4.0, 2.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn long_rows_are_reduced_in_parts_of_themselves() {
        let n = 3 * PART;
        let x = Tensor::<2>::from_data(TensorData::new((0..2 * n).map(|i| (i % 7) as f32).collect::<Vec<_>>(), [2, n]), &Device::flex());
        assert_eq!(values(row_sums(x.clone())), values(x.clone().sum_dim(1)));
        assert_eq!(values(reduced(x.clone(), |x| x.max_dim(1))), [6.0, 6.0]);
        // A length that is not divisible by a power of two.
        let x = x.slice([0..2, 0..n - 1]);
        assert_eq!(values(row_sums(x.clone())), values(x.sum_dim(1)));
    }
}
