//! Links and exports of version 1, in which figures and arms of experiments have English names. The names are
//! replaced by codes, so that an old document can be compared with a new measurement.

use crate::terms::{Cell, Outcome};

/// The arms of version 1, in tables and in the names of figures, with their codes.
const ARMS: [(&str, &str); 15] = [
    ("Original", "original"),
    ("Prune SW", "prune_sw"),
    ("Prune SW, +SA", "prune_sw_restored"),
    ("SA set to 0", "sa_zero"),
    ("SA set to its mean", "sa_mean"),
    ("super weights removed", "removed"),
    ("another large weight removed", "other_removed"),
    ("Full precision", "full_precision"),
    ("SA held out", "sa_held_out"),
    ("SmoothQuant", "smooth_quant"),
    ("RTN", "nearest"),
    ("SW held out", "sw_held_out"),
    ("the whole matrix", "matrix"),
    ("intact", "intact"),
    ("removed", "removed"),
];

/// The figures of version 1 with names without an arm, with their codes.
const FIGURES: [(&str, &str); 11] = [
    ("loss at factor 1", "loss/factor_1"),
    ("loss at factor 0", "loss/factor_0"),
    ("collapse threshold", "collapse_threshold"),
    ("factor of the least loss", "least_loss_factor"),
    ("mean accuracy at factor 1", "mean_accuracy/factor_1"),
    ("mean accuracy at factor 0", "mean_accuracy/factor_0"),
    ("factor of the highest mean accuracy", "highest_accuracy_factor"),
    ("first layer above half of it", "first_layer_above_half"),
    ("last layer above half of it", "last_layer_above_half"),
    ("score over the layer's median, rank 1", "score_ratio"),
    ("share of one scalar in its row, rank 1", "top1_share"),
];

/// The beginnings of the names that end with an arm, with their codes.
const OF_ARMS: [(&str, &str); 10] = [
    ("perplexity, ", "perplexity"),
    ("mean accuracy, ", "mean_accuracy"),
    ("share of the perplexity gap closed, ", "gap_closed"),
    ("largest magnitude in the channel, ", "channel_peak"),
    ("sink heads, ", "sink_heads"),
    ("largest value over the median, ", "massive_ratio"),
    ("layers with massive activations, ", "massive_layers"),
    ("likeliest token's probability, ", "likeliest_probability"),
    ("stopword mass, ", "stopword_mass"),
    ("entropy, ", "entropy"),
];

/// The code of a figure named in a document of version 1; an unknown name stays as it is.
pub fn figure(name: &str) -> String {
    if let Some((_, code)) = FIGURES.iter().find(|(known, _)| *known == name) {
        return (*code).into();
    }
    if let Some((code, of)) = OF_ARMS.iter().find_map(|(start, code)| Some((code, name.strip_prefix(start)?))) {
        return format!("{code}/{}", rounded(of).unwrap_or_else(|| arm(of)));
    }
    // "rank of layer 2, [12, 86]"
    match name.strip_prefix("rank of layer ") {
        Some(place) => {
            let numbers = place.split(|letter: char| !letter.is_ascii_digit()).filter(|number| !number.is_empty());
            format!("rank/{}", numbers.collect::<Vec<_>>().join(","))
        }
        None => name.into(),
    }
}

/// The code of "INT4, 1024, RTN": bits, block and method.
fn rounded(of: &str) -> Option<String> {
    let mut parts = of.strip_prefix("INT")?.splitn(3, ", ");
    let (bits, block, method) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("int{bits}/{}/{}", arm(block), arm(method)))
}

/// The code of an arm named in a document of version 1; another text stays as it is.
pub fn arm(name: &str) -> String {
    if let Some((_, code)) = ARMS.iter().find(|(known, _)| *known == name) {
        return (*code).into();
    }
    if let Some(z) = name.strip_prefix("z = ") {
        return format!("clipped_{z}");
    }
    if name.starts_with("Prune random, ") {
        return "prune_random".into();
    }
    if name.starts_with("Naive W") {
        return "naive".into();
    }
    match name.strip_prefix("Prune Non-SW, ") {
        Some(of) => of.strip_suffix(" largest").map_or("prune_non_sw_per_tensor".into(), |n| format!("prune_non_sw_{n}_largest")),
        None => name.into(),
    }
}

/// The columns of tables that hold codes.
const COLUMNS: [&str; 3] = ["arm", "method", "block"];

/// Replaces the names in an outcome of version 1 by codes.
pub fn convert(outcome: &mut Outcome) {
    outcome.headline.iter_mut().for_each(|of| of.name = figure(&of.name));
    for table in &mut outcome.tables {
        let columns = COLUMNS.iter().filter_map(|name| table.column(name)).collect::<Vec<_>>();
        for cell in table.rows.iter_mut().flat_map(|row| row.iter_mut().enumerate()).filter(|(at, _)| columns.contains(at)) {
            if let Cell::Text(name) = cell.1 {
                *name = arm(name);
            }
        }
    }
    for plot in &mut outcome.plots {
        if plot.title == "The same: super weights removed" {
            plot.title = "Attention on the first token: super weights removed".into();
        }
        if let Some((_, text)) = plot.only.as_mut().filter(|(column, _)| COLUMNS.contains(&column.as_str())) {
            // The arm was part of the title.
            if let Some(title) = plot.title.strip_suffix(&format!(": {text}")) {
                plot.title = title.into();
            }
            *text = arm(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_version_1_have_codes() {
        for (name, code) in [
            ("perplexity, Prune SW, +SA", "perplexity/prune_sw_restored"),
            ("perplexity, Prune random, 3", "perplexity/prune_random"),
            ("perplexity, Prune Non-SW, 14 largest", "perplexity/prune_non_sw_14_largest"),
            ("perplexity, Prune Non-SW, per tensor (12)", "perplexity/prune_non_sw_per_tensor"),
            ("perplexity, Naive W8A8", "perplexity/naive"),
            ("perplexity, INT4, the whole matrix, z = 9.5", "perplexity/int4/matrix/clipped_9.5"),
            ("perplexity, INT3, 1024, SW held out", "perplexity/int3/1024/sw_held_out"),
            ("perplexity, intact", "perplexity/intact"),
            ("share of the perplexity gap closed, SmoothQuant", "gap_closed/smooth_quant"),
            ("largest magnitude in the channel, another large weight removed", "channel_peak/other_removed"),
            ("rank of layer 2, [12, 86]", "rank/2,12,86"),
            ("loss at factor 0", "loss/factor_0"),
            ("a name of nobody", "a name of nobody"),
        ] {
            assert_eq!(figure(name), code);
        }
    }
}
