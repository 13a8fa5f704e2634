//! Links and exports of earlier versions, with English names in place of codes. The names are replaced by codes, so that
//! an old document can be compared with a new measurement. Figures and arms have codes since version 2 of both,
//! conventions since version 3 of exports.

use crate::terms::{Cell, Message, Outcome};

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
        if let Some((_, text)) = plot.only.as_mut().filter(|(column, _)| COLUMNS.contains(&column.as_str())) {
            // The arm was part of the title.
            if let Some(title) = plot.title.text("text").strip_suffix(&format!(": {text}")) {
                plot.title = Message::new(Message::SAID).with("text", title);
            }
            *text = arm(text);
        }
    }
}

/// Puts the text and the length of its sequences in the place of the sentence that findings of version 2 have for both.
pub fn finding(message: &mut Message) {
    let Some((text, length)) = message.text("convention").split_once(", cut into sequences of ") else { return };
    let Some(length) = number(length) else { return };
    let mut told = message.clone().with("text", text).with("length", length);
    told.args.remove("convention");
    *message = told;
}

/// The code of a convention in the form of a sentence; another sentence stays as it is.
pub fn convention(message: &Message) -> Message {
    let known = || {
        let (on, calibration) =
            message.text("text").split_once("; calibrated on ").map_or((message.text("text"), None), |(a, b)| (a, Some(b)));
        let convention = concatenated(on).or_else(|| prompts(on))?;
        calibration.map_or(Some(convention.clone()), |told| calibrated(convention, told))
    };
    if message.code == Message::SAID { known().unwrap_or_else(|| message.clone()) } else { message.clone() }
}

/// Reads "concat-bos-512 NAME (DIGEST) in one, 12 blocks of 512 tokens".
fn concatenated(said: &str) -> Option<Message> {
    let (head, cut) = said.rsplit_once(" in one, ")?;
    let (id, named) = head.split_once(' ')?;
    let (code, block) = match id.strip_prefix("concat-bos-") {
        Some(block) => ("concat_bos", block),
        None => ("concat", id.strip_prefix("concat-")?),
    };
    let (text, digest) = named_with_digest(named)?;
    let blocks = if cut.starts_with("one ") { 1 } else { number(cut)? };
    Some(Message::new(code).with("block", number(block)?).with("blocks", blocks).with("text", text).with("digest", digest))
}

/// Reads "first-sentences-1 100 of the bundled texts (DIGEST), each ..., 3 of them only the last 8 tokens" and
/// "task-contexts-1 3 prompts, 2 of lambada_openai, 1 of piqa, each ...".
fn prompts(said: &str) -> Option<Message> {
    if let Some(said) = said.strip_prefix("first-sentences-1 ") {
        let digest = said.split_once('(')?.1.split_once(')')?.0;
        let convention = Message::new("first_sentences_1").with("prompts", number(said)?).with("digest", digest);
        return Some(match said.split_once("last word, ").map(|(_, cut)| cut.split_once(" of them only the last ")) {
            Some(Some((n, limit))) => convention.with("n_cut", number(n)?).with("limit", number(limit)?),
            _ => convention,
        });
    }
    let said = said.strip_prefix("task-contexts-1 ")?;
    let convention = Message::new("task_contexts_1").with("prompts", number(said)?);
    let tasks = said.split(", ").filter_map(|part| part.split_once(" of ")).filter_map(|(n, task)| Some((number(n)?, task)));
    Some(tasks.fold(convention, |convention, (n, task)| convention.with(&format!("of_{task}"), n)))
}

/// Reads "NAME, cut into sequences of 128 tokens (DIGEST), 4 of them".
fn calibrated(convention: Message, told: &str) -> Option<Message> {
    let (text, rest) = told.rsplit_once(", cut into sequences of ")?;
    let (length, digest) = named_with_digest(rest.rsplit_once(", ")?.0)?;
    let sequences = number(rest.rsplit_once(", ")?.1)?;
    let told = convention.with("calibrated_text", text).with("calibrated_digest", digest);
    Some(told.with("calibrated_length", number(length)?).with("calibrated_sequences", sequences))
}

/// Reads "NAME (DIGEST)".
fn named_with_digest(named: &str) -> Option<(&str, &str)> {
    named.strip_suffix(')')?.rsplit_once(" (")
}

/// The whole number at the beginning of a text.
fn number(text: &str) -> Option<usize> {
    text.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
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

    #[test]
    fn findings_of_version_2_name_their_text_and_its_sequences() {
        let mut told = Message::new("smoothed").with("alpha", 0.8_f64).with("convention", "mine, cut into sequences of 128 tokens");
        finding(&mut told);
        assert_eq!(told.id(), "smoothed alpha=0.8 length=128 text=mine");
        let mut other = Message::new("collapse").with("threshold", 0.25_f64);
        finding(&mut other);
        assert_eq!(other, Message::new("collapse").with("threshold", 0.25_f64));
    }

    #[test]
    fn conventions_that_were_sentences_have_codes() {
        for (sentence, id) in [
            (
                "concat-bos-512 held-out passages 1 (0123456789abcdef) in one, 12 blocks of 512 tokens",
                "concat_bos block=512 blocks=12 digest=0123456789abcdef text=held-out passages 1",
            ),
            ("concat-8 mine (draft), new (ab) in one, one block of 8 tokens", "concat block=8 blocks=1 digest=ab text=mine (draft), new"),
            (
                "concat-8 a (ab) in one, 2 blocks of 8 tokens; calibrated on calibration excerpts 1, cut into sequences of 128 tokens (cd), 4 of them",
                "concat block=8 blocks=2 calibrated_digest=cd calibrated_length=128 calibrated_sequences=4 calibrated_text=calibration \
                 excerpts 1 digest=ab text=a",
            ),
            (
                "first-sentences-1 100 of the bundled texts (ab), each without its last word, 3 of them only the last 8 tokens",
                "first_sentences_1 digest=ab limit=8 n_cut=3 prompts=100",
            ),
            ("first-sentences-1 9 of the bundled texts (ab), each without its last word", "first_sentences_1 digest=ab prompts=9"),
            (
                "task-contexts-1 3 prompts, 2 of lambada_openai, 1 of piqa, each without what is to be predicted",
                "task_contexts_1 of_lambada_openai=2 of_piqa=1 prompts=3",
            ),
            ("something else", "something else"),
        ] {
            assert_eq!(convention(&Message::new(Message::SAID).with("text", sentence)).id(), id);
        }
        let message = Message::new("concat").with("block", 8_usize);
        assert_eq!(convention(&message), message);
    }
}
