//! `linchpin sweep`: measures the cost of removing channels by many rules, into a table that a later call can
//! continue.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;

use super::ranges;
use super::selection::{AroundArgs, MethodArg, ReplaceArg, ScoringArgs};
use super::session::Session;
use super::table::Table;
use crate::protocol::{Event, Request};
use crate::tables::sweep::{columns, figures, key};
use crate::terms::{Cell, Comparison, Message, ModelInfo, Pane, Pick, Plan, Pruning, ShareOf, SweepReport};

#[derive(Debug, Clone, clap::Args)]
pub struct SweepArgs {
    /// The sweeps to run, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pruning,removal")]
    pub experiment: Vec<ExperimentArg>,
    /// Rankings of the channels, separated by commas, or `all`. By default `pruning` has all of them, and `removal` has
    /// lp, random, activation and magnitude.
    #[arg(long, value_parser = parse_methods)]
    pub methods: Option<Methods>,
    /// Shares of each layer's channels that `pruning` removes.
    #[arg(long, allow_negative_numbers = true, value_delimiter = ',', default_values_t = Plan::SPARSITIES, value_parser = ranges::share(ShareOf::Removed))]
    pub sparsities: Vec<f64>,
    /// Shares of each layer's channels that `removal` removes.
    #[arg(long, allow_negative_numbers = true, value_delimiter = ',', default_values_t = Plan::SHARES, value_parser = ranges::share(ShareOf::Removed))]
    pub shares: Vec<f64>,
    /// Sizes of the halos that `removal` removes: shares of the channels outside the core.
    #[arg(long, allow_negative_numbers = true, value_delimiter = ',', default_values_t = Plan::HALOS, value_parser = ranges::share(ShareOf::Halo))]
    pub etas: Vec<f64>,
    /// The values that replace a removed channel, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "zero,mean")]
    pub replace: Vec<ReplaceArg>,
    /// Seeds of random draws, one repetition for each, separated by commas.
    #[arg(long, allow_negative_numbers = true, value_delimiter = ',', default_values_t = Plan::SEEDS, value_parser = ranges::seed)]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub around: AroundArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    /// File for a table of the results. Rows that it already has are not measured again.
    #[arg(long)]
    pub csv: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExperimentArg {
    /// Remove the channels of lowest rank, as in one-shot structured pruning.
    Pruning,
    /// Remove the channels of highest rank, the core, halos, and controls matched with them.
    Removal,
}

impl From<ExperimentArg> for Comparison {
    fn from(experiment: ExperimentArg) -> Self {
        match experiment {
            ExperimentArg::Pruning => Self::Pruning,
            ExperimentArg::Removal => Self::Removal,
        }
    }
}

/// A list of methods in one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods(pub Vec<MethodArg>);

fn parse_methods(text: &str) -> Result<Methods, String> {
    if text == "all" {
        return Ok(Methods(MethodArg::value_variants().to_vec()));
    }
    let parse = |name: &str| MethodArg::from_str(name.trim(), true).map_err(|_unknown| format!("{name:?} is not a method"));
    text.split(',').map(parse).collect::<Result<_, _>>().map(Methods)
}

/// Measures the rows that the table lacks, and returns them as one report.
pub async fn run(session: &mut Session, args: &SweepArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    let mut table = args.csv.as_ref().map(|path| Table::open(path, columns())).transpose()?;
    let intact = session.intact().await?;
    let mut rows = VecDeque::from(args.rows(info, &intact.convention, &session.text_digest));
    rows.retain(|(key, _)| table.as_ref().is_none_or(|table| !table.knows(key)));
    if rows.is_empty() {
        let evaluated = Event::Evaluated { pane: Pane::Intact, evaluation: intact.clone() };
        return Ok(vec![evaluated, Event::Swept(SweepReport { model: info.model.clone(), intact, points: Vec::new() })]);
    }
    session.ask(args.scoring.request(None)).await?;
    let prunings = rows.iter().map(|(_, pruning)| *pruning).collect();
    let written = move |event: &Event| {
        if let (Event::SweepPoint(point), Some(table)) = (event, &mut table) {
            // Points come in the order of the rows.
            let (key, _) = rows.pop_front().context("more points than rows")?;
            table.add(&key, &figures(point, Some(&intact)))?;
        }
        Ok(())
    };
    session.watch(Request::Sweep { prunings }, written).await
}

impl SweepArgs {
    /// Returns every row to measure: its key in the table, and its pruning. `text` and `digest` are those of the text
    /// that the loss is measured on.
    fn rows(&self, info: &ModelInfo, text: &Message, digest: &str) -> Vec<(Vec<Cell>, Pruning)> {
        let of = self.scoring.measurement(info, text, digest);
        self.prunings().into_iter().map(|pruning| (key(&pruning, &of), pruning)).collect()
    }

    /// Every rule to measure.
    pub fn prunings(&self) -> Vec<Pruning> {
        // The plan replaces the pick and the seed.
        let around = self.around.selection(Pick::Core, 0);
        let selections = self.experiment.iter().flat_map(|experiment| self.plan((*experiment).into()).line_by_line(&around));
        let selections = selections.collect::<Vec<_>>();
        let of = |replace: &ReplaceArg| {
            let replacement = (*replace).into();
            selections.iter().map(move |selection| Pruning { selection: *selection, replacement }).collect::<Vec<_>>()
        };
        self.replace.iter().flat_map(of).collect()
    }

    /// The page's plan, with the sizes, seeds and methods of the arguments.
    fn plan(&self, comparison: Comparison) -> Plan {
        let mut plan = Plan { seeds: self.seeds.clone(), ..Plan::of(comparison) };
        match comparison {
            Comparison::Pruning => plan.shares.clone_from(&self.sparsities),
            Comparison::Removal => (plan.shares, plan.halos) = (self.shares.clone(), self.etas.clone()),
        }
        if let Some(Methods(methods)) = &self.methods {
            plan.rankings = methods.iter().map(|method| (*method).into()).collect();
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::command::{Args, Command};
    use super::*;
    use crate::terms::Ranking;
    use crate::terms::Replacement;

    fn prunings(args: &[&str]) -> Vec<Pruning> {
        let args = Args::try_parse_from([&["linchpin", "sweep"], args].concat());
        let Ok(Args { command: Command::Sweep(asked), .. }) = args else { panic!("{args:?}") };
        asked.prunings()
    }

    #[test]
    fn grid_is_whole() {
        let all = prunings(&[]);
        // Pruning has eight methods and three draws at eight shares. Removal has three methods and three draws at seven
        // shares, the core, and five halos with three matches each. Both run twice.
        assert_eq!(all.len(), 2 * (11 * 8 + 6 * 7 + 1 + 5 * 4));
        let count = |is: &dyn Fn(&Pruning) -> bool| all.iter().filter(|pruning| is(pruning)).count();
        assert_eq!(count(&|pruning| pruning.replacement == Replacement::Mean), all.len() / 2);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Core), 2);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Halo && pruning.selection.eta == 0.2), 2);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Highest { by: Ranking::Random, share: 0.0025 }), 6);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Highest { by: Ranking::Taylor, share: 0.01 }), 0);
    }

    /// The page requests [`Comparison::prunings`].
    #[test]
    fn command_measures_the_pages_rules() {
        for (comparison, name) in [(Comparison::Removal, "removal"), (Comparison::Pruning, "pruning")] {
            for (replacement, replace) in [(Replacement::Zero, "zero"), (Replacement::Mean, "mean")] {
                let (command, page) = (prunings(&["--experiment", name, "--replace", replace]), comparison.prunings(replacement));
                assert_eq!(command.len(), page.len());
                assert!(page.iter().all(|pruning| command.contains(pruning)), "{name}, {replace}");
            }
        }
    }

    #[test]
    fn methods_are_of_both_experiments() {
        let removal = ["--experiment", "removal", "--etas", "0.1", "--seeds", "4", "--replace", "zero"];
        let found = prunings(&[&removal[..], &["--methods", "taylor", "--shares", "0.5", "--layer", "2"]].concat());
        let picks = found.iter().map(|pruning| pruning.selection.pick).collect::<Vec<_>>();
        assert_eq!(picks, [Pick::Highest { by: Ranking::Taylor, share: 0.5 }, Pick::Core, Pick::Halo, Pick::Matched]);
        assert!(found.iter().all(|pruning| pruning.selection.layer == Some(2) && pruning.selection.seed == 4));
        let every = prunings(&["--experiment", "pruning", "--methods", "all", "--sparsities", "0.5", "--seeds", "1", "--replace", "mean"]);
        assert_eq!(every.len(), Ranking::ALL.len());
    }
}
