//! `linchpin prune`: one selection removed and measured; and the arguments that it shares with other commands.

use clap::ValueEnum;

use super::Session;
use crate::protocol::{Event, Request};
use crate::terms::{Ablation, CalibrationText, Pick, Pruning, Ranking, Replacement, Selection};

#[derive(Debug, Clone, clap::Args)]
pub struct PruneArgs {
    /// What the channels of each layer are ranked by; the lowest go.
    #[arg(long, value_enum, default_value_t = MethodArg::Lp)]
    pub method: MethodArg,
    /// The share of each layer's channels to remove.
    #[arg(long, default_value_t = 0.3)]
    pub sparsity: f64,
    /// Remove one of these instead of the lowest.
    #[arg(long, value_enum, conflicts_with_all = ["method", "sparsity"])]
    pub group: Option<GroupArg>,
    /// What stands in place of a removed channel.
    #[arg(long, value_enum, default_value_t = ReplaceArg::Zero)]
    pub replace: ReplaceArg,
    /// Of whatever is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub around: AroundArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
}

/// Which channels are around which.
#[derive(Debug, Clone, clap::Args)]
pub struct AroundArgs {
    /// Only this layer.
    #[arg(long)]
    pub layer: Option<usize>,
    /// The core: a share of a layer's channels.
    #[arg(long, default_value_t = 0.01)]
    pub rho: f64,
    /// The halo: a share of the channels outside the core.
    #[arg(long, default_value_t = 0.1)]
    pub eta: f64,
    /// Residual channels that count as where the core writes; left out, a sixteenth of them.
    #[arg(long)]
    pub support: Option<usize>,
}

impl AroundArgs {
    pub fn selection(&self, pick: Pick, seed: u64) -> Selection {
        let Self { layer, rho, eta, support } = *self;
        Selection { pick, rho, eta, support, layer, seed }
    }
}

/// Over how much text channels are scored.
#[derive(Debug, Clone, clap::Args)]
pub struct ScoringArgs {
    /// Sequences of the calibration text that channels are scored over; fewer if it is short.
    #[arg(long, default_value_t = 64)]
    pub sequences: usize,
    /// Tokens of such a sequence, at most as many as the model's context holds.
    #[arg(long, default_value_t = 512)]
    pub length: usize,
}

impl ScoringArgs {
    /// Over the bundled text without one.
    pub fn request(&self, text: Option<CalibrationText>) -> Request {
        Request::Score { text, sequences: self.sequences, length: self.length, super_weights: Vec::new(), resume: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// Loss proxy, the supernodes kept.
    Lp,
    /// The same, redundant channels of the halo first.
    ScarProt,
    /// The same by how much a channel writes where the core does.
    ScarConn,
    Random,
    /// Weight norms.
    Magnitude,
    /// Activation power.
    Activation,
    /// Magnitudes of weights times the norms of what they are multiplied with.
    Wanda,
    /// Mean |activation times gradient|.
    Taylor,
    /// Variance of the activation times the squared norm of what it writes with.
    Flap,
}

impl From<MethodArg> for Ranking {
    fn from(method: MethodArg) -> Self {
        match method {
            MethodArg::Lp => Self::LossProxy,
            MethodArg::ScarProt => Self::Protected,
            MethodArg::ScarConn => Self::Connected,
            MethodArg::Random => Self::Random,
            MethodArg::Magnitude => Self::Magnitude,
            MethodArg::Activation => Self::ActivationPower,
            MethodArg::Wanda => Self::Wanda,
            MethodArg::Taylor => Self::Taylor,
            MethodArg::Flap => Self::Fluctuation,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupArg {
    /// The supernodes of each layer.
    Core,
    /// The channels that write where the core does.
    Halo,
    /// As many as the halo, alike by loss proxy, from elsewhere.
    Matched,
    /// As many as the core, drawn from elsewhere.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplaceArg {
    Zero,
    /// Its mean over the calibration text.
    Mean,
}

impl From<ReplaceArg> for Replacement {
    fn from(replace: ReplaceArg) -> Self {
        match replace {
            ReplaceArg::Zero => Self::Zero,
            ReplaceArg::Mean => Self::Mean,
        }
    }
}

/// A value as it is typed.
pub fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

/// Removes what was asked for, and returns what an export is made of.
pub async fn run(session: &mut Session, args: &PruneArgs) -> anyhow::Result<Vec<Event>> {
    let lowest = || Pick::Lowest { by: args.method.into(), share: args.sparsity };
    let selection = args.around.selection(args.group.map_or_else(lowest, Pick::from), args.seed);
    session.ask(args.scoring.request(None)).await?;
    let ablation = Ablation::pruning(Pruning { selection, replacement: args.replace.into() });
    let mut events = session.ask(Request::Apply { ablation }).await?;
    events.extend(session.ask(Request::Evaluate).await?);
    Ok(events)
}
