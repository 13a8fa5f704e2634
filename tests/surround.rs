//! The surroundings of cores: the report compared with selections that remove the same channels.

use linchpin::protocol::{Event, Request};
use linchpin::terms::{
    Ablation, CalibrationText, FailureKind, Pick, Pruning, Ranking, Replacement, Selection, SurroundingsReport, selection_digest,
};

use crate::support::{Session, bundled, export, fixture, linchpin, stopped_after};
use crate::the_event;

fn scored(dir: &std::path::Path) -> Session {
    let mut session = Session::with_model(dir);
    session.ask(Request::Score { text: None, sequences: 2, length: 48, super_weights: Vec::new(), resume: false }).unwrap();
    session
}

fn surround(session: &mut Session, layer: Option<usize>, redundancy: bool) -> SurroundingsReport {
    let events = session.ask(Request::Surround { rho: 0.02, eta: 0.1, support: None, layer, redundancy }).unwrap();
    let found = events.into_iter().find_map(|event| if let Event::Surrounded(report) = event { Some(report) } else { None });
    found.expect("a report")
}

fn digest_of(session: &mut Session, pick: Pick) -> String {
    let pruning = Pruning { selection: Selection { rho: 0.02, ..Selection::new(pick) }, replacement: Replacement::Zero };
    let events = session.ask(Request::Apply { ablation: Ablation::pruning(pruning) }).unwrap();
    events.into_iter().find_map(|event| if let Event::Applied { pruned, .. } = event { pruned } else { None }).expect("a pruning").digest
}

#[test]
fn report_shows_what_a_selection_removes() {
    let mut session = scored(&bundled("linchpin-13m"));
    let report = surround(&mut session, None, false);
    assert_eq!((report.layers.len(), report.n_support), (20, 16));
    let all = |of: fn(&linchpin::terms::LayerSurroundings) -> &Vec<usize>| {
        report.layers.iter().map(|layer| of(layer).clone()).collect::<Vec<_>>()
    };
    assert_eq!(selection_digest(&all(|layer| &layer.core)), digest_of(&mut session, Pick::Core));
    assert_eq!(selection_digest(&all(|layer| &layer.halo)), digest_of(&mut session, Pick::Halo));
    for layer in &report.layers {
        assert_eq!((layer.core.len(), layer.halo.len(), layer.support.len()), (8, 44, 16));
        assert_eq!((layer.connections.len(), layer.plane.len()), (448, 448));
        assert!(layer.plane.iter().all(|[x, y]| x * x + y * y <= 1.0 + 1e-5));
        // The core is more in its own plane than the other channels.
        let length = |channel: usize| layer.plane[channel].iter().map(|x| x * x).sum::<f32>();
        let core = layer.core.iter().map(|channel| length(*channel)).sum::<f32>() / 8.0;
        let others = (0..448).map(length).sum::<f32>() / 448.0;
        assert!(core > 2.0 * others, "layer {}: {core} {others}", layer.layer);
        let least = layer.halo.iter().map(|channel| layer.connections[*channel]).fold(1.0, f32::min);
        let larger = (0..448).filter(|channel| layer.connections[*channel] > least && !layer.core.contains(channel)).count();
        assert!(larger < layer.halo.len(), "layer {}", layer.layer);
    }
}

#[test]
fn surroundings_of_one_layer_are_those_among_all_layers() {
    let mut session = scored(&fixture("gpt2"));
    let all = surround(&mut session, None, true);
    let mut of_one = scored(&fixture("gpt2"));
    let one = surround(&mut of_one, Some(1), true);
    assert_eq!(one.layers, all.layers[1..2]);
    // The surroundings of one layer are reused.
    assert_eq!(surround(&mut of_one, None, true).layers, all.layers);
    let layer = &one.layers[0];
    assert_eq!((layer.redundancy.len(), layer.protect.len()), (layer.halo.len(), layer.halo.len()));
    assert!(layer.redundancy.iter().all(|r| *r >= 0.0) && layer.protect.iter().all(|p| (0.2..=1.0).contains(p)));
    assert!(surround(&mut scored(&fixture("gpt2")), Some(1), false).layers[0].redundancy.is_empty());
}

#[test]
fn channels_are_scored_over_the_given_text() {
    let path = std::env::temp_dir().join(format!("linchpin-{}-surround.txt", std::process::id()));
    std::fs::write(&path, "The pin fell, and nobody heard it. ".repeat(9)).unwrap();
    let surround = |args: &[&str]| {
        let args = [&["surround", "--sequences", "2", "--length", "16", "--json"], args].concat();
        export(&linchpin(&args)).surroundings.expect("surroundings").calibration
    };
    let found = surround(&["--text", path.to_str().unwrap()]);
    assert!(
        found.convention.text("text").starts_with("linchpin-")
            && found.convention.text("text").ends_with("-surround.txt")
            && found.convention.number("length") == 16.0,
        "{found:?}"
    );
    assert_eq!(surround(&[]).text_digest, CalibrationText::BUNDLED_DIGEST);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn stopped_scoring_equals_one_of_as_many_sequences() {
    let score = |sequences| Request::Score { text: None, sequences, length: 48, super_weights: Vec::new(), resume: false };
    let pick = Pick::Lowest { by: Ranking::Protected, share: 0.5 };
    let pruning = Pruning { selection: Selection { eta: 0.9, ..Selection::new(pick) }, replacement: Replacement::Zero };
    let after = |sequences, request: Request| {
        let is_second = |event: &Event| matches!(event, Event::ScoreProgress(progress) if progress.calibration.n_sequences == 2);
        stopped_after(is_second, vec![score(sequences), request])
    };
    let digest = |sequences| {
        let events = after(sequences, Request::Apply { ablation: Ablation::pruning(pruning) });
        the_event!(events, Event::Applied { pruned: Some(pruned), .. } => pruned.digest)
    };
    assert_eq!(digest(8), digest(2));
    let layers = |sequences| {
        let events = after(sequences, Request::Surround { rho: 0.02, eta: 0.9, support: None, layer: None, redundancy: true });
        the_event!(events, Event::Surrounded(report) => report.layers)
    };
    assert_eq!(layers(8), layers(2));
}

#[test]
fn surroundings_need_scores_and_a_layer_that_exists() {
    let mut session = Session::with_model(&fixture("llama"));
    let failure = session.ask(Request::Surround { rho: 0.01, eta: 0.1, support: None, layer: None, redundancy: false }).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Input);
    let mut session = scored(&fixture("llama"));
    let failure = session.ask(Request::Surround { rho: 0.01, eta: 0.1, support: None, layer: Some(99), redundancy: false }).unwrap_err();
    assert!(failure.detail.contains("99"), "{failure:?}");
}
