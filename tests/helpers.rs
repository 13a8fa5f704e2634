//! Many changed models on one text, measured alone and together with helpers.

use std::collections::VecDeque;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use linchpin::analysis::AnalysisError;
use linchpin::analysis::change::changed;
use linchpin::analysis::eval::{self, HeldOut, Totals, measure};
use linchpin::analysis::many::{Bench, Crew, Heard, Many, OWN};
use linchpin::analysis::prefix::Prefixes;
use linchpin::job::control::Control;
use linchpin::loading::hand_over::hand_over;
use linchpin::model::Model;
use linchpin::model::probe::Probe;
use linchpin::platform::Output;
use linchpin::protocol::{Event, Request};
use linchpin::terms::{Ablation, Change, EditTarget, Help, HelperText, Matrix, ModelSource, PassageSums, Piece, WeightCoord, WeightEdit};
use linchpin::tokenizer::Tokenizer;

use crate::support::{Scratch, Session, files_in, fixture, fixtures, load_in, model};

fn text(name: &str, model: &Model) -> HeldOut {
    let json = std::fs::read(fixture(name).join("tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_json(&json, model.config.vocab_size).unwrap();
    let passages = "the old man\n\nthe sea and the old boat\n\na boat\n\nthe man and the sea\n\nand the old man";
    HeldOut::of("a text", passages, 16, &tokenizer, model.config.max_position_embeddings).unwrap()
}

/// Changes of every kind.
fn changes(model: &Model) -> Vec<Option<Change>> {
    let last = model.layers.len() - 1;
    let edit = |target, scale| Some(Change::Edit(Ablation { weight_edits: vec![WeightEdit { target, scale }], ..Ablation::default() }));
    let mut channels = vec![Vec::new(); last + 1];
    channels[last] = vec![0, 2];
    vec![
        edit(WeightCoord::new(last, 1, 2).into(), 1.0),
        edit(WeightCoord::new(1, 5, 17).into(), 0.0),
        Some(Change::Zero(vec![(0, Matrix::OProj, 3), (last, Matrix::DownProj, 0)])),
        None,
        Some(Change::Channels { channels: channels.clone(), to_means: true }),
        Some(Change::Channels { channels, to_means: false }),
        edit(EditTarget::channel_mean(last, 1), 0.0),
    ]
}

fn means(model: &Model) -> Vec<Vec<f32>> {
    model.layers.iter().map(|layer| vec![0.5; layer.mlp.down_proj.shape()[1]]).collect()
}

/// The behaviour of a helper that is not a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Good,
    /// It fails when it is asked for this piece.
    FailsAt(usize),
    /// It takes pieces and never answers.
    Silent,
    /// It never becomes ready.
    Late,
}

struct Fake {
    model: Model,
    text: HeldOut,
    kinds: Vec<Kind>,
    changes: Vec<Option<Change>>,
    asked: VecDeque<(usize, Piece)>,
    heard: VecDeque<Heard>,
    n_asked: Vec<usize>,
    given_up: Vec<usize>,
}

impl Fake {
    fn new(model: &Model, text: &HeldOut, kinds: &[Kind]) -> Self {
        let ready = kinds.iter().enumerate().filter(|(_, kind)| **kind != Kind::Late).map(|(index, _)| Heard::Ready(OWN + 1 + index));
        Self {
            model: model.clone(),
            text: text.clone(),
            kinds: kinds.to_vec(),
            changes: changes(model),
            asked: VecDeque::new(),
            heard: ready.collect(),
            n_asked: vec![0; kinds.len()],
            given_up: Vec::new(),
        }
    }

    fn measured(&self, piece: Piece, change: &Change) -> PassageSums {
        let changed = changed(&self.model, change, Some(&means(&self.model))).unwrap();
        let mask = eval::stopword_mask(&changed, &self.text.stopword_ids);
        let ids = &self.text.passages[piece.passage];
        pollster::block_on(eval::passage(&changed, ids, Some(&mask), &mut Probe::empty(), &mut Prefixes::none())).unwrap()
    }
}

impl Crew for Fake {
    fn n_helpers(&self) -> usize {
        self.kinds.len() - self.given_up.len()
    }

    fn poll_heard(&mut self, _context: &mut Context<'_>) -> Poll<Heard> {
        if let Some(heard) = self.heard.pop_front() {
            return Poll::Ready(heard);
        }
        let Some((helper, piece)) = self.asked.pop_front() else { return Poll::Pending };
        let change = self.changes[piece.arm].clone().unwrap();
        Poll::Ready(Heard::Measured(helper, piece, self.measured(piece, &change)))
    }

    fn ask(&mut self, helper: usize, piece: Piece, change: &Change) {
        assert_eq!(Some(change), self.changes[piece.arm].as_ref());
        let index = helper - OWN - 1;
        match self.kinds[index] {
            Kind::Good => self.asked.push_back((helper, piece)),
            Kind::FailsAt(n) if self.n_asked[index] == n => {
                self.asked.retain(|(of, _)| *of != helper);
                self.heard.push_back(Heard::Lost(helper));
            }
            Kind::FailsAt(_) => self.asked.push_back((helper, piece)),
            Kind::Silent => {}
            Kind::Late => panic!("it is not ready"),
        }
        self.n_asked[index] += 1;
    }

    fn give_up(&mut self, helper: usize) {
        self.given_up.push(helper);
    }
}

/// The arms' indices and totals as they were told.
type Told = Vec<(usize, Option<Totals>)>;

/// Measures the changes in two runs, and asks for a stop after the arm `stop_at`.
fn measured(name: &str, crew: &mut dyn Crew, control: &Control, stop_at: Option<usize>) -> (Told, Result<(), AnalysisError>) {
    let model = model(name);
    let (text, means, changes) = (text(name, &model), means(&model), changes(&model));
    let patience = Duration::from_millis(1);
    let mut many = Many::new(Bench { model: &model, text: &text, means: Some(&means), with_stopwords: true, crew, patience, control });
    let mut told = Vec::new();
    let (mut run, n_first) = (Ok(()), 2);
    // Two runs, as a confirmation has.
    for arms in [0..n_first, n_first..changes.len()] {
        let first = arms.start;
        let tell = |index: usize, totals| {
            told.push((first + index, totals));
            if stop_at == Some(first + index) {
                control.request_stop();
            }
            Ok(())
        };
        run = run.and_then(|()| {
            pollster::block_on(many.run(arms.len(), async |index| Ok(changes[first + index].clone()), tell, |_told, _done| {}))
        });
    }
    (told, run)
}

#[test]
fn totals_are_equal_to_the_bit_and_in_order_whoever_helps() {
    for name in ["llama", "gpt-neox"] {
        let model = model(name);
        let text = text(name, &model);
        assert!(text.passages.len() > 3);
        let (alone, ran) = measured(name, &mut Fake::new(&model, &text, &[]), &Control::silent(), None);
        ran.unwrap();
        for (index, change) in changes(&model).into_iter().enumerate() {
            let expected = change.map(|change| {
                let changed = changed(&model, &change, Some(&means(&model))).unwrap();
                let nothing = Ablation::default();
                pollster::block_on(measure(&changed, &nothing, &text, &mut Prefixes::none(), &Control::silent(), |_done| {})).unwrap()
            });
            assert_eq!(alone[index].0, index);
            assert_eq!(alone[index].1.map(|totals| totals.measured(&text).unwrap()), expected, "{name}, {index}");
        }
        use Kind::{FailsAt, Good, Late, Silent};
        let crews: [&[Kind]; 7] =
            [&[Good], &[Good, Good, Good], &[FailsAt(0)], &[FailsAt(3), Good], &[Silent], &[Silent, FailsAt(1), Good], &[Late]];
        for kinds in crews {
            let mut fake = Fake::new(&model, &text, kinds);
            let (told, ran) = measured(name, &mut fake, &Control::silent(), None);
            ran.unwrap();
            assert_eq!(told, alone, "{name}, {kinds:?}");
            for (kind, n_asked) in kinds.iter().zip(&fake.n_asked) {
                let least = if *kind == Late { 0 } else { 1 };
                assert!(*n_asked >= least, "{name}, {kinds:?}: {:?}", fake.n_asked);
            }
            let silent = (1..).zip(kinds).filter(|(_, kind)| **kind == Silent).map(|(helper, _)| helper).collect::<Vec<_>>();
            assert_eq!(fake.given_up, silent, "{name}, {kinds:?}");
        }
    }
}

#[test]
fn good_helper_does_a_fair_share() {
    let model = model("llama");
    let text = text("llama", &model);
    let mut fake = Fake::new(&model, &text, &[Kind::Good]);
    measured("llama", &mut fake, &Control::silent(), None).1.unwrap();
    let all = text.passages.len() * changes(&model).iter().flatten().count();
    // It answers at once, so it gets two pieces for each of the engine's.
    assert!((all / 4..=all * 3 / 4).contains(&fake.n_asked[0]), "{} of {all}", fake.n_asked[0]);
}

#[test]
fn stop_ends_the_work_with_the_arms_told_so_far() {
    let model = model("llama");
    for kinds in [&[][..], &[Kind::Good], &[Kind::Silent]] {
        let mut fake = Fake::new(&model, &text("llama", &model), kinds);
        let control = Control::silent();
        let (told, ran) = measured("llama", &mut fake, &control, Some(1));
        assert!(matches!(ran, Err(AnalysisError::Stopped(_))) || told.len() == 2, "{kinds:?}: {ran:?}");
        assert!(told.len() < changes(&model).len(), "{kinds:?}: {} arms", told.len());
    }
}

/// Writes a fixture as an engine hands it to its helpers.
fn handed(name: &str, to: &Path) -> ModelSource {
    let loaded = load_in(&fixture(name), &burn::tensor::Device::flex()).unwrap();
    let config = std::fs::read(fixture(name).join("config.json")).unwrap();
    let output = Output::new(to.to_str()).unwrap();
    ModelSource::Files(pollster::block_on(hand_over(&config, &loaded.tensors, &output, &Control::silent())).unwrap())
}

#[test]
fn model_that_is_handed_over_computes_the_same_to_the_bit() {
    for name in fixtures() {
        let scratch = Scratch::new(&format!("handed-{name}"));
        handed(&name, scratch.dir());
        let device = burn::tensor::Device::flex();
        let (own, other) = (load_in(&fixture(&name), &device).unwrap(), load_in(scratch.dir(), &device).unwrap());
        assert_eq!((own.num_parameters, own.weight_bytes), (other.num_parameters, other.weight_bytes), "{name}");
        assert_eq!(own.largest, other.largest, "{name}");
        let ids = (1..10).collect::<Vec<u32>>();
        let sums = |model: &Model| {
            let sums = pollster::block_on(eval::passage(model, &ids, None, &mut Probe::empty(), &mut Prefixes::none())).unwrap();
            sums.loss_nats.to_bits()
        };
        assert_eq!(sums(&own.model), sums(&other.model), "{name}");
    }
}

#[test]
fn helper_answers_with_the_sums_that_the_engine_would_measure() {
    let scratch = Scratch::new("handed-answers");
    let (model, mut helper) = (model("phi3"), Session::new());
    let text = text("phi3", &model);
    let ask = |helper: &mut Session, help: Help| helper.ask(Request::Help(help));
    let piece = Piece { arm: 4, passage: 1 };
    assert!(ask(&mut helper, Help::Measure { piece, change: None }).is_err(), "it has no model");
    ask(&mut helper, Help::Join { source: handed("phi3", scratch.dir()) }).unwrap();
    assert!(ask(&mut helper, Help::Measure { piece, change: None }).is_err(), "it has no text");
    let (passages, stopword_ids, means) = (text.passages.clone(), text.stopword_ids.clone(), means(&model));
    ask(&mut helper, Help::Read(HelperText { passages, stopword_ids, means: Some(means.clone()) })).unwrap();
    let mask = eval::stopword_mask(&model, &text.stopword_ids);
    for change in changes(&model).into_iter().flatten() {
        let changed = changed(&model, &change, Some(&means)).unwrap();
        // A change that is left out is the one before.
        for (passage, change) in [(1, Some(change)), (0, None)] {
            let events = ask(&mut helper, Help::Measure { piece: Piece { arm: 4, passage }, change }).unwrap();
            let ids = &text.passages[passage];
            let expected =
                pollster::block_on(eval::passage(&changed, ids, Some(&mask), &mut Probe::empty(), &mut Prefixes::none())).unwrap();
            assert!(matches!(&events[..], [Event::Helped(sums), Event::Done] if *sums == expected), "{events:?}");
        }
    }
    assert!(ask(&mut helper, Help::Measure { piece: Piece { arm: 4, passage: 99 }, change: None }).is_err());
}

/// An engine on this machine has no helpers to tell of.
#[test]
fn native_engine_works_alone() {
    let mut session = Session::new();
    assert!(session.ask(Request::UseWorkers { workers: 2 }).is_err(), "no model is loaded");
    let loaded = session.load(files_in(&fixture("llama"))).unwrap();
    assert!(!loaded.iter().any(|event| matches!(event, Event::Sharing(_))));
    assert_eq!(session.ask(Request::UseWorkers { workers: 2 }).unwrap(), [Event::Done]);
}
