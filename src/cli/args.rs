//! Arguments of the command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use super::check::CheckArgs;
use super::deletions::DeletionArgs;
use super::experiment::ExperimentArgs;
use super::prune::{PruneArgs, ScoringArgs};
use super::repeat::RepeatArgs;
use super::report::ReportArgs;
use super::surround::SurroundArgs;
use super::sweep::SweepArgs;
use super::training::TrainingArgs;
use crate::protocol::BackendChoice;
use crate::terms::{Ablation, EditTarget, ExperimentKind, WeightCoord, WeightEdit};

/// Find the few numbers that hold a language model up, and pull them.
#[derive(Debug, Clone, Parser)]
#[command(name = "linchpin", version, about)]
pub struct Args {
    /// The model: a folder with config.json, tokenizer.json and the safetensors files, or a model of the Hugging Face
    /// Hub, given as a name that `models` lists or as ORGANISATION/NAME, either with @REVISION. It is downloaded into
    /// the Hub's cache (HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they do there). The default is the
    /// page's own model, public/models/linchpin-13m.
    #[arg(long, global = true)]
    pub model: Option<String>,
    /// The device to compute on.
    #[arg(long, global = true, value_enum, default_value_t = DeviceArg::Auto)]
    pub device: DeviceArg,
    /// Use this text instead of the bundled one: `score` and `surround` score channels over its first 1 MiB; all other
    /// commands measure loss on it, by passages between empty lines.
    #[arg(long, global = true)]
    pub text: Option<PathBuf>,
    /// The most tokens of each passage of --text.
    #[arg(long, global = true, default_value_t = 128)]
    pub max_tokens: usize,
    /// Print one JSON document (docs/export.md) and nothing else.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// Returns the model's name or folder, or the default.
    pub fn model(&self) -> &str {
        self.model.as_deref().unwrap_or("public/models/linchpin-13m")
    }
}

impl Command {
    /// Returns the experiment and its arguments, if the command is one.
    pub fn experiment(&self) -> Option<(ExperimentKind, &ExperimentArgs)> {
        Some(match self {
            Self::Importance(asked) => (ExperimentKind::Importance, asked),
            Self::Propagation(asked) => (ExperimentKind::Propagation, asked),
            Self::Scaling(asked) => (ExperimentKind::Scaling, asked),
            Self::TokenShift(asked) => (ExperimentKind::TokenShift, asked),
            Self::ActivationQuantisation(asked) => (ExperimentKind::ActivationQuantisation, asked),
            Self::WeightQuantisation(asked) => (ExperimentKind::WeightQuantisation, asked),
            Self::WeightsOnly(asked) => (ExperimentKind::WeightsOnly, asked),
            Self::Sinks(asked) => (ExperimentKind::Sinks, asked),
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceArg {
    /// Vulkan if there is a GPU that is large enough, else the CPU.
    Auto,
    Cpu,
    #[value(alias = "gpu")]
    Vulkan,
    /// CUDA, in a build with the feature `cuda`.
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

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Look for super weights over a prompt.
    Scan {
        #[arg(long, default_value = "It was a dark evening, and the old man")]
        prompt: String,
        /// Then zero each candidate beside controls; the exit code is 1 if none is confirmed.
        #[arg(long)]
        confirm: bool,
        /// Seed of the random controls.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Edit weights, measure, and generate beside the intact model.
    Ablate {
        #[command(flatten)]
        edits: EditArgs,
        #[arg(long, default_value = "It was a dark evening, and the old man")]
        prompt: String,
        #[command(flatten)]
        sampling: SamplingArgs,
    },
    /// Generate text with the intact model.
    Generate {
        #[arg(long, default_value = "It was a dark evening, and the old man")]
        prompt: String,
        #[command(flatten)]
        sampling: SamplingArgs,
    },
    /// Measure held-out loss and perplexity, intact and with edits.
    Perplexity {
        #[command(flatten)]
        edits: EditArgs,
    },
    /// Score every feed-forward channel by gradients, and report how each layer's loss proxy is spread.
    Score {
        #[command(flatten)]
        scoring: ScoringArgs,
        /// LAYER,ROW,COL: a super weight whose channel is ranked in its layer.
        #[arg(long)]
        super_weight: Vec<String>,
        /// Print only a table of all channels, one line per channel.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Remove channels of every layer by a rule, in one shot, and measure the cost.
    Prune(PruneArgs),
    /// Measure the cost of removing channels by many rules, one after the other.
    Sweep(SweepArgs),
    /// Remove channels one at a time, and correlate the cost with their loss proxies.
    Deletions(DeletionArgs),
    /// Find each layer's core, the residual channels that it writes to, and the channels that write there too.
    Surround(SurroundArgs),
    /// Score the checkpoints of one model, to see how its loss proxy concentrated while it was trained.
    Training(TrainingArgs),
    /// Measure the cost of removing the super weights, compared with removing the largest other weights, and with
    /// restoring the super activation (Table 1 of the super-weight paper).
    Importance(ExperimentArgs),
    /// Trace the super activation through every layer's residual stream, token by token (Figure 4).
    Propagation(ExperimentArgs),
    /// Measure loss and accuracy over the super weights' scale, and find where the model collapses (Figures 6 and 8).
    Scaling(ExperimentArgs),
    /// Measure how the next token's probabilities shift over many prompts (Figures 5 and 11).
    TokenShift(ExperimentArgs),
    /// Round weights and activations to 8 bits: naive, with the super activation held out, SmoothQuant (Table 3).
    ActivationQuantisation(ExperimentArgs),
    /// Round weights to 8, 4 and 3 bits in blocks, with and without the super weights held out (Figure 7).
    WeightQuantisation(ExperimentArgs),
    /// Find candidates from the weights alone, beside those of a scan.
    WeightsOnly(ExperimentArgs),
    /// Measure massive activations and attention sinks, with and without the super weights.
    Sinks(ExperimentArgs),
    /// Repeat the experiments of an export and compare every figure; the exit code is 1 if one differs.
    Repeat(RepeatArgs),
    /// Write every experiment on the model as a static page with its plots, and the data beside it; the exit code is 1
    /// if an experiment failed.
    Report(ReportArgs),
    /// Measure the published findings on the model: zero its known coordinates beside controls; the exit code is 1 if
    /// an undisputed finding is not reproduced.
    Check(CheckArgs),
    /// List the catalogue's models of the Hugging Face Hub, and the published findings on them.
    Models {
        /// List only this model, with its findings in words.
        id: Option<String>,
    },
    /// Time the model: prompts, new tokens, gradients, edits and matrix products.
    Measure,
    /// Compare with golden values of transformers; the exit code is 1 if a tensor's error exceeds the tolerance.
    Verify {
        #[arg(long)]
        golden: PathBuf,
        #[arg(long, default_value_t = 1e-4)]
        tolerance: f32,
    },
}

/// Sampling settings; an omitted one has the model's own default (generation_config.json).
#[derive(Debug, Clone, clap::Args)]
pub struct SamplingArgs {
    /// Temperature; 0 is greedy.
    #[arg(long)]
    pub temperature: Option<f32>,
    #[arg(long)]
    pub top_k: Option<usize>,
    #[arg(long)]
    pub top_p: Option<f32>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long)]
    pub max_new_tokens: Option<usize>,
}

/// Edits of the weights, each given as `LAYER,...` or `LAYER,...=SCALE`; without a scale the unit is removed.
#[derive(Debug, Clone, clap::Args)]
pub struct EditArgs {
    /// LAYER,ROW,COL[=SCALE]: one scalar of down_proj.
    #[arg(long)]
    pub scalar: Vec<String>,
    /// LAYER,ROW[=SCALE]: a row of down_proj.
    #[arg(long)]
    pub row: Vec<String>,
    /// LAYER,COL[=SCALE]: a column of down_proj.
    #[arg(long)]
    pub column: Vec<String>,
    /// LAYER,CHANNEL[=SCALE]: a whole feed-forward channel.
    #[arg(long)]
    pub channel: Vec<String>,
    /// LAYER,CHANNEL[=SCALE]: a channel scaled towards its mean over the bundled calibration text; at scale 0 it is the
    /// mean.
    #[arg(long)]
    pub channel_mean: Vec<String>,
}

impl EditArgs {
    pub fn ablation(&self) -> anyhow::Result<Ablation> {
        let mut weight_edits = Vec::new();
        for text in &self.scalar {
            let ([layer, row, col], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Scalar { layer, row, col }, scale });
        }
        for text in &self.row {
            let ([layer, row], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Row { layer, row }, scale });
        }
        for text in &self.column {
            let ([layer, col], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Column { layer, col }, scale });
        }
        for text in &self.channel {
            let ([layer, channel], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::Channel { layer, channel }, scale });
        }
        for text in &self.channel_mean {
            let ([layer, channel], scale) = parse_edit(text)?;
            weight_edits.push(WeightEdit { target: EditTarget::ChannelMean { layer, channel }, scale });
        }
        Ok(Ablation { weight_edits, ..Ablation::default() })
    }
}

/// Parses a coordinate such as `"2,12,86"`.
pub fn parse_coord(text: &str) -> anyhow::Result<WeightCoord> {
    let numbers = text.split(',').map(|number| number.trim().parse::<usize>().ok()).collect::<Vec<_>>();
    match numbers[..] {
        [Some(layer), Some(row), Some(col)] => Ok(WeightCoord { layer, row, col }),
        _ => anyhow::bail!("{text:?}: expected LAYER,ROW,COL"),
    }
}

/// Parses an edit: `"2,12,86=0.5"` gives `([2, 12, 86], 0.5)`.
fn parse_edit<const N: usize>(text: &str) -> anyhow::Result<([usize; N], f32)> {
    let (place, scale) = text.split_once('=').unwrap_or((text, "0"));
    let scale = scale.trim().parse().with_context(|| format!("{text:?}: {scale:?} is no scale"))?;
    let numbers = place.split(',').map(|number| number.trim().parse()).collect::<Result<Vec<usize>, _>>();
    let numbers = numbers.with_context(|| format!("{text:?}: expected whole numbers with commas between"))?;
    let n = numbers.len();
    let place = numbers.try_into().map_err(|_wrong| anyhow::anyhow!("{text:?}: expected {N} numbers, got {n}"))?;
    Ok((place, scale))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::prune::{AroundArgs, MethodArg};
    use super::super::sweep::ExperimentArg;
    use super::*;

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Args::try_parse_from([&["linchpin"], args].concat()).map(|args| args.command)
    }

    #[test]
    fn no_two_arguments_clash() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_experiment_is_a_subcommand_of_its_name() {
        for kind in ExperimentKind::ALL {
            let parsed = parse(&[&kind.name().replace('_', "-"), "--super-weight", "2,12,86"]).unwrap();
            assert_eq!(parsed.experiment().map(|(of, asked)| (of, asked.super_weight.len())), Some((kind, 1)));
        }
    }

    #[test]
    fn surroundings_are_of_a_core_and_a_halo() {
        let parsed = parse(&["surround", "--layer", "2", "--rho", "0.02", "--eta", "0.2", "--support", "36", "--redundancy", "--json"]);
        let Ok(Command::Surround(SurroundArgs { around, redundancy: true, .. })) = parsed else { panic!("{parsed:?}") };
        let AroundArgs { layer, rho, eta, support } = around;
        assert_eq!((layer, rho, eta, support), (Some(2), 0.02, 0.2, Some(36)));
        let parsed = parse(&["surround"]);
        let Ok(Command::Surround(SurroundArgs { around, redundancy: false, scoring })) = parsed else { panic!("{parsed:?}") };
        assert_eq!((around.layer, around.rho, around.eta, around.support), (None, 0.01, 0.1, None));
        assert_eq!((scoring.sequences, scoring.length), (64, 512));
        assert!(parse(&["surround", "--rho", "much"]).is_err());
    }

    #[test]
    fn a_sweep_is_both_experiments_unless_one_is_named() {
        let parsed = parse(&["sweep", "--experiment", "removal", "--methods", "lp,flap", "--replace", "mean", "--etas", "0.1,0.2"]);
        let Ok(Command::Sweep(asked)) = parsed else { panic!("{parsed:?}") };
        assert_eq!(asked.experiment, [ExperimentArg::Removal]);
        assert_eq!(asked.methods.map(|methods| methods.0), Some(vec![MethodArg::Lp, MethodArg::Flap]));
        assert_eq!(asked.etas, [0.1, 0.2]);
        let Ok(Command::Sweep(asked)) = parse(&["sweep"]) else { panic!("its defaults") };
        assert_eq!((asked.experiment.len(), asked.replace.len(), asked.methods, asked.csv), (2, 2, None, None));
        assert!(parse(&["sweep", "--methods", "astrology"]).is_err());
    }
}
