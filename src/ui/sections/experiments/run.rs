//! The buttons that run and stop an experiment, and a line on its progress or on missing inputs.

use leptos::prelude::*;

use crate::language;
use crate::ui::page::context::app;
use crate::ui::sections::experiments::button;
use crate::ui::sections::model::progress;
use crate::ui::state::AppState;
use crate::ui::state::experiments::{Experiments, is_experiment};

pub fn run() -> AnyView {
    let app = app();
    let error = app.part(|state| told(&state.experiments));
    let is_asked = app.part(|state| state.queue.any(is_experiment));
    let label = app.part(|state| label(state).to_string());
    let cannot_run = app.part(|state| !can_run(state));
    let doing = app.part(doing);
    let stop = || button("experiment-stop", "", "Stop".into(), false.into(), |app| app.client.stop());
    view! {
        <div class="region">
            <p class="error" role="alert" data-testid="experiment-error">{move || error.get()}</p>
            <div class="row">
                {button("experiment-run", "primary", label.into(), cannot_run.into(), |app| app.client.act(AppState::run_experiment))}
                {move || is_asked.get().then(stop)}
            </div>
        </div>
        <div class="region"><p class="hint" data-testid="experiment-progress">{move || doing.get()}</p></div>
    }
    .into_any()
}

fn label(state: &AppState) -> &'static str {
    if state.queue.runs(is_experiment) {
        "Measuring…"
    } else if state.queue.any(is_experiment) {
        "Waiting…"
    } else {
        "Run"
    }
}

/// Returns `true` if the chosen experiment has all its inputs, its settings are valid, and none is queued.
fn can_run(state: &AppState) -> bool {
    state.is_live() && !state.queue.any(is_experiment) && state.experiment().is_ok() && state.experiments.wrong.is_empty()
}

/// The setting that was refused last, or the file that could not be opened.
fn told(of: &Experiments) -> Option<String> {
    of.wrong.last().map(language::setting_error).or_else(|| of.error.clone())
}

/// The progress of the running experiment, or the missing input of the chosen one.
fn doing(state: &AppState) -> String {
    if state.queue.runs(is_experiment) { progress(state) } else { state.experiment().err().unwrap_or_default().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::state::experiments::tests::scanned;
    use crate::ui::state::tests::loaded;

    #[test]
    fn run_button_waits_for_super_weights_and_valid_settings() {
        let mut state = loaded();
        state.experiments.kind = crate::terms::ExperimentKind::Scaling;
        assert!(!can_run(&state) && doing(&state).contains("scan"));
        state = scanned();
        assert!(can_run(&state) && doing(&state).is_empty());
        state.experiments.take_setting(crate::terms::SettingId::Factors, "much");
        assert!(!can_run(&state));
        assert_eq!(told(&state.experiments).as_deref(), Some("Factors of the super weights: “much” is not a number."));
        state.experiments.error = Some("a file is empty".into());
        assert!(!can_run(&state), "the setting is still refused");
        state.experiments.take_setting(crate::terms::SettingId::Factors, "0, 1");
        assert!(can_run(&state), "a file that was refused is not used");
        assert_eq!(told(&state.experiments).as_deref(), Some("a file is empty"));
    }

    #[test]
    fn run_button_says_if_the_experiment_waits_or_runs() {
        let mut state = scanned();
        assert_eq!(label(&state), "Run");
        state.run_experiment();
        assert_eq!((label(&state), can_run(&state)), ("Waiting…", false));
        state.next_message();
        assert_eq!((label(&state), doing(&state).as_str()), ("Measuring…", "Working"));
    }
}
