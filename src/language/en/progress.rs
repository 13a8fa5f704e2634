//! The steps of long work.

use super::arms::arm;
use crate::terms::Message;

/// The words for a step.
pub fn doing(message: &Message) -> Option<String> {
    let label = || arm(message.text("arm")).unwrap_or_else(|| message.text("arm").into());
    let count = |name: &str| message.number(name);
    Some(match message.code.as_str() {
        "looking_into_model" => "inspecting the model".into(),
        "loading_weights" => "loading weights".into(),
        "loading_file" => format!("loading weights, file {} of {}", count("index"), count("of")),
        "waiting_for_file" => format!("{}: {}", message.text("file"), message.text("why")),
        "saving_file" => format!("saving weights, file {} of {}", count("index"), count("of")),
        "checking_saved" => "reading the saved files again".into(),
        "searching_weights" => "searching the weights".into(),
        "looking_for_spikes" => "looking for spikes".into(),
        "confirming" => format!("held-out text, arm {} of {}", count("index"), count("of")),
        "evaluating" => "held-out text".into(),
        "scoring" => "scoring channels".into(),
        "halo_redundancy" => "redundancy of halos".into(),
        "channel_means" => "means of channels".into(),
        "measuring_removals" => "measuring removals".into(),
        "deleting" => "removing channels one at a time".into(),
        "measuring_speed" => format!("measuring {}", message.text("figure")),
        "largest_activations" => "largest activations".into(),
        "super_activation_means" => "mean of the super activation".into(),
        "arm" => format!("{}, {} of {}", label(), count("index"), count("of")),
        "propagation" => label(),
        "sinks" => format!("attention and residual stream, {}", label()),
        "next_tokens" => format!("next tokens, {}", label()),
        _ => return None,
    })
}
