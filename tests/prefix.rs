//! Passes that begin at their model's first change.

use linchpin::analysis::eval::{HeldOut, measure};
use linchpin::analysis::prefix::Prefixes;
use linchpin::job::control::Control;
use linchpin::model::Model;
use linchpin::terms::{Ablation, Action, EditTarget, Intervention, Matrix, Site, WeightCoord, WeightEdit};
use linchpin::tokenizer::Tokenizer;

use crate::support::{fixture, model};

fn text(name: &str, model: &Model) -> HeldOut {
    let json = std::fs::read(fixture(name).join("tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_json(&json, model.config.vocab_size).unwrap();
    HeldOut::of("a text", "the old man\n\nthe sea and the old boat", 16, &tokenizer, model.config.max_position_embeddings).unwrap()
}

fn loss(model: &Model, ablation: &Ablation, text: &HeldOut, prefixes: &mut Prefixes) -> u64 {
    let measured = pollster::block_on(measure(model, ablation, text, prefixes, &Control::silent(), |_done| {}));
    measured.unwrap().loss_nats.to_bits()
}

/// Changes of every kind, from layer 0 to the last, in an order in which later ones can use what earlier ones kept.
fn changed(model: &Model) -> Vec<(Model, Ablation)> {
    let last = model.layers.len() - 1;
    let edit = |target, scale| Ablation { weight_edits: vec![WeightEdit { target, scale }], ..Ablation::default() };
    let at = |layer| Ablation {
        interventions: vec![Intervention { site: Site::ResidPre, layer, token: 1, channel: 3, action: Action::Set(5.0) }],
        ..Ablation::default()
    };
    let mut channels = vec![Vec::new(); last + 1];
    channels[last] = vec![0, 2];
    let means = model.layers.iter().map(|layer| vec![0.5; layer.mlp.down_proj.shape()[1]]).collect::<Vec<_>>();
    let edits = [
        edit(WeightCoord::new(last, 1, 2).into(), 0.0),
        edit(WeightCoord::new(1, 5, 17).into(), 0.0),
        edit(EditTarget::channel(last, 3), 0.0),
        edit(EditTarget::channel(0, 3), 0.0),
        edit(EditTarget::channel(1, 3), -2.0),
    ];
    let mut all = edits.map(|ablation| (model.with_ablation(&ablation).unwrap(), Ablation::default())).to_vec();
    all.extend([at(1), at(last), at(0)].map(|ablation| (model.clone(), ablation)));
    all.push((model.with_ablation_by(&edit(EditTarget::channel_mean(last, 1), 0.0), Some(&means)).unwrap(), Ablation::default()));
    all.push((model.without_channels(&channels, Some(&means)), Ablation::default()));
    all.push((model.without_channels(&channels, None), Ablation::default()));
    all.push((model.with_zeroed(&[(1, Matrix::OProj, 3), (last, Matrix::UpProj, 0)]), Ablation::default()));
    // The weights are changed in the last layer, and an activation before it.
    let both = (model.with_ablation(&edit(EditTarget::channel(last, 4), 0.0)).unwrap(), at(1));
    all.extend([both, (model.clone(), Ablation::default())]);
    all
}

#[test]
fn losses_of_passes_that_begin_at_the_change_are_equal_to_the_bit() {
    for name in ["llama", "gpt2", "gpt-neox", "gemma3"] {
        let model = model(name);
        let text = text(name, &model);
        let mut prefixes = Prefixes::default();
        for (index, (changed, ablation)) in changed(&model).iter().enumerate() {
            let whole = loss(changed, ablation, &text, &mut Prefixes::none());
            assert_eq!(loss(changed, ablation, &text, &mut prefixes), whole, "{name}, change {index}");
        }
        assert!(prefixes.n_spared() >= 16, "{name}: {} layers", prefixes.n_spared());
    }
}

#[test]
fn streams_of_another_text_are_not_used() {
    let model = model("llama");
    let mut prefixes = Prefixes::default();
    let edit = Ablation { weight_edits: vec![WeightEdit { target: EditTarget::channel(1, 3), scale: 0.0 }], ..Ablation::default() };
    let changed = model.with_ablation(&edit).unwrap();
    let mut other = text("llama", &model);
    other.passages.iter_mut().for_each(|ids| ids.reverse());
    for text in [&text("llama", &model), &other] {
        let whole = loss(&changed, &Ablation::default(), text, &mut Prefixes::none());
        assert_eq!(loss(&changed, &Ablation::default(), text, &mut prefixes), whole);
    }
    assert_eq!(prefixes.n_spared(), 0);
}

#[test]
fn streams_of_another_model_are_not_used() {
    let (one, other) = (model("llama"), model("qwen3"));
    let text = text("llama", &one);
    let mut prefixes = Prefixes::default();
    let edit = Ablation { weight_edits: vec![WeightEdit { target: EditTarget::channel(1, 3), scale: 0.0 }], ..Ablation::default() };
    for model in [&one, &other, &one] {
        let changed = model.with_ablation(&edit).unwrap();
        let whole = loss(&changed, &Ablation::default(), &text, &mut Prefixes::none());
        assert_eq!(loss(&changed, &Ablation::default(), &text, &mut prefixes), whole);
    }
    assert_eq!(prefixes.n_spared(), 0);
}

/// A change that the layers do not hear of must count as one of all layers.
#[test]
fn change_by_hand_is_one_of_every_layer() {
    let mut changed = model("llama");
    assert_eq!(changed.layers.n_intact(), changed.layers.len());
    changed.layers[1].self_attn.scale *= 2.0;
    assert_eq!(changed.layers.n_intact(), 0);
}
