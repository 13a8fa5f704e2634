//! `linchpin prune`: removes one selection and measures the cost. Other commands share some of its arguments.

use clap::ValueEnum;

use super::selection::{AroundArgs, MethodArg, ReplaceArg, ScoringArgs};
use super::session::Session;
use crate::protocol::{Event, Request};
use crate::terms::{Ablation, Pick, Pruning};

#[derive(Debug, Clone, clap::Args)]
pub struct PruneArgs {
    /// The ranking of each layer's channels; the lowest are removed.
    #[arg(long, value_enum, default_value_t = MethodArg::Lp)]
    pub method: MethodArg,
    /// The share of each layer's channels to remove.
    #[arg(long, default_value_t = 0.3)]
    pub sparsity: f64,
    /// Remove one of these groups instead of the lowest channels.
    #[arg(long, value_enum, conflicts_with_all = ["method", "sparsity"])]
    pub group: Option<GroupArg>,
    /// The value that replaces a removed channel.
    #[arg(long, value_enum, default_value_t = ReplaceArg::Zero)]
    pub replace: ReplaceArg,
    /// Seed of every random draw.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub around: AroundArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
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

/// Removes the requested channels, and returns the events for an export.
pub async fn run(session: &mut Session, args: &PruneArgs) -> anyhow::Result<Vec<Event>> {
    let lowest = || Pick::Lowest { by: args.method.into(), share: args.sparsity };
    let selection = args.around.selection(args.group.map_or_else(lowest, Pick::from), args.seed);
    session.ask(args.scoring.request(None)).await?;
    let ablation = Ablation::pruning(Pruning { selection, replacement: args.replace.into() });
    let mut events = session.ask(Request::Apply { ablation }).await?;
    events.extend(session.ask(Request::Evaluate).await?);
    Ok(events)
}
