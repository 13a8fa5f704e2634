//! Channels removed together: the removed ones, the others, and the cost.

use burn::tensor::Tensor;
use linchpin::model::probe::{Keep, Kept, Probe};
use linchpin::model::{Model, Positions};
use linchpin::protocol::{Event, Request};
use linchpin::share::{LinkedSelection, Recomputed, ShareLink};
use linchpin::tensors::Weight;
use linchpin::terms::{
    Ablation, Action, CalibrationText, EditTarget, Evaluation, FailureKind, Intervention, Matrix, Pane, Pick, Problem, Pruned, Pruning,
    Ranking, Replacement, Sampling, Selection, Site, WeightEdit,
};

use crate::support::{Copy, Session, bundled, fixture, fixtures, model, model_in, on_vulkan};

const IDS: [u32; 6] = [1, 17, 42, 9, 250, 3];

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn logits(model: &Model, interventions: &[Intervention]) -> Vec<f32> {
    values(model.forward(&IDS, None, Positions::All, &mut Probe::with_interventions(interventions)))
}

/// Some channels of the first and the last layer, including neighbours in one word.
fn some(model: &Model) -> Vec<Vec<usize>> {
    let mut channels = vec![Vec::new(); model.layers.len()];
    channels[0] = vec![3, 8, 9, 33];
    *channels.last_mut().unwrap() = vec![0, 17, 39];
    channels
}

fn one_by_one(channels: &[Vec<usize>]) -> Ablation {
    let edit = |layer, channel| WeightEdit { target: EditTarget::channel(layer, channel), scale: 0.0 };
    let of_layer = |(layer, channels): (usize, &Vec<usize>)| channels.iter().map(|channel| edit(layer, *channel)).collect::<Vec<_>>();
    Ablation { weight_edits: channels.iter().enumerate().flat_map(of_layer).collect(), ..Ablation::default() }
}

/// Every matrix of the feed-forward blocks, with `true` if it is packed.
fn matrices(model: &Model) -> Vec<(bool, Vec<f32>)> {
    let mut layers = model.layers.clone();
    let linears = layers.iter_mut().flat_map(|layer| {
        [Matrix::GateProj, Matrix::UpProj, Matrix::DownProj]
            .map(|matrix| layer.matrix_mut(matrix).map(|linear| (matches!(linear.weight, Weight::Bf16(_)), values(linear.weight.to_f32()))))
    });
    linears.flatten().collect()
}

#[test]
fn many_channels_at_once_are_as_one_by_one() {
    for name in &fixtures() {
        let intact = model(name);
        let (before, channels) = (matrices(&intact), some(&intact));
        let at_once = intact.without_channels(&channels, None);
        let one_by_one = intact.with_ablation(&one_by_one(&channels)).unwrap();
        assert_eq!(matrices(&at_once), matrices(&one_by_one), "{name}");
        assert_eq!(logits(&at_once, &[]), logits(&one_by_one, &[]), "{name}");
        assert_eq!(matrices(&intact), before, "{name}: the intact model");
    }
}

#[test]
fn packed_matrices_stay_packed() {
    for name in ["llama", "gpt2"] {
        let copy = Copy::in_bf16(name, "prune");
        on_vulkan(|gpu| {
            let intact = model_in(copy.dir(), gpu);
            let channels = some(&intact);
            let at_once = matrices(&intact.without_channels(&channels, None));
            assert!(at_once.iter().all(|(is_packed, _)| *is_packed), "{name}");
            assert_eq!(at_once, matrices(&intact.with_ablation(&one_by_one(&channels)).unwrap()), "{name}");
        });
    }
}

/// Compared with activations that are set token by token.
#[test]
fn mean_stands_in_place_of_a_channel() {
    for name in &fixtures() {
        let intact = model(name);
        let channels = some(&intact);
        let mean = |layer: usize, channel: usize| 0.5 - 0.01 * channel as f32 + layer as f32;
        let width = intact.config.intermediate_size.at(0);
        let means = (0..intact.layers.len()).map(|layer| (0..width).map(|channel| mean(layer, channel)).collect()).collect::<Vec<_>>();
        let replaced = intact.without_channels(&channels, Some(&means));
        let mut set = Vec::new();
        for (layer, channels) in channels.iter().enumerate() {
            for (channel, token) in channels.iter().flat_map(|channel| (0..IDS.len()).map(move |token| (*channel, token))) {
                let action = Action::Set(mean(layer, channel));
                set.push(Intervention { site: Site::DownProjInput, layer, token, channel, action });
            }
        }
        for (a, b) in logits(&replaced, &[]).iter().zip(logits(&intact, &set)) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{name}: {a} is not {b}");
        }
        // Nothing is left of the removed channels.
        let mut probe = Probe::empty().capturing(&[Site::DownProjInput], Keep::Everything);
        replaced.forward(&IDS, None, Positions::Last, &mut probe);
        let Kept::Everything(u) = probe.captured[0].kept.clone() else { panic!("everything was asked for") };
        assert_eq!(values(u.slice([0..IDS.len(), 8..10])), vec![0.0; 2 * IDS.len()], "{name}");
    }
}

fn scored(dir: &std::path::Path, sequences: usize, length: usize) -> Session {
    let mut session = Session::with_model(dir);
    session.ask(Request::Score { text: None, sequences, length, super_weights: Vec::new(), resume: false }).unwrap();
    session
}

fn prune(session: &mut Session, selection: Selection, replacement: Replacement) -> (Pruned, Evaluation, Evaluation) {
    let ablation = Ablation::pruning(Pruning { selection, replacement });
    let applied = session.ask(Request::Apply { ablation }).unwrap();
    let pruned = applied.into_iter().find_map(|event| if let Event::Applied { pruned, .. } = event { pruned } else { None });
    let mut evaluations = session.ask(Request::Evaluate).unwrap().into_iter().filter_map(|event| match event {
        Event::Evaluated { pane, evaluation } => Some((pane, evaluation)),
        _ => None,
    });
    let (Some((Pane::Intact, intact)), Some((Pane::Ablated, after))) = (evaluations.next(), evaluations.next()) else { panic!("both") };
    (pruned.unwrap(), intact, after)
}

#[test]
fn pruning_a_share_removes_that_share_and_none_changes_nothing() {
    // The width, and a tenth of the channels outside a core of one.
    for (name, width, halo) in [("llama", 64, 6), ("gpt2", 96, 9)] {
        let mut session = scored(&fixture(name), 2, 24);
        for by in Ranking::ALL {
            for replacement in [Replacement::Zero, Replacement::Mean] {
                let none = Selection::new(Pick::Lowest { by, share: 0.0 });
                let (pruned, intact, after) = prune(&mut session, none, replacement);
                assert_eq!((pruned.n_channels, &after), (0, &intact), "{name}, {by:?}: bit for bit");
                let half = Selection::new(Pick::Lowest { by, share: 0.5 });
                let (pruned, intact, after) = prune(&mut session, half, replacement);
                assert_eq!(pruned.by_layer, [width / 2; 3], "{name}, {by:?}");
                assert_ne!(after.loss_nats, intact.loss_nats, "{name}, {by:?}, {replacement:?}");
            }
        }
        let one = Selection { layer: Some(1), ..Selection::new(Pick::Halo) };
        assert_eq!(prune(&mut session, one, Replacement::Zero).0.by_layer, [0, halo, 0], "{name}");
    }
}

#[test]
fn selection_is_the_same_whenever_it_is_made() {
    let picks = [
        Pick::Core,
        Pick::Halo,
        Pick::Matched,
        Pick::Random,
        Pick::Lowest { by: Ranking::Connected, share: 0.4 },
        Pick::Highest { by: Ranking::Taylor, share: 0.1 },
    ];
    let digests = |session: &mut Session, picks: &[Pick]| {
        let digest = |pick: &Pick| prune(session, Selection::new(*pick), Replacement::Zero).0.digest;
        picks.iter().map(digest).collect::<Vec<_>>()
    };
    let mut session = scored(&fixture("qwen3"), 3, 24);
    let found = digests(&mut session, &picks);
    // In another order, the surroundings of the cores come from other requests.
    let mut backwards = picks;
    backwards.reverse();
    let mut again = digests(&mut scored(&fixture("qwen3"), 3, 24), &backwards);
    again.reverse();
    assert_eq!(again, found);
    let mut distinct = found.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), picks.len());
    let other_seed = Selection { seed: 2, ..Selection::new(Pick::Random) };
    assert_ne!(prune(&mut session, other_seed, Replacement::Zero).0.digest, found[3]);
    let (wide, narrow) = (Selection { support: Some(32), ..Selection::new(Pick::Halo) }, Selection::new(Pick::Halo));
    assert_ne!(prune(&mut session, wide, Replacement::Zero).0.digest, prune(&mut session, narrow, Replacement::Zero).0.digest);
}

#[test]
fn supernodes_hold_the_model_up_and_random_channels_do_not() {
    let mut session = scored(&bundled("linchpin-13m"), 4, 64);
    let mut cost = |pick, layer| {
        let (pruned, intact, after) = prune(&mut session, Selection { layer, ..Selection::new(pick) }, Replacement::Zero);
        (pruned.n_channels, after.loss_nats - intact.loss_nats)
    };
    let ((n, core), (n_random, random)) = (cost(Pick::Core, None), cost(Pick::Random, None));
    assert_eq!(n, n_random);
    assert!(core > 1.0 && core > 10.0 * random.abs(), "{n} supernodes cost {core} nats, as many random channels {random}");
    // Channel 86 of layer 2 is first in its core.
    let (core, random) = (cost(Pick::Core, Some(2)).1, cost(Pick::Random, Some(2)).1);
    assert!(core > 0.5 && core > 10.0 * random.abs(), "layer 2: {core} nats, {random}");
}

/// A link's reader scores in the link's way, and checks that the same channels go.
#[test]
fn link_scores_and_picks_as_its_sender_did() {
    let prompt = Request::Generate { prompt: "Once upon".into(), sampling: Sampling { max_new_tokens: 4, ..Sampling::default() } };
    let run = |session: &mut Session, pruning| {
        let applied = session.ask(Request::Apply { ablation: Ablation::pruning(pruning) });
        applied.unwrap();
        let events = session.ask(prompt.clone()).unwrap();
        events.into_iter().find_map(|event| if let Event::Generated(run) = event { Some(run) } else { None }).unwrap()
    };
    let pick = Pick::Lowest { by: Ranking::Protected, share: 0.3 };
    let pruning = Pruning { selection: Selection { seed: 3, ..Selection::new(pick) }, replacement: Replacement::Mean };
    // More than the text has, and longer than the context: a link has the actual numbers.
    let dir = fixture("llama");
    let mut sender = scored(&dir, 3, 100_000);
    let sent = run(&mut sender, pruning);
    let link = ShareLink::decode(&ShareLink::from_run(&sent).unwrap().encode().unwrap()).unwrap();
    let selection = link.selection.clone().unwrap();
    assert!(selection.length < 100_000 && selection.text_digest == CalibrationText::BUNDLED_DIGEST, "{selection:?}");
    let mut reader = scored(&dir, selection.sequences, selection.length);
    let read = run(&mut reader, link.setup.ablation.pruning.unwrap());
    assert_eq!(LinkedSelection::from(read.pruned.as_ref().unwrap()), selection);
    assert_eq!(link.compare(&read.intact.token_ids, &read.ablated.token_ids), Recomputed::Same);
}

#[test]
fn prunings_that_make_no_sense_are_refused() {
    let mut session = Session::with_model(&fixture("llama"));
    let apply = |selection| Request::Apply { ablation: Ablation::pruning(Pruning { selection, replacement: Replacement::Zero }) };
    let refused = session.ask(apply(Selection::new(Pick::Core))).unwrap_err();
    assert_eq!(refused.problem, Problem::NoScores);
    session = scored(&fixture("llama"), 1, 16);
    let core = Selection::new(Pick::Core);
    for selection in [
        Selection { rho: 0.0, ..core },
        Selection { rho: f64::NAN, ..core },
        Selection { eta: 1.5, ..core },
        Selection { layer: Some(3), ..core },
        Selection { support: Some(33), ..core },
        Selection { support: Some(0), ..core },
        Selection::new(Pick::Lowest { by: Ranking::Taylor, share: 1.1 }),
    ] {
        assert_eq!(session.ask(apply(selection)).unwrap_err().kind(), FailureKind::Input, "{selection:?}");
    }
    // The scores are still there, and an ordinary ablation needs none.
    session.ask(apply(core)).unwrap();
    session.ask(Request::Apply { ablation: Ablation::default() }).unwrap();
}
