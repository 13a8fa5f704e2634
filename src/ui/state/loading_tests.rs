use super::*;
use crate::catalog::find_hub;
use crate::protocol::{Event, FailureKind};
use crate::share::ShareLink;
use crate::terms::{BackendInfo, ConfirmReport, ModelInfo, ModelRef, Provenance, RowCoord, RowVerdict, WeightCoord, is_critical};
use crate::ui::sections::keep::export;
use crate::ui::state::EngineStatus;
use crate::ui::state::entry::agrees;
use crate::ui::state::link::{LinkStage, LinkState};
use crate::ui::state::tests::{answer, failure, info, loaded, run};

const SMOL: &str = "smollm2-135m";
const TOKEN: &str = "hf_secret";

fn chosen(picked: &str) -> AppState {
    let mut state = loaded();
    state.choose(picked);
    state
}

fn source(state: &AppState) -> Source {
    state.choice.source(BackendChoice::Auto).unwrap()
}

fn hub_of(source: &Source) -> &HubSource {
    let ModelSource::Hub(hub) = &source.from else { panic!("{source:?}") };
    hub
}

/// The engine's description of a Hub model that it has loaded.
fn info_of(id: &str) -> ModelInfo {
    let HubModel { shape, weights, .. } = find_hub(id).unwrap();
    let revision = weights.map_or("89abcdef01234567", |file| &file.sha256[..16]);
    ModelInfo {
        model: ModelRef { id: id.into(), revision: revision.into() },
        num_hidden_layers: shape.num_hidden_layers as usize,
        hidden_size: shape.hidden_size as usize,
        intermediate_size: (shape.intermediate_size as usize).into(),
        provenance: Provenance { origin: "huggingface.co/a/b".into(), ..Provenance::default() },
        ..info()
    }
}

/// A state whose engine has loaded a Hub model.
fn with_hub(id: &str) -> AppState {
    let mut state = chosen(id);
    state.choice.token = TOKEN.into();
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

/// A check as the engine makes it.
fn check(kind: FitKind, needed: u64, limit: Option<u64>) -> FitCheck {
    FitCheck { kind, what: "w".into(), needed, limit, ok: limit.is_none_or(|limit| needed <= limit) }
}

fn inspection(id: &str, fits: bool, checks: Vec<FitCheck>) -> Inspection {
    Inspection {
        id: id.into(),
        architecture: "LlamaForCausalLM".into(),
        num_parameters: 1_711_376_384,
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
fn a_hub_model_is_asked_for_at_its_pinned_commit_with_what_is_known() {
    let state = chosen(SMOL);
    let source = source(&state);
    let (hub, model) = (hub_of(&source), find_hub(SMOL).unwrap());
    assert_eq!((source.id.as_str(), source.title.as_str(), hub.endpoint.as_str(), hub.repo.as_str()), (SMOL, model.title, HUB, model.repo));
    assert_eq!((hub.revision.as_str(), hub.token.as_deref()), (model.revision, None));
    assert_eq!((hub.known[0].size, hub.known[0].sha256.as_deref()), (Some(269_060_552), model.weights.map(|file| file.sha256)));
    // The catalogue has no digests for this model.
    let untold = HubModel { weights: None, ..*model };
    let ModelSource::Hub(hub) = hub_source(&untold, HUB, None) else { panic!() };
    assert_eq!((hub.revision.as_str(), hub.known.len()), (model.revision, 0));
}

#[test]
fn a_mirror_serves_the_catalogues_models_and_a_token_is_for_one_server() {
    let mut state = chosen(SMOL);
    state.choice.token = format!(" {TOKEN} ");
    assert_eq!(hub_of(&source(&state)).token.as_deref(), Some(TOKEN));
    state.choice.set_endpoint(format!("{HUB}/"));
    assert_eq!(hub_of(&source(&state)).token.as_deref(), Some(TOKEN), "the same server");
    state.choice.set_endpoint("http://localhost:8080/".into());
    assert_eq!((hub_of(&source(&state)).endpoint.as_str(), hub_of(&source(&state)).token.as_deref()), ("http://localhost:8080", None));
    assert_eq!(origin(&source(&state).from).as_deref(), Some("localhost:8080/HuggingFaceTB/SmolLM2-135M"));
    state.choice.set_endpoint("  ".into());
    assert_eq!(hub_of(&source(&state)).endpoint, HUB);
}

#[test]
fn any_repository_and_any_folder_can_be_named() {
    let mut state = chosen(REPO);
    assert_eq!(state.choice.source(BackendChoice::Auto), None, "nothing was typed");
    state.edit_choice(|choice| choice.repo = "https://huggingface.co/Somebody/gpt2/".into());
    let named = source(&state);
    // Not the catalogue's model of that name.
    assert_eq!(
        (named.id.as_str(), named.title.as_str(), hub_of(&named).repo.as_str()),
        ("somebody-gpt2", "Somebody/gpt2", "Somebody/gpt2")
    );
    assert_eq!(hub_of(&named).revision, MAIN);
    state.edit_choice(|choice| (choice.repo, choice.revision) = ("openai-community/GPT2".into(), "step1000".into()));
    // The catalogue knows nothing of revisions other than the pinned one.
    assert_eq!((source(&state).id.as_str(), hub_of(&source(&state)).revision.as_str()), ("openai-community-gpt2-step1000", "step1000"));
    assert!(hub_of(&source(&state)).known.is_empty() && state.choice.known_repo().is_none());
    let pin = find_hub("gpt2").unwrap().revision;
    for revision in ["", MAIN, pin] {
        state.edit_choice(|choice| choice.revision = revision.into());
        let (named, catalogued) = (source(&state), state.choice.source_of(Entry::find("gpt2").unwrap(), BackendChoice::Auto));
        assert_eq!((named.id.as_str(), &named.from), ("gpt2", &catalogued.from), "{revision}");
        assert_eq!((hub_of(&named).revision.as_str(), hub_of(&named).known.len()), (pin, 1));
    }
    state.edit_choice(|choice| choice.revision = "0123456789abcdef0123".into());
    assert_eq!(source(&state).id, "openai-community-gpt2-0123456789ab");
    state.choose(FOLDER);
    assert_eq!(state.choice.source(BackendChoice::Auto), None);
    state.edit_choice(|choice| choice.folder = "http://10.0.0.2/models/Tiny/".into());
    let named = source(&state);
    assert_eq!((named.id.as_str(), named.from), ("tiny", ModelSource::Folder { url: "http://10.0.0.2/models/Tiny".into() }));
}

#[test]
fn the_button_says_what_it_takes() {
    let mut state = AppState { stored: Some(Vec::new()), ..loaded() };
    assert_eq!(state.load_label(), "Load");
    state.choose(SMOL);
    assert_eq!(state.load_label(), "Download and load, 269 MB");
    state.stored = Some(vec![stored(0, 269_060_552)]);
    assert_eq!(state.load_label(), "Download and load, 269 MB");
    // The bytes that an inspection leaves behind do not count as a download.
    state.stored = Some(vec![stored(40_000, 269_060_552)]);
    assert_eq!(state.load_label(), "Download and load, 269 MB");
    state.stored = Some(vec![stored(200_000_000, 271_000_000)]);
    assert_eq!(state.load_label(), "Go on, 71.0 MB");
    // A configuration alone is not the model.
    state.stored = Some(vec![stored(2_000_000, 2_000_000)]);
    assert_eq!(state.load_label(), "Go on, 267 MB");
    state.stored = Some(vec![stored(271_000_000, 271_000_000)]);
    assert_eq!(state.load_label(), "Load what is stored here");
    // A model of another commit or from another server does not count.
    state.stored = Some(vec![StoredModel { commit: Some("0".repeat(40)), ..stored(271_000_000, 271_000_000) }]);
    assert_eq!(state.load_label(), "Download and load, 269 MB");
    state.stored = Some(vec![StoredModel { origin: "mirror/HuggingFaceTB/SmolLM2-135M".into(), ..stored(271_000_000, 271_000_000) }]);
    assert_eq!(state.load_label(), "Download and load, 269 MB");
    // The size of a repository that the catalogue does not know comes from an inspection only.
    state.choose(REPO);
    state.edit_choice(|choice| choice.repo = "a/b".into());
    assert_eq!(state.load_label(), "Download and load");
    let named = source(&state);
    state.inspect(named);
    state.next_message();
    answer(&mut state, Event::Inspected(inspection("a-b", true, Vec::new())));
    assert_eq!(state.load_label(), "Download and load, 3.42 GB");
    state.edit_choice(|choice| choice.repo = "a/c".into());
    assert_eq!(state.load_label(), "Download and load");
}

#[test]
fn what_an_inspection_found_is_of_the_model_that_was_asked_about() {
    let mut state = chosen("smollm2-1.7b");
    let named = source(&state);
    state.inspect(named.clone());
    assert!(state.is_live(), "the model that is there can still be used");
    assert!(matches!(state.next_message().unwrap().request, Request::Stored));
    answer(&mut state, Event::Stored { models: Vec::new() });
    answer(&mut state, Event::Done);
    assert!(matches!(state.next_message().unwrap().request, Request::Inspect { .. }));
    answer(&mut state, Event::Inspected(inspection("smollm2-1.7b", false, Vec::new())));
    let fit = state.fit.clone().unwrap();
    assert_eq!((fit.title.as_str(), fit.of, fit.inspection.fits), ("SmolLM2 1.7B", named.from, false));
    answer(&mut state, Event::Done);
    assert_eq!(state.next_message().unwrap().request, Request::Stored);
    state.choose(SMOL);
    assert_eq!(state.fit, None);
}

#[test]
fn that_a_model_of_the_page_fits_is_no_news() {
    let mut state = loaded();
    let load = |state: &mut AppState, fits| {
        state.load(crate::ui::state::tests::source("linchpin-13m"));
        state.next_message();
        answer(state, Event::Inspected(inspection("linchpin-13m", fits, Vec::new())));
        let fit = state.fit.is_some();
        answer(state, Event::Stopped);
        assert_eq!(state.next_message(), None, "nothing of it is stored, so nobody looks");
        fit
    };
    assert!(!load(&mut state, true));
    assert!(load(&mut state, false));
}

#[test]
fn models_that_would_fit_are_the_largest_that_pass_every_check() {
    let names = |checks| that_fit(&inspection("smollm2-1.7b", false, checks)).iter().map(|model| model.id).collect::<Vec<_>>();
    let memory = |limit| check(FitKind::Memory, 3_500_000_000, Some(limit));
    let matrix = |limit| check(FitKind::Buffer, 201_326_592, Some(limit));
    assert_eq!(names(vec![memory(3_000_000_000)]), ["llama-3.2-1b", "tinyllama-1.1b-chat", "qwen3-0.6b-base"]);
    // OLMo 1B is of f32: 5 GB, though it has fewer parameters than SmolLM2 1.7B.
    assert!(!names(vec![memory(3_400_000_000)]).contains(&"olmo-1b-0724"));
    // The embeddings of Llama, of Qwen and of Gemma are larger than 256 MiB.
    assert_eq!(names(vec![memory(3_000_000_000), matrix(268_435_456)]), ["tinyllama-1.1b-chat", "pythia-410m", "smollm2-360m"]);
    assert_eq!(names(vec![memory(1_000_000)]), [""; 0]);
    // Too little storage does not rule out a model, and a check without a limit passes.
    assert_eq!(names(vec![check(FitKind::Storage, 3_422_777_952, Some(1000)), check(FitKind::Memory, 1, None)]).len(), 3);
}

#[test]
fn what_nobody_tells_is_not_called_enough() {
    let (enough_of, short_of) = (|kind| check(kind, 1, Some(2)), |kind| check(kind, 2, Some(1)));
    let unknown = check(FitKind::Memory, 1, None);
    let verdict = |fits, checks: &[FitCheck]| {
        let named = source(&chosen(SMOL));
        Fit { title: named.title, of: named.from, inspection: inspection(SMOL, fits, checks.to_vec()) }.verdict()
    };
    assert_eq!((enough(&unknown, true), enough(&enough_of(FitKind::Memory), true)), ("not known", "yes"));
    assert!(verdict(true, &[enough_of(FitKind::Buffer), unknown]).contains("nothing known speaks against it"));
    assert_eq!(verdict(true, &[enough_of(FitKind::Memory)]), "fits.");
    // A download that is not kept still runs, if the rest does.
    let storage = short_of(FitKind::Storage);
    assert_eq!((enough(&storage, true), verdict(true, &[enough_of(FitKind::Memory), storage.clone()])), ("no, but it runs", "fits."));
    assert_eq!((enough(&storage, false), enough(&short_of(FitKind::Buffer), false)), ("no", "no"));
    assert_eq!(verdict(false, &[short_of(FitKind::Buffer), check(FitKind::Memory, 1, None)]), "does not fit.");
}

#[test]
fn what_is_stored_is_asked_for_after_every_download_however_it_ends() {
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
        assert_eq!(state.stored, Some(models));
        assert!(state.load_label().starts_with("Go on, "), "{}", state.load_label());
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
    let entry = state.entry().unwrap();
    let at = |layer, row, col| WeightCoord::new(layer, row, col);
    let published = [at(1, 1764, 1710), at(1, 1764, 8041), at(2, 1764, 8041)];
    assert!(entry.published().copied().eq(published.map(EditTarget::from)));
    assert!(entry.fact_on(published[0].into()).unwrap().known.contains("13.7"));
    assert_eq!(entry.fact_on(at(0, 0, 0).into()), None);
    let seed = state.sampling.seed;
    state.confirm_published();
    assert_eq!(state.next_message().unwrap().request, Request::Stored);
    answer(&mut state, Event::Done);
    assert_eq!(state.next_message().unwrap().request, Request::Confirm { candidates: published.to_vec(), rows: Vec::new(), seed });
    // Where rows are published but no scalar, whole rows are pulled.
    let mut state = with_hub(SMOL);
    state.confirm_published();
    state.next_message();
    answer(&mut state, Event::Done);
    let rows = vec![RowCoord::new(11, 507)];
    assert_eq!(state.next_message().unwrap().request, Request::Confirm { candidates: Vec::new(), rows, seed });
    assert_eq!(Entry::find("linchpin-13m").unwrap().suggestions().len(), 3);
}

#[test]
fn a_finding_is_held_against_what_came_out_here() {
    let row = |delta_nats, control_nats| {
        let at = RowCoord::new(11, 507);
        let rows = vec![RowVerdict { at, confirmed: is_critical(delta_nats, control_nats), delta_nats, control_nats }];
        let convention = "c".to_string();
        ConfirmReport { model: info_of(SMOL).model, convention, n_tokens: 1, arms: Vec::new(), verdicts: Vec::new(), rows }
    };
    let smol = Entry::find(SMOL).unwrap().fact_on(EditTarget::row(11, 507)).unwrap();
    assert_eq!(
        [agrees(smol, &row(10.3, 0.02)), agrees(smol, &row(0.1, 0.02)), agrees(smol, &row(10.3, 2.0))],
        [Some(true), Some(false), Some(false)]
    );
    // Another model's row was not pulled.
    let qwen = Entry::find("qwen2.5-0.5b").unwrap().fact_on(EditTarget::row(21, 62)).unwrap();
    assert_eq!(agrees(qwen, &row(10.3, 0.02)), None);
}

#[test]
fn another_model_of_the_same_name_is_not_the_catalogues() {
    let mut state = with_hub(SMOL);
    assert_eq!(state.entry().map(Entry::id), Some(SMOL));
    if let Some(info) = &mut state.info {
        info.hidden_size += 64;
    }
    assert_eq!(state.entry(), None);
}

#[test]
fn a_restart_loads_from_the_same_place() {
    let mut state = with_hub(SMOL);
    let before = state.source.clone().unwrap();
    state.choice.set_endpoint("http://elsewhere".into());
    state.engine_died("w", "y");
    state.engine_restarts();
    state.engine = EngineStatus::Ready;
    let Request::Load { source, .. } = state.next_message().unwrap().request else { panic!() };
    assert_eq!(source, before.from);
    assert_eq!(hub_of(&before).token.as_deref(), Some(TOKEN));
}

#[test]
fn a_token_is_in_no_export_and_no_link() {
    let mut state = with_hub(SMOL);
    let mut record = run(&[1, 2], &[1, 3]);
    record.setup.model = info_of(SMOL).model;
    state.run = Some(record.clone());
    assert!(serde_json::to_string(&source(&state).from).unwrap().contains(TOKEN), "it is what the engine gets");
    let exported = serde_json::to_string(&export(&state).unwrap()).unwrap();
    assert!(exported.contains(SMOL) && !exported.contains(TOKEN), "{exported}");
    let link = ShareLink::from_run(&record).unwrap();
    let text = format!("{link:?}");
    assert!(text.contains(SMOL) && !text.contains(TOKEN) && !text.contains("http"), "{text}");
}

#[test]
fn a_link_to_a_hub_model_downloads_only_when_asked_and_from_the_visitors_server() {
    let mut record = run(&[1, 2], &[1, 3]);
    record.setup.model = info_of(SMOL).model;
    let link = Box::new(ShareLink::from_run(&record).unwrap());
    let mut state = AppState::default();
    state.open_link(LinkState::Held { link, stage: LinkStage::Waiting });
    assert!(!state.queue.any(|_| true));
    assert_eq!(state.choice.picked, SMOL, "its card and its server are there to be seen");
    state.choice.endpoint = "http://class.local".into();
    assert!(!state.restore_link(), "it is not there, so it has to be loaded");
    let entry = Entry::find(SMOL).unwrap();
    assert_eq!(entry.download().as_deref(), Some("269 MB"));
    let named = state.choice.source_of(entry, BackendChoice::Auto);
    assert_eq!(hub_of(&named).endpoint, "http://class.local");
    state.load(named);
    state.engine = EngineStatus::Ready;
    state.next_message();
    answer(&mut state, Event::Loaded(info_of(SMOL)));
    assert!(matches!(&state.link, LinkState::Held { stage: LinkStage::Restored, .. }), "{:?}", state.link);
    assert_eq!(state.choice.picked, SMOL);
}

#[test]
fn a_link_on_other_weights_names_the_button_that_downloads_its_own() {
    let mut record = run(&[1, 2], &[1, 3]);
    record.setup.model = info_of(SMOL).model;
    let link = Box::new(ShareLink::from_run(&record).unwrap());
    let mut state = AppState { link: LinkState::Held { link, stage: LinkStage::Loading }, ..loaded() };
    state.load(crate::ui::state::tests::source("linchpin-13m"));
    state.next_message();
    answer(&mut state, Event::Loaded(info()));
    let LinkState::Held { stage: LinkStage::Mismatch(why), .. } = &state.link else { panic!("{:?}", state.link) };
    assert!(why.ends_with("Press “Download and restore, 269 MB” to load that one."), "{why}");
}
