//! Scores of channels: compared with PyTorch autograd, and in the engine.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use linchpin::analysis::backward::{LayerSums, Limits, SequenceSums, sequence_sums};
use linchpin::analysis::calibration::Sequences;
use linchpin::analysis::halo::LayerHalo;
use linchpin::analysis::loss::mean_loss;
use linchpin::analysis::redundancy::products;
use linchpin::analysis::score::Scores;
use linchpin::engine::Engine;
use linchpin::engine::verify::relative_error;
use linchpin::job::control::Control;
use linchpin::model::Model;
use linchpin::model::probe::{Probe, Reader, Summary};
use linchpin::protocol::{BackendChoice, Event, Request};
use linchpin::tensors::N_CHANNEL_SUMS;
use linchpin::terms::{
    CalibrationText, ChannelScores, FailureKind, Metric, ModelSource, PerLayer, Problem, RHOS, Sampling, ScoreProgress, ScoreReport, Site,
    WeightCoord,
};
use linchpin::tokenizer::Tokenizer;

use crate::support::{Copy, Session, bundled, files_in, fixture, model_in, on_vulkan, silence_channel_0, with_values};
use crate::the_event;

/// Relative to a layer's root mean square. Squares of squares of f32 figures, printed with five digits.
const TOLERANCE: f32 = 1e-3;

/// `tests/golden/scores.json`, made by `scores.py` in the same folder.
fn golden(name: &str) -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scores.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    json[name].clone()
}

fn sequences(golden: &serde_json::Value) -> Vec<Vec<u32>> {
    serde_json::from_value(golden["sequences"].clone()).unwrap()
}

fn scores(model: &Model, sequences: &[Vec<u32>]) -> Scores {
    pollster::block_on(async {
        let mut scores = Scores::new(model).await.unwrap();
        for ids in sequences {
            scores.add(model, ids).await.unwrap();
        }
        scores
    })
}

/// Compares every list of every layer in the golden file with ours.
fn check_against_pytorch(name: &str, model: &Model) {
    let golden = golden(name);
    let scores = scores(model, &sequences(&golden));
    let loss = golden["loss_nats"].as_f64().unwrap() as f32;
    assert!((scores.loss_nats() - loss).abs() < 1e-4 * loss, "{name}: {} is not {loss}", scores.loss_nats());
    let channels = pollster::block_on(scores.channels(model)).unwrap();
    assert_eq!(channels.len(), model.layers.len());
    let layers = golden["layers"].as_object().unwrap();
    assert!(layers.len() >= 3, "{name}: the golden file has {} layers", layers.len());
    for (layer, expected) in layers {
        let layer = &channels[layer.parse::<usize>().unwrap()];
        let expected: std::collections::BTreeMap<String, Vec<f32>> = serde_json::from_value(expected.clone()).unwrap();
        let ours: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_value(serde_json::to_value(layer).unwrap()).unwrap();
        assert_eq!(ours.len(), expected.len() + 1, "{name}: {:?}", ours.keys());
        for (metric, expected) in expected {
            let ours: Vec<f32> = serde_json::from_value(ours[&metric].clone()).unwrap();
            let error = relative_error(&ours, &expected, expected.len());
            assert!(error <= TOLERANCE, "{name}, layer {}, {metric}: {error}", layer.layer);
            // A sum of squares or magnitudes is equally exact in a quiet and in a loud channel.
            if metric != "mean_activation" {
                let each = relative_error(&ours, &expected, 1);
                assert!(each <= TOLERANCE, "{name}, layer {}, {metric}, a channel: {each}", layer.layer);
            }
        }
    }
}

#[test]
fn scores_are_those_of_pytorch() {
    for name in ["llama", "qwen3", "gpt2"] {
        check_against_pytorch(name, &crate::support::model(name));
    }
    check_against_pytorch("linchpin-13m", &model_in(&bundled("linchpin-13m"), &burn::tensor::Device::flex()));
}

#[test]
fn scores_on_a_gpu_are_those_of_pytorch() {
    on_vulkan(|gpu| {
        for name in ["llama", "qwen3", "gpt2"] {
            check_against_pytorch(name, &crate::support::model_on(name, gpu));
        }
    });
}

/// The same sums from one graph over the whole model, with the logits of all positions.
fn whole(model: &Model, ids: &[u32]) -> SequenceSums {
    let mut probe = Probe::empty().with_taps(Site::DownProjInput).summarising(&[Reader::Mlp], Summary::Squares);
    let loss = mean_loss(model, ids, &mut probe);
    let mut grads = loss.backward();
    let values = |data: burn::tensor::TensorData| data.try_into_vec::<f32>().unwrap();
    let layers = probe.sinks.into_iter().zip(probe.inputs).map(|((_, sink), input)| LayerSums {
        channels: values(sink.grad_remove(&mut grads).unwrap().into_data()),
        input_squares: values(input.summary.into_data()),
    });
    SequenceSums { layers: layers.collect(), loss: values(loss.inner().into_data())[0] }
}

fn assert_same(what: &str, ours: &SequenceSums, expected: &SequenceSums) {
    assert!((ours.loss - expected.loss).abs() < 1e-5 * expected.loss, "{what}: {} is not {}", ours.loss, expected.loss);
    assert_eq!(ours.layers.len(), expected.layers.len());
    for (layer, (ours, expected)) in ours.layers.iter().zip(&expected.layers).enumerate() {
        let rows = expected.channels.len() / N_CHANNEL_SUMS;
        for (ours, expected) in [(&ours.channels, &expected.channels), (&ours.input_squares, &expected.input_squares)] {
            let error = relative_error(ours, expected, rows.min(expected.len()));
            assert!(error <= 1e-4, "{what}, layer {layer}: {error}");
        }
    }
}

fn synthetic(model: &Model, length: usize) -> Vec<u32> {
    (0..length).map(|i| ((i * i * 31 + i * 7 + 3) % model.config.vocab_size) as u32).collect()
}

/// One layer at a time, and logits of five tokens at a time, with a shorter last part.
fn smallest(model: &Model) -> Limits {
    Limits { kept_bytes: 0, logits: 5 * model.config.vocab_size }
}

#[test]
fn layers_on_their_own_and_logits_in_parts_sum_to_the_same() {
    for name in ["llama", "qwen3", "gpt2", "mistral"] {
        let model = crate::support::model(name);
        let ids = synthetic(&model, model.config.max_position_embeddings.min(64));
        let expected = whole(&model, &ids);
        let sums = |limits| pollster::block_on(sequence_sums(&model, &ids, limits)).unwrap();
        assert_same(&format!("{name}, by layer"), &sums(Limits { kept_bytes: 0, ..Limits::default() }), &expected);
        assert_same(&format!("{name}, in parts"), &sums(Limits { logits: 0, ..Limits::default() }), &expected);
        assert_same(&format!("{name}, both"), &sums(smallest(&model)), &expected);
        assert_same(&format!("{name}, neither"), &sums(Limits::default()), &expected);
    }
}

/// Twenty layers in groups of three, of which the first is smaller.
#[test]
fn long_sequence_in_groups_of_layers_sums_to_the_same() {
    let model = model_in(&bundled("linchpin-13m"), &burn::tensor::Device::flex());
    let ids = synthetic(&model, 300);
    let limits = Limits { kept_bytes: 4 * 300 * (2 * 256 + 2 * 8 * 64 + 4 * 300 + 3 * 448) * 3, logits: 100 * 4096 };
    assert_same("linchpin-13m", &pollster::block_on(sequence_sums(&model, &ids, limits)).unwrap(), &whole(&model, &ids));
}

#[test]
fn layers_on_their_own_sum_to_the_same_on_a_gpu() {
    on_vulkan(|gpu| {
        for name in ["llama", "gpt2"] {
            let model = crate::support::model_on(name, gpu);
            let ids = synthetic(&model, 48);
            assert_same(name, &pollster::block_on(sequence_sums(&model, &ids, smallest(&model))).unwrap(), &whole(&model, &ids));
        }
    });
}

fn ask(length: usize, sequences: usize) -> Request {
    Request::Score { text: None, sequences, length, super_weights: Vec::new(), resume: false }
}

fn resume(request: Request) -> Request {
    match request {
        Request::Score { text, sequences, length, super_weights, .. } => {
            Request::Score { text, sequences, length, super_weights, resume: true }
        }
        other => other,
    }
}

fn report(session: &mut Session, request: Request) -> (Vec<ScoreProgress>, ScoreReport) {
    let events = session.ask(request).unwrap();
    let progress = events.iter().filter_map(|event| if let Event::ScoreProgress(progress) = event { Some(progress.clone()) } else { None });
    (progress.collect(), the_event!(events, Event::Scored(report) => report))
}

#[test]
fn report_adds_up_and_its_last_progress_says_the_same() {
    let mut session = Session::with_model(&fixture("llama"));
    let (progress, report) = report(&mut session, ask(24, 3));
    assert_eq!(progress.iter().map(|progress| progress.calibration.n_sequences).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&progress[2].calibration, &progress[2].concentration), (&report.calibration, &report.concentration));
    assert_eq!((report.calibration.n_tokens, report.calibration.n_requested, report.calibration.length), (72, 3, 24));
    assert_eq!(report.core_sizes, [1, 1, 1, 3].map(PerLayer::from));
    assert_eq!(report.rhos, RHOS);
    for (layer, supernodes) in report.channels.iter().zip(&report.supernodes) {
        let total = layer.loss_proxy.iter().sum::<f32>();
        for (size, share) in report.core_sizes.iter().zip(&report.concentration[layer.layer].shares) {
            let core = supernodes.channels[..size.at(layer.layer)].iter().map(|channel| layer.loss_proxy[*channel]).sum::<f32>();
            assert!((core / total - share).abs() < 1e-5);
        }
        // The mean of the product is not the product of the means.
        let factored = layer.activation_power.iter().zip(&layer.curvature).map(|(a, r)| 0.5 * a * r).sum::<f32>();
        assert!((factored / total - 1.0).abs() > 0.05, "{factored} {total}");
    }
    // Three layers, each with every metric except the loss proxy.
    assert_eq!(report.overlaps.len(), 3 * (Metric::ALL.len() - 1));
    let without_gate = self::report(&mut Session::with_model(&fixture("gpt2")), ask(24, 1)).1;
    assert_eq!(without_gate.overlaps.len(), 3 * (Metric::ALL.len() - 2));
}

#[test]
fn scoring_goes_on_where_it_ended() {
    let mut session = Session::with_model(&fixture("qwen3"));
    let (_, whole) = report(&mut session, ask(16, 5));
    report(&mut session, ask(16, 2));
    let (progress, resumed) = report(&mut session, resume(ask(16, 5)));
    assert_eq!(progress.len(), 3, "two were there already");
    assert_eq!(resumed, whole);
    // Another length is another scoring, and nothing is resumed unless requested.
    assert_eq!(report(&mut session, resume(ask(17, 5))).0.len(), 5);
    assert_eq!(report(&mut session, ask(17, 5)).0.len(), 5);
    // Nothing is left to do, and the report is the same.
    let (progress, again) = report(&mut session, resume(ask(17, 5)));
    assert_eq!((progress.len(), again.calibration.n_sequences), (0, 5));
}

#[test]
fn stop_keeps_what_was_scored() {
    let own = Rc::new(RefCell::new(None::<Control>));
    let (of_sink, seen) = (own.clone(), Rc::new(RefCell::new(Vec::new())));
    let events = seen.clone();
    // The number of sequences after which the user presses stop, once.
    let stop_after = Rc::new(Cell::new(Some(2)));
    let stop = stop_after.clone();
    let control = Control::new(move |event| {
        let n_scored = match &event {
            Event::ScoreProgress(progress) => Some(progress.calibration.n_sequences),
            Event::Progress(progress) if progress.doing.code == "scoring" => Some(progress.done as usize),
            _ => None,
        };
        if let Some(control) = of_sink.borrow().as_ref()
            && n_scored.is_some()
            && n_scored == stop.get()
        {
            stop.set(None);
            control.request_stop();
        }
        events.borrow_mut().push(event);
    });
    let mut engine = Engine::new(control.clone());
    *own.borrow_mut() = Some(control);
    let mut events_of = |request| {
        pollster::block_on(engine.handle(request));
        seen.take()
    };
    events_of(Request::Load {
        id: "test".into(),
        source: ModelSource::Files(files_in(&fixture("llama"))),
        backend: BackendChoice::Cpu,
        bos: false,
    });
    let stopped = events_of(ask(16, 4));
    assert_eq!(stopped.last(), Some(&Event::Stopped));
    let report = the_event!(stopped, Event::Scored(report) => report);
    assert_eq!((report.calibration.n_sequences, report.calibration.n_requested), (2, 4));
    let done = events_of(resume(ask(16, 4)));
    assert_eq!(done.last(), Some(&Event::Done));
    let n_scored = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::ScoreProgress(_))).count();
    assert_eq!(n_scored(&done), 2);

    // A scoring that is stopped before its first sequence takes nothing away. (Progress is reported ten times a
    // second.)
    std::thread::sleep(std::time::Duration::from_millis(150));
    stop_after.set(Some(0));
    let stopped = events_of(ask(17, 3));
    assert_eq!((stopped.last(), n_scored(&stopped)), (Some(&Event::Stopped), 0));
    let kept = events_of(resume(ask(16, 4)));
    assert_eq!((kept.last(), n_scored(&kept)), (Some(&Event::Done), 0));
}

/// A token that is in the third sequence and in none before overflows there.
#[test]
fn sequence_that_overflows_takes_nothing_back() {
    let copy = Copy::of("llama", "overflow");
    let tokenizer = Tokenizer::from_json(&std::fs::read(copy.dir().join("tokenizer.json")).unwrap(), 272).unwrap();
    let mut ids = Sequences::of(None, 3, 16, &tokenizer, 128).unwrap().ids;
    let third = ids.pop().unwrap();
    let token = *third.iter().find(|id| !ids.concat().contains(id)).expect("a token of its own") as usize;
    copy.edit("model.safetensors", |file| {
        with_values(file, |name, width, values| {
            silence_channel_0(name, width, values);
            if name.contains("embed_tokens") {
                values[token * width] = 1.0;
            }
            if name.contains("layers.0.mlp.gate_proj") || name.contains("layers.0.mlp.up_proj") {
                values.iter_mut().step_by(width).for_each(|value| *value = 1e12);
            }
        });
    });
    let mut session = Session::with_model(copy.dir());
    let n_scored = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::ScoreProgress(_))).count();
    let expected = report(&mut session, ask(16, 2)).1;
    let events = session.events_of(ask(16, 4));
    assert!(matches!(events.last(), Some(Event::Failed(failure)) if failure.problem == Problem::NumbersOverflowed), "{:?}", events.last());
    let found = the_event!(events, Event::Scored(report) => report);
    assert_eq!((found.calibration.n_sequences, found.calibration.n_requested), (2, 4));
    assert_eq!(found.channels, expected.channels);
    // They stay, even if they were resumed.
    for _ in 0..2 {
        let events = session.events_of(resume(ask(16, 4)));
        assert_eq!(n_scored(&events), 0);
        assert!(matches!(events.last(), Some(Event::Failed(_))));
    }
    session.ask(Request::Surround { rho: 0.01, eta: 0.1, support: None, layer: None, redundancy: false }).unwrap();
}

/// A model whose context is longer than anything that fits.
#[test]
fn more_tokens_than_fit_are_refused_before_anything_runs() {
    let copy = Copy::of("llama", "endless");
    copy.edit_config(|config| config["max_position_embeddings"] = (1 << 20).into());
    let mut session = Session::with_model(copy.dir());
    let long = "The pin fell, and nobody heard it. ".repeat(3000);
    let text = CalibrationText { name: "long".into(), text: long.clone() };
    let requests = [
        Request::Score { text: Some(text), sequences: 1, length: 20_000, super_weights: Vec::new(), resume: false },
        Request::Generate { prompt: long.clone(), sampling: Sampling::default() },
        Request::Scan { prompt: long.clone() },
        Request::UseText { name: "long".into(), text: long, max_tokens: 20_000 },
    ];
    for request in requests {
        let refused = session.ask(request).unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Input);
        assert!(refused.detail.ends_with("at most 2147483648 are possible here: 11585 tokens at most"), "{refused:?}");
    }
    // The previous text is still in use.
    let evaluated = the_event!(session.ask(Request::Evaluate).unwrap(), Event::Evaluated { evaluation, .. } => evaluation);
    assert_eq!(evaluated.convention.text("text"), "held-out passages 1");
}

/// The inputs of redundancy, one layer at a time.
#[test]
fn products_of_halos_are_the_same_by_layer() {
    for name in ["llama", "gpt2"] {
        let model = crate::support::model(name);
        let halo = LayerHalo { core: vec![5], support: Vec::new(), connections: Vec::new(), halo: vec![40, 2] };
        let ids = synthetic(&model, 48);
        let found = |halos: &[Option<&LayerHalo>], limits| pollster::block_on(products(&model, halos, &ids, limits)).unwrap();
        let whole = found(&[Some(&halo); 3], Limits::default());
        let layers = found(&[Some(&halo); 3], smallest(&model));
        assert_eq!((whole.len(), whole[0].len()), (3, 48 * 3), "{name}");
        for (layer, (ours, expected)) in layers.iter().zip(&whole).enumerate() {
            let error = relative_error(ours, expected, expected.len());
            assert!(error <= 1e-4, "{name}, layer {layer}: {error}");
        }
        // The loss proxy is the mean of their squares.
        let sums = pollster::block_on(sequence_sums(&model, &ids, Limits::default())).unwrap();
        let width = model.config.intermediate_size.at(0);
        for (layer, products) in whole.iter().enumerate() {
            for (column, channel) in [5, 40, 2].into_iter().enumerate() {
                let ours = products.iter().skip(column).step_by(3).map(|product| product * product).sum::<f32>();
                let expected = sums.layers[layer].channels[5 * width + channel];
                assert!((ours - expected).abs() <= 1e-3 * expected, "{name}, {layer}, {channel}: {ours} is not {expected}");
            }
        }
        assert_eq!(found(&[None, Some(&halo), None], Limits::default()), [whole[1].clone()], "{name}");
    }
}

#[test]
fn bad_requests_are_refused() {
    let mut session = Session::with_model(&fixture("llama"));
    let text = |text: &str| Some(CalibrationText { name: "mine".into(), text: text.into() });
    let at = WeightCoord::new(9, 0, 0);
    let with = |text, sequences, length, super_weights| Request::Score { text, sequences, length, super_weights, resume: false };
    let empty = Vec::new;
    for request in [with(None, 0, 16, empty()), with(None, 1, 1, empty()), with(text(" \n"), 1, 16, empty()), with(None, 1, 16, vec![at])] {
        assert_eq!(session.ask(request).unwrap_err().kind(), FailureKind::Input);
    }
    // A short text is one short sequence, and its name is reported.
    let (_, short) = report(&mut session, with(text("The pin fell."), 4, 512, empty()));
    assert_eq!((short.calibration.n_sequences, short.calibration.n_requested), (1, 1));
    let convention = short.calibration.convention;
    assert_eq!((convention.code.as_str(), convention.text("text")), ("sequences", "mine"));
}

#[test]
fn report_says_that_its_text_was_cut() {
    let mut session = Session::with_model(&fixture("llama"));
    let mut convention_of = |bytes: usize| {
        let text = CalibrationText { name: "mine".into(), text: "The pin fell.\n\n".repeat(bytes / 15 + 1)[..bytes].into() };
        let request = Request::Score { text: Some(text), sequences: 1, length: 16, super_weights: Vec::new(), resume: false };
        report(&mut session, request).1.calibration.convention.id()
    };
    assert_eq!(convention_of(CalibrationText::MAX_BYTES), "sequences length=16 text=mine");
    assert_eq!(convention_of(CalibrationText::MAX_BYTES + 1), "sequences first_bytes=1048576 length=16 text=mine");
}

#[test]
fn super_weights_channel_leads_its_layer() {
    let mut session = Session::with_model(&bundled("linchpin-13m"));
    let at = WeightCoord::new(2, 12, 86);
    let request = Request::Score { text: None, sequences: 2, length: 64, super_weights: vec![at], resume: false };
    let (_, report) = report(&mut session, request);
    let [found] = report.super_weights[..] else { panic!("{:?}", report.super_weights) };
    assert_eq!((found.at, found.rank), (at, 0));
    assert!(found.share > 0.9, "{found:?}");
    assert_eq!(report.supernodes[2].channels[0], 86);
    let _: &Vec<ChannelScores> = &report.channels;
}
