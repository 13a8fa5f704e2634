//! Zero-shot tasks and Table 1 of the super-weight paper, compared with PyTorch item by item (tests/golden/tasks.py).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use linchpin::protocol::{BackendChoice, Event, Request};
use linchpin::share::earlier;
use linchpin::terms::{
    Cell, Experiment, FailureKind, Importance, OnTasks, Outcome, Problem, Scaling, SettingId, Settings, TaskFile, TextRef, WeightCoord,
    text_digest,
};
use serde_json::Value;

use crate::support::{Copy, Session, bundled, finding, fixture, last_outcome, on_gpu, setting, stopped_after, with};

const SUPER_WEIGHT: WeightCoord = WeightCoord::new(2, 12, 86);

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// All committed files, by name.
fn files() -> Vec<TaskFile> {
    let paths = std::fs::read_dir(golden("tasks")).unwrap().map(|entry| entry.unwrap().path());
    let file = |path: PathBuf| TaskFile {
        name: path.file_stem().unwrap().to_string_lossy().into(),
        jsonl: std::fs::read_to_string(path).unwrap(),
    };
    let mut files = paths.map(file).collect::<Vec<_>>();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(files.len(), 12);
    files
}

fn refs(files: &[TaskFile]) -> Vec<TextRef> {
    files.iter().map(|file| TextRef { name: file.name.clone(), digest: String::new() }).collect()
}

fn importance(super_weights: Vec<WeightCoord>, tasks: Vec<TextRef>) -> Experiment {
    let tasks = OnTasks { tasks, log_samples: true, ..OnTasks::default() };
    Experiment::new(Settings::Importance(Importance { tasks, ..Importance::default() }), super_weights)
}

fn ran(session: &mut Session, experiment: Experiment) -> Outcome {
    last_outcome(&session.ask(Request::Experiment(experiment)).unwrap())
}

/// Rows of a table, by the texts and numbers in some columns.
fn by_key<'a>(outcome: &'a Outcome, table: &str, keys: &[&str]) -> BTreeMap<Vec<String>, &'a [Cell]> {
    let table = outcome.table(table).unwrap();
    let key = |row: &[Cell]| keys.iter().map(|key| shown(&row[table.column(key).unwrap()])).collect();
    let rows = table.rows.iter().map(|row| (key(row), row.as_slice())).collect::<BTreeMap<_, _>>();
    assert_eq!(rows.len(), table.rows.len(), "keys are unique");
    rows
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(number) => number.to_string(),
        Cell::Nothing => String::new(),
    }
}

fn is_near(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-3_f64.max(1e-3 * theirs.abs())
}

/// The arms of Table 1, with one super weight in a model of small tensors.
const N_ARMS: usize = 8;

#[test]
fn every_choice_is_what_pytorch_makes_of_it() {
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("tasks.json")).unwrap()).unwrap();
    let mut session = Session::with_model(&bundled("linchpin-13m"));
    session.ask(Request::UseTasks { tasks: files() }).unwrap();
    // As many items of each task as contain all forms.
    let experiment = with(importance(vec![SUPER_WEIGHT], refs(&files())), &[(SettingId::Limit, &[4.0])]);
    let outcome = ran(&mut session, experiment);
    assert!(!outcome.is_partial);
    let samples = by_key(&outcome, "samples", &["arm", "task", "line", "choice"]);
    let column = |name: &str| outcome.table("samples").unwrap().column(name).unwrap();
    let tasks = by_key(&outcome, "tasks", &["arm", "task"]);
    let of_tasks = |row: &[Cell], name: &str| row[outcome.table("tasks").unwrap().column(name).unwrap()].number();
    let (mut n, mut furthest) = (0, 0.0_f64);
    // The golden values have the names of version 1.
    for (arm, of_arm) in expected["arms"].as_object().unwrap() {
        let arm = &earlier::arm(arm);
        for (task, of_task) in of_arm.as_object().unwrap() {
            for item in of_task["items"].as_array().unwrap() {
                for (index, choice) in item["choices"].as_array().unwrap().iter().enumerate() {
                    let key = [arm.clone(), task.clone(), item["line"].to_string(), index.to_string()];
                    let row = samples[key.as_slice()];
                    let [ours, theirs] = [row[column("loglikelihood")].number().unwrap(), choice["loglikelihood"].as_f64().unwrap()];
                    assert!(is_near(ours, theirs), "{key:?}: {ours}, not {theirs}");
                    furthest = furthest.max((ours - theirs).abs());
                    for name in ["greedy", "tokens", "characters"] {
                        assert_eq!(row[column(name)].number(), choice[name].as_f64(), "{key:?} {name}");
                    }
                    assert_eq!(row[column("gold")].number() == Some(1.0), item["gold"].as_u64() == Some(index as u64), "{key:?}");
                    n += 1;
                }
            }
            let row = tasks[[arm.clone(), task.clone()].as_slice()];
            for name in ["acc", "acc_norm", "perplexity"] {
                let (ours, theirs) = (of_tasks(row, name), of_task[name].as_f64());
                assert!(ours.zip(theirs).map_or(ours == theirs, |(ours, theirs)| is_near(ours, theirs)), "{arm} {task} {name}: {ours:?}");
            }
        }
        // The paper's AVG is the mean of acc.
        let mean = of_arm.as_object().unwrap().values().map(|task| task["acc"].as_f64().unwrap()).sum::<f64>() / 12.0;
        let average = tasks[[arm.clone(), "AVG".into()].as_slice()];
        assert!((of_tasks(average, "acc").unwrap() - mean).abs() < 1e-9 && of_tasks(average, "items") == Some(48.0), "{arm}");
    }
    assert_eq!(n, samples.len() / N_ARMS * 3, "of eight arms, three have golden samples");
    assert!(furthest < 1e-3, "{furthest}");
    samples_make_the_accuracies(&outcome);
    table_1_is_pytorchs(&outcome, &expected["table1"]);
}

/// Compares the share of right choices, by likelihood and by character, with the accuracies.
fn samples_make_the_accuracies(outcome: &Outcome) {
    let (samples, tasks) = (outcome.table("samples").unwrap(), outcome.table("tasks").unwrap());
    let of = |row: usize, name: &str| shown(samples.cell(row, name).unwrap());
    let mut n = 0;
    for row in 0..tasks.rows.len() {
        let cell = |name: &str| tasks.cell(row, name).unwrap();
        let (arm, task, items) = (shown(cell("arm")), shown(cell("task")), cell("items").number().unwrap());
        let own = (0..samples.rows.len()).filter(|row| of(*row, "arm") == arm && of(*row, "task") == task).collect::<Vec<_>>();
        let count = |flag: &str| own.iter().filter(|row| of(**row, "gold") == "1" && of(**row, flag) == "1").count() as f64;
        // The average has no samples, and lambada's accuracy is greedy.
        if !["AVG", "lambada_openai"].contains(&task.as_str()) {
            assert_eq!(Some(count("chosen") / items), cell("acc").number(), "{arm}, {task}");
        }
        if let Some(acc_norm) = cell("acc_norm").number() {
            assert_eq!(count("chosen_norm") / items, acc_norm, "{arm}, {task}");
            n += 1;
        }
    }
    assert_eq!(n, N_ARMS * 6, "six tasks have it");
}

fn table_1_is_pytorchs(outcome: &Outcome, expected: &Value) {
    let convention = outcome.convention.as_ref().unwrap();
    assert_eq!((convention.code.as_str(), convention.number("block")), ("concat", expected["block"].as_f64().unwrap()));
    let arms = by_key(outcome, "loss", &["arm"]);
    let losses = expected["losses"].as_object().unwrap();
    // The random control is our own.
    assert_eq!((arms.len(), losses.len()), (N_ARMS, N_ARMS - 1), "{arms:?}");
    let column = |name: &str| outcome.table("loss").unwrap().column(name).unwrap();
    for (arm, theirs) in losses {
        let arm = earlier::arm(arm);
        let row = arms[[arm.clone()].as_slice()];
        let (ours, theirs) = (row[column("loss")].number().unwrap(), theirs.as_f64().unwrap());
        assert!(is_near(ours, theirs), "{arm}: {ours}, not {theirs}");
        let headline = outcome.headline.iter().find(|figure| figure.name == format!("perplexity/{arm}")).unwrap();
        assert!(is_near(headline.value, ours.exp()));
    }
    let mean = finding(outcome, "super_activation_mean");
    assert_eq!((mean.number("layer"), mean.number("row")), (2.0, 12.0));
    assert!((mean.number("mean") - expected["means"][0].as_f64().unwrap()).abs() < 0.005, "{mean:?}");
    for code in ["restored_loss", "restored_accuracy", "per_tensor_too_small"] {
        finding(outcome, code);
    }
    assert_eq!(outcome.plots.len(), 2);
    for plot in &outcome.plots {
        let table = outcome.table(&plot.table).unwrap();
        assert!(table.column(&plot.x).is_some() && table.column(&plot.y).is_some(), "{plot:?}");
        let rows = plot.only.as_ref().map_or(table.rows.len(), |(column, text)| {
            table.rows.iter().filter(|row| row[table.column(column).unwrap()].text() == Some(text)).count()
        });
        assert_eq!(rows, N_ARMS);
    }
}

#[test]
fn restored_activations_differ_from_intact_and_pruned_ones() {
    // In every family, with several scalars, two of them in one row; in random models the row's peak is anywhere.
    for name in ["llama", "gpt2", "gpt-neox", "phi3", "gemma3"] {
        let at = |layer, row, col| WeightCoord::new(layer, row, col);
        let super_weights = vec![at(0, 3, 5), at(0, 3, 6), at(1, 4, 5)];
        let mut session = Session::with_model(&fixture(name));
        let outcome = ran(&mut session, with(importance(super_weights, Vec::new()), &[(SettingId::NCalibration, &[2.0])]));
        assert!(outcome.table("tasks").is_none() && outcome.table("samples").is_none() && outcome.plots.len() == 1, "{name}");
        let arms = by_key(&outcome, "loss", &["arm"]);
        let loss = |arm: &str| arms[[arm.to_owned()].as_slice()][2].number().unwrap();
        let (intact, pruned, restored) = (loss("original"), loss("prune_sw"), loss("prune_sw_restored"));
        assert!(pruned != intact && restored != pruned && restored != intact, "{name}: {intact} {pruned} {restored}");
        assert!(loss("sa_zero") != intact && loss("sa_mean") != intact, "{name}");
    }
}

#[test]
fn gpu_with_packed_weights_comes_to_the_same_accuracy() {
    on_gpu(|_| {
        let copy = Copy::in_bf16("llama3", "tasks");
        let super_weights = [(0, 3, 5), (1, 4, 5)].map(|(layer, row, col)| WeightCoord::new(layer, row, col));
        let [gpu, cpu] = [BackendChoice::Gpu, BackendChoice::Cpu].map(|backend| {
            let mut session = Session::with_model_on(copy.dir(), backend);
            let files = files().into_iter().filter(|file| ["piqa", "winogrande"].contains(&file.name.as_str())).collect::<Vec<_>>();
            session.ask(Request::UseTasks { tasks: files.clone() }).unwrap();
            let few = importance(super_weights.to_vec(), refs(&files));
            let few = with(few, &[(SettingId::NCalibration, &[1.0]), (SettingId::NBlocks, &[1.0]), (SettingId::Limit, &[1.0])]);
            ran(&mut session, few)
        });
        for (table, keys, figure) in [("loss", 1, "loss"), ("samples", 5, "loglikelihood")] {
            let [gpu, cpu] = [&gpu, &cpu].map(|outcome| outcome.table(table).unwrap());
            let column = gpu.column(figure).unwrap();
            assert_eq!(gpu.rows.len(), cpu.rows.len());
            for (ours, theirs) in gpu.rows.iter().zip(&cpu.rows) {
                assert_eq!(ours[..keys], theirs[..keys]);
                let [a, b] = [ours, theirs].map(|row| row[column].number().unwrap());
                assert!(is_near(a, b), "{ours:?}, not {theirs:?}");
            }
        }
    });
}

#[test]
fn importance_without_a_super_weight_measures_the_other_arms() {
    let mut session = Session::with_model(&fixture("llama"));
    let outcome = ran(&mut session, importance(Vec::new(), Vec::new()));
    let arms = by_key(&outcome, "loss", &["arm"]);
    assert_eq!(arms.len(), 3, "{arms:?}");
    assert_eq!(outcome.findings[0].code, "no_super_weight_arms");
}

#[test]
fn experiment_names_the_tasks_that_it_was_made_on() {
    let mut session = Session::with_model(&fixture("llama"));
    let file = |name: &str| files().into_iter().find(|file| file.name == name).unwrap();
    let named = |name: &str, digest: &str| TextRef { name: name.into(), digest: digest.into() };
    let at = WeightCoord::new(0, 3, 5);
    let scaling = |tasks| {
        let tasks = OnTasks { tasks, log_samples: true, ..OnTasks::default() };
        Experiment::new(Settings::Scaling(Scaling { tasks, factors: vec![1.0, 0.0], ..Scaling::default() }), vec![at])
    };
    let failure = session.ask(Request::Experiment(scaling(vec![named("piqa", "")]))).unwrap_err();
    assert_eq!(failure.problem, Problem::TaskMissing);
    let failure = session.ask(Request::Experiment(scaling(vec![named("mmlu", "")]))).unwrap_err();
    assert!(failure.detail.contains("\"mmlu\"") && failure.detail.contains("lambada_openai"), "{failure:?}");
    session.ask(Request::UseTasks { tasks: vec![file("piqa"), TaskFile { name: "openbook_qa".into(), ..file("openbookqa") }] }).unwrap();
    let failure = session.ask(Request::Experiment(scaling(vec![named("piqa", "0123456789abcdef")]))).unwrap_err();
    assert!(failure.detail.contains("0123456789abcdef"), "{failure:?}");
    let asked = vec![named("piqa", &text_digest(&file("piqa").jsonl)), named("openbook_qa", ""), named("openbookqa", "")];
    let mut two = with(scaling(asked), &[(SettingId::Limit, &[2.0])]);
    two.settings.parts().tasks.unwrap().log_samples = false;
    let outcome = ran(&mut session, two);
    let expected = [named("piqa", &text_digest(&file("piqa").jsonl)), named("openbookqa", &text_digest(&file("openbookqa").jsonl))];
    assert_eq!(outcome.experiment.tasks().unwrap().tasks, expected);
    let tasks = by_key(&outcome, "tasks", &["factor", "task"]);
    assert_eq!(tasks.len(), 6);
    assert!(tasks.iter().all(|(key, row)| shown(&row[2]) == if key[1] == "AVG" { "4" } else { "2" }), "{tasks:?}");
    assert!(outcome.table("samples").is_none());
    assert_eq!(outcome.plots.iter().map(|plot| plot.table.as_str()).collect::<Vec<_>>(), ["loss", "tasks"]);
    // The same experiment with drawn items.
    let drawn = ran(&mut session, with(outcome.experiment.clone(), &[(SettingId::ItemSeed, &[3.0])]));
    assert_ne!(drawn.table("tasks"), None);
    assert_eq!(setting(&drawn.experiment, SettingId::ItemSeed), Some(vec![3.0]));
    // Tasks that are not named are not measured.
    let outcome = ran(&mut session, scaling(Vec::new()));
    assert!(outcome.table("tasks").is_none() && outcome.plots.len() == 1);
}

#[test]
fn broken_task_file_is_refused_by_its_line_and_the_earlier_tasks_stay() {
    let mut session = Session::with_model(&fixture("llama"));
    let use_tasks = |name: &str, jsonl: &str| Request::UseTasks { tasks: vec![TaskFile { name: name.into(), jsonl: jsonl.into() }] };
    let good = r#"{"query":"It was","choices":["a man","the old"],"gold":1}"#;
    session.ask(use_tasks("openbookqa", good)).unwrap();
    for (name, jsonl, expected) in [
        ("openbookqa", format!("{good}\n\n{{\"query\"\n"), "line 3 of the task openbookqa is not JSON"),
        ("openbookqa", good.replace(":1}", ":2}"), "line 1 of the task openbookqa has the right choice 2, but"),
        ("openbookqa", "\n\n".into(), "the file of the task openbookqa is empty"),
        ("mmlu", good.into(), "there is no task \"mmlu\"; the tasks are lambada_openai, arc_easy"),
    ] {
        let failure = session.ask(use_tasks(name, &jsonl)).unwrap_err();
        assert!(failure.detail.starts_with(expected) && failure.kind() == FailureKind::Input, "{failure:?}");
    }
    let outcome = ran(&mut session, importance(vec![], vec![TextRef { name: "openbookqa".into(), digest: String::new() }]));
    assert_eq!(outcome.experiment.texts()[1].digest, text_digest(good));
    let failure = session.ask(Request::Experiment(with(outcome.experiment, &[(SettingId::Limit, &[0.0])]))).unwrap_err();
    assert!(failure.detail.contains("limit: 0 is not a whole number from 1"), "{failure:?}");
}

#[test]
fn choice_that_is_too_long_is_cut_or_refused() {
    let mut session = Session::with_model(&fixture("llama"));
    let words = |n: usize| vec!["dark"; n].join(" ");
    let row = |context: &str, answers: [&str; 2]| serde_json::json!({"query": context, "choices": answers, "gold": 0}).to_string();
    let mut measured = |jsonl: String| {
        session.ask(Request::UseTasks { tasks: vec![TaskFile { name: "openbookqa".into(), jsonl }] }).unwrap();
        session.ask(Request::Experiment(importance(vec![], vec![TextRef { name: "openbookqa".into(), digest: String::new() }])))
    };
    // Longer and longer contexts end up as the same tokens.
    let losses = [3000, 4000].map(|n| {
        let outcome = last_outcome(&measured(row(&words(n), ["old man", "evening"])).unwrap());
        outcome.table("samples").unwrap().rows.iter().map(|row| row[5].clone()).collect::<Vec<_>>()
    });
    assert_eq!(losses[0], losses[1]);
    let failure = measured(format!("\n{}", row("It was", [&words(3000), "a"]))).unwrap_err();
    assert!(failure.detail.starts_with("line 2 of the task openbookqa has a choice of"), "{failure:?}");
}

#[test]
fn stop_keeps_the_arms_that_were_measured() {
    let file = files().into_iter().find(|file| file.name == "piqa").unwrap();
    let tasks = refs(std::slice::from_ref(&file));
    let requests = vec![Request::UseTasks { tasks: vec![file] }, Request::Experiment(importance(vec![], tasks))];
    let events = stopped_after(|event| matches!(event, Event::Outcome(_)), requests);
    assert_eq!(events.last(), Some(&Event::Stopped));
    let outcome = last_outcome(&events);
    assert!(outcome.is_partial);
    assert_eq!(["loss", "tasks", "samples"].map(|name| outcome.table(name).unwrap().rows.len()), [1, 1, 14]);
    let progress = events.iter().filter(|event| matches!(event, Event::Progress(_))).count();
    assert!(progress > 0);
}
