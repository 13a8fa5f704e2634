//! A model whose two layers have feed-forward blocks of different widths, compared with the same model computed by
//! hand in f64.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor, TensorData};
use linchpin::analysis::halo::layer_halo;
use linchpin::analysis::prune::{Around, Layer, channels, core};
use linchpin::analysis::score::Scores;
use linchpin::decode::{DecodeGpu, DecodePlan};
use linchpin::model::config::ModelConfig;
use linchpin::model::probe::Probe;
use linchpin::model::weights::{Arrived, Weights};
use linchpin::model::{Model, Positions, families};
use linchpin::terms::{Ablation, Action, EditTarget, Intervention, PerLayer, Pick, Ranking, Selection, Site, WeightEdit};

use crate::support::on_gpu;

const WIDTHS: [usize; 2] = [8, 12];
const HIDDEN: usize = 8;
const HEAD: usize = 4;
const HEADS: usize = 2;
const IDS: [u32; 6] = [3, 9, 0, 7, 7, 2];

fn config() -> ModelConfig {
    let json = br#"{"model_type": "llama", "vocab_size": 11, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": true}"#;
    ModelConfig { intermediate_size: PerLayer::Each(WIDTHS.into()), ..ModelConfig::from_json(json).unwrap() }
}

fn names() -> BTreeSet<String> {
    let of_layer = ["q", "k", "v", "o"].map(|name| format!("self_attn.{name}_proj")).into_iter();
    let of_layer = of_layer.chain(["gate", "up", "down"].map(|name| format!("mlp.{name}_proj")));
    let of_layer = of_layer.chain(["input_layernorm", "post_attention_layernorm"].map(String::from)).collect::<Vec<_>>();
    let layers = (0..2).flat_map(|layer| of_layer.iter().map(move |name| format!("model.layers.{layer}.{name}.weight")));
    layers.chain(["model.embed_tokens.weight", "model.norm.weight"].map(String::from)).collect()
}

/// The model's numbers under the checkpoint's names, simple enough for any program to create.
fn numbers() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut plan = Weights::plan(&Device::flex(), names());
    families::build(&config(), &mut plan).unwrap();
    let values = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
        let n = shape.iter().product::<usize>();
        let value = |i: usize| ((i * 7919 + index * 104_729 + 13) % 1009) as f32 / 1009.0 - 0.5;
        let shift = if shape.len() == 1 { 1.0 } else { 0.0 };
        (name, (shape, (0..n).map(|i| value(i) + shift).collect()))
    };
    plan.wanted.clone().into_iter().enumerate().map(values).collect()
}

fn model(device: &Device) -> Model {
    let mut plan = Weights::plan(device, names());
    families::build(&config(), &mut plan).unwrap();
    let arrived = |(name, (_, values)): (String, (Vec<usize>, Vec<f32>))| {
        let n = values.len();
        (name, Arrived::F32(Tensor::from_data(TensorData::new(values, [n]), device)))
    };
    let mut weights = plan.with_tensors(numbers().into_iter().map(arrived).collect());
    families::build(&config(), &mut weights).unwrap()
}

type Vectors = Vec<Vec<f64>>;

/// Maps layer, token, channel and value of a hidden vector's number to a replacement.
type Change<'a> = &'a dyn Fn(usize, usize, usize, f64) -> f64;

/// The forward pass by hand.
struct ByHand(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl ByHand {
    fn row(&self, name: &str, row: usize) -> Vec<f64> {
        let (shape, values) = &self.0[&format!("model.{name}.weight")];
        let width = *shape.last().unwrap();
        values[row * width..(row + 1) * width].iter().copied().map(f64::from).collect()
    }

    fn linear(&self, name: &str, xs: &Vectors) -> Vectors {
        let rows = self.0[&format!("model.{name}.weight")].0[0];
        let dot = |x: &Vec<f64>, row| self.row(name, row).iter().zip(x).map(|(w, x)| w * x).sum();
        xs.iter().map(|x| (0..rows).map(|row| dot(x, row)).collect()).collect()
    }

    fn norm(&self, name: &str, xs: &Vectors) -> Vectors {
        let weight = self.row(name, 0);
        let of = |x: &Vec<f64>| {
            let scale = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-5).sqrt();
            x.iter().zip(&weight).map(|(x, w)| x / scale * w).collect()
        };
        xs.iter().map(of).collect()
    }

    fn attention(&self, layer: usize, h: &Vectors) -> Vectors {
        let project = |name| self.linear(&format!("layers.{layer}.self_attn.{name}_proj"), h);
        let [q, k, v] = ["q", "k", "v"].map(project);
        let turned = |x: &[f64], position: usize| {
            let half = HEAD / 2;
            let angle = |i: usize| position as f64 * 10_000_f64.powf(-2.0 * (i % half) as f64 / HEAD as f64);
            let other = |i: usize| if i < half { -x[i + half] } else { x[i - half] };
            (0..HEAD).map(|i| x[i] * angle(i).cos() + other(i) * angle(i).sin()).collect::<Vec<_>>()
        };
        let mixed = |t: usize| {
            let of_head = |head: usize| {
                let query = turned(&q[t][head * HEAD..(head + 1) * HEAD], t);
                let score = |s: usize| turned(&k[s], s).iter().zip(&query).map(|(k, q)| k * q).sum::<f64>() / (HEAD as f64).sqrt();
                let weights = (0..=t).map(|s| score(s).exp()).collect::<Vec<_>>();
                let total = weights.iter().sum::<f64>();
                (0..HEAD).map(|i| weights.iter().enumerate().map(|(s, w)| w / total * v[s][i]).sum()).collect::<Vec<f64>>()
            };
            (0..HEADS).flat_map(of_head).collect()
        };
        self.linear(&format!("layers.{layer}.self_attn.o_proj"), &(0..h.len()).map(mixed).collect())
    }

    fn logits(&self, change: Change<'_>) -> Vectors {
        let plus = |xs: &Vectors, ys: &Vectors| xs.iter().zip(ys).map(|(x, y)| x.iter().zip(y).map(|(x, y)| x + y).collect()).collect();
        let mut x = IDS.iter().map(|id| self.row("embed_tokens", *id as usize)).collect::<Vectors>();
        for (layer, width) in WIDTHS.into_iter().enumerate() {
            let h = self.norm(&format!("layers.{layer}.input_layernorm"), &x);
            x = plus(&x, &self.attention(layer, &h));
            let h = self.norm(&format!("layers.{layer}.post_attention_layernorm"), &x);
            let [gate, up] = ["gate", "up"].map(|name| self.linear(&format!("layers.{layer}.mlp.{name}_proj"), &h));
            assert!(gate.iter().all(|gate| gate.len() == width));
            let u = |t: usize, c: usize| change(layer, t, c, gate[t][c] / (1.0 + (-gate[t][c]).exp()) * up[t][c]);
            let u = (0..IDS.len()).map(|t| (0..width).map(|c| u(t, c)).collect()).collect::<Vectors>();
            x = plus(&x, &self.linear(&format!("layers.{layer}.mlp.down_proj"), &u));
        }
        self.linear("embed_tokens", &self.norm("norm", &x))
    }

    fn loss(&self, change: Change<'_>) -> f64 {
        let logits = self.logits(change);
        let of = |(logits, next): (&Vec<f64>, &u32)| logits.iter().map(|x| x.exp()).sum::<f64>().ln() - logits[*next as usize];
        logits.iter().zip(&IDS[1..]).map(of).sum::<f64>() / (IDS.len() - 1) as f64
    }

    /// `1/2 mean (u ∂L/∂u)²` over the tokens, with the derivative as a difference.
    fn loss_proxy(&self, layer: usize, channel: usize) -> f64 {
        const STEP: f64 = 1e-5;
        let of_token = |token: usize| {
            let value = RefCell::new(0.0);
            let moved = |by: f64| {
                self.loss(&|l, t, c, u| {
                    if (l, t, c) != (layer, token, channel) {
                        return u;
                    }
                    *value.borrow_mut() = u;
                    u + by
                })
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            (*value.borrow() * slope).powi(2)
        };
        0.5 * (0..IDS.len()).map(of_token).sum::<f64>() / IDS.len() as f64
    }
}

#[track_caller]
fn assert_logits(model: &Model, ablation: &Ablation, expected: &Vectors) {
    let mut probe = Probe::with_interventions(&ablation.interventions);
    let logits = model.forward(&IDS, None, Positions::All, &mut probe).into_data().try_into_vec::<f32>().unwrap();
    let expected = expected.concat();
    assert_eq!(logits.len(), expected.len());
    for (index, (logit, expected)) in logits.iter().zip(&expected).enumerate() {
        assert!((f64::from(*logit) - expected).abs() < 1e-4, "{index}: {logit} is not {expected}");
    }
}

fn edits(targets: &[EditTarget]) -> Ablation {
    Ablation { weight_edits: targets.iter().map(|target| WeightEdit { target: *target, scale: 0.0 }).collect(), ..Ablation::default() }
}

#[test]
fn layers_of_several_widths_run_as_by_hand() {
    let by_hand = ByHand(numbers());
    let expected = by_hand.logits(&|_, _, _, u| u);
    assert_logits(&model(&Device::flex()), &Ablation::default(), &expected);
    on_gpu(|gpu| assert_logits(&model(&gpu.device), &Ablation::default(), &expected));
}

#[test]
fn removals_reach_the_channels_that_only_the_wider_layer_has() {
    let (by_hand, intact) = (ByHand(numbers()), model(&Device::flex()));
    let removed = [vec![1, 7], vec![3, 11]];
    let without = by_hand.logits(&|layer, _, channel, u| if removed[layer].contains(&channel) { 0.0 } else { u });
    assert_logits(&intact.without_channels(&removed, None), &Ablation::default(), &without);
    let each = removed.iter().enumerate().flat_map(|(layer, of)| of.iter().map(move |channel| EditTarget::channel(layer, *channel)));
    assert_logits(&intact.with_ablation(&edits(&each.collect::<Vec<_>>())).unwrap(), &Ablation::default(), &without);
    let means = [vec![0.25; 8], vec![-0.5; 12]];
    let at_means = |layer: usize, channel: usize| removed[layer].contains(&channel).then(|| f64::from(means[layer][channel]));
    let expected = by_hand.logits(&|layer, _, channel, u| at_means(layer, channel).unwrap_or(u));
    assert_logits(&intact.without_channels(&removed, Some(&means)), &Ablation::default(), &expected);
    let at_mean = edits(&[
        EditTarget::channel_mean(0, 1),
        EditTarget::channel_mean(0, 7),
        EditTarget::channel_mean(1, 3),
        EditTarget::channel_mean(1, 11),
    ]);
    assert_logits(&intact.with_ablation_by(&at_mean, Some(&means)).unwrap(), &Ablation::default(), &expected);
}

#[test]
fn limits_are_those_of_the_layer() {
    let (by_hand, model) = (ByHand(numbers()), model(&Device::flex()));
    let refusal = |target| model.with_ablation(&edits(&[target])).unwrap_err().to_string();
    assert_eq!(refusal(EditTarget::channel(0, 8)), "channel is 8, but the model has 8 (0 to 7)");
    assert_eq!(refusal(EditTarget::column(1, 12)), "column is 12, but the model has 12 (0 to 11)");
    let set = |layer, channel| {
        let (site, token, action) = (Site::DownProjInput, 2, Action::Set(3.0));
        Ablation { interventions: vec![Intervention { site, layer, token, channel, action }], ..Ablation::default() }
    };
    assert!(model.check_ablation(&set(0, 8)).is_err() && model.check_ablation(&set(1, 12)).is_err());
    model.check_ablation(&set(1, 11)).unwrap();
    let expected = by_hand.logits(&|layer, token, channel, u| if (layer, token, channel) == (1, 2, 11) { 3.0 } else { u });
    assert_logits(&model, &set(1, 11), &expected);
}

#[test]
fn scores_and_selections_have_the_width_of_their_layer() {
    let (by_hand, model) = (ByHand(numbers()), model(&Device::flex()));
    let mut scores = pollster::block_on(Scores::new(&model)).unwrap();
    pollster::block_on(scores.add(&model, &IDS)).unwrap();
    assert!((f64::from(scores.loss_nats()) - by_hand.loss(&|_, _, _, u| u)).abs() < 1e-5);
    let all = pollster::block_on(scores.channels(&model)).unwrap();
    let selection = Selection::new(Pick::Lowest { by: Ranking::LossProxy, share: 0.5 });
    for (layer, scores) in all.iter().enumerate() {
        let expected = (0..WIDTHS[layer]).map(|channel| by_hand.loss_proxy(layer, channel)).collect::<Vec<_>>();
        let largest = expected.iter().copied().fold(0.0, f64::max);
        assert_eq!(scores.loss_proxy.len(), expected.len());
        for (channel, (ours, expected)) in scores.loss_proxy.iter().zip(&expected).enumerate() {
            assert!((f64::from(*ours) - expected).abs() < 1e-3 * largest, "{layer}, {channel}: {ours} is not {expected}");
        }
        let around = Around { core: core(scores, 0.25), ..Around::default() };
        assert_eq!(around.core.len(), WIDTHS[layer] / 4);
        let mut order = (0..WIDTHS[layer]).filter(|channel| !around.core.contains(channel)).collect::<Vec<_>>();
        order.sort_by(|a, b| expected[*a].total_cmp(&expected[*b]));
        let mut lowest = order[..WIDTHS[layer] / 2].to_vec();
        lowest.sort_unstable();
        assert_eq!(channels(&selection, Layer { scores, around: &around }), lowest);
        // Conn of a channel: the share of its writing in the core's write support.
        let halo = pollster::block_on(layer_halo(&model, layer, around.core, HIDDEN, 1.0)).unwrap();
        assert_eq!(halo.connections.len(), WIDTHS[layer]);
        assert!(halo.connections.iter().all(|share| (share - 1.0).abs() < 1e-6), "all residual channels are in the support");
    }
}

#[test]
fn decode_plans_are_refused_for_layers_of_several_widths() {
    on_gpu(|gpu| {
        let plan = DecodePlan::new(&DecodeGpu::new(gpu.handles.clone()), &model(&gpu.device), &[], &[], 8);
        let refusal = plan.err().expect("a plan is made for one width").to_string();
        assert!(refusal.contains("layers of several widths"), "{refusal}");
    });
}
