//! The names of the few figures that a link carries.

use super::arms::arm;

/// The name of a figure for people: `perplexity/prune_sw` is "perplexity, Prune SW". An unknown name, as in a link
/// from elsewhere, stays as it is.
pub fn figure(code: &str) -> String {
    let (figure, of) = code.split_once('/').unwrap_or((code, ""));
    let name = match figure {
        "perplexity" => "perplexity",
        "loss" => "loss",
        "mean_accuracy" => "mean accuracy",
        "collapse_threshold" => "collapse threshold",
        "least_loss_factor" => "factor of the least loss",
        "highest_accuracy_factor" => "factor of the highest mean accuracy",
        "channel_peak" => "largest magnitude in the channel",
        "first_layer_above_half" => "first layer above half of it",
        "last_layer_above_half" => "last layer above half of it",
        "sink_heads" => "sink heads",
        "massive_ratio" => "largest value over the median",
        "massive_layers" => "layers with massive activations",
        "likeliest_probability" => "likeliest token's probability",
        "stopword_mass" => "stopword mass",
        "entropy" => "entropy",
        "score_ratio" => "score over the layer's median, rank 1",
        "top1_share" => "share of one scalar in its row, rank 1",
        "gap_closed" => "share of the perplexity gap closed",
        "rank" => return rank(of),
        _ => return code.into(),
    };
    match of {
        "" => name.into(),
        of if of.starts_with("factor_") => format!("{name} at factor {}", &of["factor_".len()..]),
        of => format!("{name}, {}", arm(of).unwrap_or_else(|| of.into())),
    }
}

/// "rank of layer 2, [12, 86]".
fn rank(of: &str) -> String {
    match of.split(',').collect::<Vec<_>>()[..] {
        [layer, row, col] => format!("rank of layer {layer}, [{row}, {col}]"),
        _ => format!("rank of {of}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::earlier;

    #[test]
    fn figures_are_named_as_they_were_in_version_1() {
        for name in [
            "perplexity, Prune SW, +SA",
            "perplexity, INT4, the whole matrix, z = 9.5",
            "perplexity, INT3, 1024, SW held out",
            "share of the perplexity gap closed, SmoothQuant",
            "largest magnitude in the channel, another large weight removed",
            "rank of layer 2, [12, 86]",
            "collapse threshold",
        ] {
            assert_eq!(figure(&earlier::figure(name)), name);
        }
        assert_eq!(figure("loss/factor_0.5"), "loss at factor 0.5");
        assert_eq!(figure("a name of nobody"), "a name of nobody");
    }
}
