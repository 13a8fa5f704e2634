//! `linchpin sweep`: what the removal of channels costs, by many rules, into a table that can be gone on with.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;

use super::selection::{AroundArgs, MethodArg, ReplaceArg, ScoringArgs, name, pick_fields};
use super::session::Session;
use super::table::{Table, optional, quoted};
use crate::protocol::{Event, Request};
use crate::terms::{Evaluation, ModelInfo, Pane, Pick, Pruning, Ranking, Selection, SweepPoint, SweepReport};

#[derive(Debug, Clone, clap::Args)]
pub struct SweepArgs {
    /// Some with commas between.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pruning,removal")]
    pub experiment: Vec<ExperimentArg>,
    /// What channels are ranked by: some with commas between, or `all`. Left out, all for `pruning`, and for `removal` lp,
    /// random, activation and magnitude.
    #[arg(long, value_parser = parse_methods)]
    pub methods: Option<Methods>,
    /// Shares of each layer's channels that `pruning` removes.
    #[arg(long, value_delimiter = ',', default_value = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7")]
    pub sparsities: Vec<f64>,
    /// Shares of each layer's channels that `removal` removes.
    #[arg(long, value_delimiter = ',', default_value = "0.0025,0.005,0.01,0.02,0.05,0.1,0.2")]
    pub shares: Vec<f64>,
    /// Halos that `removal` removes: shares of the channels outside the core.
    #[arg(long, value_delimiter = ',', default_value = "0.01,0.02,0.05,0.1,0.2")]
    pub etas: Vec<f64>,
    /// What stands in place of a removed channel; some with commas between.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "zero,mean")]
    pub replace: Vec<ReplaceArg>,
    /// Repeats of what is drawn.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    pub seeds: Vec<u64>,
    #[command(flatten)]
    pub around: AroundArgs,
    #[command(flatten)]
    pub scoring: ScoringArgs,
    /// A table for the results. Rows that it has already are not measured again.
    #[arg(long)]
    pub csv: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExperimentArg {
    /// The channels of lowest rank go, as in one-shot structured pruning.
    Pruning,
    /// The channels of highest rank go; the core; halos, and controls that are matched with them.
    Removal,
}

/// A list of methods in one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods(pub Vec<MethodArg>);

fn parse_methods(text: &str) -> Result<Methods, String> {
    if text == "all" {
        return Ok(Methods(MethodArg::value_variants().to_vec()));
    }
    let parse = |name: &str| MethodArg::from_str(name.trim(), true).map_err(|_unknown| format!("{name:?} is no method"));
    text.split(',').map(parse).collect::<Result<_, _>>().map(Methods)
}

const REMOVAL_METHODS: [MethodArg; 4] = [MethodArg::Lp, MethodArg::Random, MethodArg::Activation, MethodArg::Magnitude];

const KEYS: &str = "model,revision,backend,pick,method,share,replace,seed,layer,rho,eta,support,sequences,length,text,text_digest";
const FIGURES: &str = "n_removed,digest,loss_nats,perplexity,stopword_mass,intact_loss_nats,intact_perplexity,calibration_digest";

/// Measures what is not in the table yet, and returns it as one report.
pub async fn run(session: &mut Session, args: &SweepArgs, info: &ModelInfo) -> anyhow::Result<Vec<Event>> {
    let mut table = args.csv.as_ref().map(|path| Table::open(path, &format!("{KEYS},{FIGURES}"))).transpose()?;
    let intact = session.intact().await?;
    let mut rows = VecDeque::from(args.rows(info, [&intact.convention, &session.text_digest]));
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
            table.add(&key, &figures(point, &intact))?;
        }
        Ok(())
    };
    session.watch(Request::Sweep { prunings }, written).await
}

fn figures(point: &SweepPoint, intact: &Evaluation) -> String {
    let SweepPoint { pruned, evaluation: Evaluation { loss_nats, perplexity, stopword_mass, .. } } = point;
    let (n, digest, calibration) = (pruned.n_channels, &pruned.digest, &pruned.calibration.text_digest);
    format!("{n},{digest},{loss_nats},{perplexity},{stopword_mass},{},{},{calibration}", intact.loss_nats, intact.perplexity)
}

impl SweepArgs {
    /// Everything to measure: what names it in the table, and what it removes. `text` is its convention, and its digest.
    fn rows(&self, info: &ModelInfo, text: [&str; 2]) -> Vec<(String, Pruning)> {
        let key = |pruning: Pruning| (self.key(&pruning, info, text), pruning);
        self.prunings().into_iter().map(key).collect()
    }

    fn prunings(&self) -> Vec<Pruning> {
        let selections = self.experiment.iter().flat_map(|experiment| match experiment {
            ExperimentArg::Pruning => self.pruning(),
            ExperimentArg::Removal => self.removal(),
        });
        let selections = selections.collect::<Vec<_>>();
        let of = |replace: &ReplaceArg| {
            let replacement = (*replace).into();
            selections.iter().map(move |selection| Pruning { selection: *selection, replacement }).collect::<Vec<_>>()
        };
        self.replace.iter().flat_map(of).collect()
    }

    fn pruning(&self) -> Vec<Selection> {
        let picks = self.ranked(MethodArg::value_variants(), &self.sparsities, |by, share| Pick::Lowest { by, share });
        picks.into_iter().flat_map(|pick| self.repeated(pick)).collect()
    }

    fn removal(&self) -> Vec<Selection> {
        let mut picks = self.ranked(&REMOVAL_METHODS, &self.shares, |by, share| Pick::Highest { by, share });
        picks.push(Pick::Core);
        let mut selections = picks.into_iter().flat_map(|pick| self.repeated(pick)).collect::<Vec<_>>();
        for eta in &self.etas {
            let of_halo = [Pick::Halo, Pick::Matched].into_iter().flat_map(|pick| self.repeated(pick));
            selections.extend(of_halo.map(|selection| Selection { eta: *eta, ..selection }));
        }
        selections
    }

    /// Every method with every share.
    fn ranked(&self, methods: &[MethodArg], shares: &[f64], pick: impl Fn(Ranking, f64) -> Pick) -> Vec<Pick> {
        let methods = self.methods.as_ref().map_or(methods, |given| &given.0);
        methods.iter().flat_map(|method| shares.iter().map(|share| pick((*method).into(), *share)).collect::<Vec<_>>()).collect()
    }

    /// With every seed, if it is drawn; one that draws nothing needs one only.
    fn repeated(&self, pick: Pick) -> Vec<Selection> {
        let n = if pick.is_drawn() { self.seeds.len() } else { self.seeds.len().min(1) };
        self.seeds[..n].iter().map(|seed| self.around.selection(pick, *seed)).collect()
    }

    fn key(&self, Pruning { selection, replacement }: &Pruning, info: &ModelInfo, [text, digest]: [&str; 2]) -> String {
        let Selection { pick, rho, eta, support, layer, seed } = selection;
        let (pick, method, share) = pick_fields(*pick);
        let replace = ReplaceArg::value_variants().iter().find(|replace| *replacement == (**replace).into()).map_or(String::new(), name);
        let (layer, support) = (optional(*layer), optional(*support));
        let [id, backend, text] = [&info.model.id[..], &info.backend.kind, text].map(quoted);
        let (revision, ScoringArgs { sequences, length }) = (&info.model.revision, &self.scoring);
        format!(
            "{id},{revision},{backend},{pick},{method},{share},{replace},{seed},{layer},{rho},{eta},{support},{sequences},{length},{text},{digest},"
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::command::{Args, Command};
    use super::*;
    use crate::terms::Replacement;

    fn prunings(args: &[&str]) -> Vec<Pruning> {
        let args = Args::try_parse_from([&["linchpin", "sweep"], args].concat());
        let Ok(Args { command: Command::Sweep(asked), .. }) = args else { panic!("{args:?}") };
        asked.prunings()
    }

    #[test]
    fn the_whole_grid() {
        let all = prunings(&[]);
        // Eight methods and three draws at eight shares; three methods and three draws at seven, the core, and five halos
        // with three matches each; all twice.
        assert_eq!(all.len(), 2 * (11 * 8 + 6 * 7 + 1 + 5 * 4));
        let count = |is: &dyn Fn(&Pruning) -> bool| all.iter().filter(|pruning| is(pruning)).count();
        assert_eq!(count(&|pruning| pruning.replacement == Replacement::Mean), all.len() / 2);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Core), 2);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Halo && pruning.selection.eta == 0.2), 2);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Highest { by: Ranking::Random, share: 0.0025 }), 6);
        assert_eq!(count(&|pruning| pruning.selection.pick == Pick::Highest { by: Ranking::Taylor, share: 0.01 }), 0);
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
