use super::*;

#[test]
fn a_kind_is_named_as_in_json() {
    for kind in ExperimentKind::ALL {
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("{:?}", kind.name()));
    }
}

/// No field is left empty, so that a field that is not read is noticed.
fn full() -> Outcome {
    let text = |name: &str| TextRef { name: name.into(), digest: "0123456789abcdef".into() };
    let experiment = Experiment {
        bos: true,
        log_samples: true,
        kind: ExperimentKind::WeightQuantisation,
        super_weights: vec![WeightCoord::new(2, 12, 86)],
        text: Some(text("mine.txt")),
        block: Some(512),
        n_blocks: Some(3),
        tasks: vec![text("arc_easy")],
        limit: Some(50),
        item_seed: Some(4),
        prompt: "p".into(),
        n_prompts: Some(5),
        factors: vec![0.1, -2.5],
        bits: vec![8],
        block_sizes: vec![64, 0],
        clips: vec![9.5],
        alpha: Some(0.85),
        n_calibration: Some(32),
        seed: 7,
    };
    let mut table = DataTable::new("loss", "Loss", &["arm", "loss (nats)"]);
    table.push(["intact".into(), 3.5_f64.into()]);
    table.push([super::super::Cell::Nothing, 1e30_f64.into()]);
    let mut plot = DataPlot::new(super::super::PlotKind::Heatmap, "t", "loss", "arm", "loss").by("arm");
    (plot.log_x, plot.log_y, plot.only) = (true, true, Some(("arm".into(), "intact".into())));
    (plot.marks, plot.levels) = (vec![(0.5, "m".into())], vec![(1.0, "l".into())]);
    Outcome {
        experiment,
        model: ModelRef { id: "m".into(), revision: "r".into() },
        backend: BackendInfo { kind: "cpu".into(), name: "n".into(), reason: "b".into() },
        software: "s".into(),
        convention: "concat-2048".into(),
        findings: vec!["f".into()],
        headline: vec![Headline { name: "h".into(), value: 0.25 }],
        tables: vec![table],
        plots: vec![plot],
        is_partial: true,
    }
}

#[test]
fn everything_that_is_written_is_read() {
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
fn what_is_not_read_is_not_written() {
    let experiment = Experiment::of(ExperimentKind::Propagation, vec![WeightCoord::new(2, 12, 86)]);
    let json = serde_json::to_string(&experiment).unwrap();
    let expected = r#"{"kind":"propagation","super_weights":[{"layer":2,"row":12,"col":86}],"prompt":"It was a dark evening, and the old man","seed":1}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment);
    assert_eq!(serde_json::from_str::<Experiment>(r#"{"kind":"sinks"}"#).unwrap().seed, 0);
}
