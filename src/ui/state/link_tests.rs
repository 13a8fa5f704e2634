use super::*;
use crate::terms::{EditTarget, Pane, WeightCoord};
use crate::ui::state::edits::Origin;
use crate::ui::state::experiments::Shared;
use crate::ui::state::experiments::tests::shared;
use crate::ui::state::samples::{answer, info, loaded, run, source, stopped};
use crate::ui::state::{AppState, Source};

const REVISION: &str = "0123456789abcdef";

fn link(ids: &[u32], revision: &str) -> Box<ShareLink> {
    let mut run = run(ids, ids);
    run.setup.model.revision = revision.into();
    run.setup.ablation = Ablation::zeroing([WeightCoord::new(2, 12, 86)]);
    Box::new(ShareLink::from_run(&run).unwrap())
}

/// A state that a link opened and whose reader pressed "Load and restore".
fn opened(link: Box<ShareLink>) -> AppState {
    let mut state = loaded();
    state.link = LinkState::Held { link, stage: LinkStage::Loading };
    answer(&mut state, Event::Loaded(info()));
    state
}

fn stage(state: &AppState) -> &LinkStage {
    match &state.link {
        LinkState::Held { stage, .. } => stage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn link_is_restored_and_recomputed_only_when_asked() {
    let mut state = opened(link(&[1, 2], "0123456789abcdef"));
    assert_eq!(*stage(&state), LinkStage::Restored);
    assert_eq!(state.edits.rows.len(), 1);
    assert!(!state.queue.any(|request| matches!(request, Request::Generate { .. })));
    state.recompute();
    assert!(state.queue.any(|request| matches!(request, Request::Generate { .. })));
    recomputed(&mut state, its(&[1, 2], &[1, 3]));
    assert_eq!(*stage(&state), said(Recomputed::Differs { pane: Pane::Ablated, index: 1 }));
}

#[test]
fn link_of_other_weights_restores_nothing() {
    let state = opened(link(&[1, 2], "ffffffffffffffff"));
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("other weights")));
    assert!(state.edits.rows.is_empty());
}

#[test]
fn row_of_a_link_never_has_the_key_of_an_earlier_row() {
    let mut state = loaded();
    state.edits.add(EditTarget::row(1, 1), 0.5, true, Origin::Hand, &info()).unwrap();
    let earlier = state.edits.rows[0].key;
    state.link = LinkState::Held { link: link(&[1], REVISION), stage: LinkStage::Waiting };
    assert!(state.restore_link());
    let restored = state.edits.rows[0].key;
    assert_ne!(restored, earlier, "the page would show the link's row with the name of the row before it");
    load(&mut state, own("another-folder", "aaaaaaaaaaaaaaaa"));
    state.edits.add(EditTarget::row(1, 1), 0.5, true, Origin::Hand, &info()).unwrap();
    assert!(![earlier, restored].contains(&state.edits.rows[0].key), "the same after another model");
}

#[test]
fn link_with_impossible_coordinates_restores_no_edit() {
    let mut hostile = link(&[1], "0123456789abcdef");
    hostile.setup.ablation = Ablation::zeroing([WeightCoord::new(900, 0, 0)]);
    let state = opened(hostile);
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("layer 900")));
    assert!(state.edits.rows.is_empty());
}

/// A verdict on the text alone.
fn said(text: Recomputed) -> LinkStage {
    LinkStage::Verdict { text, picked: None }
}

/// The run of the link that [`link`] makes.
fn its(intact: &[u32], ablated: &[u32]) -> RunRecord {
    let mut run = run(intact, ablated);
    run.setup = link(&[], REVISION).setup;
    run
}

/// Answers all waiting requests, with the link's run last.
fn recomputed(state: &mut AppState, run: RunRecord) {
    writes(state);
    answer(state, Event::Generated(run));
    answer(state, Event::Done);
}

/// Posts and answers waiting requests until the engine generates text.
fn writes(state: &mut AppState) {
    while let Some(message) = state.next_message() {
        match message.request {
            Request::Generate { .. } => return,
            Request::Apply { ablation } => answer(state, Event::Applied { ablation, took_ms: 1.0, pruned: None }),
            other => panic!("{other:?}"),
        }
        answer(state, Event::Done);
    }
}

/// A visitor's own model with a given id.
fn own(id: &str, revision: &str) -> ModelInfo {
    let mut info = info();
    (info.model.id, info.model.revision) = (id.into(), revision.into());
    info
}

fn load(state: &mut AppState, info: ModelInfo) {
    let source: Source = source(&info.model.id);
    state.load(source);
    assert!(matches!(state.next_message().unwrap().request, Request::Load { .. }));
    answer(state, Event::Loaded(info));
    answer(state, Event::Done);
}

#[test]
fn run_of_ones_own_model_is_restored_when_its_files_are_opened() {
    let mut shared = link(&[1, 2], "aaaaaaaaaaaaaaaa");
    shared.setup.model.id = "my-folder".into();
    let mut state = loaded();
    state.link = LinkState::Held { link: shared, stage: LinkStage::Waiting };
    load(&mut state, own("linchpin-11m-twin", "bbbbbbbbbbbbbbbb"));
    assert!(
        matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("“linchpin-11m-twin” is loaded. Open the files of “my-folder”"))
    );
    assert!(!state.holds_model_of_link() && !state.restore_link());
    load(&mut state, own("another-folder", "aaaaaaaaaaaaaaaa"));
    assert_eq!((stage(&state), state.edits.rows.len()), (&LinkStage::Restored, 1));
}

/// The next request, which must be a load; `true` if it asks for the BOS.
fn loads(state: &mut AppState) -> bool {
    match state.next_message().map(|message| message.request) {
        Some(Request::Load { bos, .. }) => bos,
        other => panic!("{other:?}"),
    }
}

#[test]
fn link_with_an_added_bos_loads_its_model_with_it_and_only_so_is_restored() {
    let with_bos = |mut info: ModelInfo| {
        info.model.added_bos = Some(1);
        info
    };
    let mut shared = link(&[1, 2], "aaaaaaaaaaaaaaaa");
    (shared.setup.model.id, shared.setup.model.added_bos) = ("my-folder".into(), Some(1));
    let own = || own("my-folder", "aaaaaaaaaaaaaaaa");
    let mut state = loaded();
    state.link = LinkState::Held { link: shared, stage: LinkStage::Waiting };
    // The visitor opens the files of the model, which are loaded once more, with the BOS.
    load(&mut state, own());
    assert_eq!((stage(&state), state.edits.rows.len()), (&LinkStage::Loading, 0));
    assert!(loads(&mut state));
    answer(&mut state, Event::Loaded(with_bos(own())));
    answer(&mut state, Event::Done);
    assert_eq!((stage(&state), state.edits.rows.len()), (&LinkStage::Restored, 1));
    // The BOS is taken back: the edits stay, and to recompute the link asks for it again.
    let without = state.model.with_other_bos().unwrap();
    assert!(!without.bos && state.model.source.as_ref().unwrap().bos);
    state.load(without);
    assert!(!loads(&mut state));
    answer(&mut state, Event::Loaded(ModelInfo { left_out_bos: Some(1), ..own() }));
    answer(&mut state, Event::Done);
    assert_eq!((stage(&state), state.edits.rows.len()), (&LinkStage::Restored, 1));
    assert!(state.model.with_other_bos().unwrap().bos);
    state.recompute();
    assert_eq!(stage(&state), &LinkStage::Loading);
    assert!(loads(&mut state));
    // A copy whose tokenizer puts its own beginning there has no BOS to add.
    answer(&mut state, Event::Loaded(own()));
    answer(&mut state, Event::Done);
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("token 1, the BOS, was put before every text")));
}

#[test]
fn results_are_dropped_and_edits_kept_when_the_bos_changes() {
    let mut state = loaded();
    crate::ui::state::samples::pull(&mut state);
    state.panes.run = Some(run(&[1], &[2]));
    let mut again = info();
    again.model.added_bos = Some(1);
    load(&mut state, again);
    assert!(state.panes.run.is_none(), "its text began otherwise");
    assert_eq!(state.edits.rows.len(), 1);
    assert_eq!(state.shared_verdict(), Default::default());
}

#[test]
fn link_to_a_bundled_model_waits_for_its_reader() {
    let mut state = loaded();
    state.link = LinkState::Held { link: link(&[1], REVISION), stage: LinkStage::Waiting };
    load(&mut state, info());
    assert_eq!((stage(&state), state.edits.rows.len()), (&LinkStage::Waiting, 0));
    assert!(state.restore_link(), "its model is here already");
    assert_eq!((stage(&state), state.edits.rows.len()), (&LinkStage::Restored, 1));
}

#[test]
fn recomputation_that_is_stopped_has_no_verdict() {
    let mut state = opened(link(&[1, 2], REVISION));
    state.recompute();
    writes(&mut state);
    state.stop();
    answer(&mut state, Event::Generated(stopped(its(&[1], &[1]))));
    answer(&mut state, Event::Done);
    assert_eq!(*stage(&state), LinkStage::Restored);
    state.recompute();
    recomputed(&mut state, its(&[1, 2], &[1, 2]));
    assert_eq!(*stage(&state), said(Recomputed::Same));
}

#[test]
fn edit_during_a_recomputation_ends_it_without_a_verdict() {
    let mut state = opened(link(&[1, 2], REVISION));
    state.panes.live = true;
    state.recompute();
    writes(&mut state);
    state.edits.add(EditTarget::row(1, 1), 0.5, true, Origin::Hand, &info()).unwrap();
    assert_eq!(state.edits_changed().unwrap().request, Request::Stop);
    answer(&mut state, Event::Generated(stopped(its(&[1], &[1]))));
    answer(&mut state, Event::Done);
    assert_eq!(*stage(&state), LinkStage::Restored);
    let mut other = its(&[1, 2], &[9, 9]);
    other.setup.ablation = state.edits.ablation();
    recomputed(&mut state, other);
    assert_eq!(*stage(&state), LinkStage::Restored, "text with other edits is not the link's");
}

#[test]
fn run_that_was_under_way_is_not_taken_for_the_links() {
    let mut state = opened(link(&[1, 2], REVISION));
    state.panes.prompt = "something else".into();
    state.generate();
    writes(&mut state);
    state.recompute();
    let mut other = its(&[7, 7, 7], &[7]);
    other.setup.prompt = "something else".into();
    answer(&mut state, Event::Generated(other));
    answer(&mut state, Event::Done);
    assert_eq!(*stage(&state), LinkStage::Recomputing);
    recomputed(&mut state, its(&[1, 2], &[1, 2]));
    assert_eq!(*stage(&state), said(Recomputed::Same));
}

#[test]
fn link_is_not_recomputed_on_another_model() {
    let mut state = opened(link(&[1, 2], REVISION));
    load(&mut state, own("linchpin-11m-twin", "bbbbbbbbbbbbbbbb"));
    state.recompute();
    let LinkStage::Mismatch(why) = stage(&state) else { panic!("{:?}", stage(&state)) };
    assert_eq!(
        why,
        "The link is about the model “linchpin-13m”, and “linchpin-11m-twin” is loaded. Press “Load and restore” to load that one."
    );
    assert!(!state.queue.any(|request| matches!(request, Request::Generate { .. })));
    load(&mut state, info());
    assert_eq!(*stage(&state), LinkStage::Restored);
}

#[test]
fn link_that_cannot_be_put_into_the_list_restores_nothing() {
    let mut twice = link(&[1], REVISION);
    let edit = twice.setup.ablation.weight_edits[0];
    twice.setup.ablation.weight_edits.push(edit);
    let mut state = opened(twice);
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("twice")));
    assert!(state.edits.rows.is_empty());
    state.recompute();
    assert!(matches!(stage(&state), LinkStage::Mismatch(_)));
    assert!(!state.queue.any(|request| matches!(request, Request::Generate { .. })));
}

#[test]
fn scale_of_one_in_a_link_does_not_stand_in_the_way_of_a_verdict() {
    let mut with_one = link(&[1], REVISION);
    with_one.setup.ablation.weight_edits.push(WeightEdit { target: EditTarget::row(0, 1), scale: 1.0 });
    let mut state = opened(with_one);
    state.recompute();
    recomputed(&mut state, its(&[1], &[1]));
    assert_eq!(*stage(&state), said(Recomputed::Same));
}

#[test]
fn link_of_other_weights_than_those_that_are_known_is_not_offered_for_download() {
    let known = Entry::find("smollm2-135m").and_then(Entry::hub).and_then(|model| model.weights).unwrap().sha256;
    let of = |revision: &str| {
        let mut shared = link(&[1], revision);
        shared.setup.model.id = "smollm2-135m".into();
        let mut state = loaded();
        state.open_link(LinkState::Held { link: shared, stage: LinkStage::Waiting });
        state
    };
    assert_eq!(*stage(&of(&known[..16])), LinkStage::Waiting);
    let mut state = of("aaaaaaaaaaaaaaaa");
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains(&known[..16])), "{:?}", stage(&state));
    // A loaded model is not offered for download either; the link's own weights restore it.
    load(&mut state, own("another-folder", "bbbbbbbbbbbbbbbb"));
    assert!(matches!(stage(&state), LinkStage::Mismatch(why) if why.contains("Open the files of “smollm2-135m”")));
    load(&mut state, own("another-folder", "aaaaaaaaaaaaaaaa"));
    assert_eq!(*stage(&state), LinkStage::Restored);
}

#[test]
fn address_holds_one_link_and_the_later_one_takes_the_place_of_the_earlier() {
    let run = || LinkState::Held { link: link(&[1], REVISION), stage: LinkStage::Waiting };
    for (run, experiment) in [
        (run(), Shared::Held(Box::new(shared()))),
        (run(), Shared::Refused("damaged".into())),
        (LinkState::Refused("damaged".into()), Shared::Held(Box::new(shared()))),
    ] {
        let mut state = loaded();
        state.open_link(run.clone());
        state.open_experiment(experiment.clone());
        assert_eq!((&state.link, &state.experiments.shared), (&LinkState::None, &experiment));
        state.open_link(run.clone());
        assert_eq!((&state.link, &state.experiments.shared), (&run, &Shared::None));
        assert_eq!(state.next_message(), None, "a link starts nothing");
    }
}
