//! Changes the values of one tensor, rows at a time, in the type of its file.

use half::{bf16, f16};

use super::change::{Kept, TensorChange};
use super::error::SavingError;
use crate::weights::safetensors::{Dtype, TensorEntry};

/// A tensor that is being rewritten.
pub struct Rewrite<'a> {
    entry: &'a TensorEntry,
    change: &'a TensorChange,
    cols: usize,
    /// Rows seen so far.
    row: usize,
    pub n_changed: u64,
    pub n_rounded_back: u64,
}

impl<'a> Rewrite<'a> {
    /// Begins a tensor with `cols` columns, of a type that [`Dtype`] can hold in f32 exactly.
    pub fn new(entry: &'a TensorEntry, change: &'a TensorChange, cols: usize) -> Self {
        Self { entry, change, cols, row: 0, n_changed: 0, n_rounded_back: 0 }
    }

    /// The shape after the change.
    pub fn shape(&self) -> Vec<usize> {
        let mut shape = self.entry.shape.clone();
        for (axis, kept) in [&self.change.rows, &self.change.cols].into_iter().enumerate() {
            if let (Some(len), Some(kept)) = (shape.get_mut(axis), kept) {
                *len = kept.len();
            }
        }
        shape
    }

    /// Takes in the bytes of whole rows, and returns those to be written in their place.
    ///
    /// # Errors
    ///
    /// [`SavingError::TooLarge`].
    pub fn rows(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SavingError> {
        let (size, before) = (self.size(), widened(self.entry.dtype, bytes));
        let mut after = before.clone();
        self.scale(&mut after);
        if let Some(values) = &self.change.values {
            after.copy_from_slice(&values[self.row..self.row + before.len()]);
        }
        let mut changed = bytes.to_vec();
        for (index, (before, after)) in before.iter().zip(&after).enumerate().filter(|(_, (a, b))| a.to_bits() != b.to_bits()) {
            let (narrow, place) = (self.narrowed(*after, index)?, index * size..(index + 1) * size);
            match changed[place.clone()] == narrow {
                true => self.n_rounded_back += u64::from(before != after),
                false => self.n_changed += 1,
            }
            changed[place].copy_from_slice(&narrow);
        }
        let n = before.len() / self.cols;
        let written = self.selected(&changed, n);
        self.row += n;
        Ok(written)
    }

    fn scale(&self, values: &mut [f32]) {
        let rows = self.row..self.row + values.len() / self.cols;
        for step in &self.change.steps {
            let change = |value: &mut f32| *value = if step.scale == 0.0 { 0.0 } else { *value * step.scale };
            let chosen: &mut dyn Iterator<Item = usize> = match &step.rows {
                None => &mut rows.clone(),
                Some(chosen) => {
                    &mut chosen[chosen.partition_point(|row| *row < rows.start)..].iter().copied().take_while(|row| rows.contains(row))
                }
            };
            for row in chosen {
                let of_row = &mut values[(row - rows.start) * self.cols..][..self.cols];
                match &step.cols {
                    None => of_row.iter_mut().for_each(change),
                    Some(cols) => cols.iter().for_each(|col| change(&mut of_row[*col])),
                }
            }
        }
    }

    /// The rows and columns that a cut keeps, and its zeros.
    fn selected(&self, bytes: &[u8], n: usize) -> Vec<u8> {
        if self.change.rows.is_none() && self.change.cols.is_none() {
            return bytes.to_vec();
        }
        let (size, mut written) = (self.size(), Vec::with_capacity(bytes.len()));
        let width = self.change.cols.as_ref().map_or(self.cols, Kept::len) * size;
        for (index, row) in bytes.chunks(self.cols * size).enumerate().map(|(index, row)| (self.row + index, row)) {
            if self.change.rows.as_ref().is_none_or(|rows| rows.kept[index]) {
                match &self.change.cols {
                    None => written.extend_from_slice(row),
                    Some(cols) => select(row, size, cols, &mut written),
                }
            }
            // Padding follows the last row of its matrix.
            let pads = self.change.rows.as_ref().map_or(0, |rows| rows.pad_before(index + 1));
            written.resize(written.len() + pads * width, 0);
        }
        debug_assert_eq!(bytes.len(), n * self.cols * size);
        written
    }

    fn size(&self) -> usize {
        self.entry.dtype.size_bits() as usize / 8
    }

    /// A value in the tensor's type, rounded to nearest, ties to even.
    fn narrowed(&self, value: f32, index: usize) -> Result<Vec<u8>, SavingError> {
        let (bytes, is_finite) = match self.entry.dtype {
            Dtype::BF16 => (bf16::from_f32(value).to_le_bytes().to_vec(), bf16::from_f32(value).is_finite()),
            Dtype::F16 => (f16::from_f32(value).to_le_bytes().to_vec(), f16::from_f32(value).is_finite()),
            _ => (value.to_le_bytes().to_vec(), value.is_finite()),
        };
        let index = (self.row * self.cols + index) as u64;
        let too_large = || SavingError::TooLarge { name: self.entry.name.clone(), index, value, dtype: self.entry.dtype.name().into() };
        if is_finite { Ok(bytes) } else { Err(too_large()) }
    }
}

/// Appends the kept values of a row, and zeros at their places.
fn select(row: &[u8], size: usize, kept: &Kept, written: &mut Vec<u8>) {
    for (index, value) in row.chunks(size).enumerate() {
        if kept.kept[index] {
            written.extend_from_slice(value);
        }
        written.resize(written.len() + kept.pad_before(index + 1) * size, 0);
    }
}

/// The values as f32, exactly.
fn widened(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Step;
    use super::*;

    fn entry(dtype: Dtype, shape: &[usize]) -> TensorEntry {
        TensorEntry { name: "t".into(), dtype, shape: shape.into(), begin: 0, end: 0 }
    }

    fn step(rows: Option<Vec<usize>>, cols: Option<Vec<usize>>, scale: f32) -> Step {
        Step { rows, cols, scale }
    }

    /// Feeds `[n / cols, cols]` values in pieces of one row.
    fn rewritten(change: &TensorChange, cols: usize, values: &[f32]) -> (Vec<f32>, Vec<usize>) {
        let entry = entry(Dtype::F32, &[values.len() / cols, cols]);
        let mut rewrite = Rewrite::new(&entry, change, cols);
        let bytes = |row: &[f32]| row.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        let written = values.chunks(cols).flat_map(|row| rewrite.rows(&bytes(row)).unwrap()).collect::<Vec<_>>();
        (widened(Dtype::F32, &written), rewrite.shape())
    }

    #[test]
    fn steps_scale_their_block_in_their_order() {
        let steps = vec![step(Some(vec![1]), None, 0.5), step(None, Some(vec![0, 2]), -2.0), step(Some(vec![0]), Some(vec![1]), 0.0)];
        let change = TensorChange { steps, ..TensorChange::default() };
        let (written, shape) = rewritten(&change, 3, &[1.0, -2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((written, shape), (vec![-2.0, 0.0, -6.0, -4.0, 2.5, -6.0], vec![2, 3]));
    }

    #[test]
    fn cuts_drop_lines_and_pad_behind_each_part() {
        // Two parts of two rows; the first loses a row, the second none, and both become two again.
        let rows = Some(Kept { kept: vec![true, false, true, true], pads: vec![(2, 1), (4, 0)] });
        let cols = Some(Kept { kept: vec![false, true, true], pads: vec![(3, 1)] });
        let change = TensorChange { rows, cols, ..TensorChange::default() };
        let values = (1..=12).map(|value| value as f32).collect::<Vec<_>>();
        let (written, shape) = rewritten(&change, 3, &values);
        assert_eq!(written, [2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 8.0, 9.0, 0.0, 11.0, 12.0, 0.0]);
        assert_eq!(shape, [4, 3]);
    }

    #[test]
    fn values_are_rounded_to_nearest_even_once_and_never_to_infinity() {
        let scale = |dtype, bytes: &[u8], scales: &[f32]| {
            let steps = scales.iter().map(|scale| step(None, None, *scale)).collect();
            let (entry, change) = (entry(dtype, &[1, 1]), TensorChange { steps, ..TensorChange::default() });
            let mut rewrite = Rewrite::new(&entry, &change, 1);
            let written = rewrite.rows(bytes).map_err(|error| error.to_string());
            (written.map(|bytes| widened(dtype, &bytes)[0]), rewrite.n_changed, rewrite.n_rounded_back)
        };
        let bf16_of = |value: f32| bf16::from_f32(value).to_le_bytes();
        // 1 + 2⁻⁷ is the bf16 after 1. Times 1 + 2⁻⁸ lies between two of them, a little above the middle.
        assert_eq!(scale(Dtype::BF16, &bf16_of(1.0), &[1.0 + 1.0 / 256.0]), (Ok(1.0), 0, 1), "a tie goes to the even one");
        assert_eq!(scale(Dtype::BF16, &bf16_of(1.0 + 1.0 / 128.0), &[1.0 + 1.0 / 256.0]).0, Ok(1.0 + 1.0 / 64.0));
        // Rounding after each step would leave 1.
        let twice = scale(Dtype::BF16, &bf16_of(1.0), &[1.0 + 1.0 / 512.0, 1.0 + 1.0 / 256.0]);
        assert_eq!(twice, (Ok(1.0 + 1.0 / 128.0), 1, 0));
        assert_eq!(scale(Dtype::F16, &f16::from_f32(-2.0).to_le_bytes(), &[0.0]), (Ok(0.0), 1, 0));
        let refused = scale(Dtype::F16, &f16::from_f32(60000.0).to_le_bytes(), &[3.0]).0.unwrap_err();
        assert_eq!(refused, "value 0 of tensor t would become 180000, which F16 cannot hold");
    }
}
