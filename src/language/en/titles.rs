//! The titles of tables and pictures.

use super::arms::arm;
use crate::terms::Message;

/// The title of a table or a picture.
pub fn title(message: &Message) -> Option<String> {
    let bits = || message.number("bits");
    Some(match message.code.as_str() {
        "attention_on_first" => {
            let of = message.text("arm");
            format!("Attention on the first token: {}", arm(of).unwrap_or_else(|| of.into()))
        }
        "perplexity_by_block" => format!("Perplexity against block size, weights in {} bits", bits()),
        "accuracy_by_block" => format!("Mean accuracy over tasks against block size, weights in {} bits", bits()),
        code => plain(code)?.into(),
    })
}

fn plain(code: &str) -> Option<&'static str> {
    Some(match code {
        "loss_on_text" => "Loss on the text",
        "zero_shot_accuracy" => "Zero-shot accuracy",
        "choices" => "Every choice of every item",
        "gap_closed" => "Share of the gap closed",
        "weight_errors" => "Distance of the weights from the intact ones",
        "mean_accuracy" => "Mean accuracy over the tasks",
        "candidates_by_weights" => "Candidates from the weights alone",
        "prominent_rows" => "The most prominent row of each layer",
        "known_among_rows" => "The named super weights among these rows",
        "attention_on_first_by_head" => "Mean attention on the first token, over all queries except the first",
        "massive_activations" => "The largest value after each layer, and the median magnitude there",
        "channel_behind_layers" => "The super weight's channel after every layer, at every token (layer -1: embeddings)",
        "largest_behind_layers" => "Largest magnitudes after every layer, over all tokens",
        "next_token_mass" => "Mean over prompts: probability on our list of stopwords, and on all other tokens; entropy; likeliest token",
        "likeliest_tokens" => "The likeliest next tokens, as means over prompts",
        "likeliest_before_and_after" => "The likeliest tokens of the intact model, and those without the super weights",
        "removals_by_rules" => "Removals by rules",
        "channels_around_core" => "Channels by group around the core",
        "checkpoints" => "Checkpoints",
        "candidates" => "Candidates",
        "loss_of_arms" => "Held-out loss of every arm",
        "deletions" => "Channels removed one at a time",
        "correlations" => "Correlation of loss proxy and change of the loss",
        "core_shares" => "Share of the loss proxy in the core, by layer",
        "masses" => "Cumulative loss proxy of the first channels",
        "overlaps" => "Agreement with the loss proxy",
        "ranks_of_super_weights" => "Super weights' channels by loss proxy",
        "scores_of_channels" => "Scores of every channel",
        "overlap_of_cores" => "Share of the core that another measure finds (Jaccard index), by layer",
        "correlation_by_layer" => "Spearman's correlation of loss proxy and change of the loss, by layer",
        "perplexity_by_arm" => "Perplexity by arm",
        "accuracy_by_arm" => "Accuracy by arm",
        "largest_over_median" => "Largest value over the median",
        "prominence_by_layer" => "Prominence of the first row of each layer",
        "score_by_layer" => "Score of the same rows",
        "perplexity" => "Perplexity",
        "loss_by_scale" => "Loss against the super weights' scale",
        "accuracy_by_scale" => "Task accuracy against the super weights' scale",
        "channel_peaks" => "Largest magnitude in the super weight's channel",
        "largest_magnitudes" => "Largest magnitude of all channels",
        "largest_outputs" => "Largest magnitude of down_proj's output",
        "channel_at_tokens" => "The channel at every token",
        "likeliest_next" => "The likeliest next tokens",
        "largest_inputs" => "Largest |input| of down_proj, by layer",
        "largest_down_proj_outputs" => "Largest |output| of down_proj, by layer",
        _ => return None,
    })
}
