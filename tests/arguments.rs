//! Settings out of their range are refused before anything is computed: by the command as soon as the model's headers are
//! read, and by the engine whoever sends them.

use std::path::Path;
use std::time::{Duration, Instant};

use linchpin::protocol::{Event, Request};
use linchpin::terms::{
    Ablation, EditTarget, Experiment, ExperimentKind, Pick, Problem, Pruning, Ranking, Replacement, Sampling, Selection, SettingId,
    WeightCoord, WeightEdit,
};

use crate::support::{Copy, Scratch, Session, code, fixture, linchpin_raw};

/// The options that take a name, a text, a file or a choice.
const NO_NUMBERS: [&str; 17] = [
    "model",
    "device",
    "text",
    "prompt",
    "task",
    "tables",
    "golden",
    "out",
    "from",
    "kinds",
    "csv",
    "experiment",
    "methods",
    "method",
    "group",
    "replace",
    "published",
];

const LAYER: &str = "is 3, but the model has 3 (0 to 2)";
const SEEDS: &str = "0 to 9007199254740991";
const LARGE_SEED: &str = "9007199254740992";

/// Every option with a number, wherever it occurs, with values out of its range for the model `llama` (3 layers, 32
/// residual channels, 64 feed-forward channels) and a part of each refusal.
const WRONG: [(&str, &[(&str, &str)]); 38] = [
    ("max-tokens", &[("0", "2 to 1048576"), ("1", "2 to 1048576"), ("1048577", "2 to 1048576"), ("many", "2 to 1048576")]),
    ("bos", &[("7", "bos"), ("0.5", "bos"), ("maybe", "bos")]),
    ("seed", &[("-1", SEEDS), (LARGE_SEED, SEEDS), ("1.5", SEEDS)]),
    ("seeds", &[("1,-1", SEEDS), (LARGE_SEED, SEEDS)]),
    ("item-seed", &[("-1", SEEDS), (LARGE_SEED, SEEDS)]),
    ("temperature", &[("-0.1", "0 to 5"), ("5.1", "0 to 5"), ("NaN", "0 to 5")]),
    ("top-k", &[("-1", "0 to 1048576"), ("1048577", "0 to 1048576")]),
    ("top-p", &[("-0.1", "0 to 1"), ("1.1", "0 to 1"), ("inf", "0 to 1")]),
    ("max-new-tokens", &[("0", "1 to 1048576"), ("1048577", "1 to 1048576")]),
    ("sequences", &[("0", "1 to 100000"), ("100001", "1 to 100000")]),
    ("length", &[("1", "2 to 1048576"), ("1048577", "2 to 1048576")]),
    ("layer", &[("3", LAYER), ("99", "is 99, but the model has 3 (0 to 2)")]),
    ("rho", &[("0", "more than 0 and less than 1"), ("1", "more than 0 and less than 1"), ("-1", "more than 0")]),
    ("eta", &[("0", "more than 0 and at most 1"), ("1.1", "more than 0 and at most 1")]),
    ("etas", &[("0.1,0", "more than 0 and at most 1"), ("2", "more than 0 and at most 1")]),
    ("support", &[("0", "expected 1 to 32"), ("33", "expected 1 to 32")]),
    ("sparsity", &[("2", "0 to 1"), ("-0.1", "0 to 1"), ("NaN", "0 to 1")]),
    ("sparsities", &[("0.1,2", "0 to 1"), ("-0.1", "0 to 1")]),
    ("shares", &[("0.1,2", "0 to 1"), ("-0.1", "0 to 1")]),
    ("per-layer", &[("0", "1 to 1048576"), ("1048577", "1 to 1048576")]),
    ("quantiles", &[("0", "1 to 1048576"), ("65", "expected 1 to 64"), ("1048577", "1 to 1048576")]),
    ("tolerance", &[("-1", "0 or more"), ("NaN", "0 or more"), ("inf", "0 or more")]),
    ("scalar", &[("3,0,0", LAYER), ("0,32,0", "row is 32"), ("0,0,64", "column is 64"), ("0.1,0,0", "expert is 1")]),
    ("row", &[("3,0", LAYER), ("0,32", "row is 32"), ("0,0=9", "scale 9 is not between -3 and 3")]),
    ("column", &[("3,0", LAYER), ("0,64", "column is 64"), ("0,0=NaN", "is not between -3 and 3")]),
    ("channel", &[("3,0", LAYER), ("0,64", "channel is 64"), ("0,0=-4", "is not between -3 and 3")]),
    ("channel-mean", &[("3,0", LAYER), ("0,64", "channel is 64")]),
    ("super-weight", &[("3,0,0", LAYER), ("0,32,0", "row is 32"), ("0,0,64", "column is 64")]),
    ("factors", &[("0,4", "-3 to 3"), ("NaN", "-3 to 3")]),
    ("bits", &[("1", "2 to 16"), ("99", "2 to 16")]),
    ("block-sizes", &[("-1", "0 to 2147483647")]),
    ("clips", &[("0", "0.01 to 1000"), ("1001", "0.01 to 1000")]),
    ("alpha", &[("-0.1", "0 to 1"), ("2", "0 to 1")]),
    ("calibration", &[("0", "1 to 100000"), ("100001", "1 to 100000")]),
    ("prompts", &[("0", "1 to 100000"), ("100001", "1 to 100000")]),
    ("block", &[("1", "2 to 1048576"), ("2.5", "2 to 1048576")]),
    ("blocks", &[("0", "1 to 100000"), ("100001", "1 to 100000")]),
    ("limit", &[("0", "1 to 100000"), ("100001", "1 to 100000")]),
];

/// The arguments that a subcommand needs besides.
fn needed(subcommand: &str, folder: &Path, out: &Scratch) -> Vec<String> {
    match subcommand {
        "training" => vec![folder.parent().unwrap().display().to_string()],
        "repeat" => vec![out.at("none.json")],
        "save" => vec!["--out".into(), out.at("saved")],
        "report" => vec!["--out".into(), out.at("report.html")],
        "verify" => vec!["--golden".into(), out.at("golden.safetensors")],
        _ => Vec::new(),
    }
}

#[test]
fn every_number_of_every_subcommand_is_refused_out_of_its_range_before_the_weights_are_read() {
    // Nothing of these weights could be computed with.
    let scratch = Scratch::new("arguments");
    let folder = scratch.dir().join("model");
    std::fs::create_dir_all(&folder).unwrap();
    let copy = Copy::of("llama", "arguments-copy");
    copy.edit("model.safetensors", |bytes| {
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[header..].fill(0xff);
    });
    for file in std::fs::read_dir(copy.dir()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let (model, out) = (folder.display().to_string(), Scratch::new("arguments-out"));
    let mut command = linchpin::cli::command();
    command.build();
    let mut n_refused = 0;
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        let name = subcommand.get_name();
        let options =
            subcommand.get_arguments().filter(|arg| arg.get_action().takes_values() && !arg.is_hide_set() && !arg.is_positional());
        for option in options.filter_map(|arg| arg.get_long()).filter(|option| !NO_NUMBERS.contains(option)) {
            let (_, values) = WRONG
                .iter()
                .find(|(known, _)| *known == option)
                .unwrap_or_else(|| panic!("{name} --{option} has no line in this test's table: add values out of its range"));
            for (value, told) in *values {
                let args = needed(name, &folder, &out);
                let args = [name, "--model", &model, "--device", "cpu"].into_iter().chain(args.iter().map(String::as_str));
                let args = args.chain([&format!("--{option}={value}")[..]]).map(String::from).collect::<Vec<_>>();
                refused(&args, told);
                n_refused += 1;
            }
        }
    }
    assert!(n_refused > 150, "{n_refused}");
    assert!(out.names().is_empty(), "{:?}", out.names());
}

/// Expects a refusal within a second.
fn refused(args: &[String], told: &str) {
    const MOST: Duration = Duration::from_secs(1);
    let run = || {
        let started = Instant::now();
        let output = linchpin_raw(&args.iter().map(String::as_str).collect::<Vec<_>>());
        (output, started.elapsed())
    };
    // A busy machine gets a second chance.
    let (output, took) = Some(run()).filter(|(_, took)| *took < MOST).unwrap_or_else(run);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(&output), Some(2), "{args:?}: {stderr}");
    assert!(stderr.contains(told) && output.stdout.is_empty(), "{args:?}: expected {told:?} in {stderr}");
    assert!(took < MOST, "{args:?} took {took:?}");
}

#[test]
fn engine_refuses_requests_out_of_their_range_before_any_work() {
    let mut session = Session::with_model(&fixture("llama"));
    let pruning = |change: fn(&mut Selection)| {
        let mut selection = Selection::new(Pick::Lowest { by: Ranking::Wanda, share: 0.5 });
        change(&mut selection);
        Pruning { selection, replacement: Replacement::Zero }
    };
    let delete = |per_layer, n_quantiles, layer| Request::Delete { per_layer, n_quantiles, layer, seed: 1, replacement: Replacement::Zero };
    let score = |sequences, length| Request::Score { text: None, sequences, length, super_weights: Vec::new(), resume: false };
    let surround = |rho, support| Request::Surround { rho, eta: 0.1, support, layer: None, redundancy: false };
    let mut bits = Experiment::with_defaults(ExperimentKind::WeightQuantisation, Vec::new());
    bits.settings.number(SettingId::Bits).unwrap().set(&[99.0]);
    let edit = WeightEdit { target: EditTarget::scalar(0, 0, 64), scale: 0.0 };
    for (request, problem) in [
        (score(0, 16), Problem::SettingOutOfRange),
        (score(usize::MAX, 16), Problem::SettingOutOfRange),
        (score(1, 0), Problem::SettingOutOfRange),
        (surround(2.0, None), Problem::SettingOutOfRange),
        (surround(0.1, Some(33)), Problem::SettingOutOfRange),
        // No channel is scored yet, which would be told otherwise.
        (Request::Sweep { prunings: vec![pruning(|of| of.eta = f64::NAN)] }, Problem::SettingOutOfRange),
        (Request::Sweep { prunings: vec![pruning(|of| of.layer = Some(3))] }, Problem::PlaceOutside),
        (Request::Apply { ablation: Ablation::pruning(pruning(|of| of.rho = 0.0)) }, Problem::SettingOutOfRange),
        (Request::Apply { ablation: Ablation { weight_edits: vec![edit], ..Ablation::default() } }, Problem::PlaceOutside),
        (delete(0, 8, None), Problem::SettingOutOfRange),
        (delete(8, 0, None), Problem::SettingOutOfRange),
        (delete(8, 65, None), Problem::SettingOutOfRange),
        (delete(8, 8, Some(3)), Problem::PlaceOutside),
        (Request::Confirm { candidates: vec![WeightCoord::new(0, 32, 0)], rows: Vec::new(), seed: 1 }, Problem::PlaceOutside),
        (Request::Experiment(bits), Problem::SettingOutOfRange),
        (Request::UseText { name: "a".into(), text: "the old man".into(), max_tokens: 1 }, Problem::SettingOutOfRange),
        (
            Request::Generate { prompt: "the old man".into(), sampling: Sampling { seed: u64::MAX, ..Sampling::default() } },
            Problem::SettingOutOfRange,
        ),
    ] {
        let of = format!("{request:?}");
        let events = session.events_of(request);
        let [Event::Failed(failure)] = &events[..] else { panic!("{of}: {events:?}") };
        assert_eq!(failure.problem, problem, "{of}: {failure:?}");
    }
}
