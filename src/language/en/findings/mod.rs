//! The findings of experiments.

mod inside;
mod rounding;

use super::arms::arm;
use super::{apart, percent, shown};
use crate::terms::{Cell, Message};

/// The sentence of a finding.
pub fn sentence(message: &Message) -> Option<String> {
    of_arms(message).or_else(|| of_scaling(message)).or_else(|| rounding::sentence(message)).or_else(|| inside::sentence(message))
}

fn label(code: &str) -> String {
    arm(code).unwrap_or_else(|| code.into())
}

fn of_arms(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    let name = || label(message.text("arm"));
    let per_tensor = |why: &str| format!("Prune Non-SW per tensor, as in the paper's code, removes nothing here: {why}.");
    Some(match message.code.as_str() {
        "no_super_weight_arms" => "No super weight was named, so only the arms without one were measured.".into(),
        "per_tensor_too_small" => per_tensor("no weight tensor has a million scalars, and it takes a millionth of each"),
        "per_tensor_is_super_weights" => per_tensor("the largest millionth of each weight tensor is the super weights themselves"),
        "super_activation_mean" => format!(
            "The super activation's mean at its peak in layer {}, row {} is {:.2}, over {} sequences of {}, each of {} tokens.",
            number("layer"),
            number("row"),
            number("mean"),
            number("sequences"),
            message.text("text"),
            number("length")
        ),
        "arm_loss" => format!(
            "{}: {} nats, perplexity {} to {}.",
            name(),
            apart(number("before_nats"), number("after_nats"), 4),
            shown(number("before"), 2),
            shown(number("after"), 2)
        ),
        "arm_accuracy" => {
            format!("{}: mean accuracy goes from {:.2} to {:.2} %.", name(), percent(number("before")), percent(number("after")))
        }
        "restored_overflow" => "A loss is beyond all bounds, so it has no share.".into(),
        "restored_loss" => {
            format!("Restoring the super activation recovers {:.0} % of the loss that pruning adds.", percent(number("share")))
        }
        "restored_too_little" => "Pruning adds too little to the loss for a meaningful share.".into(),
        "restored_accuracy" => format!(
            "It recovers {:.0} % of the mean accuracy that pruning costs; in the paper about {:.0} % for Llama-7B.",
            percent(number("share")),
            percent(number("paper"))
        ),
        "restored_no_accuracy" => "Pruning does not lower the mean accuracy here, so nothing can be recovered.".into(),
        _ => return None,
    })
}

fn of_scaling(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    let cost = || apart(number("intact_nats"), number("removed_nats"), 3);
    Some(match message.code.as_str() {
        "no_factor_0" => "Factor 0 was not requested, so the collapse cannot be located.".into(),
        "least_loss" => {
            let change = apart(number("intact_nats"), number("loss_nats"), 4);
            format!("The loss is least at factor {}: {change} nats from the intact model.", number("factor"))
        }
        "collapse" => format!(
            "The model collapses below {:.2} times the super weight, where half of the {} nats that its removal costs are reached.",
            number("threshold"),
            cost()
        ),
        "no_collapse" => format!("The model does not collapse: full removal costs {} nats.", cost()),
        "collapse_overflow" => {
            format!("At factor 0 the loss is {}, so half of the removal's cost is undefined.", shown(number("removed_nats"), 3))
        }
        "scaling_accuracy" => {
            let removed = match message.args.get("removed").and_then(Cell::number) {
                Some(acc) => format!(", {:.2} % at factor 0", percent(acc)),
                None => String::new(),
            };
            format!(
                "The mean accuracy is {:.2} % at factor 1{removed}, and highest at factor {}: {:.2} %.",
                percent(number("intact")),
                number("factor"),
                percent(number("best"))
            )
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::WeightCoord;

    fn said(message: Message) -> String {
        sentence(&message).unwrap()
    }

    #[test]
    fn sentences_have_their_numbers() {
        let arm = Message::new("arm_loss").with("arm", "prune_sw").with("before_nats", 3.5_f32).with("after_nats", 4.75_f32);
        assert_eq!(
            said(arm.clone().with("before", 33.115_f32).with("after", 115.58_f32)),
            "Prune SW: +1.2500 nats, perplexity 33.12 to 115.58."
        );
        let overflowed = arm.with("after_nats", f32::MAX).with("before", 33.115_f32).with("after", f32::MAX);
        assert_eq!(said(overflowed), "Prune SW: beyond all bounds nats, perplexity 33.12 to beyond all bounds.");
        let rank = Message::new("row_rank").at(WeightCoord::new(2, 12, 86)).with("rank", 1_usize).with("rows", 5120_usize);
        assert_eq!(
            said(rank.with("rank_in_layer", 1_usize).with("col_found", 86_usize)),
            "layer 2, [12, 86]: its row is number 1 of 5120 by the weights alone, 1 in its layer, and points at it."
        );
        let gap = |gap: f32| said(Message::new("rounding_noise").with("noise", 0.007_f32).with("gap", gap));
        assert!(gap(0.003).contains("may be chance") && gap(-0.05).contains("larger than that"));
    }

    #[test]
    fn held_out_scalars_are_named_by_layer_row_and_column() {
        let told = said(Message::new("held_out").with("rows", "7, 12").with("scalars", "2,12,86; 3,7,9"));
        assert!(
            told.contains("one value of channel 7, 12; in down_proj's input one value of channel 86 of layer 2, 9 of layer 3;"),
            "{told}"
        );
        assert!(told.ends_with("down_proj of layer 2 [12, 86], layer 3 [7, 9]."), "{told}");
    }
}
