//! `linchpin prune`: removes one selection and measures the cost. It also has the arguments shared with other commands.

use clap::ValueEnum;

use super::Session;
use crate::protocol::{Event, Request};
use crate::terms::{Ablation, CalibrationText, Pick, Pruning, Ranking, Replacement, Selection};

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

/// Arguments for the core and its surroundings.
#[derive(Debug, Clone, clap::Args)]
pub struct AroundArgs {
    /// Select channels of this layer only.
    #[arg(long)]
    pub layer: Option<usize>,
    /// The core: a share of a layer's channels.
    #[arg(long, default_value_t = 0.01)]
    pub rho: f64,
    /// The halo: a share of the channels outside the core.
    #[arg(long, default_value_t = 0.1)]
    pub eta: f64,
    /// Number of residual channels in the core's write support; by default a sixteenth of all.
    #[arg(long)]
    pub support: Option<usize>,
}

impl AroundArgs {
    pub fn selection(&self, pick: Pick, seed: u64) -> Selection {
        let Self { layer, rho, eta, support } = *self;
        Selection { pick, rho, eta, support, layer, seed }
    }
}

/// Arguments for the amount of text that channels are scored over.
#[derive(Debug, Clone, clap::Args)]
pub struct ScoringArgs {
    /// Number of sequences of the calibration text that channels are scored over; fewer if the text is short.
    #[arg(long, default_value_t = 64)]
    pub sequences: usize,
    /// Tokens of each sequence, at most the model's context.
    #[arg(long, default_value_t = 512)]
    pub length: usize,
}

impl ScoringArgs {
    /// Makes the request to score channels over `text`, or over the bundled text without one.
    pub fn request(&self, text: Option<CalibrationText>) -> Request {
        Request::Score { text, sequences: self.sequences, length: self.length, super_weights: Vec::new(), resume: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// Loss proxy; the supernodes are kept.
    Lp,
    /// Loss proxy; the supernodes are kept, and redundant channels of the halo are removed first.
    ScarProt,
    /// Loss proxy; the supernodes are kept, and a halo channel's redundancy counts by its share of writing where the
    /// core does.
    ScarConn,
    Random,
    /// Sum of the weight norms.
    Magnitude,
    /// Activation power.
    Activation,
    /// Magnitudes of weights times the norms of their inputs.
    Wanda,
    /// Mean |activation times gradient|.
    Taylor,
    /// Variance of the activation times the squared norm of the channel's column of down_proj.
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
    /// As many channels as the halo, of similar loss proxy, outside core and halo.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplaceArg {
    Zero,
    /// The channel's mean over the calibration text.
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

/// Returns a value's name on the command line.
pub fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

/// Removes the selected channels, and returns the events for an export.
pub async fn run(session: &mut Session, args: &PruneArgs) -> anyhow::Result<Vec<Event>> {
    let lowest = || Pick::Lowest { by: args.method.into(), share: args.sparsity };
    let selection = args.around.selection(args.group.map_or_else(lowest, Pick::from), args.seed);
    session.ask(args.scoring.request(None)).await?;
    let ablation = Ablation::pruning(Pruning { selection, replacement: args.replace.into() });
    let mut events = session.ask(Request::Apply { ablation }).await?;
    events.extend(session.ask(Request::Evaluate).await?);
    Ok(events)
}
