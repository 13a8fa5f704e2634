//! Experiments of every kind where little is there, where one thing is named twice, in the middle of a stop, and on a GPU.

use linchpin::protocol::{BackendChoice, Event, FailureKind, Request};
use linchpin::terms::{Cell, Experiment, ExperimentKind, Outcome, TaskFile, TextRef, WeightCoord};

use crate::support::{Copy, Session, fixture, on_gpu, stopped_after};

fn at(layer: usize, row: usize, col: usize) -> WeightCoord {
    WeightCoord::new(layer, row, col)
}

/// Of several layers, rows and columns.
fn several() -> Vec<WeightCoord> {
    vec![at(0, 3, 5), at(0, 3, 6), at(1, 4, 5)]
}

/// As few of everything as make a figure.
fn short(kind: ExperimentKind) -> Experiment {
    let all = Experiment::of(kind, several());
    let first = |values: &[f32]| values.iter().copied().take(2).collect::<Vec<_>>();
    Experiment {
        n_blocks: kind.reads_text().then_some(1),
        block: kind.reads_text().then_some(32),
        n_calibration: all.n_calibration.map(|_| 1),
        n_prompts: all.n_prompts.map(|_| 3),
        factors: first(&all.factors),
        bits: all.bits.iter().copied().take(1).collect(),
        block_sizes: all.block_sizes.iter().map(|_| [64, 0]).take(1).flatten().collect(),
        clips: first(&all.clips),
        prompt: if kind.reads_prompt() { "It was".into() } else { String::new() },
        ..all
    }
}

fn outcomes(events: &[Event]) -> Vec<&Outcome> {
    events.iter().filter_map(|event| if let Event::Outcome(outcome) = event { Some(outcome) } else { None }).collect()
}

/// The complete outcome; what its plots name is there.
#[track_caller]
fn ran(session: &mut Session, experiment: Experiment) -> Outcome {
    let kind = experiment.kind;
    let events = session.ask(Request::Experiment(experiment)).unwrap_or_else(|failure| panic!("{kind:?}: {failure:?}"));
    let outcome = (*outcomes(&events).last().unwrap()).clone();
    assert!(!outcome.is_partial && !outcome.plots.is_empty() && !outcome.findings.is_empty() && outcome.headline.len() >= 2, "{kind:?}");
    for plot in &outcome.plots {
        let table = outcome.table(&plot.table).unwrap_or_else(|| panic!("{kind:?}: no table {}", plot.table));
        let columns = [Some(&plot.x), Some(&plot.y), plot.by.as_ref(), plot.only.as_ref().map(|(column, _)| column)];
        assert!(columns.into_iter().flatten().all(|name| table.column(name).is_some()), "{kind:?}: {plot:?}");
        let is_drawn = |row: &Vec<Cell>| plot.only.as_ref().is_none_or(|(of, text)| row[table.column(of).unwrap()].text() == Some(text));
        assert!(table.rows.iter().any(is_drawn), "{kind:?}: nothing to draw in {}", plot.title);
    }
    let mut names = outcome.headline.iter().map(|figure| &figure.name).collect::<Vec<_>>();
    names.sort();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    outcome
}

fn task(name: &str) -> TaskFile {
    let path = format!("{}/tests/golden/tasks/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    TaskFile { name: name.into(), jsonl: std::fs::read_to_string(path).unwrap() }
}

fn named(name: &str) -> TextRef {
    TextRef { name: name.into(), digest: String::new() }
}

#[test]
fn every_kind_runs_in_a_context_of_eight_tokens() {
    for name in ["llama", "gpt2"] {
        let copy = Copy::of(name, &format!("edges-{name}"));
        if name == "llama" {
            copy.edit_config(|config| config["max_position_embeddings"] = 8.into());
        }
        let mut session = Session::with_model(copy.dir());
        for kind in ExperimentKind::ALL {
            let outcome = ran(&mut session, short(kind));
            if name == "llama" && kind.reads_text() {
                assert!(outcome.convention.starts_with("concat-8 "), "{}", outcome.convention);
            }
            if name == "llama" && kind == ExperimentKind::TokenShift {
                assert!(outcome.convention.ends_with("3 of them only the last 8 tokens"), "{}", outcome.convention);
            }
        }
    }
}

#[test]
fn a_text_shorter_than_a_block_is_one_block() {
    let mut session = Session::with_model(&fixture("llama"));
    session.ask(Request::UseText { name: "mine".into(), text: "It was a dark evening.".into(), max_tokens: 128 }).unwrap();
    let outcome = ran(&mut session, Experiment { block: Some(64), n_blocks: Some(9), ..short(ExperimentKind::Scaling) });
    assert!(outcome.convention.contains(" mine (") && outcome.convention.contains("in one, one block of "), "{}", outcome.convention);
}

#[test]
fn every_kind_keeps_what_it_has_when_it_is_stopped() {
    // The weights are searched at once.
    for kind in ExperimentKind::ALL.into_iter().filter(|kind| *kind != ExperimentKind::WeightsOnly) {
        let is_row = |event: &Event| matches!(event, Event::Outcome(outcome) if outcome.is_partial);
        let events = stopped_after(is_row, vec![Request::Experiment(short(kind))]);
        assert_eq!(events.last(), Some(&Event::Stopped), "{kind:?}");
        let last = (*outcomes(&events).last().unwrap()).clone();
        assert!(last.is_partial && last.tables.iter().any(|table| !table.rows.is_empty()), "{kind:?}");
        if kind == ExperimentKind::Scaling {
            assert_eq!(last.table("loss").unwrap().rows.len(), 1);
        }
    }
}

#[test]
fn super_weights_and_settings_named_twice_count_once() {
    let mut session = Session::with_model(&fixture("llama"));
    let scaling = |super_weights| Experiment { super_weights, factors: vec![0.5, 1.0, 0.5], ..short(ExperimentKind::Scaling) };
    let once = ran(&mut session, scaling(vec![at(0, 3, 5)]));
    let twice = ran(&mut session, scaling(vec![at(0, 3, 5), at(0, 3, 5)]));
    assert_eq!(twice.tables, once.tables, "half of it is not a quarter");
    assert_eq!((twice.experiment.super_weights.len(), twice.experiment.factors.as_slice()), (1, [0.5, 1.0].as_slice()));
    assert!(once.findings[0].starts_with("Factor 0 was not asked for"), "{:?}", once.findings);
    let grid = Experiment { bits: vec![4, 4], clips: vec![2.0, 2.0], ..short(ExperimentKind::WeightQuantisation) };
    let outcome = ran(&mut session, grid);
    // Three methods at two block sizes.
    assert_eq!(outcome.table("loss").unwrap().rows.len(), 1 + 3 * 2);
    let w8a8 = Experiment { bits: vec![6, 8], alpha: None, n_calibration: None, ..short(ExperimentKind::ActivationQuantisation) };
    let ran = ran(&mut session, w8a8).experiment;
    // What ran, and not what was asked for or left out.
    assert_eq!((ran.bits, ran.alpha, ran.n_calibration), (vec![6], Some(0.85), Some(32)));
}

#[test]
fn a_setting_that_leaves_nothing_to_measure_is_refused() {
    let mut session = Session::with_model(&fixture("llama"));
    let of = short(ExperimentKind::Scaling);
    for (experiment, expected) in [
        (Experiment { n_blocks: Some(0), ..of.clone() }, "the number of blocks"),
        (Experiment { block: Some(1), ..of.clone() }, "the tokens of a block"),
        (Experiment { factors: vec![0.5; 65], ..of.clone() }, "64 or fewer"),
        (Experiment { factors: vec![f32::NAN], ..of }, "scale NaN"),
    ] {
        let failure = session.ask(Request::Experiment(experiment)).unwrap_err();
        assert!(failure.kind == FailureKind::Input && failure.why.contains(expected), "{failure:?}");
    }
}

#[test]
fn prompts_are_taken_from_all_tasks_in_turn() {
    let mut session = Session::with_model(&fixture("llama"));
    let files = ["lambada_openai", "piqa"].map(task);
    session.ask(Request::UseTasks { tasks: files.to_vec() }).unwrap();
    let asked = |n_prompts, limit| Experiment {
        n_prompts: Some(n_prompts),
        limit: Some(limit),
        tasks: ["lambada_openai", "piqa"].map(named).to_vec(),
        ..short(ExperimentKind::TokenShift)
    };
    let outcome = ran(&mut session, asked(3, 3));
    let convention = "task-contexts-1 3 prompts, 2 of lambada_openai, 1 of piqa, each without what is to be predicted";
    assert_eq!((outcome.convention.as_str(), outcome.experiment.n_prompts), (convention, Some(3)));
    // Fewer than were asked for is said.
    let outcome = ran(&mut session, asked(50, 2));
    assert_eq!((outcome.findings[0].as_str(), outcome.experiment.n_prompts), ("50 prompts were asked for, and there are 4.", Some(4)));
    // One and the same context, as a task's and as a file of its own, gives the same distribution.
    let one = |name: &str, jsonl: &str| TaskFile { name: name.into(), jsonl: jsonl.into() };
    let as_task = [
        one("lambada_openai", r#"{"text":"It was a dark evening"}"#),
        one("openbookqa", r#"{"query":"It was a dark","choices":["man","old"],"gold":0}"#),
    ];
    let tables = as_task.map(|file| {
        let tasks = vec![named(&file.name)];
        session.ask(Request::UseTasks { tasks: vec![file] }).unwrap();
        ran(&mut session, Experiment { tasks, limit: None, ..asked(1, 1) }).tables
    });
    assert_eq!(tables[0], tables[1]);
    assert_ne!(tables[0], outcome.tables);
}

#[test]
fn accuracies_are_drawn_over_block_sizes_where_there_are_tasks() {
    let mut session = Session::with_model(&fixture("llama"));
    session.ask(Request::UseTasks { tasks: ["copa", "piqa"].map(task).to_vec() }).unwrap();
    let tasks = ["copa", "piqa"].map(named).to_vec();
    let grid = Experiment { bits: vec![4, 3], tasks, limit: Some(2), ..short(ExperimentKind::WeightQuantisation) };
    let outcome = ran(&mut session, grid.clone());
    assert_eq!(
        outcome.plots.iter().map(|plot| plot.table.as_str()).collect::<Vec<_>>(),
        ["loss", "loss", "mean_accuracy", "mean_accuracy"]
    );
    let (tasks, means) = (outcome.table("tasks").unwrap(), outcome.table("mean_accuracy").unwrap());
    let average = |row: &&Vec<Cell>| row[tasks.column("task").unwrap()].text() == Some("AVG");
    let averages = tasks.rows.iter().filter(average).map(|row| row[tasks.column("acc").unwrap()].clone()).collect::<Vec<_>>();
    let drawn = (0..means.rows.len()).map(|row| means.cell(row, "acc").unwrap().clone()).collect::<Vec<_>>();
    assert_eq!((averages.len(), averages), (1 + 2 * 3 * 2, drawn));
    assert!(outcome.findings.iter().any(|finding| finding.starts_with("INT3, SW held out: mean accuracy")), "{:?}", outcome.findings);
    let without = ran(&mut session, Experiment { tasks: Vec::new(), ..grid });
    assert!(without.table("mean_accuracy").is_none() && without.plots.len() == 2);
    // Accuracy over the scale, too, with the best factor in words.
    let scaling = Experiment { tasks: vec![named("copa")], limit: Some(2), factors: vec![0.0], ..short(ExperimentKind::Scaling) };
    let scaling = ran(&mut session, scaling);
    assert!(scaling.findings.iter().any(|finding| finding.starts_with("The mean accuracy is ")), "{:?}", scaling.findings);
    assert!(scaling.headline.iter().any(|figure| figure.name == "mean accuracy at factor 0"), "{:?}", scaling.headline);
}

/// Rounded activations fall either way between two levels, so that kind is held loosely; tests/quantise.rs holds it tightly.
#[test]
fn every_kind_comes_to_the_same_with_packed_weights_on_a_gpu() {
    on_gpu(|_| {
        let copy = Copy::in_bf16("llama3", "edges-gpu");
        let mut sessions = [BackendChoice::Gpu, BackendChoice::Cpu].map(|backend| Session::with_model_on(copy.dir(), backend));
        for kind in ExperimentKind::ALL {
            let [gpu, cpu] = sessions.each_mut().map(|session| ran(session, short(kind)));
            assert_eq!((gpu.backend.kind == cpu.backend.kind, &gpu.convention), (false, &cpu.convention), "{kind:?}");
            let tolerance = if kind == ExperimentKind::ActivationQuantisation { 0.02 } else { 5e-4 };
            let table = if gpu.table("loss").is_some() { "loss" } else { gpu.tables[0].name.as_str() };
            let [ours, expected] = [&gpu, &cpu].map(|outcome| outcome.table(table).unwrap());
            assert!(!ours.rows.is_empty() && ours.rows.len() == expected.rows.len(), "{kind:?}");
            for (ours, expected) in ours.rows.iter().zip(&expected.rows) {
                for (a, b) in ours.iter().zip(expected) {
                    let is_near = match (a.number(), b.number()) {
                        (Some(a), Some(b)) => (a - b).abs() <= tolerance * b.abs().max(1.0),
                        _ => a == b,
                    };
                    assert!(is_near, "{kind:?}: {ours:?} is not {expected:?}");
                }
            }
        }
    });
}
