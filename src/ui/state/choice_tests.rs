use super::*;
use crate::catalog::find_hub;
use crate::ui::state::entry::origin;
use crate::ui::state::model::tests::{SMOL, TOKEN, chosen, hub_of, source};

#[test]
fn hub_model_is_asked_for_at_its_pinned_commit_with_what_is_known() {
    let state = chosen(SMOL);
    let source = source(&state);
    let (hub, model) = (hub_of(&source), find_hub(SMOL).unwrap());
    assert_eq!((source.id.as_str(), source.title.as_str(), hub.endpoint.as_str(), hub.repo.as_str()), (SMOL, model.title, HUB, model.repo));
    assert_eq!((hub.revision.as_str(), hub.token.as_deref()), (model.revision, None));
    assert_eq!((hub.known[0].size, hub.known[0].sha256.as_deref()), (Some(269_060_552), model.weights.map(|file| file.sha256)));
    // A model without digests in the catalogue.
    let untold = HubModel { weights: None, ..*model };
    let ModelSource::Hub(hub) = hub_source(&untold, HUB, None) else { panic!() };
    assert_eq!((hub.revision.as_str(), hub.known.len()), (model.revision, 0));
}

#[test]
fn mirror_serves_the_catalogues_models_and_a_token_is_for_one_server() {
    let mut state = chosen(SMOL);
    state.model.choice.token = format!(" {TOKEN} ");
    assert_eq!(hub_of(&source(&state)).token.as_deref(), Some(TOKEN));
    state.model.choice.set_endpoint(format!("{HUB}/"));
    assert_eq!(hub_of(&source(&state)).token.as_deref(), Some(TOKEN), "the same server");
    state.model.choice.set_endpoint("http://localhost:8080/".into());
    assert_eq!((hub_of(&source(&state)).endpoint.as_str(), hub_of(&source(&state)).token.as_deref()), ("http://localhost:8080", None));
    assert_eq!(origin(&source(&state).from).as_deref(), Some("localhost:8080/HuggingFaceTB/SmolLM2-135M"));
    state.model.choice.set_endpoint("  ".into());
    assert_eq!(hub_of(&source(&state)).endpoint, HUB);
}

#[test]
fn any_repository_and_any_folder_can_be_named() {
    let mut state = chosen(REPO);
    assert_eq!(state.model.choice.source(BackendChoice::Auto), None, "nothing was typed");
    state.model.edit_choice(|choice| choice.repo = "https://huggingface.co/Somebody/gpt2/".into());
    let named = source(&state);
    // Another model than the catalogue's of that name.
    assert_eq!(
        (named.id.as_str(), named.title.as_str(), hub_of(&named).repo.as_str()),
        ("somebody-gpt2", "Somebody/gpt2", "Somebody/gpt2")
    );
    assert_eq!(hub_of(&named).revision, MAIN);
    state.model.edit_choice(|choice| (choice.repo, choice.revision) = ("openai-community/GPT2".into(), "step1000".into()));
    // The catalogue only knows the pinned revision.
    assert_eq!((source(&state).id.as_str(), hub_of(&source(&state)).revision.as_str()), ("openai-community-gpt2-step1000", "step1000"));
    assert!(hub_of(&source(&state)).known.is_empty() && state.model.choice.known_repo().is_none());
    let pin = find_hub("gpt2").unwrap().revision;
    for revision in ["", MAIN, pin] {
        state.model.edit_choice(|choice| choice.revision = revision.into());
        let (named, catalogued) = (source(&state), state.model.choice.source_of(Entry::find("gpt2").unwrap(), BackendChoice::Auto));
        assert_eq!((named.id.as_str(), &named.from), ("gpt2", &catalogued.from), "{revision}");
        assert_eq!((hub_of(&named).revision.as_str(), hub_of(&named).known.len()), (pin, 1));
    }
    state.model.edit_choice(|choice| choice.revision = "0123456789abcdef0123".into());
    assert_eq!(source(&state).id, "openai-community-gpt2-0123456789ab");
    state.choose(FOLDER);
    assert_eq!(state.model.choice.source(BackendChoice::Auto), None);
    state.model.edit_choice(|choice| choice.folder = "http://10.0.0.2/models/Tiny/".into());
    let named = source(&state);
    assert_eq!((named.id.as_str(), named.from), ("tiny", ModelSource::Folder { url: "http://10.0.0.2/models/Tiny".into() }));
}
