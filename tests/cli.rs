//! The command, called like a user calls it.

use linchpin::protocol::Export;

use crate::support::{code, export, fixture, linchpin};

#[test]
fn json_is_one_document_of_the_pages_schema() {
    let scan = export(&linchpin(&["scan", "--prompt", "the old man", "--json"]));
    assert_eq!((scan.format.as_str(), scan.version), (Export::FORMAT, Export::VERSION));
    assert_eq!(scan.scan.unwrap().candidates.len(), 1);
    let run = export(&linchpin(&["ablate", "--scalar", "1,5,17=0.5", "--prompt", "the old man", "--max-new-tokens", "5", "--json"]));
    assert_eq!(run.evaluations.len(), 2);
    let run = run.run.unwrap();
    assert_eq!(run.setup.ablation.weight_edits[0].scale, 0.5);
    assert_eq!(run.intact.token_ids.len(), 5);
    let generated = export(&linchpin(&["generate", "--prompt", "the old man", "--max-new-tokens", "5", "--json"]));
    assert_eq!(generated.run.unwrap().intact.token_ids, run.intact.token_ids);
}

#[test]
fn measuring_tells_a_fresh_start_and_the_engines_figures() {
    let measured = export(&linchpin(&["measure", "--json"])).measured;
    assert_eq!((measured[0].name.as_str(), measured[1].name.as_str()), ("load", "first_token"));
    assert!(measured.len() > 8 && measured.iter().all(|figure| figure.value.is_some()), "{measured:?}");
}

#[test]
fn scores_are_a_report_or_a_table() {
    let args = ["score", "--sequences", "2", "--length", "16"];
    let scores = export(&linchpin(&[&args[..], &["--super-weight", "1,5,17", "--json"]].concat())).scores.unwrap();
    assert_eq!((scores.calibration.n_sequences, scores.calibration.n_tokens, scores.super_weights.len()), (2, 32, 1));
    let table = linchpin(&[&args[..], &["--csv"]].concat());
    let table = String::from_utf8(table.stdout).unwrap();
    let lines = table.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 1 + 3 * 64);
    let (names, last) = (lines[0].split(',').collect::<Vec<_>>(), lines[192].split(',').collect::<Vec<_>>());
    assert_eq!((names.len(), names[2], &last[..2]), (last.len(), "loss_proxy", &["2", "63"][..]));
    assert_eq!(last[2].parse::<f32>().unwrap(), scores.channels[2].loss_proxy[63]);
    assert_eq!(code(&linchpin(&["score", "--super-weight", "1,5"])), Some(2));
}

#[test]
fn exit_code_is_1_for_a_negative_finding_and_2_for_an_error() {
    // The planted spike of a random model moves its loss by less than a super weight must.
    assert_eq!(code(&linchpin(&["scan", "--confirm", "--prompt", "the old man"])), Some(1));
    let golden = fixture("llama").join("golden.safetensors");
    let golden = golden.to_str().unwrap();
    assert_eq!(code(&linchpin(&["verify", "--golden", golden])), Some(0));
    assert_eq!(code(&linchpin(&["verify", "--golden", golden, "--tolerance", "1e-12"])), Some(1));
    assert_eq!(code(&linchpin(&["perplexity", "--scalar", "1,2"])), Some(2));
    assert_eq!(code(&linchpin(&["perplexity", "--scalar", "99,0,0"])), Some(2));
    let refused = linchpin(&["ablate", "--row", "0,1=lots"]);
    assert_eq!(code(&refused), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not a scale"));
}

#[test]
fn another_text_is_named_in_the_convention() {
    let path = std::env::temp_dir().join(format!("linchpin-{}.txt", std::process::id()));
    std::fs::write(&path, "The old man went home.\r\n\r\nIt was a dark evening.\n").unwrap();
    let measured = export(&linchpin(&["perplexity", "--json", "--max-tokens", "16", "--text", path.to_str().unwrap()]));
    std::fs::remove_file(path).unwrap();
    let convention = &measured.evaluations[0].1.convention;
    assert!(convention.text("text").ends_with(".txt"), "{convention:?}");
    assert_eq!((convention.code.as_str(), convention.number("limit")), ("passages", 16.0));
    assert!(measured.evaluations[0].1.n_tokens > 10);
}

#[test]
fn pruning_is_one_measurement() {
    let scoring = ["prune", "--sequences", "2", "--length", "16"];
    let one = export(&linchpin(&[&scoring[..], &["--method", "taylor", "--sparsity", "0.5", "--replace", "mean", "--json"]].concat()));
    assert_eq!((one.evaluations.len(), one.pruned.unwrap().by_layer), (2, vec![32; 3]));
    let group = export(&linchpin(&[&scoring[..], &["--group", "core", "--json"]].concat()));
    assert_eq!(group.pruned.unwrap().n_channels, 3);
}
