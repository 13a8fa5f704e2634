//! Many removals measured one by one: by rules, and channel by channel.

use std::path::PathBuf;
use std::process::Output;

use linchpin::protocol::{Event, Request};
use linchpin::terms::{
    Ablation, Deletion, DeletionReport, EditTarget, Evaluation, FailureKind, Pane, Pick, Problem, Pruned, Pruning, Ranking, Replacement,
    Selection, SweepPoint, SweepReport, WeightCoord, WeightEdit,
};

use crate::support::{Copy, Session, code, export, fixture, linchpin, silence_channel_0, stopped_after, with_values};
use crate::the_event;

fn score() -> Request {
    Request::Score { text: None, sequences: 2, length: 24, super_weights: Vec::new(), resume: false }
}

fn scored(name: &str) -> Session {
    let mut session = Session::with_model(&fixture(name));
    session.ask(score()).unwrap();
    session
}

fn zero(pick: Pick) -> Pruning {
    Pruning { selection: Selection::new(pick), replacement: Replacement::Zero }
}

fn some_prunings() -> Vec<Pruning> {
    let half = zero(Pick::Lowest { by: Ranking::Connected, share: 0.5 });
    vec![
        zero(Pick::Core),
        Pruning { replacement: Replacement::Mean, ..half },
        half,
        zero(Pick::Lowest { by: Ranking::Taylor, share: 0.0 }),
        Pruning { selection: Selection { eta: 0.2, layer: Some(1), ..Selection::new(Pick::Halo) }, replacement: Replacement::Mean },
        zero(Pick::Highest { by: Ranking::LossProxy, share: 0.02 }),
    ]
}

fn is_point(event: &Event) -> Option<SweepPoint> {
    if let Event::SweepPoint(point) = event { Some(point.clone()) } else { None }
}

fn swept(session: &mut Session, prunings: Vec<Pruning>) -> SweepReport {
    let events = session.ask(Request::Sweep { prunings }).unwrap();
    let points = events.iter().filter_map(is_point).collect::<Vec<_>>();
    let report = the_event!(events, Event::Swept(report) => report);
    assert_eq!(report.points, points, "the report is what was sent before");
    report
}

fn evaluations(session: &mut Session) -> (Evaluation, Evaluation) {
    let events = session.ask(Request::Evaluate).unwrap();
    let of = |wanted| {
        let found = events.iter().find_map(|event| match event {
            Event::Evaluated { pane, evaluation } if *pane == wanted => Some(evaluation.clone()),
            _ => None,
        });
        found.unwrap()
    };
    (of(Pane::Intact), of(Pane::Ablated))
}

fn applied(session: &mut Session, ablation: Ablation) -> (Option<Pruned>, Evaluation, Evaluation) {
    let pruned = the_event!(session.ask(Request::Apply { ablation }).unwrap(), Event::Applied { pruned, .. } => pruned);
    let (intact, after) = evaluations(session);
    (pruned, intact, after)
}

#[test]
fn sweep_point_is_what_applying_it_gives() {
    for name in ["llama", "gpt2"] {
        let mut session = scored(name);
        let found = swept(&mut session, some_prunings());
        assert_eq!(found.points.len(), some_prunings().len());
        for (point, pruning) in found.points.iter().zip(some_prunings()) {
            let (pruned, intact, after) = applied(&mut session, Ablation::pruning(pruning));
            assert_eq!((Some(&point.pruned), &point.evaluation), (pruned.as_ref(), &after), "{name}");
            assert_eq!(found.intact, intact, "{name}");
        }
        // Another rule that picks the core is equal to the core; removing nothing is equal to the intact model.
        assert_eq!(found.points[0].pruned.digest, found.points[5].pruned.digest, "{name}");
        assert_eq!(found.points[0].evaluation, found.points[5].evaluation, "{name}");
        assert_eq!(found.points[3].evaluation, found.intact, "{name}");
        assert_ne!(found.points[1].evaluation, found.points[2].evaluation, "{name}");
        assert_eq!(found.points[4].pruned.by_layer[0], 0, "{name}");
    }
}

#[test]
fn applied_ablation_stays_after_a_sweep() {
    let mut session = scored("llama");
    let (_, intact, after) = applied(&mut session, Ablation::zeroing([WeightCoord::new(1, 5, 17)]));
    assert_ne!(intact, after);
    swept(&mut session, some_prunings());
    session.ask(Request::Delete { per_layer: 1, n_quantiles: 1, layer: Some(0), seed: 1, replacement: Replacement::Zero }).unwrap();
    assert_eq!(evaluations(&mut session), (intact, after));
}

#[test]
fn stop_keeps_what_was_measured() {
    let events = stopped_after(|event| matches!(event, Event::SweepPoint(_)), vec![score(), Request::Sweep { prunings: some_prunings() }]);
    assert_eq!(events.last(), Some(&Event::Stopped));
    let points = events.iter().filter_map(is_point).collect::<Vec<_>>();
    let whole = swept(&mut scored("llama"), some_prunings());
    assert_eq!(points, whole.points[..1]);
    let intact = |events: &[Event]| {
        let told = events.iter().position(|event| *event == Event::Evaluated { pane: Pane::Intact, evaluation: whole.intact.clone() });
        told.expect("what the intact model does")
    };
    assert!(intact(&events) < events.iter().position(|event| matches!(event, Event::SweepPoint(_))).unwrap());
    assert!(!events.iter().any(|event| matches!(event, Event::Swept(_))));
    let delete = || Request::Delete { per_layer: 4, n_quantiles: 2, layer: None, seed: 1, replacement: Replacement::Zero };
    let events = stopped_after(|event| matches!(event, Event::Deletion(_)), vec![score(), delete()]);
    assert_eq!(events.last(), Some(&Event::Stopped));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Deletion(_))).count(), 1);
    assert!(intact(&events) < events.iter().position(|event| matches!(event, Event::Deletion(_))).unwrap());
    // Neither loses the scores.
    let sweep = Request::Sweep { prunings: some_prunings()[..1].to_vec() };
    let events = stopped_after(|event| matches!(event, Event::Deletion(_)), vec![score(), delete(), sweep]);
    assert_eq!(events.last(), Some(&Event::Done));
}

#[test]
fn sweeps_that_make_no_sense_are_refused() {
    let mut session = Session::with_model(&fixture("llama"));
    let delete = |per_layer, n_quantiles, layer| Request::Delete { per_layer, n_quantiles, layer, seed: 1, replacement: Replacement::Zero };
    for request in [Request::Sweep { prunings: some_prunings() }, delete(4, 2, None)] {
        let refused = session.ask(request).unwrap_err();
        assert_eq!(refused.problem, Problem::NoScores);
    }
    session.ask(score()).unwrap();
    let wrong = zero(Pick::Lowest { by: Ranking::Random, share: 1.5 });
    let refused = [
        Request::Sweep { prunings: vec![zero(Pick::Core); 10_001] },
        Request::Sweep { prunings: vec![zero(Pick::Core), wrong] },
        delete(0, 2, None),
        delete(4, 0, None),
        delete(4, 65, None),
        delete(4, 2, Some(3)),
    ];
    for request in refused {
        assert_eq!(session.ask(request.clone()).unwrap_err().kind(), FailureKind::Input, "{request:?}");
    }
    assert_eq!(swept(&mut session, Vec::new()).points, []);
}

fn deleted(session: &mut Session, per_layer: usize, layer: Option<usize>) -> DeletionReport {
    let events = session.ask(Request::Delete { per_layer, n_quantiles: 4, layer, seed: 3, replacement: Replacement::Zero }).unwrap();
    let sent = events.iter().filter_map(|event| if let Event::Deletion(deletion) = event { Some(*deletion) } else { None });
    let sent = sent.collect::<Vec<_>>();
    let report = the_event!(events, Event::Deleted(report) => report);
    assert_eq!(report.deletions, sent, "the report is what was sent before");
    report
}

#[test]
fn deletion_is_what_removing_the_channel_gives() {
    for name in ["llama", "gpt2"] {
        let mut session = scored(name);
        let report = deleted(&mut session, 6, None);
        assert_eq!(report.deletions.len(), 3 * 6, "{name}");
        for Deletion { layer, channel, delta_nats, .. } in &report.deletions {
            let target = EditTarget::channel(*layer, *channel);
            let ablation = Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() };
            let (_, intact, after) = applied(&mut session, ablation);
            assert_eq!(report.intact, intact, "{name}");
            // Two losses in f32 are each half a step off.
            let expected = after.loss_nats - intact.loss_nats;
            assert!((delta_nats - expected).abs() <= 5e-7, "{name}, layer {layer}, {channel}: {delta_nats}, {expected}");
        }
        // The difference of two f32 between 4 and 8 is a multiple of their step.
        assert!((4.0..8.0).contains(&report.intact.loss_nats), "{name}: {}", report.intact.loss_nats);
        let steps = report.deletions.iter().map(|deletion| deletion.delta_nats / 2.0_f32.powi(-21));
        assert!(steps.filter(|steps| steps.fract() != 0.0).count() > 9, "{name}: finer than f32 losses");
    }
}

#[test]
fn deletions_of_more_channels_than_a_layer_has_take_each_once() {
    let mut session = scored("qwen3");
    let report = deleted(&mut session, 1000, Some(1));
    let mut channels = report.deletions.iter().map(|deletion| deletion.channel).collect::<Vec<_>>();
    channels.sort_unstable();
    assert!(channels.len() > 9 && channels.iter().copied().eq(0..channels.len()));
    assert_eq!(
        report.correlations.iter().map(|found| (found.layer, found.n)).collect::<Vec<_>>(),
        [(None, channels.len()), (Some(1), channels.len())]
    );
    assert_eq!((report.correlations[0].spearman, report.calibration.n_sequences), (report.correlations[1].spearman, 2));
    assert!(report.correlations[0].spearman.is_some());
}

/// Two channels of layer 0 that cancel each other; without one of them, a channel of layer 1 overflows.
#[test]
fn removal_that_overflows_is_a_finding() {
    let copy = Copy::of("llama", "overflowing-removal");
    copy.edit("model.safetensors", |file| {
        with_values(file, |name, width, values| {
            silence_channel_0(name, width, values);
            let is = |layer: usize, matrices: &[&str]| matrices.iter().any(|matrix| name.contains(&format!("layers.{layer}.mlp.{matrix}")));
            if is(0, &["gate_proj", "up_proj"]) {
                values.copy_within(..width, width);
            } else if is(0, &["down_proj"]) {
                (values[0], values[1]) = (1.0, -1.0);
            } else if is(1, &["gate_proj", "up_proj"]) {
                values[..width].fill(0.0);
                values[0] = 1e20;
            }
        });
    });
    let mut session = Session::with_model(copy.dir());
    session.ask(score()).unwrap();
    let report = deleted(&mut session, 1000, Some(0));
    let overflown = report.deletions.iter().filter(|deletion| deletion.delta_nats == Evaluation::OVERFLOW);
    assert_eq!(overflown.map(|deletion| deletion.channel / 2).collect::<Vec<_>>(), [0, 0]);
    let random = Pick::Highest { by: Ranking::Random, share: 0.5 };
    let of_seed = |seed| Selection { layer: Some(0), seed, ..Selection::new(random) };
    let prunings = (0..8).map(|seed| Pruning { selection: of_seed(seed), replacement: Replacement::Zero }).collect();
    let report = swept(&mut session, prunings);
    let is_overflow = |point: &&SweepPoint| point.evaluation.loss_nats == Evaluation::OVERFLOW;
    let n = report.points.iter().filter(is_overflow).count();
    assert!(report.points.len() == 8 && (1..8).contains(&n), "{n}");
    assert!(report.intact.loss_nats < 100.0);
    // It is unchanged after a round trip through JSON.
    assert_eq!(serde_json::from_str::<SweepReport>(&serde_json::to_string(&report).unwrap()).unwrap(), report);
}

/// A table written by one test.
struct Csv(PathBuf);

impl Csv {
    fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("linchpin-{}-{test}.csv", std::process::id())))
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    /// The command with this table.
    fn after(&self, args: &[&str]) -> Output {
        linchpin(&[args, &["--sequences", "2", "--length", "16", "--csv", self.0.to_str().unwrap()]].concat())
    }
}

impl Drop for Csv {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The first `n` lines, and half of the next.
fn interrupted(table: &str, n: usize) -> String {
    let lines = table.split_inclusive('\n').collect::<Vec<_>>();
    let half = &lines[n][..lines[n].len() / 2];
    format!("{}{half}", lines[..n].concat())
}

const BOTH: [&str; 12] = [
    "sweep",
    "--methods",
    "lp,scar-conn,random",
    "--sparsities",
    "0,0.5",
    "--shares",
    "0.02,0.1",
    "--etas",
    "0.1",
    "--seeds",
    "1,2",
    "--json",
];

#[test]
fn interrupted_sweep_ends_as_one_that_was_not() {
    let (csv, whole) = (Csv::new("sweep"), Csv::new("whole-sweep"));
    let points = export(&whole.after(&BOTH)).sweep.unwrap().points;
    // Both experiments with lp, scar-conn and two draws at two shares; core, halo and two matched ones; twice.
    assert_eq!((points.len(), whole.read().lines().count()), (2 * (2 * 8 + 4), 1 + 2 * (2 * 8 + 4)));
    csv.write(&interrupted(&whole.read(), 23));
    let rest = export(&csv.after(&BOTH)).sweep.unwrap().points;
    assert_eq!((rest.len(), &rest[..]), (points.len() - 22, &points[22..]));
    assert_eq!(csv.read(), whole.read());
    // Nothing is left to do.
    assert_eq!(export(&csv.after(&BOTH)).sweep.unwrap().points, []);
    assert_eq!(csv.read(), whole.read());
    // A row has the values of its point.
    let (row, point) = (whole.read().lines().nth(2).unwrap().to_owned(), &points[1]);
    assert!(row.contains(&format!(",{},{},{},", point.pruned.n_channels, point.pruned.digest, point.evaluation.loss_nats)), "{row}");
    assert!(row.contains(",lowest,lp,0.5,zero,1,,0.01,0.1,,2,16,"), "{row}");
}

#[test]
fn other_tables_stay_and_other_methods_are_refused() {
    let csv = Csv::new("other");
    csv.write("something,else\n");
    for command in [&BOTH[..], &["deletions"], &["training", fixture("").to_str().unwrap()]] {
        assert_eq!(code(&csv.after(command)), Some(2), "{command:?}");
        assert_eq!(csv.read(), "something,else\n");
    }
    let csv = Csv::new("astrology");
    assert_eq!(code(&csv.after(&["sweep", "--methods", "astrology"])), Some(2));
    assert!(!csv.0.exists());
}

#[test]
fn deletions_are_a_report_and_a_table() {
    let csv = Csv::new("deletions");
    let args = ["deletions", "--per-layer", "4", "--quantiles", "2", "--layer", "1"];
    let report = export(&csv.after(&[&args[..], &["--json"]].concat())).deletions.unwrap();
    assert_eq!((report.deletions.len(), report.n_quantiles, report.correlations.len()), (4, 2, 2));
    let table = csv.read();
    let (last, deletion) = (table.lines().last().unwrap(), report.deletions[3]);
    let Deletion { layer, channel, quantile, loss_proxy, delta_nats } = deletion;
    assert!(last.contains(&format!(",{layer},{channel},{quantile},{loss_proxy:e},{delta_nats:e},")), "{last}");
    let printed = String::from_utf8(csv.after(&args).stdout).unwrap();
    assert!(printed.lines().any(|line| line.trim_start().starts_with("all ")), "{printed}");
    assert_eq!(csv.read(), table, "the same deletions are there once");
}

/// A text with the same name and other contents is another text.
#[test]
fn table_knows_a_text_by_what_it_says() {
    let text = Csv::new("text");
    let path = text.0.to_str().unwrap();
    let sweep = ["sweep", "--experiment", "removal", "--methods", "lp", "--shares", "0.1", "--etas", "0.1", "--seeds", "1"];
    let deletions = ["deletions", "--per-layer", "2", "--quantiles", "1", "--layer", "1"];
    let checkpoint = Copy::of("llama", "texts/step-1");
    let dir = checkpoint.dir().parent().unwrap().to_path_buf();
    let training = ["training", dir.to_str().unwrap()];
    for (command, n) in [(&sweep[..], 8), (&deletions, 2), (&training, 1)] {
        // Other tests have tables with the bare names.
        let csv = Csv::new(&format!("text-{}", command[0]));
        let rows_after = |says: &str| {
            text.write(says);
            assert_eq!(code(&csv.after(&[command, &["--text", path]].concat())), Some(0), "{command:?}");
            csv.read().lines().count() - 1
        };
        assert_eq!(rows_after("The pin fell, and nobody heard it."), n, "{command:?}");
        assert_eq!(rows_after("A dark evening, and the old man."), 2 * n, "{command:?}");
        assert_eq!(rows_after("The pin fell, and nobody heard it."), 2 * n, "{command:?}");
    }
    drop(checkpoint);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn checkpoints_are_measured_in_order_in_one_call() {
    let (whole, csv) = (Csv::new("whole-training"), Csv::new("training"));
    let (early, late) = (Copy::of("llama", "checkpoints/seed-1/step-000020"), Copy::in_bf16("llama", "checkpoints/seed-1/step-000100"));
    let dir = early.dir().ancestors().nth(2).unwrap().to_path_buf();
    let args = ["training", dir.to_str().unwrap(), "--scalar", "1,5,17", "--json"];
    let found = export(&whole.after(&args));
    let [first, second] = &found.checkpoints[..] else { panic!("{:?}", found.checkpoints) };
    assert_eq!((first.name.as_str(), first.step, second.step), ("seed-1/step-000020", Some(20), Some(100)));
    assert_eq!(found.model, second.model);
    assert_ne!(first.model.revision, second.model.revision);
    assert!(first.evaluation.loss_nats != second.evaluation.loss_nats && first.summary.len() == 4);
    // As in the other commands.
    let scored = export(&linchpin(&["score", "--sequences", "2", "--length", "16", "--json"])).scores.unwrap();
    assert_eq!((&first.summary, &first.calibration), (&scored.summary, &scored.calibration));
    let measured = export(&linchpin(&["perplexity", "--scalar", "1,5,17", "--json"])).evaluations;
    assert_eq!(first.evaluation, measured[0].1);
    assert_eq!(first.zeroed.unwrap().loss_nats, measured[1].1.loss_nats);
    csv.write(&interrupted(&whole.read(), 2));
    let rest = export(&csv.after(&args)).checkpoints;
    assert_eq!((rest.len(), &rest[0]), (1, second));
    assert_eq!(csv.read(), whole.read());
    drop((early, late));
    // No checkpoint is left.
    assert_eq!(code(&csv.after(&args)), Some(2));
    std::fs::remove_dir_all(&dir).unwrap();
}

/// A channel at its mean is another experiment than a removed one.
#[test]
fn single_channels_may_stand_at_their_means() {
    let mut session = Session::with_model(&fixture("llama"));
    session.ask(score()).unwrap();
    let mut deleted = |replacement| {
        let events = session.ask(Request::Delete { per_layer: 3, n_quantiles: 3, layer: Some(1), seed: 3, replacement }).unwrap();
        the_event!(events, Event::Deleted(report) => report)
    };
    let (zero, mean) = (deleted(Replacement::Zero), deleted(Replacement::Mean));
    assert_eq!(mean.replacement, Replacement::Mean);
    for (zero, mean) in zero.deletions.iter().zip(&mean.deletions) {
        assert_eq!((zero.layer, zero.channel), (mean.layer, mean.channel));
        assert_ne!(zero.delta_nats, mean.delta_nats, "{zero:?}");
    }
}

/// The edit makes the engine compute means, over the bundled calibration text.
#[test]
fn edit_may_draw_a_channel_to_its_mean() {
    let mut session = Session::with_model(&fixture("llama"));
    let mut loss = |target| {
        let ablation = Ablation { weight_edits: vec![WeightEdit { target, scale: 0.0 }], ..Ablation::default() };
        session.ask(Request::Apply { ablation }).unwrap();
        let events = session.ask(Request::Evaluate).unwrap();
        the_event!(events, Event::Evaluated { pane: Pane::Ablated, evaluation } => evaluation).loss_nats
    };
    let [removed, mean] = [EditTarget::channel(1, 17), EditTarget::channel_mean(1, 17)].map(&mut loss);
    assert!(removed.is_finite() && mean.is_finite() && removed != mean, "{removed} {mean}");
}
