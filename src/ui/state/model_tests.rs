use super::*;
use crate::catalog::find_hub;
use crate::share::ShareLink;
use crate::terms::{
    BackendInfo, ConfirmReport, EditTarget, Failure, FailureKind, FitCheck, FitKind, HubSource, ModelRef, Problem, Provenance, RowCoord,
    RowVerdict, Sizes, WeightCoord, is_critical,
};
use crate::ui::sections::keep::export;
use crate::ui::state::choice::REPO;
use crate::ui::state::entry::agrees;
use crate::ui::state::link::{LinkStage, LinkState};
use crate::ui::state::samples::{answer, failure, info, loaded, run};
use crate::ui::state::{AppState, EngineStatus};

pub(crate) const SMOL: &str = "smollm2-135m";
pub(crate) const TOKEN: &str = "hf_secret";

pub(crate) fn chosen(picked: &str) -> AppState {
    let mut state = loaded();
    state.choose(picked);
    state
}

pub(crate) fn source(state: &AppState) -> Source {
    state.model.choice.source(BackendChoice::Auto).unwrap()
}

pub(crate) fn hub_of(source: &Source) -> &HubSource {
    let ModelSource::Hub(hub) = &source.from else { panic!("{source:?}") };
    hub
}

/// The engine's description of a Hub model that it has loaded.
fn info_of(id: &str) -> ModelInfo {
    let HubModel { shape, weights, .. } = find_hub(id).unwrap();
    let revision = weights.map_or("89abcdef01234567", |file| &file.sha256[..16]);
    ModelInfo {
        model: ModelRef::new(id, revision),
        num_hidden_layers: shape.num_hidden_layers as usize,
        hidden_size: shape.hidden_size as usize,
        intermediate_size: (shape.intermediate_size as usize).into(),
        left_out_bos: None,
        provenance: Provenance { origin: "huggingface.co/a/b".into(), ..Provenance::default() },
        ..info()
    }
}

/// A state whose engine has loaded a Hub model.
fn with_hub(id: &str) -> AppState {
    let mut state = chosen(id);
    state.model.choice.token = TOKEN.into();
    let source = source(&state);
    state.load(source);
    state.next_message();
    answer(&mut state, Event::Loaded(info_of(id)));
    answer(&mut state, Event::Done);
    state
}

fn stored(bytes: u64, total: u64) -> StoredModel {
    StoredModel {
        key: "k".into(),
        origin: "huggingface.co/HuggingFaceTB/SmolLM2-135M".into(),
        commit: find_hub(SMOL).map(|model| model.revision.into()),
        bytes,
        total,
    }
}

/// A check in the engine's form.
pub(crate) fn check(kind: FitKind, needed: u64, limit: Option<u64>) -> FitCheck {
    FitCheck { kind, what: "w".into(), needed, limit, ok: limit.is_none_or(|limit| needed <= limit) }
}

pub(crate) fn inspection(id: &str, fits: bool, checks: Vec<FitCheck>) -> Inspection {
    Inspection {
        id: id.into(),
        architecture: "LlamaForCausalLM".into(),
        num_parameters: 1_711_376_384,
        sizes: Sizes::LARGEST,
        file_bytes: 3_422_777_952,
        to_fetch: 3_422_777_952,
        weight_bytes: 3_422_752_768,
        backend: BackendInfo { kind: "webgpu".into(), name: "a".into(), reason: "b".into() },
        fits,
        checks,
        advice: "c".into(),
    }
}

#[test]
fn load_label_names_the_bytes_to_fetch() {
    let mut state = loaded();
    state.model.stored = Some(Vec::new());
    assert_eq!(state.model.load_label(), "Load");
    state.choose(SMOL);
    assert_eq!(state.model.load_label(), "Download and load, 269 MB");
    state.model.stored = Some(vec![stored(0, 269_060_552)]);
    assert_eq!(state.model.load_label(), "Download and load, 269 MB");
    // The bytes stored by an inspection do not count as a download.
    state.model.stored = Some(vec![stored(40_000, 269_060_552)]);
    assert_eq!(state.model.load_label(), "Download and load, 269 MB");
    state.model.stored = Some(vec![stored(200_000_000, 271_000_000)]);
    assert_eq!(state.model.load_label(), "Go on, 71.0 MB");
    // A configuration alone is not a model.
    state.model.stored = Some(vec![stored(2_000_000, 2_000_000)]);
    assert_eq!(state.model.load_label(), "Go on, 267 MB");
    state.model.stored = Some(vec![stored(271_000_000, 271_000_000)]);
    assert_eq!(state.model.load_label(), "Load from storage");
    // Models of another commit or from another server do not count.
    state.model.stored = Some(vec![StoredModel { commit: Some("0".repeat(40)), ..stored(271_000_000, 271_000_000) }]);
    assert_eq!(state.model.load_label(), "Download and load, 269 MB");
    state.model.stored = Some(vec![StoredModel { origin: "mirror/HuggingFaceTB/SmolLM2-135M".into(), ..stored(271_000_000, 271_000_000) }]);
    assert_eq!(state.model.load_label(), "Download and load, 269 MB");
    // The size of a repository outside the catalogue comes from an inspection only.
    state.choose(REPO);
    state.model.edit_choice(|choice| choice.repo = "a/b".into());
    assert_eq!(state.model.load_label(), "Download and load");
    let named = source(&state);
    state.inspect(named);
    state.next_message();
    answer(&mut state, Event::Inspected(inspection("a-b", true, Vec::new())));
    assert_eq!(state.model.load_label(), "Download and load, 3.42 GB");
    state.model.edit_choice(|choice| choice.repo = "a/c".into());
    assert_eq!(state.model.load_label(), "Download and load");
}

#[test]
pub(crate) fn inspection_is_of_the_model_that_was_asked_about() {
    let mut state = chosen("smollm2-1.7b");
    let named = source(&state);
    state.inspect(named.clone());
    assert!(state.is_live(), "the model that is there can still be used");
    assert!(matches!(state.next_message().unwrap().request, Request::Stored));
    answer(&mut state, Event::Stored { models: Vec::new() });
    answer(&mut state, Event::Done);
    assert!(matches!(state.next_message().unwrap().request, Request::Inspect { .. }));
    answer(&mut state, Event::Inspected(inspection("smollm2-1.7b", false, Vec::new())));
    let fit = state.model.fit.clone().unwrap();
    assert_eq!((fit.title.as_str(), fit.of, fit.inspection.fits), ("SmolLM2 1.7B", named.from, false));
    answer(&mut state, Event::Done);
    assert_eq!(state.next_message().unwrap().request, Request::Stored);
    state.choose(SMOL);
    assert_eq!(state.model.fit, None);
}

#[test]
fn bundled_model_that_fits_is_no_news() {
    let mut state = loaded();
    let load = |state: &mut AppState, fits| {
        state.load(crate::ui::state::samples::source("linchpin-13m"));
        state.next_message();
        answer(state, Event::Inspected(inspection("linchpin-13m", fits, Vec::new())));
        let fit = state.model.fit.is_some();
        answer(state, Event::Stopped);
        assert_eq!(state.next_message(), None, "nothing of it is stored, so nobody looks");
        fit
    };
    assert!(!load(&mut state, true));
    assert!(load(&mut state, false));
}

#[test]
fn storage_is_listed_after_every_download_however_it_ends() {
    for end in [Event::Done, Event::Stopped, Event::Failed(failure(FailureKind::Transport))] {
        let mut state = loaded();
        state.choose(SMOL);
        let named = source(&state);
        state.load(named);
        state.next_message();
        answer(&mut state, end.clone());
        assert_eq!(state.next_message().unwrap().request, Request::Stored, "after {end:?}");
        let models = vec![stored(100_000_000, 269_060_552)];
        answer(&mut state, Event::Stored { models: models.clone() });
        answer(&mut state, Event::Done);
        assert_eq!(state.next_message(), None, "and once");
        assert_eq!(state.model.stored, Some(models));
        assert!(state.model.load_label().starts_with("Go on, "), "{}", state.model.load_label());
    }
}

#[test]
fn choosing_starts_no_engine_and_looking_into_the_store_stops_nothing() {
    let mut state = AppState::default();
    state.choose(SMOL);
    assert_eq!((state.engine, state.queue.any(|_| true)), (EngineStatus::Off, false));
    let mut state = loaded();
    state.generate();
    state.next_message();
    state.choose(SMOL);
    state.queue.push(Request::Forget { key: None });
    assert_eq!(state.next_message(), None, "until the text is written");
    assert!(!state.queue.running.as_ref().unwrap().stopping);
}

#[test]
fn published_coordinates_are_pulled_like_candidates() {
    let mut state = with_hub("olmo-1b-0724");
    let entry = state.model.entry().unwrap();
    let at = |layer, row, col| WeightCoord::new(layer, row, col);
    let published = [at(1, 1764, 1710), at(1, 1764, 8041), at(2, 1764, 8041)];
    assert!(entry.published().copied().eq(published.map(EditTarget::from)));
    assert!(entry.fact_on(published[0].into()).unwrap().known.contains("39,699"));
    assert_eq!(entry.fact_on(at(0, 0, 0).into()), None);
    let seed = state.panes.sampling.seed;
    state.confirm_published();
    assert_eq!(state.next_message().unwrap().request, Request::Stored);
    answer(&mut state, Event::Done);
    assert_eq!(state.next_message().unwrap().request, Request::Confirm { candidates: published.to_vec(), rows: Vec::new(), seed });
    // If only rows are published, whole rows are tested.
    let mut state = with_hub(SMOL);
    state.confirm_published();
    state.next_message();
    answer(&mut state, Event::Done);
    let rows = vec![RowCoord::new(11, 507)];
    assert_eq!(state.next_message().unwrap().request, Request::Confirm { candidates: Vec::new(), rows, seed });
    assert_eq!(Entry::find("linchpin-13m").unwrap().suggestions().len(), 3);
}

#[test]
fn published_finding_is_held_against_the_outcome_here() {
    let row = |delta_nats, control_nats| {
        let at = RowCoord::new(11, 507);
        let rows = vec![RowVerdict { at, confirmed: is_critical(delta_nats, control_nats), delta_nats, control_nats }];
        let convention = "passages".into();
        ConfirmReport { model: info_of(SMOL).model, convention, n_tokens: 1, arms: Vec::new(), verdicts: Vec::new(), rows }
    };
    let smol = Entry::find(SMOL).unwrap().fact_on(EditTarget::row(11, 507)).unwrap();
    assert_eq!(
        [agrees(smol, &row(10.3, 0.02)), agrees(smol, &row(0.1, 0.02)), agrees(smol, &row(10.3, 2.0))],
        [Some(true), Some(false), Some(false)]
    );
    // Another model's row was not tested.
    let qwen = Entry::find("qwen2.5-0.5b").unwrap().fact_on(EditTarget::row(21, 62)).unwrap();
    assert_eq!(agrees(qwen, &row(10.3, 0.02)), None);
}

#[test]
fn another_model_of_the_same_name_is_not_the_catalogues() {
    let mut state = with_hub(SMOL);
    assert_eq!(state.model.entry().map(Entry::id), Some(SMOL));
    if let Some(info) = &mut state.model.info {
        info.hidden_size += 64;
    }
    assert_eq!(state.model.entry(), None);
}

#[test]
fn restart_loads_from_the_same_place() {
    let mut state = with_hub(SMOL);
    let before = state.model.source.clone().unwrap();
    state.model.choice.set_endpoint("http://elsewhere".into());
    state.engine_died(Failure::new(Problem::EngineStopped, "y"));
    state.engine_restarts();
    state.engine = EngineStatus::Ready;
    let Request::Load { source, .. } = state.next_message().unwrap().request else { panic!() };
    assert_eq!(source, before.from);
    assert_eq!(hub_of(&before).token.as_deref(), Some(TOKEN));
}

#[test]
fn token_is_in_no_export_and_no_link() {
    let mut state = with_hub(SMOL);
    let mut record = run(&[1, 2], &[1, 3]);
    record.setup.model = info_of(SMOL).model;
    state.panes.run = Some(record.clone());
    assert!(serde_json::to_string(&source(&state).from).unwrap().contains(TOKEN), "it is what the engine gets");
    let exported = serde_json::to_string(&export(&state).unwrap()).unwrap();
    assert!(exported.contains(SMOL) && !exported.contains(TOKEN), "{exported}");
    let link = ShareLink::from_run(&record).unwrap();
    let text = format!("{link:?}");
    assert!(text.contains(SMOL) && !text.contains(TOKEN) && !text.contains("http"), "{text}");
}

#[test]
fn link_to_a_hub_model_downloads_only_when_asked_and_from_the_visitors_server() {
    let mut record = run(&[1, 2], &[1, 3]);
    record.setup.model = info_of(SMOL).model;
    let link = Box::new(ShareLink::from_run(&record).unwrap());
    let mut state = AppState::default();
    state.open_link(LinkState::Held { link, stage: LinkStage::Waiting });
    assert!(!state.queue.any(|_| true));
    assert_eq!(state.model.choice.picked, SMOL, "its card and its server are there to be seen");
    state.model.choice.endpoint = "http://class.local".into();
    assert!(!state.restore_link(), "it is not there, so it has to be loaded");
    let entry = Entry::find(SMOL).unwrap();
    assert_eq!(entry.download().as_deref(), Some("269 MB"));
    let named = state.model.choice.source_of(entry, BackendChoice::Auto);
    assert_eq!(hub_of(&named).endpoint, "http://class.local");
    state.load(named);
    state.engine = EngineStatus::Ready;
    state.next_message();
    answer(&mut state, Event::Loaded(info_of(SMOL)));
    assert!(matches!(&state.link, LinkState::Held { stage: LinkStage::Restored, .. }), "{:?}", state.link);
    assert_eq!(state.model.choice.picked, SMOL);
}

#[test]
fn link_on_other_weights_names_the_button_that_downloads_its_own() {
    let mut record = run(&[1, 2], &[1, 3]);
    record.setup.model = info_of(SMOL).model;
    let link = Box::new(ShareLink::from_run(&record).unwrap());
    let mut state = loaded();
    state.link = LinkState::Held { link, stage: LinkStage::Loading };
    state.load(crate::ui::state::samples::source("linchpin-13m"));
    state.next_message();
    answer(&mut state, Event::Loaded(info()));
    let LinkState::Held { stage: LinkStage::Mismatch(why), .. } = &state.link else { panic!("{:?}", state.link) };
    assert!(why.ends_with("Press “Download and restore, 269 MB” to load that one."), "{why}");
}
