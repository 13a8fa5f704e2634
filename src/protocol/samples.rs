//! Samples of every message, which together contain every unit, pick, action and source, for the tests of the
//! boundary.
//!
//! [`request_after`] and [`event_after`] are chains through all variants. A new variant does not compile until it has
//! a place in one of them, and so a sample.

mod help;
mod removals;

use serde::de::DeserializeOwned;

use removals::{deletion, deletions, sweep_point};

use super::{Event, Figure, Progress, Request, TensorError};
use crate::terms::{
    Ablation, Action, BackendInfo, Calibration, Candidate, Cell, ConfirmArm, ConfirmReport, DataPlot, DataTable, EditTarget, Evaluation,
    Experiment, Failure, Generated, Headline, Help, HubSource, Inspection, Intervention, KnownFile, Message, ModelFile, ModelInfo,
    ModelRef, ModelSource, OnTasks, OnText, Outcome, Pane, Pick, PlotKind, Problem, Pruned, Pruning, Ranking, Replacement, RowCoord,
    RunRecord, RunSetup, Sampling, ScanReport, ScoreProgress, ScoreReport, Selection, Settings, Site, Spike, StoredModel,
    SurroundingsReport, SweepReport, TaskFile, TextRef, Verdict, WeightCoord, WeightEdit, WeightQuantisation,
};

/// Every kind of request; some occur again with another source of the model, or with other work for a helper.
pub fn requests() -> Vec<Request> {
    let mut all: Vec<Request> =
        std::iter::successors(Some(request_after(None)), |last| Some(request_after(last.as_ref()))).map_while(|request| request).collect();
    all.push(Request::Load {
        id: "folder".into(),
        source: ModelSource::Folder { url: "https://room/é".into() },
        backend: Default::default(),
        bos: true,
    });
    all.push(Request::Forget { key: None });
    all.extend(help::requests());
    all
}

/// Every kind of event.
pub fn events() -> Vec<Event> {
    std::iter::successors(Some(event_after(None)), |last| Some(event_after(last.as_ref()))).map_while(|event| event).collect()
}

/// The sample that follows this one; `None` after the last.
fn request_after(last: Option<&Request>) -> Option<Request> {
    use super::BackendChoice::{Auto, Cpu};
    Some(match last {
        None => Request::Load { id: "a".into(), source: ModelSource::Files(vec![model_file()]), backend: Auto, bos: false },
        Some(Request::Load { .. }) => Request::Inspect { id: "b".into(), source: ModelSource::Hub(hub()), backend: Cpu },
        Some(Request::Inspect { .. }) => Request::Stored,
        Some(Request::Stored) => Request::Forget { key: Some("key/1".into()) },
        Some(Request::Forget { .. }) => Request::Scan { prompt: "“It was” a dark evening\n\u{1f319}".into() },
        Some(Request::Scan { .. }) => Request::Confirm { candidates: vec![AT], rows: vec![ROW], seed: MAX_SEED },
        Some(Request::Confirm { .. }) => Request::Apply { ablation: ablation() },
        Some(Request::Apply { .. }) => Request::UseText { name: "t".into(), text: "a\r\n\n\u{0}b".into(), max_tokens: 64 },
        Some(Request::UseText { .. }) => Request::UseBundledText,
        Some(Request::UseBundledText) => Request::UseTasks { tasks: vec![TaskFile { name: "arc_easy".into(), jsonl: "{}\n".into() }] },
        Some(Request::UseTasks { .. }) => Request::Experiment(experiment()),
        Some(Request::Experiment(_)) => Request::Evaluate,
        Some(Request::Evaluate) => Request::Generate { prompt: String::new(), sampling: sampling() },
        Some(Request::Generate { .. }) => Request::Verify { golden: model_file() },
        Some(Request::Verify { .. }) => Request::Measure,
        Some(Request::Measure) => Request::Score {
            text: Some(parse(r#"{"name":"n","text":"t"}"#)),
            sequences: 8,
            length: 128,
            super_weights: vec![AT],
            resume: true,
        },
        Some(Request::Score { .. }) => Request::Surround { rho: 0.01, eta: 0.1, support: Some(16), layer: None, redundancy: true },
        Some(Request::Surround { .. }) => Request::Sweep { prunings: picks().into_iter().map(pruning).collect() },
        Some(Request::Sweep { .. }) => parse(r#"{"delete":{"per_layer":4,"n_quantiles":2,"layer":1,"seed":7,"replacement":"mean"}}"#),
        Some(Request::Delete { .. }) => Request::Save(parse(r#"{"ablation":{},"cut":true,"folder":"é"}"#)),
        Some(Request::Save(_)) => Request::UseWorkers { workers: 2 },
        Some(Request::UseWorkers { .. }) => Request::Help(Help::Join { source: ModelSource::Files(vec![model_file()]) }),
        Some(Request::Help(_)) => Request::Stop,
        Some(Request::Stop) => return None,
    })
}

/// The sample that follows this one; `None` after the last.
fn event_after(last: Option<&Event>) -> Option<Event> {
    Some(match last {
        None => Event::Ready { protocol_version: super::PROTOCOL_VERSION, lock: Some("linchpin-engine-1".into()) },
        Some(Event::Ready { .. }) => Event::Progress(Progress {
            doing: Message::new("confirming").with("index", 3_usize).with("of", 7_usize),
            done: 0.5,
            total: 5e12,
            unit: "bytes".into(),
        }),
        Some(Event::Progress(_)) => Event::Inspected(inspection()),
        Some(Event::Inspected(_)) => Event::Loaded(info()),
        Some(Event::Loaded(_)) => Event::Stored { models: vec![stored()] },
        Some(Event::Stored { .. }) => Event::Scanned(scan()),
        Some(Event::Scanned(_)) => Event::Arm { arm: arms().remove(0) },
        Some(Event::Arm { .. }) => Event::Confirmed(confirmation()),
        Some(Event::Confirmed(_)) => Event::Applied { ablation: ablation(), took_ms: 0.25, pruned: Some(pruned()) },
        Some(Event::Applied { .. }) => Event::Evaluated { pane: Pane::Intact, evaluation: evaluation() },
        Some(Event::Evaluated { .. }) => Event::Token { pane: Pane::Ablated, index: 3, token_id: u32::MAX, text: " é".into() },
        Some(Event::Token { .. }) => Event::PaneDone { pane: Pane::Ablated, generated: generated() },
        Some(Event::PaneDone { .. }) => Event::Generated(run()),
        Some(Event::Generated(_)) => Event::Verified { compared: vec![TensorError { name: "logits".into(), relative: 1e-6 }] },
        Some(Event::Verified { .. }) => Event::Measured { figures: vec![figure()] },
        Some(Event::Measured { .. }) => {
            Event::ScoreProgress(ScoreProgress { calibration: calibration(), concentration: scores().concentration })
        }
        Some(Event::ScoreProgress(_)) => Event::Scored(scores()),
        Some(Event::Scored(_)) => Event::Surrounded(surroundings()),
        Some(Event::Surrounded(_)) => Event::SweepPoint(sweep_point()),
        Some(Event::SweepPoint(_)) => Event::Swept(SweepReport { model: model(), intact: evaluation(), points: vec![sweep_point()] }),
        Some(Event::Swept(_)) => Event::Deletion(deletion()),
        Some(Event::Deletion(_)) => Event::Deleted(deletions()),
        Some(Event::Deleted(_)) => Event::Outcome(outcome()),
        Some(Event::Outcome(_)) => Event::OutcomeDelta(outcome().delta_to(&later_outcome())),
        Some(Event::OutcomeDelta(_)) => Event::Saved(parse(SAVED)),
        Some(Event::Saved(_)) => Event::Sharing(help::sharing()),
        Some(Event::Sharing(_)) => Event::Helped(help::sums()),
        Some(Event::Helped(_)) => Event::Done,
        Some(Event::Done) => Event::Stopped,
        Some(Event::Stopped) => Event::Failed(failure()),
        Some(Event::Failed(_)) => return None,
    })
}

const AT: WeightCoord = WeightCoord::new(2, 12, 86);
const ROW: RowCoord = RowCoord::new(2, 12);
/// The largest seed that crosses the boundary exactly.
const MAX_SEED: u64 = (1 << 53) - 1;

/// A sample from its JSON.
#[expect(clippy::expect_used, reason = "the text is a literal of this file")]
fn parse<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).expect("a sample's JSON")
}

const SAVED: &str = r#"{"base_revision":"b","origin":"o","ablation":{},"cut":{"before":64,"after":48,"padded":[0,16]},"revision":"r",
    "n_untouched":3,"tensors":[{"name":"t","shape":[2,3],"n_changed":5,"n_rounded_back":1}],
    "files":[{"name":"a.json","size":5000000000,"sha256":"s","state":"changed","url":"blob:x"}]}"#;

fn model() -> ModelRef {
    ModelRef { added_bos: Some(1), ..ModelRef::new("m", "0123456789abcdef") }
}

fn backend() -> BackendInfo {
    BackendInfo { kind: "cpu".into(), name: "n".into(), reason: "r".into() }
}

fn model_file() -> ModelFile {
    ModelFile { name: "config.json".into(), url: "blob:x".into() }
}

fn hub() -> HubSource {
    let known = vec![KnownFile { name: "model.safetensors".into(), size: Some(5_000_000_000), sha256: Some("s".into()) }];
    HubSource { endpoint: "https://hub".into(), repo: "o/n".into(), revision: "main".into(), token: Some("t".into()), known }
}

fn sampling() -> Sampling {
    Sampling { temperature: 0.7, top_k: 40, top_p: 0.95, seed: MAX_SEED, max_new_tokens: 80 }
}

fn picks() -> Vec<Pick> {
    let ranked = Ranking::ALL.into_iter().map(|by| Pick::Lowest { by, share: 0.1 });
    [Pick::Core, Pick::Halo, Pick::Matched, Pick::Random, Pick::Highest { by: Ranking::Wanda, share: 0.0025 }]
        .into_iter()
        .chain(ranked)
        .collect()
}

fn pruning(pick: Pick) -> Pruning {
    Pruning { selection: Selection { pick, rho: 0.01, eta: 0.1, support: None, layer: Some(2), seed: 7 }, replacement: Replacement::Mean }
}

/// Every unit of the weights and both actions.
fn ablation() -> Ablation {
    let (layer, row, col, channel) = (3, 9, 1, 5);
    let targets = [
        EditTarget::from(AT),
        EditTarget::row(layer, row),
        EditTarget::column(layer, col),
        EditTarget::channel(layer, channel),
        EditTarget::channel_mean(layer, channel),
    ];
    let weight_edits = targets.into_iter().zip([0.1, 0.0, -2.5, 1.0, 3.0]).map(|(target, scale)| WeightEdit { target, scale }).collect();
    let sites = [Site::ResidPre, Site::DownProjInput, Site::DownProjOutput, Site::ResidPost];
    let actions = [Action::Set(-2.5), Action::Scale(0.1), Action::Set(0.0), Action::Scale(1.0)];
    let acts = sites.into_iter().zip(actions).map(|(site, action)| Intervention { site, layer, token: 0, channel, action });
    Ablation { weight_edits, interventions: acts.collect(), pruning: Some(pruning(Pick::Core)) }
}

fn calibration() -> Calibration {
    parse(r#"{"convention":"c","text_digest":"d","length":4,"n_sequences":2,"n_requested":3,"n_tokens":8,"loss_nats":3.25}"#)
}

fn evaluation() -> Evaluation {
    Evaluation { loss_nats: 1.1, perplexity: Evaluation::OVERFLOW, stopword_mass: 0.25, n_tokens: 9, convention: "c".into() }
}

fn pruned() -> Pruned {
    Pruned { pruning: pruning(Pick::Halo), calibration: calibration(), by_layer: vec![1, 0], n_channels: 1, digest: "d".into() }
}

fn inspection() -> Inspection {
    parse(
        r#"{"id":"a","architecture":"b","num_parameters":70000000000,"sizes":{"num_hidden_layers":3,"hidden_size":4,
        "intermediate_size":[5,6,7],"max_position_embeddings":8},"file_bytes":2,"to_fetch":3,"weight_bytes":4,"fits":false,
        "backend":{"kind":"cpu","name":"n","reason":"r"},"advice":"d","checks":[{"kind":"buffer","what":"w","needed":5,"limit":6,"ok":false},
        {"kind":"memory","what":"w","needed":5,"ok":true},{"kind":"storage","what":"w","needed":5,"limit":null,"ok":true}]}"#,
    )
}

const PROVENANCE: &str =
    r#"{"origin":"o","files":[{"name":"n","size":5000000000,"sha256":"s","verified":true}],"stored":true,"notes":["n"]}"#;

fn info() -> ModelInfo {
    ModelInfo {
        model: model(),
        architecture: "Llama".into(),
        num_parameters: 13_000_000,
        num_hidden_layers: 20,
        hidden_size: 255,
        intermediate_size: 1024.into(),
        vocab_size: 49_152,
        max_position_embeddings: 512,
        weight_bytes: 26_000_000,
        backend: backend(),
        sampling: sampling(),
        left_out_bos: Some(1),
        provenance: parse(PROVENANCE),
    }
}

fn stored() -> StoredModel {
    parse(r#"{"key":"k","origin":"o","commit":"c","bytes":1,"total":2}"#)
}

fn scan() -> ScanReport {
    let spike = Spike { layer: 1, token: 2, token_text: "x".into(), channel: 3, value: -4.5, ratio: 5.1 };
    let candidate =
        Candidate { at: AT, weight: 0.1, input: 2.0, output: 3.0, token: 4, ratio: 5.0, share: 0.6, effect_nats: Some(1.5), iteration: 0 };
    ScanReport {
        model: model(),
        prompt: "p".into(),
        tokens: vec!["<s>".into()],
        inputs: vec![spike.clone()],
        outputs: vec![spike],
        candidates: vec![candidate],
        stopped: "s".into(),
        outputs_after: Vec::new(),
    }
}

fn arms() -> Vec<ConfirmArm> {
    let kinds = "candidate intact jointly random_scalar largest_weights channel channel_mean channel_rest row next_row";
    let arm = |kind: &str| ConfirmArm {
        kind: parse(&format!("{kind:?}")),
        label: "l".into(),
        at: (kind == "candidate").then_some(AT),
        n_zeroed: 1,
        loss_nats: 2.5,
        delta_nats: -0.1,
    };
    kinds.split(' ').map(arm).collect()
}

fn confirmation() -> ConfirmReport {
    ConfirmReport {
        model: model(),
        convention: "c".into(),
        n_tokens: 9,
        arms: arms(),
        verdicts: vec![Verdict { at: AT, confirmed: true, because: "b".into() }],
        rows: vec![parse(r#"{"at":{"layer":2,"row":12},"confirmed":false,"delta_nats":0.5,"control_nats":0.25}"#)],
    }
}

fn generated() -> Generated {
    parse(
        r#"{"token_ids":[0,4294967295],"text":"\u0000 é","repetition":0.1,"stopword_mass":0.2,"tokens_per_sec":839.5,"finish":"context"}"#,
    )
}

fn run() -> RunRecord {
    let setup = RunSetup { model: model(), prompt: "p".into(), sampling: sampling(), ablation: ablation() };
    let (intact, ablated) = (generated(), generated());
    RunRecord { setup, backend: backend(), intact, ablated, first_difference: Some(0), pruned: Some(pruned()), digest: "d".into() }
}

fn figure() -> Figure {
    Figure { name: "prefill".into(), value: None, unit: "ms".into(), of: "128 tokens".into(), missing: Some("no GPU".into()) }
}

fn scores() -> ScoreReport {
    parse(
        r#"{"model":{"id":"m","revision":"r"},"rhos":[0.01],"core_sizes":[4],"concentration":[{"layer":1,"shares":[0.5],"curve":[[0,0],[1,1]]}],
        "calibration":{"convention":"c","length":4,"n_sequences":2,"n_requested":3,"n_tokens":8,"loss_nats":3.25},
        "summary":[{"rho":0.01,"median":0.5,"smallest":0.25,"largest":0.75}],"supernodes":[{"layer":0,"channels":[3]}],
        "overlaps":[{"layer":0,"metric":"up_norm","jaccard":[0.5],"spearman":null}],
        "super_weights":[{"at":{"layer":2,"row":12,"col":86},"rank":1,"share":0.5}],
        "channels":[{"layer":0,"loss_proxy":[1],"mean_activation":[2],"activation_power":[3],"variance":[4],"peak_activation":[5],
        "curvature":[6],"taylor":[7],"down_norm":[8],"gate_norm":[9],"up_norm":[10],"wanda":[11]}]}"#,
    )
}

fn surroundings() -> SurroundingsReport {
    parse(
        r#"{"model":{"id":"m","revision":"r"},"rho":0.01,"eta":0.1,"n_support":16,
        "calibration":{"convention":"c","length":4,"n_sequences":2,"n_requested":3,"n_tokens":8,"loss_nats":3.25},
        "layers":[{"layer":1,"core":[1],"support":[2],"halo":[3],"connections":[0.5],"redundancy":[0.25],"protect":[],"plane":[[0.5,-0.5]]}]}"#,
    )
}

fn experiment() -> Experiment {
    let text = |name: &str| TextRef { name: name.into(), digest: "0123456789abcdef".into() };
    let settings = WeightQuantisation {
        text: OnText { text: Some(text("mine.txt")), block: 512, bos: true, n_blocks: Some(3) },
        tasks: OnTasks { tasks: vec![text("arc_easy")], limit: Some(50), item_seed: Some(MAX_SEED), log_samples: true },
        bits: vec![8, 4],
        block_sizes: vec![64, 0],
        clips: vec![9.5],
    };
    Experiment::new(Settings::WeightQuantisation(settings), vec![AT])
}

/// A later state of [`outcome`], with new rows and findings, and a changed head.
fn later_outcome() -> Outcome {
    let mut later = outcome();
    later.tables[0].push(["prune_sw".into(), 4.75_f64.into()]);
    later.tables.push(DataTable::new("tasks", "Tasks", &["task"]));
    later.findings.push("no_collapse".into());
    later.convention = Some("concat".into());
    Outcome { is_partial: false, ..later }
}

fn outcome() -> Outcome {
    let mut table = DataTable::new("loss", "Loss", &["arm", "loss (nats)"]);
    table.push(["intact".into(), 3.5_f64.into()]);
    table.push([Cell::Nothing, 1e30_f64.into()]);
    let mut plot = DataPlot::new(PlotKind::Heatmap, "t", "loss", "arm", "loss").split_by("arm");
    (plot.log_x, plot.only) = (true, Some(("arm".into(), "intact".into())));
    (plot.marks, plot.levels) = (vec![(0.5, "m".into())], vec![(1.0, "l".into())]);
    Outcome {
        experiment: experiment(),
        model: model(),
        backend: backend(),
        software: "s".into(),
        convention: Some(Message::new("concat").with("block", 2048_usize)),
        findings: vec![Message::new("collapse").with("threshold", 0.25_f64).with("arm", "prune_sw").with("none", Cell::Nothing)],
        headline: vec![Headline { name: "h".into(), value: 0.1 }, Headline { name: "not a number".into(), value: f64::NAN }],
        tables: vec![table],
        plots: vec![plot],
        is_partial: true,
    }
}

fn failure() -> Failure {
    Failure { cause: Some(Message::new("c").with("name", "n").with("got", 2.5_f64)), ..Failure::new(Problem::DeviceFailed, "d") }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Serialize;

    use super::*;

    /// The text of a message after a round trip through JSON, as debug text because NaN does not equal itself.
    fn through_json<T: Serialize + DeserializeOwned + Debug>(message: &T) -> String {
        format!("{:?}", serde_json::from_str::<T>(&serde_json::to_string(message).unwrap()).unwrap())
    }

    #[test]
    fn every_message_is_read_from_its_json() {
        for request in requests() {
            assert_eq!(through_json(&request), format!("{request:?}"));
        }
        for event in events() {
            assert_eq!(through_json(&event), format!("{event:?}"));
        }
    }

    #[test]
    fn samples_are_of_different_kinds() {
        let kinds = |names: Vec<String>| names.iter().collect::<std::collections::BTreeSet<_>>().len();
        let kind = |debug: String| debug.split([' ', '(']).next().unwrap_or_default().to_owned();
        // The last samples repeat kinds.
        assert_eq!(kinds(requests().iter().map(|r| kind(format!("{r:?}"))).collect()), requests().len() - 2 - help::requests().len());
        assert_eq!(kinds(events().iter().map(|e| kind(format!("{e:?}"))).collect()), events().len());
    }
}
