//! Our reading of tokenizers compared with the crate's, of whole texts and of pieces, and of files that are damaged.

mod hostile;
mod published;
mod texts;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Numbers that are the same in every run.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    pub fn of(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    pub fn of_all<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
