//! The kinds of experiments, each with its settings.
//!
//! A new kind is a struct here with the paper's settings as its `Default`, an `impl` of [`Parts`], a variant of
//! [`Settings`] and an arm of [`Settings::parts`]. Page, links and command derive everything else from these.

use serde::{Deserialize, Deserializer, Serialize};
use strum::{EnumDiscriminants, EnumIter, EnumString, IntoEnumIterator, IntoStaticStr, VariantArray};

use super::{Experiment, SettingError, SettingId, SettingProblem, TextRef, Value};

/// A kind of experiment with its settings; [`ExperimentKind`] is the kind alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, EnumDiscriminants, EnumIter)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[strum_discriminants(
    name(ExperimentKind),
    derive(Hash, PartialOrd, Ord, Serialize, Deserialize, VariantArray, IntoStaticStr, EnumString),
    serde(rename_all = "snake_case"),
    strum(serialize_all = "snake_case")
)]
pub enum Settings {
    Importance(Importance),
    Propagation(Propagation),
    Scaling(Scaling),
    TokenShift(TokenShift),
    ActivationQuantisation(ActivationQuantisation),
    WeightQuantisation(WeightQuantisation),
    WeightsOnly(WeightsOnly),
    Sinks(Sinks),
}

impl ExperimentKind {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The kind's name in JSON, in file names and as a subcommand (there with hyphens).
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The settings of the paper, or our own if the paper has none.
    pub fn default_settings(self) -> Settings {
        Settings::iter().nth(self as usize).unwrap_or_else(|| unreachable!("each kind is one variant of the settings"))
    }

    /// Returns `true` if the kind measures loss on a text.
    pub fn reads_text(self) -> bool {
        self.default_settings().parts().text.is_some()
    }

    /// Returns `true` if the kind measures given tasks.
    pub fn reads_tasks(self) -> bool {
        self.default_settings().parts().tasks.is_some()
    }

    /// Returns `true` if the kind runs on a single prompt.
    pub fn reads_prompt(self) -> bool {
        self.default_settings().parts().prompt.is_some()
    }

    /// Returns `true` if the kind has this setting.
    pub fn reads(self, id: SettingId) -> bool {
        self.default_settings().numbers().iter().any(|(of, _)| *of == id)
    }

    /// Returns `true` if the kind measures nothing without a super weight.
    pub fn needs_super_weights(self) -> bool {
        self.default_settings().parts().needs_super_weights
    }
}

/// The inputs of a kind: its settings, as page, links, command and engine see them.
#[derive(Default)]
pub struct Parts<'a> {
    pub text: Option<&'a mut OnText>,
    pub tasks: Option<&'a mut OnTasks>,
    pub prompt: Option<&'a mut String>,
    /// The settings other than those of `text` and `tasks`.
    pub numbers: Vec<(SettingId, &'a mut dyn Value)>,
    pub needs_super_weights: bool,
}

impl Settings {
    pub fn parts(&mut self) -> Parts<'_> {
        match self {
            Self::Importance(of) => of.parts(),
            Self::Propagation(Propagation { prompt }) | Self::Sinks(Sinks { prompt }) => {
                Parts { prompt: Some(prompt), needs_super_weights: true, ..Parts::default() }
            }
            Self::Scaling(of) => of.parts(),
            Self::TokenShift(of) => of.parts(),
            Self::ActivationQuantisation(of) => of.parts(),
            Self::WeightQuantisation(of) => of.parts(),
            Self::WeightsOnly(WeightsOnly {}) => Parts::default(),
        }
    }

    /// Every setting that the kind reads, with its value, in the order of [`SettingId`].
    pub fn numbers(&mut self) -> Vec<(SettingId, &mut dyn Value)> {
        let Parts { text, tasks, mut numbers, .. } = self.parts();
        if let Some(OnText { block, n_blocks, bos, .. }) = text {
            numbers.extend([(SettingId::Block, block as &mut dyn Value), (SettingId::NBlocks, n_blocks), (SettingId::Bos, bos)]);
        }
        if let Some(OnTasks { limit, item_seed, .. }) = tasks {
            numbers.extend([(SettingId::Limit, limit as &mut dyn Value), (SettingId::ItemSeed, item_seed)]);
        }
        numbers.sort_by_key(|(id, _)| *id);
        numbers
    }

    /// The value of a setting, if the kind has it.
    pub fn number(&mut self, id: SettingId) -> Option<&mut dyn Value> {
        self.numbers().into_iter().find(|(of, _)| *of == id).map(|(_, value)| value)
    }
}

/// A text that loss is measured on, and how it is cut into blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnText {
    /// `None` in a request means the current text, which the outcome names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextRef>,
    /// Tokens of each block, at most the model's context.
    #[serde(default = "paper_block")]
    pub block: usize,
    /// Puts the special tokens that the tokenizer adds before a text (its BOS) before each block. GPTQ's protocol has
    /// them before the whole text only, which breaks models that never saw a text without a BOS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bos: bool,
    /// Number of blocks used, starting with the first; all if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_blocks: Option<usize>,
}

fn paper_block() -> usize {
    Experiment::BLOCK
}

impl Default for OnText {
    fn default() -> Self {
        Self { text: None, block: Experiment::BLOCK, bos: false, n_blocks: None }
    }
}

/// Tasks, from those of [`crate::protocol::Request::UseTasks`], and the items used from each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OnTasks {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TextRef>,
    /// Number of items of each task; all if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Seed that draws the items; if `None`, the first items are used, as in lm-evaluation-harness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_seed: Option<u64>,
    /// If `true`, the outcome has a row for every choice of every item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_samples: bool,
}

/// Table 1: the cost of removing the super weights, of removing the largest other weights, and of restoring or
/// replacing the super activation. Without super weights, it has the arms of the largest other weights only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Importance {
    #[serde(flatten)]
    pub text: OnText,
    #[serde(flatten)]
    pub tasks: OnTasks,
    /// Number of sequences of the bundled calibration text, each of [`Experiment::CALIBRATION_LENGTH`] tokens.
    pub n_calibration: usize,
    /// Seed of the random control; the other controls are the largest weights.
    pub seed: u64,
}

impl Default for Importance {
    fn default() -> Self {
        Self { text: OnText::default(), tasks: OnTasks::default(), n_calibration: 32, seed: 1 }
    }
}

impl Importance {
    fn parts(&mut self) -> Parts<'_> {
        let numbers: Vec<(_, &mut dyn Value)> = vec![(SettingId::NCalibration, &mut self.n_calibration), (SettingId::Seed, &mut self.seed)];
        Parts { text: Some(&mut self.text), tasks: Some(&mut self.tasks), numbers, ..Parts::default() }
    }
}

/// Figure 4: the super activation through every layer's residual stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Propagation {
    pub prompt: String,
}

impl Default for Propagation {
    fn default() -> Self {
        Self { prompt: Experiment::PROMPT.into() }
    }
}

/// Figures 6 and 8: loss and accuracy against the super weights' scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scaling {
    #[serde(flatten)]
    pub text: OnText,
    #[serde(flatten)]
    pub tasks: OnTasks,
    /// Factors that multiply all super weights together.
    pub factors: Vec<f32>,
}

impl Default for Scaling {
    fn default() -> Self {
        let factors = vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0, 2.5, 3.0];
        Self { text: OnText::default(), tasks: OnTasks::default(), factors }
    }
}

impl Scaling {
    fn parts(&mut self) -> Parts<'_> {
        Parts {
            text: Some(&mut self.text),
            tasks: Some(&mut self.tasks),
            numbers: vec![(SettingId::Factors, &mut self.factors)],
            needs_super_weights: true,
            ..Parts::default()
        }
    }
}

/// Figures 5 and 11: shifts of the next token's probabilities, over the prompts of the tasks, or over the bundled
/// prompts if there are no tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenShift {
    #[serde(flatten)]
    pub tasks: OnTasks,
    /// The largest number of prompts, all if `None`; in an outcome, the number used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_prompts: Option<usize>,
}

impl Default for TokenShift {
    fn default() -> Self {
        Self { tasks: OnTasks::default(), n_prompts: Some(500) }
    }
}

impl TokenShift {
    fn parts(&mut self) -> Parts<'_> {
        Parts {
            tasks: Some(&mut self.tasks),
            numbers: vec![(SettingId::NPrompts, &mut self.n_prompts)],
            needs_super_weights: true,
            ..Parts::default()
        }
    }
}

/// Table 3: W8A8, naive, with the super activation held out, and SmoothQuant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivationQuantisation {
    #[serde(flatten)]
    pub text: OnText,
    /// Documents of version 1 have a list here; its first number was used.
    #[serde(deserialize_with = "one_of")]
    pub bits: u32,
    /// SmoothQuant's exponent.
    pub alpha: f32,
    /// As in [`Importance`].
    pub n_calibration: usize,
}

impl Default for ActivationQuantisation {
    fn default() -> Self {
        Self { text: OnText::default(), bits: 8, alpha: 0.85, n_calibration: 32 }
    }
}

impl ActivationQuantisation {
    fn parts(&mut self) -> Parts<'_> {
        let numbers: Vec<(_, &mut dyn Value)> = vec![
            (SettingId::Bits, &mut self.bits),
            (SettingId::Alpha, &mut self.alpha),
            (SettingId::NCalibration, &mut self.n_calibration),
        ];
        Parts { text: Some(&mut self.text), numbers, ..Parts::default() }
    }
}

/// Reads a number, or the first of a list.
fn one_of<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(u32),
        Many(Vec<u32>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(bits) => bits,
        OneOrMany::Many(bits) => bits.first().copied().unwrap_or(ActivationQuantisation::default().bits),
    })
}

/// Figure 7: weights rounded in blocks, with and without the super weights held out and clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightQuantisation {
    #[serde(flatten)]
    pub text: OnText,
    #[serde(flatten)]
    pub tasks: OnTasks,
    pub bits: Vec<u32>,
    /// Consecutive scalars that share a scale; 0 is the whole matrix.
    pub block_sizes: Vec<usize>,
    /// Clipping thresholds z: weights are clipped at `mean|w| + z std|w|` of their block. Empty means no clipping.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clips: Vec<f32>,
}

impl Default for WeightQuantisation {
    fn default() -> Self {
        // The paper's blocks are 128² to 1024² consecutive scalars; small models need smaller ones.
        let block_sizes = vec![64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 0];
        Self { text: OnText::default(), tasks: OnTasks::default(), bits: vec![8, 4, 3], block_sizes, clips: vec![9.0] }
    }
}

impl WeightQuantisation {
    /// The largest number of models in one experiment.
    const MAX_ROUNDINGS: usize = 1000;

    fn parts(&mut self) -> Parts<'_> {
        let numbers: Vec<(_, &mut dyn Value)> =
            vec![(SettingId::Bits, &mut self.bits), (SettingId::BlockSizes, &mut self.block_sizes), (SettingId::Clips, &mut self.clips)];
        Parts { text: Some(&mut self.text), tasks: Some(&mut self.tasks), numbers, ..Parts::default() }
    }

    /// Checks the number of models: one for each combination of bits, block size and method.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        let got = self.bits.len() * self.block_sizes.len() * (2 + self.clips.len());
        match got > Self::MAX_ROUNDINGS {
            true => Err(SettingError { id: SettingId::BlockSizes, problem: SettingProblem::Roundings { got, most: Self::MAX_ROUNDINGS } }),
            false => Ok(()),
        }
    }
}

/// Candidates from the weights alone, before any forward pass, next to the named super weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightsOnly {}

/// Massive activations of every layer and attention sinks of every head, intact and without the super weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sinks {
    pub prompt: String,
}

impl Default for Sinks {
    fn default() -> Self {
        Self { prompt: Experiment::PROMPT.into() }
    }
}
