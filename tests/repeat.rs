//! Experiments of the command, made again from one JSON document.

use linchpin::protocol::Export;
use linchpin::terms::{Cell, Outcome};

use crate::support::{bundled, code, export, linchpin_raw};

/// The scale sweep of the page's own model, at few factors on one block.
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
fn the_scale_sweep_finds_where_the_model_collapses() {
    let told = export(&sweep(&["--json"]));
    let outcome = outcome(&told);
    assert!(!outcome.is_partial);
    // The page's models never saw a text without a BOS.
    assert!(outcome.convention.starts_with("concat-bos-512 held-out passages 1 ("), "{}", outcome.convention);
    let table = outcome.table("loss").unwrap();
    let column = |name: &str| (0..table.rows.len()).map(|row| table.cell(row, name).and_then(Cell::number).unwrap()).collect::<Vec<_>>();
    assert_eq!(column("factor"), [0.0, 0.5, 1.0, 2.0]);
    let loss = column("loss");
    assert!(loss[0] > loss[2] + 2.0 && (loss[1] - loss[2]).abs() < 0.5, "{loss:?}");
    assert_eq!(column("tokens"), [511.0; 4]);
    let threshold = outcome.headline.iter().find(|of| of.name == "collapse threshold").unwrap().value;
    assert!(threshold > 0.0 && threshold < 0.5, "{threshold}");
    assert!((outcome.plots[0].marks[0].0 - threshold).abs() < 1e-9);
}

#[test]
fn an_export_is_made_again_and_a_changed_figure_is_noticed() {
    let folder = std::env::temp_dir().join(format!("linchpin-repeat-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let [file, tables] = ["export.json", "tables"].map(|name| folder.join(name).display().to_string());
    let told = sweep(&["--bos", "false", "--json", "--tables", &tables]);
    let mut export = export(&told);
    assert!(outcome(&export).convention.starts_with("concat-512 "));
    let csv = std::fs::read_to_string(folder.join("tables/scaling-loss.csv")).unwrap();
    assert_eq!(csv, outcome(&export).table("loss").unwrap().to_csv());
    let repeat = |export: &Export, extra: &[&str]| {
        std::fs::write(&file, serde_json::to_string(export).unwrap()).unwrap();
        let model = bundled("linchpin-13m").display().to_string();
        linchpin_raw(&[&["repeat", &file, "--model", &model], extra].concat())
    };
    let again = repeat(&export, &[]);
    assert_eq!(code(&again), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
    assert!(String::from_utf8_lossy(&again.stdout).contains("reproduced: 0 of 24 cells differ"));
    let other = bundled("linchpin-11m-twin").display().to_string();
    let refused = linchpin_raw(&["repeat", &file, "--model", &other]);
    assert_eq!(code(&refused), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("name the same model"));
    export.outcomes[0].tables[0].rows[1][1] = 9.0_f64.into();
    let changed = repeat(&export, &["--json"]);
    assert_eq!(code(&changed), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&changed.stdout).unwrap();
    let differing = document["repeated"].as_array().unwrap().iter().filter(|of| of["differing"] == 1).collect::<Vec<_>>();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert_eq!((&differing[0]["table"], &differing[0]["column"]), (&"loss".into(), &"loss".into()));
    export.outcomes[0].experiment.text.as_mut().unwrap().digest = "0".repeat(16);
    let foreign = repeat(&export, &[]);
    assert_eq!(code(&foreign), Some(2));
    assert!(String::from_utf8_lossy(&foreign.stderr).contains("The text is another one"), "{}", String::from_utf8_lossy(&foreign.stderr));
    std::fs::remove_dir_all(&folder).unwrap();
}
