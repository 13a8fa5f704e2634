//! Confirmation of candidates: held-out loss with a candidate removed, compared with controls.
//!
//! A spike is not proof: Qwen2.5-0.5B has one in a row where, by the weights alone, one singular value holds .998 of
//! the quadratic form, but zeroing the row does next to nothing. So every candidate is zeroed alone and all of them
//! jointly, with two controls: three random scalars of every matrix with candidates, all of them at once, and the
//! model's largest scalars by magnitude with the candidates kept (the paper's "Prune Non-SW", scaled to the model's
//! size, and a larger number). The candidate's whole feed-forward channel is also removed.
//!
//! If the scalar or its channel is critical, the two are taken apart: the channel is held at its mean, and removed
//! except for the scalar. The answers differ between models. In SmolLM2-135M-Instruct the scalar is critical (layer 11,
//! [507, 1229]: +1.78 nats) and its whole channel is not (+0.04): without the scalar, the rest of the channel does
//! damage. In the bundled twin the channel is critical and no scalar is.
//!
//! A scalar is called a super weight only if it is critical alone. If several are critical together but none is alone
//! (Llama-13B, Phi-3, and the bundled twin: two scalars of one column, each harmless as long as the other stays), the
//! verdict says so.
//!
//! If others have published a whole row and no scalar, the row is zeroed, and the rows that follow it are its
//! controls.

use std::collections::{BTreeSet, HashSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::controls::{all_but, largest_counts, random_scalar};
use super::error::AnalysisError;
use super::eval::Totals;
use super::many::{Bench, Many};
use crate::job::control::Control;
use crate::model::Model;
use crate::terms::{
    Ablation, ArmKind, Change, ConfirmArm, EditTarget, MIN_DELTA_NATS, Matrix, Message, RowCoord, RowVerdict, Verdict, WeightCoord,
    WeightEdit, control_of, is_critical,
};

/// Number of random scalars in each matrix with candidates.
const N_RANDOM: usize = 3;
/// Number of rows after a given row that are zeroed as its controls.
const N_NEXT_ROWS: usize = 3;

/// One arm: its name and its change.
struct Arm {
    kind: ArmKind,
    label: Message,
    at: Option<WeightCoord>,
    n_zeroed: usize,
    change: Change,
}

/// The facts about the model that a confirmation is planned with.
pub struct Experiment<'a> {
    pub model: &'a Model,
    pub num_parameters: u64,
    /// The model's largest scalars, largest first.
    pub largest: &'a [(usize, Matrix, usize)],
    pub seed: u64,
}

/// The results of every arm, and the verdicts.
pub struct Findings {
    pub arms: Vec<ConfirmArm>,
    pub verdicts: Vec<Verdict>,
    pub rows: Vec<RowVerdict>,
}

/// Measures every arm on the bench, whose means are required if there are candidates, and judges the candidates and the
/// rows. Each arm is told as soon as it and those before it are measured.
///
/// # Errors
///
/// A candidate or a row outside the model, a failing device, or a stop.
pub async fn confirm(
    experiment: &Experiment<'_>,
    bench: Bench<'_>,
    candidates: &[WeightCoord],
    rows: &[RowCoord],
    mut tell: impl FnMut(&ConfirmArm),
) -> Result<Findings, AnalysisError> {
    experiment.model.check_ablation(&Ablation::zeroing(candidates.iter().copied()))?;
    rows.iter().try_for_each(|row| experiment.model.check_ablation(&without_row(*row)))?;
    let mut planned = experiment.plan(candidates);
    planned.extend(experiment.rows(rows));
    let first = planned.len();
    let (control, n_tokens) = (bench.control, bench.text.n_tokens());
    let mut run = Run { many: Many::new(bench), control, n_tokens, arms: Vec::new() };
    run.measure(planned, &mut tell).await?;
    let apart = experiment.apart(candidates, &run.arms);
    run.measure(apart, &mut tell).await?;
    let arms = run.arms;
    let verdicts = candidates.iter().map(|at| judge(*at, &arms)).collect();
    let of_rows = &arms[first - rows.len() * (1 + N_NEXT_ROWS)..first];
    let rows = rows.iter().zip(of_rows.chunks(1 + N_NEXT_ROWS)).map(|(at, arms)| judge_row(*at, arms)).collect();
    Ok(Findings { arms, verdicts, rows })
}

/// The arms of a confirmation that were measured so far.
struct Run<'a> {
    many: Many<'a>,
    control: &'a Control,
    /// Positions of the text.
    n_tokens: usize,
    arms: Vec<ConfirmArm>,
}

impl Run<'_> {
    /// Measures further arms.
    async fn measure(&mut self, planned: Vec<Arm>, tell: &mut impl FnMut(&ConfirmArm)) -> Result<(), AnalysisError> {
        let Self { many, control, n_tokens, arms } = self;
        let of = arms.len() + planned.len();
        let told = |index: usize, totals: Option<Totals>| {
            let loss_nats = totals.unwrap_or_default().loss()?;
            let intact = arms.first().map_or(loss_nats, |arm| arm.loss_nats);
            let Arm { kind, label, at, n_zeroed, .. } = &planned[index];
            let (kind, label, at, n_zeroed) = (*kind, label.clone(), *at, *n_zeroed);
            arms.push(ConfirmArm { kind, label, at, n_zeroed, loss_nats, delta_nats: loss_nats - intact });
            arms.last().into_iter().for_each(&mut *tell);
            Ok(())
        };
        let progress = |n_told: usize, done: usize| {
            let doing = Message::new("confirming").with("index", (n_told + 1).min(of)).with("of", of);
            control.progress(doing, done as f64, (of * *n_tokens) as f64, "tokens");
        };
        many.run(planned.len(), async |index| Ok(Some(planned[index].change.clone())), told, progress).await
    }
}

impl Experiment<'_> {
    fn plan(&self, candidates: &[WeightCoord]) -> Vec<Arm> {
        let edit = |kind, label, at, n_zeroed, ablation| Arm { kind, label, at, n_zeroed, change: Change::Edit(ablation) };
        let mut arms = vec![edit(ArmKind::Intact, "intact".into(), None, 0, Ablation::default())];
        for at in candidates {
            arms.push(edit(ArmKind::Candidate, Message::new("scalar").at(*at), Some(*at), 1, Ablation::zeroing([*at])));
        }
        if candidates.len() > 1 {
            let label = Message::new("jointly").with("n", candidates.len());
            arms.push(edit(ArmKind::Jointly, label, None, candidates.len(), Ablation::zeroing(candidates.iter().copied())));
        }
        if !candidates.is_empty() {
            let drawn = self.random_scalars(candidates);
            let label = Message::new("random_scalars").with("n", drawn.len());
            arms.push(edit(ArmKind::RandomScalar, label, None, drawn.len(), Ablation::zeroing(drawn)));
        }
        // Without candidates there is nothing to compare controls with.
        for n in largest_counts(self.num_parameters).into_iter().filter(|_| !candidates.is_empty()) {
            let scalars = all_but(self.model, candidates, self.largest).take(n).collect::<Vec<_>>();
            let label = Message::new("largest_weights").with("n", scalars.len());
            arms.push(Arm { kind: ArmKind::LargestWeights, label, at: None, n_zeroed: scalars.len(), change: Change::Zero(scalars) });
        }
        arms.extend(self.channels(candidates));
        arms
    }

    /// Draws [`N_RANDOM`] scalars of every matrix with candidates.
    fn random_scalars(&self, candidates: &[WeightCoord]) -> Vec<WeightCoord> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let layers = candidates.iter().map(|at| at.layer).collect::<BTreeSet<_>>();
        let mut drawn = Vec::new();
        for layer in layers {
            for _ in 0..N_RANDOM {
                let taken = [candidates, &drawn].concat();
                drawn.push(random_scalar(self.model, layer, &taken, &mut rng));
            }
        }
        drawn
    }

    /// Plans an arm for the whole channel of each candidate, once per channel.
    fn channels(&self, candidates: &[WeightCoord]) -> Vec<Arm> {
        let mut known = HashSet::new();
        let first = candidates.iter().filter(|at| known.insert(at.channel()));
        first.map(|at| self.channel(*at, ArmKind::Channel)).collect()
    }

    /// An arm for a candidate's whole channel, removed or held at its mean.
    fn channel(&self, at: WeightCoord, kind: ArmKind) -> Arm {
        let n_scalars = self.model.layers[at.layer].mlp.channel_size();
        let (code, target, n_zeroed) = match kind {
            ArmKind::ChannelMean => ("channel_mean", EditTarget::ChannelMean(at.channel()), 0),
            _ => ("channel", EditTarget::Channel(at.channel()), n_scalars),
        };
        let ablation = Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() };
        Arm { kind, label: Message::new(code).at(target), at: Some(at), n_zeroed, change: Change::Edit(ablation) }
    }

    /// Plans the arms that take a scalar and its channel apart, for each candidate of which one is critical: the
    /// channel at its mean, once per channel, and the channel without the scalar.
    fn apart(&self, candidates: &[WeightCoord], measured: &[ConfirmArm]) -> Vec<Arm> {
        let (mut arms, mut known) = (Vec::new(), HashSet::new());
        for at in candidates.iter().copied().filter(|at| Costs::of(*at, measured).is_any_critical()) {
            if known.insert(at.channel()) {
                arms.push(self.channel(at, ArmKind::ChannelMean));
            }
            let down_proj = &self.model.layers[at.layer].mlp.down_proj;
            let rows = (0..self.model.config.hidden_size).filter(|row| *row != at.row);
            let rest = rows.map(|row| (at.layer, Matrix::DownProj, down_proj.flat_index(row, at.col))).collect::<Vec<_>>();
            let label = Message::new("channel_rest").at(at);
            arms.push(Arm { kind: ArmKind::ChannelRest, label, at: Some(at), n_zeroed: rest.len(), change: Change::Zero(rest) });
        }
        arms
    }

    /// Plans an arm for each row, followed by those of the rows after it.
    fn rows(&self, rows: &[RowCoord]) -> impl Iterator<Item = Arm> {
        let config = &self.model.config;
        rows.iter().flat_map(move |&at| {
            let (hidden_size, n_zeroed) = (config.hidden_size, config.intermediate_size.at(at.layer));
            (0..=N_NEXT_ROWS).map(move |n| {
                let row = RowCoord { row: (at.row + n) % hidden_size, ..at };
                let kind = if n == 0 { ArmKind::Row } else { ArmKind::NextRow };
                Arm { kind, label: Message::new("row").at(row), at: None, n_zeroed, change: Change::Edit(without_row(row)) }
            })
        })
    }
}

fn without_row(row: RowCoord) -> Ablation {
    Ablation { weight_edits: vec![WeightEdit { target: row.into(), scale: 0.0 }], ..Ablation::default() }
}

/// Judges a row by its own arm, `arms[0]`, and those of its controls.
fn judge_row(at: RowCoord, arms: &[ConfirmArm]) -> RowVerdict {
    let delta_nats = arms[0].delta_nats;
    let control_nats = arms[1..].iter().map(|arm| arm.delta_nats.abs()).fold(0.0, f32::max);
    RowVerdict { at, confirmed: is_critical(delta_nats, control_nats), delta_nats, control_nats }
}

/// The costs of removing a candidate, its channel, and the channel without it, nats.
struct Costs {
    alone: f32,
    control: f32,
    channel: Option<f32>,
    rest: Option<f32>,
}

impl Costs {
    fn of(at: WeightCoord, arms: &[ConfirmArm]) -> Self {
        let delta = |kind: ArmKind, is_its: &dyn Fn(WeightCoord) -> bool| {
            arms.iter().find(|arm| arm.kind == kind && arm.at.is_some_and(is_its)).map(|arm| arm.delta_nats)
        };
        Self {
            alone: delta(ArmKind::Candidate, &|of| of == at).unwrap_or(0.0),
            control: control_of(arms, at),
            channel: delta(ArmKind::Channel, &|of| of.channel() == at.channel()),
            rest: delta(ArmKind::ChannelRest, &|of| of == at),
        }
    }

    fn is_critical(&self, delta: f32) -> bool {
        is_critical(delta, self.control)
    }

    fn is_any_critical(&self) -> bool {
        self.is_critical(self.alone) || self.channel.is_some_and(|channel| self.is_critical(channel))
    }
}

fn judge(at: WeightCoord, arms: &[ConfirmArm]) -> Verdict {
    let costs = Costs::of(at, arms);
    let confirmed = costs.is_critical(costs.alone);
    let mut because = Message::new("cost").with("delta", costs.alone).with("control", costs.control);
    let jointly = arms.iter().find(|arm| arm.kind == ArmKind::Jointly).map(|arm| arm.delta_nats);
    if let Some(jointly) = jointly.filter(|delta| !confirmed && costs.is_critical(*delta) && nobody_alone(arms)) {
        because = because.with("jointly", jointly);
    }
    if let (true, Some(channel)) = (costs.is_any_critical(), costs.channel) {
        because = because.with("channel", channel);
        if let Some(rest) = costs.rest {
            because = because.with("rest", rest);
        }
    }
    Verdict { at, confirmed, because }
}

/// `true` if no candidate is critical alone; otherwise the joint effect says nothing about the others.
fn nobody_alone(arms: &[ConfirmArm]) -> bool {
    !arms.iter().any(|arm| arm.kind == ArmKind::Candidate && arm.delta_nats >= MIN_DELTA_NATS)
}
