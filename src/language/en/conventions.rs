//! The measured texts and their cuts.

use super::counted;
use crate::terms::{Cell, Message};

/// The text and its cut: "mine (0123456789abcdef) in one, 12 blocks of 512 tokens".
pub fn convention(message: &Message) -> Option<String> {
    Some(of_text(message)? + &calibration(message).unwrap_or_default())
}

fn of_text(message: &Message) -> Option<String> {
    let number = |name: &str| message.number(name);
    let (text, digest) = (message.text("text"), message.text("digest"));
    Some(match message.code.as_str() {
        "passages" => format!("{text}, each passage on its own, first {} tokens", number("limit")),
        code @ ("concat" | "concat_bos") => {
            let (block, blocks) = (number("block"), counted(number("blocks"), "block"));
            format!("{}-{block} {text} ({digest}) in one, {blocks} of {block} tokens", code.replace('_', "-"))
        }
        "sequences" => {
            let part = if message.args.contains_key("first_bytes") { "first 1 MiB of " } else { "" };
            format!("{part}{text}, cut into sequences of {} tokens", number("length"))
        }
        "first_sentences_1" => {
            let cut = match message.args.get("n_cut").and_then(Cell::number) {
                Some(n) => format!(", {n} of them only the last {} tokens", number("limit")),
                None => String::new(),
            };
            format!("{} of the bundled texts ({digest}), each without its last word{cut}", counted(number("prompts"), "first sentence"))
        }
        "task_contexts_1" => {
            let tasks = message.args.iter().filter_map(|(name, n)| Some(format!("{} of {}", n.number()?, name.strip_prefix("of_")?)));
            let (prompts, tasks) = (counted(number("prompts"), "task prompt"), tasks.collect::<Vec<_>>().join(", "));
            format!("{prompts}, {tasks}, each without its predicted part")
        }
        _ => return None,
    })
}

fn calibration(message: &Message) -> Option<String> {
    let (sequences, length) = (message.args.get("calibrated_sequences")?.number()?, message.number("calibrated_length"));
    let (text, digest) = (message.text("calibrated_text"), message.text("calibrated_digest"));
    Some(format!("; calibrated on {text} ({digest}), {} of {length} tokens", counted(sequences, "sequence")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventions_name_the_text_and_its_cut() {
        let concat = Message::new("concat_bos").with("block", 512_usize).with("blocks", 1_usize).with("text", "mine").with("digest", "ab");
        assert_eq!(convention(&concat).unwrap(), "concat-bos-512 mine (ab) in one, 1 block of 512 tokens");
        let calibrated = concat.with("calibrated_text", "yours").with("calibrated_digest", "cd").with("calibrated_length", 128_usize);
        let told = convention(&calibrated.with("calibrated_sequences", 4_usize)).unwrap();
        assert!(told.ends_with("; calibrated on yours (cd), 4 sequences of 128 tokens"), "{told}");
        let sequences = Message::new("sequences").with("text", "mine").with("length", 16_usize);
        assert_eq!(convention(&sequences).unwrap(), "mine, cut into sequences of 16 tokens");
        assert!(convention(&sequences.with("first_bytes", 1_048_576_usize)).unwrap().starts_with("first 1 MiB of mine,"));
        let tasks = Message::new("task_contexts_1").with("prompts", 3_usize).with("of_piqa", 1_usize).with("of_lambada_openai", 2_usize);
        assert_eq!(convention(&tasks).unwrap(), "3 task prompts, 2 of lambada_openai, 1 of piqa, each without its predicted part");
        assert_eq!(convention(&"of_tomorrow".into()), None);
    }
}
