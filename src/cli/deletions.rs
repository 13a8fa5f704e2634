//! `linchpin deletions`: removes channels one at a time, and compares the cost with their loss proxies.

use std::path::PathBuf;

use super::selection::{ReplaceArg, ScoringArgs, name};
use super::session::Session;
use super::table::{Table, quoted};
use crate::protocol::{Event, Request};
use crate::terms::{Deletion, ModelInfo};

#[derive(Debug, Clone, clap::Args)]
pub struct DeletionArgs {
    /// Number of channels to remove in each layer; a layer with fewer channels gives all.
    #[arg(long, default_value_t = 128)]
    pub per_layer: usize,
    /// Number of quantiles of the layer's loss proxies, from which the channels are drawn evenly.
    #[arg(long, default_value_t = 8)]
    pub quantiles: usize,
    /// Remove channels of this layer only.
    #[arg(long)]
    pub layer: Option<usize>,
    /// The value that replaces a removed channel.
    #[arg(long, value_enum, default_value_t = ReplaceArg::Zero)]
    pub replace: ReplaceArg,
    /// Seed of the draw.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    /// File for a table of the deletions, each written as soon as it is measured; a row that it already has is not
    /// written again.
    #[arg(long)]
    pub csv: Option<PathBuf>,
}

const HEADER: &str = "model,revision,backend,per_layer,quantiles,replace,seed,sequences,length,text,text_digest,layer,channel,\
    quantile,loss_proxy,delta_nats,intact_loss_nats";

pub async fn run(session: &mut Session, args: &DeletionArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    let mut table = args.csv.as_ref().map(|path| Table::open(path, HEADER)).transpose()?;
    let intact = session.intact().await?;
    session.ask(args.scoring.request(None)).await?;
    let DeletionArgs { per_layer, quantiles, layer, replace, seed, scoring: ScoringArgs { sequences, length }, .. } = *args;
    let [id, backend, text] = [&info.model.id, &info.backend.kind, &intact.convention].map(|text| quoted(text));
    let first = format!(
        "{id},{},{backend},{per_layer},{quantiles},{},{seed},{sequences},{length},{text},{}",
        info.model.revision,
        name(&replace),
        session.text_digest
    );
    let written = move |event: &Event| {
        let (Event::Deletion(deletion), Some(table)) = (event, &mut table) else { return Ok(()) };
        let Deletion { layer, channel, loss_proxy, quantile, delta_nats } = deletion;
        let key = format!("{first},{layer},{channel},");
        if table.knows(&key) {
            return Ok(());
        }
        table.add(&key, &format!("{quantile},{loss_proxy:e},{delta_nats:e},{}", intact.loss_nats))
    };
    session.watch(Request::Delete { per_layer, n_quantiles: quantiles, layer, seed, replacement: replace.into() }, written).await
}
