//! Findings about activations, tokens and weights inside a model.

use super::super::percent;
use crate::terms::{Cell, Message};

/// The sentence of a finding.
pub fn sentence(message: &Message) -> Option<String> {
    of_activations(message).or_else(|| of_tokens(message)).or_else(|| of_weights(message))
}

/// "layer 2, [12, 86]".
fn place(message: &Message) -> String {
    let expert = message.args.get("expert").and_then(Cell::number).map(|expert| format!("expert {expert}, ")).unwrap_or_default();
    format!("layer {}, {expert}[{}, {}]", message.number("layer"), message.number("row"), message.number("col"))
}

/// "after layer 3", or "in the embeddings" for -1.
fn behind(layer: f64) -> String {
    if layer < 0.0 { "in the embeddings".into() } else { format!("after layer {layer}") }
}

/// The change from one number to another in percent.
fn change(before: f64, after: f64) -> f64 {
    if before > 0.0 { percent(after / before - 1.0) } else { 0.0 }
}

fn of_activations(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    Some(match message.code.as_str() {
        "channel_peak" => format!(
            "Channel {} is largest {}: {:.2} at token {}, {:?}. It stays above half of that from {} to {}, of {} layers.",
            number("row"),
            behind(number("behind")),
            number("value"),
            number("token"),
            message.text("token_text"),
            behind(number("from")),
            behind(number("to")),
            number("layers")
        ),
        "channel_left" => {
            let is_removed = message.text("arm") == "removed";
            format!(
                "{} the largest magnitude in that channel is {:.2} ({:+.0} %), and in any channel {:.2}, from {:.2} ({:+.0} %). \
                 (Llama-7B in the paper, in any channel: {}.)",
                if is_removed { "Without the super weights" } else { "Without the other weight" },
                number("left"),
                change(number("before"), number("left")),
                number("all_after"),
                number("all_before"),
                change(number("all_before"), number("all_after")),
                if is_removed { "about -75 %" } else { "976 after 1320, -26 %" }
            )
        }
        "other_weight" => format!(
            "The other weight is {}: {}, the largest magnitude of that matrix except the super weights.",
            place(message),
            number("weight")
        ),
        "traced_first" => format!(
            "The traced channel is that of the first super weight, {}; the others write to other channels, and are removed with it.",
            place(message)
        ),
        "tokens_cut" => format!("The table of tokens has the first {} of {}; the maxima are over all.", number("shown"), number("of")),
        "sinks_hidden" => format!(
            "In {} of {} layers a window hides the first token from the last ones; that counts as no attention.",
            number("hidden"),
            number("layers")
        ),
        "sink_heads" => sink_heads(message),
        "sink_definition" => format!(
            "A sink's mean attention on the first token is above {}; a head with uniform attention has {:.3} over these {} tokens. \
             If the first query, which sees only itself, is counted as in arXiv:2410.10781, there are {} and {} sinks; texts there have 64 \
             tokens.",
            number("threshold"),
            number("uniform"),
            number("tokens"),
            number("published_before"),
            number("published_after")
        ),
        "massive" => massive(message),
        _ => return None,
    })
}

fn sink_heads(message: &Message) -> String {
    let [before, after] = ["before", "after"].map(|name| message.number(name) as u64);
    let verdict = match (before, after) {
        (0, 0) => "this model has no attention sinks on this prompt".to_owned(),
        (0, _) => "new sinks appear".to_owned(),
        (_, 0) => "no sink is left".to_owned(),
        _ if after >= before => "their number does not fall".to_owned(),
        _ => format!("{:.0} % of their number remain", 100.0 * after as f64 / before as f64),
    };
    format!(
        "{before} of {} heads are sinks on the first token, and {after} with the super weights removed ({} of them the same heads): \
         {verdict}. (The paper: sinks persist.)",
        message.number("heads"),
        message.number("same")
    )
}

fn massive(message: &Message) -> String {
    let number = |name: &str| message.number(name);
    let criterion = format!("above {} and {} times the median", number("least_value"), number("least_ratio"));
    let layers = match number("count") as u64 {
        0 => "no layer's is".into(),
        count => format!("those of {count} of {} layers are", number("layers")),
    };
    format!(
        "{}, the largest value stands out most after layer {}: {:.2} at token {}, channel {}, {:.0} times the median. By the criterion of \
         arXiv:2402.17762 ({criterion}) {layers} massive.",
        if message.text("arm") == "intact" { "Intact" } else { "With the super weights removed" },
        number("layer"),
        number("value"),
        number("token"),
        number("channel"),
        number("ratio")
    )
}

fn of_tokens(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    Some(match message.code.as_str() {
        "fewer_prompts" => format!("{} prompts were requested, but there are {}.", number("asked"), number("found")),
        "stopwords" => {
            let (before, after) = (number("before"), number("after"));
            let times = match after / before {
                _ if before <= 0.0 => "there were none before".into(),
                ratio if ratio > 1.0 => format!("{ratio:.2} times as much"),
                ratio => format!("down to {ratio:.2} times as much"),
            };
            format!(
                "Stopwords and punctuation on our own list (the paper publishes none) get {:.1} % of the next token's probability, and \
                 {:.1} % with the super weights removed: {times}. (Of the 100 likeliest tokens in the paper's own data, the \
                 stopwords on our list go from 16.8 to 32.9 % in Llama-7B, and from 15.9 to 5.4 % in Mistral-7B.)",
                percent(before),
                percent(after)
            )
        }
        "stopwords_risen" => format!(
            "Of the {} stopwords among the intact model's {} likeliest tokens, {} become likelier.",
            number("stopwords"),
            number("of"),
            number("risen")
        ),
        "likeliest_token" => format!(
            "The likeliest token is {:?} ({:.1} %), and {:?} ({:.1} %) with the super weights removed.",
            message.text("before"),
            percent(number("p_before")),
            message.text("after"),
            percent(number("p_after"))
        ),
        "entropy" => {
            format!("The next token's mean entropy is {:.2} nats, and {:.2} without the super weights.", number("before"), number("after"))
        }
        _ => return None,
    })
}

fn of_weights(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    Some(match message.code.as_str() {
        "no_rows" => "There are no rows.".into(),
        "no_gate" => "This model's feed-forward blocks have no gate: scores use c_fc and down_proj alone.".into(),
        "row_rank" => {
            let points = match (number("col"), number("col_found")) {
                (col, found) if col == found => "and points at it".into(),
                (_, found) => format!("and points at column {found} instead"),
            };
            format!(
                "{}: its row is number {} of {} by the weights alone, {} in its layer, {points}.",
                place(message),
                number("rank"),
                number("rows"),
                number("rank_in_layer")
            )
        }
        "first_row" | "first_row_known" => {
            let lead = match message.args.get("lead").and_then(Cell::number) {
                Some(lead) => format!(", {lead:.1} times as prominent as the next"),
                None => String::new(),
            };
            let proof = match message.code.as_str() {
                "first_row" => " A candidate is not a finding: only its removal can show that it matters.",
                _ => "",
            };
            format!(
                "The weights alone point at {} of {} rows first: it reaches {:.1} times the median row of its layer, {:.1} % of its square \
                 by one scalar{lead}.{proof}",
                place(message),
                number("rows"),
                number("ratio"),
                percent(number("top1_share"))
            )
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_in_percent() {
        assert_eq!((change(4.0, 1.0), change(0.0, 1.0)), (-75.0, 0.0));
    }
}
