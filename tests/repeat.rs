//! Experiments of the command, repeated from one JSON document.

use linchpin::protocol::Export;
use linchpin::terms::{Cell, Outcome, SettingId};

use crate::support::{bundled, code, export, fixture, linchpin_raw, setting};

/// The scale sweep of the bundled model, with few factors on one block.
fn sweep(extra: &[&str]) -> std::process::Output {
    let model = bundled("linchpin-13m").display().to_string();
    let args = ["scaling", "--model", &model, "--device", "cpu", "--super-weight", "2,12,86", "--factors", "0,0.5,1,2", "--blocks", "1"];
    linchpin_raw(&[&args[..], extra].concat())
}

fn outcome(export: &Export) -> &Outcome {
    let [outcome] = &export.outcomes[..] else { panic!("{:?}", export.outcomes) };
    outcome
}

#[test]
fn scale_sweep_finds_where_the_model_collapses() {
    let told = export(&sweep(&["--json"]));
    let outcome = outcome(&told);
    assert!(!outcome.is_partial);
    // The bundled models never saw a text without a BOS.
    let convention = outcome.convention.as_ref().unwrap();
    assert_eq!((convention.code.as_str(), convention.number("block")), ("concat_bos", 512.0));
    assert_eq!(convention.text("text"), "held-out passages 1");
    let table = outcome.table("loss").unwrap();
    let column = |name: &str| (0..table.rows.len()).map(|row| table.cell(row, name).and_then(Cell::number).unwrap()).collect::<Vec<_>>();
    assert_eq!(column("factor"), [0.0, 0.5, 1.0, 2.0]);
    let loss = column("loss");
    assert!(loss[0] > loss[2] + 2.0 && (loss[1] - loss[2]).abs() < 0.5, "{loss:?}");
    assert_eq!(column("tokens"), [511.0; 4]);
    let threshold = outcome.headline.iter().find(|of| of.name == "collapse_threshold").unwrap().value;
    assert!(threshold > 0.0 && threshold < 0.5, "{threshold}");
    assert!((outcome.plots[0].marks[0].0 - threshold).abs() < 1e-9);
}

#[test]
fn repeat_makes_an_export_again_and_notices_a_changed_figure() {
    let folder = std::env::temp_dir().join(format!("linchpin-repeat-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [file, tables] = ["export.json", "tables"].map(|name| folder.join(name).display().to_string());
    let told = sweep(&["--bos", "false", "--json", "--tables", &tables]);
    let mut export = export(&told);
    let convention = outcome(&export).convention.as_ref().unwrap();
    assert_eq!((convention.code.as_str(), convention.number("block")), ("concat", 512.0));
    let csv = std::fs::read_to_string(folder.join("tables/scaling-loss.csv")).unwrap();
    assert_eq!(csv, outcome(&export).table("loss").unwrap().to_csv());
    let repeat = |export: &Export, extra: &[&str]| {
        std::fs::write(&file, serde_json::to_string(export).unwrap()).unwrap();
        let model = bundled("linchpin-13m").display().to_string();
        linchpin_raw(&[&["repeat", &file, "--model", &model], extra].concat())
    };
    let again = repeat(&export, &[]);
    assert_eq!(code(&again), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
    assert!(String::from_utf8_lossy(&again.stdout).contains("reproduced: all of 37 cells are the same"));
    let other = bundled("linchpin-11m-twin").display().to_string();
    let refused = linchpin_raw(&["repeat", &file, "--model", &other]);
    assert_eq!(code(&refused), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("name the export's model"));
    export.outcomes[0].tables[0].rows[1][1] = 9.0_f64.into();
    let changed = repeat(&export, &["--json"]);
    assert_eq!(code(&changed), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&changed.stdout).unwrap();
    let differing = document["repeated"].as_array().unwrap().iter().filter(|of| of["differing"] == 1).collect::<Vec<_>>();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert_eq!((&differing[0]["table"], &differing[0]["column"]), (&"loss".into(), &"loss".into()));
    export.outcomes[0].experiment.settings.parts().text.unwrap().text.as_mut().unwrap().digest = "0".repeat(16);
    let text = folder.join("mine.txt").display().to_string();
    std::fs::write(&text, "The pin fell.\n").unwrap();
    for (given, advice) in [(&[][..], "give its file with --text"), (&["--text", &text][..], "or leave it out for the bundled one")] {
        let foreign = repeat(&export, given);
        assert_eq!(code(&foreign), Some(2), "{given:?}");
        assert!(stderr(&foreign).contains(advice), "{given:?}: {}", stderr(&foreign));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Every kind, small, on the tiny model without a gate.
const KINDS: [&[&str]; 8] = [
    &["importance", "--blocks", "1", "--calibration", "1"],
    &["propagation"],
    &["scaling", "--blocks", "1", "--factors", "0"],
    &["token-shift", "--prompts", "3"],
    &["activation-quantisation", "--blocks", "1", "--calibration", "1"],
    &["weight-quantisation", "--blocks", "1", "--bits", "4", "--block-sizes", "64,0", "--clips", "9"],
    &["weights-only"],
    &["sinks"],
];

fn on_gpt2(args: &[&str]) -> std::process::Output {
    let model = fixture("gpt2").display().to_string();
    linchpin_raw(&[args, &["--model", &model, "--device", "cpu"]].concat())
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_kind_is_made_again_and_a_report_shows_them_all() {
    let folder = std::env::temp_dir().join(format!("linchpin-kinds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [file, page] = ["all.json", "page.html"].map(|name| folder.join(name).display().to_string());
    let mut all: Option<Export> = None;
    for args in KINDS {
        let told = export(&on_gpt2(&[args, &["--super-weight", "1,5,17", "--json"]].concat()));
        let [figure] = &told.measured[..] else { panic!("{:?}", told.measured) };
        assert_eq!((figure.name.as_str(), figure.of.as_str()), ("experiment", outcome(&told).experiment.kind().name()));
        assert!(!outcome(&told).tables.is_empty() && !outcome(&told).plots.is_empty() && !outcome(&told).headline.is_empty());
        // A calibrated experiment also names the calibration text.
        let is_calibrated = setting(&outcome(&told).experiment, SettingId::NCalibration).is_some();
        let calibration = outcome(&told).convention.as_ref().map(|convention| convention.text("calibrated_text"));
        assert_eq!(calibration == Some("calibration excerpts 1"), is_calibrated);
        match &mut all {
            None => all = Some(told),
            Some(all) => {
                all.outcomes.extend(told.outcomes);
                all.measured.extend(told.measured);
            }
        }
    }
    let mut all = all.unwrap();
    std::fs::write(&file, serde_json::to_string(&all).unwrap()).unwrap();
    let again = on_gpt2(&["repeat", &file]);
    assert_eq!(code(&again), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
    assert_eq!(code(&linchpin_raw(&["report", "--from", &file, "--out", &page])), Some(0));
    let html = std::fs::read_to_string(&page).unwrap();
    for outcome in &all.outcomes {
        let name = outcome.experiment.kind().name();
        assert!(html.contains(&format!("id=\"{name}\"")) && html.contains(&format!("href=\"#{name}\"")), "{name}");
    }
    assert!(!html.contains("<script") && html.matches("<svg").count() == all.outcomes.iter().map(|of| of.plots.len()).sum::<usize>());
    // A stopped outcome is compared by its part, and an outcome without a table is different.
    all.outcomes.retain(|outcome| ["sinks", "propagation"].contains(&outcome.experiment.kind().name()));
    all.outcomes[0].is_partial = true;
    all.outcomes[0].tables[0].rows.truncate(5);
    all.outcomes[0].headline.clear();
    all.outcomes[1].tables.pop();
    std::fs::write(&file, serde_json::to_string(&all).unwrap()).unwrap();
    let lacking = on_gpt2(&["repeat", &file]);
    let told = String::from_utf8_lossy(&lacking.stdout).into_owned();
    assert_eq!(code(&lacking), Some(1), "{told}");
    assert!(told.contains("sinks, table massive, ratio: 6 of 6 cells differ") && !told.contains("propagation"), "{told}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn impossible_requests_are_refused_before_anything_is_measured() {
    let folder = std::env::temp_dir().join(format!("linchpin-refused-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("arc_easy.jsonl"), "{\"broken\"\n").unwrap();
    std::fs::write(path("damaged.json"), "{\"format\":").unwrap();
    let (broken, damaged) = (path("arc_easy.jsonl"), path("damaged.json"));
    let (under_file, data) = (path("damaged.json/below"), path("report.json"));
    let sw = ["--super-weight", "1,5,17"];
    let cases: [(&[&str], &str); 15] = [
        (&["scaling", "--super-weight", "99,0,0"], "layer is 99, but the model has 3"),
        (&["scaling", "--super-weight", "1,5"], "expected LAYER,ROW,COL"),
        (&["scaling", sw[0], sw[1], "--blocks", "0"], "n_blocks: 0 is not a whole number from 1 to 100000"),
        (&["scaling", sw[0], sw[1], "--block", "1"], "block: 1 is not a whole number from 2 to 1048576"),
        (&["scaling", sw[0], sw[1], "--limit", "3"], "--limit selects items of tasks"),
        (&["scaling", sw[0], sw[1], "--task", &broken], "line 1 of the task arc_easy is not JSON"),
        (&["scaling", sw[0], sw[1], "--task", "nowhere.jsonl"], "cannot read the task nowhere.jsonl"),
        (&["scaling", sw[0], sw[1], "--tables", &under_file], "cannot create the folder"),
        (&["sinks", sw[0], sw[1], "--bits", "4"], "sinks does not use --bits"),
        (&["repeat", &damaged], "is not an export of Linchpin"),
        (&["repeat", &damaged, "--tolerance", "nan"], "expected a number of 0 or more"),
        (&["report", "--out", &data], "its data goes to"),
        (&["report", "--out", &under_file], "cannot write"),
        (&["report", "--from", &damaged, "--blocks", "3"], "leave out --kinds and all settings"),
        (&["report", "--limit", "3", "--out", &path("r.html")], "--limit selects items of tasks"),
    ];
    for (args, why) in cases {
        let refused = on_gpt2(args);
        assert_eq!(code(&refused), Some(2), "{args:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(why), "{args:?}: {}", stderr(&refused));
    }
    assert!(!folder.join("r.html").exists() && !folder.join("r.json").exists());
    std::fs::remove_dir_all(&folder).unwrap();
}
