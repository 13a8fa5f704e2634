//! `linchpin prune`: removes one selection and measures the cost. Other commands share some of its arguments.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as _, Command, FromArgMatches, ValueEnum};

use super::ranges;
use super::selection::{AroundArgs, MethodArg, ReplaceArg, ScoringArgs};
use super::session::Session;
use crate::protocol::{Event, Request};
use crate::terms::{Ablation, Pick, Pruning, ShareOf};

#[derive(Debug, Clone, clap::Args)]
pub struct PruneArgs {
    /// The ranking of each layer's channels; the lowest are removed.
    #[arg(long, value_enum, default_value_t = MethodArg::Lp)]
    pub method: MethodArg,
    /// The share of each layer's channels to remove.
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.3, value_parser = ranges::share(ShareOf::Removed))]
    pub sparsity: f64,
    /// Remove one of these groups instead of the lowest channels.
    #[arg(long, value_enum, conflicts_with_all = ["method", "sparsity"])]
    pub group: Option<GroupArg>,
    /// The value that replaces a removed channel.
    #[arg(long, value_enum, default_value_t = ReplaceArg::Zero)]
    pub replace: ReplaceArg,
    /// Seed of every random draw.
    #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_parser = ranges::seed)]
    pub seed: u64,
    #[command(flatten)]
    pub around: AroundArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
}

/// The same arguments where a removal is optional: `None` if none of them is given.
#[derive(Debug, Clone)]
pub struct GivenPruning(pub Option<PruneArgs>);

impl clap::Args for GivenPruning {
    fn augment_args(command: Command) -> Command {
        PruneArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        PruneArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for GivenPruning {
    /// clap's own `Option` overlooks the arguments of nested groups.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let own = PruneArgs::augment_args(Command::new("own"));
        let is_given = own.get_arguments().any(|arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine));
        Ok(Self(if is_given { Some(PruneArgs::from_arg_matches(matches)?) } else { None }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupArg {
    /// The supernodes of each layer.
    Core,
    /// The channels that write to the same places as the core.
    Halo,
    /// As many channels as the halo, with similar loss proxies, outside core and halo.
    Matched,
    /// As many channels as the core, drawn from outside it.
    Random,
}

impl From<GroupArg> for Pick {
    fn from(group: GroupArg) -> Self {
        match group {
            GroupArg::Core => Self::Core,
            GroupArg::Halo => Self::Halo,
            GroupArg::Matched => Self::Matched,
            GroupArg::Random => Self::Random,
        }
    }
}

impl PruneArgs {
    /// The requested removal.
    pub fn pruning(&self) -> Pruning {
        let lowest = || Pick::Lowest { by: self.method.into(), share: self.sparsity };
        let selection = self.around.selection(self.group.map_or_else(lowest, Pick::from), self.seed);
        Pruning { selection, replacement: self.replace.into() }
    }
}

/// Removes the requested channels, and returns the events for an export.
pub async fn run(session: &mut Session, args: &PruneArgs) -> anyhow::Result<Vec<Event>> {
    session.ask(args.scoring.request(None)).await?;
    let ablation = Ablation::pruning(args.pruning());
    let mut events = session.ask(Request::Apply { ablation }).await?;
    events.extend(session.ask(Request::Evaluate).await?);
    Ok(events)
}
