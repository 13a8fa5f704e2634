use super::*;
use crate::terms::{BackendInfo, Cell, DataPlot, DataTable, Message, ModelRef, PlotKind};

#[test]
fn kinds_are_named_as_in_json() {
    for kind in ExperimentKind::ALL {
        assert_eq!(serde_json::to_string(kind).unwrap(), format!("{:?}", kind.name()));
        assert_eq!(kind.name().parse(), Ok(*kind));
        assert_eq!(Experiment::with_defaults(*kind, Vec::new()).kind(), *kind);
    }
}

const AT: WeightCoord = WeightCoord::new(2, 12, 86);

/// An outcome without an empty field, so that a field that is not read is noticed.
fn full() -> Outcome {
    let text = |name: &str| TextRef { name: name.into(), digest: "0123456789abcdef".into() };
    let settings = WeightQuantisation {
        text: OnText { text: Some(text("mine.txt")), block: 512, bos: true, n_blocks: Some(3) },
        tasks: OnTasks { tasks: vec![text("arc_easy")], limit: Some(50), item_seed: Some(4), log_samples: true },
        bits: vec![8],
        block_sizes: vec![64, 0],
        clips: vec![9.5],
    };
    let experiment = Experiment::new(Settings::WeightQuantisation(settings), vec![AT]);
    let mut table = DataTable::new("loss", "Loss", &["arm", "loss (nats)"]);
    table.push(["intact".into(), 3.5_f64.into()]);
    table.push([Cell::Nothing, 1e30_f64.into()]);
    let mut plot = DataPlot::new(PlotKind::Heatmap, "t", "loss", "arm", "loss").split_by("arm");
    (plot.log_x, plot.log_y, plot.only) = (true, true, Some(("arm".into(), "intact".into())));
    (plot.marks, plot.levels) = (vec![(0.5, "m".into())], vec![(1.0, "l".into())]);
    Outcome {
        experiment,
        model: ModelRef::new("m", "r"),
        backend: BackendInfo { kind: "cpu".into(), name: "n".into(), reason: "b".into() },
        software: "s".into(),
        convention: Some("concat".into()),
        findings: vec![Message::new("collapse").with("threshold", 0.25_f64)],
        headline: vec![Headline { name: "h".into(), value: 0.25 }],
        tables: vec![table],
        plots: vec![plot],
        is_partial: true,
    }
}

#[test]
fn outcomes_are_read_as_they_are_written() {
    let json = serde_json::to_string(&full()).unwrap();
    assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), full());
    for (from, to) in
        [("\"bits\":[8]", "\"bits\":8"), ("weight_quantisation", "none"), ("\"heatmap\"", "7"), ("[\"intact\",3.5]", "[[],3.5]")]
    {
        assert!(json.contains(from) && serde_json::from_str::<Outcome>(&json.replace(from, to)).is_err(), "{from}");
    }
    assert!(serde_json::from_str::<Experiment>("[]").is_err());
}

#[test]
fn experiments_of_every_kind_come_back_with_every_setting_changed() {
    for kind in ExperimentKind::ALL {
        let mut experiment = Experiment::with_defaults(*kind, vec![AT]);
        for (id, value) in experiment.settings.numbers() {
            value.set(&[id.bounds().1]);
        }
        let json = serde_json::to_string(&experiment).unwrap();
        assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment, "{json}");
        assert_eq!(experiment.check(), Ok(()));
    }
}

#[test]
fn experiments_are_written_without_what_their_kind_does_not_read() {
    let experiment = Experiment::with_defaults(ExperimentKind::Propagation, vec![AT]);
    let json = serde_json::to_string(&experiment).unwrap();
    let expected =
        r#"{"kind":"propagation","prompt":"It was a dark evening, and the old man","super_weights":[{"layer":2,"row":12,"col":86}]}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment);
    assert_eq!(
        serde_json::from_str::<Experiment>(r#"{"kind":"sinks"}"#).unwrap(),
        Experiment::with_defaults(ExperimentKind::Sinks, Vec::new())
    );
}

#[test]
fn experiments_of_version_1_are_read() {
    let read = |json: &str| serde_json::from_str::<Experiment>(json).unwrap();
    let old = read(
        r#"{"kind":"activation_quantisation","super_weights":[{"layer":2,"row":12,"col":86}],"block":512,"bits":[6],"alpha":0.5,"n_calibration":4,"seed":1}"#,
    );
    let text = OnText { block: 512, ..OnText::default() };
    let settings = ActivationQuantisation { text, bits: 6, alpha: 0.5, n_calibration: 4 };
    assert_eq!(old, Experiment::new(Settings::ActivationQuantisation(settings), vec![AT]));
    // Older documents without these fields clipped nothing and read all prompts.
    let old = read(r#"{"kind":"weight_quantisation","block":2048,"bits":[8],"block_sizes":[64],"seed":1}"#);
    let settings = WeightQuantisation { bits: vec![8], block_sizes: vec![64], clips: Vec::new(), ..WeightQuantisation::default() };
    assert_eq!(old.settings, Settings::WeightQuantisation(settings));
    let old = read(r#"{"kind":"token_shift","tasks":[{"name":"sciq","digest":"0123456789abcdef"}],"limit":3,"seed":1}"#);
    let tasks =
        OnTasks { tasks: vec![TextRef { name: "sciq".into(), digest: "0123456789abcdef".into() }], limit: Some(3), ..OnTasks::default() };
    assert_eq!(old.settings, Settings::TokenShift(TokenShift { tasks, n_prompts: None }));
}

#[test]
fn kinds_have_the_settings_that_they_read() {
    let ids = |kind: ExperimentKind| kind.default_settings().numbers().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    use SettingId::{Alpha, Bits, Block, Bos, Factors, ItemSeed, Limit, NBlocks, NCalibration, NPrompts};
    assert_eq!(ids(ExperimentKind::Scaling), [Factors, Block, NBlocks, Bos, Limit, ItemSeed]);
    assert_eq!(ids(ExperimentKind::TokenShift), [NPrompts, Limit, ItemSeed]);
    assert_eq!(ids(ExperimentKind::ActivationQuantisation), [Bits, Alpha, NCalibration, Block, NBlocks, Bos]);
    assert_eq!(ids(ExperimentKind::WeightsOnly), []);
}

#[test]
fn settings_of_the_paper_are_within_bounds_and_survive_as_text() {
    for kind in ExperimentKind::ALL {
        let mut settings = kind.default_settings();
        for (id, value) in settings.numbers() {
            let text = value.text();
            assert_eq!(id.take(value, &text), Ok(()), "{text}");
        }
        assert_eq!(settings, kind.default_settings());
    }
}

#[test]
fn typed_settings_are_taken_or_refused() {
    let mut settings = ExperimentKind::Scaling.default_settings();
    let mut take = |id: SettingId, typed: &str| id.take(settings.number(id).unwrap(), typed).map_err(|error| error.problem);
    assert_eq!(take(SettingId::Factors, " 0, 0.1,2.5 "), Ok(()));
    assert_eq!(take(SettingId::NBlocks, "4"), Ok(()));
    assert_eq!(take(SettingId::NBlocks, ""), Ok(()));
    assert_eq!(take(SettingId::Factors, "1, x"), Err(SettingProblem::NoNumber { got: "x".into() }));
    let outside = |got, (low, high), is_whole| Err(SettingProblem::Outside { got, low, high, is_whole });
    assert_eq!(take(SettingId::Factors, "4"), outside(4.0, (-3.0, 3.0), false));
    assert_eq!(take(SettingId::Factors, ""), Err(SettingProblem::Missing));
    assert!(matches!(take(SettingId::Factors, "NaN"), Err(SettingProblem::Outside { .. })));
    assert_eq!(take(SettingId::Factors, &"1,".repeat(65)), Err(SettingProblem::TooMany { got: 65, most: 64 }));
    assert_eq!(take(SettingId::Block, "100.5"), outside(100.5, (2.0, 1_048_576.0), true));
    assert_eq!(take(SettingId::Block, "2, 3"), Err(SettingProblem::TooMany { got: 2, most: 1 }));
    assert_eq!(settings.number(SettingId::Factors).unwrap().text(), "0, 0.1, 2.5");
    assert_eq!(settings.number(SettingId::NBlocks).unwrap().text(), "");
}

#[test]
fn options_are_named_after_the_settings() {
    let options = SettingId::ALL.iter().map(|id| id.option()).collect::<Vec<_>>().join(" ");
    assert_eq!(options, "factors bits block-sizes clips alpha calibration prompts block blocks bos limit item-seed seed");
}

#[test]
fn roundings_are_limited_together() {
    let many = WeightQuantisation { bits: (2..=16).collect(), block_sizes: (0..60).collect(), ..WeightQuantisation::default() };
    let error = Experiment::new(Settings::WeightQuantisation(many), Vec::new()).check().unwrap_err();
    assert_eq!(error.problem, SettingProblem::Roundings { got: 15 * 60 * 3, most: 1000 });
}

#[test]
fn deltas_take_an_outcome_from_any_state_to_any_later_one() {
    let states = {
        let mut all = vec![Outcome { tables: Vec::new(), plots: Vec::new(), findings: Vec::new(), headline: Vec::new(), ..full() }, full()];
        let mut grown = full();
        grown.tables[0].push(["prune_sw".into(), 4.0_f64.into()]);
        grown.findings.push("no_collapse".into());
        all.push(grown.clone());
        // A row before the end changes, and one table replaces another.
        grown.tables[0].rows[0][1] = 1.0_f64.into();
        grown.plots[0].marks.push((2.0, "collapse".into()));
        grown.tables.push(DataTable::new("tasks", "Tasks", &["task"]));
        all.push(grown.clone());
        grown.tables[1] = DataTable::new("tasks", "Tasks", &["task", "acc"]);
        grown.convention = Some("concat".into());
        all.push(Outcome { is_partial: false, ..grown });
        all
    };
    for (at, before) in states.iter().enumerate() {
        for later in &states[at..] {
            let delta = before.delta_to(later);
            let mut grown = before.clone();
            grown.apply(delta);
            assert_eq!(grown, *later);
        }
    }
    // An arm sends its own rows only.
    let delta = states[1].delta_to(&states[2]);
    let TableDelta::Rows(rows) = &delta.tables[0] else { panic!("{delta:?}") };
    assert_eq!((rows.kept, rows.added.len(), delta.findings.added.len(), delta.head), (2, 1, 1, None));
}
