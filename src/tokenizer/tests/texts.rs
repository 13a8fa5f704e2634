//! Ids of whole texts and of pieces.

use serde_json::Value;

use super::{Draws, published};
use crate::tokenizer::cuts::PIECE;
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Parts of texts that tokenizers treat differently.
const PARTS: [&str; 44] = [
    "the",
    "and",
    "quick",
    "Brown",
    "foxes",
    "don't",
    "WE'LL",
    "it's",
    "and so on",
    "x",
    "a",
    "Straße",
    "naïve",
    "e\u{301}",
    "Привет",
    "мир",
    "日本語",
    "テキスト。",
    "中文",
    "한국어",
    "العربية",
    "🚣\u{200d}♀\u{fe0f}",
    "🇩🇪",
    "👍👍👍",
    "1234567",
    "3.14",
    "½",
    "...",
    "?!",
    "--",
    "<s>",
    "</s>",
    "<|user|>",
    "<|eot_id|>",
    "<|endoftext|>",
    "[SEP]",
    "\u{200b}",
    "\u{feff}",
    "ﬁ",
    "\u{a0}",
    "\t",
    "()",
    "{x|y}",
    "ſ",
];
const GAPS: [&str; 14] = [" ", " ", " ", " ", " ", "", "\n", "\n\n", "  ", "    ", " \n", "\r\n", ".\n", ", "];

impl Draws {
    /// A text of about this many bytes. Its stretches have few of the parts each, so that words, numbers or emoji follow
    /// one another.
    pub fn text(&mut self, n_bytes: usize) -> String {
        let mut text = String::new();
        while text.len() < n_bytes {
            let (first, n) = (self.below(PARTS.len()), 1 + self.below(PARTS.len() / 2));
            for _ in 0..self.below(40) {
                text.push_str(PARTS[(first + self.below(n)) % PARTS.len()]);
                text.push_str(GAPS[self.below(GAPS.len())]);
            }
        }
        text
    }
}

fn both(json: &Value) -> (Tokenizer, tokenizers::Tokenizer) {
    let json = json.to_string();
    let mut theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
    theirs.with_padding(None);
    theirs.with_truncation(None).unwrap();
    (Tokenizer::from_json(json.as_bytes(), 1 << 20).unwrap(), theirs)
}

#[test]
fn texts_have_the_ids_that_the_crate_gives_them() {
    let mut draws = Draws::of(7);
    let texts = (0..60).map(|n| draws.text(n * 7)).chain(PARTS.map(String::from)).chain(GAPS.map(String::from)).collect::<Vec<_>>();
    for (name, json) in published::all() {
        let (ours, theirs) = both(&json);
        for text in &texts {
            let expected = theirs.encode_fast(text.as_str(), true).unwrap().get_ids().to_vec();
            assert_eq!(ours.encode(text).unwrap(), expected, "{name}: {text:?}");
            let (before, plain) = ours.encode_apart(text).unwrap();
            assert_eq!(plain, theirs.encode_fast(text.as_str(), false).unwrap().get_ids(), "{name}: {text:?}");
            assert!(expected.starts_with(&before), "{name}");
            for ids in [&expected, &plain] {
                assert_eq!(ours.decode(ids).unwrap(), theirs.decode(ids, true).unwrap(), "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn pieces_have_the_ids_of_the_whole() {
    let mut draws = Draws::of(7);
    for (name, json) in published::all() {
        let (ours, theirs) = both(&json);
        let (mut n_cuts, texts) = (0, (0..3).map(|_| draws.text(5_000)).collect::<Vec<_>>());
        for text in &texts {
            let expected = theirs.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
            for piece in [60, 999] {
                let ids = ours.read(text, usize::MAX, piece).unwrap();
                let differs = ids.iter().zip(&expected).position(|(a, b)| a != b);
                let near = |ids: &[u32]| {
                    let at = differs.unwrap_or(0);
                    ids[at.saturating_sub(4)..(at + 4).min(ids.len())].iter().map(|id| ours.inner.id_to_token(*id)).collect::<Vec<_>>()
                };
                assert!(ids == expected, "{name}, pieces of {piece}: {:?} instead of {:?}", near(&ids), near(&expected));
            }
            // A cut at a random place, or behind it.
            for _ in 0..20 {
                let at = ours.cuts.next(&ours.inner, text, draws.below(text.len()));
                n_cuts += usize::from(at < text.len());
                let ids = [ours.encode_piece(&text[..at], false).unwrap(), ours.encode_piece(&text[at..], true).unwrap()].concat();
                assert!(ids == expected, "{name}, cut at {at}: {:?}", &text[text.floor_char_boundary(at - 20)..at]);
            }
        }
        let is_whole = name == "unigram of whole texts";
        assert_eq!(n_cuts == 0, is_whole, "{name}: {n_cuts} cuts");
        assert!(is_whole || n_cuts > 20, "{name}: {n_cuts} cuts");
    }
}

#[test]
fn of_a_long_text_only_the_beginning_is_read_for_the_first_ids() {
    let (_, json) = published::all().into_iter().find(|(name, _)| name == "llama").unwrap();
    let mut ours = both(&json).0;
    let text = "the old man and the sea ".repeat(20_000);
    let whole = ours.encode(&text).unwrap();
    for n in [0, 1, 2, 100, 40_000] {
        assert_eq!(ours.encode_first(&text, n).unwrap(), whole[..n], "{n}");
    }
    let (before, first) = ours.encode_apart_first(&text, 100).unwrap();
    assert!(first.len() >= 100 && first.len() < PIECE && whole == [before, ours.encode_apart(&text).unwrap().1].concat());
    // A token that the model lacks is an error where it is among the ids that are asked for.
    let largest = ours.read("<s>", 9, PIECE).unwrap().into_iter().chain(ours.encode("the").unwrap()).max().unwrap();
    ours.vocab_size = largest as usize;
    assert!(matches!(ours.encode(&text), Err(TokenizerError::NoSuchToken { .. })));
    assert!(ours.encode_first(&text, 1).is_ok());
}

#[test]
fn added_bos_is_put_before_a_text_that_does_not_begin_with_it() {
    let (_, json) = published::all().into_iter().find(|(name, _)| name == "qwen2").unwrap();
    let mut ours = both(&json).0;
    let token = json["added_tokens"][0]["content"].as_str().unwrap();
    let bos = ours.id_of(token).unwrap();
    let plain = ours.encode("the sea").unwrap();
    ours.begin_with(bos);
    assert_eq!(ours.encode("the sea").unwrap(), [vec![bos], plain.clone()].concat());
    assert_eq!(ours.encode_apart("the sea").unwrap(), (vec![bos], plain.clone()));
    let begun = format!("{token}the sea");
    assert_eq!(ours.encode(&begun).unwrap(), [vec![bos], plain].concat());
    assert_eq!(ours.encode_apart(&begun).unwrap().0, Vec::<u32>::new());
    assert_eq!(ours.encode("").unwrap(), [bos]);
}
