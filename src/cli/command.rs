//! The subcommands of the command, each with its arguments.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::check::CheckArgs;
use super::deletions::DeletionArgs;
use super::edits::EditArgs;
use super::experiment::ExperimentArgs;
use super::options::Options;
use super::prune::PruneArgs;
use super::repeat::RepeatArgs;
use super::report::ReportArgs;
use super::selection::ScoringArgs;
use super::surround::SurroundArgs;
use super::sweep::SweepArgs;
use super::training::TrainingArgs;
use crate::terms::ExperimentKind;

/// Find the few numbers that hold a language model up, and pull them.
#[derive(Debug, Clone, Parser)]
#[command(name = "linchpin", version, about)]
pub struct Args {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

impl Command {
    /// The experiment, if it is one.
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

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Look for super weights over a prompt.
    Scan {
        #[arg(long, default_value = "It was a dark evening, and the old man")]
        prompt: String,
        /// Then zero each candidate beside controls; exit code 1 if none is confirmed.
        #[arg(long)]
        confirm: bool,
        /// Draws the random controls.
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
    /// Held-out loss and perplexity, intact and with edits.
    Perplexity {
        #[command(flatten)]
        edits: EditArgs,
    },
    /// Score every feed-forward channel by gradients, and tell how its layer's loss proxy is spread.
    Score {
        #[command(flatten)]
        scoring: ScoringArgs,
        /// LAYER,ROW,COL: a super weight, to see where its channel stands.
        #[arg(long)]
        super_weight: Vec<String>,
        /// Print a table of all channels, a line each, and nothing else.
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Remove channels of every layer by a rule, in one shot, and measure what it costs.
    Prune(PruneArgs),
    /// Measure what the removal of channels costs by many rules, one after the other.
    Sweep(SweepArgs),
    /// Remove channels one at a time, and tell how far their loss proxies told what it cost.
    Deletions(DeletionArgs),
    /// Find each layer's core, where it writes, and the channels that write there too.
    Surround(SurroundArgs),
    /// Score the checkpoints of one model, to see how its loss proxy concentrated while it was trained.
    Training(TrainingArgs),
    /// What removing the super weights costs, beside the largest other weights, and restoring the super activation (Table 1 of
    /// the super-weight paper).
    Importance(ExperimentArgs),
    /// The super activation through every layer's residual stream, token by token (Figure 4).
    Propagation(ExperimentArgs),
    /// Loss and accuracy over the super weights' scale, and where the model collapses (Figures 6 and 8).
    Scaling(ExperimentArgs),
    /// How the next token's probabilities shift over many prompts (Figures 5 and 11).
    TokenShift(ExperimentArgs),
    /// Weights and activations in 8 bits: naive, with the super activation held out, SmoothQuant (Table 3).
    ActivationQuantisation(ExperimentArgs),
    /// Weights in 8, 4 and 3 bits by blocks, with and without the super weights held out (Figure 7).
    WeightQuantisation(ExperimentArgs),
    /// Candidates from the weights alone, beside those of a scan.
    WeightsOnly(ExperimentArgs),
    /// Massive activations and attention sinks, before and after.
    Sinks(ExperimentArgs),
    /// Make the experiments of an export again, and compare every figure; exit code 1 if one differs.
    Repeat(RepeatArgs),
    /// Write every experiment on the model as a static page with its plots, and the data beside it; exit code 1 if one could not
    /// be made.
    Report(ReportArgs),
    /// Measure what others have published on the model: zero its known coordinates beside controls; exit code 1 if an
    /// undisputed claim comes out otherwise.
    Check(CheckArgs),
    /// List the models of the Hugging Face Hub that the catalogue knows, and what is published on them.
    Models {
        /// Only this one, with its findings in words.
        id: Option<String>,
    },
    /// Time the model: prompts, new tokens, gradients, edits, matrix products.
    Measure,
    /// Compare with golden values of transformers; exit code 1 if a tensor is further off than the tolerance.
    Verify {
        #[arg(long)]
        golden: PathBuf,
        #[arg(long, default_value_t = 1e-4)]
        tolerance: f32,
    },
}

/// Left out, each has the model's own default (generation_config.json).
#[derive(Debug, Clone, clap::Args)]
pub struct SamplingArgs {
    /// 0 is greedy.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::selection::{AroundArgs, MethodArg};
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
