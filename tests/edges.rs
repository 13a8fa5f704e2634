//! Experiments of every kind with minimal input, with repeated input, after a stop, and on a GPU.

use linchpin::protocol::{BackendChoice, Event, Request};
use linchpin::terms::{Cell, Experiment, ExperimentKind, FailureKind, Outcome, SettingId, TaskFile, TextRef, WeightCoord};

use crate::support::{
    Copy, Session, finding, fixture, last_outcome, on_gpu, sentences, setting, stopped_after, with, with_prompt, with_tasks,
};

fn at(layer: usize, row: usize, col: usize) -> WeightCoord {
    WeightCoord::new(layer, row, col)
}

/// Super weights in several layers, rows and columns.
fn several() -> Vec<WeightCoord> {
    vec![at(0, 3, 5), at(0, 3, 6), at(1, 4, 5)]
}

/// The smallest experiment that gives a figure.
fn short(kind: ExperimentKind) -> Experiment {
    let all = with_prompt(Experiment::with_defaults(kind, several()), "It was");
    let first_two = |id| setting(&all, id).map(|values| values.into_iter().take(2).collect::<Vec<_>>()).unwrap_or_default();
    let (factors, clips) = (first_two(SettingId::Factors), first_two(SettingId::Clips));
    let bits = setting(&all, SettingId::Bits).unwrap_or_default();
    with(
        all,
        &[
            (SettingId::NBlocks, &[1.0]),
            (SettingId::Block, &[32.0]),
            (SettingId::NCalibration, &[1.0]),
            (SettingId::NPrompts, &[3.0]),
            (SettingId::Factors, &factors),
            (SettingId::Bits, &bits[..bits.len().min(1)]),
            (SettingId::BlockSizes, &[64.0, 0.0]),
            (SettingId::Clips, &clips),
        ],
    )
}

/// The complete outcome; checks that everything named by its plots exists.
#[track_caller]
fn ran(session: &mut Session, experiment: Experiment) -> Outcome {
    let kind = experiment.kind();
    let events = session.ask(Request::Experiment(experiment)).unwrap_or_else(|failure| panic!("{kind:?}: {failure:?}"));
    let outcome = last_outcome(&events);
    assert!(!outcome.is_partial && !outcome.plots.is_empty() && !outcome.findings.is_empty() && outcome.headline.len() >= 2, "{kind:?}");
    for plot in &outcome.plots {
        let table = outcome.table(&plot.table).unwrap_or_else(|| panic!("{kind:?}: no table {}", plot.table));
        let columns = [Some(&plot.x), Some(&plot.y), plot.by.as_ref(), plot.only.as_ref().map(|(column, _)| column)];
        assert!(columns.into_iter().flatten().all(|name| table.column(name).is_some()), "{kind:?}: {plot:?}");
        let is_drawn = |row: &Vec<Cell>| plot.only.as_ref().is_none_or(|(of, text)| row[table.column(of).unwrap()].text() == Some(text));
        assert!(table.rows.iter().any(is_drawn), "{kind:?}: nothing to draw in {:?}", plot.title);
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
        for kind in ExperimentKind::ALL.iter().copied() {
            let outcome = ran(&mut session, short(kind));
            if name == "llama" && kind.reads_text() {
                let convention = outcome.convention.as_ref().unwrap();
                assert_eq!((convention.code.as_str(), convention.number("block")), ("concat", 8.0));
            }
            if name == "llama" && kind == ExperimentKind::TokenShift {
                let convention = outcome.convention.as_ref().unwrap();
                assert_eq!(["n_cut", "limit"].map(|name| convention.number(name)), [3.0, 8.0]);
            }
        }
    }
}

#[test]
fn text_shorter_than_a_block_is_one_block() {
    let mut session = Session::with_model(&fixture("llama"));
    session.ask(Request::UseText { name: "mine".into(), text: "It was a dark evening.".into(), max_tokens: 128 }).unwrap();
    let outcome = ran(&mut session, with(short(ExperimentKind::Scaling), &[(SettingId::Block, &[64.0]), (SettingId::NBlocks, &[9.0])]));
    let convention = outcome.convention.as_ref().unwrap();
    assert_eq!((convention.text("text"), convention.number("blocks")), ("mine", 1.0));
}

#[test]
fn every_kind_keeps_what_it_has_when_it_is_stopped() {
    // The search of the weights is too fast to be stopped.
    for kind in ExperimentKind::ALL.iter().copied().filter(|kind| *kind != ExperimentKind::WeightsOnly) {
        let is_row = |event: &Event| matches!(event, Event::Outcome(outcome) if outcome.is_partial);
        let events = stopped_after(is_row, vec![Request::Experiment(short(kind))]);
        assert_eq!(events.last(), Some(&Event::Stopped), "{kind:?}");
        let last = last_outcome(&events);
        assert!(last.is_partial && last.tables.iter().any(|table| !table.rows.is_empty()), "{kind:?}");
        if kind == ExperimentKind::Scaling {
            assert_eq!(last.table("loss").unwrap().rows.len(), 1);
        }
    }
}

#[test]
fn super_weights_and_settings_named_twice_count_once() {
    let mut session = Session::with_model(&fixture("llama"));
    let scaling =
        |super_weights| Experiment { super_weights, ..with(short(ExperimentKind::Scaling), &[(SettingId::Factors, &[0.5, 1.0, 0.5])]) };
    let once = ran(&mut session, scaling(vec![at(0, 3, 5)]));
    let twice = ran(&mut session, scaling(vec![at(0, 3, 5), at(0, 3, 5)]));
    assert_eq!(twice.tables, once.tables, "half of it is not a quarter");
    assert_eq!((twice.experiment.super_weights.len(), setting(&twice.experiment, SettingId::Factors)), (1, Some(vec![0.5, 1.0])));
    assert_eq!(once.findings[0].code, "no_factor_0");
    let grid = with(short(ExperimentKind::WeightQuantisation), &[(SettingId::Bits, &[4.0, 4.0]), (SettingId::Clips, &[2.0, 2.0])]);
    let outcome = ran(&mut session, grid);
    // Three methods at two block sizes.
    assert_eq!(outcome.table("loss").unwrap().rows.len(), 1 + 3 * 2);
    // Empty lists mean the defaults.
    let empty = with(short(ExperimentKind::Scaling), &[(SettingId::Factors, &[])]);
    let ran = ran(&mut session, empty).experiment;
    assert_eq!(setting(&ran, SettingId::Factors).map(|factors| factors.len()), Some(15));
}

#[test]
fn setting_that_leaves_nothing_to_measure_is_refused() {
    let mut session = Session::with_model(&fixture("llama"));
    let of = short(ExperimentKind::Scaling);
    let many = (0..65).map(|n| f64::from(n) / 65.0).collect::<Vec<_>>();
    for (experiment, expected) in [
        (with(of.clone(), &[(SettingId::NBlocks, &[0.0])]), "n_blocks: 0 is not a whole number from 1"),
        (with(of.clone(), &[(SettingId::Block, &[1.0])]), "block: 1 is not a whole number from 2"),
        (with(of.clone(), &[(SettingId::Factors, &many)]), "at most 64"),
        (with(of, &[(SettingId::Factors, &[f64::NAN])]), "factors: NaN is not a number from -3 to 3"),
    ] {
        let failure = session.ask(Request::Experiment(experiment)).unwrap_err();
        assert!(failure.kind() == FailureKind::Input && failure.detail.contains(expected), "{failure:?}");
    }
}

#[test]
fn prompts_are_taken_from_all_tasks_in_turn() {
    let mut session = Session::with_model(&fixture("llama"));
    let files = ["lambada_openai", "piqa"].map(task);
    session.ask(Request::UseTasks { tasks: files.to_vec() }).unwrap();
    let asked = |n_prompts: f64, limit: f64| {
        let shift = with_tasks(short(ExperimentKind::TokenShift), ["lambada_openai", "piqa"].map(named).to_vec());
        with(shift, &[(SettingId::NPrompts, &[n_prompts]), (SettingId::Limit, &[limit])])
    };
    let n_prompts = |outcome: &Outcome| setting(&outcome.experiment, SettingId::NPrompts);
    let outcome = ran(&mut session, asked(3.0, 3.0));
    let convention = outcome.convention.as_ref().unwrap().id();
    assert_eq!(convention, "task_contexts_1 of_lambada_openai=2 of_piqa=1 prompts=3");
    assert_eq!(n_prompts(&outcome), Some(vec![3.0]));
    // If there are fewer prompts than requested, a finding says so.
    let outcome = ran(&mut session, asked(50.0, 2.0));
    assert_eq!((sentences(&outcome)[0].as_str(), n_prompts(&outcome)), ("50 prompts were requested, but there are 4.", Some(vec![4.0])));
    // The same context in a task and in a separate file gives the same distribution.
    let one = |name: &str, jsonl: &str| TaskFile { name: name.into(), jsonl: jsonl.into() };
    let as_task = [
        one("lambada_openai", r#"{"text":"It was a dark evening"}"#),
        one("openbookqa", r#"{"query":"It was a dark","choices":["man","old"],"gold":0}"#),
    ];
    let tables = as_task.map(|file| {
        let tasks = vec![named(&file.name)];
        session.ask(Request::UseTasks { tasks: vec![file] }).unwrap();
        ran(&mut session, with(with_tasks(asked(1.0, 1.0), tasks), &[(SettingId::Limit, &[])])).tables
    });
    assert_eq!(tables[0], tables[1]);
    assert_ne!(tables[0], outcome.tables);
}

#[test]
fn accuracies_are_drawn_over_block_sizes_where_there_are_tasks() {
    let mut session = Session::with_model(&fixture("llama"));
    session.ask(Request::UseTasks { tasks: ["copa", "piqa"].map(task).to_vec() }).unwrap();
    let tasks = ["copa", "piqa"].map(named).to_vec();
    let two: &[f64] = &[2.0];
    let grid = with(short(ExperimentKind::WeightQuantisation), &[(SettingId::Bits, &[4.0, 3.0]), (SettingId::Limit, two)]);
    let grid = with_tasks(grid, tasks);
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
    assert!(sentences(&outcome).iter().any(|said| said.starts_with("INT3, SW held out: mean accuracy")), "{:?}", outcome.findings);
    let without = ran(&mut session, with_tasks(grid, Vec::new()));
    assert!(without.table("mean_accuracy").is_none() && without.plots.len() == 2);
    // Accuracy against the scale, too, with the best factor in words.
    let scaling = with(short(ExperimentKind::Scaling), &[(SettingId::Factors, &[0.0]), (SettingId::Limit, two)]);
    let scaling = with_tasks(scaling, vec![named("copa")]);
    let scaling = ran(&mut session, scaling);
    finding(&scaling, "scaling_accuracy");
    assert!(scaling.headline.iter().any(|figure| figure.name == "mean_accuracy/factor_0"), "{:?}", scaling.headline);
}

/// Rounded activations may fall either way between two levels, so that kind is compared loosely; tests/quantise.rs
/// compares it closely.
#[test]
fn every_kind_comes_to_the_same_with_packed_weights_on_a_gpu() {
    on_gpu(|_| {
        let copy = Copy::in_bf16("llama3", "edges-gpu");
        let mut sessions = [BackendChoice::Gpu, BackendChoice::Cpu].map(|backend| Session::with_model_on(copy.dir(), backend));
        for kind in ExperimentKind::ALL.iter().copied() {
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
