//! The words for codes: the only place where a finding, an arm, a figure, a setting or a step becomes a sentence.
//!
//! The code below uses codes with arguments ([`Message`]); page, command and report call the functions here. Each
//! language is one module with the same functions; English is the only one so far. An unknown code, as from a newer
//! document, is shown as it is, with its arguments.

mod en;

pub use en::experiments::{asks, option_help, setting_error, setting_label, source, summary, title};
pub use en::figures::figure;

use crate::terms::{Cell, DataPlot, Message};
use crate::words::short;

/// The columns of tables that hold codes.
const CODES: [&str; 3] = ["arm", "method", "block"];

/// The sentence of a finding.
pub fn finding(message: &Message) -> String {
    match message.code.as_str() {
        Message::SAID => message.text("text").into(),
        _ => en::findings::sentence(message).unwrap_or_else(|| plain(message)),
    }
}

/// Returns `true` if there is a sentence for this finding.
pub fn knows(message: &Message) -> bool {
    message.code == Message::SAID || en::findings::sentence(message).is_some()
}

/// The current step, for a line of progress: "held-out text, arm 3 of 7".
pub fn doing(message: &Message) -> String {
    en::progress::doing(message).unwrap_or_else(|| plain(message))
}

/// The text of a cell that holds a code, for people; other texts stay as they are.
pub fn label(column: &str, text: &str) -> String {
    let known = CODES.contains(&column).then(|| en::arms::arm(text)).flatten();
    known.unwrap_or_else(|| text.into())
}

/// The title of a picture, with its arm if it has one.
pub fn plot_title(plot: &DataPlot) -> String {
    match &plot.only {
        Some((column, text)) if CODES.contains(&column.as_str()) => format!("{}: {}", plot.title, label(column, text)),
        _ => plot.title.clone(),
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
