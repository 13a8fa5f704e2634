//! A saved model: its model card, and a few sentences about what was written.

use super::counted;
use super::removal::pruning;
use crate::terms::{Cut, HUB, PerLayer, SUMS_FILE, Saved, SavedState, Unit, WeightEdit, without_scheme};

/// A model card: the facts in [`Saved`], the model's name, and a link.
#[derive(Debug, Clone, Copy)]
pub struct Card<'a> {
    pub saved: &'a Saved,
    /// The id of the original model.
    pub id: &'a str,
    /// The link that names the edits, or at least its fragment; `None` if they do not fit into a link.
    pub link: Option<&'a str>,
}

impl Card<'_> {
    /// The model card, as Markdown with the Hub's metadata at its beginning.
    pub fn text(&self) -> String {
        let Card { saved, id, link } = *self;
        let repo = repository(saved);
        let metadata = repo.map_or(String::new(), |repo| format!("base_model: {repo}\nbase_model_relation: finetune\n"));
        let edits = saved.ablation.weight_edits.iter().map(|edit| format!("- {} {}\n", sentence(edit), typed(edit)));
        let removed = saved.pruned.iter().map(|pruned| {
            let (rule, n, digest) = (pruning(&pruned.pruning), counted(pruned.n_channels as f64, "channel"), &pruned.digest);
            let (text, n_sequences, length) = (&pruned.calibration.text_digest, pruned.calibration.n_sequences, pruned.calibration.length);
            format!(
                "- Removed feed-forward channels: {rule}. These are {n} (digest `{digest}`), scored over {n_sequences} sequences of \
                 {length} tokens of the text `{text}`.\n"
            )
        });
        let reproduce = match link {
            Some(link) => {
                format!("This link holds the edits; the page of Linchpin and `linchpin save LINK --out DIR` read it:\n\n    {link}\n")
            }
            None => "The edits do not fit into a link of Linchpin; the coordinates above are complete.\n".into(),
        };
        let tensors = saved.tensors.iter().map(|tensor| {
            let shape = tensor.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("| `{}` | [{shape}] | {} |\n", tensor.name, tensor.n_changed)
        });
        let weights = saved.files.iter().filter(|file| file.name.ends_with(".safetensors"));
        let digests = weights.map(|file| format!("- `{}`: SHA-256 `{}`\n", file.name, file.sha256));
        format!(
            "---\n{metadata}tags:\n- linchpin\n- weight-editing\n---\n\n# {id}, with edited weights\n\nThis is {} with a few weights changed on \
             purpose, to study what depends on them. It is not an improved model. The licence of the original applies.\n\n## Edits\n\n{}{}\n\
             Rows and columns count from 0, in `[out, in]` order; `row` is a residual channel, `col` a feed-forward channel.\n\n{reproduce}\n\
             ## What changed\n\n{}\n\n| tensor | shape | changed values |\n|---|---|---|\n{}\n\
             Weights of the original: revision `{}`. Weights here: revision `{}`.\n\n{}\n`{SUMS_FILE}` lists the SHA-256 of every file \
             (`sha256sum --check {SUMS_FILE}`).\n",
            original(saved, id),
            removed.collect::<String>(),
            edits.collect::<String>(),
            summary(saved).join("\n"),
            tensors.collect::<String>(),
            saved.base_revision,
            saved.revision,
            digests.collect::<String>(),
        )
    }
}

/// The repository on the Hub that the original came from.
fn repository(saved: &Saved) -> Option<&str> {
    saved.origin.strip_prefix(without_scheme(HUB).as_str())?.strip_prefix('/')
}

fn original(saved: &Saved, id: &str) -> String {
    match (repository(saved), &saved.commit) {
        (Some(repo), Some(commit)) => format!("[{repo}]({HUB}/{repo}) at commit `{commit}`"),
        (Some(repo), None) => format!("[{repo}]({HUB}/{repo})"),
        (None, _) => format!("the model {id} ({})", saved.origin),
    }
}

/// Sentences on what was written.
pub fn summary(saved: &Saved) -> Vec<String> {
    let tensors = counted(saved.tensors.len() as f64, "tensor");
    let (values, n_back) = (counted(saved.n_changed() as f64, "value"), saved.n_rounded_back());
    let mut said = vec![format!(
        "{values} in {tensors} changed, each rounded to nearest in its tensor's own type. The other {} are the original's, byte for byte, \
         which was checked after writing.",
        counted(saved.n_untouched as f64, "tensor")
    )];
    if n_back > 0 {
        said.push(format!(
            "{} stayed, because the edit changes them by less than their type can hold: the saved model does not have this part of the edit.",
            counted(n_back as f64, "value")
        ));
    }
    said.extend(saved.cut.as_ref().map(cut));
    said
}

fn cut(Cut { before, after, padded }: &Cut) -> String {
    let padded = padded.iter().enumerate().filter(|(_, n)| **n > 0).collect::<Vec<_>>();
    let width = format!("Removed channels were cut out: each layer has {after} channels instead of {before} (config.json says so).");
    if padded.is_empty() {
        return width;
    }
    let range = PerLayer::Each(padded.iter().map(|(_, n)| **n).collect());
    format!(
        "{width} transformers has one width for all layers, so {} that lost more channels end with channels of zeros ({range} each).",
        counted(padded.len() as f64, "layer")
    )
}

/// Instructions for putting the folder together, for a save in a browser.
pub fn files_to_take(saved: &Saved) -> String {
    let names = |state: SavedState| {
        let names = saved.files.iter().filter(|file| file.state == state).map(|file| file.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "Put these downloads into one folder, and take the other files unchanged from the original: {}. Then \
         “sha256sum --check {SUMS_FILE}” checks the whole folder.",
        names(SavedState::Original)
    )
}

/// An edit as a sentence.
pub fn sentence(edit: &WeightEdit) -> String {
    let place = edit.target.place();
    let (layer, scale) = (place.layer, edit.scale);
    let in_layer = place.expert.map_or(format!("layer {layer}"), |expert| format!("expert {expert} of layer {layer}"));
    let index = place.row.or(place.col).unwrap_or_default();
    let done = if scale == 0.0 { "set to zero".to_owned() } else { format!("multiplied by {scale}") };
    match place.unit {
        Unit::Scalar => {
            let col = place.col.unwrap_or_default();
            format!("The weight `down_proj[{index}, {col}]` of {in_layer} is {done}.")
        }
        Unit::Row => format!("Row {index} of `down_proj` of {in_layer} is {done}."),
        Unit::Column => format!("Column {index} of `down_proj` of {in_layer} is {done}."),
        Unit::Channel if scale == 0.0 => {
            format!(
                "Feed-forward channel {index} of {in_layer} is removed: everything that computes it, and everything that it writes, is zero."
            )
        }
        Unit::Channel => format!("The output of feed-forward channel {index} of {in_layer} is {done}."),
        Unit::ChannelMean if scale == 0.0 => {
            format!(
                "Feed-forward channel {index} of {in_layer} is set to its mean over the calibration text, which is now part of the bias."
            )
        }
        Unit::ChannelMean => format!("The distance of feed-forward channel {index} of {in_layer} from its mean is {done}."),
    }
}

/// The coordinate as the command takes it.
fn typed(edit: &WeightEdit) -> String {
    let place = edit.target.place();
    let option = match place.unit {
        Unit::Scalar => "scalar",
        Unit::Row => "row",
        Unit::Column => "column",
        Unit::Channel => "channel",
        Unit::ChannelMean => "channel-mean",
    };
    format!("(`--{option} {}={}`)", place.typed(), edit.scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::{Ablation, ChangedTensor, EditTarget, SavedFile};

    fn saved() -> Saved {
        let edit = |target, scale| WeightEdit { target, scale };
        let file = |name: &str, state| SavedFile { name: name.into(), size: 8, sha256: "ab".repeat(32), state, url: None };
        let weight_edits = vec![edit(EditTarget::scalar(11, 507, 1229), 0.0), edit(EditTarget::row(2, 5), -1.5)];
        Saved {
            base_revision: "0123456789abcdef".into(),
            origin: "huggingface.co/org/name".into(),
            commit: Some("c".repeat(40)),
            ablation: Ablation { weight_edits, ..Ablation::default() },
            pruned: None,
            added_bos: None,
            cut: None,
            revision: "fedcba9876543210".into(),
            tensors: vec![ChangedTensor { name: "t.weight".into(), shape: vec![2, 3], n_changed: 1, n_rounded_back: 0 }],
            n_untouched: 271,
            files: vec![file("config.json", SavedState::Original), file("model.safetensors", SavedState::Changed)],
        }
    }

    #[test]
    fn card_names_base_edits_link_and_digests() {
        let card = Card { saved: &saved(), id: "name", link: Some("#run=1.abc") }.text();
        for part in [
            "---\nbase_model: org/name\n",
            "[org/name](https://huggingface.co/org/name) at commit `cccc",
            "- The weight `down_proj[507, 1229]` of layer 11 is set to zero. (`--scalar 11,507,1229=0`)\n",
            "- Row 5 of `down_proj` of layer 2 is multiplied by -1.5. (`--row 2,5=-1.5`)\n",
            "    #run=1.abc\n",
            "| `t.weight` | [2, 3] | 1 |",
            "revision `0123456789abcdef`. Weights here: revision `fedcba9876543210`",
            "`model.safetensors`: SHA-256 `abab",
        ] {
            assert!(card.contains(part), "{part} is missing in {card}");
        }
        let own = Saved { origin: "files of your own".into(), commit: None, ..saved() };
        let card = Card { saved: &own, id: "mine", link: None }.text();
        assert!(
            !card.contains("base_model") && card.contains("the model mine (files of your own)") && card.contains("do not fit"),
            "{card}"
        );
    }

    #[test]
    fn summary_tells_values_that_stayed_and_widths_that_were_padded() {
        assert_eq!(summary(&saved()).len(), 1);
        let mut told = saved();
        told.tensors[0].n_rounded_back = 3;
        told.cut = Some(Cut { before: 64, after: 60, padded: vec![0, 2, 4] });
        let words = summary(&told);
        assert!(words[1].starts_with("3 values stayed"), "{words:?}");
        assert!(words[2].contains("60 channels instead of 64") && words[2].contains("2 layers that lost more channels"), "{words:?}");
        assert!(words[2].contains("(2 to 4 each)"), "{words:?}");
        assert!(files_to_take(&told).contains("from the original: config.json. Then"));
    }

    #[test]
    fn sentences_tell_every_unit_removed_and_scaled() {
        let say = |target, scale| sentence(&WeightEdit { target, scale });
        assert_eq!(say(EditTarget::column(2, 7), 0.5), "Column 7 of `down_proj` of layer 2 is multiplied by 0.5.");
        assert!(say(EditTarget::channel(2, 7), 0.0).starts_with("Feed-forward channel 7 of layer 2 is removed"));
        assert!(say(EditTarget::channel_mean(2, 7), 0.0).contains("set to its mean"));
        let distinct = [EditTarget::channel(2, 7), EditTarget::channel_mean(2, 7)].map(|target| [say(target, 0.0), say(target, 2.0)]);
        assert_eq!(distinct.concat().iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
