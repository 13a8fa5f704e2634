//! The words for codes: the only place where a finding, an arm, a figure, a setting or a step becomes a sentence.
//!
//! The code below uses codes with arguments ([`Message`]); page, command and report call the functions here. Each
//! language is one module with the same functions; English is the only one so far. An unknown code, as from a newer
//! document, is shown as it is, with its arguments.

mod en;

pub use en::experiments::{asks, option_help, setting_error, setting_label, source, summary, title};
pub use en::figures::figure;
#[cfg(any(feature = "ui", feature = "cli"))]
pub use en::removal::pruning;
#[cfg(any(feature = "ui", feature = "cli"))]
pub use en::saved::{Card, files_to_take, summary as saved};
#[cfg(any(feature = "ui", feature = "cli"))]
pub use en::sharing::sharing;
pub use en::spikes::{effect_against, searched};

use crate::terms::{Cell, DataPlot, DataTable, Failure, Message, Outcome};
use crate::words::short;

/// The columns of tables that hold codes.
const CODES: [&str; 3] = ["arm", "method", "block"];

/// The sentence of a finding.
pub fn finding(message: &Message) -> String {
    said(message, en::findings::sentence)
}

/// Returns the first message of an outcome without a sentence.
pub fn unknown(outcome: &Outcome) -> Option<&Message> {
    let is_known = |message: &Message, words: fn(&Message) -> Option<String>| message.code == Message::SAID || words(message).is_some();
    let titles = outcome.tables.iter().map(|table| &table.title).chain(outcome.plots.iter().map(|plot| &plot.title));
    let findings = outcome.findings.iter().find(|finding| !is_known(finding, en::findings::sentence));
    let titles = titles.into_iter().find(|title| !is_known(title, en::titles::title));
    findings.or(titles).or_else(|| outcome.convention.iter().find(|convention| !is_known(convention, en::conventions::convention)))
}

/// The current step, for a line of progress: "held-out text, arm 3 of 7".
pub fn doing(message: &Message) -> String {
    said(message, en::progress::doing)
}

/// The text of a cell that holds a code, for people; other texts stay as they are.
pub fn label(column: &str, text: &str) -> String {
    let known = CODES.contains(&column).then(|| en::arms::arm(text)).flatten();
    known.unwrap_or_else(|| text.into())
}

/// A failure in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureWords {
    pub problem: &'static str,
    /// The reason, with the figures; empty if the problem is enough.
    pub reason: String,
    pub next_step: &'static str,
}

pub fn failure(failure: &Failure) -> FailureWords {
    let (problem, next_step) = en::failures::words(failure.problem);
    FailureWords { problem, reason: en::failures::reason(failure), next_step }
}

/// The measured text and its cut: "mine, each passage on its own, first 128 tokens".
pub fn convention(message: &Message) -> String {
    said(message, en::conventions::convention)
}

/// The reason why a search for spikes ended, to end a sentence.
pub fn stopped(message: &Message) -> String {
    said(message, en::spikes::stopped)
}

/// The figures that decided about a candidate, as sentences.
pub fn verdict(message: &Message) -> String {
    said(message, en::spikes::verdict)
}

/// The change of an arm of a confirmation: "layer 2, [12, 86]".
pub fn change(message: &Message) -> String {
    said(message, en::spikes::change)
}

/// The title of a table or a picture.
pub fn caption(message: &Message) -> String {
    said(message, en::titles::title)
}

pub fn table_title(table: &DataTable) -> String {
    caption(&table.title)
}

/// The title of a picture, with its arm if it has one.
pub fn plot_title(plot: &DataPlot) -> String {
    let title = caption(&plot.title);
    match &plot.only {
        Some((column, text)) if CODES.contains(&column.as_str()) => format!("{title}: {}", label(column, text)),
        _ => title,
    }
}

/// The sentence of a message from `words`; a message that is already a sentence keeps it.
fn said(message: &Message, words: impl Fn(&Message) -> Option<String>) -> String {
    match message.code.as_str() {
        Message::SAID => message.text("text").into(),
        _ => words(message).unwrap_or_else(|| plain(message)),
    }
}

/// The name of a place on an axis of a picture: "collapse at 0.25".
pub fn mark(name: &str, at: f64) -> String {
    match name {
        "collapse" => format!("collapse at {at:.2}"),
        _ => name.into(),
    }
}

/// A message without a known sentence: its code and arguments.
fn plain(message: &Message) -> String {
    let value = |cell: &Cell| match cell {
        Cell::Number(number) => short(*number as f32),
        Cell::Text(text) => text.clone(),
        Cell::Nothing => "–".into(),
    };
    let args = message.args.iter().map(|(name, cell)| format!("{} {}", name.replace('_', " "), value(cell)));
    let args = args.collect::<Vec<_>>().join(", ");
    let code = message.code.replace('_', " ");
    if args.is_empty() { code } else { format!("{code}: {args}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_nobody_knows_are_shown_with_their_arguments() {
        let message = Message::new("of_tomorrow").with("n_found", 3_usize).with("arm", "prune_sw");
        assert_eq!(finding(&message), "of tomorrow: arm prune_sw, n found 3");
        assert_eq!(finding(&Message::new(Message::SAID).with("text", "It collapses.")), "It collapses.");
        assert_eq!(doing(&"thinking_hard".into()), "thinking hard");
    }

    #[test]
    fn labels_are_made_of_codes_only_where_a_column_holds_codes() {
        assert_eq!(label("arm", "prune_sw_restored"), "Prune SW, +SA");
        assert_eq!(label("token", "removed"), "removed");
        assert_eq!(label("arm", "of_tomorrow"), "of_tomorrow");
        let mut plot = DataPlot::new(crate::terms::PlotKind::Bars, "The likeliest next tokens", "likeliest", "token", "probability");
        assert_eq!(plot_title(&plot), "The likeliest next tokens");
        plot.only = Some(("arm".into(), "removed".into()));
        assert_eq!(plot_title(&plot), "The likeliest next tokens: super weights removed");
        assert_eq!((mark("collapse", 0.251).as_str(), mark("x", 1.0).as_str()), ("collapse at 0.25", "x"));
    }
}
