//! `linchpin prune`: one selection removed and measured, or a grid of them in a file.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::Session;
use crate::protocol::{Event, Request};
use crate::terms::{Ablation, Evaluation, ModelInfo, Pane, Pick, Pruned, Pruning, Ranking, Replacement, Selection};

#[derive(Debug, clap::Args)]
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
    /// Of whatever is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Sequences of the bundled calibration text that channels are scored over.
    #[arg(long, default_value_t = 64)]
    pub sequences: usize,
    /// Tokens of such a sequence.
    #[arg(long, default_value_t = 512)]
    pub length: usize,
    /// `all`, or some with commas between: measure each at all --sparsities, into --csv.
    #[arg(long, requires = "csv", conflicts_with_all = ["method", "group", "sparsity"])]
    pub methods: Option<String>,
    /// Of the grid.
    #[arg(long, value_delimiter = ',', default_value = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7")]
    pub sparsities: Vec<f64>,
    /// Of the grid: repeats of what is drawn.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    pub seeds: Vec<u64>,
    /// The grid's file. Rows that it has already are not measured again.
    #[arg(long, requires = "methods")]
    pub csv: Option<PathBuf>,
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

impl PruneArgs {
    fn selection(&self, pick: Pick, seed: u64) -> Pruning {
        let Self { rho, eta, support, layer, .. } = *self;
        let replacement = match self.replace {
            ReplaceArg::Zero => Replacement::Zero,
            ReplaceArg::Mean => Replacement::Mean,
        };
        Pruning { selection: Selection { pick, rho, eta, support, layer, seed }, replacement }
    }

    fn score(&self) -> Request {
        Request::Score { text: None, sequences: self.sequences, length: self.length, super_weights: Vec::new(), resume: false }
    }
}

/// Removes what was asked for, and returns what an export is made of; a grid goes into its file.
pub async fn run(session: &mut Session, args: &PruneArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    if let (Some(methods), Some(path)) = (&args.methods, &args.csv) {
        return grid(session, args, info, methods, path).await;
    }
    let lowest = || Pick::Lowest { by: args.method.into(), share: args.sparsity };
    let pruning = args.selection(args.group.map_or_else(lowest, Pick::from), args.seed);
    session.ask(args.score()).await?;
    measured(session, pruning).await
}

async fn measured(session: &mut Session, pruning: Pruning) -> anyhow::Result<Vec<Event>> {
    let mut events = session.ask(Request::Apply { ablation: Ablation::pruning(pruning) }).await?;
    events.extend(session.ask(Request::Evaluate).await?);
    Ok(events)
}

const KEYS: &str = "model,revision,backend,method,sparsity,replace,seed,layer,rho,eta,support,sequences,length,text";
const FIGURES: &str = "n_removed,digest,loss_nats,perplexity,intact_loss_nats,intact_perplexity";

/// One row to be measured: what names it, and what it removes.
struct Row {
    key: String,
    pruning: Pruning,
}

async fn grid(session: &mut Session, args: &PruneArgs, info: &ModelInfo, methods: &str, path: &Path) -> anyhow::Result<Vec<Event>> {
    let methods = parse_methods(methods)?;
    let (mut file, known) = open(path)?;
    let events = session.ask(Request::Evaluate).await?;
    let intact = evaluation(&events, Pane::Intact)?;
    let mut rows = rows(args, info, &methods, &intact.convention);
    rows.retain(|row| !known.iter().any(|line| line.starts_with(&row.key)));
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    session.ask(args.score()).await?;
    for Row { key, pruning } in rows {
        let events = measured(session, pruning).await?;
        let after = evaluation(&events, Pane::Ablated)?;
        let pruned = events.iter().find_map(|event| if let Event::Applied { pruned, .. } = event { pruned.as_ref() } else { None });
        let Pruned { n_channels, digest, .. } = pruned.context("nothing was pruned")?;
        let (loss, perplexity) = (after.loss_nats, after.perplexity);
        writeln!(file, "{key}{n_channels},{digest},{loss},{perplexity},{},{}", intact.loss_nats, intact.perplexity)?;
        // A row that was paid for stays.
        file.flush()?;
    }
    Ok(Vec::new())
}

fn evaluation(events: &[Event], wanted: Pane) -> anyhow::Result<Evaluation> {
    let found = events.iter().find_map(|event| match event {
        Event::Evaluated { pane, evaluation } if *pane == wanted => Some(evaluation.clone()),
        _ => None,
    });
    found.context("the engine evaluated nothing")
}

fn parse_methods(text: &str) -> anyhow::Result<Vec<MethodArg>> {
    if text == "all" {
        return Ok(MethodArg::value_variants().to_vec());
    }
    let parse = |name: &str| MethodArg::from_str(name.trim(), true).map_err(|_unknown| anyhow::anyhow!("{name:?} is no method"));
    text.split(',').map(parse).collect()
}

/// Every method at every sparsity; one that draws nothing needs one seed only.
fn rows(args: &PruneArgs, info: &ModelInfo, methods: &[MethodArg], text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for method in methods {
        let seeds = if *method == MethodArg::Random { &args.seeds[..] } else { &args.seeds[..args.seeds.len().min(1)] };
        for (sparsity, seed) in args.sparsities.iter().flat_map(|sparsity| seeds.iter().map(move |seed| (*sparsity, *seed))) {
            let pruning = args.selection(Pick::Lowest { by: (*method).into(), share: sparsity }, seed);
            let name =
                |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| value().map_or(String::new(), |v| v.get_name().to_owned());
            let (method, replace) = (name(&|| method.to_possible_value()), name(&|| args.replace.to_possible_value()));
            let PruneArgs { rho, eta, sequences, length, .. } = args;
            let number = |value: Option<usize>| value.map_or(String::new(), |value| value.to_string());
            let (layer, support) = (number(args.layer), number(args.support));
            let [id, backend, text] = [&info.model.id, &info.backend.kind, text].map(quoted);
            let revision = &info.model.revision;
            let key = format!(
                "{id},{revision},{backend},{method},{sparsity},{replace},{seed},{layer},{rho},{eta},{support},{sequences},{length},{text},"
            );
            rows.push(Row { key, pruning });
        }
    }
    rows
}

/// A field of a table, in quotes whatever is in it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The table, at its end, and the lines that it has. One that was cut short goes.
fn open(path: &Path) -> anyhow::Result<(File, Vec<String>)> {
    let cannot = || format!("cannot write the table {}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(cannot),
    };
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let header = format!("{KEYS},{FIGURES}");
    if whole.lines().next().is_some_and(|first| first != header) || (whole.is_empty() && !header.starts_with(&text)) {
        bail!("{} is another table: name another file", path.display());
    }
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).with_context(cannot)?;
    file.set_len(whole.len() as u64).with_context(cannot)?;
    file.seek(SeekFrom::End(0)).with_context(cannot)?;
    if whole.is_empty() {
        writeln!(file, "{header}").with_context(cannot)?;
    }
    Ok((file, whole.lines().skip(1).map(str::to_owned).collect()))
}
