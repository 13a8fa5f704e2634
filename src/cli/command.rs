//! Arguments of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::check::CheckArgs;
use super::deletions::DeletionArgs;
use super::edits::EditArgs;
use super::experiment_args::ExperimentCommand;
use super::options::Options;
use super::prune::PruneArgs;
use super::ranges;
use super::repeat::RepeatArgs;
use super::report::ReportArgs;
use super::save::SaveArgs;
use super::selection::ScoringArgs;
use super::surround::SurroundArgs;
use super::sweep::SweepArgs;
use super::training::TrainingArgs;
use crate::terms::{Count, Fraction, Sampling};

/// Find the few weights that a language model cannot do without, and show the effect of removing them.
#[derive(Debug, Clone, Parser)]
#[command(name = "linchpin", version, about)]
pub struct Args {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Search for super weights on a prompt.
    Scan {
        /// The text to read. Candidates are sought in its first 64 tokens; the layers' spikes are those of all. At
        /// most 1 MiB.
        #[arg(long, allow_hyphen_values = true, default_value = "It was a dark evening, and the old man")]
        prompt: String,
        /// Then zero each candidate and compare it with controls; the exit code is 1 if none is confirmed.
        #[arg(long)]
        confirm: bool,
        /// Seed of the random controls.
        #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_parser = ranges::seed)]
        seed: u64,
    },
    /// Edit weights, measure the loss, and generate text next to the intact model's.
    Ablate {
        #[command(flatten)]
        edits: EditArgs,
        /// The opening that is continued, of at most 1 MiB.
        #[arg(long, allow_hyphen_values = true, default_value = "It was a dark evening, and the old man")]
        prompt: String,
        #[command(flatten)]
        sampling: SamplingArgs,
    },
    /// Generate text with the intact model.
    Generate {
        /// The opening that is continued, of at most 1 MiB.
        #[arg(long, allow_hyphen_values = true, default_value = "It was a dark evening, and the old man")]
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
    #[command(flatten)]
    Experiment(ExperimentCommand),
    /// Repeat the experiments of an export and compare every figure; the exit code is 1 if one differs.
    Repeat(RepeatArgs),
    /// Write every experiment on the model as a static page with its plots, and the data next to it; the exit code is 1
    /// if an experiment failed.
    Report(ReportArgs),
    /// Write the model with its edits as a folder that transformers loads.
    Save(SaveArgs),
    /// Measure the published findings on the model: zero its known coordinates, with controls; the exit code is 1 if
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
        #[arg(long, allow_negative_numbers = true, default_value_t = 1e-4, value_parser = ranges::tolerance)]
        tolerance: f64,
    },
}

/// Sampling settings; an omitted one has the model's own default (generation_config.json).
#[derive(Debug, Clone, clap::Args)]
pub struct SamplingArgs {
    /// Temperature; 0 is greedy.
    #[arg(long, allow_negative_numbers = true, value_parser = ranges::fraction(Fraction::Temperature))]
    pub temperature: Option<f32>,
    #[arg(long, allow_negative_numbers = true, value_parser = ranges::count(Count::TopK))]
    pub top_k: Option<usize>,
    #[arg(long, allow_negative_numbers = true, value_parser = ranges::fraction(Fraction::TopP))]
    pub top_p: Option<f32>,
    #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_parser = ranges::seed)]
    pub seed: u64,
    #[arg(long, allow_negative_numbers = true, value_parser = ranges::count(Count::MaxNewTokens))]
    pub max_new_tokens: Option<usize>,
}

impl SamplingArgs {
    /// These settings, and a model's own for those that are not given.
    pub fn over(&self, defaults: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            seed: self.seed,
            max_new_tokens: self.max_new_tokens.unwrap_or(defaults.max_new_tokens),
        }
    }
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
    fn experiments_are_subcommands_of_their_names() {
        for kind in crate::terms::ExperimentKind::ALL {
            let parsed = parse(&[&kind.name().replace('_', "-"), "--super-weight", "2,12,86"]).unwrap();
            let Command::Experiment(ExperimentCommand { kind: of, args }) = parsed else { panic!("{parsed:?}") };
            assert_eq!((of, args.super_weight.len()), (*kind, 1));
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
    fn saved_model_is_pruned_if_any_option_of_the_rule_is_given() {
        let pruning = |args: &[&str]| match parse(&[&["save", "--out", "x"], args].concat()).unwrap() {
            Command::Save(asked) => asked.pruning.0.map(|args| (args.sparsity, args.around.layer, args.scoring.sequences)),
            other => panic!("{other:?}"),
        };
        assert_eq!(pruning(&["--scalar", "1,2,3"]), None);
        assert_eq!(pruning(&["--sparsity", "0.5"]), Some((0.5, None, 64)));
        assert_eq!(pruning(&["--layer", "2"]), Some((0.3, Some(2), 64)));
        assert_eq!(pruning(&["--sequences", "8"]), Some((0.3, None, 8)));
        assert!(parse(&["save", "--scalar", "1,2,3"]).is_err(), "a folder is required");
    }

    #[test]
    fn sweep_is_both_experiments_unless_one_is_named() {
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
