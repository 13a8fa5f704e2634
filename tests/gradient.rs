//! The backward pass compared with central differences: an independent check, in addition to the golden gradients.

use linchpin::analysis::concentration::ranked;
use linchpin::analysis::loss::mean_loss;
use linchpin::analysis::score::Scores;
use linchpin::model::probe::{Keep, Kept, Probe};
use linchpin::model::{Model, Positions};
use linchpin::terms::{Action, Intervention, Site};

use crate::support::{fixtures, model};

const IDS: [u32; 7] = [1, 17, 42, 9, 250, 3, 77];

fn loss(model: &Model, interventions: &[Intervention]) -> f64 {
    let loss = mean_loss(model, &IDS, &mut Probe::with_interventions(interventions));
    f64::from(loss.into_data().try_into_vec::<f32>().unwrap()[0])
}

/// The loss proxy by its definition: the effect of a change of each token's activation on the loss, without a
/// backward pass.
#[test]
fn loss_proxies_match_central_differences() {
    for name in ["llama", "gpt2", "gpt-neox", "olmo2", "gemma3"] {
        let model = model(name);
        let mut scores = pollster::block_on(Scores::new(&model)).unwrap();
        pollster::block_on(scores.add(&model, &IDS)).unwrap();
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Everything);
        model.forward(&IDS, None, Positions::All, &mut probe);
        for (layer, scores) in pollster::block_on(scores.channels(&model)).unwrap().iter().enumerate() {
            let Kept::Everything(u) = probe.captured[layer].kept.clone() else { panic!("everything was asked for") };
            let [_, width] = u.dims();
            let u = u.into_data().try_into_vec::<f32>().unwrap();
            // The largest, because their slopes exceed the loss's rounding.
            for channel in ranked(&scores.loss_proxy)[..2].iter().copied() {
                let squares = (0..IDS.len()).map(|token| {
                    let value = u[token * width + channel];
                    let step = 2e-2_f32.max(2e-2 * value.abs());
                    let at = |value: f32| [Intervention { site: Site::DownProjInput, layer, token, channel, action: Action::Set(value) }];
                    let slope = (loss(&model, &at(value + step)) - loss(&model, &at(value - step))) / (2.0 * f64::from(step));
                    (f64::from(value) * slope).powi(2)
                });
                let expected = 0.5 * squares.sum::<f64>() / IDS.len() as f64;
                let ours = f64::from(scores.loss_proxy[channel]);
                assert!((ours / expected - 1.0).abs() < 1e-2, "{name}, layer {layer}, channel {channel}: {ours} is not {expected}");
            }
        }
    }
}

#[test]
fn gradients_match_central_differences() {
    for name in &fixtures() {
        let model = model(name);
        let mut probe = Probe::empty().with_leaves(Site::DownProjInput).capturing(&[Site::DownProjInput], Keep::Everything);
        let mut grads = mean_loss(&model, &IDS, &mut probe).backward();
        for (layer, leaf) in probe.leaves {
            let [_, width] = leaf.dims();
            let grad = leaf.grad_remove(&mut grads).expect("every layer has a gradient").into_data().try_into_vec::<f32>().unwrap();
            let Kept::Everything(u) = probe.captured[layer].kept.clone() else { panic!("everything was asked for") };
            let u = u.inner().into_data().try_into_vec::<f32>().unwrap();
            let largest = grad.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
            // A selection of places, and the one with the largest gradient.
            let top = grad.iter().position(|g| g.abs() == largest).unwrap();
            for index in (0..grad.len()).step_by(61).chain([top]) {
                let (token, channel) = (index / width, index % width);
                let step = 1e-2_f32.max(1e-2 * u[index].abs());
                let at = |value: f32| [Intervention { site: Site::DownProjInput, layer, token, channel, action: Action::Set(value) }];
                let slope = (loss(&model, &at(u[index] + step)) - loss(&model, &at(u[index] - step))) / (2.0 * f64::from(step));
                let distance = (slope - f64::from(grad[index])).abs();
                // A loss near 6 in f32 has steps of 5e-7; over 2 x 0.01 that is 2.4e-5.
                assert!(
                    distance <= 1e-4 + 2e-2 * f64::from(largest),
                    "{name}, layer {layer}, [{token}, {channel}]: {slope} is not {}",
                    grad[index]
                );
            }
        }
    }
}
