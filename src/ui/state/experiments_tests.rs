use super::*;
use crate::protocol::{Event, EventEnvelope};
use crate::terms::{BackendInfo, DataTable, Failure, FailureKind, Headline, Problem, ScanReport, SettingProblem, TextRef};
use crate::ui::state::AppState;
use crate::ui::state::tests::{answer, candidate, failure, info, loaded, pull};

pub(crate) fn outcome(kind: ExperimentKind, is_partial: bool) -> Outcome {
    let mut experiment = Experiment::with_defaults(kind, vec![candidate(2, 12, 86).at]);
    on_text(&mut experiment, "held-out passages 1");
    Outcome {
        experiment,
        model: info().model,
        backend: BackendInfo { kind: "cpu".into(), name: "n".into(), reason: "r".into() },
        software: String::new(),
        convention: None,
        findings: vec!["f".into()],
        headline: vec![Headline { name: "loss/factor_1".into(), value: 3.5 }],
        tables: Vec::new(),
        plots: Vec::new(),
        is_partial,
    }
}

/// Names the text, if the kind reads one.
fn on_text(experiment: &mut Experiment, name: &str) {
    if let Some(of) = experiment.settings.parts().text {
        of.text = Some(of_text(name));
    }
}

fn of_text(name: &str) -> TextRef {
    TextRef { name: name.into(), digest: text_digest(name) }
}

pub(crate) fn scanned() -> AppState {
    let mut state = loaded();
    let scan = ScanReport {
        model: info().model,
        prompt: "p".into(),
        tokens: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        outputs_after: Vec::new(),
        candidates: vec![candidate(2, 12, 86)],
        stopped: "s".into(),
    };
    state.apply(EventEnvelope { id: None, event: Event::Scanned(scan) });
    state.experiments.kind = ExperimentKind::Scaling;
    state
}

/// All waiting requests, each answered at once.
fn asked(state: &mut AppState) -> Vec<Request> {
    let mut asked = Vec::new();
    while let Some(message) = state.next_message() {
        asked.push(message.request.clone());
        if matches!(message.request, Request::Load { .. }) {
            answer(state, Event::Loaded(info()));
        }
        answer(state, Event::Done);
    }
    asked
}

#[test]
fn outcome_grows_by_what_each_arm_adds_until_it_is_complete() {
    let mut state = scanned();
    let mut told = outcome(ExperimentKind::Scaling, true);
    state.apply(EventEnvelope { id: None, event: Event::Outcome(told.clone()) });
    // Another kind that was stopped stays as it is.
    state.apply(EventEnvelope { id: None, event: Event::Outcome(outcome(ExperimentKind::Sinks, true)) });
    for is_partial in [true, false] {
        let mut later = told.clone();
        later.findings.push("no_collapse".into());
        later.is_partial = is_partial;
        state.apply(EventEnvelope { id: None, event: Event::OutcomeDelta(told.delta_to(&later)) });
        assert_eq!(state.outcome(ExperimentKind::Scaling), Some(&later));
        told = later;
    }
    assert_eq!(state.outcome(ExperimentKind::Sinks), Some(&outcome(ExperimentKind::Sinks, true)));
}

#[test]
fn pages_own_models_get_a_bos_before_each_block() {
    let bos = |id: &str, shared: Shared| {
        let mut experiments = Experiments { shared, ..Experiments::default() };
        experiments.loaded(&ModelRef::new(id, "r"));
        experiments.settings.iter_mut().map(|settings| settings.parts().text.is_some_and(|text| text.bos)).collect::<Vec<_>>()
    };
    let reads = ExperimentKind::ALL.iter().map(|kind| kind.reads_text()).collect::<Vec<_>>();
    assert_eq!((bos("linchpin-13m", Shared::None), bos("gpt2", Shared::None)), (reads, vec![false; 8]));
    // The settings of a link are kept.
    let link = ExperimentLink::from_outcome(&outcome(ExperimentKind::Scaling, false)).unwrap();
    assert!(!bos("linchpin-13m", Shared::Held(Box::new(link)))[ExperimentKind::Scaling as usize]);
}

#[test]
fn experiment_is_about_the_scans_candidates_or_the_edits() {
    let mut state = loaded();
    state.experiments.kind = ExperimentKind::Scaling;
    assert!(state.experiment().unwrap_err().contains("scan"));
    state.run_experiment();
    assert_eq!(state.next_message(), None);
    let mut state = scanned();
    assert_eq!(state.experiment().unwrap().super_weights, [candidate(2, 12, 86).at]);
    state.experiments.scalars = Scalars::Edits;
    assert!(state.experiment().is_err());
    pull(&mut state);
    assert_eq!(state.experiment().unwrap().super_weights.len(), 1);
    // The kind for weights alone needs no scalars.
    state.experiments.scalars = Scalars::Link;
    state.experiments.kind = ExperimentKind::WeightsOnly;
    assert_eq!(state.experiment().unwrap().super_weights, []);
    state.experiments.kind = ExperimentKind::Sinks;
    *state.experiments.setting_mut().parts().prompt.unwrap() = " ".into();
    assert!(state.experiment().is_err());
}

#[test]
fn settings_of_a_kind_stay_its_own() {
    let mut state = scanned();
    state.experiments.take_setting(SettingId::Factors, "0, 1");
    assert_eq!(state.experiments.wrong, []);
    state.experiments.kind = ExperimentKind::WeightQuantisation;
    assert!(state.experiment().unwrap().settings.number(SettingId::Factors).is_none());
    state.experiments.kind = ExperimentKind::Scaling;
    let mut experiment = state.experiment().unwrap();
    let limit = experiment.tasks().unwrap().limit;
    assert_eq!(
        (experiment.settings.number(SettingId::Factors).unwrap().text().as_str(), limit),
        ("0, 1", None),
        "there are no tasks to limit"
    );
    let kinds: Vec<_> = state.experiments.settings.iter().map(ExperimentKind::from).collect();
    assert_eq!(kinds, ExperimentKind::ALL);
}

#[test]
fn texts_and_tasks_of_ones_own_come_first_and_once() {
    let mut state = scanned();
    state.experiments.text = Some(("mine.txt".into(), "a b".into()));
    state.experiments.add_task("arc_easy.jsonl", "{}".into());
    state.experiments.add_task("arc_easy.jsonl", "{\"a\":1}".into());
    state.run_experiment();
    let requests = asked(&mut state);
    assert!(
        matches!(&requests[..], [Request::UseText { max_tokens: 128, .. }, Request::UseTasks { tasks }, Request::Experiment(_)] if tasks.len() == 1)
    );
    let Request::Experiment(experiment) = &requests[2] else { panic!() };
    let of_tasks = experiment.tasks().unwrap();
    assert_eq!((of_tasks.tasks[0].name.as_str(), of_tasks.limit), ("arc_easy", Some(50)));
    state.run_experiment();
    assert!(matches!(&asked(&mut state)[..], [Request::Experiment(_)]), "the engine has them");
    // Task files that were opened while others waited are sent, too.
    state.experiments.note_sent(&Request::UseTasks { tasks: Vec::new() });
    assert!(!state.experiments.engine_has_tasks);
    // The error of one setting is kept when another one is refused and corrected, and when a file is opened.
    state.experiments.take_setting(SettingId::Factors, "much");
    state.experiments.take_setting(SettingId::Block, "1");
    assert_eq!(state.experiments.wrong.iter().map(|wrong| wrong.id).collect::<Vec<_>>(), [SettingId::Factors, SettingId::Block]);
    state.experiments.take_setting(SettingId::Block, "64");
    state.experiments.take_file(true, Err("it is empty".into()));
    let no_number = SettingError { id: SettingId::Factors, problem: SettingProblem::NoNumber { got: "much".into() } };
    assert_eq!(state.experiments.wrong, [no_number]);
    state.experiments.take_setting(SettingId::Factors, "0, 1");
    assert_eq!((state.experiments.wrong.len(), state.experiments.error.as_deref()), (0, Some("it is empty")));
    state.experiments.engine_has_tasks = true;
    // After refusing a text, the engine still has an earlier one, which the page does not know.
    state.experiments.refused(&Request::UseText { name: "short".into(), text: "a".into(), max_tokens: 128 });
    assert_eq!(state.experiments.engine_text, Some(String::new()));
    // A new engine has no text, nor has one that refused a file.
    state.experiments.engine_forgot();
    state.run_experiment();
    state.next_message();
    answer(&mut state, Event::Failed(failure(FailureKind::Input)));
    assert_eq!(state.next_message(), None, "what was to follow is dropped");
    state.run_experiment();
    assert_eq!(asked(&mut state).len(), 3);
    state.experiments.text = None;
    state.run_experiment();
    assert!(matches!(&asked(&mut state)[..], [Request::UseBundledText, Request::Experiment(_)]));
    state.run_experiment();
    assert!(matches!(&asked(&mut state)[..], [Request::Experiment(_)]), "it has the bundled text");
}

#[test]
fn outcomes_stay_through_failures_and_go_with_the_model() {
    let mut state = scanned();
    state.run_experiment();
    state.next_message();
    answer(&mut state, Event::Outcome(outcome(ExperimentKind::Scaling, true)));
    answer(&mut state, Event::Outcome(outcome(ExperimentKind::Sinks, false)));
    answer(&mut state, Event::Stopped);
    assert!(state.outcome(ExperimentKind::Scaling).unwrap().is_partial);
    // A faulty device's partial outcomes are dropped; complete earlier ones are kept.
    state.run_experiment();
    state.next_message();
    answer(&mut state, Event::Outcome(outcome(ExperimentKind::Scaling, true)));
    answer(&mut state, Event::Failed(failure(FailureKind::Device)));
    assert_eq!((state.outcome(ExperimentKind::Scaling), state.outcomes().count()), (None, 1));
    state.apply(EventEnvelope { id: None, event: Event::Outcome(outcome(ExperimentKind::Scaling, false)) });
    assert_eq!((state.outcomes().count(), state.outcome(ExperimentKind::Scaling).unwrap().is_partial), (2, false));
    state.engine_died(Failure::new(Problem::EngineStopped, "y"));
    assert_eq!(crate::ui::sections::keep::export(&state).unwrap().outcomes.len(), 2);
    let mut other = info();
    other.model.revision = "ffffffffffffffff".into();
    state.apply(EventEnvelope { id: None, event: Event::Loaded(other) });
    assert_eq!(state.outcomes().count(), 0);
}

#[test]
fn candidates_of_the_weights_come_before_their_model() {
    let mut state = scanned();
    let mut cold = outcome(ExperimentKind::WeightsOnly, false);
    cold.model.revision = "ffffffffffffffff".into();
    let mut table = DataTable::new("candidates", "C", &["rank", "layer", "row", "col"]);
    [(7, 1, 1), (2, 12, 86), (0, 0, 0), (9, 9, 9)].into_iter().enumerate().for_each(|(rank, (layer, row, col))| {
        table.push([rank.into(), (layer as usize).into(), (row as usize).into(), (col as usize).into()]);
    });
    cold.tables.push(table);
    state.apply(EventEnvelope { id: None, event: Event::Outcome(cold) });
    assert_eq!(state.cold_candidates(), None, "of a model that is still loading");
    let mut other = info();
    other.model.revision = "ffffffffffffffff".into();
    state.apply(EventEnvelope { id: None, event: Event::Loaded(other) });
    let (first, is_same) = state.cold_candidates().unwrap();
    assert_eq!((first.len(), is_same), (3, None));
    state.scan.report = scanned().scan.report;
    assert_eq!(state.cold_candidates().unwrap().1, Some(true));
}

pub(crate) fn shared() -> ExperimentLink {
    ExperimentLink::from_outcome(&outcome(ExperimentKind::Scaling, false)).unwrap()
}

#[test]
fn link_starts_nothing_and_is_measured_exactly() {
    let mut state = loaded();
    state.open_experiment(Shared::Held(Box::new(shared())));
    assert_eq!(state.next_message(), None);
    assert_eq!((state.experiments.kind, state.experiments.scalars), (ExperimentKind::Scaling, Scalars::Link));
    assert_eq!(state.experiment().unwrap().super_weights, [candidate(2, 12, 86).at]);
    let (figures, other) = state.shared_verdict();
    assert_eq!((figures[0].agrees(), other, state.shared_needs()), (None, Vec::new(), Vec::new()));
    state.recompute_experiment();
    assert_eq!(asked(&mut state), [Request::Experiment(shared().experiment)]);
    state.apply(EventEnvelope { id: None, event: Event::Outcome(outcome(ExperimentKind::Scaling, true)) });
    assert_eq!(state.shared_verdict().0[0].agrees(), None, "not before its end");
    let mut here = outcome(ExperimentKind::Scaling, false);
    here.headline[0].value = 3.6;
    state.apply(EventEnvelope { id: None, event: Event::Outcome(here.clone()) });
    assert_eq!(state.shared_verdict().0[0].agrees(), Some(false));
    here.headline[0].value = 3.501;
    on_text(&mut here.experiment, "mine");
    state.apply(EventEnvelope { id: None, event: Event::Outcome(here) });
    let (figures, other) = state.shared_verdict();
    assert_eq!(figures[0].agrees(), Some(true));
    assert!(other[0].starts_with("Another text"));
    state.close_experiment();
    assert_eq!((state.shared_verdict(), state.experiments.scalars), Default::default());
}

#[test]
fn another_model_and_a_file_that_is_needed_are_told() {
    let mut state = loaded();
    let mut link = shared();
    link.model.revision = "ffffffffffffffff".into();
    on_text(&mut link.experiment, "mine.txt");
    state.open_experiment(Shared::Held(Box::new(link)));
    assert!(state.shared_verdict().1[0].contains("another model"));
    assert!(state.shared_needs()[0].starts_with("mine.txt (digest "));
}
