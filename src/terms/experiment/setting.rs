//! The table of settings: every number of an experiment that a person may change, with its name, the command's
//! option, its bounds and its default. Page, links, command and engine all read this table. Labels and help are in
//! `language`; the kinds that read a setting, and its default, are in `kinds.rs`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::terms::{MAX_INDEX, MAX_SEED, MAX_VALUES, SCALES};

/// A setting. The order is the order on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, VariantArray, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SettingId {
    Factors,
    Bits,
    BlockSizes,
    Clips,
    Alpha,
    NCalibration,
    NPrompts,
    Block,
    NBlocks,
    Bos,
    Limit,
    ItemSeed,
    Seed,
}

/// An upper bound for items, blocks and prompts, beyond any useful number.
const MANY: f64 = 100_000.0;

impl SettingId {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name of the field in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The command's option, without its hyphens.
    pub fn option(self) -> String {
        self.name().trim_start_matches("n_").replace('_', "-")
    }

    /// The smallest and the largest accepted value.
    pub fn bounds(self) -> (f64, f64) {
        match self {
            Self::Factors => (f64::from(*SCALES.start()), f64::from(*SCALES.end())),
            Self::Bits => (2.0, 16.0),
            Self::BlockSizes => (0.0, 2_147_483_647.0),
            Self::Clips => (0.01, 1000.0),
            Self::Alpha | Self::Bos => (0.0, 1.0),
            Self::Block => (2.0, MAX_INDEX as f64),
            Self::ItemSeed | Self::Seed => (0.0, MAX_SEED as f64),
            Self::NCalibration | Self::NPrompts | Self::NBlocks | Self::Limit => (1.0, MANY),
        }
    }

    /// Checks new values for `value`.
    ///
    /// # Errors
    ///
    /// [`SettingError`] for too many values, or for the first one outside its bounds.
    pub fn check(self, value: &dyn Value, values: &[f64]) -> Result<(), SettingError> {
        let refuse = |problem| Err(SettingError { id: self, problem });
        let ((low, high), is_whole) = (self.bounds(), value.is_whole());
        if values.len() > value.most() {
            return refuse(SettingProblem::TooMany { got: values.len(), most: value.most() });
        }
        // Values other than whole numbers are compared in f32, in which they are stored, so that a value at a bound
        // like 0.01 passes.
        let is_within = |value: f64| match is_whole {
            true => (low..=high).contains(&value) && value.fract() == 0.0,
            false => (low as f32..=high as f32).contains(&(value as f32)),
        };
        match values.iter().find(|value| !is_within(**value)) {
            Some(got) => refuse(SettingProblem::Outside { got: *got, low, high, is_whole }),
            None => Ok(()),
        }
    }

    /// Sets the values from a typed text, separated by commas or spaces.
    ///
    /// # Errors
    ///
    /// [`SettingError`], also for an empty text if a number is needed. The value then stays unchanged.
    pub fn take(self, value: &mut dyn Value, typed: &str) -> Result<(), SettingError> {
        let mut values = Vec::new();
        for part in typed.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()) {
            let got = || part.chars().take(20).collect();
            values.push(f64::from_str(part).map_err(|_| SettingError { id: self, problem: SettingProblem::NoNumber { got: got() } })?);
        }
        if values.is_empty() && value.least() > 0 {
            return Err(SettingError { id: self, problem: SettingProblem::Missing });
        }
        self.check(value, &values)?;
        value.set(&values);
        Ok(())
    }
}

/// A setting that cannot have the requested value.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("{}: {problem}", id.name())]
pub struct SettingError {
    pub id: SettingId,
    #[serde(flatten)]
    pub problem: SettingProblem,
}

/// The reason why a setting cannot have its value.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum SettingProblem {
    /// The typed text.
    #[error("“{got}” is not a number")]
    NoNumber { got: String },
    #[error("a number is needed")]
    Missing,
    #[error("{got} values are too many; at most {most}")]
    TooMany { got: usize, most: usize },
    #[error("{got} is not {} from {low} to {high}", if *is_whole { "a whole number" } else { "a number" })]
    Outside { got: f64, low: f64, high: f64, is_whole: bool },
    #[error("bits, block sizes and clipping thresholds make {got} models, at most {most} are allowed: choose fewer values")]
    Roundings { got: usize, most: usize },
}

/// The value of a setting: one number, several, or none.
pub trait Value {
    fn get(&self) -> Vec<f64>;
    /// Sets values that passed [`SettingId::check`].
    fn set(&mut self, values: &[f64]);
    fn is_whole(&self) -> bool;
    /// The fewest values.
    fn least(&self) -> usize {
        1
    }
    /// The most values.
    fn most(&self) -> usize {
        1
    }
}

impl dyn Value + '_ {
    /// The values, separated by commas.
    pub fn text(&self) -> String {
        self.get().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Removes repeated values.
    pub fn drop_repeated(&mut self) {
        let mut once = Vec::new();
        for value in self.get() {
            if !once.contains(&value) {
                once.push(value);
            }
        }
        self.set(&once);
    }
}

/// A number type of a setting.
trait Number: Copy {
    const IS_WHOLE: bool;
    fn to_f64(self) -> f64;
    fn from_f64(value: f64) -> Self;
}

macro_rules! whole_number {
    ($($number:ty),*) => {$(
        impl Number for $number {
            const IS_WHOLE: bool = true;
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn from_f64(value: f64) -> Self {
                value as Self
            }
        }
    )*};
}
whole_number!(u32, u64, usize);

impl Number for f32 {
    const IS_WHOLE: bool = false;

    fn to_f64(self) -> f64 {
        shortest(self)
    }

    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Number for bool {
    const IS_WHOLE: bool = true;

    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }

    fn from_f64(value: f64) -> Self {
        value == 1.0
    }
}

impl<T: Number> Value for T {
    fn get(&self) -> Vec<f64> {
        vec![self.to_f64()]
    }

    fn set(&mut self, values: &[f64]) {
        if let Some(value) = values.first() {
            *self = T::from_f64(*value);
        }
    }

    fn is_whole(&self) -> bool {
        T::IS_WHOLE
    }
}

impl<T: Number> Value for Option<T> {
    fn get(&self) -> Vec<f64> {
        self.iter().map(|value| value.to_f64()).collect()
    }

    fn set(&mut self, values: &[f64]) {
        *self = values.first().map(|value| T::from_f64(*value));
    }

    fn is_whole(&self) -> bool {
        T::IS_WHOLE
    }

    fn least(&self) -> usize {
        0
    }
}

impl<T: Number> Value for Vec<T> {
    fn get(&self) -> Vec<f64> {
        self.iter().map(|value| value.to_f64()).collect()
    }

    fn set(&mut self, values: &[f64]) {
        *self = values.iter().map(|value| T::from_f64(*value)).collect();
    }

    fn is_whole(&self) -> bool {
        T::IS_WHOLE
    }

    fn most(&self) -> usize {
        MAX_VALUES
    }
}

/// The number with the fewest digits that identify this `f32`: 0.1 stays 0.1.
pub fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
