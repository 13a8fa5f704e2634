//! Experiments that look inside a model: candidates from the weights alone, the path of the super activation,
//! attention sinks and massive activations, and the next token's probabilities.

use linchpin::analysis::cold::{self, Found};
use linchpin::analysis::next_token::next_token;
use linchpin::analysis::residual::{largest_weight, levels};
use linchpin::analysis::sinks::sinks;
use linchpin::job::control::Control;
use linchpin::model::Model;
use linchpin::protocol::{BackendChoice, Event, Request};
use linchpin::terms::{Ablation, Cell, Experiment, ExperimentKind, FailureKind, ModelSource, Outcome, SettingId, WeightCoord};

use crate::support::{
    Copy, Session, bundled, files_in, finding, fixture, last_outcome, model_in, on_vulkan, sentences, setting, stopped_after, with,
    with_prompt, with_values,
};
use crate::the_event;

/// Tolerance of sums and means of many values in f32.
const TOLERANCE: f64 = 2e-5;
const MODELS: [&str; 5] = ["linchpin-13m", "linchpin-11m-twin", "gpt2", "gemma3", "mistral"];

/// `tests/golden/experiments.json`, made by `experiments.py` in the same folder.
fn golden(name: &str) -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/experiments.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    json[name].clone()
}

fn read<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn on_cpu(name: &str) -> Model {
    let dir = if name.starts_with("linchpin") { bundled(name) } else { fixture(name) };
    model_in(&dir, &burn::tensor::Device::flex())
}

fn place(golden: &serde_json::Value) -> WeightCoord {
    let (layer, row, col) = read(&golden["at"]);
    WeightCoord::new(layer, row, col)
}

/// The model of an arm in a golden file.
fn arm(model: &Model, golden: &serde_json::Value, name: &str) -> Model {
    let zeroed = (name == "removed").then(|| place(golden));
    model.with_ablation(&Ablation::zeroing(zeroed)).unwrap()
}

/// Compares numbers with their golden values; small ones are compared relative to `scale`.
fn near(what: &str, ours: &[f32], expected: &[f64], scale: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let error = (f64::from(*ours) - expected).abs() / expected.abs().max(scale);
        assert!(error <= TOLERANCE, "{what}, {index}: {ours} is not {expected}");
    }
}

fn search(model: &Model) -> Found {
    pollster::block_on(cold::search(model, &Control::silent())).unwrap()
}

#[test]
fn rows_are_scored_and_ranked_by_their_weights_as_in_pytorch() {
    for name in MODELS {
        let (golden, found) = (golden(name), search(&on_cpu(name)));
        let rows = golden["cold"]["rows"].as_array().unwrap();
        assert!(!rows.is_empty(), "{name}");
        for expected in rows {
            let (layer, row): (usize, usize) = (read(&expected["layer"]), read(&expected["row"]));
            let ours = found.rows.iter().find(|ours| (ours.at.layer, ours.at.row) == (layer, row)).unwrap();
            assert_eq!(ours.at.col, read::<usize>(&expected["col"]), "{name}: {:?}", ours.at);
            let figures = [ours.score, ours.ratio, ours.top1_share, ours.participation_ratio];
            near(&format!("{name}: {:?}", ours.at), &figures, &read::<Vec<f64>>(&expected["figures"]), 0.0);
        }
        let first = read::<Vec<(usize, usize, usize)>>(&golden["cold"]["first"]);
        let ours = found.rows.iter().take(first.len()).map(|row| (row.at.layer, row.at.row, row.at.col)).collect::<Vec<_>>();
        assert_eq!(ours, first, "{name}");
        assert_eq!(found.is_gated, name != "gpt2");
    }
    // The spike search's candidate is first by the weights alone, even if it is not critical.
    for name in ["linchpin-13m", "linchpin-11m-twin"] {
        let (at, found) = (place(&golden(name)), search(&on_cpu(name)));
        assert_eq!(found.rows[0].at, at);
        let weight = pollster::block_on(on_cpu(name).down_proj_scalar(at.layer, at.row, at.col).into_data_async()).unwrap();
        assert_eq!(found.weights[0], weight.try_into_vec::<f32>().unwrap()[0]);
    }
}

#[test]
fn stream_sinks_and_largest_values_are_those_of_transformers() {
    for name in MODELS {
        let (golden, model, control) = (golden(name), on_cpu(name), Control::silent());
        let (ids, row) = (read::<Vec<u32>>(&golden["ids"]), place(&golden).row);
        for arm_name in ["intact", "removed"] {
            let (case, expected) = (format!("{name}, {arm_name}"), &golden["arms"][arm_name]);
            let model = arm(&model, &golden, arm_name);
            let found = pollster::block_on(levels(&model, &ids, row, &control)).unwrap();
            let (at_row, largest) = (read::<Vec<Vec<f64>>>(&expected["at_row"]), read::<Vec<Vec<f64>>>(&expected["largest"]));
            assert_eq!((found.len(), at_row.len()), (model.layers.len() + 1, largest.len()), "{case}");
            assert_eq!((found[0].layer, found[1].layer), (None, Some(0)));
            let sinks = pollster::block_on(sinks(&model, &ids, &control, |_layer| {})).unwrap();
            let outputs = found[1..].iter().map(|level| level.down_proj_output).collect::<Vec<_>>();
            near(&format!("{case}, down_proj"), &outputs, &read::<Vec<f64>>(&expected["down_proj_output"]), 0.0);
            let medians = sinks.massive.iter().map(|massive| massive.median).collect::<Vec<_>>();
            near(&format!("{case}, medians"), &medians, &read::<Vec<f64>>(&expected["medians"])[1..], 0.0);
            for (index, level) in found.iter().enumerate() {
                let case = format!("{case}, level {index}");
                let most = largest[index].iter().copied().fold(0.0, f64::max);
                // A channel's small values are sums of values as large as the stream's.
                near(&case, &level.at_channel, &at_row[index], most);
                near(&case, &level.largest, &largest[index], 0.0);
                if let Some(layer) = level.layer {
                    let massive = sinks.massive[layer];
                    assert_eq!(massive.value.abs(), level.largest[massive.token], "{case}");
                    near(&case, &[massive.value.abs()], &[most], 0.0);
                }
            }
            let heads = read::<Vec<Vec<f64>>>(&expected["sinks"]);
            assert_eq!(heads.len(), sinks.on_first.len(), "{case}");
            for (layer, (ours, heads)) in sinks.on_first.iter().zip(&heads).enumerate() {
                near(&format!("{case}, sinks of layer {layer}"), ours, heads, 0.01);
            }
            assert_eq!(sinks.count(), heads.iter().flatten().filter(|head| **head > 0.3).count(), "{case}");
        }
    }
}

#[test]
fn next_token_is_that_of_transformers() {
    for name in MODELS {
        let (golden, model) = (golden(name), on_cpu(name));
        let prompts = read::<Vec<Vec<u32>>>(&golden["prompts"]);
        for arm_name in ["intact", "removed"] {
            let (case, expected) = (format!("{name}, {arm_name}"), &golden["arms"][arm_name]["next_token"]);
            let found = pollster::block_on(next_token(&arm(&model, &golden, arm_name), &prompts, &Control::silent(), |_done| {})).unwrap();
            for (id, probability) in read::<Vec<(usize, f64)>>(&expected["likeliest"]) {
                near(&format!("{case}, token {id}"), &[found.probabilities[id] as f32], &[probability], 0.0);
            }
            let squares = found.probabilities.iter().map(|p| p * p).sum::<f64>() as f32;
            near(&case, &[squares, found.entropy as f32], &[read(&expected["squares"]), read(&expected["entropy"])], 0.0);
            assert!((found.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{case}");
            let likeliest = found.ranked()[0];
            assert_eq!(likeliest, read::<Vec<(usize, f64)>>(&expected["likeliest"])[0].0, "{case}");
        }
    }
}

/// Packed matrices are searched like those in f32, and so is the largest weight other than the super weights.
#[test]
fn gpu_finds_the_same_candidates_in_packed_weights() {
    let copy = Copy::in_bf16("gpt2", "cold");
    for dir in [bundled("linchpin-13m"), bundled("linchpin-11m-twin"), copy.dir().to_path_buf()] {
        let expected = search(&model_in(&dir, &burn::tensor::Device::flex()));
        let at = expected.rows[0].at;
        let other = |model: &Model| pollster::block_on(largest_weight(model, at.layer, &[at])).unwrap();
        let expected_other = other(&model_in(&dir, &burn::tensor::Device::flex()));
        on_vulkan(|device| {
            let model = model_in(&dir, device);
            let found = search(&model);
            assert_eq!(found.weights[0], expected.weights[0]);
            assert_eq!(other(&model), expected_other);
            for row in &expected.rows {
                let ours = found.rows.iter().find(|ours| (ours.at.layer, ours.at.row) == (row.at.layer, row.at.row)).unwrap();
                let figures = [row.score, row.ratio, row.top1_share, row.participation_ratio].map(f64::from);
                near(&format!("{:?}", row.at), &[ours.score, ours.ratio, ours.top1_share, ours.participation_ratio], &figures, 0.0);
            }
            assert_eq!(
                found.rows[..3].iter().map(|row| row.at).collect::<Vec<_>>(),
                expected.rows[..3].iter().map(|row| row.at).collect::<Vec<_>>()
            );
        });
    }
}

/// One pass of each kind on a GPU, where attention and peaks are our own kernels.
#[test]
fn gpu_sees_the_same_stream_sinks_and_next_token() {
    on_vulkan(|device| {
        for name in ["linchpin-13m", "mistral"] {
            let golden = golden(name);
            let dir = if name == "mistral" { fixture(name) } else { bundled(name) };
            let (model, control, expected) = (model_in(&dir, device), Control::silent(), &golden["arms"]["intact"]);
            let ids = read::<Vec<u32>>(&golden["ids"]);
            let same = |what: &str, ours: &[f32], expected: &[f64]| {
                assert_eq!(ours.len(), expected.len(), "{name}, {what}");
                let most = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
                for (ours, expected) in ours.iter().zip(expected) {
                    assert!((f64::from(*ours) - expected).abs() <= 1e-4 * most, "{name}, {what}: {ours} is not {expected}");
                }
            };
            let found = pollster::block_on(levels(&model, &ids, place(&golden).row, &control)).unwrap();
            let (at_row, largest) = (read::<Vec<Vec<f64>>>(&expected["at_row"]), read::<Vec<Vec<f64>>>(&expected["largest"]));
            // The embeddings, and the output of each layer.
            let n_levels = model.layers.len() + 1;
            assert_eq!((found.len(), at_row.len(), largest.len()), (n_levels, n_levels, n_levels), "{name}");
            for (level, (at_row, largest)) in found.iter().zip(at_row.iter().zip(&largest)) {
                same("channel", &level.at_channel, at_row);
                same("largest", &level.largest, largest);
            }
            let found = pollster::block_on(sinks(&model, &ids, &control, |_layer| {})).unwrap();
            let heads = read::<Vec<Vec<f64>>>(&expected["sinks"]).concat();
            same("sinks", &found.on_first.concat(), &heads);
            let prompts = read::<Vec<Vec<u32>>>(&golden["prompts"]);
            let found = pollster::block_on(next_token(&model, &prompts, &control, |_done| {})).unwrap();
            let (likeliest, probabilities): (Vec<usize>, Vec<f64>) =
                read::<Vec<(usize, f64)>>(&expected["next_token"]["likeliest"]).into_iter().unzip();
            assert!(!likeliest.is_empty(), "{name}");
            same("next token", &likeliest.iter().map(|id| found.probabilities[*id] as f32).collect::<Vec<_>>(), &probabilities);
            same("entropy", &[found.entropy as f32], &[read(&expected["next_token"]["entropy"])]);
        }
    });
}

fn outcome(session: &mut Session, experiment: Experiment) -> Outcome {
    let outcome = last_outcome(&session.ask(Request::Experiment(experiment)).unwrap());
    assert!(!outcome.is_partial);
    for plot in &outcome.plots {
        let table = outcome.table(&plot.table).unwrap();
        for column in [Some(&plot.x), Some(&plot.y), plot.by.as_ref(), plot.only.as_ref().map(|(column, _)| column)].into_iter().flatten() {
            assert!(table.column(column).is_some(), "{:?}: {column}", plot.title);
        }
    }
    assert!(!outcome.plots.is_empty() && (2..=8).contains(&outcome.headline.len()), "{:?}", outcome.headline);
    outcome
}

fn headline(outcome: &Outcome, name: &str) -> f64 {
    outcome.headline.iter().find(|headline| headline.name == name).unwrap_or_else(|| panic!("{:?}", outcome.headline)).value
}

const SUPER_WEIGHT: WeightCoord = WeightCoord::new(2, 12, 86);

#[test]
fn experiments_on_the_bundled_model_find_its_super_weight() {
    let mut session = Session::with_model(&bundled("linchpin-13m"));
    let mut ask =
        |kind| outcome(&mut session, with(Experiment::with_defaults(kind, vec![SUPER_WEIGHT]), &[(SettingId::NPrompts, &[100.0])]));

    let cold = ask(ExperimentKind::WeightsOnly);
    let (candidates, known) = (cold.table("candidates").unwrap(), cold.table("known").unwrap());
    assert_eq!((candidates.rows.len(), cold.table("layers").unwrap().rows.len()), (20, 20));
    assert_eq!(headline(&cold, "rank/2,12,86"), 1.0);
    assert_eq!(
        ["rank", "rank_in_layer", "rows", "col_found"].map(|column| known.cell(0, column).unwrap().number().unwrap()),
        [1.0, 1.0, 5120.0, 86.0]
    );
    assert_eq!(candidates.cell(1, "rank"), Some(&Cell::Number(2.0)));

    let way = ask(ExperimentKind::Propagation);
    let residuals = way.table("residuals").unwrap();
    assert_eq!(way.table("maxima").unwrap().rows.len(), 3 * 21);
    assert_eq!(residuals.rows.len() % (3 * 21), 0);
    assert_eq!(headline(&way, "first_layer_above_half"), 2.0);
    assert!(headline(&way, "channel_peak/removed") < 0.5 * headline(&way, "channel_peak/intact"), "{:?}", way.headline);
    assert!(headline(&way, "channel_peak/other_removed") > 0.5 * headline(&way, "channel_peak/intact"), "{:?}", way.headline);
    // The other weight is the largest of the same matrix.
    let other = finding(&way, "other_weight");
    assert!(other.number("layer") == 2.0 && (other.number("row"), other.number("col")) != (12.0, 86.0), "{other:?}");

    let sinks = ask(ExperimentKind::Sinks);
    assert_eq!((headline(&sinks, "sink_heads/intact"), headline(&sinks, "sink_heads/removed")), (73.0, 62.0));
    assert_eq!((sinks.table("sinks").unwrap().rows.len(), sinks.table("massive").unwrap().rows.len()), (20 * 4, 2 * 20));

    assert!(
        sentences(&sinks)[0].starts_with("73 of 80 heads") && sentences(&sinks)[0].contains("85 % of their number remain"),
        "{:?}",
        sinks.findings
    );

    let shift = ask(ExperimentKind::TokenShift);
    // In the paper, Llama-7B shows the opposite.
    assert!(headline(&shift, "stopword_mass/removed") < headline(&shift, "stopword_mass/intact"), "{:?}", shift.headline);
    assert!(sentences(&shift)[0].contains(": down to 0."), "{:?}", shift.findings);
    let mass = shift.table("mass").unwrap();
    assert_eq!(mass.rows.len(), 2);
    for row in 0..2 {
        let parts = ["stopwords", "other"].map(|column| mass.cell(row, column).unwrap().number().unwrap());
        assert!((parts[0] + parts[1] - 1.0).abs() < 1e-5, "{parts:?}");
    }
    assert_eq!(setting(&shift.experiment, SettingId::NPrompts), Some(vec![100.0]));
    let convention = shift.convention.as_ref().unwrap();
    assert_eq!((convention.code.as_str(), convention.number("prompts")), ("first_sentences_1", 100.0));
    assert!((50..=70).contains(&shift.table("tokens").unwrap().rows.len()));
}

#[test]
fn models_without_a_gate_and_with_windows_take_part() {
    for name in ["gpt2", "mistral", "gemma3"] {
        let mut session = Session::with_model(&fixture(name));
        let at = vec![WeightCoord::new(1, 3, 5), WeightCoord::new(0, 4, 6)];
        for kind in [ExperimentKind::WeightsOnly, ExperimentKind::Propagation, ExperimentKind::Sinks, ExperimentKind::TokenShift] {
            let outcome = outcome(&mut session, with(Experiment::with_defaults(kind, at.clone()), &[(SettingId::NPrompts, &[20.0])]));
            let says = |code: &str| outcome.findings.iter().any(|finding| finding.code == code);
            match kind {
                ExperimentKind::WeightsOnly => assert_eq!(says("no_gate"), name == "gpt2"),
                ExperimentKind::Sinks => assert_eq!(says("sinks_hidden"), name != "gpt2"),
                _ => {}
            }
        }
    }
}

#[test]
fn experiments_but_for_weights_only_need_a_super_weight() {
    let mut session = Session::with_model(&fixture("llama"));
    for kind in [ExperimentKind::Propagation, ExperimentKind::Sinks, ExperimentKind::TokenShift] {
        let events = session.events_of(Request::Experiment(Experiment::with_defaults(kind, Vec::new())));
        let [Event::Failed(failure)] = &events[..] else { panic!("{events:?}") };
        assert!(failure.kind() == FailureKind::Input && failure.detail.contains(kind.name()), "{failure:?}");
    }
    let found = outcome(&mut session, Experiment::with_defaults(ExperimentKind::WeightsOnly, Vec::new()));
    assert!(found.table("known").is_none() && found.findings[0].code == "first_row", "{:?}", found.findings);
    let at = vec![WeightCoord::new(0, 0, 0)];
    let refused = |experiment: Experiment, session: &mut Session| session.ask(Request::Experiment(experiment)).unwrap_err().detail;
    let sinks = Experiment::with_defaults(ExperimentKind::Sinks, at.clone());
    assert!(refused(with_prompt(sinks, " "), &mut session).contains("the prompt is empty"));
    let shift = with(Experiment::with_defaults(ExperimentKind::TokenShift, at), &[(SettingId::NPrompts, &[0.0])]);
    assert!(refused(shift, &mut session).contains("n_prompts: 0 is not a whole number from 1"));
}

#[test]
fn stop_keeps_the_arms_that_were_measured() {
    let at = vec![WeightCoord::new(1, 3, 5)];
    for (kind, table, rows) in
        [(ExperimentKind::Propagation, "maxima", 4), (ExperimentKind::Sinks, "massive", 3), (ExperimentKind::TokenShift, "mass", 1)]
    {
        let experiment = with(Experiment::with_defaults(kind, at.clone()), &[(SettingId::NPrompts, &[10.0])]);
        let is_first = |event: &Event| matches!(event, Event::Outcome(outcome) if outcome.is_partial);
        // One arm has three layers, and the embeddings.
        let events = stopped_after(is_first, vec![Request::Experiment(experiment)]);
        assert_eq!(events.last(), Some(&Event::Stopped), "{kind:?}");
        let last = last_outcome(&events);
        assert!(last.is_partial);
        assert_eq!(last.table(table).unwrap().rows.len(), rows, "{kind:?}");
    }
}

#[test]
fn candidates_are_told_before_the_model_is_loaded() {
    let mut session = Session::new();
    let request = Request::Load {
        id: "test".into(),
        source: ModelSource::Files(files_in(&bundled("linchpin-13m"))),
        backend: BackendChoice::Cpu,
        bos: false,
    };
    let events = session.ask(request).unwrap();
    let at = |is: fn(&Event) -> bool| events.iter().position(is).unwrap();
    let (outcome, loaded) = (at(|event| matches!(event, Event::Outcome(_))), at(|event| matches!(event, Event::Loaded(_))));
    assert!(outcome < loaded);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Outcome(_))).count(), 1);
    assert!(events.iter().any(|event| matches!(event, Event::Progress(progress) if progress.doing.code == "searching_weights")));
    let found = the_event!(events.clone(), Event::Outcome(outcome) => outcome);
    let info = the_event!(events, Event::Loaded(info) => info);
    assert!(!found.is_partial && found.experiment.super_weights.is_empty());
    assert_eq!((&found.model, &found.backend, found.experiment.kind()), (&info.model, &info.backend, ExperimentKind::WeightsOnly));
    assert_eq!(["layer", "row", "col"].map(|column| found.tables[0].cell(0, column).unwrap().number().unwrap()), [2.0, 12.0, 86.0]);
}

/// A model is not refused if its norms overflow f32.
#[test]
fn search_that_overflows_fails_no_load() {
    let copy = Copy::of("llama", "loud");
    copy.edit("model.safetensors", |bytes| {
        with_values(bytes, |name, _, values| {
            if name.ends_with("layers.1.mlp.gate_proj.weight") {
                values.iter_mut().for_each(|value| *value *= 1e30);
            }
        });
    });
    let events = Session::new().load(files_in(copy.dir())).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Loaded(_))));
    assert!(!events.iter().any(|event| matches!(event, Event::Outcome(_))), "{events:?}");
}
