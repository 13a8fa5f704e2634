//! Memory of a pass over many tokens. A pass that cannot fit is refused with an explanation before anything runs,
//! because a link may request any length.

use super::Loaded;
use super::error::EngineError;

/// The most bytes of one layer's attention weights if no buffer limits them; a browser's memory ends at 4 GiB.
const ON_CPU: u64 = if usize::BITS == 32 { 512 << 20 } else { 2 << 30 };

impl Loaded {
    /// Checks with [`check`] that a pass over `tokens` tokens, without a cache, fits on this model's device.
    ///
    /// # Errors
    ///
    /// [`EngineError::TooLong`].
    pub(super) fn check_length(&self, tokens: usize) -> Result<(), EngineError> {
        let limit = self.intact.largest_buffer().unwrap_or(ON_CPU);
        check(self.intact.config.num_attention_heads, tokens, limit)
    }
}

/// Checks the largest tensor of a pass over T tokens: one layer's attention weights,
/// `4 bytes · num_attention_heads · T²`. The mask, which is made on the host, is as large as the weights of one head.
fn check(heads: usize, tokens: usize, limit: u64) -> Result<(), EngineError> {
    // Computed in 64 bits, because a browser's usize has 32.
    let of_pair = 4 * heads.max(1) as u64;
    let needed = of_pair.saturating_mul((tokens as u64).saturating_pow(2));
    if needed <= limit { Ok(()) } else { Err(EngineError::TooLong { tokens, needed, limit, fits: (limit / of_pair).isqrt() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_tokens_fit_as_their_weights() {
        // 16 · 1024² bytes.
        assert!(check(4, 1024, 16 << 20).is_ok());
        let refused = check(4, 1025, 16 << 20).unwrap_err();
        assert!(matches!(refused, EngineError::TooLong { tokens: 1025, needed: 16_810_000, fits: 1024, .. }), "{refused:?}");
        // The first size does not fit into 32 bits, and the second not into 64.
        assert!(check(1, 1 << 20, u64::from(u32::MAX)).is_err());
        assert!(check(64, usize::MAX, u64::MAX - 1).is_err());
    }
}
