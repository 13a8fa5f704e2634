//! A matrix whose rows are looked up one by one, or all multiplied at once: embeddings, and the head.
//!
//! A table may be larger than a GPU allows a shader to bind (WebGPU guarantees 128 MiB), so it is stored in chunks of
//! whole rows, each a [`Weight`]. A layer's matrix is a single [`Weight`].

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::weight::Weight;

/// The unit of a chunk's rows. Chunks have a multiple of it, so that the next chunk's part of the logits begins at a
/// multiple of 256 bytes, where every GPU allows binding.
pub const CHUNK_UNIT: usize = 64;

/// A table of weights, `[rows, cols]`, row-major, in one chunk or several. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Table {
    chunks: Vec<Weight>,
    /// Rows of every chunk except the last, which may have fewer.
    step: usize,
}

/// Rows of a chunk if a buffer is limited to `limit` bytes: all if they fit, else a multiple of [`CHUNK_UNIT`] that
/// gives the fewest chunks of about equal size. 0 if not even [`CHUNK_UNIT`] rows fit.
pub fn chunk_rows(rows: usize, cols: usize, bytes_per_value: usize, limit: u64) -> usize {
    let of_row = (cols as u64).saturating_mul(bytes_per_value as u64).max(1);
    let fit = usize::try_from(limit / of_row).unwrap_or(usize::MAX);
    if rows <= fit {
        return rows;
    }
    match fit / CHUNK_UNIT * CHUNK_UNIT {
        0 => 0,
        fit => rows.div_ceil(rows.div_ceil(fit)).next_multiple_of(CHUNK_UNIT),
    }
}

impl From<Weight> for Table {
    fn from(weight: Weight) -> Self {
        let [step, _] = weight.dims();
        Self { chunks: vec![weight], step }
    }
}

impl Table {
    /// Creates a table of chunks of whole rows, in their order.
    ///
    /// # Panics
    ///
    /// If there are no chunks, if their widths differ, or if their numbers of rows differ (only the last may have
    /// fewer).
    pub fn from_chunks(chunks: Vec<Weight>) -> Self {
        let dims = chunks.iter().map(Weight::dims).collect::<Vec<_>>();
        let [step, cols] = dims[0];
        let is_last = |index| index + 1 == dims.len();
        let fits = |(index, [rows, width]): (usize, &[usize; 2])| *width == cols && (*rows == step || is_last(index) && *rows < step);
        assert!(dims.iter().enumerate().all(fits), "chunks of {dims:?} are no table");
        Self { chunks, step }
    }

    /// `[rows, cols]`.
    pub fn dims(&self) -> [usize; 2] {
        let [last, cols] = self.chunks.last().map_or([0, 0], Weight::dims);
        [(self.chunks.len() - 1) * self.step + last, cols]
    }

    pub fn device(&self) -> Device {
        self.split_last().0.device()
    }

    /// Each chunk, with the range of its rows.
    pub fn chunks(&self) -> impl Iterator<Item = (Range<usize>, &Weight)> {
        self.chunks.iter().enumerate().map(|(index, chunk)| {
            let first = index * self.step;
            (first..first + chunk.dims()[0], chunk)
        })
    }

    /// `x tableᵀ`, with gradients with regard to `x`.
    ///
    /// # Shapes
    ///
    /// `[seq, cols]` to `[seq, rows]`.
    pub fn product(&self, x: Tensor<2>) -> Tensor<2> {
        let (last, others) = self.split_last();
        let mut parts = others.iter().map(|chunk| chunk.product(x.clone(), true)).collect::<Vec<_>>();
        parts.push(last.product(x, true));
        joined(parts, 1)
    }

    /// Rows by index, in f32, bit for bit.
    ///
    /// # Shapes
    ///
    /// `[indices, cols]`.
    ///
    /// # Panics
    ///
    /// If the table has chunks and an index is outside it.
    pub fn select_rows(&self, indices: &[u32]) -> Tensor<2> {
        let (last, others) = self.split_last();
        let device = last.device();
        if others.is_empty() {
            return last.select_rows(on_device(indices.iter().copied(), &device));
        }
        // The rows are taken chunk by chunk, and then put in the requested order.
        let chunk_of = |at: &u32| indices[*at as usize] as usize / self.step;
        let mut order = (0..indices.len() as u32).collect::<Vec<_>>();
        order.sort_by_key(chunk_of);
        let parts = order.chunk_by(|a, b| chunk_of(a) == chunk_of(b)).map(|of_chunk| {
            let chunk = chunk_of(&of_chunk[0]);
            let local = of_chunk.iter().map(|at| indices[*at as usize] - (chunk * self.step) as u32);
            self.chunks[chunk].select_rows(on_device(local, &device))
        });
        let rows = joined(parts.collect(), 0);
        if order.is_sorted() {
            return rows;
        }
        let mut places = vec![0; order.len()];
        (0..).zip(&order).for_each(|(place, at)| places[*at as usize] = place);
        rows.select(0, on_device(places.into_iter(), &device))
    }

    /// Neighbouring rows, in f32.
    pub fn slice_rows(&self, rows: Range<usize>) -> Tensor<2> {
        let [_, cols] = self.dims();
        let parts = self.chunks().filter_map(|(of_chunk, chunk)| {
            let (first, end) = (rows.start.max(of_chunk.start), rows.end.min(of_chunk.end));
            (first < end).then(|| chunk.block(first - of_chunk.start..end - of_chunk.start, 0..cols))
        });
        joined(parts.collect(), 0)
    }

    fn split_last(&self) -> (&Weight, &[Weight]) {
        // There is at least one chunk.
        let n = self.chunks.len() - 1;
        (&self.chunks[n], &self.chunks[..n])
    }
}

/// Joins several tensors along `dim`; a single one stays as it is.
fn joined(mut parts: Vec<Tensor<2>>, dim: usize) -> Tensor<2> {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, dim) }
}

fn on_device(indices: impl Iterator<Item = u32>, device: &Device) -> Tensor<1, Int> {
    let indices = indices.map(u32::cast_signed).collect::<Vec<i32>>();
    let shape = [indices.len()];
    Tensor::from_data(TensorData::new(indices, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn table_that_fits_is_not_cut() {
        assert_eq!(chunk_rows(49_152, 576, 2, 128 * MIB), 49_152);
        assert_eq!(chunk_rows(10, 3, 4, 120), 10);
        assert_eq!(chunk_rows(usize::MAX, 1, 1, u64::MAX), usize::MAX);
    }

    #[test]
    fn table_that_does_not_fit_is_cut_into_the_fewest_chunks() {
        // gemma-3-270m and Llama-3.2-1B in bf16 with a limit of 128 MiB. In f32 the first would be five chunks
        // without the unit.
        for (rows, cols, bytes, n_chunks) in [(262_144, 640, 2, 3), (128_256, 2048, 2, 4), (262_144, 640, 4, 6)] {
            let step = chunk_rows(rows, cols, bytes, 128 * MIB);
            assert_eq!(rows.div_ceil(step), n_chunks);
            assert!((step * cols * bytes) as u64 <= 128 * MIB && step.is_multiple_of(CHUNK_UNIT), "{step}");
        }
        for (rows, fits) in (65..700).flat_map(|rows| (64..rows).map(move |fits| (rows, fits))) {
            let step = chunk_rows(rows, 3, 2, 6 * fits as u64 + 5);
            assert!((64..=fits).contains(&step) && step.is_multiple_of(64), "{rows} rows where {fits} fit: {step}");
            assert_eq!(rows.div_ceil(step), rows.div_ceil(fits / 64 * 64), "{rows} rows where {fits} fit: {step}");
        }
    }

    #[test]
    fn too_small_a_buffer_takes_no_rows() {
        assert_eq!(chunk_rows(100, 4, 4, 64 * 16 - 1), 0);
        assert_eq!(chunk_rows(100, 4, 4, 64 * 16), 64);
        // More rows than 64 bits can count.
        assert_eq!(chunk_rows(100, usize::MAX, 4, u64::MAX - 1), 0);
    }

    fn weight(rows: usize, cols: usize) -> Weight {
        Weight::F32(Tensor::zeros([rows, cols], &Device::flex()))
    }

    #[test]
    fn chunks_know_their_rows() {
        let table = Table::from_chunks(vec![weight(4, 3), weight(4, 3), weight(1, 3)]);
        assert_eq!(table.dims(), [9, 3]);
        assert_eq!(table.chunks().map(|(rows, _)| rows).collect::<Vec<_>>(), [0..4, 4..8, 8..9]);
        assert_eq!(Table::from(weight(5, 2)).dims(), [5, 2]);
    }

    #[test]
    fn chunks_that_are_no_table_are_refused() {
        for bad in [vec![(2, 3), (4, 3)], vec![(4, 3), (2, 3), (4, 3)], vec![(4, 3), (4, 2)], vec![]] {
            let made = std::panic::catch_unwind(|| Table::from_chunks(bad.iter().map(|(rows, cols)| weight(*rows, *cols)).collect()));
            assert!(made.is_err(), "{bad:?}");
        }
    }
}
