//! Settings that are one number, each with the range that it has for any model.

use std::ops::RangeInclusive;

use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use super::{LimitError, MAX_INDEX, MAX_SEED, MAX_SEQUENCES, MAX_VALUES};
use crate::terms::Sampling;

/// A setting that is a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, VariantArray, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Count {
    /// Sequences that channels are scored over.
    Sequences,
    /// Tokens of a scored sequence, limited by the model's context.
    Length,
    /// Channels of a layer that are removed one at a time.
    PerLayer,
    /// Quantiles of a layer's loss proxies; at most the layer's channels.
    Quantiles,
    /// Tokens of a passage, limited by the model's context.
    MaxTokens,
    MaxNewTokens,
    /// Kept tokens; 0 keeps all.
    TopK,
    Seed,
    /// Prunings of one request.
    Prunings,
    /// Scalars of one experiment.
    SuperWeights,
    Workers,
}

impl Count {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The accepted numbers.
    pub fn range(self) -> RangeInclusive<u64> {
        match self {
            Self::Sequences => 1..=MAX_SEQUENCES as u64,
            // The first token is only read.
            Self::Length | Self::MaxTokens => 2..=MAX_INDEX as u64,
            Self::PerLayer | Self::Quantiles | Self::MaxNewTokens => 1..=MAX_INDEX as u64,
            Self::TopK => 0..=MAX_INDEX as u64,
            Self::Seed => 0..=MAX_SEED,
            Self::Prunings => 0..=10_000,
            Self::SuperWeights => 0..=MAX_VALUES as u64,
            Self::Workers => 1..=1024,
        }
    }

    /// # Errors
    ///
    /// [`LimitError::Count`].
    pub fn check(self, got: u64) -> Result<(), LimitError> {
        self.check_up_to(got, *self.range().end())
    }

    /// Checks a number that a model limits further.
    ///
    /// # Errors
    ///
    /// [`LimitError::Count`].
    pub fn check_up_to(self, got: u64, most: u64) -> Result<(), LimitError> {
        let (least, most) = (*self.range().start(), most.min(*self.range().end()));
        if (least..=most).contains(&got) { Ok(()) } else { Err(LimitError::Count { what: self, got, least, most }) }
    }
}

/// A setting of sampling that is a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, VariantArray, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Fraction {
    Temperature,
    TopP,
}

impl Fraction {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The accepted numbers.
    pub fn range(self) -> RangeInclusive<f32> {
        match self {
            Self::Temperature => 0.0..=5.0,
            Self::TopP => 0.0..=1.0,
        }
    }

    /// A number that is not finite fails.
    ///
    /// # Errors
    ///
    /// [`LimitError::Fraction`].
    pub fn check(self, got: f32) -> Result<(), LimitError> {
        if self.range().contains(&got) { Ok(()) } else { Err(LimitError::Fraction { what: self, got }) }
    }
}

impl Sampling {
    /// Checks every number, for the page, the command and the engine.
    ///
    /// # Errors
    ///
    /// [`LimitError::Fraction`] or [`LimitError::Count`] for the first number out of its range.
    pub fn check(&self) -> Result<(), LimitError> {
        let Self { temperature, top_k, top_p, seed, max_new_tokens } = *self;
        Fraction::Temperature.check(temperature)?;
        Fraction::TopP.check(top_p)?;
        Count::TopK.check(top_k as u64)?;
        Count::Seed.check(seed)?;
        Count::MaxNewTokens.check(max_new_tokens as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_accepted_up_to_both_ends_of_their_range() {
        for of in Count::VARIANTS {
            let (least, most) = of.range().into_inner();
            assert_eq!((of.check(least), of.check(most)), (Ok(()), Ok(())), "{of:?}");
            assert!(least.checked_sub(1).is_none_or(|got| of.check(got).is_err()) && of.check(most + 1).is_err(), "{of:?}");
            assert_eq!(of.check_up_to(least, u64::MAX), Ok(()));
            assert!(of.check_up_to(most, most - 1).is_err());
        }
        for of in Fraction::VARIANTS {
            let (least, most) = of.range().into_inner();
            assert_eq!((of.check(least), of.check(most)), (Ok(()), Ok(())), "{of:?}");
            for got in [least.next_down(), most.next_up(), f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(of.check(got).is_err(), "{of:?}: {got}");
            }
        }
        let refused = Count::Quantiles.check_up_to(449, 448).unwrap_err();
        assert_eq!(refused.to_string(), "quantiles is 449, expected 1 to 448");
        assert_eq!(Fraction::TopP.check(1.5).unwrap_err().to_string(), "top_p is 1.5, expected 0 to 1");
    }

    #[test]
    fn sampling_is_checked_in_every_number() {
        let good = Sampling::default();
        assert_eq!(good.check(), Ok(()));
        for bad in [
            Sampling { temperature: -0.1, ..good },
            Sampling { temperature: f32::NAN, ..good },
            Sampling { top_p: 1.1, ..good },
            Sampling { top_k: MAX_INDEX + 1, ..good },
            Sampling { seed: MAX_SEED + 1, ..good },
            Sampling { max_new_tokens: 0, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
