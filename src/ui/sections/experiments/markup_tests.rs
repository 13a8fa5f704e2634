use super::*;
use crate::protocol::{Event, EventEnvelope};
use crate::terms::{Cell, DataPlot, Message, PlotKind};
use crate::ui::state::experiments::tests::{outcome, scanned, shared as link};

const HOSTILE: &str = "<img src=x onerror='alert(1)'>\"&";

fn with(outcome: Outcome) -> AppState {
    let mut state = scanned();
    state.apply(EventEnvelope { id: None, event: Event::Outcome(outcome) });
    state
}

#[test]
fn nothing_but_ours_is_markup() {
    let mut hostile = outcome(ExperimentKind::Scaling, false);
    hostile.findings = vec![HOSTILE.into(), Message::new(Message::SAID).with("text", HOSTILE)];
    hostile.headline[0].name = HOSTILE.into();
    hostile.convention = HOSTILE.into();
    let mut table = DataTable::new("t", HOSTILE, &[HOSTILE, "y"]);
    table.push([Cell::Text(HOSTILE.into()), 1.0_f64.into()]);
    hostile.tables.push(table);
    hostile.plots.push(DataPlot::new(PlotKind::Bars, HOSTILE, "t", HOSTILE, "y"));
    let mut state = with(hostile.clone());
    state.experiments.text = Some((HOSTILE.into(), "a".into()));
    state.experiments.add_task(HOSTILE, "{}".into());
    state.experiments.made = Some(Err(HOSTILE.into()));
    state.experiments.error = Some(Wrong::File(HOSTILE.into()));
    let mut shared = link();
    shared.headline[0].name = HOSTILE.into();
    state.open_experiment(Shared::Held(Box::new(shared)));
    state.experiments.kind = ExperimentKind::Sinks;
    let prompt = setup(&state);
    state.experiments.kind = ExperimentKind::Scaling;
    for html in [setup(&state), run(&state), result(&state), super::shared(&state), prompt] {
        assert!(!html.contains("<img") && !html.contains("onerror='"), "{html}");
    }
    assert!(result(&state).contains("&lt;img"));
    state.open_experiment(Shared::Refused(HOSTILE.into()));
    assert!(!super::shared(&state).contains("<img"));
}

#[test]
fn a_result_has_its_sentences_pictures_and_tables() {
    let mut whole = outcome(ExperimentKind::Scaling, true);
    let mut table = DataTable::new("loss", "Loss", &["factor", "loss (nats)"]);
    (0..300_usize).for_each(|at| table.push([at.into(), at.into()]));
    whole.tables.push(table);
    whole.plots.push(DataPlot::new(PlotKind::Lines, "Loss over factor", "loss", "factor", "loss"));
    let html = result(&with(whole));
    assert!(html.contains("<li>f</li>") && html.contains("loss at factor 1: 3.5") && html.contains("var(--intact)"));
    assert_eq!(html.matches("<tr>").count(), 1 + MAX_ROWS);
    assert!(html.contains("(300 rows)") && html.contains("Not to its end") && html.contains("class='' disabled>Link"));
}

#[test]
fn settings_are_shown_with_their_values() {
    let state = scanned();
    let html = setup(&state);
    assert!(html.contains("value='0, 0.1, 0.2") && html.contains("layer 2, [12, 86]") && !html.contains("experiment-scan"));
    assert!(html.contains("data-testid=experiment-scaling checked"));
    assert!(!run(&state).contains("disabled"));
}
