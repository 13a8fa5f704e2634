//! Confirmation of candidates: held-out loss with a candidate removed, compared with controls.
//!
//! A spike is not proof: Qwen2.5-0.5B has one in a row where, by the weights alone, one channel holds .998, but
//! zeroing the row does next to nothing. So every candidate is zeroed alone and all of them jointly, with two
//! controls: random scalars of the same matrix, and the model's largest scalars by magnitude with the candidates kept
//! (the paper's "Prune Non-SW", scaled to the model's size, and a larger number). The candidate's whole feed-forward
//! channel is also removed, and replaced by its mean.
//!
//! A scalar is called a super weight only if it is critical alone. If several are critical together but none is alone
//! (Llama-3.2-1B, Phi-3, and the bundled twin: two scalars of one column, each harmless as long as the other stays),
//! the verdict says so.
//!
//! If others have published a whole row and no scalar, the row is zeroed, and the rows that follow it are its
//! controls.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::controls::{all_but, largest_counts, random_scalar};
use super::error::AnalysisError;
use super::eval::{self, HeldOut};
use super::prefix::Prefixes;
use crate::job::control::Control;
use crate::model::Model;
use crate::terms::{
    Ablation, ArmKind, ConfirmArm, EditTarget, MIN_DELTA_NATS, Matrix, Message, RowCoord, RowVerdict, Verdict, WeightCoord, WeightEdit,
    is_critical,
};

/// Number of random scalars drawn for each candidate.
const N_RANDOM: usize = 3;
/// Number of rows after a given row that are zeroed as its controls.
const N_NEXT_ROWS: usize = 3;

/// One arm: its name and its change. The changed model is built when the arm's turn comes, and dropped afterwards.
struct Arm {
    kind: ArmKind,
    label: Message,
    at: Option<WeightCoord>,
    n_zeroed: usize,
    change: Change,
}

enum Change {
    Edit(Ablation),
    /// Scalars of any matrix, set to zero.
    Zero(Vec<(usize, Matrix, usize)>),
}

/// The model and text of a confirmation.
pub struct Experiment<'a> {
    pub model: &'a Model,
    /// Mean activation of every channel of every layer; required if there are candidates.
    pub means: Option<&'a [Vec<f32>]>,
    pub num_parameters: u64,
    /// The model's largest scalars, largest first.
    pub largest: &'a [(usize, Matrix, usize)],
    pub text: &'a HeldOut,
    pub seed: u64,
}

/// The results of every arm, and the verdicts.
pub struct Findings {
    pub arms: Vec<ConfirmArm>,
    pub verdicts: Vec<Verdict>,
    pub rows: Vec<RowVerdict>,
}

/// Measures every arm, emits each as [`Event::Arm`], and judges the candidates and the rows.
///
/// # Errors
///
/// A candidate or a row outside the model, a failing device, or a stop.
pub async fn confirm(
    experiment: &Experiment<'_>,
    candidates: &[WeightCoord],
    rows: &[RowCoord],
    control: &Control,
    mut tell: impl FnMut(&ConfirmArm),
) -> Result<Findings, AnalysisError> {
    experiment.model.check_ablation(&Ablation::zeroing(candidates.iter().copied()))?;
    rows.iter().try_for_each(|row| experiment.model.check_ablation(&without_row(*row)))?;
    let mut planned = experiment.plan(candidates);
    planned.extend(experiment.rows(rows));
    let n_arms = planned.len();
    let total = (n_arms * experiment.text.n_tokens()) as f64;
    let (mut arms, mut prefixes) = (Vec::<ConfirmArm>::new(), Prefixes::default());
    for (index, arm) in planned.into_iter().enumerate() {
        let doing = Message::new("confirming").with("index", index + 1).with("of", n_arms);
        let before = index * experiment.text.n_tokens();
        let progress = |done| control.progress(doing.clone(), (before + done) as f64, total, "tokens");
        let changed = experiment.changed(&arm.change)?;
        let nothing = Ablation::default();
        let evaluated = eval::evaluate(&changed, &nothing, experiment.text, &mut prefixes, control, progress);
        let loss_nats = evaluated.await?.loss_nats;
        let intact = arms.first().map_or(loss_nats, |arm| arm.loss_nats);
        let Arm { kind, label, at, n_zeroed, .. } = arm;
        arms.push(ConfirmArm { kind, label, at, n_zeroed, loss_nats, delta_nats: loss_nats - intact });
        tell(&arms[index]);
    }
    let verdicts = candidates.iter().map(|at| judge(*at, &arms)).collect();
    let of_rows = &arms[n_arms - rows.len() * (1 + N_NEXT_ROWS)..];
    let rows = rows.iter().zip(of_rows.chunks(1 + N_NEXT_ROWS)).map(|(at, arms)| judge_row(*at, arms)).collect();
    Ok(Findings { arms, verdicts, rows })
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
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for at in candidates {
            for random in (0..N_RANDOM).map(|_| random_scalar(self.model, at.layer, &[*at], &mut rng)).collect::<Vec<_>>() {
                arms.push(edit(ArmKind::RandomScalar, Message::new("random").at(random), Some(*at), 1, Ablation::zeroing([random])));
            }
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

    /// Plans two arms for the whole channel of each candidate, once per channel: removed, and set to its mean.
    fn channels(&self, candidates: &[WeightCoord]) -> Vec<Arm> {
        let mut arms = Vec::<Arm>::new();
        for at in candidates {
            if arms.iter().any(|arm| arm.at.is_some_and(|known| same_channel(known, *at))) {
                continue;
            }
            let channel = at.channel();
            let removed = (ArmKind::Channel, EditTarget::Channel(channel), self.model.layers[at.layer].mlp.channel_size());
            for (kind, target, n_zeroed) in [removed, (ArmKind::ChannelMean, EditTarget::ChannelMean(channel), 0)] {
                let code = if kind == ArmKind::Channel { "channel" } else { "channel_mean" };
                let ablation = Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() };
                arms.push(Arm { kind, label: Message::new(code).at(target), at: Some(*at), n_zeroed, change: Change::Edit(ablation) });
            }
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

    fn changed(&self, change: &Change) -> Result<Model, AnalysisError> {
        Ok(match change {
            Change::Edit(ablation) => self.model.with_ablation_by(ablation, self.means)?,
            Change::Zero(scalars) => self.model.with_zeroed(scalars),
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

fn judge(at: WeightCoord, arms: &[ConfirmArm]) -> Verdict {
    let worst = |kind: ArmKind, is_its: &dyn Fn(WeightCoord) -> bool| {
        let deltas = arms.iter().filter(|arm| arm.kind == kind && arm.at.is_none_or(is_its)).map(|arm| arm.delta_nats);
        deltas.max_by(|a, b| a.abs().total_cmp(&b.abs()))
    };
    let alone = worst(ArmKind::Candidate, &|of| of == at).unwrap_or(0.0);
    let random = worst(ArmKind::RandomScalar, &|of| of == at).unwrap_or(0.0).abs();
    let passes = |delta: f32| is_critical(delta, random);
    let confirmed = passes(alone);
    let mut because = Message::new("cost").with("delta", alone).with("control", random);
    if !confirmed {
        if let Some(jointly) = worst(ArmKind::Jointly, &|_| true).filter(|delta| passes(*delta) && nobody_alone(arms)) {
            because = because.with("jointly", jointly);
        }
        if let Some(channel) = worst(ArmKind::Channel, &|of| same_channel(of, at)).filter(|delta| passes(*delta)) {
            because = because.with("channel", channel);
        }
    }
    Verdict { at, confirmed, because }
}

fn same_channel(a: WeightCoord, b: WeightCoord) -> bool {
    a.channel() == b.channel()
}

/// `true` if no candidate is critical alone; otherwise the joint effect says nothing about the others.
fn nobody_alone(arms: &[ConfirmArm]) -> bool {
    !arms.iter().any(|arm| arm.kind == ArmKind::Candidate && arm.delta_nats >= MIN_DELTA_NATS)
}
