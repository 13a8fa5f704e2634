//! The decoder: how tokens become text again.

use serde::Deserialize;
use tokenizers::Result;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::bpe::BPEDecoder;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::ctc::CTC;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::wordpiece::WordPiece;
use tokenizers::normalizers::Replace;
use tokenizers::pattern::Pattern as _;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::TokenizerError;
use super::normalizer::Needle;
use super::pattern::Pattern;
use super::pre_tokenizer::DescribedMetaspace;
use super::refused::{Growth, Part};

/// A decoder as tokenizer.json describes it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Described {
    #[serde(rename = "BPEDecoder")]
    Bpe {
        suffix: String,
    },
    ByteLevel,
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    Metaspace(DescribedMetaspace),
    #[serde(rename = "CTC")]
    Ctc {
        pad_token: String,
        word_delimiter_token: String,
        cleanup: bool,
    },
    Sequence {
        decoders: Vec<Self>,
    },
    Replace {
        pattern: Needle,
        content: String,
    },
    Fuse,
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    ByteFallback,
}

/// A decoder, built.
#[derive(Debug)]
pub(super) struct Decoder {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Known(DecoderWrapper),
    Replace {
        pattern: Pattern,
        content: String,
    },
    /// Takes up to `start` and `stop` of this character off both ends of a token.
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
}

impl Decoder {
    /// Builds a decoder.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Part`] or [`TokenizerError::Pattern`].
    pub fn new(described: Described) -> std::result::Result<Self, TokenizerError> {
        let (mut steps, mut growth) = (Vec::new(), Growth::of(Part::Decoder));
        add(described, &mut steps, &mut growth)?;
        Ok(Self { steps })
    }
}

impl tokenizers::Decoder for Decoder {
    fn decode_chain(&self, mut tokens: Vec<String>) -> Result<Vec<String>> {
        for step in &self.steps {
            // The crate's BPEDecoder counts the last of no tokens.
            if tokens.is_empty() {
                break;
            }
            tokens = match step {
                Step::Known(known) => known.decode_chain(tokens)?,
                Step::Replace { pattern, content } => {
                    tokens.iter().map(|token| replaced(token, pattern, content)).collect::<Result<_>>()?
                }
                Step::Strip { content, start, stop } => tokens.iter().map(|token| stripped(token, *content, *start, *stop)).collect(),
            };
        }
        Ok(tokens)
    }
}

fn replaced(token: &str, pattern: &Pattern, content: &str) -> Result<String> {
    let parts = pattern.find_matches(token)?.into_iter();
    Ok(parts.map(|((start, end), is_match)| if is_match { content } else { &token[start..end] }).collect())
}

/// The crate's own kind counts below zero where a token is shorter than what is to be taken off.
fn stripped(token: &str, content: char, start: usize, stop: usize) -> String {
    let n = token.chars().take(start).take_while(|c| *c == content).count();
    let token = &token[n * content.len_utf8()..];
    let n = token.chars().rev().take(stop).take_while(|c| *c == content).count();
    token[..token.len() - n * content.len_utf8()].to_owned()
}

fn add(described: Described, steps: &mut Vec<Step>, growth: &mut Growth) -> std::result::Result<(), TokenizerError> {
    let known: DecoderWrapper = match described {
        Described::Sequence { decoders } => {
            growth.step(1)?;
            return decoders.into_iter().try_for_each(|one| add(one, steps, growth));
        }
        Described::Replace { pattern: Needle::Regex(pattern), content } => {
            growth.inserts(&content)?;
            steps.push(Step::Replace { pattern: Pattern::new(Part::Decoder, &pattern)?, content });
            return Ok(());
        }
        Described::Replace { pattern: Needle::String(text), content } => {
            growth.inserts(&content)?;
            DecoderWrapper::Replace(Replace::new(text, content).map_err(|error| Part::Decoder.refused(error.to_string()))?)
        }
        Described::Strip { content, start, stop } => {
            growth.step(1)?;
            steps.push(Step::Strip { content, start, stop });
            return Ok(());
        }
        Described::Bpe { suffix } => DecoderWrapper::BPE(BPEDecoder::new(suffix)),
        Described::ByteLevel => DecoderWrapper::ByteLevel(ByteLevel::default()),
        Described::WordPiece { prefix, cleanup } => DecoderWrapper::WordPiece(WordPiece::new(prefix, cleanup)),
        Described::Metaspace(metaspace) => DecoderWrapper::Metaspace(metaspace.built(Part::Decoder)?),
        Described::Ctc { pad_token, word_delimiter_token, cleanup } => {
            DecoderWrapper::CTC(CTC::new(pad_token, word_delimiter_token, cleanup))
        }
        Described::Fuse => DecoderWrapper::Fuse(Fuse::new()),
        Described::ByteFallback => DecoderWrapper::ByteFallback(ByteFallback::new()),
    };
    // A token may become two: a space, and itself.
    growth.step(2)?;
    steps.push(Step::Known(known));
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokenizers::Decoder as _;

    use super::*;

    #[test]
    fn strip_takes_off_no_more_than_there_is() {
        for (token, start, stop, left) in
            [("  a  ", 1, 1, " a "), ("  a  ", 9, usize::MAX, "a"), ("   ", 2, 5, ""), ("", 1, 1, ""), ("a", 1, 1, "a"), (" ", 0, 7, "")]
        {
            assert_eq!(stripped(token, ' ', start, stop), left, "{token:?} {start} {stop}");
        }
        assert_eq!(stripped("▁▁é▁", '▁', 1, 1), "▁é");
    }

    #[test]
    fn nothing_is_decoded_to_nothing() {
        let decoders = r#"{"type": "Sequence", "decoders": [{"type": "BPEDecoder", "suffix": "</w>"}, {"type": "Strip", "content": "a", "start": 1, "stop": 9}]}"#;
        let decoder = Decoder::new(serde_json::from_str(decoders).unwrap()).unwrap();
        assert_eq!(decoder.decode_chain(Vec::new()).unwrap(), Vec::<String>::new());
        assert_eq!(decoder.decode_chain(vec!["aab</w>".into(), "a</w>".into()]).unwrap(), ["ab ", ""]);
    }
}
