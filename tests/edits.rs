//! Ablations: they change the right weights, and undoing them leaves no trace.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use linchpin::model::probe::{Keep, Kept, Probe};
use linchpin::model::{Model, Positions};
use linchpin::terms::{Ablation, Action, EditTarget, Intervention, Matrix, Site, WeightEdit};

use crate::support::{fixture, fixtures, load_in, model};

const IDS: [u32; 6] = [1, 17, 42, 9, 250, 3];

fn logits(model: &Model, ablation: &Ablation) -> Vec<f32> {
    values(model.forward(&IDS, None, Positions::All, &mut Probe::with_interventions(&ablation.interventions)))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn edits(targets: &[(EditTarget, f32)]) -> Ablation {
    let weight_edits = targets.iter().map(|(target, scale)| WeightEdit { target: *target, scale: *scale }).collect();
    Ablation { weight_edits, ..Ablation::default() }
}

fn some_of_each() -> Ablation {
    edits(&[
        (EditTarget::scalar(1, 5, 17), 0.0),
        (EditTarget::scalar(0, 2, 3), -1.5),
        (EditTarget::row(0, 4), 0.25),
        (EditTarget::column(1, 30), 2.0),
        (EditTarget::channel(0, 7), 0.0),
    ])
}

/// At 0 the channel is at its mean at every token, at 1 it is unchanged, and in between it is interpolated.
#[test]
fn channel_at_its_mean_is_a_constant() {
    for name in ["llama", "gpt2", "gemma3"] {
        let intact = model(name);
        let (layer, channel) = (1, 9);
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Everything);
        intact.forward(&IDS, None, Positions::All, &mut probe);
        let Kept::Everything(u) = &probe.captured[layer].kept else { panic!("all of it") };
        let [seq, width] = u.dims();
        let u = values(u.clone());
        let means = (0..intact.layers.len()).map(|layer| vec![0.25 * (layer as f32 + 1.0); width]).collect::<Vec<_>>();
        for scale in [0.0, 0.5, 1.0] {
            let ablation = edits(&[(EditTarget::channel_mean(layer, channel), scale)]);
            assert!(intact.with_ablation(&ablation).is_err(), "its mean is not known");
            let edited = intact.with_ablation_by(&ablation, Some(&means)).unwrap();
            let at = |token: usize| means[layer][channel] + scale * (u[token * width + channel] - means[layer][channel]);
            let interventions = (0..seq)
                .map(|token| Intervention { site: Site::DownProjInput, layer, token, channel, action: Action::Set(at(token)) })
                .collect();
            let (ours, theirs) =
                (logits(&edited, &Ablation::default()), logits(&intact, &Ablation { interventions, ..Ablation::default() }));
            let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 2e-5, "{name}, {scale}: {apart}");
            let from_intact = ours.iter().zip(&logits(&intact, &Ablation::default())).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert_eq!(from_intact > 1e-4, scale < 1.0, "{name}, {scale}: {from_intact}");
        }
    }
}

/// The checkpoint's layout does not matter, even for fused tensors.
#[test]
fn largest_weights_are_named_by_their_place_in_their_own_matrix() {
    for name in &fixtures() {
        let loaded = load_in(&fixture(name), &Device::flex()).unwrap();
        let mut layers = loaded.model.layers.clone();
        let mut of_all = Vec::new();
        let mut matrices = BTreeMap::new();
        for (index, layer) in layers.iter_mut().enumerate() {
            for matrix in Matrix::ALL {
                if let Some(linear) = layer.matrix_mut(matrix) {
                    let values = values(linear.weight.to_f32());
                    of_all.extend(values.iter().map(|value| value.abs()));
                    matrices.insert((index, matrix), values);
                }
            }
        }
        of_all.sort_by(|a, b| b.total_cmp(a));
        let found = loaded.largest.iter().map(|(layer, matrix, flat)| matrices[&(*layer, *matrix)][*flat].abs()).collect::<Vec<_>>();
        assert!(found.len() > 1000, "{name}");
        assert_eq!(found, of_all[..found.len()], "{name}");
        // Each place is distinct, and can be zeroed.
        let mut zeroed = loaded.model.with_zeroed(&loaded.largest[..50]);
        let left = zeroed.layers.iter_mut().flat_map(|layer| {
            Matrix::ALL.map(|matrix| layer.matrix_mut(matrix).map_or(0.0, |linear| largest(&values(linear.weight.to_f32()))))
        });
        assert_eq!(left.fold(0.0, f32::max), of_all[50], "{name}");
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

#[test]
fn undo_is_exact_to_the_bit_and_the_intact_model_never_changes() {
    for name in &fixtures() {
        let intact = model(name);
        let before = logits(&intact, &Ablation::default());
        let ablated = intact.with_ablation(&some_of_each()).unwrap();
        assert_ne!(logits(&ablated, &Ablation::default()), before, "{name}: the edits did something");
        assert_eq!(logits(&intact, &Ablation::default()), before, "{name}: beside the edited model");
        drop(ablated);
        assert_eq!(logits(&intact, &Ablation::default()), before, "{name}: after it");
    }
}

#[test]
fn edits_that_change_nothing_leave_the_bits_alone() {
    for name in &fixtures() {
        let intact = model(name);
        let before = logits(&intact, &Ablation::default());
        let same = intact.with_ablation(&edits(&[(EditTarget::row(0, 1), 1.0), (EditTarget::channel(1, 2), 1.0)]));
        assert_eq!(logits(&same.unwrap(), &Ablation::default()), before, "{name}");
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Everything);
        assert_eq!(values(intact.forward(&IDS, None, Positions::All, &mut probe)), before, "{name}: a capture only reads");
    }
}

/// A scalar, a row and a column in coordinates `[out, in]`, even if the checkpoint stores `[in, out]`.
#[test]
fn edit_changes_exactly_the_weights_it_names() {
    for name in ["llama", "gpt2"] {
        let intact = model(name);
        let [rows, cols] = intact.layers[1].mlp.down_proj.shape();
        let matrix = |model: &Model| -> Vec<f32> {
            let of = |row, col| values(model.down_proj_scalar(1, row, col))[0];
            (0..rows).flat_map(|row| (0..cols).map(move |col| of(row, col))).collect()
        };
        let before = matrix(&intact);
        type Hits = fn(usize, usize) -> bool;
        let cases: [(EditTarget, Hits); 3] = [
            (EditTarget::scalar(1, 5, 17), |row, col| (row, col) == (5, 17)),
            (EditTarget::row(1, 5), |row, _| row == 5),
            (EditTarget::column(1, 17), |_, col| col == 17),
        ];
        for (target, hits) in cases {
            let after = matrix(&intact.with_ablation(&edits(&[(target, 0.5)])).unwrap());
            for (index, (before, after)) in before.iter().zip(&after).enumerate() {
                let (row, col) = (index / cols, index % cols);
                let expected = if hits(row, col) { 0.5 * before } else { *before };
                assert_eq!(*after, expected, "{name}, {target}: [{row}, {col}]");
            }
        }
    }
}

#[test]
fn removing_a_channel_is_zeroing_its_activation() {
    for name in &fixtures() {
        let intact = model(name);
        let channel = 11;
        let removed = intact.with_ablation(&edits(&[(EditTarget::channel(1, channel), 0.0)])).unwrap();
        let zero = |token| Intervention { site: Site::DownProjInput, layer: 1, token, channel, action: Action::Set(0.0) };
        let zeroed = Ablation { interventions: (0..IDS.len()).map(zero).collect(), ..Ablation::default() };
        let (a, b) = (logits(&removed, &Ablation::default()), logits(&intact, &zeroed));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{name}: {a} is not {b}");
        }
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Everything);
        removed.forward(&IDS, None, Positions::Last, &mut probe);
        let Kept::Everything(u) = probe.captured[1].kept.clone() else { panic!("everything was asked for") };
        let seq = IDS.len();
        assert_eq!(values(u.slice([0..seq, channel..channel + 1])), vec![0.0; seq], "{name}: gate, up and bias are gone too");
    }
}

#[test]
fn capture_shows_what_an_intervention_left() {
    let model = model("llama");
    let set = [Intervention { site: Site::DownProjOutput, layer: 1, token: 2, channel: 5, action: Action::Set(123.0) }];
    let mut probe = Probe::with_interventions(&set).capturing(&[Site::DownProjOutput], Keep::Peaks);
    model.forward(&IDS, None, Positions::Last, &mut probe);
    let Kept::Peaks { values: peaks, channels } = probe.captured[1].kept.clone() else { panic!("peaks were asked for") };
    assert_eq!(values(peaks)[2], 123.0);
    assert_eq!(channels.into_data().convert::<i64>().try_into_vec::<i64>().unwrap()[2], 5);
}

#[test]
fn intervention_names_a_place_in_the_whole_sequence() {
    let model = model("qwen3");
    let at = Ablation {
        interventions: vec![Intervention { site: Site::ResidPost, layer: 0, token: 4, channel: 3, action: Action::Scale(-2.0) }],
        ..Ablation::default()
    };
    let whole = logits(&model, &at);
    let mut cache = linchpin::model::KvCache::default();
    let mut last = Vec::new();
    for chunk in [&IDS[..3], &IDS[3..4], &IDS[4..]] {
        last = values(model.forward(chunk, Some(&mut cache), Positions::Last, &mut Probe::with_interventions(&at.interventions)));
    }
    for (a, b) in last.iter().zip(&whole[whole.len() - last.len()..]) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} is not {b}");
    }
}

#[test]
fn edits_outside_the_model_are_refused() {
    let model = model("llama");
    for (target, what) in [
        (EditTarget::scalar(3, 0, 0), "layer is 3"),
        (EditTarget::scalar(0, 32, 0), "row is 32"),
        (EditTarget::scalar(0, 0, 64), "column is 64"),
        (EditTarget::channel(0, usize::MAX), "channel is"),
        (EditTarget::channel_mean(0, usize::MAX), "channel is"),
    ] {
        let error = model.with_ablation(&edits(&[(target, 0.0)])).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    for scale in [f32::NAN, f32::INFINITY, 3.5, -4.0] {
        assert!(model.with_ablation(&edits(&[(EditTarget::row(0, 0), scale)])).is_err(), "{scale}");
    }
}
