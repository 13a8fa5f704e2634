//! Findings about rounded weights and activations.

use super::super::{apart, percent, shown};
use super::label;
use crate::terms::Message;

/// The sentence of a finding.
pub fn sentence(message: &Message) -> Option<String> {
    of_rounded_activations(message).or_else(|| of_rounded_weights(message))
}

fn of_rounded_activations(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    let (before, after) = (number("before"), number("after"));
    let name = || label(message.text("arm"));
    Some(match message.code.as_str() {
        "rounding_naive" => format!(
            "Naive W{0}A{0} changes the perplexity from {1} to {2} ({3}, {4} nats).",
            number("bits"),
            shown(before, 4),
            shown(after, 4),
            apart(before, after, 4),
            apart(number("before_nats"), number("after_nats"), 5)
        ),
        "gap_closed" => format!(
            "{}: perplexity {} ({}), {:.1} % of the gap closed.",
            name(),
            shown(after, 4),
            apart(before, after, 4),
            percent(number("share"))
        ),
        "no_gap" => format!("{}: perplexity {} ({}); there is no gap to close.", name(), shown(after, 4), apart(before, after, 4)),
        "nothing_held_out" => "No super weight was named, so no super activation was held out.".into(),
        "held_out" => held_out(message),
        "not_rounded" => {
            "Not rounded in any arm: the output projection of the attention with its input, biases, norms, embeddings and head.".into()
        }
        "rounding_noise" => {
            let noise = number("noise") as f32;
            let verdict = match number("gap").abs() as f32 <= noise {
                true => "The gap here is not larger than that, so its shares may be chance.",
                false => "The gap here is larger than that.",
            };
            format!(
                "The order of sums alone can decide how a value between two levels is rounded, and so change all later values. On \
                 linchpin-13m, over 318 tokens, this moved the loss by up to {noise} nats; it was not measured on other models and \
                 texts. {verdict}"
            )
        }
        "w8a8_paper" => {
            "In the paper (Llama-7B, WikiText-2) the perplexities are 5.68 in full precision, 5.83 naive, 5.74 with the super activation \
             held out and 5.71 with SmoothQuant."
                .into()
        }
        "smoothed" => format!(
            "SmoothQuant: alpha {}, with the largest activations over {} sequences of {}, each of {} tokens.",
            number("alpha"),
            number("sequences"),
            message.text("text"),
            number("length")
        ),
        _ => return None,
    })
}

/// The scalars are written as "2,12,86; 3,7,9".
fn held_out(message: &Message) -> String {
    let scalars = message.text("scalars").split("; ").map(|at| at.split(',').collect::<Vec<_>>()).collect::<Vec<_>>();
    let list = |part: &dyn Fn(&[&str]) -> Option<String>| scalars.iter().filter_map(|at| part(at)).collect::<Vec<_>>().join(", ");
    let cols = list(&|at| Some(format!("{} of layer {}", at.get(2)?, at.first()?)));
    let places = list(&|at| Some(format!("layer {} [{}, {}]", at.first()?, at.get(1)?, at.get(2)?)));
    format!(
        "Held out: in the inputs of queries, keys, values, gate and up of every layer, one value of channel {}; in down_proj's input one \
         value of channel {cols}; each at its largest magnitude in a block of the text. Weights held out: down_proj of {places}.",
        message.text("rows")
    )
}

fn of_rounded_weights(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    let rounding = || format!("INT{}, {}", number("bits"), label(message.text("method")));
    let block = || match message.text("block") {
        "matrix" => "the whole matrix".into(),
        block => format!("{block} scalars"),
    };
    Some(match message.code.as_str() {
        "rounded_accuracy" => format!(
            "{}: mean accuracy {:.2} % at blocks of {}, and {:.2} % intact.",
            rounding(),
            percent(number("acc")),
            block(),
            percent(number("intact"))
        ),
        "falls_apart" => format!(
            "{}: falls apart at blocks of {}, with a perplexity of {} against {} (more than {} times).",
            rounding(),
            block(),
            shown(number("perplexity"), 4),
            shown(number("intact"), 4),
            number("times")
        ),
        "holds" => format!(
            "{}: holds at every block size, its worst perplexity {} at blocks of {} against {}.",
            rounding(),
            shown(number("perplexity"), 4),
            block(),
            shown(number("intact"), 4)
        ),
        "no_block_size" => format!("{}: no block size was requested.", rounding()),
        "holding_out_helps" | "holding_out_harms" => format!(
            "INT{}: holding the super weights out lowers the perplexity at {} of {} block sizes. It matters most at blocks of {}, where it \
             {}: {} without, {} with it; the mean squared error of all weights goes from {:.4e} to {:.4e}.",
            number("bits"),
            number("better"),
            number("of"),
            block(),
            if message.code == "holding_out_helps" { "helps" } else { "harms" },
            shown(number("before"), 4),
            shown(number("after"), 4),
            number("error_before"),
            number("error_after")
        ),
        "no_super_weight_held_out" => "No super weight was named, so none was held out or put back.".into(),
        "blocks_whole" => format!(
            "No matrix has more than {} scalars: blocks of that size or larger are the whole matrix, and are measured once.",
            number("largest")
        ),
        _ => return None,
    })
}
