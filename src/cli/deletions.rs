//! `linchpin deletions`: removes channels one at a time, and compares the cost with their loss proxies.

use std::path::PathBuf;

use super::ranges;
use super::selection::{ReplaceArg, ScoringArgs};
use super::session::Session;
use super::table::Table;
use crate::protocol::{Event, Request};
use crate::tables::deletions::{Draw, columns, figures, key};
use crate::terms::{Count, ModelInfo};

#[derive(Debug, Clone, clap::Args)]
pub struct DeletionArgs {
    /// Number of channels to remove in each layer; all if the layer has fewer.
    #[arg(long, allow_negative_numbers = true, default_value_t = 128, value_parser = ranges::count(Count::PerLayer))]
    pub per_layer: usize,
    /// Number of quantiles of the layer's loss proxies, from which the channels are drawn evenly.
    #[arg(long, allow_negative_numbers = true, default_value_t = 8, value_parser = ranges::count(Count::Quantiles))]
    pub quantiles: usize,
    /// Remove channels of this layer only.
    #[arg(long)]
    pub layer: Option<usize>,
    /// The value that replaces a removed channel.
    #[arg(long, value_enum, default_value_t = ReplaceArg::Zero)]
    pub replace: ReplaceArg,
    /// Seed of the draw.
    #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_parser = ranges::seed)]
    pub seed: u64,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    /// File for a table of the deletions, each written as soon as it is measured; rows that it already has are not
    /// written again.
    #[arg(long)]
    pub csv: Option<PathBuf>,
}

impl DeletionArgs {
    pub fn request(&self) -> Request {
        let Self { per_layer, quantiles, layer, seed, .. } = *self;
        Request::Delete { per_layer, n_quantiles: quantiles, layer, seed, replacement: self.replace.into() }
    }
}

pub async fn run(session: &mut Session, args: &DeletionArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    let mut table = args.csv.as_ref().map(|path| Table::open(path, columns())).transpose()?;
    let intact = session.intact().await?;
    session.ask(args.scoring.request(None)).await?;
    let DeletionArgs { per_layer, quantiles, seed, .. } = *args;
    let replacement = args.replace.into();
    let (info, scoring, text_digest) = (info.clone(), args.scoring.clone(), session.text_digest.clone());
    let written = move |event: &Event| {
        let (Event::Deletion(deletion), Some(table)) = (event, &mut table) else { return Ok(()) };
        let draw = Draw { per_layer: Some(per_layer), n_quantiles: quantiles, replacement, seed };
        let key = key(deletion, &draw, &scoring.measurement(&info, &intact.convention, &text_digest));
        if table.knows(&key) {
            return Ok(());
        }
        table.add(&key, &figures(deletion, intact.loss_nats))
    };
    session.watch(args.request(), written).await
}
