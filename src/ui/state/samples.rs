//! States, models, runs and failures for tests, and the engine's answers that lead to them.

use crate::protocol::{BackendChoice, Envelope, Event, EventEnvelope, PROTOCOL_VERSION, Request};
use crate::terms::{
    Ablation, BackendInfo, Candidate, EditTarget, Failure, FailureKind, Finish, Generated, ModelFile, ModelInfo, ModelRef, ModelSource,
    Pane, Problem, Provenance, RunRecord, RunSetup, Sampling, WeightCoord, outcome_digest,
};
use crate::ui::state::edits::Origin;
use crate::ui::state::{AppState, Source};

pub(crate) fn info() -> ModelInfo {
    ModelInfo {
        model: ModelRef::new("linchpin-13m", "0123456789abcdef"),
        architecture: "LlamaForCausalLM".into(),
        num_parameters: 13_180_000,
        num_hidden_layers: 20,
        hidden_size: 256,
        intermediate_size: 448.into(),
        vocab_size: 4096,
        max_position_embeddings: 512,
        weight_bytes: 26_000_000,
        backend: BackendInfo { kind: "cpu".into(), name: "flex".into(), reason: "no adapter".into() },
        sampling: Sampling::default(),
        left_out_bos: None,
        provenance: Provenance::default(),
    }
}

pub(crate) fn candidate(layer: usize, row: usize, col: usize) -> Candidate {
    Candidate {
        at: WeightCoord::new(layer, row, col),
        weight: 0.3,
        input: 80.0,
        output: 24.0,
        token: 0,
        ratio: 50.0,
        share: 1.0,
        effect_nats: Some(1.5),
        iteration: 0,
    }
}

pub(crate) fn generated(ids: &[u32]) -> Generated {
    Generated {
        token_ids: ids.to_vec(),
        text: String::new(),
        repetition: 0.0,
        stopword_mass: 0.3,
        tokens_per_sec: 9.0,
        finish: Finish::Length,
    }
}

pub(crate) fn run(intact: &[u32], ablated: &[u32]) -> RunRecord {
    RunRecord {
        setup: RunSetup { model: info().model, prompt: "p".into(), sampling: Sampling::default(), ablation: Ablation::default() },
        backend: info().backend,
        intact: generated(intact),
        ablated: generated(ablated),
        first_difference: None,
        pruned: None,
        digest: outcome_digest(intact, ablated),
    }
}

pub(crate) fn source(id: &str) -> Source {
    let files = vec![ModelFile { name: "config.json".into(), url: format!("models/{id}/config.json") }];
    Source { id: id.into(), title: format!("The {id}"), from: ModelSource::Files(files), backend: BackendChoice::Auto, bos: false }
}

pub(crate) fn failure(kind: FailureKind) -> Failure {
    let problem = match kind {
        FailureKind::Input => Problem::EmptyPrompt,
        FailureKind::Model => Problem::WeightsDamaged,
        FailureKind::Transport => Problem::DownloadCut,
        FailureKind::Device => Problem::DeviceFailed,
        FailureKind::Internal => Problem::EngineCrashed,
    };
    Failure::new(problem, "y")
}

/// Passes the engine's answer for the running request to the state.
pub(crate) fn answer(state: &mut AppState, event: Event) {
    let id = state.queue.running.as_ref().map(|running| running.id);
    state.apply(EventEnvelope { id, event });
}

/// Passes an event that answers no request to the state.
pub(crate) fn tell(state: &mut AppState, event: Event) {
    state.apply(EventEnvelope { id: None, event });
}

/// Reports that a fresh engine is ready.
pub(crate) fn starts(state: &mut AppState) {
    tell(state, Event::Ready { protocol_version: PROTOCOL_VERSION, lock: None });
}

/// A model with the same name as that of [`info`] and other weights.
pub(crate) fn other_info() -> ModelInfo {
    let mut other = info();
    other.model.revision = "ffffffffffffffff".into();
    other
}

/// A state whose engine has loaded the model of [`info`].
pub(crate) fn loaded() -> AppState {
    let mut state = AppState::default();
    state.load(source("linchpin-13m"));
    assert_eq!(state.next_message(), None, "the worker is not ready");
    starts(&mut state);
    assert!(matches!(state.next_message().unwrap().request, Request::Load { .. }));
    answer(&mut state, Event::Loaded(info()));
    answer(&mut state, Event::Done);
    state
}

/// The visitor removes a scalar.
pub(crate) fn pull(state: &mut AppState) -> Option<Envelope> {
    state.edits.add(EditTarget::scalar(2, 12, 86), 0.0, true, Origin::Hand, &info()).unwrap();
    state.edits_changed()
}

/// A state whose engine is generating, with one token in each pane.
pub(crate) fn writing() -> AppState {
    let mut state = loaded();
    state.panes.prompt = "Once".into();
    state.generate();
    state.next_message();
    token(&mut state, Pane::Intact, 0, 5);
    token(&mut state, Pane::Ablated, 0, 5);
    state
}

pub(crate) fn token(state: &mut AppState, pane: Pane, index: usize, token_id: u32) {
    answer(state, Event::Token { pane, index, token_id, text: format!(" {token_id}") });
}

/// The run when the visitor stops it.
pub(crate) fn stopped(mut run: RunRecord) -> RunRecord {
    (run.intact.finish, run.ablated.finish) = (Finish::Stopped, Finish::Stopped);
    run
}
