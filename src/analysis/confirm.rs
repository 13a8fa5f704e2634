//! Whether a candidate holds the model up: held-out loss with it removed, beside controls.
//!
//! A spike is no proof (Qwen2.5-0.5B has one whose row explains .998 of it and does nothing), so every candidate is
//! zeroed alone, all of them are zeroed jointly, and beside them: random scalars of the same matrix, and the model's
//! largest scalars by magnitude with the candidates kept (the paper's "Prune Non-SW", scaled to the model's size, and
//! a harsher one). The candidate's whole feed-forward channel is removed too: where that is critical and the scalar is
//! not, the model has a critical channel without a super weight.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::eval::{self, HeldOut};
use crate::engine::control::Control;
use crate::engine::error::EngineError;
use crate::model::Model;
use crate::model::edit::Matrix;
use crate::protocol::Event;
use crate::terms::{Ablation, ArmKind, ConfirmArm, EditTarget, Verdict, WeightCoord, WeightEdit};

/// A super weight raises the held-out loss by at least this, alone. (ln 1.28: perplexity up by 28 %.)
pub const MIN_DELTA_NATS: f32 = 0.25;
/// And by this many times more than any random scalar of the same matrix.
pub const MIN_TIMES_CONTROL: f32 = 10.0;
/// Random scalars drawn for each candidate.
const N_RANDOM: usize = 3;
/// The paper zeroes 7,000 scalars of 6.7 billion.
const PAPER_SHARE: f64 = 7000.0 / 6.7e9;

/// One experiment: its name, and the model to measure.
struct Arm {
    kind: ArmKind,
    label: String,
    at: Option<WeightCoord>,
    n_zeroed: usize,
    model: Model,
}

/// What is measured, and against what.
pub struct Experiment<'a> {
    pub model: &'a Model,
    pub num_parameters: u64,
    /// The model's largest scalars, largest first.
    pub largest: &'a [(usize, Matrix, usize)],
    pub text: &'a HeldOut,
    pub seed: u64,
}

/// Measures every arm, tells each as it comes, and judges the candidates.
///
/// # Errors
///
/// A candidate outside the model, a failing device, or a stop.
pub async fn confirm(
    experiment: &Experiment<'_>,
    candidates: &[WeightCoord],
    control: &Control,
) -> Result<(Vec<ConfirmArm>, Vec<Verdict>), EngineError> {
    let planned = experiment.plan(candidates)?;
    let n_arms = planned.len();
    let total = (n_arms * experiment.text.n_tokens()) as f64;
    let mut arms = Vec::<ConfirmArm>::new();
    for (index, arm) in planned.into_iter().enumerate() {
        let doing = format!("held-out text, arm {} of {n_arms}", index + 1);
        let before = index * experiment.text.n_tokens();
        let progress = |done| control.progress(&doing, (before + done) as f64, total, "tokens");
        let loss_nats = eval::evaluate(&arm.model, &Ablation::default(), experiment.text, control, progress).await?.loss_nats;
        let intact = arms.first().map_or(loss_nats, |arm| arm.loss_nats);
        let Arm { kind, label, at, n_zeroed, .. } = arm;
        arms.push(ConfirmArm { kind, label, at, n_zeroed, loss_nats, delta_nats: loss_nats - intact });
        control.emit(Event::Arm { arm: arms[index].clone() });
    }
    let verdicts = candidates.iter().map(|at| judge(*at, &arms)).collect();
    Ok((arms, verdicts))
}

impl Experiment<'_> {
    fn plan(&self, candidates: &[WeightCoord]) -> Result<Vec<Arm>, EngineError> {
        let arm = |kind, label, at, n_zeroed, model| Arm { kind, label, at, n_zeroed, model };
        let mut arms = vec![arm(ArmKind::Intact, "intact".into(), None, 0, self.model.clone())];
        for at in candidates {
            let zeroed = self.model.with_ablation(&Ablation::zeroing([*at]))?;
            arms.push(arm(ArmKind::Candidate, at.to_string(), Some(*at), 1, zeroed));
        }
        if candidates.len() > 1 {
            let zeroed = self.model.with_ablation(&Ablation::zeroing(candidates.iter().copied()))?;
            arms.push(arm(ArmKind::Jointly, format!("all {} together", candidates.len()), None, candidates.len(), zeroed));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for at in candidates {
            for random in (0..N_RANDOM).map(|_| self.random_scalar(*at, &mut rng)) {
                let zeroed = self.model.with_ablation(&Ablation::zeroing([random]))?;
                arms.push(arm(ArmKind::RandomScalar, format!("random, {random}"), Some(*at), 1, zeroed));
            }
        }
        for n in self.largest_counts() {
            let scalars = self.largest_but(candidates, n);
            let label = format!("the {} largest |w| of the model", scalars.len());
            arms.push(arm(ArmKind::LargestWeights, label, None, scalars.len(), self.model.with_zeroed(&scalars)));
        }
        let mut channels = candidates.iter().map(|at| (at.layer, at.col)).collect::<Vec<_>>();
        channels.dedup();
        for (layer, channel) in channels {
            let target = EditTarget::Channel { layer, channel };
            let removed = self.model.with_ablation(&Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], interventions: Vec::new() })?;
            let at = candidates.iter().find(|at| (at.layer, at.col) == (layer, channel)).copied();
            let n_zeroed = self.model.layers[layer].mlp.channel_size();
            arms.push(arm(ArmKind::Channel, format!("whole {target}"), at, n_zeroed, removed));
        }
        Ok(arms)
    }

    /// Another scalar of the same matrix.
    fn random_scalar(&self, not: WeightCoord, rng: &mut ChaCha8Rng) -> WeightCoord {
        let config = &self.model.config;
        loop {
            let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
            let at = WeightCoord { layer: not.layer, row: below(config.hidden_size), col: below(config.intermediate_size) };
            if at != not {
                return at;
            }
        }
    }

    /// The paper's share of this model's scalars, and many more.
    fn largest_counts(&self) -> Vec<usize> {
        let share = (self.num_parameters as f64 * PAPER_SHARE).round().max(1.0) as usize;
        let mut counts = vec![share.min(self.largest.len()), self.largest.len()];
        counts.dedup();
        counts
    }

    /// The `n` largest scalars that are no candidates.
    fn largest_but(&self, candidates: &[WeightCoord], n: usize) -> Vec<(usize, Matrix, usize)> {
        let is_candidate = |&(layer, matrix, flat): &(usize, Matrix, usize)| {
            matrix == Matrix::Down && candidates.iter().any(|at| at.layer == layer && self.model.layers[layer].mlp.down_proj.flat_index(at.row, at.col) == flat)
        };
        self.largest.iter().filter(|place| !is_candidate(place)).take(n).copied().collect()
    }
}

fn judge(at: WeightCoord, arms: &[ConfirmArm]) -> Verdict {
    let delta = |wanted: &dyn Fn(&ConfirmArm) -> bool| arms.iter().filter(|arm| wanted(arm)).map(|arm| arm.delta_nats).fold(0.0_f32, f32::max);
    let alone = delta(&|arm| arm.kind == ArmKind::Candidate && arm.at == Some(at));
    let random = arms.iter().filter(|arm| arm.kind == ArmKind::RandomScalar && arm.at == Some(at)).map(|arm| arm.delta_nats.abs()).fold(0.0_f32, f32::max);
    let passes = |delta: f32| delta >= MIN_DELTA_NATS && delta >= MIN_TIMES_CONTROL * random;
    let nobody_alone = !arms.iter().any(|arm| arm.kind == ArmKind::Candidate && passes(arm.delta_nats));
    let jointly = delta(&|arm| arm.kind == ArmKind::Jointly);
    let channel = delta(&|arm| arm.kind == ArmKind::Channel && arm.at == Some(at));
    let figures = format!("zeroing it raises the held-out loss by {alone:.3} nats, random scalars of the same matrix change it by at most {random:.4}");
    let (confirmed, because) = if passes(alone) {
        (true, format!("a super weight: {figures}"))
    } else if nobody_alone && passes(jointly) {
        (true, format!("a super weight together with the others only: alone {alone:.3} nats, jointly {jointly:.3}"))
    } else if passes(channel) {
        (false, format!("not a super weight: {figures}. But its whole channel is critical: removing it costs {channel:.3} nats"))
    } else {
        (false, format!("not a super weight: {figures}"))
    };
    Verdict { at, confirmed, because }
}
