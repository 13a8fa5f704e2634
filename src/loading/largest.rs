//! Finds the scalars of largest magnitude while the weights stream by: among all the layers' matrices, and in each
//! tensor.

use crate::model::edit::TENSOR_SHARE;
use crate::terms::Matrix;

/// The place of a scalar: layer, matrix, and index in the checkpoint's flat order.
pub type Place = (usize, Matrix, usize);

/// The scalars of largest magnitude seen so far.
#[derive(Debug, Default)]
pub struct Largest {
    overall: Top,
    /// The largest of the current tensor; `None` if it is too small to have any.
    current: Option<Top>,
    /// The largest of each earlier tensor.
    by_tensor: Vec<(f32, Place)>,
}

/// The largest of the magnitudes that were pushed.
#[derive(Debug, Default)]
struct Top {
    /// Number of scalars kept.
    limit: usize,
    found: Vec<(f32, Place)>,
    /// A magnitude must exceed this to be kept.
    threshold: f32,
}

impl Top {
    fn push(&mut self, magnitude: f32, place: Place) {
        if magnitude <= self.threshold {
            return;
        }
        self.found.push((magnitude, place));
        if self.found.len() >= 4 * self.limit.max(1) {
            self.trim();
        }
    }

    fn trim(&mut self) {
        self.found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        // If a file was read twice, each place occurs twice.
        self.found.dedup_by(|a, b| a.1 == b.1);
        self.found.truncate(self.limit);
        if let (Some((smallest, _)), true) = (self.found.last(), self.found.len() == self.limit) {
            self.threshold = *smallest;
        }
    }
}

impl Largest {
    /// Keeps the `limit` largest of all tensors together.
    pub fn up_to(limit: usize) -> Self {
        Self { overall: Top { limit, ..Top::default() }, ..Self::default() }
    }

    /// Begins a tensor of `n_scalars` scalars. A share of [`TENSOR_SHARE`], rounded down, is kept: none for a small
    /// tensor.
    pub fn begin_tensor(&mut self, n_scalars: usize) {
        self.end_tensor();
        let limit = (n_scalars as f64 * TENSOR_SHARE) as usize;
        self.current = (limit > 0).then(|| Top { limit, ..Top::default() });
    }

    fn end_tensor(&mut self) {
        if let Some(mut top) = self.current.take() {
            top.trim();
            self.by_tensor.append(&mut top.found);
        }
    }

    /// Takes in values of a matrix; `first` is the flat index of the first one.
    pub fn look_at(&mut self, (layer, matrix): (usize, Matrix), first: usize, values: &[f32]) {
        let mut threshold = self.threshold();
        for (index, value) in values.iter().enumerate() {
            if value.abs() > threshold {
                self.push(value.abs(), (layer, matrix, first + index));
                threshold = self.threshold();
            }
        }
    }

    /// Takes in bf16 values in the file's byte order, otherwise like [`Self::look_at`]. Stops at the first value that
    /// is NaN or infinite, and returns its index in `bytes`.
    pub fn look_at_bf16(&mut self, (layer, matrix): (usize, Matrix), first: usize, bytes: &[u8]) -> Option<usize> {
        let mut begin = 0;
        while let Some(at) = first_above(&bytes[2 * begin..], ((self.threshold().to_bits() >> 16) as u16).min(BF16_INFINITY - 1)) {
            let bits = magnitude(bytes, begin + at);
            if bits >= BF16_INFINITY {
                return Some(begin + at);
            }
            self.push(f32::from_bits(u32::from(bits) << 16), (layer, matrix, first + begin + at));
            begin += at + 1;
        }
        None
    }

    /// The magnitude that a value must exceed to be among the largest of all, or of its tensor: one pass serves both.
    fn threshold(&self) -> f32 {
        self.current.as_ref().map_or(self.overall.threshold, |top| top.threshold.min(self.overall.threshold))
    }

    fn push(&mut self, magnitude: f32, place: Place) {
        self.overall.push(magnitude, place);
        if let Some(top) = &mut self.current {
            top.push(magnitude, place);
        }
    }

    /// The places of the largest scalars of all, largest first; and of the largest of each tensor, in the order of
    /// their places.
    pub fn into_places(mut self) -> (Vec<Place>, Vec<Place>) {
        self.end_tensor();
        self.overall.trim();
        let mut by_tensor = self.by_tensor.into_iter().map(|(_, place)| place).collect::<Vec<_>>();
        by_tensor.sort_unstable();
        (self.overall.found.into_iter().map(|(_, place)| place).collect(), by_tensor)
    }
}

/// The bits of infinity in bf16, without a sign; NaNs are above.
pub const BF16_INFINITY: u16 = 0x7f80;

/// Bits of a bf16 value without its sign; their order is that of the magnitudes.
fn magnitude(bytes: &[u8], index: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]) & 0x7fff
}

/// Index of the first of these bf16 values (an even number of bytes) whose magnitude's bits exceed `bits`.
///
/// Every byte of a model passes through here, so four values are compared in one 64-bit word: without signs, adding
/// `0x7fff - bits` to each sets its sign bit exactly if the value exceeds `bits`, and never carries into its
/// neighbour. One branch tests eight words. Not inlined, because a browser optimises a small function sooner than a
/// large one.
#[inline(never)]
pub fn first_above(bytes: &[u8], bits: u16) -> Option<usize> {
    const LANES: u64 = 0x0001_0001_0001_0001;
    let (blocks, rest) = bytes.as_chunks::<64>();
    let add = u64::from(0x7fff - bits.min(0x7fff)) * LANES;
    let carried = |word: &[u8; 8]| (u64::from_le_bytes(*word) & (0x7fff * LANES)) + add;
    let is_above = |block: &[u8; 64]| {
        let [a, b, c, d, e, f, g, h] = block.as_chunks::<8>().0 else { return false };
        let carried = carried(a) | carried(b) | carried(c) | carried(d) | carried(e) | carried(f) | carried(g) | carried(h);
        carried & (0x8000 * LANES) != 0
    };
    let among = |bytes: &[u8], first: usize| (0..bytes.len() / 2).find(|at| magnitude(bytes, *at) > bits).map(|at| first + at);
    match blocks.iter().position(is_above) {
        Some(block) => among(&blocks[block], 32 * block),
        None => among(rest, 32 * blocks.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
    }

    #[test]
    fn first_above_is_found_in_every_lane() {
        for len in (1..20).chain([32, 33, 70, 96]) {
            for at in 0..len {
                for loud in [-3.0, 3.0, f32::INFINITY, f32::NAN] {
                    let mut values = vec![-2.0_f32; len];
                    values[at] = loud;
                    let bits = half::bf16::from_f32(2.0).to_bits();
                    assert_eq!(first_above(&bytes(&values), bits), Some(at), "{values:?}");
                    assert_eq!(first_above(&bytes(&values), 0x7fff), None);
                }
            }
        }
        assert_eq!(first_above(&[], 0), None);
    }

    #[test]
    fn largest_are_the_same_whether_packed_or_not() {
        let values =
            (0..4000_u32).map(|i| half::bf16::from_f32((f64::from(i * 7919 % 4001).sin() * 3.0) as f32).to_f32()).collect::<Vec<_>>();
        let (mut plain, mut packed) = (Largest::up_to(10), Largest::up_to(10));
        for (part, piece) in values.chunks(1000).enumerate() {
            plain.look_at((1, Matrix::DownProj), 1000 * part, piece);
            assert_eq!(packed.look_at_bf16((1, Matrix::DownProj), 1000 * part, &bytes(piece)), None);
        }
        let mut expected = (0..values.len()).collect::<Vec<_>>();
        expected.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
        let (places, by_tensor) = plain.into_places();
        assert_eq!((places.clone(), by_tensor), packed.into_places());
        let magnitudes = |places: &[usize]| places.iter().map(|at| values[*at].abs()).collect::<Vec<_>>();
        assert_eq!(magnitudes(&places.iter().map(|place| place.2).collect::<Vec<_>>()), magnitudes(&expected[..10]));
    }

    #[test]
    fn tensor_gives_a_millionth_of_its_scalars_whatever_is_in_the_others() {
        // The second tensor is louder than the first throughout; the third is too small to keep any.
        let noise = |n: u32, scale: f64| (0..n).map(|i| ((f64::from(i) * 0.734).sin() * scale) as f32).collect::<Vec<_>>();
        let tensors = [noise(2_500_000, 1.0), noise(1_000_000, 50.0), noise(999_999, 90.0)];
        let (mut plain, mut packed) = (Largest::up_to(3), Largest::up_to(3));
        for (layer, values) in tensors.iter().enumerate() {
            let rounded = values.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect::<Vec<_>>();
            for largest in [&mut plain, &mut packed] {
                largest.begin_tensor(values.len());
            }
            for (part, piece) in rounded.chunks(700_000).enumerate() {
                plain.look_at((layer, Matrix::UpProj), 700_000 * part, piece);
                assert_eq!(packed.look_at_bf16((layer, Matrix::UpProj), 700_000 * part, &bytes(piece)), None);
            }
        }
        let (overall, by_tensor) = plain.into_places();
        assert_eq!((overall.clone(), by_tensor.clone()), packed.into_places());
        assert!(overall.len() == 3 && overall.iter().all(|(layer, ..)| *layer == 2));
        assert_eq!(by_tensor.iter().map(|(layer, ..)| *layer).collect::<Vec<_>>(), [0, 0, 1]);
        for (layer, _, at) in by_tensor {
            let largest = tensors[layer].iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            assert!(tensors[layer][at].abs() > 0.99 * largest);
        }
    }
}
