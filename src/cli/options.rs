//! The options of every subcommand.

use std::path::PathBuf;

use clap::{ArgAction, ValueEnum};

use super::{files, ranges};
use crate::protocol::BackendChoice;
use crate::terms::{CalibrationText, Count};

/// The options of every subcommand: the model, the device, the text, and the form of the output.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folder with config.json, tokenizer.json and the safetensors files, or a model of the Hugging Face Hub: a name
    /// from `linchpin models`, or ORGANISATION/NAME, either with @REVISION. It is downloaded into the Hub's cache
    /// (HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE have their usual meaning). The default is the bundled
    /// model, public/models/linchpin-13m.
    #[arg(long, global = true)]
    pub model: Option<String>,
    /// Device to compute on.
    #[arg(long, global = true, value_enum, default_value_t = DeviceArg::Auto)]
    pub device: DeviceArg,
    /// Use this text instead of the bundled one: `score` and `surround` score channels over its first 1 MiB; all
    /// others measure loss on it, in passages between empty lines. At most 64 MB.
    #[arg(long, global = true)]
    pub text: Option<PathBuf>,
    /// Tokens of each passage of --text.
    #[arg(long, global = true, allow_negative_numbers = true, default_value_t = 128, value_parser = ranges::count(Count::MaxTokens))]
    pub max_tokens: usize,
    /// Put the BOS that the model's configuration names before every text, even if its tokenizer adds none.
    // Experiments have an option of this name, too, for each block of a text: both are given at once.
    #[arg(long, global = true, action = ArgAction::Append, num_args = 0..=1, default_missing_value = "true", value_parser = ranges::flag)]
    pub bos: Vec<f64>,
    /// Print one JSON document (docs/export.md) and nothing else.
    #[arg(long, global = true)]
    pub json: bool,
}

impl Options {
    /// The model's name in `--model`, or the default.
    pub fn model(&self) -> &str {
        self.model.as_deref().unwrap_or("public/models/linchpin-13m")
    }

    /// `true` if `--bos` is given.
    pub fn bos(&self) -> bool {
        self.bos.last().is_some_and(|bos| *bos != 0.0)
    }

    /// Reads the text of `--text`; `None` if the option is missing.
    ///
    /// # Errors
    ///
    /// A file that is too large, or cannot be read as UTF-8.
    pub fn given_text(&self) -> anyhow::Result<Option<CalibrationText>> {
        let Some(path) = &self.text else { return Ok(None) };
        let text = files::read_text(path, "the text")?;
        let name = path.file_name().map_or_else(|| "text".into(), |name| name.to_string_lossy().into_owned());
        Ok(Some(CalibrationText { name, text }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceArg {
    /// Vulkan if there is a large enough GPU, else the CPU.
    Auto,
    Cpu,
    #[value(alias = "gpu")]
    Vulkan,
    /// Requires a build with the feature `cuda`.
    Cuda,
}

impl From<DeviceArg> for BackendChoice {
    fn from(device: DeviceArg) -> Self {
        match device {
            DeviceArg::Auto => Self::Auto,
            DeviceArg::Cpu => Self::Cpu,
            DeviceArg::Vulkan => Self::Gpu,
            DeviceArg::Cuda => Self::Cuda,
        }
    }
}
