//! The choice of an experiment, and its inputs.

use leptos::ev::Event;
use leptos::prelude::*;
use web_sys::HtmlInputElement;

use crate::language;
use crate::terms::{ExperimentKind, SettingId, Settings};
use crate::ui::page::context::{App, app};
use crate::ui::sections::experiments::{button, coordinates};
use crate::ui::sections::weigh::read_text;
use crate::ui::state::AppState;
use crate::ui::state::experiments::{Experiments, Scalars};
use crate::words::visible;

/// The sources of super weights, with their form values and names.
const SOURCES: [(Scalars, &str, &str); 3] = [
    (Scalars::Scan, "scan", "the scan's candidates"),
    (Scalars::Edits, "edits", "active edits of scalars"),
    (Scalars::Link, "link", "the link's super weights"),
];

const TEXT_HINT: &str = "All of it, one after the other, in blocks as in the paper (convention concat-2048, or shorter where the model is). \
                         One of your own, of up to 64 MB, then also serves Confirm and the perplexities.";
const TASKS_HINT: &str =
    "For accuracy: a benchmark's published JSON lines, in a file with its name: lambada_openai.jsonl, arc_easy.jsonl (up to 64 MB each).";

pub fn setup() -> AnyView {
    let app = app();
    let kind = app.part(|state| state.experiments.kind);
    let reads = |reads: fn(ExperimentKind) -> bool| app.part(move |state| reads(state.experiments.kind));
    let reads_prompt = reads(ExperimentKind::reads_prompt);
    // A fold stays open or closed when another kind that reads files is chosen.
    let files = |reads: Memo<bool>, of: fn() -> AnyView| move || reads.get().then(of);
    view! {
        <div class="region">
            {kinds(kind)}
            {super_weights()}
            {move || reads_prompt.get().then(prompt)}
            <div class="sampling">{move || settings(kind.get())}</div>
            {files(reads(ExperimentKind::reads_text), text)}
            {files(reads(ExperimentKind::reads_tasks), tasks)}
        </div>
    }
    .into_any()
}

fn kinds(chosen: Memo<ExperimentKind>) -> AnyView {
    let app = app();
    let measured = app.part(|state| ExperimentKind::ALL.iter().map(|kind| state.outcome(*kind).is_some()).collect::<Vec<_>>());
    let choice = |(at, kind): (usize, ExperimentKind)| {
        let (title, question) = (language::title(kind), language::asks(kind));
        let question = move || format!("{} ({}) {question}", if measured.with(|of| of[at]) { " ✓" } else { "" }, language::source(kind));
        view! {
            <label class="kind">
                <input
                    type="radio" name="experiment" data-testid=format!("experiment-{}", kind.name()) prop:checked=move || chosen.get() == kind
                    on:change=move |_| app.state.update(|state| state.experiments.choose(kind))
                />
                <span><strong>{title}</strong>{question}</span>
            </label>
        }
    };
    let choices = ExperimentKind::ALL.iter().copied().enumerate().map(choice).collect_view();
    view! { <div class="kinds" role="radiogroup" aria-label="Experiment">{choices}</div> }.into_any()
}

/// The source of the super weights, and its scalars.
fn super_weights() -> AnyView {
    let app = app();
    let chosen = app.part(|state| state.experiments.scalars);
    let has_link = app.part(AppState::is_experiment_shared);
    let named = app.part(|state| coordinates(&state.scalars(state.experiments.scalars)));
    let lacks_scan = Memo::new(move |_| chosen.get() == Scalars::Scan && named.with(String::is_empty));
    let is_not_live = app.part(|state| !state.is_live());
    let option = move |(source, value, name): (Scalars, &'static str, &'static str)| {
        view! { <option value=value prop:selected=move || chosen.get() == source>{name}</option> }
    };
    let options = move || SOURCES.into_iter().filter(|(source, ..)| *source != Scalars::Link || has_link.get()).map(option).collect_view();
    let choose = move |event: Event| {
        let value = event_target_value(&event);
        if let Some((source, ..)) = SOURCES.into_iter().find(|(_, known, _)| *known == value) {
            app.state.update(|state| state.experiments.scalars = source);
        }
    };
    let scan = move || button("experiment-scan", "small", "Scan first".into(), is_not_live.into(), |app| app.client.act(AppState::scan));
    view! {
        <div class="row">
            <label class="field">"Super weights "<select data-testid="experiment-scalars" on:change=choose>{options}</select></label>
            <p class="hint coordinate" data-testid="experiment-named">{move || named.get()}</p>
            {move || lacks_scan.get().then(scan)}
        </div>
    }
    .into_any()
}

/// The value of a field. It is taken from the state only when settings are filled in or a kind is chosen, so that
/// typed text stays as it is.
fn filled_in(app: App, text: impl Fn(&Settings) -> String + Send + Sync + 'static) -> Signal<String> {
    let filled = app.part(|state| (state.experiments.kind, state.experiments.filled));
    Signal::derive(move || {
        filled.with(|_| ());
        app.state.with_untracked(|state| text(state.experiments.setting()))
    })
}

fn prompt() -> AnyView {
    let app = app();
    let value = filled_in(app, |settings| settings.clone().parts().prompt.cloned().unwrap_or_default());
    let change = move |event: Event| {
        app.state.update(|state| {
            if let Some(prompt) = state.experiments.setting_mut().parts().prompt {
                *prompt = event_target_value(&event);
            }
        });
    };
    view! {
        <label class="field">"Text to read "<textarea rows="2" maxlength="2000" data-testid="setting-prompt" prop:value=move || value.get() on:change=change></textarea></label>
    }
    .into_any()
}

/// The fields of the settings that a kind reads.
fn settings(kind: ExperimentKind) -> AnyView {
    let app = app();
    let field = |id: SettingId| {
        let value = filled_in(app, move |settings| settings.clone().number(id).map(|value| value.text()).unwrap_or_default());
        let change = move |event: Event| app.state.update(|state| state.experiments.take_setting(id, &event_target_value(&event)));
        let wrong =
            app.part(move |state| state.experiments.wrong.iter().find(|wrong| wrong.id == id).map(|wrong| format!("{}.", wrong.problem)));
        let error = format!("setting-{}-error", id.name());
        view! {
            <label class="field">
                {language::setting_label(id)}" "
                <input
                    type="text" inputmode="decimal" data-testid=format!("setting-{}", id.name()) prop:value=move || value.get() on:change=change
                    aria-invalid=move || wrong.with(Option::is_some).to_string() aria-describedby=error.clone()
                />
                <span class="error" id=error.clone() data-testid=error>{move || wrong.get()}</span>
            </label>
        }
    };
    let read = kind.default_settings().numbers().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    read.into_iter().map(field).collect_view().into_any()
}

fn text() -> AnyView {
    let forget = |app: App| app.state.update(|state| (state.experiments.text, state.experiments.error) = (None, None));
    files(true, ["experiment-text-fold", "experiment-text", "experiment-no-text"], text_line, TEXT_HINT, forget)
}

fn tasks() -> AnyView {
    let forget = |app: App| app.state.update(|state| (state.experiments.tasks, state.experiments.error) = (Vec::new(), None));
    files(false, ["experiment-tasks-fold", "experiment-tasks", "experiment-no-tasks"], tasks_line, TASKS_HINT, forget)
}

fn text_line(of: &Experiments) -> String {
    format!("Text: {}", of.text.as_ref().map_or_else(|| "the bundled held-out passages".into(), |(name, _)| visible(name)))
}

fn tasks_line(of: &Experiments) -> String {
    let names = of.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ");
    format!("Tasks: {}", if names.is_empty() { "none".into() } else { visible(&names) })
}

/// Opens a file to replace the bundled text, or to add tasks. `names` are the test ids of the fold, the input and the
/// button.
fn files(is_text: bool, names: [&'static str; 3], line: fn(&Experiments) -> String, hint: &'static str, forget: fn(App)) -> AnyView {
    let app = app();
    let [fold, input, without] = names;
    let line = app.part(move |state| line(&state.experiments));
    let open = move |event: Event| {
        let input: HtmlInputElement = event_target(&event);
        read_text(&input, move |read| app.state.update(|state| state.experiments.take_file(is_text, read)));
        input.set_value("");
    };
    view! {
        <details class="fold" data-testid=fold>
            <summary>{move || line.get()}</summary>
            <p class="note">{hint}</p>
            <div class="row">
                <label class="field">"A file of your own "<input type="file" data-testid=input on:change=open /></label>
                {button(without, "small", "Remove it".into(), false.into(), forget)}
            </div>
        </details>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_files_name_what_was_opened() {
        let mut of = Experiments::default();
        assert_eq!([text_line(&of), tasks_line(&of)], ["Text: the bundled held-out passages", "Tasks: none"]);
        of.text = Some(("mine.txt".into(), "a".into()));
        of.add_task("arc_easy.jsonl", "{}".into());
        of.add_task("lambada_openai.jsonl", "{}".into());
        assert_eq!([text_line(&of), tasks_line(&of)], ["Text: mine.txt", "Tasks: arc_easy, lambada_openai"]);
    }

    #[test]
    fn every_source_of_super_weights_has_a_value_of_its_own() {
        assert!(SOURCES.iter().enumerate().all(|(at, one)| SOURCES[..at].iter().all(|other| one.0 != other.0 && one.1 != other.1)));
    }
}
